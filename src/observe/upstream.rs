//! What became of attempts at upstreams, and of their endpoints.

use std::time::Duration;

use super::{EndpointHealth, UpstreamMetrics, handles::HealthState};

/// An attempt at an upstream has ended with a response head or without.
#[derive(Debug)]
pub struct UpstreamAttempt {
    /// "ok" (an answer came, whatever its status) or "error".
    pub result: &'static str,
    /// Until the head or the failure.
    pub took: Duration,
}

impl UpstreamAttempt {
    /// Counts it.
    pub fn record(&self, metrics: &UpstreamMetrics) {
        if self.result == "ok" { &metrics.ok } else { &metrics.error }.inc();
        metrics.seconds.observe(self.took.as_secs_f64());
    }
}

/// What has become of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointChange {
    /// Active checks find it well again.
    Well,
    /// They don't.
    Unwell,
    /// It isn't asked for a while.
    Rests {
        /// In a row.
        failures: u32,
        /// How long.
        rest: Duration,
    },
    /// A request after a rest went well.
    Returned,
}

impl EndpointChange {
    /// Sets the metric and logs it.
    pub fn record(self, health: &EndpointHealth, is_healthy: bool) {
        health.set(is_healthy);
        let HealthState { upstream, endpoint, .. } = &*health.0;
        match self {
            EndpointChange::Well => tracing::info!(%upstream, %endpoint, "an endpoint is well again"),
            EndpointChange::Unwell => tracing::warn!(%upstream, %endpoint, "an endpoint isn't well"),
            EndpointChange::Rests { failures, rest } => {
                let rest_seconds = rest.as_secs_f64();
                tracing::warn!(%upstream, %endpoint, failures, rest_seconds, "an endpoint rests after failures in a row");
            }
            EndpointChange::Returned => tracing::info!(%upstream, %endpoint, "an endpoint that rested answers again"),
        }
    }
}
