//! Key sets at work: fetch, refresh, unknown kid. What is in a set is read by `key_set`.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use hyper::{HeaderMap, header::CACHE_CONTROL};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    discovery,
    issuer::{IssuerSettings, KeySource},
    key_set::KeySet,
};
use crate::{
    fetch::{FetchRules, get_json},
    observe::{IssuerMetrics, KeysFetched, Observer},
};

/// Between the starts of two fetches for unknown kids.
const UNKNOWN_KID_INTERVAL: Duration = Duration::from_secs(5);
/// A `max-age` below this counts as this.
const MIN_MAX_AGE: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// A JWKS or a metadata document.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// One issuer's keys at work. Readers never lock; all fetches are made by one task on the control runtime.
#[derive(Debug)]
pub struct KeyStore {
    issuer: Arc<str>,
    metrics: IssuerMetrics,
    /// None: local.
    remote: Option<Remote>,
    stale_after: Duration,
    keys: ArcSwapOption<Held>,
    fetches: watch::Sender<Fetches>,
}

/// A set and since when it is here.
#[derive(Debug)]
struct Held {
    keys: Arc<KeySet>,
    fetched_at: Instant,
}

/// Where keys are fetched.
#[derive(Clone, Debug)]
struct Remote {
    place: Place,
    rules: FetchRules,
    refresh: Duration,
}

#[derive(Clone, Debug)]
enum Place {
    /// The issuer whose metadata say it.
    Discovered(String),
    Uri(String),
}

/// Fetches are numbered from 1, and made one after the other.
#[derive(Debug, Default)]
struct Fetches {
    /// The number of the last one that began.
    begun: u64,
    /// The number of the last one that ended.
    ended: u64,
    /// The number of the last one that somebody asked for.
    wanted: u64,
    /// When the last one that somebody asked for began.
    last_wanted: Option<Instant>,
    /// How the last one ended.
    is_ok: bool,
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
        let (place, local) = match &settings.jwt.keys {
            KeySource::Discovery => {
                let issuer = settings.issuer.clone().ok_or("discovery needs `issuer`")?;
                (Some(Place::Discovered(issuer)), None)
            }
            KeySource::Uri(uri) => (Some(Place::Uri(uri.clone())), None),
            KeySource::File { text, .. } | KeySource::Inline(text) => (None, Some(KeySet::parse(text.as_bytes())?)),
            KeySource::PublicKeys(files) => (None, Some(KeySet::of_pem(files.iter().map(|(_, text)| text.as_str()))?)),
            KeySource::Secret(secret) => (None, Some(KeySet::of_secret(secret)?)),
            KeySource::Nowhere => (None, Some(KeySet::empty())),
        };
        let rules = FetchRules {
            timeout: settings.http_timeout,
            allow_http: settings.allow_http,
            max_body_bytes: MAX_DOCUMENT_BYTES,
        };
        let store = KeyStore {
            issuer: settings.name.clone(),
            metrics: observer.issuer(&settings.name),
            remote: place.map(|place| Remote { place, rules, refresh: settings.jwt.refresh }),
            stale_after: settings.jwt.stale_keys,
            keys: ArcSwapOption::empty(),
            fetches: watch::Sender::default(),
        };
        if let Some(keys) = local {
            store.hold(keys);
        }
        Ok(Arc::new(store))
    }

    /// Fetches at start, refreshes in the background and answers requests for unknown kids. To be spawned on the
    /// control runtime; ends when no snapshot holds the store any more. Returns at once for local sources.
    pub async fn maintain(self: Arc<Self>) {
        let Some(remote) = self.remote.clone() else { return };
        let store = Arc::downgrade(&self);
        drop(self);
        let mut discovered = None;
        let mut failures = 0;
        while let Some(mut fetches) = begin(&store) {
            let (result, pause) = match remote.fetch(&mut discovered).await {
                Ok((keys, max_age)) => {
                    failures = 0;
                    (Ok(keys), refresh_after(remote.refresh, max_age))
                }
                Err(problem) => {
                    failures += 1;
                    (Err(problem), retry_after(failures))
                }
            };
            let Some(store) = store.upgrade() else { return };
            store.end(result);
            drop(store);
            tokio::select! {
                () = sleep(pause) => discovered = None,
                wanted = fetches.wait_for(Fetches::is_wanted) => if wanted.is_err() { return },
            }
        }
    }

    /// Fetches once, as `maintain` does at start, and keeps nothing: how many usable keys there are.
    ///
    /// # Errors
    /// The keys can't be had; in words for the operator.
    pub async fn try_fetch(&self) -> Result<usize, String> {
        match &self.remote {
            Some(remote) => remote.fetch(&mut None).await.map(|(keys, _)| keys.len()),
            None => Ok(self.at_hand().map_or(0, |keys| keys.len())),
        }
    }

    /// Whether keys have arrived (`/readyz`). Once they have, trouble shows in `is_degraded` alone.
    pub fn is_ready(&self) -> bool {
        self.keys.load().is_some()
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
        let is_stale = self.remote.is_some() && held.fetched_at.elapsed() > self.stale_after && self.is_degraded();
        (!is_stale).then(|| held.keys.clone())
    }

    /// Whether a kid that isn't at hand may be found elsewhere.
    pub(in crate::token) fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// The keys after a fetch for a kid that isn't among those at hand. There is one such fetch in 5 s, however many
    /// ask; who comes while a fetch runs waits for it, up to `http_timeout`.
    ///
    /// # Errors
    /// The last fetch failed or takes too long.
    pub(in crate::token) async fn after_fetch(&self) -> Result<Arc<KeySet>, Unavailable> {
        let unavailable = Unavailable { retry_after: UNKNOWN_KID_INTERVAL };
        if let (Some(number), Some(remote)) = (self.want(), &self.remote) {
            let mut fetches = self.fetches.subscribe();
            let ended = fetches.wait_for(|fetches| fetches.ended >= number);
            if !matches!(timeout(remote.rules.timeout, ended).await, Ok(Ok(_))) {
                return Err(unavailable);
            }
        }
        if self.remote.is_some() && !self.fetches.borrow().is_ok {
            return Err(unavailable);
        }
        self.at_hand().ok_or(unavailable)
    }

    /// The number of the fetch to wait for; None where the last one has to do.
    fn want(&self) -> Option<u64> {
        let mut number = None;
        self.fetches.send_if_modified(|fetches| {
            let is_new = !fetches.is_running() && !fetches.is_wanted() && fetches.may_be_wanted();
            if is_new {
                fetches.wanted = fetches.ended + 1;
            }
            if fetches.is_running() || fetches.is_wanted() {
                number = Some(fetches.ended + 1);
            }
            is_new
        });
        number
    }

    fn end(&self, result: Result<KeySet, String>) {
        let result = result.map(|keys| self.hold(keys));
        self.fetches.send_modify(|fetches| {
            fetches.ended = fetches.begun;
            fetches.is_ok = result.is_ok();
        });
        let result = result.as_ref().map(|count| *count).map_err(String::as_str);
        KeysFetched { issuer: &self.issuer, result }.record(&self.metrics);
    }

    fn hold(&self, keys: KeySet) -> usize {
        for skipped in keys.skipped().iter().filter(|skipped| skipped.is_weak) {
            tracing::warn!(issuer = &*self.issuer, key = skipped.index + 1, "a key isn't used: {}", skipped.reason);
        }
        let count = keys.len();
        self.keys.store(Some(Arc::new(Held { keys: Arc::new(keys), fetched_at: Instant::now() })));
        count
    }
}

