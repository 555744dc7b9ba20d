//! Tokens to call upstreams with.

use std::time::Duration;

use super::EgressMetrics;

/// A token endpoint has given a token to call an upstream with, or none. Metric and log line.
#[derive(Debug)]
pub struct EgressTokenAsked<'e> {
    /// The upstream's key in the configuration.
    pub upstream: &'e str,
    /// How long the token is good, or what went wrong. Holds nothing of a token, a secret or the answer.
    pub result: Result<Duration, &'e str>,
}

impl EgressTokenAsked<'_> {
    /// Counts it. `is_news`: whether the time before it went otherwise; the same again is told at debug.
    pub fn record(&self, metrics: &EgressMetrics, is_news: bool) {
        let upstream = self.upstream;
        match self.result {
            Ok(lifetime) => {
                metrics.ok.inc();
                let expires_in = lifetime.as_secs();
                if is_news {
                    tracing::info!(upstream, expires_in, "there are tokens for the upstream again");
                } else {
                    tracing::debug!(upstream, expires_in, "a token for the upstream");
                }
            }
            Err(error) => {
                metrics.error.inc();
                if is_news {
                    tracing::warn!(upstream, error, "no token for the upstream");
                } else {
                    tracing::debug!(upstream, error, "no token for the upstream");
                }
            }
        }
    }
}
