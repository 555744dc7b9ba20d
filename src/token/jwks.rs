//! Key sets at work: fetch, refresh, unknown kid, files that change. What is in a set is read by `key_set`.

mod report;

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    Asking,
    fetches::{Fetches, UNKNOWN_KID_INTERVAL},
    issuer::{IssuerSettings, KeyFile, KeySource},
    kept_keys::KeptKeys,
    key_server::{FetchedKeys, KeyServer, retry_after},
    key_set::KeySet,
};
use crate::{
    observe::{IssuerMetrics, KeysFetched, KeysRestored, Observer},
    state_dir::StateDir,
    watch::{Text, WatchedFiles},
};

pub use report::{KeyReport, KeysReport, KeysState};

/// One issuer's keys at work. Readers never lock; all fetches are made by one task on the control runtime.
#[derive(Debug)]
pub struct KeyStore {
    issuer: Arc<str>,
    metrics: IssuerMetrics,
    origin: Origin,
    stale_after: Duration,
    keys: ArcSwapOption<Held>,
    fetches: watch::Sender<Fetches>,
}

/// A set and since when it is here.
#[derive(Debug)]
struct Held {
    keys: Arc<KeySet>,
    here_since: Instant,
    /// How old it was then.
    age: Duration,
}

/// Where keys come from.
#[derive(Clone, Debug)]
enum Origin {
    Server(KeyServer, Option<KeptKeys>),
    Files(KeyFiles),
    /// The configuration: they never change.
    InPlace,
}

/// A file's path and what is in it.
type NamedText<'t> = (&'t Path, &'t str);

/// Files of keys, with what was in them at load.
#[derive(Clone, Debug)]
struct KeyFiles {
    files: Vec<KeyFile>,
    read: fn(&[NamedText<'_>]) -> Result<KeySet, String>,
}

/// The key server can't be asked now, so nothing can be said about a kid.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::token) struct Unavailable {
    pub(in crate::token) retry_after: Duration,
}

impl KeyStore {
    /// A store for this source. Local sources (file, inline) are complete at once; remote ones are empty until
    /// `KeyStore::maintain` runs.
    ///
    /// # Errors
    /// A local set that isn't a JWKS or has no usable key, in words for the configuration's author.
    pub fn new(settings: &IssuerSettings, observer: Arc<Observer>) -> Result<Arc<KeyStore>, String> {
        KeyStore::with_state(settings, observer, None)
    }

    /// The same; sets that are fetched are kept in `state` and taken from there while their server is down.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_state(
        settings: &IssuerSettings,
        observer: Arc<Observer>,
        state: Option<Arc<StateDir>>,
    ) -> Result<Arc<KeyStore>, String> {
        let origin = match (&settings.jwt.keys, KeyServer::of(settings)) {
            (_, Some(server)) => Origin::Server(server, state.and_then(|state| KeptKeys::of(settings, state))),
            (KeySource::File(file), _) => Origin::Files(KeyFiles { files: vec![file.clone()], read: read_jwks }),
            (KeySource::PublicKeys(files), _) => Origin::Files(KeyFiles { files: files.clone(), read: read_pem }),
            _ => Origin::InPlace,
        };
        let local = match (&settings.jwt.keys, &origin) {
            (_, Origin::Files(files)) => Some(files.at_load()?),
            (KeySource::Inline(text), _) => Some(KeySet::parse(text.as_bytes())?),
            (KeySource::Secret(secret), _) => Some(KeySet::of_secret(secret)?),
            (KeySource::Nowhere, _) => Some(KeySet::empty()),
            _ => None,
        };
        let store = KeyStore {
            issuer: settings.name.clone(),
            metrics: observer.issuer(&settings.name),
            origin,
            stale_after: settings.jwt.stale_keys,
            keys: ArcSwapOption::empty(),
            fetches: watch::Sender::default(),
        };
        if let Some(keys) = local {
            store.hold(keys, Duration::ZERO);
        }
        Ok(Arc::new(store))
    }

    /// Begins with the keys that another store of the same source serves by, unless it has some.
    pub fn take_over(&self, earlier: &KeyStore) {
        if !self.is_ready() && earlier.at_hand().is_some() {
            self.keys.store(earlier.keys.load_full());
        }
    }

    /// Fetches at start, refreshes in the background and answers requests for unknown kids; reads files again when they
    /// change. To be spawned on the control runtime; ends when no snapshot holds the store any more, and at once where
    /// there is nothing to do.
    pub async fn maintain(self: Arc<Self>) {
        match self.origin.clone() {
            Origin::Server(server, kept) => self.keep_fetching(&server, kept).await,
            Origin::Files(files) => self.keep_reading(files).await,
            Origin::InPlace => self.metrics.keys_at_load(self.at_hand().map_or(0, |keys| keys.len())),
        }
    }

