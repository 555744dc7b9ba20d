//! Metrics bound to their labels at load.
//!
//! A request must neither take a lock nor hash label text, and yet most combinations of labels never occur, so
//! binding all of them at load would show thousands of zero samples. So each handle is a table of `OnceLock` cells
//! indexed by small numbers (method, status, reason…): the first event of a kind binds its cell, every later one
//! is an index and an atomic add. What has no place in a table (a status that is rare, the ninth issuer of a route) is
//! looked up each time, which costs a read lock and is right all the same.

use std::{
    array,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{gone::Held, metrics::Metrics, request::outcome, sink::lock};

/// The methods that metrics name; any other is the last one.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "OTHER"];

/// The statuses that have a cell.
const STATUSES: [u16; 36] = [
    200, 201, 202, 204, 206, 304, 401, 403, 404, 101, 207, 301, 302, 303, 307, 308, 400, 405, 406, 408, 409, 410, 412,
    413, 415, 416, 422, 429, 431, 499, 500, 501, 502, 503, 504, 426,
];

/// The contract's reasons, the frequent ones first.
const REASONS: [&str; 38] = [
    "ok",
    "public",
    "no_credential",
    "expired",
    "scope",
    "no_route",
    "role",
    "signature",
    "malformed",
    "invalid_request",
    "unknown_issuer",
    "unknown_key",
    "algorithm",
    "typ",
    "crit",
    "audience",
    "not_yet_valid",
    "issued_in_future",
    "too_old",
    "missing_claim",
    "revoked",
    "inactive",
    "binding",
    "claim",
    "token_kind",
    "acr",
    "max_age",
    "condition",
    "keys_unavailable",
    "introspection_unavailable",
    "rate_limit",
    "method",
    "path",
    "framing",
    "header",
    "size",
    "timeout",
    "issuer",
];

/// The algorithms that a verification names; "" where the token names none that is known.
const ALGORITHMS: [&str; 13] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256", "HS384", "HS512", ""];

/// Issuers of one route that have cells.
const ISSUERS: usize = 8;

type Cells<const N: usize> = [OnceLock<IntCounter>; N];

fn cells<const N: usize>() -> Box<Cells<N>> {
    Box::new(array::from_fn(|_| OnceLock::new()))
}

/// A route's metrics, bound. Index 0 of a snapshot's list is for "no route".
#[derive(Debug)]
pub struct RouteMetrics {
    route: Box<str>,
    _held: Held,
    requests: IntCounterVec,
    by_method: [OnceLock<Box<Cells<{ STATUSES.len() }>>>; METHODS.len()],
    decisions: IntCounterVec,
    without_issuer: Box<DecisionCells>,
    /// Filled from the front, never emptied.
    by_issuer: [OnceLock<(Box<str>, Box<DecisionCells>)>; ISSUERS],
    rate_limited: IntCounterVec,
    rate_limited_here: OnceLock<IntCounter>,
    shadow_decisions: IntCounterVec,
    /// By the outcome and the shadow's: of no and no, no and yes, yes and no, yes and yes.
    shadow_here: Cells<4>,
    pub(super) request_seconds: Histogram,
    pub(super) overhead_seconds: Histogram,
}

#[derive(Debug)]
struct DecisionCells {
    allow: Box<Cells<{ REASONS.len() }>>,
    deny: Box<Cells<{ REASONS.len() }>>,
}

impl DecisionCells {
    fn new() -> Box<DecisionCells> {
        Box::new(DecisionCells { allow: cells(), deny: cells() })
    }
}

impl RouteMetrics {
    pub(super) fn new(metrics: &Metrics, held: Held, route: &str) -> RouteMetrics {
        RouteMetrics {
            route: route.into(),
            _held: held,
            requests: metrics.requests.clone(),
            by_method: array::from_fn(|_| OnceLock::new()),
            decisions: metrics.decisions.clone(),
            without_issuer: DecisionCells::new(),
            by_issuer: array::from_fn(|_| OnceLock::new()),
            rate_limited: metrics.rate_limited.clone(),
            rate_limited_here: OnceLock::new(),
            shadow_decisions: metrics.shadow_decisions.clone(),
            shadow_here: array::from_fn(|_| OnceLock::new()),
            request_seconds: metrics.request_seconds.with_label_values(&[route]),
            overhead_seconds: metrics.overhead_seconds.with_label_values(&[route]),
        }
    }

    pub(super) fn count_request(&self, method: &str, status: u16) {
        let method_index = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let method = METHODS.get(method_index).copied().unwrap_or("OTHER");
        let cell = STATUSES
            .iter()
            .position(|known| *known == status)
            .and_then(|index| self.by_method.get(method_index)?.get_or_init(cells).get(index));
        count(cell, || self.requests.with_label_values(&[&*self.route, method, &status.to_string()]));
    }

    pub(super) fn count_decision(&self, issuer: Option<&str>, allowed: bool, reason: &'static str) {
        let cell = self.decision_cells(issuer).and_then(|cells| {
            let row = if allowed { &cells.allow } else { &cells.deny };
            row.get(reason_index(reason)?)
        });
        count(cell, || {
            let issuer = issuer.unwrap_or_default();
            self.decisions.with_label_values(&[&*self.route, issuer, outcome(allowed), reason])
        });
    }

    pub(super) fn count_rate_limited(&self) {
        self.rate_limited_here.get_or_init(|| self.rate_limited.with_label_values(&[&*self.route])).inc();
    }

    pub(super) fn count_shadow(&self, allowed: bool, shadow_allowed: bool) {
        let outcomes = [allowed, shadow_allowed].map(outcome);
        let [outcome, shadow_outcome] = outcomes;
        count(self.shadow_here.get(usize::from(allowed) * 2 + usize::from(shadow_allowed)), || {
            self.shadow_decisions.with_label_values(&[&*self.route, outcome, shadow_outcome])
        });
    }

    fn decision_cells(&self, issuer: Option<&str>) -> Option<&DecisionCells> {
        let Some(issuer) = issuer else {
            return Some(&self.without_issuer);
        };
        // The first free cell is taken by whoever comes first; whoever lost that race looks at the next.
        self.by_issuer
            .iter()
            .map(|cell| cell.get_or_init(|| (issuer.into(), DecisionCells::new())))
            .find(|(bound, _)| **bound == *issuer)
            .map(|(_, cells)| &**cells)
    }
}

pub(super) fn reason_index(reason: &str) -> Option<usize> {
    REASONS.iter().position(|known| *known == reason)
}

#[inline]
fn count(cell: Option<&OnceLock<IntCounter>>, bind: impl Fn() -> IntCounter) {
    match cell {
        Some(cell) => cell.get_or_init(bind).inc(),
        None => bind().inc(),
    }
}

/// An issuer's metrics, bound.
#[derive(Debug)]
pub struct IssuerMetrics {
    verifications: IntCounterVec,
    by_algorithm: [OnceLock<Box<Cells<{ REASONS.len() }>>>; ALGORITHMS.len()],
    pub(super) verification_seconds: Histogram,
    pub(super) fetches_ok: IntCounter,
    pub(super) fetches_error: IntCounter,
    pub(super) keys: Arc<KeysState>,
}

/// What is known of an issuer's fetches; one for all snapshots that have the issuer.
#[derive(Debug)]
pub(super) struct KeysState {
    pub(super) issuer: Box<str>,
    pub(super) count: IntGauge,
    last: Mutex<LastFetch>,
    /// Written where something goes wrong, so that what goes well costs nothing.
    trouble: Mutex<Option<Trouble>>,
}

/// The last thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What, in words for the operator. Holds nothing of a token, a secret or an answer.
    pub message: String,
    /// When.
    pub at: SystemTime,
}

