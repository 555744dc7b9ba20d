//! forward(Permit, request) -> response: the only way out.

mod addresses;
mod alarm;
mod alone;
mod answer;
mod answered;
mod attempt;
mod balance;
pub mod connect;
mod connection;
mod counted;
mod credentials;
mod dress;
mod endpoint;
mod exchange;
mod expectation;
mod health;
mod pool;
mod retry;
mod settings;
mod standing;
mod upgrade;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use hyper::{
    HeaderMap, Request, Response,
    header::{HOST, HeaderValue},
};

use crate::{
    body::{Body, BodyFault, RequestBody},
    decision::Permit,
    egress::{EgressSettings, TokenSource},
    refusal::{Refusal, UpstreamFault},
    trace::Parent,
};
use answered::Answered;
use endpoint::Endpoint;
use exchange::Try;
use retry::Budget;
pub use upgrade::{Carried, Tunnel, Upgrade};

pub use endpoint::{EndpointAddress, EndpointParts};
pub use settings::{Balance, Ejection, HealthCheck, PemFile, Retry, UpstreamTls};
pub use standing::{EndpointIdentity, Standing};

/// An upstream as the configuration gives it, compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamSettings {
    /// The key in the configuration, or the route's name for a URL in place.
    pub name: Arc<str>,
    /// Where it is.
    pub endpoint: EndpointAddress,
    /// TCP and TLS together.
    pub connect_timeout: Duration,
    /// Until the response's head, from the last byte of the request; None: no end.
    pub response_timeout: Option<Duration>,
    /// How long a pooled connection may idle.
    pub idle_timeout: Duration,
    /// Connections at a time to each endpoint; None: no limit.
    pub max_connections: Option<usize>,
    /// Whether the client's Host goes on.
    pub preserve_host: bool,
    /// Further places where it is.
    pub further_endpoints: Vec<EndpointAddress>,
    /// How its endpoints take turns.
    pub balance: Balance,
    /// Whether HTTP/2 is spoken to it without TLS, too.
    pub http2: bool,
    /// Active checks; None: none.
    pub health: Option<HealthCheck>,
    /// Passive ones; None: nobody rests.
    pub eject: Option<Ejection>,
    /// Which requests are tried again.
    pub retry: Retry,
    /// Certificates.
    pub tls: UpstreamTls,
    /// Whether it takes `/A` and `/a` for the same path.
    pub ignores_case: bool,
    /// The token of the gateway's own that it is called with; None: the caller's goes on.
    pub token: Option<EgressSettings>,
}

impl UpstreamSettings {
    /// All places where it is; one at least.
    pub fn endpoints(&self) -> impl Iterator<Item = &EndpointAddress> {
        std::iter::once(&self.endpoint).chain(&self.further_endpoints)
    }
}

/// An upstream that serves: its connections outlive the configuration's snapshots as long as its settings stay equal.
pub struct Upstream {
    settings: UpstreamSettings,
    /// In the order of the settings.
    endpoints: Box<[Arc<Endpoint>]>,
    /// Whose turn it is.
    turn: AtomicUsize,
    budget: Budget,
    is_maintained: AtomicBool,
    /// What it is called with in the place of the caller's token.
    token: Option<Arc<TokenSource>>,
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointReport<'u> {
    /// As log and metrics name it.
    pub endpoint: &'u str,
    /// Whether requests go there as they come.
    pub is_healthy: bool,
    /// Requests that are at it.
    pub in_flight: usize,
    /// How long it rests still; zero: the next request tries it. None: it doesn't rest.
    pub rest: Option<Duration>,
}

/// What came of a request.
pub struct Exchange {
    /// The upstream's answer, its hop-by-hop fields removed and its framing unambiguous; or why there is none.
    pub answer: Result<Response<Body>, Refusal>,
    /// How often it was tried; at least one where anything was tried at all.
    pub attempts: u32,
    /// The endpoint that was tried last, as `Upstream::endpoint` knows it.
    pub endpoint: Option<usize>,
    /// Set where the answer is 101: the upstream has switched to a protocol that was asked for.
    pub tunnel: Option<Tunnel>,
}

