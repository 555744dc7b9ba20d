//! The shadow's file, read again as the configuration's own is.

use std::sync::Arc;

use super::{Running, begin_fetching, changes, is_other, log_problems, log_warnings, paths};
use crate::{
    background,
    config::{Attempt, Diagnostic, FileRead, Loaded, Origin, Policy},
    observe::ShadowReloaded,
    shadow::{Bystander, Shadow},
    snapshot::{LongLived, Snapshot},
    token::jwks::KeyStore,
    watch::Stamped,
};

/// The policy in force, and what it was made into.
type InForce<'f> = (&'f Policy, &'f Arc<Snapshot>);

/// Reads a shadow's file whenever it is due.
#[derive(Debug)]
pub struct ShadowReloader {
    origin: Origin,
    shadow: Arc<Shadow>,
    long_lived: Arc<LongLived>,
    running: Running,
    files: Stamped,
    /// What was wrong the last time.
    refused: Option<Vec<Diagnostic>>,
    /// The keys that it has otherwise than the configuration in force, which count for nothing.
    ignored: Vec<&'static str>,
}

/// What came of reading a shadow.
#[derive(Debug)]
pub struct ShadowOutcome {
    /// Of the one that goes on deciding.
    pub hash: Arc<str>,
    /// What is new, in words; or all that is wrong.
    pub result: Result<String, Vec<Diagnostic>>,
    /// Of a shadow that took over.
    pub warnings: Vec<Diagnostic>,
}

/// Waits until a file of the shadow changes; for ever where there is none. Can be given up and begun anew.
pub(super) async fn change(shadow: &mut Option<ShadowReloader>) {
    match shadow {
        Some(shadow) => shadow.files.change().await,
        None => std::future::pending().await,
    }
}

impl ShadowReloader {
    /// Lets `shadow` go by a file that was just read, beside what is in force, and reads it again from then on. The key
    /// stores need their `KeyStore::maintain` spawned.
    ///
    /// # Errors
    /// It can't be put to work; in words for its author.
    pub fn start(
        (origin, loaded, files): (Origin, Loaded, Vec<FileRead>),
        shadow: Arc<Shadow>,
        in_force: InForce<'_>,
        long_lived: &LongLived,
    ) -> Result<(ShadowReloader, Vec<Arc<KeyStore>>), String> {
        let long_lived = Arc::new(long_lived.beside());
        let (bystander, stores) = Bystander::assemble(&loaded.policy, (in_force.0, in_force.1), &long_lived)?;
        log_warnings(&loaded.warnings);
        let running = Running::new(loaded, files);
        shadow.go_by(bystander, running.hash.clone());
        let files = Stamped::new(paths(&running.files, false));
        let mut started =
            ShadowReloader { origin, shadow, long_lived, running, files, refused: None, ignored: Vec::new() };
        started.say_what_is_ignored(in_force.0);
        Ok((started, stores))
    }

    /// Reads the file and lets it take over. Where nobody asked, what was seen before isn't told again.
    pub(super) async fn reload(&mut self, was_asked: bool, in_force: InForce<'_>) -> ShadowOutcome {
        let origin = self.origin.clone();
        let Some(Attempt { files, outcome }) = background::run(move || origin.read()).await else {
            return self.refuse(vec![self.problem("reading it has failed".to_owned())], was_asked);
        };
        if !was_asked && !self.files.are_at_rest().await {
            // Somebody was writing while it was read: that is seen as another change.
            return self.outcome(Ok("nothing".to_owned()), Vec::new());
        }
        self.files.watch(paths(&files, outcome.is_err()));
        let loaded = match outcome {
            Ok(loaded) => loaded,
            Err(wrong) => return self.refuse(wrong, was_asked),
        };
        if !is_other(&files, &self.running.files) && loaded.hash == *self.running.hash {
            if was_asked || self.refused.is_some() {
                self.accept("nothing");
            }
            return self.outcome(Ok("nothing".to_owned()), Vec::new());
        }
        let new = Running::new(loaded, files);
        if let Err(why) = self.take_over(&new, in_force).await {
            self.files.watch(paths(&new.files, true));
            return self.refuse(vec![self.problem(why)], was_asked);
        }
        let changed = changes::between(&self.running.policy, &new.policy);
        let warnings = new.warnings.clone();
        let before = std::mem::replace(&mut self.running, new);
        log_warnings(warnings.iter().filter(|warning| !before.warnings.contains(warning)));
        self.accept(&changed);
        self.say_what_is_ignored(in_force.0);
        self.outcome(Ok(changed), warnings)
    }

    /// Something else is in force: the shadow has with that in common what it can.
    pub(super) async fn stand_beside(&mut self, in_force: InForce<'_>) {
        if let Err(why) = self.take_over(&self.running, in_force).await {
            drop(self.refuse(vec![self.problem(why)], false));
        }
        self.say_what_is_ignored(in_force.0);
    }

    async fn take_over(&self, new: &Running, (policy, snapshot): InForce<'_>) -> Result<(), String> {
        let (own, policy, snapshot) = (new.policy.clone(), policy.clone(), snapshot.clone());
        let long_lived = self.long_lived.clone();
        let work = move || Bystander::assemble(&own, (&policy, &snapshot), &long_lived);
        let assembled = background::run(work).await;
        let (bystander, stores) = assembled.unwrap_or_else(|| Err("it could not be put to work".to_owned()))?;
        begin_fetching(&stores).await;
        self.shadow.go_by(bystander, new.hash.clone());
        Ok(())
    }

    fn accept(&mut self, changed: &str) {
        self.refused = None;
        self.shadow.found_wrong(&[]);
        ShadowReloaded { file: &self.name(), result: Ok((&self.running.hash, changed)) }.record();
    }

    fn refuse(&mut self, wrong: Vec<Diagnostic>, was_asked: bool) -> ShadowOutcome {
        if was_asked || self.refused.as_ref() != Some(&wrong) {
            let problems = log_problems(&wrong);
            ShadowReloaded { file: &self.name(), result: Err(&problems) }.record();
        }
        self.shadow.found_wrong(&wrong);
        self.refused = Some(wrong.clone());
        self.outcome(Err(wrong), Vec::new())
    }

    fn outcome(&self, result: Result<String, Vec<Diagnostic>>, warnings: Vec<Diagnostic>) -> ShadowOutcome {
        ShadowOutcome { hash: self.running.hash.clone(), result, warnings }
    }

    /// Once for each list of them.
    fn say_what_is_ignored(&mut self, in_force: &Policy) {
        let ignored = changes::that_are_no_policy(in_force, &self.running.policy);
        if ignored != self.ignored && !ignored.is_empty() {
            let keys = ignored.join(", ");
            tracing::info!(file = self.name(), keys, "these keys of the shadow count for nothing: those in force hold");
        }
        self.ignored = ignored;
    }

    fn problem(&self, message: String) -> Diagnostic {
        Diagnostic::about(&self.name(), "", message, None)
    }

    fn name(&self) -> String {
        self.origin.path.display().to_string()
    }
}
