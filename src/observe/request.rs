//! A request that is over.

use std::{net::IpAddr, time::Duration};

use super::{Observer, RouteMetrics, ShadowSays};
use crate::token::credential::Fingerprint;

/// One request is over: all of its answer was sent, or its client is gone. Metrics and the access log's line.
#[derive(Debug)]
pub struct RequestFinished<'e> {
    /// X-Request-Id.
    pub request_id: &'e str,
    /// Of traceparent: 32 hex digits.
    pub trace_id: &'e str,
    /// Who asked.
    pub client_ip: IpAddr,
    /// As sent; metrics call unknown ones OTHER.
    pub method: &'e str,
    /// Lower-case, without port.
    pub host: Option<&'e str>,
    /// Canonical, or as sent where it has no canonical form, with the query; token parameters' values left out by the log.
    pub path: &'e str,
    /// Without the question mark.
    pub query: Option<&'e str>,
    /// Besides those that are known anywhere, of the configuration in force and of its shadow: as `token_parameter` makes them.
    pub token_parameters: [&'e [Box<str>]; 2],
    /// "" where none matched.
    pub route: &'e str,
    /// Of the answer.
    pub status: u16,
    /// From head to the answer's last byte.
    pub duration: Duration,
    /// The part that was spent here.
    pub overhead: Duration,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// Where it went, if it did.
    pub upstream: Option<&'e str>,
    /// Its authority.
    pub endpoint: Option<&'e str>,
    /// 0 where it went nowhere.
    pub attempts: u32,
    /// Whether the decision was a yes.
    pub allowed: bool,
    /// False where it was a no and the request went on all the same (`enforce: false`).
    pub enforced: bool,
    /// One of the contract's reasons.
    pub reason: &'static str,
    /// Whose token it was.
    pub issuer: Option<&'e str>,
    /// Of the token.
    pub subject: Option<&'e str>,
    /// Of the token.
    pub client: Option<&'e str>,
    /// Of the token.
    pub token: Option<Fingerprint>,
    /// What a shadow says, where it says otherwise and that is known by now.
    pub shadow: Option<&'e ShadowSays>,
}

impl RequestFinished<'_> {
    /// Counts and logs it.
    pub fn record(&self, observer: &Observer, route: &RouteMetrics) {
        route.count_request(self.method, self.status);
        route.count_decision(self.issuer, self.allowed, self.reason);
        if self.reason == "rate_limit" {
            route.count_rate_limited();
        }
        route.request_seconds.observe(self.duration.as_secs_f64());
        route.overhead_seconds.observe(self.overhead.as_secs_f64());
        observer.log_request(self);
    }

    /// The `outcome` label and the log's `decision`.
    pub(crate) fn outcome(&self) -> &'static str {
        outcome(self.allowed)
    }
}

/// The `outcome` label and the log's `decision`.
pub(super) fn outcome(allowed: bool) -> &'static str {
    if allowed { "allow" } else { "deny" }
}
