//! `GET /routes`: the compiled policy as requests meet it. Values of secrets, of claims and of headers are left out.

use std::time::Duration;

use hyper::Response;
use serde_json::{Value, json};

use super::{AdminState, configured};
use crate::{
    answer::OwnAnswer,
    body::Body,
    describe,
    limit::RateLimit,
    method::MethodSet,
    policy::{Access, Condition, Rule},
    route::{Destination, RouteSettings},
    snapshot::{Route, Snapshot},
};

/// All of it.
pub(super) fn page(state: &AdminState) -> Response<Body> {
    let (snapshot, hash) = (state.gateway.snapshot(), state.health.in_force().hash);
    super::document(document(&snapshot, &hash), &snapshot)
}

fn document(snapshot: &Snapshot, hash: &str) -> Value {
    json!({
        "hash": hash,
        "routes": snapshot.routes.iter().map(|one| route(one, snapshot)).collect::<Value>(),
        "issuers": snapshot.issuers.iter().map(|issuer| configured::issuer(&issuer.settings)).collect::<Value>(),
        "upstreams": snapshot.upstreams.iter().map(|upstream| configured::upstream(upstream.settings())).collect::<Value>(),
    })
}

fn route(route: &Route, snapshot: &Snapshot) -> Value {
    let settings = &route.settings;
    let issuers = || route.issuers.iter().map(|issuer| &*issuer.settings.name);
    let (allow, rules) = match &settings.allow {
        Access::Public => ("public", &[][..]),
        Access::Optional => ("optional", &[][..]),
        Access::Authenticated => ("authenticated", &[][..]),
        Access::Rules(rules) => ("rules", rules.as_slice()),
    };
    json!({
        "name": *settings.name,
        "hosts": settings.hosts.iter().map(ToString::to_string).collect::<Value>(),
        "paths": settings.paths.iter().map(ToString::to_string).collect::<Value>(),
        "methods": methods(&settings.methods),
        "listeners": listeners(settings, snapshot),
        "leads_to": leads_to(route),
        "allow": allow,
        "rules": rules.iter().map(rule).collect::<Value>(),
        "sentence": describe::route(settings, issuers()),
        "issuers": issuers().collect::<Value>(),
        "token_from": settings.token_from.iter().map(ToString::to_string).collect::<Value>(),
        "enforce": settings.enforce,
        "rate_limits": settings.rate_limits.iter().map(rate_limit).collect::<Value>(),
        "max_body_bytes": settings.max_body_bytes,
        "timeout_seconds": settings.timeout.as_ref().map(Duration::as_secs_f64),
        "cors": settings.cors.is_some(),
        "protected_resource": settings.protected_resource.as_ref().map(|told| json!({"resource": told.resource, "metadata": told.metadata_url()})),
        "revokes": settings.revokes,
    })
}

/// `null`: any. HEAD comes with GET and isn't named.
fn methods(methods: &MethodSet) -> Value {
    if methods.is_any() {
        return Value::Null;
    }
    let takes_get = methods.contains(&hyper::Method::GET);
    let named = methods.named().filter(|method| !(takes_get && *method == hyper::Method::HEAD));
    named.map(hyper::Method::as_str).collect()
}

fn listeners(settings: &RouteSettings, snapshot: &Snapshot) -> Value {
    let is_one = |index: &usize| settings.listeners.as_ref().is_none_or(|only| only.contains(index));
    let names = snapshot.listeners.iter().enumerate().filter(|(index, _)| is_one(index));
    names.map(|(_, name)| &**name).collect()
}

fn leads_to(route: &Route) -> Value {
    match &route.settings.destination {
        Destination::Upstream(_) => {
            json!({"upstream": route.upstream.as_ref().map(|upstream| &*upstream.settings().name)})
        }
        Destination::Answer(OwnAnswer::Respond(answer)) => json!({"respond": answer.status().as_u16()}),
        Destination::Answer(OwnAnswer::Redirect { status, to }) => {
            json!({"redirect": configured::shown(to.as_written()), "status": status.as_u16()})
        }
        Destination::Decision => json!({"decision": true}),
    }
}

fn rule(rule: &Rule) -> Value {
    json!({
        "methods": methods(&rule.methods),
        "sentence": describe::rule(rule),
        "conditions": rule.conditions.iter().map(Condition::describe).collect::<Value>(),
    })
}

fn rate_limit(limit: &RateLimit) -> Value {
    json!({"rate": limit.rate.to_string(), "burst": limit.burst, "per": limit.per.to_string()})
}
