//! What is configured of issuers and upstreams, for people. Secrets, private keys and the queries of URLs are left out.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::status::audiences;
use crate::{
    egress::{EgressSettings, Grant},
    token::{
        introspection::{ClientAuth, IntrospectionSettings, Way},
        issuer::{IssuerSettings, JwtSettings, KeySource, SenderConstraint},
    },
    upstream::{Balance, EndpointAddress, HealthCheck, UpstreamSettings, UpstreamTls},
};

/// An issuer's entry.
pub(super) fn issuer(settings: &IssuerSettings) -> Value {
    json!({
        "name": *settings.name,
        "issuer": settings.issuer.as_deref().map(shown),
        "audiences": audiences(&settings.audiences),
        "ways": settings.ways().collect::<Value>(),
        "jwt": jwt(&settings.jwt),
        "introspection": settings.introspection.as_ref().map(introspection),
        "http_timeout_seconds": settings.http_timeout.as_secs_f64(),
        "allow_http": settings.allow_http,
        "sender_constraint": settings.sender.constraint.map(|constraint| match constraint {
            SenderConstraint::Mtls => "mtls",
            SenderConstraint::Dpop => "dpop",
        }),
        "logout": {"back_channel": settings.logout.back_channel, "events": settings.logout.events},
    })
}

fn jwt(settings: &JwtSettings) -> Value {
    let files = match &settings.keys {
        KeySource::File(file) => std::slice::from_ref(file),
        KeySource::PublicKeys(files) => files,
        _ => &[],
    };
    let uri = match &settings.keys {
        KeySource::Uri(uri) => Some(shown(uri)),
        _ => None,
    };
    json!({
        "source": settings.keys.name(),
        "jwks_uri": uri,
        "files": files.iter().map(|file| path(&file.path)).collect::<Value>(),
        "algorithms": settings.algorithms.iter().map(|algorithm| algorithm.name()).collect::<Value>(),
        "types": settings.types,
        "require_claims": settings.require_claims,
        "require_issuer": settings.require_issuer,
        "clock_skew_seconds": settings.clock_skew.as_secs_f64(),
        "max_token_age_seconds": seconds(settings.max_token_age),
        "refresh_seconds": settings.refresh.as_secs_f64(),
        "stale_keys_seconds": settings.stale_keys.as_secs_f64(),
    })
}

fn introspection(settings: &IntrospectionSettings) -> Value {
    let (client, auth) = match &settings.way {
        Way::Introspection(client) => (client.id.as_deref(), Some(auth(&client.auth))),
        Way::Userinfo => (None, None),
    };
    json!({
        "way": settings.way.name(),
        "endpoint": settings.endpoint.as_deref().map(shown),
        "client_id": client,
        "auth": auth,
        "shows_certificate": settings.certificate.is_some(),
        "timeout_seconds": settings.timeout.as_secs_f64(),
        "cache_ttl_seconds": settings.cache_ttl.as_secs_f64(),
        "negative_ttl_seconds": settings.negative_ttl.as_secs_f64(),
        "max_concurrent": settings.max_concurrent,
    })
}

fn auth(auth: &ClientAuth) -> &'static str {
    match auth {
        ClientAuth::Basic(_) => "basic",
        ClientAuth::Post(_) => "post",
        ClientAuth::Bearer(_) => "bearer",
        ClientAuth::PrivateKeyJwt(_) => "private_key_jwt",
        ClientAuth::None => "none",
    }
}

/// An upstream's entry.
pub(super) fn upstream(settings: &UpstreamSettings) -> Value {
    json!({
        "name": *settings.name,
        "endpoints": settings.endpoints().map(address).collect::<Value>(),
        "balance": balance(settings.balance),
        "http2": settings.http2,
        "connect_timeout_seconds": settings.connect_timeout.as_secs_f64(),
        "response_timeout_seconds": seconds(settings.response_timeout),
        "idle_timeout_seconds": settings.idle_timeout.as_secs_f64(),
        "max_connections": settings.max_connections,
        "preserve_host": settings.preserve_host,
        "health": settings.health.as_ref().map(health),
        "eject": settings.eject.as_ref().map(|eject| {
            json!({"failures": eject.failures, "for_seconds": eject.rest.as_secs_f64()})
        }),
        "retry": {
            "attempts": settings.retry.attempts,
            "on_connect": settings.retry.on_connect,
            "on_status": settings.retry.on_status,
            "budget_percent": settings.retry.budget_percent,
        },
        "tls": tls(&settings.tls),
        "token": settings.token.as_ref().map(token),
    })
}

fn address(address: &EndpointAddress) -> String {
    match &address.socket {
        Some(_) => address.label(),
        None => {
            let scheme = if address.tls { "https" } else { "http" };
            format!("{scheme}://{}{}", address.authority(), address.base_path)
        }
    }
}

fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::LeastRequest => "least_request",
        Balance::RoundRobin => "round_robin",
        Balance::Random => "random",
        Balance::Hash => "hash",
    }
}

fn health(check: &HealthCheck) -> Value {
    json!({
        "path": check.path.split('?').next(),
        "interval_seconds": check.interval.as_secs_f64(),
        "timeout_seconds": check.timeout.as_secs_f64(),
        "healthy": check.healthy,
        "unhealthy": check.unhealthy,
    })
}

fn tls(tls: &UpstreamTls) -> Value {
    json!({
        "ca": tls.authorities.as_ref().map(|file| path(&file.path)),
        "certificate": tls.identity.as_ref().map(|(certificate, _)| path(&certificate.path)),
        "server_name": tls.server_name,
    })
}

fn token(settings: &EgressSettings) -> Value {
    let grant = match settings.grant {
        Grant::ClientCredentials => "client_credentials",
        Grant::Password { .. } => "password",
        Grant::JwtBearer { .. } => "jwt_bearer",
        Grant::TokenExchange => "token_exchange",
    };
    json!({
        "endpoint": shown(&settings.endpoint),
        "grant": grant,
        "client_id": settings.client.as_ref().map(|client| client.id.as_str()),
        "scopes": settings.scopes,
        "audience": settings.audience,
        "expiry_margin_seconds": settings.expiry_margin.as_secs_f64(),
    })
}

/// A URL without what may be a secret in it: its query, and a user and password, which the configuration refuses anyway.
pub(super) fn shown(url: &str) -> String {
    let (before, query) = url.split_once('?').map_or((url, ""), |(before, _)| (before, "?…"));
    let Some(site_at) = before.find("://").map(|at| at + 3) else { return format!("{before}{query}") };
    let (scheme, rest) = before.split_at(site_at);
    let (site, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = site.rsplit_once('@').map_or(site, |(_, host)| host);
    format!("{scheme}{host}{path}{query}")
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn seconds(duration: Option<Duration>) -> Option<f64> {
    duration.as_ref().map(Duration::as_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_without_what_may_be_a_secret() {
        for (url, without) in [
            ("https://id.example/keys", "https://id.example/keys"),
            ("https://id.example", "https://id.example"),
            ("https://id.example:8443/a?key=s3cret", "https://id.example:8443/a?…"),
            ("https://id.example?key=s3cret", "https://id.example?…"),
            ("https://user:s3cret@id.example/a@b", "https://id.example/a@b"),
            ("https://user:s3@cret@id.example", "https://id.example"),
            ("urn:example:a@b", "urn:example:a@b"),
            ("/login?key=s3cret", "/login?…"),
        ] {
            assert_eq!(shown(url), without);
        }
    }
}