    async fn keep_fetching(self: Arc<Self>, server: &KeyServer, kept: Option<KeptKeys>) {
        let store = Arc::downgrade(&self);
        drop(self);
        let mut discovered = None;
        let mut failures = 0;
        let mut unread = kept.clone();
        while let Some(mut fetches) = begin(&store) {
            let (result, pause) = match server.fetch(&mut discovered).await {
                Ok(fetched) => {
                    failures = 0;
                    let pause = server.refresh_after(&fetched);
                    (Ok(fetched), pause)
                }
                Err(problem) => {
                    failures += 1;
                    (Err(problem), retry_after(failures))
                }
            };
            let Some(store) = store.upgrade() else { return };
            match result {
                Ok(FetchedKeys { keys, text, .. }) => {
                    store.end(Ok(keys));
                    keep(kept.clone(), text.to_vec());
                }
                Err(problem) => {
                    // Once: nobody else writes there, so it says the same each time.
                    if let Some(kept) = unread.take().filter(|_| !store.is_ready()) {
                        store.restore(&kept);
                    }
                    store.end(Err(problem));
                }
            }
            drop(store);
            tokio::select! {
                () = sleep(pause) => discovered = None,
                wanted = fetches.wait_for(Fetches::is_wanted) => if wanted.is_err() { return },
            }
        }
    }

    async fn keep_reading(self: Arc<Self>, files: KeyFiles) {
        self.metrics.keys_at_load(self.at_hand().map_or(0, |keys| keys.len()));
        let mut gone = self.fetches.subscribe();
        let store = Arc::downgrade(&self);
        drop(self);
        let known = files.files.iter().map(|file| (file.path.clone(), file.text.clone()));
        let mut watched = WatchedFiles::new(known);
        loop {
            let result = tokio::select! {
                texts = watched.change() => files.now(texts),
                _ = gone.wait_for(|_| false) => return,
            };
            if begin(&store).is_none() {
                return;
            }
            let Some(store) = store.upgrade() else { return };
            store.end(result);
        }
    }

    /// Fetches once, as `maintain` does at start, and keeps nothing: how many usable keys there are.
    ///
    /// # Errors
    /// The keys can't be had; in words for the operator.
    pub async fn try_fetch(&self) -> Result<usize, String> {
        match &self.origin {
            Origin::Server(server, _) => server.fetch(&mut None).await.map(|fetched| fetched.keys.len()),
            Origin::Files(_) | Origin::InPlace => Ok(self.at_hand().map_or(0, |keys| keys.len())),
        }
    }

    /// Fetches for a rehearsal, which live traffic must not notice: nothing is kept, counted or held back.
    ///
    /// # Errors
    /// The keys can't be had.
    pub(in crate::token) async fn fetch_apart(&self) -> Result<Arc<KeySet>, Unavailable> {
        let unavailable = Unavailable { retry_after: UNKNOWN_KID_INTERVAL };
        match &self.origin {
            Origin::Server(server, _) => {
                server.fetch(&mut None).await.map(|fetched| Arc::new(fetched.keys)).map_err(|_| unavailable)
            }
            Origin::Files(_) | Origin::InPlace => self.at_hand().ok_or(unavailable),
        }
    }

    /// Whether keys have arrived (`/readyz`). Once they have, trouble shows in `is_degraded` alone.
    pub fn is_ready(&self) -> bool {
        self.keys.load().is_some()
    }

    /// Waits until the first fetch has ended, however it did; not at all where none is needed. `maintain` must run.
    pub async fn fetched(&self) {
        if self.is_remote() {
            // The sender is in self: this can't fail.
            let _ = self.fetches.subscribe().wait_for(|fetches| fetches.ended > 0).await;
        }
    }

    /// Whether the last fetch failed (`degraded` in `/readyz`).
    pub fn is_degraded(&self) -> bool {
        let fetches = self.fetches.borrow();
        fetches.ended > 0 && !fetches.is_ok
    }

    /// The keys that serve now. While their server is down, not for longer than `stale_keys` after their fetch.
    pub(in crate::token) fn at_hand(&self) -> Option<Arc<KeySet>> {
        let held = self.keys.load();
        let held = held.as_ref()?;
        let is_stale = self.is_remote() && held.is_older_than(self.stale_after) && self.is_degraded();
        (!is_stale).then(|| held.keys.clone())
    }

    /// Whether a kid that isn't at hand may be found elsewhere.
    pub(in crate::token) fn is_remote(&self) -> bool {
        matches!(self.origin, Origin::Server(..))
    }

