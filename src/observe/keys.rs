//! What became of issuers' keys.

use std::time::Duration;

use super::IssuerMetrics;

/// A fetch of an issuer's keys has ended. Metric and log line (info for the first good one, warn for an error).
#[derive(Debug)]
pub struct KeysFetched<'e> {
    /// The issuer's key in the configuration.
    pub issuer: &'e str,
    /// How many usable keys there are, or what went wrong.
    pub result: Result<usize, &'e str>,
}

impl KeysFetched<'_> {
    /// Counts and logs it.
    pub fn record(&self, metrics: &IssuerMetrics) {
        let issuer = self.issuer;
        match self.result {
            Ok(keys) => {
                metrics.fetches_ok.inc();
                metrics.keys.count.set(i64::try_from(keys).unwrap_or(i64::MAX));
                if metrics.keys.fetched() {
                    tracing::info!(issuer, keys, "keys fetched");
                } else {
                    tracing::debug!(issuer, keys, "keys fetched");
                }
            }
            Err(error) => {
                metrics.fetches_error.inc();
                metrics.keys.failed(error);
                tracing::warn!(issuer, error, "keys could not be fetched");
            }
        }
    }
}

/// An issuer's keys can't be fetched, and those of an earlier run serve. Metric and log line (warn).
#[derive(Debug)]
pub struct KeysRestored<'e> {
    /// The issuer's key in the configuration.
    pub issuer: &'e str,
    /// How many usable keys there are.
    pub keys: usize,
    /// Since they were fetched.
    pub age: Duration,
}

impl KeysRestored<'_> {
    /// Sets count and age, and logs it.
    pub fn record(&self, metrics: &IssuerMetrics) {
        metrics.keys.count.set(i64::try_from(self.keys).unwrap_or(i64::MAX));
        metrics.keys.restored(self.age);
        let age_seconds = self.age.as_secs();
        tracing::warn!(issuer = self.issuer, keys = self.keys, age_seconds, "keys of an earlier run serve");
    }
}
