//! The request path: decide, forward, answer.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use http_body::Body as _;
use hyper::{
    HeaderMap, Method, Request, Response,
    header::{AUTHORIZATION, HeaderValue},
    http::request,
};

use crate::{
    answer::OwnAnswer,
    body::{Arriving, Body, BodyLimits, RequestBody},
    cors,
    decision::{self, Decided, Permit},
    exchange::Exchange,
    headers,
    limit::Counted,
    observe::Observer,
    outgoing::{self, Sender},
    path::CanonicalPath,
    refusal::{Refusal, UpstreamFault},
    request::{self as requests, RequestView},
    respond,
    route::{Destination, Found},
    server::{Arrival, Asked},
    shadow::Copied,
    snapshot::{Route, Snapshot},
    token::credential::{self, Credential},
    upstream::Upgrade,
};

/// The gateway: one for the process, asked by all workers.
#[derive(Debug)]
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    observer: Arc<Observer>,
}

impl Gateway {
    /// A gateway that goes by this snapshot.
    pub fn new(snapshot: Snapshot, observer: Arc<Observer>) -> Gateway {
        Gateway { snapshot: ArcSwap::from_pointee(snapshot), observer }
    }

    /// What requests go by now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// From now on new requests go by this one. Those that are under way keep theirs.
    pub fn go_by(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Who is told of what happens.
    pub fn observer(&self) -> Arc<Observer> {
        self.observer.clone()
    }

    /// Answers one request that is to be forwarded. Time, log and the form of refusals are this function's; what happens in
    /// between is `answer`'s.
    pub(crate) async fn handle(&self, snapshot: Arc<Snapshot>, mut asked: Box<Asked>) -> Response<Body> {
        let head = &asked.head;
        let mut exchange = Exchange::begin(self.observer.clone(), snapshot.clone(), head, &asked.arrival);
        let head_only = head.method == Method::HEAD;
        let origin = cors::origin(&head.headers).cloned();

        let mut response = match answer(&snapshot, &mut exchange, &mut asked).await {
            Ok(response) => response,
            // Once its fields went on, no challenge comes of it.
            Err(refusal) => {
                let asked_by_dpop = credential::asks_by_dpop(&asked.head.headers);
                refuse(&mut exchange, &refusal, asked_by_dpop, head_only)
            }
        };
        write_on_all_answers(&exchange, origin.as_ref(), response.headers_mut());
        exchange.answer_with(response)
    }
}

/// A refusal, noted, as its client is to see it.
pub(crate) fn refuse(
    exchange: &mut Exchange,
    refusal: &Refusal,
    asked_by_dpop: bool,
    head_only: bool,
) -> Response<Body> {
    exchange.refused(refusal);
    let schemes = exchange.schemes(asked_by_dpop);
    let mut response = respond::refuse(refusal, schemes, exchange.request_id().as_str(), head_only);
    if let Some(route) = exchange.route() {
        route.settings.headers.response.add_to_own_answer(response.headers_mut());
    }
    response
}

/// What is left of the route's limits, and which pages may read the answer.
pub(crate) fn write_on_all_answers(exchange: &Exchange, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    let Some(route) = exchange.route() else { return };
    route.limits.write(exchange.counts(), headers);
    if let Some(cors) = &route.settings.cors {
        cors.write(origin, headers);
    }
}

async fn answer(snapshot: &Snapshot, exchange: &mut Exchange, asked: &mut Asked) -> Result<Response<Body>, Refusal> {
    let Asked { head, body, arrival } = asked;
    if let Some(fault) = &arrival.fault {
        return Err(fault.clone());
    }
    let path = canonical(exchange, head)?;
    if let Some(answer) = own_document(snapshot, exchange, head, &path, arrival) {
        return answer;
    }
    if let Some(place) = snapshot.notices.find(arrival.listener, path.as_str()) {
        ask_shadow(snapshot, exchange, head, arrival, Decided::document(&place.takes(&head.method)));
        let body = std::mem::replace(body, Arriving::nothing());
        return Box::pin(place.receive(snapshot, exchange, (&head.method, &head.headers), body, arrival)).await;
    }
    if let Some(answer) = preflight(snapshot, exchange, head, &path, arrival) {
        return Ok(answer);
    }
    let permit = decide(snapshot, exchange, head, &path, arrival).await?;
    let Some(route) = snapshot.routes.get(permit.route()) else { return Err(Refusal::NoRoute) };
    let is_private = permit.credential().is_some_and(Credential::is_from_elsewhere);
    let mut response = match prepare(snapshot, exchange, route, permit, asked)? {
        Prepared::Here(response) => response,
        Prepared::Upstream(permit, request) => {
            forward(snapshot, exchange, route, permit, request, &asked.arrival).await?
        }
    };
    if is_private {
        headers::make_private(response.headers_mut());
    }
    Ok(response)
}

/// What is permitted, ready to be done.
enum Prepared {
    /// It is answered here.
    Here(Response<Body>),
    /// This is to be sent.
    Upstream(Permit, Box<Request<RequestBody>>),
}

/// Makes of a request what its route wants. Not a part of `answer`, whose future would keep room for all of this.
fn prepare(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    route: &Route,
    permit: Permit,
    Asked { head, body, arrival }: &mut Asked,
) -> Result<Prepared, Refusal> {
    let body = std::mem::replace(body, Arriving::nothing());
    let body = upload(snapshot, exchange, route, body, arrival)?;
    match &route.settings.destination {
        Destination::Answer(answer) => answer_here(exchange, route, answer, permit, &head.method).map(Prepared::Here),
        Destination::Upstream(_) => {
            let upgrade = Upgrade::asked(head, !body.is_end_stream());
            let until = upgrade.as_ref().and_then(|_| tunnel_end(&permit, &body));
            let mut request = outgoing(snapshot, exchange, route, &permit, head, body, arrival)?;
            if let Some(upgrade) = upgrade {
                upgrade.write(request.headers_mut());
                exchange.may_switch(upgrade, until);
            }
            Ok(Prepared::Upstream(permit, request))
        }
        Destination::Decision => Err(Refusal::NoRoute),
    }
}

/// The path made canonical, noted.
pub(crate) fn canonical(exchange: &mut Exchange, head: &request::Parts) -> Result<Arc<CanonicalPath>, Refusal> {
    Ok(exchange.set_path(canonical_path(&head.method, head.uri.path())?))
}

/// The path made canonical, where the target has one.
pub(crate) fn canonical_path(method: &Method, path: &str) -> Result<CanonicalPath, Refusal> {
    if path == "*" && method == Method::OPTIONS {
        return Err(Refusal::NoRoute);
    }
    if method == Method::CONNECT {
        return Err(Refusal::Method { allow: "".into() });
    }
    CanonicalPath::parse(path)
}

/// One of the gateway's own documents, if one is there. Made without a permit: it says the same to everybody.
pub(crate) fn own_document(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    head: &request::Parts,
    path: &CanonicalPath,
    arrival: &Arrival,
) -> Option<Result<Response<Body>, Refusal>> {
    let document = snapshot.well_known.find(arrival.listener, exchange.host(), path.as_str())?;
    let answer = document.answer(&head.method);
    if answer.is_ok() {
        exchange.document();
    }
    ask_shadow(snapshot, exchange, head, arrival, Decided::document(&answer));
    Some(answer)
}

/// The answer to a CORS preflight, where the route for the method that it asks for has `cors`. Made without a permit:
/// browsers send no token along, and nothing but the route's `cors` is told.
pub(crate) fn preflight(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    head: &request::Parts,
    path: &CanonicalPath,
    arrival: &Arrival,
) -> Option<Response<Body>> {
    let asked = (&head.method, &head.headers);
    let index = preflight_route(snapshot, arrival.listener, exchange.host(), path, asked)?;
    let cors = snapshot.routes.get(index)?.settings.cors.as_ref()?;
    exchange.preflight(index);
    ask_shadow(snapshot, exchange, head, arrival, Decided::preflight(index));
    Some(cors.preflight(cors::origin(&head.headers)))
}

/// The index of the route that answers a CORS preflight; None where it isn't one, or is the upstream's affair.
pub(crate) fn preflight_route(
    snapshot: &Snapshot,
    listener: usize,
    host: Option<&str>,
    path: &CanonicalPath,
    (method, headers): (&Method, &HeaderMap),
) -> Option<usize> {
    let asked = cors::asked_method(method, headers)?;
    let Found::Route { index, .. } = snapshot.table.find(listener, host, path.as_str(), &asked) else { return None };
    snapshot.routes.get(index)?.settings.cors.is_some().then_some(index)
}

/// The decision, noted.
pub(crate) async fn decide(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    head: &request::Parts,
    path: &CanonicalPath,
    arrival: &Arrival,
) -> Result<Permit, Refusal> {
    let view = RequestView {
        listener: arrival.listener,
        method: &head.method,
        host: exchange.host(),
        authority: requests::authority(head),
        scheme: exchange.scheme(),
        path,
        query: head.uri.query(),
        headers: &head.headers,
        client_ip: exchange.client_ip(),
        trusted_peer: exchange.trusted_peer(),
        certificate: arrival.client_certificate,
        span: exchange.span(),
    };
    let mut counted = Counted::default();
    let decided = decision::decide(snapshot, &view, &mut counted).await;
    exchange.counted(counted);
    exchange.decided(&decided);
    ask_shadow(snapshot, exchange, head, arrival, Decided::of(&decided));
    decided.map_err(|denial| denial.refusal)
}

/// Puts a request that is decided to the shadow, if there is one: what that says is told, and changes nothing.
fn ask_shadow(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    head: &request::Parts,
    arrival: &Arrival,
    decided: Decided,
) {
    let (Some(shadow), Some(path)) = (&snapshot.shadow, exchange.shared_path()) else { return };
    let says = shadow.compare(Copied {
        listener: arrival.listener,
        method: head.method.clone(),
        uri: head.uri.clone(),
        host: exchange.host().map(str::to_owned),
        scheme: exchange.scheme(),
        path: path.clone(),
        headers: head.headers.clone(),
        client_ip: exchange.client_ip(),
        trusted_peer: exchange.trusted_peer(),
        certificate: arrival.client_certificate,
        request_id: exchange.request_id().clone(),
        snapshot: exchange.snapshot().clone(),
        decided,
    });
    exchange.shadow_says(says);
}

/// The body under the route's limits.
fn upload(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    route: &Route,
    body: Arriving,
    arrival: &Arrival,
) -> Result<RequestBody, Refusal> {
    let limits = BodyLimits {
        max_bytes: route.settings.max_body_bytes,
        idle: snapshot.body_timeout,
        deadline: route.settings.timeout.and_then(|timeout| exchange.began().checked_add(timeout)).map(Into::into),
    };
    let body = RequestBody::new(body, limits, arrival.body_fault.clone(), snapshot.reserved.clone());
    body.check_declared()?;
    exchange.uploads(body.upload());
    Ok(body)
}

/// The request as the upstream is to see it. Takes the head's fields.
fn outgoing(
    snapshot: &Snapshot,
    exchange: &Exchange,
    route: &Route,
    permit: &Permit,
    head: &mut request::Parts,
    body: RequestBody,
    arrival: &Arrival,
) -> Result<Box<Request<RequestBody>>, Refusal> {
    let Some(path) = exchange.path() else { return Err(Refusal::NoRoute) };
    let from = Sender {
        peer: arrival.peer,
        is_trusted: exchange.trusted_peer(),
        version: head.version,
        scheme: arrival.scheme,
        authority: requests::authority_value(head),
        request_id: exchange.request_id(),
        trace: exchange.trace(),
    };
    let target = outgoing::target(path, route, &head.uri)?;
    let sent = permit.principal().and_then(|_| head.headers.get(AUTHORIZATION)).cloned();
    let mut fields = outgoing::fields(snapshot, route, std::mem::take(&mut head.headers), &from);
    if let (Some(principal), Some(credential)) = (permit.principal(), permit.credential()) {
        route.settings.identity.write_authorization(credential, sent, &mut fields);
        route.settings.identity.write(principal, &mut fields);
        if let Some(assertor) = &route.assertor {
            assertor.write(principal, &mut fields)?;
        }
    }
    let mut request = Box::new(Request::new(body));
    *request.uri_mut() = target;
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = fields;
    Ok(request)
}

/// When a tunnel ends at the latest: with the token that let it in, as any verification would say, and with the route's time.
fn tunnel_end(permit: &Permit, body: &RequestBody) -> Option<tokio::time::Instant> {
    let until = permit.principal().and_then(|principal| {
        let end = Duration::from_secs(u64::try_from(principal.ends_at()?).unwrap_or(0));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        tokio::time::Instant::now().checked_add(end.saturating_sub(now))
    });
    [until, body.deadline()].into_iter().flatten().min()
}

/// Gives the permit up for an answer of our own.
pub(crate) fn answer_here(
    exchange: &Exchange,
    route: &Route,
    answer: &OwnAnswer,
    permit: Permit,
    method: &Method,
) -> Result<Response<Body>, Refusal> {
    let Some(path) = exchange.path() else { return Err(Refusal::NoRoute) };
    let mut response = answer.give(permit, path, *method == Method::HEAD)?;
    route.settings.headers.response.add_to_own_answer(response.headers_mut());
    Ok(response)
}

/// Gives the permit up for the upstream's answer.
async fn forward(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    route: &Route,
    permit: Permit,
    request: Box<Request<RequestBody>>,
    arrival: &Arrival,
) -> Result<Response<Body>, Refusal> {
    let Some(upstream) = &route.upstream else { return Err(Refusal::Upstream(UpstreamFault::Unavailable)) };
    let logged_out = permit.principal().filter(|_| route.settings.revokes).cloned();
    let sent = Instant::now();
    let span = exchange.span().as_parent();
    let outcome = match logged_out {
        None => upstream.forward(permit, arrival.worker, request, &arrival.body_fault, span).await,
        Some(principal) => {
            let (upstream, worker, body_fault) = (upstream.clone(), arrival.worker, arrival.body_fault.clone());
            let (alive, revocations) = (arrival.alive.clone(), snapshot.revocations.clone());
            let forwarding = async move { upstream.forward(permit, worker, request, &body_fault, span).await };
            Box::pin(snapshot.logouts.see_through(forwarding, principal, revocations, alive)).await?
        }
    };
    exchange.forwarded(sent.elapsed(), outcome.attempts, outcome.endpoint);
    let mut response = outcome.answer?;
    if let Some(tunnel) = outcome.tunnel {
        exchange.switches(tunnel);
    }
    if route.settings.cors.is_some() {
        cors::remove_answers_of_others(response.headers_mut());
    }
    route.settings.headers.response.change_answer(response.headers_mut());
    Ok(response)
}
