//! A whole request played through without being sent: what the gateway would answer, or send upstream. For policy tests
//! and for people who ask why.
//!
//! ```text
//! let question = Question::new("GET", "https://api.example.com/x", HeaderMap::new())?;
//! let presented = Presented::Assumed { issuer: snapshot.issuer("cern").ok_or("no such issuer")?, claims: &claims };
//! let answer = rehearse(&snapshot, &question, presented).await;
//! answer.is_allowed(); answer.status(); answer.reason(); answer.route(&snapshot); answer.rule(); answer.upstream_headers;
//! ```
//!
//! The snapshot is one that serves, or one from `Snapshot::assemble` under `Observer::silent()`. Nothing is counted,
//! limited or cached; with `Presented::Assumed`, or `may_fetch: false`, nobody is called, so that no runtime with I/O is
//! needed and no `KeyStore::maintain`.

use std::net::{IpAddr, Ipv4Addr};

use hyper::{
    HeaderMap, Method, StatusCode, Uri, Version,
    header::{AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue},
    http::uri::PathAndQuery,
};

use crate::{
    assertion::MASKED_ASSERTION,
    decide::check_unchanged,
    decision::rehearsal::{Presented, Rehearsal, rehearse as decide, route_of},
    gateway,
    headers::{self, DPOP, TraceContext},
    identity::masked_authorization,
    outgoing::{self, Sender},
    path::CanonicalPath,
    refusal::Refusal,
    request::{self as requests, RequestView},
    route::Destination,
    server::{self, ListenMode},
    snapshot::{Route, Snapshot},
    token::{self, credential, place::TokenPlace, rehearsal::Binding, secret::Secret},
    trace::Span,
};

/// Who asks where nothing else is said.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Stands for a value that is made anew for each request.
const NEW: HeaderValue = HeaderValue::from_static("(new for each request)");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request that isn't sent.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where it would come in: an index into `Policy::listen`. None, unless changed: at the first listener that forwards,
    /// or at the first one where none does.
    pub listener: Option<usize>,
    /// The other end of the connection. Loopback unless changed.
    pub peer: IpAddr,
    /// When it is asked, in Unix seconds. The time at which the question was made unless changed.
    pub now: i64,
    method: Method,
    scheme: &'static str,
    /// Path and query, as written.
    target: String,
    /// With `Host`, where the address has one.
    headers: HeaderMap,
    /// Sent along where the route takes its tokens from.
    token: Option<Secret>,
}

/// What would come of a request.
#[derive(Debug)]
pub struct Answer {
    /// Of the decision.
    pub decision: Rehearsal,
    /// The path in its canonical form, with its other readings; None where it has none.
    pub path: Option<CanonicalPath>,
    /// What the upstream would be sent, names in lower case and in alphabetical order; `Authorization` is masked. Empty
    /// where nothing would.
    pub upstream_headers: Vec<(String, String)>,
    /// The path and query that the upstream would be asked for.
    pub upstream_target: Option<String>,
    status: StatusCode,
    is_enforced: bool,
}

