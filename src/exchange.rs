//! One request from its head to the last byte of its answer: what is to be said of it when it is over.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{Method, Response, StatusCode, Uri, Version, http::request};

use crate::{
    body::{Body, Upload, Witness},
    decision::{Denial, Permit},
    headers::{self, RequestId, TraceContext, client_scheme},
    limit::Counted,
    observe::{Observer, RequestFinished, RouteMetrics, ShadowSays},
    path::CanonicalPath,
    refusal::Refusal,
    request as requests,
    respond::{Realm, Schemes},
    server::Arrival,
    snapshot::{Route, Snapshot},
    token::{credential::Fingerprint, principal::Principal},
    trace::{Beside, Span},
    upstream::{Carried, Tunnel, Upgrade},
};

/// The status that the log gives a request whose client went away before an answer (as nginx has it).
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Records itself when it is dropped: with the last byte of the answer, or when the client goes away. In a box from its beginning,
/// since it goes from the request's future to the answer's body.
#[derive(Debug)]
pub struct Exchange {
    observer: Arc<Observer>,
    snapshot: Arc<Snapshot>,
    began: Instant,
    request_id: RequestId,
    trace: TraceContext,
    span: Span,
    client_ip: IpAddr,
    trusted_peer: bool,
    scheme: &'static str,
    version: Version,
    method: Method,
    uri: Uri,
    host: Option<String>,
    path: Option<Arc<CanonicalPath>>,
    route: Option<usize>,
    counted: Counted,
    allowed: bool,
    enforced: bool,
    reason: &'static str,
    issuer: Option<Arc<str>>,
    principal: Option<Arc<Principal>>,
    token: Option<Fingerprint>,
    status: u16,
    upstream_time: Duration,
    attempts: u32,
    endpoint: Option<usize>,
    overhead: Option<Duration>,
    upload: Upload,
    bytes_out: u64,
    switch: Switch,
    shadow: Option<Arc<ShadowSays>>,
}

/// How far a request to change the protocol has come.
#[derive(Debug, Default)]
enum Switch {
    #[default]
    NotAsked,
    /// The client asks; the connection may last until then.
    Asked(Upgrade, Option<tokio::time::Instant>),
    /// The upstream agrees.
    Agreed(Upgrade, Option<tokio::time::Instant>, Tunnel),
    /// Bytes went both ways.
    Done(Carried),
}

impl Exchange {
    /// Begins with a head.
    pub fn begin(
        observer: Arc<Observer>,
        snapshot: Arc<Snapshot>,
        head: &request::Parts,
        arrival: &Arrival,
    ) -> Box<Exchange> {
        let trusted_peer = snapshot.trusted_proxies.trusts(arrival.peer);
        let trace = TraceContext::of(&head.headers, snapshot.tracing.share());
        Box::new(Exchange {
            began: Instant::now(),
            request_id: headers::request_id(&head.headers),
            span: snapshot.tracing.begin(&trace),
            trace,
            scheme: client_scheme(&head.headers, trusted_peer, arrival.scheme),
            version: head.version,
            client_ip: snapshot.trusted_proxies.client_ip(arrival.peer, &head.headers),
            trusted_peer,
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: requests::host(head),
            path: None,
            route: None,
            counted: Counted::default(),
            allowed: false,
            enforced: true,
            // What stays if the client goes away before anything is decided.
            reason: "timeout",
            issuer: None,
            principal: None,
            token: None,
            status: CLIENT_CLOSED_REQUEST,
            upstream_time: Duration::ZERO,
            attempts: 0,
            endpoint: None,
            overhead: None,
            upload: Upload::default(),
            bytes_out: 0,
            switch: Switch::NotAsked,
            shadow: None,
            observer,
            snapshot,
        })
    }
}

