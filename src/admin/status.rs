//! `GET /status`: how the process and all that it depends on stand, in one document. Absent facts are `null`, times RFC
//! 3339 in UTC, durations seconds.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hyper::Response;
use serde_json::{Value, json};

use super::{AdminState, configured, readiness};
use crate::{
    body::Body,
    observe::{ListenerMetrics, Trouble, rfc_3339},
    reload::InForce,
    server::{Address, ListenMode},
    snapshot::Snapshot,
    token::{
        cache::TokenCache,
        issuer::{Audiences, Issuer},
        jwks::KeyReport,
    },
    upstream::{EndpointReport, Upstream},
};

/// What of a process never changes.
#[derive(Debug)]
pub struct About {
    /// When it did.
    pub began: Instant,
    /// In the order of `listen`.
    pub listeners: Vec<ListenerShown>,
    /// `state.dir`
    pub state_dir: Option<PathBuf>,
}

/// A listener for clients.
#[derive(Debug)]
pub struct ListenerShown {
    /// As configured.
    pub name: Arc<str>,
    /// The real one.
    pub address: Address,
    /// What it does with a request.
    pub mode: ListenMode,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Its connections.
    pub metrics: ListenerMetrics,
}

/// All of it.
pub(super) fn page(state: &AdminState) -> Response<Body> {
    let AdminState { health, about, .. } = state;
    let snapshot = state.gateway.snapshot();
    let uptime = about.began.elapsed();
    let waiting_for = health.waiting_for();
    let redis = snapshot.shared.as_ref().map(|shared| if shared.is_up() { "up" } else { "down" });
    let document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": SystemTime::now().checked_sub(uptime).map(rfc_3339),
        "uptime_seconds": uptime.as_secs_f64(),
        "status": readiness(&**health, &waiting_for).1,
        "degraded": health.degraded(),
        "waiting_for": waiting_for,
        "config": config(&health.in_force()),
        "listeners": about.listeners.iter().map(listener).collect::<Value>(),
        "issuers": snapshot.issuers.iter().map(|one| issuer(one)).collect::<Value>(),
        "upstreams": snapshot.upstreams.iter().map(|one| upstream(one)).collect::<Value>(),
        "caches": {"tokens": tokens(&snapshot.tokens)},
        "state": {"redis": redis, "dir": about.state_dir.as_ref().map(|dir| dir.display().to_string())},
        "revocations": snapshot.revocations.count(),
        "shadow": shadow(&snapshot),
    });
    super::document(document, &snapshot)
}

fn config(in_force: &InForce) -> Value {
    json!({
        "file": in_force.file.as_deref(),
        "hash": *in_force.hash,
        "loaded_at": rfc_3339(in_force.loaded_at),
        "last_reload": if in_force.is_current() { "ok" } else { "error" },
        "errors": *in_force.errors,
    })
}

fn listener(listener: &ListenerShown) -> Value {
    json!({
        "name": *listener.name,
        "address": listener.address.to_string(),
        "mode": listener.mode.name(),
        "tls": listener.tls,
        "connections": listener.metrics.open(),
    })
}

fn issuer(issuer: &Issuer) -> Value {
    let (settings, keys) = (&issuer.settings, issuer.keys.report());
    json!({
        "name": *settings.name,
        "issuer": settings.issuer.as_deref().map(configured::shown),
        "audiences": audiences(&settings.audiences),
        "ways": settings.ways().collect::<Value>(),
        "keys": keys.keys.iter().map(key).collect::<Value>(),
        "source": settings.jwt.keys.name(),
        "age_seconds": keys.age.as_ref().map(Duration::as_secs_f64),
        "state": keys.state.name(),
        "last_error": issuer.last_trouble().as_ref().map(trouble),
    })
}

/// A list, or `any`.
pub(super) fn audiences(audiences: &Audiences) -> Value {
    match audiences {
        Audiences::Any => "any".into(),
        Audiences::OneOf(list) => list.as_slice().into(),
    }
}

fn key(key: &KeyReport) -> Value {
    json!({"kid": key.kid, "algorithm": key.algorithm, "type": key.kind})
}

fn trouble(trouble: &Trouble) -> Value {
    json!({"message": trouble.message, "at": rfc_3339(trouble.at)})
}

fn upstream(upstream: &Upstream) -> Value {
    json!({"name": *upstream.settings().name, "endpoints": upstream.report().map(endpoint).collect::<Value>()})
}

fn endpoint(report: EndpointReport<'_>) -> Value {
    let until = report.rest.and_then(|rest| SystemTime::now().checked_add(rest));
    json!({
        "endpoint": report.endpoint,
        "healthy": report.is_healthy,
        "in_flight": report.in_flight,
        "ejected_until": until.map(rfc_3339),
    })
}

fn tokens(cache: &TokenCache) -> Value {
    let report = cache.report();
    json!({
        "entries": report.entries,
        "bytes": report.bytes,
        "max_bytes": cache.max_bytes(),
        "hits": report.hits,
        "misses": report.misses,
        "waits": report.waits,
        "hit_rate": report.hit_rate(),
    })
}

/// A second policy that decides beside the one in force; `null`: there is none.
fn shadow(snapshot: &Snapshot) -> Value {
    snapshot.shadow.as_ref().map_or(Value::Null, |shadow| shadow.to_json())
}