impl Question {
    /// A request of this method for `http://host/path?query`, `https://…` or `/path`, with these header fields.
    ///
    /// # Errors
    /// What can't be a request at all, in words. (What can be one and is refused, is an answer.)
    pub fn new(method: &str, url: &str, mut headers: HeaderMap) -> Result<Question, String> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is not a method"))?;
        if method == Method::CONNECT && server::is_authority(url) {
            return Ok(Question::at("http", method, url.to_owned(), headers));
        }
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest),
            _ if url.starts_with('/') || url == "*" => {
                return Ok(Question::at("http", method, url.to_owned(), headers));
            }
            _ => return Err(format!("`{url}` is neither an http address nor a path")),
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("the address has a user before its host: leave it out".to_owned());
        }
        if !server::is_authority(authority) {
            return Err(format!("`{authority}` is not a host"));
        }
        if !headers.contains_key(HOST) {
            headers.insert(HOST, HeaderValue::from_str(authority).map_err(|_| format!("`{authority}` is not a host"))?);
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Question::at(scheme, method, format!("{slash}{target}"), headers))
    }

    fn at(scheme: &'static str, method: Method, target: String, headers: HeaderMap) -> Question {
        Question { listener: None, peer: LOOPBACK, now: token::now(), method, scheme, target, headers, token: None }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The host that it is for: lower-case, without port and final dot.
    pub fn host(&self) -> Option<String> {
        let mut head = hyper::Request::new(()).into_parts().0;
        head.headers = self.headers.clone();
        requests::host(&head)
    }

    /// Whether the path is written so.
    pub fn is_for(&self, path: &str) -> bool {
        self.target.split(['?', '#']).next() == Some(path)
    }

    /// What is asked for, as it reads: `https://api.example.com/x?y`.
    pub fn url(&self) -> String {
        let host = self.headers.get(HOST).and_then(|host| host.to_str().ok());
        host.map_or_else(|| self.target.clone(), |host| format!("{}://{host}{}", self.scheme, self.target))
    }

    /// Sends a token along: as `Authorization: Bearer`, or `DPoP` where the request has a proof, on a route that takes one there,
    /// else in the first of the places in its `token_from`.
    ///
    /// # Errors
    /// It has characters that no header can carry.
    pub fn present(&mut self, token: &str) -> Result<(), String> {
        HeaderValue::from_str(token).map_err(|_| "the token has characters that no header can carry".to_owned())?;
        self.token = Some(Secret::new(token.as_bytes().to_vec()));
        Ok(())
    }

    /// Where it comes in: an index into `Policy::listen`.
    pub fn comes_in_at(&self, snapshot: &Snapshot) -> usize {
        self.listener.unwrap_or(snapshot.main_listener)
    }
}

impl Answer {
    /// Whether the decision is a yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self.decision.outcome, Ok(None))
    }

    /// Whether the decision would be carried out: not for a no on a route with `enforce: false`.
    pub fn is_enforced(&self) -> bool {
        self.is_enforced
    }

    /// The status that the client would see: of our own answer, or 200 where the upstream says.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Why: one of the reasons that metrics and log know.
    pub fn reason(&self) -> &'static str {
        match &self.decision.outcome {
            Err(refusal) | Ok(Some(refusal)) => refusal.reason(),
            Ok(None) if self.decision.caller().is_some() => "ok",
            Ok(None) => "public",
        }
    }

    /// What speaks against it, whether or not that is enforced.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.decision.outcome {
            Err(refusal) | Ok(Some(refusal)) => Some(refusal),
            Ok(None) => None,
        }
    }

    /// The route that matched.
    pub fn route<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Route> {
        snapshot.routes.get(self.decision.route?)
    }

    /// The first of the route's rules that let the request in, from 0. None where none does, or the route has none.
    pub fn rule(&self) -> Option<usize> {
        self.is_allowed().then(|| self.decision.rules.iter().position(|rule| rule.admits())).flatten()
    }
}