impl Exchange {
    /// When its head had arrived.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// X-Request-Id: the client's, or a new one.
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// W3C trace context: the client's, or a new one.
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }

    /// What is recorded of it.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Lower-case, without port and final dot.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Who asks, as far as trusted proxies tell.
    pub fn client_ip(&self) -> IpAddr {
        self.client_ip
    }

    /// `http` or `https`, as far as trusted proxies tell.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Whether the peer's forwarding headers are believed.
    pub fn trusted_peer(&self) -> bool {
        self.trusted_peer
    }

    /// The canonical path, once there is one.
    pub fn path(&self) -> Option<&CanonicalPath> {
        self.path.as_deref()
    }

    /// The same, to be kept.
    pub fn shared_path(&self) -> Option<&Arc<CanonicalPath>> {
        self.path.as_ref()
    }

    /// How a client may present its token where this has led.
    pub fn schemes(&self, asked_by_dpop: bool) -> Schemes<'_> {
        Schemes { realm: self.realm(), dpop: self.route().map(|route| &route.dpop), asked_by_dpop }
    }

    /// Keeps the canonical path for the log and hands it back for the decision.
    pub fn set_path(&mut self, path: CanonicalPath) -> Arc<CanonicalPath> {
        self.path.insert(Arc::new(path)).clone()
    }

    /// Follows an upload, for its bytes.
    pub fn uploads(&mut self, upload: Upload) {
        self.upload = upload;
    }

    /// Keeps what the route's limits have said.
    pub fn counted(&mut self, counted: Counted) {
        self.counted = counted;
    }

    /// What the route's limits have said.
    pub fn counts(&self) -> &Counted {
        &self.counted
    }

    /// Notes a decision.
    pub fn decided(&mut self, decision: &Result<Permit, Denial>) {
        match decision {
            Ok(permit) => {
                self.allowed = true;
                self.route = Some(permit.route());
                self.principal = permit.principal().cloned();
                self.issuer = self.principal.as_ref().map(|principal| principal.issuer().clone());
                self.token = self.principal.as_ref().map(|principal| principal.fingerprint());
                self.reason = if self.principal.is_some() { "ok" } else { "public" };
                if let Some(denial) = permit.overruled() {
                    self.denied(denial);
                    self.reason = denial.refusal.reason();
                    self.enforced = false;
                }
            }
            Err(denial) => self.denied(denial),
        }
    }

    /// What it goes by.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Keeps what a shadow says otherwise.
    pub fn shadow_says(&mut self, says: Option<Arc<ShadowSays>>) {
        self.shadow = says;
    }

    /// Notes a preflight that is answered for this route: nobody is asked who they are.
    pub fn preflight(&mut self, route: usize) {
        self.allowed = true;
        self.route = Some(route);
        self.reason = "public";
    }

    /// Of the challenges that may be an answer.
    fn realm(&self) -> &Realm {
        self.route().map_or(&self.snapshot.realm, |route| &route.realm)
    }

    /// Notes that a document of the gateway's own is the answer: no route was asked.
    pub fn document(&mut self) {
        self.allowed = true;
        self.reason = "public";
    }

    /// Notes that it may be a notice of this issuer's, for whom nobody is asked who they are.
    pub fn heard(&mut self, issuer: &Arc<str>) {
        self.issuer = Some(issuer.clone());
    }

    /// Notes that the issuer has signed what it brings.
    pub fn heard_well(&mut self) {
        self.allowed = true;
        self.reason = "ok";
    }

    /// Notes why what it brings isn't a notice.
    pub fn heard_nothing(&mut self, reason: &'static str) {
        self.allowed = false;
        self.reason = reason;
    }

    fn denied(&mut self, denial: &Denial) {
        self.allowed = false;
        self.route = denial.route;
        self.principal = denial.principal.clone();
        self.issuer = denial.issuer.clone();
        self.token = denial.token;
    }

    /// Notes a refusal; one that comes after a yes leaves the decision as it was, unless it has a reason of its own.
    pub fn refused(&mut self, refusal: &Refusal) {
        if !matches!(refusal, Refusal::Upstream(_)) {
            self.allowed = false;
            self.enforced = true;
            self.reason = refusal.reason();
        }
    }

    /// Notes time spent with the upstream, the attempts, and the endpoint of the last one.
    pub fn forwarded(&mut self, took: Duration, attempts: u32, endpoint: Option<usize>) {
        self.upstream_time = took;
        self.attempts = attempts;
        self.endpoint = endpoint;
    }

    /// The client asks for another protocol, which it may speak until then.
    pub fn may_switch(&mut self, upgrade: Upgrade, until: Option<tokio::time::Instant>) {
        self.switch = Switch::Asked(upgrade, until);
    }

    /// The upstream agrees to what the client asked for.
    pub fn switches(&mut self, tunnel: Tunnel) {
        self.switch = match std::mem::take(&mut self.switch) {
            Switch::Asked(upgrade, until) => Switch::Agreed(upgrade, until, tunnel),
            other => other,
        };
    }

    /// Rides along with the answer until its last byte; with a tunnel, until its end.
    pub fn answer_with(self: Box<Self>, response: Response<Body>) -> Response<Body> {
        self.answer_as(response.status(), response)
    }

    /// The same for an answer that says this status in other words.
    pub fn answer_as(mut self: Box<Self>, status: StatusCode, response: Response<Body>) -> Response<Body> {
        self.status = status.as_u16();
        self.overhead = Some(self.began.elapsed().saturating_sub(self.upstream_time));
        if let Switch::Agreed(upgrade, until, tunnel) = std::mem::take(&mut self.switch) {
            tokio::spawn(async move {
                let carried = Carried::default();
                tokio::select! {
                    () = tunnel.carry(upgrade, until, &carried) => {}
                    () = self.token_ended() => {}
                }
                self.tunnel_ended(carried);
            });
            return response;
        }
        response.map(|body| body.watched(self))
    }

    /// Waits until the token that let the request in is revoked; for ever where there was none.
    async fn token_ended(&self) {
        match &self.principal {
            Some(principal) => self.snapshot.revocations.ended(principal).await,
            None => std::future::pending().await,
        }
    }

    fn tunnel_ended(mut self: Box<Self>, carried: Carried) {
        self.bytes_out = carried.to_client();
        self.switch = Switch::Done(carried);
    }

    /// The route that the decision was about.
    pub fn route(&self) -> Option<&Route> {
        self.route.and_then(|route| self.snapshot.routes.get(route))
    }
}