#[derive(Debug, Default)]
struct LastFetch {
    good: Option<Instant>,
    /// How old the keys were then.
    age: Duration,
    failed: bool,
}

impl KeysState {
    pub(super) fn new(metrics: &Metrics, issuer: &str) -> KeysState {
        let count = metrics.jwks_keys.with_label_values(&[issuer]);
        KeysState { issuer: issuer.into(), count, last: Mutex::default(), trouble: Mutex::default() }
    }

    /// Notes a fetch that went well. True if it was the first one, or the one before it failed.
    pub(super) fn fetched(&self) -> bool {
        let last = &mut *lock(&self.last);
        let is_news = last.good.is_none() || last.failed;
        *last = LastFetch { good: Some(Instant::now()), age: Duration::ZERO, failed: false };
        is_news
    }

    /// Notes that keys of this age serve.
    pub(super) fn restored(&self, age: Duration) {
        *lock(&self.last) = LastFetch { good: Some(Instant::now()), age, failed: true };
    }

    pub(super) fn failed(&self, message: &str) {
        lock(&self.last).failed = true;
        self.troubled(message);
    }

    pub(super) fn troubled(&self, message: &str) {
        *lock(&self.trouble) = Some(Trouble { message: message.to_owned(), at: SystemTime::now() });
    }