/// Plays a request through.
pub async fn rehearse(snapshot: &Snapshot, question: &Question, presented: Presented<'_>) -> Answer {
    let refused = |path, refusal: Refusal| {
        let status = refusal.status();
        Answer::without_upstream(path, status, Rehearsal::of(None, Err(refusal)))
    };
    let target = match question.target() {
        Ok(target) => target,
        Err(refusal) => return refused(None, refusal),
    };
    let path = match gateway::canonical_path(&question.method, target.path()) {
        Ok(path) => path,
        Err(refusal) => return refused(None, refusal),
    };
    let mut head = hyper::Request::new(()).into_parts().0;
    head.method = question.method.clone();
    head.headers = question.headers.clone();
    let host = requests::host(&head);
    let asked = (&head.method, &head.headers);
    let listener = question.comes_in_at(snapshot);
    if let Some(document) = snapshot.well_known.find(listener, host.as_deref(), path.as_str()) {
        let answer = document.answer(&head.method);
        let status = answer.as_ref().map_or_else(Refusal::status, |answer| answer.status());
        return Answer::without_upstream(Some(path), status, Rehearsal::of(None, answer.map(|_| None)));
    }
    if let Some(place) = snapshot.notices.find(listener, path.as_str()) {
        let answer = place.takes(&head.method);
        let status = answer.as_ref().map_or_else(Refusal::status, |status| *status);
        return Answer::without_upstream(Some(path), status, Rehearsal::of(None, answer.map(|_| None)));
    }
    let mode = snapshot.mode(listener);
    if let Err(refusal) = check_unchanged(snapshot, mode, target.path(), &head.headers) {
        return refused(Some(path), refusal);
    }
    // Whoever asks there is a proxy, to which a 2xx would be a yes.
    let asks_ahead = |_: &usize| !matches!(mode, ListenMode::ForwardAuth(_));
    if let Some(route) = gateway::preflight_route(snapshot, listener, host.as_deref(), &path, asked).filter(asks_ahead)
    {
        return Answer::without_upstream(Some(path), StatusCode::NO_CONTENT, Rehearsal::of(Some(route), Ok(None)));
    }
    let view = RequestView {
        listener,
        method: &head.method,
        host: host.as_deref(),
        authority: requests::authority(&head),
        scheme: headers::client_scheme(&head.headers, snapshot.trusted_proxies.trusts(question.peer), question.scheme),
        path: &path,
        query: target.query(),
        headers: &head.headers,
        client_ip: snapshot.trusted_proxies.client_ip(question.peer, &head.headers),
        trusted_peer: snapshot.trusted_proxies.trusts(question.peer),
        certificate: None,
        span: &Span::none(),
    };
    let carried = question.token.as_ref().map(|token| carried(token, snapshot, &view));
    let (headers, query) =
        carried.as_ref().map_or((view.headers, view.query), |(headers, query)| (headers, query.as_deref()));
    let view = RequestView { headers, query, ..view };
    let decision = decide(snapshot, &view, presented, question.now).await;
    let (Ok(_), Some(route)) = (&decision.outcome, decision.route.and_then(|route| snapshot.routes.get(route))) else {
        let status = decision.outcome.as_ref().err().map_or(StatusCode::NOT_FOUND, Refusal::status);
        return Answer::without_upstream(Some(path), status, decision);
    };
    if let Destination::Answer(answer) = &route.settings.destination {
        return match answer.status(&path) {
            // There, a 2xx would let it through.
            Ok(status) if status.is_success() && matches!(mode, ListenMode::ForwardAuth(_)) => {
                Answer::refused_on_its_way(path, Refusal::NoRoute, decision)
            }
            Ok(status) => Answer::without_upstream(Some(path), status, decision),
            Err(refusal) => Answer::refused_on_its_way(path, refusal, decision),
        };
    }
    match outgoing::target(&path, route, &target) {
        Ok(target) => {
            let fields = upstream_fields(snapshot, route, question, headers, &decision);
            Answer {
                is_enforced: !matches!(decision.outcome, Ok(Some(_))),
                decision,
                path: Some(path),
                upstream_headers: listed(&fields),
                upstream_target: Some(target.to_string()),
                status: StatusCode::OK,
            }
        }
        Err(refusal) => Answer::refused_on_its_way(path, refusal, decision),
    }
}

/// The header fields and the query of a request that has this token where its route takes one.
fn carried(token: &Secret, snapshot: &Snapshot, view: &RequestView<'_>) -> (HeaderMap, Option<String>) {
    let route = route_of(snapshot, view).and_then(|route| snapshot.routes.get(route));
    let place = route.and_then(|route| route.settings.token_from.preferred());
    let (mut headers, mut query) = (view.headers.clone(), view.query.map(str::to_owned));
    let (name, before) = match place {
        Some(TokenPlace::Query(name)) => {
            let mut field = query.take().map(|query| query + "&").unwrap_or_default();
            field.push_str(name);
            field.push('=');
            field.extend(token.expose().iter().map(|byte| format!("%{byte:02X}")));
            return (headers, Some(field));
        }
        Some(TokenPlace::Header(name)) => (name.clone(), String::new()),
        Some(TokenPlace::Cookie(name)) => (COOKIE, format!("{name}=")),
        // Who says what proves a token presents it so.
        Some(TokenPlace::Authorization) | None if headers.contains_key(DPOP) => (AUTHORIZATION, "DPoP ".to_owned()),
        Some(TokenPlace::Authorization) | None => (AUTHORIZATION, "Bearer ".to_owned()),
    };
    // `present` has seen that a header can carry it.
    if let Ok(mut value) = HeaderValue::from_bytes(&[before.as_bytes(), token.expose()].concat()) {
        value.set_sensitive(true);
        headers.append(name, value);
    }
    (headers, query)
}

