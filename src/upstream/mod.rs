//! forward(Permit, request) -> response: the only way out.

pub mod connect;
mod connection;
mod credentials;
mod exchange;
mod pool;
mod settings;
mod upgrade;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use http_body::Body as _;
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING},
    http::uri::PathAndQuery,
};
use tokio::sync::Semaphore;

use crate::{
    body::{Body, BodyFault, RequestBody},
    decision::Permit,
    egress::{EgressSettings, TokenSource},
    headers::remove_hop_by_hop,
    observe::UpstreamMetrics,
    refusal::{Refusal, UpstreamFault},
};
use connect::TlsClient;
use pool::Pool;
pub use upgrade::{Carried, Tunnel, Upgrade};

pub use settings::{Balance, Ejection, HealthCheck, PemFile, Retry, UpstreamTls};

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
    /// Connections at a time; None: no limit.
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
    /// Passive ones.
    pub eject: Ejection,
    /// Which requests are tried again.
    pub retry: Retry,
    /// Certificates.
    pub tls: UpstreamTls,
    /// Whether it takes `/A` and `/a` for the same path.
    pub ignores_case: bool,
    /// The token of the gateway's own that it is called with; None: the caller's goes on.
    pub token: Option<EgressSettings>,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointAddress {
    /// https.
    pub tls: bool,
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Put before the request's path; without a final slash; mostly empty.
    pub base_path: String,
    /// A Unix socket in the place of host and port.
    pub socket: Option<PathBuf>,
}

impl EndpointAddress {
    /// What `Host` says: the port only where it isn't the scheme's own.
    pub fn authority(&self) -> String {
        let default_port = if self.tls { 443 } else { 80 };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port { host } else { format!("{host}:{}", self.port) }
    }
}

/// An upstream that serves: its connections outlive the configuration's snapshots as long as its settings stay equal.
pub struct Upstream {
    settings: UpstreamSettings,
    authority: HeaderValue,
    pool: Arc<Pool>,
    /// None: no limit.
    slots: Option<Arc<Semaphore>>,
    /// None: plain HTTP, or no TLS to be had; see `connect`.
    tls: Option<TlsClient>,
    /// Whether the last connection that could be asked did: with TLS the endpoint decides.
    speaks_http2: AtomicBool,
    /// What it is called with in the place of the caller's token.
    token: Option<Arc<TokenSource>>,
}

/// What came of a request.
pub struct Exchange {
    /// The upstream's answer, its hop-by-hop fields removed and its framing unambiguous; or why there is none.
    pub answer: Result<Response<Body>, Refusal>,
    /// How often it was tried; at least one where anything was tried at all.
    pub attempts: u32,
    /// Set where the answer is 101: the upstream has switched to a protocol that was asked for.
    pub tunnel: Option<Tunnel>,
}