    /// Since the last fetch that went well.
    pub(super) fn age(&self) -> Option<Duration> {
        let last = lock(&self.last);
        last.good.map(|good| good.elapsed().saturating_add(last.age))
    }
}

impl IssuerMetrics {
    pub(super) fn new(metrics: &Metrics, keys: Arc<KeysState>) -> IssuerMetrics {
        let issuer = &*keys.issuer;
        IssuerMetrics {
            verifications: metrics.verifications.clone(),
            by_algorithm: array::from_fn(|_| OnceLock::new()),
            verification_seconds: metrics.verification_seconds.clone(),
            fetches_ok: metrics.jwks_fetches.with_label_values(&[issuer, "ok"]),
            fetches_error: metrics.jwks_fetches.with_label_values(&[issuer, "error"]),
            keys,
        }
    }

    /// So many keys were in the configuration or its files: nothing had to be fetched.
    pub fn keys_at_load(&self, count: usize) {
        self.keys.count.set(i64::try_from(count).unwrap_or(i64::MAX));
        if count > 0 {
            self.keys.fetched();
        }
    }

    /// What went wrong last with a call to it.
    pub fn last_trouble(&self) -> Option<Trouble> {
        lock(&self.keys.trouble).clone()
    }

    pub(super) fn count_verification(&self, algorithm: &'static str, result: &'static str) {
        let cell = ALGORITHMS
            .iter()
            .position(|known| *known == algorithm)
            .and_then(|index| self.by_algorithm.get(index)?.get_or_init(cells).get(reason_index(result)?));
        count(cell, || self.verifications.with_label_values(&[&*self.keys.issuer, algorithm, result]));
    }
}

/// The metrics of questions to an issuer, bound.
#[derive(Debug)]
pub struct IntrospectionMetrics {
    pub(super) issuer: Arc<KeysState>,
    pub(super) ok: IntCounter,
    pub(super) error: IntCounter,
    pub(super) seconds: Histogram,
}

impl IntrospectionMetrics {
    pub(super) fn new(metrics: &Metrics, issuer: Arc<KeysState>) -> IntrospectionMetrics {
        let name = &*issuer.issuer;
        IntrospectionMetrics {
            ok: metrics.introspections.with_label_values(&[name, "ok"]),
            error: metrics.introspections.with_label_values(&[name, "error"]),
            seconds: metrics.introspection_seconds.with_label_values(&[name]),
            issuer,
        }
    }
}

/// The metrics of an upstream's own tokens, bound.
#[derive(Debug)]
pub struct EgressMetrics {
    pub(super) ok: IntCounter,
    pub(super) error: IntCounter,
}

impl EgressMetrics {
    pub(super) fn new(metrics: &Metrics, upstream: &str) -> EgressMetrics {
        EgressMetrics {
            ok: metrics.egress_tokens.with_label_values(&[upstream, "ok"]),
            error: metrics.egress_tokens.with_label_values(&[upstream, "error"]),
        }
    }
}

/// The token cache's metrics, bound.
#[derive(Clone, Debug)]
pub struct TokenCacheMetrics {
    hits: IntCounter,
    misses: IntCounter,
    waits: IntCounter,
    entries: IntGauge,
    bytes: IntGauge,
}

/// What the token cache has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCacheReport {
    /// Tokens that are remembered.
    pub entries: u64,
    /// Memory that they take.
    pub bytes: u64,
    /// Tokens that were found.
    pub hits: u64,
    /// Tokens that weren't.
    pub misses: u64,
    /// Tokens that weren't, while another request was about to learn of them.
    pub waits: u64,
}

impl TokenCacheReport {
    /// The share of tokens that were found, from 0 to 1; None before the first one.
    pub fn hit_rate(&self) -> Option<f64> {
        let looked_for = self.hits + self.misses + self.waits;
        (looked_for > 0).then(|| self.hits as f64 / looked_for as f64)
    }
}