/// What goes upstream, as `gateway` writes it, but for what is masked or new each time.
fn upstream_fields(
    snapshot: &Snapshot,
    route: &Route,
    question: &Question,
    received: &HeaderMap,
    decision: &Rehearsal,
) -> HeaderMap {
    let from = Sender {
        peer: question.peer,
        is_trusted: snapshot.trusted_proxies.trusts(question.peer),
        version: Version::HTTP_11,
        scheme: question.scheme,
        authority: received.get(HOST).cloned(),
        request_id: &headers::request_id(received),
        trace: &TraceContext::of(received, snapshot.tracing.share()),
    };
    let mut fields = outgoing::fields(snapshot, route, received.clone(), &from);
    let is_kept = received.get(X_REQUEST_ID) == Some(from.request_id.value());
    for (name, _) in [(X_REQUEST_ID, is_kept), (TRACEPARENT, false)].into_iter().filter(|(_, is_kept)| !is_kept) {
        if fields.contains_key(&name) {
            fields.insert(name, NEW);
        }
    }
    let is_proven = is_proven_by_key(decision);
    let is_dpop = credential::asks_by_dpop(received) || is_proven;
    if fields.contains_key(DPOP) || is_proven && !route.has_own_token() {
        fields.insert(DPOP, HeaderValue::from_static("(masked)"));
    }
    if let Some(caller) = decision.caller() {
        route.settings.identity.write_masked_authorization(is_dpop, &mut fields);
        route.settings.identity.write(caller.principal(), &mut fields);
        if let Some(plan) = &route.settings.identity.assertion {
            fields.insert(plan.header.clone(), MASKED_ASSERTION);
        }
    } else if fields.contains_key(AUTHORIZATION) {
        fields.insert(AUTHORIZATION, masked_authorization(is_dpop));
    }
    if route.sends_own_token(decision.caller().is_some()) {
        fields.insert(AUTHORIZATION, masked_authorization(false));
    }
    if let Some(upstream) = &route.upstream
        && let Some(host) = upstream.host_for(&fields)
    {
        fields.insert(HOST, host);
    }
    fields
}

/// Whether the token is one that live traffic lets in by DPoP alone, though nothing in the question may show it.
fn is_proven_by_key(decision: &Rehearsal) -> bool {
    let token = decision.token.as_ref().filter(|_| decision.caller().is_some());
    token.is_some_and(|token| matches!(Binding::of(&token.claims), Binding::Sender { key: Some(_), .. }))
}

fn listed(fields: &HeaderMap) -> Vec<(String, String)> {
    let listed =
        fields.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let mut listed = listed.collect::<Vec<_>>();
    listed.sort();
    listed
}

impl Question {
    /// Path and query, as far as they can be part of a request.
    fn target(&self) -> Result<Uri, Refusal> {
        server::check_target(self.method.as_str(), &self.target)?;
        if self.method == Method::CONNECT {
            // Its target is no path, and it is refused before one would be asked for.
            return Ok(Uri::from_static("/"));
        }
        match PathAndQuery::try_from(self.target.as_str()) {
            Ok(target) => Ok(Uri::from(target)),
            Err(_) => Err(Refusal::Path("the request target is malformed")),
        }
    }
}

impl Answer {
    fn without_upstream(path: Option<CanonicalPath>, status: StatusCode, decision: Rehearsal) -> Answer {
        let is_enforced = !matches!(decision.outcome, Ok(Some(_)));
        Answer { decision, path, upstream_headers: Vec::new(), upstream_target: None, status, is_enforced }
    }

    /// Let in, but nothing can be made of the path that could be sent on.
    fn refused_on_its_way(path: CanonicalPath, refusal: Refusal, decision: Rehearsal) -> Answer {
        let status = refusal.status();
        Answer::without_upstream(Some(path), status, Rehearsal { outcome: Err(refusal), ..decision })
    }
}

#[cfg(test)]
mod tests;
