//! Reload: the configuration is read again when one of its files changes, or when somebody asks, and takes over as a whole
//! or not at all. What didn't change keeps its state, since every long-lived part is found again by its own settings.

mod changes;
mod shadow;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    background,
    config::{Attempt, Diagnostic, FileRead, Loaded, Origin, Policy, Severity},
    gateway::Gateway,
    observe::{ConfigReloaded, NewConfig, Observer},
    server::{Adjustable, Certificates, ServerSettings},
    snapshot::{LongLived, Snapshot},
    token::jwks::KeyStore,
    watch::Stamped,
};

pub use shadow::{ShadowOutcome, ShadowReloader};

/// How long new key sources may fetch before the new configuration takes over. Requests go by the old one meanwhile; those
/// that need keys which still aren't there wait for them, as at any time.
const KEYS_WITHIN: Duration = Duration::from_millis(250);
/// Reloads that may be asked for while one is under way.
const MOST_ASKED: usize = 16;

/// How it stands with the configuration, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Where it is read from; None: it isn't from a file.
    pub file: Option<Arc<str>>,
    /// Of the configuration that requests go by.
    pub hash: Arc<str>,
    /// Since when they do.
    pub loaded_at: SystemTime,
    /// Why it couldn't be used when it was read last, a line for each problem: then the one before is in force. Empty:
    /// it could.
    pub errors: Arc<[String]>,
}

impl InForce {
    /// One that is put to work now.
    pub fn new(file: Option<&str>, hash: &str) -> InForce {
        InForce { file: file.map(Arc::from), hash: hash.into(), loaded_at: SystemTime::now(), errors: Arc::default() }
    }

    /// Whether it could be used when it was read last.
    pub fn is_current(&self) -> bool {
        self.errors.is_empty()
    }
}

/// How a gateway ends; by the configuration in force.
#[derive(Clone, Copy, Debug)]
pub struct DrainTimes {
    /// Not ready and still accepting.
    pub delay: Duration,
    /// Then how long running requests may take.
    pub timeout: Duration,
}

/// What of a gateway at work a configuration can change.
#[derive(Debug)]
pub struct Parts {
    /// Where requests are answered.
    pub gateway: Arc<Gateway>,
    /// What outlives a configuration.
    pub long_lived: Arc<LongLived>,
    /// Listeners and connections.
    pub server: Adjustable,
    /// For the end.
    pub times: Arc<ArcSwap<DrainTimes>>,
    /// Log and metrics.
    pub observer: Arc<Observer>,
    /// What is shown of it.
    pub in_force: Arc<ArcSwap<InForce>>,
}

/// Asks for reloads.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<oneshot::Sender<Outcome>>);

/// What came of a reload that was asked for.
#[derive(Debug)]
pub struct Outcome {
    /// Of the configuration in force.
    pub hash: Arc<str>,
    /// What is new, in words; or all that is wrong.
    pub result: Result<String, Vec<Diagnostic>>,
    /// Of a configuration that took over.
    pub warnings: Vec<Diagnostic>,
    /// What came of reading the shadow, if there is one.
    pub shadow: Option<ShadowOutcome>,
}

/// Reads a configuration again whenever it is due.
#[derive(Debug)]
pub struct Reloader {
    origin: Origin,
    parts: Parts,
    running: Running,
    files: Stamped,
    shadow: Option<ShadowReloader>,
    asked: mpsc::Receiver<oneshot::Sender<Outcome>>,
    /// What was wrong the last time.
    refused: Option<Vec<Diagnostic>>,
}

/// The configuration in force.
#[derive(Debug)]
struct Running {
    policy: Arc<Policy>,
    hash: Arc<str>,
    warnings: Vec<Diagnostic>,
    files: Vec<FileRead>,
}

/// A configuration that can take over.
struct Ready {
    snapshot: Snapshot,
    stores: Vec<Arc<KeyStore>>,
    certificates: Certificates,
}

impl ReloadHandle {
    /// Reads the configuration now. None: nobody does any more, or too many ask.
    pub async fn reload(&self) -> Option<Outcome> {
        let (answer, outcome) = oneshot::channel();
        self.0.try_send(answer).ok()?;
        outcome.await.ok()
    }
}

impl Reloader {
    /// One for a configuration that was just put to work; `files` are those that it was read from.
    pub fn new(origin: Origin, loaded: Loaded, files: Vec<FileRead>, parts: Parts) -> (Reloader, ReloadHandle) {
        let (ask, asked) = mpsc::channel(MOST_ASKED);
        let running = Running::new(loaded, files);
        let files = Stamped::new(paths(&running.files, false));
        (Reloader { origin, parts, running, files, shadow: None, asked, refused: None }, ReloadHandle(ask))
    }

    /// With a shadow, which is read again as well.
    #[must_use]
    pub fn with_shadow(self, shadow: Option<ShadowReloader>) -> Reloader {
        Reloader { shadow, ..self }
    }