impl Upstream {
    /// One with an empty pool for each of so many workers at each endpoint, whose `parts` are in the order of the
    /// settings. `token`: where the settings say that it has a token of its own, what gets it; without, nothing is sent to
    /// such an upstream. May read the machine's trust store.
    pub fn new(
        settings: UpstreamSettings,
        workers: usize,
        parts: impl IntoIterator<Item = EndpointParts>,
        token: Option<Arc<TokenSource>>,
    ) -> Arc<Upstream> {
        let endpoints = settings.endpoints().zip(parts);
        let endpoints = endpoints
            .map(|(address, parts)| Arc::new(Endpoint::new(address.clone(), &settings, workers, parts)))
            .collect();
        let budget = Budget::new(settings.retry.budget_percent);
        Arc::new(Upstream {
            endpoints,
            turn: AtomicUsize::new(0),
            budget,
            is_maintained: AtomicBool::new(false),
            token,
            settings,
        })
    }

    /// What it was made from.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// An endpoint, as log and metrics name it.
    pub fn endpoint(&self, index: usize) -> Option<&str> {
        self.endpoints.get(index).map(|endpoint| &*endpoint.label)
    }

    /// How each endpoint is.
    pub fn report(&self) -> impl Iterator<Item = EndpointReport<'_>> {
        self.endpoints.iter().map(|endpoint| {
            let (is_healthy, rest) = endpoint.standing.report();
            EndpointReport { endpoint: &endpoint.label, is_healthy, in_flight: endpoint.busy(), rest }
        })
    }

    /// The `Host` that this upstream's first endpoint is sent in the place of the request's own; None where that is kept.
    pub fn host_for(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.endpoints.first().and_then(|endpoint| self.host_at(endpoint, headers))
    }

    fn host_at(&self, endpoint: &Endpoint, headers: &HeaderMap) -> Option<HeaderValue> {
        let is_kept = self.settings.preserve_host && headers.contains_key(HOST);
        (!is_kept).then(|| endpoint.authority.clone())
    }

    /// Sends the request and waits for the head of its answer. The answer's body keeps the connection: dropped before
    /// its end, it closes it. Dropping this future ends the upstream's request, too.
    ///
    /// `worker` picks the pool; call it on that worker's runtime, where a new connection will live. Expects the
    /// request's fields to be final but for `Host` and framing: hop-by-hop fields removed, ours written.
    ///
    /// Attempts are told as steps of `span`, and are what the upstream sees as the sender (`traceparent`).
    ///
    /// The refusal is that in `body_fault` where the client's body was at fault, else the upstream's.
    pub async fn forward(
        &self,
        permit: Permit,
        worker: usize,
        request: Box<Request<RequestBody>>,
        body_fault: &BodyFault,
        span: Parent,
    ) -> Exchange {
        let mut this_try = Try::new(worker, &request, self.caller(&permit), span);
        let answer = match (&self.token, &self.settings.token) {
            (None, None) => self.exchange(request, &mut this_try).await,
            (Some(source), _) => Box::pin(self.exchange_with_token(source, &permit, request, &mut this_try)).await,
            (None, Some(_)) => Err(Refusal::Upstream(UpstreamFault::Unavailable)),
        };
        let answer = answer.map_err(|fault| body_fault.get().cloned().unwrap_or(fault));
        let Try { attempts, endpoint, .. } = this_try;
        match answer {
            Ok(Answered { response, tunnel }) => Exchange { answer: Ok(response), attempts, endpoint, tunnel },
            Err(refusal) => Exchange { answer: Err(refusal), attempts, endpoint, tunnel: None },
        }
    }

    /// Whom the request speaks for, where that chooses the endpoint.
    fn caller(&self, permit: &Permit) -> Option<u64> {
        if self.settings.balance != Balance::Hash {
            return None;
        }
        let principal = permit.principal()?;
        // The same in every process, so that replicas agree.
        let mut hasher = DefaultHasher::new();
        (principal.issuer(), principal.subject()?).hash(&mut hasher);
        Some(hasher.finish())
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("settings", &self.settings).finish_non_exhaustive()
    }
}
