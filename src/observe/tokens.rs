//! What became of tokens: verified here, or asked about.

use std::time::Duration;

use super::{IntrospectionMetrics, IssuerMetrics};

/// A token's verification has ended (not: was found in a cache).
#[derive(Debug)]
pub struct Verified {
    /// RS256…, "" where the token doesn't say one that is known.
    pub algorithm: &'static str,
    /// "ok" or a reason.
    pub result: &'static str,
    /// Time spent, fetches apart.
    pub took: Duration,
}

impl Verified {
    /// Counts it.
    pub fn record(&self, metrics: &IssuerMetrics) {
        metrics.count_verification(self.algorithm, self.result);
        metrics.verification_seconds.observe(self.took.as_secs_f64());
    }
}

/// A question to an issuer about a token has ended. Metrics, and a log line where it failed.
#[derive(Debug)]
pub struct Introspected<'e> {
    /// The issuer's key in the configuration.
    pub issuer: &'e str,
    /// What went wrong. Holds nothing of the token or the answer.
    pub result: Result<(), &'e str>,
    /// Until the answer or the failure.
    pub took: Duration,
}

impl Introspected<'_> {
    /// Counts it. `is_news`: whether the question before went otherwise; the same trouble again is told at debug.
    pub fn record(&self, metrics: &IntrospectionMetrics, is_news: bool) {
        let issuer = self.issuer;
        metrics.seconds.observe(self.took.as_secs_f64());
        match self.result {
            Ok(()) => {
                metrics.ok.inc();
                if is_news {
                    tracing::info!(issuer, "tokens can be asked about again");
                }
            }
            Err(error) => {
                metrics.error.inc();
                metrics.issuer.troubled(error);
                if is_news {
                    tracing::warn!(issuer, error, "a token could not be asked about");
                } else {
                    tracing::debug!(issuer, error, "a token could not be asked about");
                }
            }
        }
    }
}
