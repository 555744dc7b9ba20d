//! What operators watch: one struct per event, metric and log line together. Handles are bound at load, so that no
//! request looks a metric up by its labels' text.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::token::credential::Fingerprint;

/// `logging:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingSettings {
    /// A level or RUST_LOG syntax.
    pub level: String,
    /// json, text; None: by whether stdout is a terminal.
    pub format: Option<LogFormat>,
    /// One line per request.
    pub access: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The metrics of the process and the sink of its log. One for the process, held by Arc.
#[derive(Debug)]
pub struct Observer {}

/// A route's metrics, bound. Index 0 of a snapshot's list is for "no route".
#[derive(Debug)]
pub struct RouteMetrics {}

/// An issuer's metrics, bound.
#[derive(Debug)]
pub struct IssuerMetrics {}

/// An upstream's metrics with its one endpoint, bound.
#[derive(Debug)]
pub struct UpstreamMetrics {}

/// A listener's metrics, bound.
#[derive(Debug)]
pub struct ListenerMetrics {}

impl Observer {
    /// One that counts, and logs nowhere.
    pub fn silent() -> Arc<Observer> {
        Arc::new(Observer {})
    }
    /// Binds a route's metrics; "" for requests that no route takes.
    pub fn route(&self, _route: &str) -> RouteMetrics {
        RouteMetrics {}
    }
    /// Binds an issuer's metrics, by its key in the configuration.
    pub fn issuer(&self, _issuer: &str) -> IssuerMetrics {
        IssuerMetrics {}
    }
    /// Binds an upstream's metrics. `endpoint` is its authority.
    pub fn upstream(&self, _upstream: &str, _endpoint: &str) -> UpstreamMetrics {
        UpstreamMetrics {}
    }
    /// Binds a listener's metrics.
    pub fn listener(&self, _listener: &str) -> ListenerMetrics {
        ListenerMetrics {}
    }
}

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
    pub fn record(&self, _metrics: &IssuerMetrics) {}
}

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
    pub fn record(&self, _metrics: &IssuerMetrics) {}
}

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
    pub fn record(&self, _metrics: &UpstreamMetrics) {}
}

impl UpstreamMetrics {
    /// Connections now in use and idle in the pool.
    pub fn connections(&self, _active_change: i64, _idle_change: i64) {}
}

impl ListenerMetrics {
    /// A connection was opened (1) or closed (-1).
    pub fn connections(&self, _change: i64) {}
}

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
}

impl RequestFinished<'_> {
    /// Counts and logs it.
    pub fn record(&self, _observer: &Observer, _route: &RouteMetrics) {}
}