    /// To the end of the process. To be spawned on the control runtime.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                asked = self.asked.recv() => {
                    let Some(answer) = asked else { return };
                    let mut outcome = self.reload(true).await;
                    outcome.shadow = self.reload_shadow(true).await;
                    // An error says that whoever asked has gone.
                    let _ = answer.send(outcome);
                }
                () = self.files.change() => drop(self.reload(false).await),
                () = shadow::change(&mut self.shadow) => drop(self.reload_shadow(false).await),
            }
        }
    }

    async fn reload_shadow(&mut self, was_asked: bool) -> Option<ShadowOutcome> {
        let in_force = self.parts.gateway.snapshot();
        Some(self.shadow.as_mut()?.reload(was_asked, (&*self.running.policy, &in_force)).await)
    }

    /// Reads the configuration and lets it take over. Where nobody asked, what was seen before isn't told again.
    async fn reload(&mut self, was_asked: bool) -> Outcome {
        let origin = self.origin.clone();
        let Some(Attempt { files, outcome }) = background::run(move || origin.read()).await else {
            return self.refuse(vec![self.problem("", "reading it has failed".to_owned(), None)], was_asked);
        };
        if !was_asked && !self.files.are_at_rest().await {
            // Somebody was writing while it was read: that is seen as another change.
            return self.outcome(Ok("nothing".to_owned()), Vec::new());
        }
        // A file that makes it unusable is looked at whoever else reads it.
        self.files.watch(paths(&files, outcome.is_err()));
        let loaded = match outcome {
            Ok(loaded) => loaded,
            Err(wrong) => return self.refuse(wrong, was_asked),
        };
        if !is_other(&files, &self.running.files) && loaded.hash == *self.running.hash {
            if !was_asked && self.refused.is_none() {
                return self.outcome(Ok("nothing".to_owned()), Vec::new());
            }
            return match self.renew_certificates().await {
                Ok(renewed) => self.accept(changes::with_renewed("nothing", &renewed), Vec::new()),
                Err(why) => {
                    self.files.watch(paths(&files, true));
                    self.refuse(vec![self.problem("", why, None)], was_asked)
                }
            };
        }
        let new = Running::new(loaded, files);
        let renewed = match self.take_over(&new.policy).await {
            Ok(renewed) => renewed,
            Err(wrong) => {
                self.files.watch(paths(&new.files, true));
                return self.refuse(wrong, was_asked);
            }
        };
        let (one, other) = (self.running.policy.clone(), new.policy.clone());
        let changed = background::run(move || changes::between(&one, &other)).await;
        let changed = changes::with_renewed(changed.as_deref().unwrap_or("something"), &renewed);
        let warnings = new.warnings.clone();
        let before = std::mem::replace(&mut self.running, new);
        let InForce { file, .. } = InForce::clone(&self.parts.in_force.load());
        self.parts.in_force.store(Arc::new(InForce::new(file.as_deref(), &self.running.hash)));
        log_warnings(warnings.iter().filter(|warning| !before.warnings.contains(warning)));
        self.record(&before.hash, Ok(&changed));
        background::forget(Arc::new(before));
        self.refused = None;
        if let Some(shadow) = &mut self.shadow {
            shadow.stand_beside((&*self.running.policy, &self.parts.gateway.snapshot())).await;
        }
        self.outcome(Ok(changed), warnings)
    }

    /// Listeners' files are looked at beside all this; whoever asks for a reload takes them for in force when it is done.
    async fn renew_certificates(&self) -> Result<Vec<Arc<str>>, String> {
        let (server, listen) = (self.parts.server.clone(), self.running.policy.listen.clone());
        let work = move || server.read_certificates(&listen).map_err(|error| error.to_string());
        let read = tokio::task::spawn_blocking(work).await;
        let certificates = read.unwrap_or_else(|_| Err("certificates could not be read".to_owned()))?;
        Ok(self.parts.server.renew(certificates, &self.parts.observer))
    }

    /// All of it, or nothing. The listeners whose certificates are others now.
    async fn take_over(&self, policy: &Arc<Policy>) -> Result<Vec<Arc<str>>, Vec<Diagnostic>> {
        let need_restart = changes::that_need_restart(&self.running.policy, policy);
        if !need_restart.is_empty() {
            let hint = "restart the gateway, or put it back as it was: until then nothing else takes effect either";
            let wrong = need_restart
                .into_iter()
                .map(|key| self.problem(key, format!("`{key}` has changed: this needs a restart"), Some(hint)));
            return Err(wrong.collect());
        }
        let ready = self.prepare(policy.clone()).await.map_err(|why| vec![self.problem("", why, None)])?;
        let Ready { snapshot, stores, certificates } = ready;
        let parts = &self.parts;
        parts.observer.log_by(&policy.logging).map_err(|why| vec![self.problem("logging.level", why, None)])?;
        // From here on nothing can fail.
        let before = parts.gateway.snapshot();
        before.retire_for(&snapshot);
        snapshot.maintain();
        begin_fetching(&stores).await;
        parts.observer.client_certificates_are(&snapshot.client_certificates());
        parts.gateway.go_by(snapshot);
        background::forget(before);
        parts.server.adjust(&policy.server);
        let renewed = parts.server.renew(certificates, &parts.observer);
        parts.times.store(Arc::new(DrainTimes::of(&policy.server)));
        Ok(renewed)
    }

    /// Everything that may fail or take long, off the runtime.
    async fn prepare(&self, policy: Arc<Policy>) -> Result<Ready, String> {
        let (long_lived, server) = (self.parts.long_lived.clone(), self.parts.server.clone());
        let work = move || {
            let (snapshot, stores) = Snapshot::assemble(&policy, &long_lived)?;
            let certificates = server.read_certificates(&policy.listen).map_err(|error| error.to_string())?;
            Ok(Ready { snapshot, stores, certificates })
        };
        background::run(work).await.unwrap_or_else(|| Err("it could not be put to work".to_owned()))
    }

    fn accept(&mut self, changed: String, warnings: Vec<Diagnostic>) -> Outcome {
        self.refused = None;
        self.show(&[]);
        self.record(&self.running.hash.clone(), Ok(&changed));
        self.outcome(Ok(changed), warnings)
    }

    fn refuse(&mut self, wrong: Vec<Diagnostic>, was_asked: bool) -> Outcome {
        if was_asked || self.refused.as_ref() != Some(&wrong) {
            let problems = log_problems(&wrong);
            self.show(&wrong);
            self.record(&self.running.hash.clone(), Err(&problems));
        }
        self.refused = Some(wrong.clone());
        self.outcome(Err(wrong), Vec::new())
    }

    fn record(&self, before: &str, result: Result<&str, &str>) {
        let hash = &self.running.hash;
        ConfigReloaded { before, result: result.map(|changed| NewConfig { hash, changed }) }
            .record(&self.parts.observer);
    }

    /// What was wrong with what was read last; the configuration in force stays.
    fn show(&self, wrong: &[Diagnostic]) {
        let errors = wrong.iter().filter(|problem| problem.severity == Severity::Error);
        let errors = errors.map(Diagnostic::in_a_line).collect();
        let in_force = InForce::clone(&self.parts.in_force.load());
        self.parts.in_force.store(Arc::new(InForce { errors, ..in_force }));
    }

    fn outcome(&self, result: Result<String, Vec<Diagnostic>>, warnings: Vec<Diagnostic>) -> Outcome {
        Outcome { hash: self.running.hash.clone(), result, warnings, shadow: None }
    }

    fn problem(&self, key: &str, message: String, hint: Option<&str>) -> Diagnostic {
        Diagnostic::about(&self.origin.path.display().to_string(), key, message, hint.map(str::to_owned))
    }
}