impl TokenCacheMetrics {
    pub(super) fn new(metrics: &Metrics) -> TokenCacheMetrics {
        TokenCacheMetrics {
            hits: metrics.token_cache_requests.with_label_values(&["hit"]),
            misses: metrics.token_cache_requests.with_label_values(&["miss"]),
            waits: metrics.token_cache_requests.with_label_values(&["wait"]),
            entries: metrics.token_cache_entries.clone(),
            bytes: metrics.token_cache_bytes.clone(),
        }
    }

    /// A token was found.
    pub fn hit(&self) {
        self.hits.inc();
    }

    /// A token wasn't found.
    pub fn miss(&self) {
        self.misses.inc();
    }

    /// A token wasn't found, and another request was about to learn of it.
    pub fn wait(&self) {
        self.waits.inc();
    }

    /// How it stands now.
    pub fn report(&self) -> TokenCacheReport {
        let count = |gauge: &IntGauge| u64::try_from(gauge.get()).unwrap_or(0);
        TokenCacheReport {
            entries: count(&self.entries),
            bytes: count(&self.bytes),
            hits: self.hits.get(),
            misses: self.misses.get(),
            waits: self.waits.get(),
        }
    }

    /// So many more entries, or fewer, and the bytes that they take.
    pub fn held(&self, entries_change: i64, bytes_change: i64) {
        self.entries.add(entries_change);
        self.bytes.add(bytes_change);
    }
}

/// The revocations' metrics.
#[derive(Clone, Debug)]
pub struct RevocationMetrics(pub(super) IntGaugeVec);

impl RevocationMetrics {
    /// So many more are held that were asked for there, or fewer.
    pub fn held(&self, source: &'static str, change: i64) {
        self.0.with_label_values(&[source]).add(change);
    }
}

/// Whether what replicas share can be reached.
#[derive(Clone, Debug)]
pub struct SharedStateMetrics(pub(super) IntGauge);

impl SharedStateMetrics {
    /// Whether the server answered.
    pub fn up(&self, up: bool) {
        self.0.set(i64::from(up));
    }
}

/// The metrics of an upstream's endpoint, bound.
#[derive(Debug)]
pub struct UpstreamMetrics {
    _held: [Held; 2],
    pub(super) ok: IntCounter,
    pub(super) error: IntCounter,
    pub(super) seconds: Histogram,
    active: IntGauge,
    idle: IntGauge,
}

impl UpstreamMetrics {
    pub(super) fn new(metrics: &Metrics, held: [Held; 2], upstream: &str, endpoint: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            _held: held,
            ok: metrics.upstream_requests.with_label_values(&[upstream, endpoint, "ok"]),
            error: metrics.upstream_requests.with_label_values(&[upstream, endpoint, "error"]),
            seconds: metrics.upstream_seconds.with_label_values(&[upstream]),
            active: metrics.upstream_connections.with_label_values(&[upstream, "active"]),
            idle: metrics.upstream_connections.with_label_values(&[upstream, "idle"]),
        }
    }

    /// Connections now in use and idle in the pool.
    pub fn connections(&self, active_change: i64, idle_change: i64) {
        for (gauge, change) in [(&self.active, active_change), (&self.idle, idle_change)] {
            if change != 0 {
                gauge.add(change);
            }
        }
    }
}

/// Whether an endpoint is asked, as its metric has it; one for all that look at the same endpoint.
#[derive(Clone, Debug)]
pub struct EndpointHealth(pub(super) Arc<HealthState>);

#[derive(Debug)]
pub(super) struct HealthState {
    pub(super) upstream: Box<str>,
    pub(super) endpoint: Box<str>,
    healthy: IntGauge,
}

impl EndpointHealth {
    pub(super) fn new(metrics: &Metrics, upstream: &str, endpoint: &str) -> EndpointHealth {
        let healthy = metrics.upstream_healthy.with_label_values(&[upstream, endpoint]);
        EndpointHealth(Arc::new(HealthState { upstream: upstream.into(), endpoint: endpoint.into(), healthy }))
    }

    /// It is asked, or not.
    pub fn set(&self, is_healthy: bool) {
        self.0.healthy.set(i64::from(is_healthy));
    }
}

/// A listener's metrics, bound.
#[derive(Debug)]
pub struct ListenerMetrics(pub(super) IntGauge);

impl ListenerMetrics {
    /// Connections that are open now.
    pub fn open(&self) -> i64 {
        self.0.get()
    }

    /// A connection was opened (1) or closed (-1).
    pub fn connections(&self, change: i64) {
        self.0.add(change);
    }
}