impl Upstream {
    /// One with an empty pool for each of so many workers. `token`: where its settings say that it has a token of its
    /// own, what gets it; without, nothing is sent to such an upstream. May read the machine's trust store.
    pub fn new(
        settings: UpstreamSettings,
        workers: usize,
        metrics: UpstreamMetrics,
        token: Option<Arc<TokenSource>>,
    ) -> Arc<Upstream> {
        let authority =
            HeaderValue::try_from(settings.endpoint.authority()).unwrap_or(HeaderValue::from_static("upstream"));
        let tls = settings.endpoint.tls.then(|| TlsClient::new(&settings.tls, &settings.endpoint.host));
        let tls = tls.and_then(|made| {
            made.inspect_err(|error| tracing::error!(upstream = %settings.name, %error, "no TLS to be had")).ok()
        });
        let speaks_http2 = AtomicBool::new(settings.http2);
        let slots = settings.max_connections.map(|most| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))));
        let pool = Arc::new(Pool::new(workers, settings.idle_timeout, metrics));
        Arc::new(Upstream { settings, authority, pool, slots, tls, speaks_http2, token })
    }

    /// What it was made from.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// Its authority, as `Host`, log and metrics have it.
    pub fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// The `Host` that this upstream is sent in the place of the request's own; None where that is kept.
    pub fn host_for(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let is_kept = self.settings.preserve_host && headers.contains_key(HOST);
        (!is_kept).then(|| self.authority.clone())
    }

    /// Sends the request and waits for the head of its answer. The answer's body keeps the connection: dropped before
    /// its end, it closes it. Dropping this future ends the upstream's request, too.
    ///
    /// `worker` picks the pool; call it on that worker's runtime, where a new connection will live. Expects the
    /// request's fields to be final but for `Host` and framing: hop-by-hop fields removed, ours written.
    ///
    /// The refusal is that in `body_fault` where the client's body was at fault, else the upstream's.
    pub async fn forward(
        &self,
        permit: Permit,
        worker: usize,
        mut request: Request<RequestBody>,
        body_fault: &BodyFault,
    ) -> Exchange {
        let mut attempts = 0;
        if let Err(fault) = self.address(&mut request) {
            return Exchange { answer: Err(fault), attempts, tunnel: None };
        }
        let answer = match (&self.token, &self.settings.token) {
            (None, None) => self.exchange(worker, request, &mut attempts).await,
            (Some(source), _) => self.exchange_with_token(source, &permit, worker, request, &mut attempts).await,
            (None, Some(_)) => Err(Refusal::Upstream(UpstreamFault::Unavailable)),
        };
        let answer = answer.map_err(|fault| body_fault.get().cloned().unwrap_or(fault));
        match answer {
            Ok(Answered { response, tunnel }) => Exchange { answer: Ok(response), attempts, tunnel },
            Err(refusal) => Exchange { answer: Err(refusal), attempts, tunnel: None },
        }
    }

    /// Writes target, `Host`, version and framing as this upstream is to see them.
    fn address(&self, request: &mut Request<RequestBody>) -> Result<(), Refusal> {
        *request.uri_mut() = self.target(request.uri())?;
        *request.version_mut() = Version::HTTP_11;
        if let Some(host) = self.host_for(request.headers()) {
            request.headers_mut().insert(HOST, host);
        }
        frame_for_http1(request);
        Ok(())
    }

    /// Origin form (RFC 9112, section 3.2.1), after the endpoint's own path.
    fn target(&self, uri: &Uri) -> Result<Uri, Refusal> {
        let base = &self.settings.endpoint.base_path;
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        if base.is_empty() {
            return Ok(uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from));
        }
        PathAndQuery::try_from(format!("{base}{path}"))
            .map(Uri::from)
            .map_err(|_| Refusal::Path("the path cannot be sent on"))
    }
}

/// A body of unknown length is chunked with every method: without this, hyper drops that of a GET.
fn frame_for_http1(request: &mut Request<RequestBody>) {
    if !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
        request.headers_mut().remove(CONTENT_LENGTH);
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    } else {
        request.headers_mut().remove(TRANSFER_ENCODING);
    }
}

/// An answer, and the tunnel behind it.
struct Answered {
    response: Response<Body>,
    tunnel: Option<Tunnel>,
}

/// The answer as it may leave: hop-by-hop fields removed, one length at most.
fn cleaned<B>(response: &mut Response<B>) -> Result<(), UpstreamFault> {
    // Nothing was asked to be upgraded, and no coding but chunked was (RFC 9112, section 7): what is left of another one
    // would reach the client without its name.
    if response.status().is_informational() || !is_plainly_coded(response.headers()) {
        return Err(UpstreamFault::Broken);
    }
    // The version is each connection's own (RFC 9110, section 6.2).
    *response.version_mut() = Version::HTTP_11;
    let no_content = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    // Transfer-Encoding overrides a length, which then must go (RFC 9112, section 6.3); 204 has none (RFC 9110, 8.6).
    if no_content || headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    // Equal lengths, or hyper would have refused them.
    if headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some()
        && let Some(length) = headers.remove(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, length);
    }
    remove_hop_by_hop(headers);
    Ok(())
}

/// No transfer coding, or chunked once.
fn is_plainly_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// Whether the head speaks of a body: one that sends it all the same, where there can be none, is heard too late.
fn announces_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("settings", &self.settings).finish_non_exhaustive()
    }
}