/// The next fetch begins; None where nobody needs it any more.
fn begin(store: &Weak<KeyStore>) -> Option<watch::Receiver<Fetches>> {
    let store = store.upgrade()?;
    store.fetches.send_modify(|fetches| {
        if fetches.is_wanted() {
            fetches.last_wanted = Some(Instant::now());
        }
        fetches.begun += 1;
    });
    Some(store.fetches.subscribe())
}

impl Fetches {
    fn is_running(&self) -> bool {
        self.begun > self.ended
    }
    /// Whether one is asked for that hasn't begun.
    fn is_wanted(&self) -> bool {
        self.wanted > self.begun
    }
    fn may_be_wanted(&self) -> bool {
        self.last_wanted.is_none_or(|begun| begun.elapsed() >= UNKNOWN_KID_INTERVAL)
    }
}

impl Remote {
    /// The keys, and how long the key server wants them to be kept. `discovered` remembers what metadata said.
    async fn fetch(&self, discovered: &mut Option<String>) -> Result<(KeySet, Option<Duration>), String> {
        let uri = match (&self.place, discovered.take()) {
            (Place::Uri(uri), _) => uri.clone(),
            (Place::Discovered(_), Some(uri)) => uri,
            (Place::Discovered(issuer), None) => discovery::find(issuer, "jwks_uri", &self.rules).await?,
        };
        let answer = get_json(&uri, &self.rules).await.map_err(|error| error.to_string())?;
        let keys = KeySet::parse(&answer.body)?;
        *discovered = Some(uri);
        Ok((keys, max_age(&answer.headers)))
    }
}

fn refresh_after(refresh: Duration, max_age: Option<Duration>) -> Duration {
    max_age.map_or(refresh, |age| refresh.min(age.max(MIN_MAX_AGE)))
}

fn retry_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(5);
    (FIRST_RETRY * 2u32.pow(doublings)).min(MAX_RETRY)
}

/// RFC 9111, section 5.2.2.1.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let ages = values.flat_map(|value| value.split(',')).filter_map(|directive| {
        let (name, age) = directive.trim().split_once('=')?;
        if !name.eq_ignore_ascii_case("max-age") {
            return None;
        }
        age.trim_matches('"').parse().ok().map(Duration::from_secs)
    });
    ages.min()
}

#[cfg(test)]
mod tests;