    /// The keys after a fetch for a kid that isn't among those at hand. There is one such fetch in 5 s, however many
    /// ask; who comes while a fetch runs waits for it, up to `http_timeout`. Those that are asked for beside the requests
    /// have 5 s of their own.
    ///
    /// # Errors
    /// The last fetch failed or takes too long.
    pub(in crate::token) async fn after_fetch(&self, asking: Asking) -> Result<Arc<KeySet>, Unavailable> {
        let unavailable = Unavailable { retry_after: UNKNOWN_KID_INTERVAL };
        let Origin::Server(server, _) = &self.origin else { return self.at_hand().ok_or(unavailable) };
        if let Some(number) = self.want(asking) {
            let mut fetches = self.fetches.subscribe();
            let ended = fetches.wait_for(|fetches| fetches.ended >= number);
            if !matches!(timeout(server.timeout(), ended).await, Ok(Ok(_))) {
                return Err(unavailable);
            }
        }
        if !self.fetches.borrow().is_ok {
            return Err(unavailable);
        }
        self.at_hand().ok_or(unavailable)
    }

    /// How many fetches have begun.
    pub(in crate::token) fn begun(&self) -> u64 {
        self.fetches.borrow().begun
    }

    /// The same after a fetch that begins later than now, as soon as one may: for what doesn't come twice.
    ///
    /// # Errors
    /// As `after_fetch`.
    pub(in crate::token) async fn after_next_fetch(&self, asking: Asking) -> Result<Arc<KeySet>, Unavailable> {
        let last = self.fetches.borrow().last_wanted;
        if let Some(last) = last {
            sleep(UNKNOWN_KID_INTERVAL.saturating_sub(last.elapsed())).await;
        }
        self.after_fetch(asking).await
    }

    /// The number of the fetch to wait for; None where the last one has to do.
    fn want(&self, asking: Asking) -> Option<u64> {
        let mut number = None;
        self.fetches.send_if_modified(|fetches| {
            let is_new = fetches.want(asking);
            number = fetches.under_way();
            is_new
        });
        number
    }

    fn end(&self, result: Result<KeySet, String>) {
        let result = result.map(|keys| self.hold(keys, Duration::ZERO));
        self.fetches.send_modify(|fetches| {
            fetches.ended = fetches.begun;
            fetches.is_ok = result.is_ok();
        });
        let result = result.as_ref().map(|count| *count).map_err(String::as_str);
        KeysFetched { issuer: &self.issuer, result }.record(&self.metrics);
    }

    /// Takes the set of an earlier run, unless it is too old.
    fn restore(&self, kept: &KeptKeys) {
        let Some((keys, age)) = kept.load(SystemTime::now(), self.stale_after) else { return };
        let keys = self.hold(keys, age);
        KeysRestored { issuer: &self.issuer, keys, age }.record(&self.metrics);
    }

    fn hold(&self, keys: KeySet, age: Duration) -> usize {
        for skipped in keys.skipped().iter().filter(|skipped| skipped.is_weak) {
            tracing::warn!(issuer = &*self.issuer, key = skipped.index + 1, "a key isn't used: {}", skipped.reason);
        }
        let count = keys.len();
        self.keys.store(Some(Arc::new(Held { keys: Arc::new(keys), here_since: Instant::now(), age })));
        count
    }
}

impl Held {
    fn is_older_than(&self, time: Duration) -> bool {
        self.age_now() > time
    }

    fn age_now(&self) -> Duration {
        self.here_since.elapsed().saturating_add(self.age)
    }
}

impl KeyFiles {
    fn at_load(&self) -> Result<KeySet, String> {
        (self.read)(&self.files.iter().map(|file| (&*file.path, file.text.as_str())).collect::<Vec<_>>())
    }

    /// The keys of what the files say now: all of them, or none.
    fn now<'t>(&self, texts: impl Iterator<Item = (&'t Path, &'t Text)>) -> Result<KeySet, String> {
        let texts = texts.map(|(path, text)| match text {
            Ok(text) => Ok((path, text.as_str())),
            Err(problem) => Err(format!("{}: {problem}", path.display())),
        });
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        (self.read)(&texts)
    }
}

fn read_jwks(texts: &[NamedText<'_>]) -> Result<KeySet, String> {
    let Some((path, text)) = texts.first() else { return Err("no file of keys".to_owned()) };
    KeySet::parse(text.as_bytes()).map_err(|problem| format!("{}: {problem}", path.display()))
}

fn read_pem(texts: &[NamedText<'_>]) -> Result<KeySet, String> {
    KeySet::of_pem(texts.iter().copied())
}

/// On a thread of its own: a slow disk holds up no fetch.
fn keep(kept: Option<KeptKeys>, jwks: Vec<u8>) {
    if let Some(kept) = kept {
        drop(tokio::task::spawn_blocking(move || kept.save(&jwks, SystemTime::now())));
    }
}

/// The next fetch begins; None where nobody needs it any more.
fn begin(store: &Weak<KeyStore>) -> Option<watch::Receiver<Fetches>> {
    let store = store.upgrade()?;
    store.fetches.send_modify(Fetches::begin);
    Some(store.fetches.subscribe())
}

#[cfg(test)]
mod tests;