impl Witness for Exchange {
    fn ended(mut self: Box<Self>, bytes_out: u64) {
        self.bytes_out = bytes_out;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let duration = self.began.elapsed();
        let mut span = std::mem::replace(&mut self.span, Span::none());
        let route = self.route();
        let upstream = route.filter(|_| self.attempts > 0).and_then(|route| route.upstream.as_ref());
        let of_shadow = self.snapshot.shadow.as_ref().and_then(|shadow| shadow.token_parameters());
        let metrics: &RouteMetrics = route.map_or(&self.snapshot.no_route, |route| &route.metrics);
        let finished = RequestFinished {
            request_id: self.request_id.as_str(),
            trace_id: self.trace.trace_id(),
            client_ip: self.client_ip,
            method: self.method.as_str(),
            host: self.host.as_deref(),
            path: self.path.as_ref().map_or_else(|| self.uri.path(), |path| path.as_str()),
            query: self.uri.query(),
            token_parameters: [&self.snapshot.token_parameters, of_shadow.as_deref().unwrap_or_default()],
            route: route.map_or("", |route| &route.settings.name),
            status: self.status,
            duration,
            overhead: self.overhead.unwrap_or_else(|| duration.saturating_sub(self.upstream_time)),
            bytes_in: match &self.switch {
                Switch::Done(carried) => carried.from_client(),
                _ => self.upload.bytes(),
            },
            bytes_out: self.bytes_out,
            upstream: upstream.map(|upstream| &*upstream.settings().name),
            endpoint: upstream.and_then(|upstream| upstream.endpoint(self.endpoint?)),
            attempts: self.attempts,
            allowed: self.allowed,
            enforced: self.enforced,
            reason: self.reason,
            issuer: self.issuer.as_deref(),
            subject: self.principal.as_ref().and_then(|principal| principal.subject()),
            client: self.principal.as_ref().and_then(|principal| principal.client()),
            token: self.token,
            shadow: self.shadow.as_deref(),
        };
        finished.record(&self.observer, metrics);
        if span.is_recorded() {
            let template = route.and_then(|route| route.settings.template_of(finished.path));
            let template = template.map(ToString::to_string);
            let (scheme, version, is_answered) = (self.scheme, self.version, self.overhead.is_some());
            span.describe(&finished, &Beside { template: template.as_deref(), is_answered, scheme, version });
        }
    }
}
