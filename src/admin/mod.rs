//! The admin listener: liveness, readiness, metrics, how it stands, what is configured, explanations, revocations, reloads,
//! and a page for people. On the control runtime, away from the requests' workers.

mod configured;
mod connections;
mod console;
mod explain;
mod guard;
mod reload;
mod rendering;
mod revocations;
mod routes;
mod status;

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use self::{
    connections::{Connections, Place},
    rendering::{Document, Rendering},
};

use crate::{
    body::Body,
    gateway::Gateway,
    observe::{Observer, push_json},
    reload::{InForce, ReloadHandle},
    respond::problem,
    snapshot::Snapshot,
};

pub use status::{About, ListenerShown};

/// A token may have 64 KiB and more.
const LARGEST_BODY: usize = 1 << 20;
/// To receive a head, and to idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection gets no new request after so long.
const LIFETIME: Duration = Duration::from_secs(60);
/// Then an answer that is on its way has so long.
const FAREWELL: Duration = Duration::from_secs(10);
/// After an accept that failed: mostly for want of file descriptors, which takes a while to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What `/readyz` asks of the gateway.
pub trait Health: Send + Sync {
    /// Whether the process is about to end.
    fn draining(&self) -> bool;
    /// The issuers whose keys are waited for at start, and `state.redis` until it was read; empty once `ready_timeout` is
    /// over.
    fn waiting_for(&self) -> Vec<String>;
    /// The issuers whose last fetch of keys failed, and `state.redis` while it is down.
    fn degraded(&self) -> Vec<String>;
    /// How it stands with the configuration.
    fn in_force(&self) -> InForce;
}

/// What the admin listener tells of.
pub struct AdminState {
    /// For `/readyz`.
    pub health: Arc<dyn Health>,
    /// For `/metrics`.
    pub observer: Arc<Observer>,
    /// The configuration in force, and the revocations.
    pub gateway: Arc<Gateway>,
    /// For `/status`: what of the process never changes.
    pub about: About,
    /// None: the configuration isn't from a file.
    pub reloads: Option<ReloadHandle>,
}

/// Answers on this listener until the task is dropped.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>) {
    let (connections, rendering) = (Arc::<Connections>::default(), Rendering::new(state));
    // Without an address, the stricter rules hold.
    let on_loopback =
        listener.local_addr().as_ref().map(SocketAddr::ip).map_or(true, |ip| ip.to_canonical().is_loopback());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (place, rendering) = (connections.take_place(), rendering.clone());
                tokio::spawn(serve_connection(stream, Arc::new(place), rendering, on_loopback));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, place: Arc<Place>, rendering: Arc<Rendering>, on_loopback: bool) {
    let service = service_fn(async |request: Request<Incoming>| {
        place.is_answered(true);
        let response = route(request, &rendering, &place, on_loopback).await;
        place.is_answered(false);
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = async {
        if timeout(LIFETIME, connection.as_mut()).await.is_err() {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(FAREWELL, connection).await;
        }
    };
    tokio::select! {
        () = served => {}
        () = place.lost() => {}
    }
}

async fn route(
    request: Request<Incoming>,
    rendering: &Arc<Rendering>,
    place: &Arc<Place>,
    on_loopback: bool,
) -> Response<Body> {
    let state = rendering.state();
    if let Err(refusal) = guard::admit(&request, state.gateway.snapshot().admin_token.as_ref(), on_loopback) {
        return *refusal;
    }
    let path = request.uri().path().to_owned();
    if let Some(file) = console::file(&path) {
        return console::answer(&request, file);
    }
    match path.strip_prefix("/revocations") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => revocations::answer(request, rest, state).await,
        _ if path == "/reload" => reload::answer(&request, state).await,
        _ if path == "/explain" => explain::answer(request, state).await,
        _ => answer(&request, rendering, place).await,
    }
}

/// What an address shows.
enum Page {
    /// At once, whatever else goes on.
    Now(fn(&AdminState) -> Response<Body>),
    /// In its turn.
    Rendered(Document),
}

async fn answer<B>(request: &Request<B>, rendering: &Arc<Rendering>, place: &Arc<Place>) -> Response<Body> {
    let head_only = request.method() == Method::HEAD;
    let page = match request.uri().path() {
        "/livez" => Page::Now(live),
        "/readyz" => Page::Now(ready),
        "/metrics" => Page::Rendered(Document::Metrics),
        "/status" => Page::Rendered(Document::Status),
        "/routes" => Page::Rendered(Document::Routes),
        _ => return nothing_here(head_only),
    };
    if !head_only && request.method() != Method::GET {
        return not_allowed("GET, HEAD");
    }
    let mut response = match page {
        Page::Now(page) => page(rendering.state()),
        Page::Rendered(document) => rendering.answer(document, place).await,
    };
    if head_only {
        *response.body_mut() = Body::Empty;
    }
    response
}

fn nothing_here(head_only: bool) -> Response<Body> {
    problem(StatusCode::NOT_FOUND, "nothing is served at this address", None, head_only)
}

fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut refusal = problem(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed here", None, false);
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    refusal
}

/// A member of a body that is a text; `null` is absent.
///
/// # Errors
/// It is something else.
fn text<'a>(asked: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match asked.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{name}` is not a text")),
    }
}

fn live(_: &AdminState) -> Response<Body> {
    page(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".to_owned())
}

fn metrics(state: &AdminState) -> Response<Body> {
    page(StatusCode::OK, "text/plain; version=0.0.4", state.observer.render_metrics())
}

/// An issuer in trouble is told of and isn't a 503: one identity provider must not take every route down.
fn ready(state: &AdminState) -> Response<Body> {
    let waiting_for = state.health.waiting_for();
    let (code, status) = readiness(&*state.health, &waiting_for);
    let mut text = format!("{{\"status\":\"{status}\",\"degraded\":");
    push_list(&mut text, &state.health.degraded());
    text.push_str(",\"waiting_for\":");
    push_list(&mut text, &waiting_for);
    let in_force = state.health.in_force();
    text.push_str(",\"config\":{\"hash\":");
    push_json(&mut text, &in_force.hash);
    text.push_str(if in_force.is_current() { ",\"last_reload\":\"ok\"}}\n" } else { ",\"last_reload\":\"error\"}}\n" });
    page(code, "application/json", text)
}

/// The status of `/readyz`, and the same in a word.
fn readiness(health: &dyn Health, waiting_for: &[String]) -> (StatusCode, &'static str) {
    if health.draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if waiting_for.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting")
    }
}

fn push_list(text: &mut String, names: &[String]) {
    text.push('[');
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        push_json(text, name);
    }
    text.push(']');
}

/// A document without what may be shown to nobody.
fn document(mut value: Value, snapshot: &Snapshot) -> Response<Body> {
    snapshot.confidential.mask(&mut value);
    page(StatusCode::OK, "application/json", format!("{value}\n"))
}

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let text = text.into();
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(Body::Full(Some(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A name that a caller wrote, for a message. A long one may be a token in the wrong place, and isn't shown.
fn shown(name: &str) -> String {
    const LONGEST: usize = 24;
    if name.chars().count() <= LONGEST { format!("`{name}`") } else { "this".to_owned() }
}

#[cfg(test)]
mod tests;
