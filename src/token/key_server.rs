//! Where an issuer publishes its keys, and how often it is asked.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{HeaderMap, header::CACHE_CONTROL};

use super::{
    discovery,
    issuer::{IssuerSettings, KeySource},
    key_set::KeySet,
};
use crate::fetch::{FetchRules, Trust, get_json};

/// A `max-age` below this counts as this.
const MIN_MAX_AGE: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// A JWKS or a metadata document.
pub(in crate::token) const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// A server of keys.
#[derive(Clone, Debug)]
pub(in crate::token) struct KeyServer {
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

/// A key set as it was fetched.
#[derive(Debug)]
pub(in crate::token) struct FetchedKeys {
    pub(in crate::token) keys: KeySet,
    /// The JWKS.
    pub(in crate::token) text: Bytes,
    /// How long the key server wants it to be kept.
    max_age: Option<Duration>,
}

impl KeyServer {
    /// None where the keys aren't fetched.
    pub(in crate::token) fn of(settings: &IssuerSettings) -> Option<KeyServer> {
        let place = match &settings.jwt.keys {
            KeySource::Discovery => Place::Discovered(settings.issuer.clone()?),
            KeySource::Uri(uri) => Place::Uri(uri.clone()),
            KeySource::File(_)
            | KeySource::Inline(_)
            | KeySource::PublicKeys(_)
            | KeySource::Secret(_)
            | KeySource::Nowhere => return None,
        };
        let extra = settings.tls_ca.iter().flat_map(|roots| roots.certificates());
        let rules = FetchRules {
            timeout: settings.http_timeout,
            allow_http: settings.allow_http,
            max_body_bytes: MAX_DOCUMENT_BYTES,
            trust: Arc::new(Trust::with(extra.cloned())),
        };
        Some(KeyServer { place, rules, refresh: settings.jwt.refresh })
    }

    /// A fetch takes no longer.
    pub(in crate::token) fn timeout(&self) -> Duration {
        self.rules.timeout
    }

    /// Fetches the keys. `discovered` remembers what metadata said.
    pub(in crate::token) async fn fetch(&self, discovered: &mut Option<String>) -> Result<FetchedKeys, String> {
        let uri = match (&self.place, discovered.take()) {
            (Place::Uri(uri), _) => uri.clone(),
            (Place::Discovered(_), Some(uri)) => uri,
            (Place::Discovered(issuer), None) => discovery::find(issuer, "jwks_uri", &self.rules).await?,
        };
        let answer = get_json(&uri, &self.rules).await.map_err(|error| error.to_string())?;
        let keys = KeySet::parse(&answer.body)?;
        *discovered = Some(uri);
        Ok(FetchedKeys { keys, max_age: max_age(&answer.headers), text: answer.body })
    }

    /// When to ask again after a fetch that went well.
    pub(in crate::token) fn refresh_after(&self, fetched: &FetchedKeys) -> Duration {
        refresh_after(self.refresh, fetched.max_age)
    }
}

fn refresh_after(refresh: Duration, max_age: Option<Duration>) -> Duration {
    max_age.map_or(refresh, |age| refresh.min(age.max(MIN_MAX_AGE)))
}

/// When to ask again after so many failures in a row.
pub(in crate::token) fn retry_after(failures: u32) -> Duration {
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
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn when_to_fetch_again() {
        let ages = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.extend(values.iter().map(|value| (CACHE_CONTROL, value.parse().unwrap())));
            max_age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(ages(&[]), None);
        assert_eq!(ages(&["public, Max-Age=300, must-revalidate"]), Some(300));
        assert_eq!(ages(&["max-age=\"300\"", "s-maxage=1", "max-age=200"]), Some(200));
        assert_eq!(ages(&["max-age=-1", "max-age=x", "max-age"]), None);
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(refresh_after(minutes(10), None), minutes(10));
        assert_eq!(refresh_after(minutes(10), Some(minutes(60))), minutes(10));
        assert_eq!(refresh_after(minutes(10), Some(minutes(5))), minutes(5));
        assert_eq!(refresh_after(minutes(10), Some(Duration::ZERO)), minutes(1));
        let retries: Vec<u64> = [1, 2, 3, 5, 6, 100, u32::MAX].map(|failures| retry_after(failures).as_secs()).into();
        assert_eq!(retries, [1, 2, 4, 16, 30, 30, 30]);
    }
}
