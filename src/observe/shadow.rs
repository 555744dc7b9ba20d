//! What a shadow says beside the decisions in force.

use std::sync::Arc;

use prometheus::IntCounter;

use super::{RouteMetrics, request::outcome};

/// The metrics of a shadow that are no route's.
#[derive(Clone, Debug)]
pub struct ShadowMetrics(pub(super) IntCounter);

impl ShadowMetrics {
    /// A request wasn't decided by the shadow: too many of its questions are under way.
    pub fn skipped(&self) {
        self.0.inc();
    }
}

/// A request was decided by a shadow, too. Metric.
#[derive(Clone, Copy, Debug)]
pub struct ShadowCompared {
    /// What is in force.
    pub allowed: bool,
    /// What the shadow says.
    pub shadow_allowed: bool,
}

impl ShadowCompared {
    /// Counts it at the route in force.
    pub fn record(self, route: &RouteMetrics) {
        route.count_shadow(self.allowed, self.shadow_allowed);
    }
}

/// What a shadow says of a request. Its names are the configuration's, its words fixed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShadowSays {
    /// The route's name; "" where none matched.
    pub route: Arc<str>,
    /// Whether it would have been let in.
    pub allowed: bool,
    /// One of the contract's reasons.
    pub reason: &'static str,
}

impl ShadowSays {
    /// The `shadow_outcome` label and the log's `shadow_decision`.
    pub fn outcome(&self) -> &'static str {
        outcome(self.allowed)
    }
}

/// A shadow says otherwise. Log line.
#[derive(Debug)]
pub struct ShadowDiffers<'e> {
    /// X-Request-Id.
    pub request_id: &'e str,
    /// As sent.
    pub method: &'e str,
    /// Canonical, without the query.
    pub path: &'e str,
    /// What is in force.
    pub in_force: &'e ShadowSays,
    /// What the shadow says.
    pub shadow: &'e ShadowSays,
    /// How often it has said just this.
    pub count: u64,
}

impl ShadowDiffers<'_> {
    /// Logs it.
    pub fn record(&self) {
        let ShadowDiffers { request_id, method, path, in_force, shadow, count } = self;
        tracing::info!(
            request_id,
            method,
            path,
            route = &*in_force.route,
            decision = in_force.outcome(),
            reason = in_force.reason,
            shadow_route = &*shadow.route,
            shadow_decision = shadow.outcome(),
            shadow_reason = shadow.reason,
            count,
            "shadow differs"
        );
    }
}

/// A shadow's file was read. Log line.
#[derive(Debug)]
pub struct ShadowReloaded<'e> {
    /// As it was named.
    pub file: &'e str,
    /// The hash of what the shadow goes by from now on and what of it is new, or how much is wrong with it.
    pub result: Result<(&'e str, &'e str), &'e str>,
}

impl ShadowReloaded<'_> {
    /// Logs it.
    pub fn record(&self) {
        let file = self.file;
        match self.result {
            Ok((hash, changed)) => tracing::info!(file, hash, changed, "shadow reloaded"),
            Err(error) => tracing::error!(file, error, "the shadow can't be used; the one before goes on"),
        }
    }
}