impl Running {
    fn new(loaded: Loaded, files: Vec<FileRead>) -> Running {
        Running { policy: Arc::new(loaded.policy), hash: loaded.hash.into(), warnings: loaded.warnings, files }
    }
}

impl DrainTimes {
    /// As the configuration has them.
    pub fn of(settings: &ServerSettings) -> DrainTimes {
        DrainTimes { delay: settings.drain_delay, timeout: settings.drain_timeout }
    }
}

/// Begins to maintain key stores, and waits a little for what they fetch.
async fn begin_fetching(stores: &[Arc<KeyStore>]) {
    for store in stores {
        tokio::spawn(store.clone().maintain());
    }
    let all_fetched = async {
        for store in stores {
            store.fetched().await;
        }
    };
    // Too late is no error.
    let _ = timeout(KEYS_WITHIN, all_fetched).await;
}

/// Tells what is wrong, a line each; how much it is, in words.
fn log_problems(wrong: &[Diagnostic]) -> String {
    for problem in wrong {
        let Diagnostic { file, line, column, path, message, hint, .. } = problem;
        let hint = hint.as_deref().unwrap_or_default();
        tracing::error!(file, line, column, key = path, hint, "{message}");
    }
    format!("{} problem{}", wrong.len(), if wrong.len() == 1 { "" } else { "s" })
}

/// Tells what is legal but unwise, once.
pub fn log_warnings<'d>(warnings: impl IntoIterator<Item = &'d Diagnostic>) {
    for warning in warnings {
        tracing::warn!(file = %warning.file, line = warning.line, key = %warning.path, "{}", warning.message);
    }
}

/// What is to be looked at: `all`, or what nobody else looks at.
fn paths(files: &[FileRead], all: bool) -> Vec<PathBuf> {
    files.iter().filter(|file| all || !file.has_own_watch).map(|file| file.path.clone()).collect()
}

/// Whether something else was read: another file, or another text in one.
fn is_other(one: &[FileRead], other: &[FileRead]) -> bool {
    let own = |files: &[FileRead]| files.iter().filter(|file| !file.has_own_watch).cloned().collect::<Vec<_>>();
    own(one) != own(other)
}
