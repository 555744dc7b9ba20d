//! What one evaluation of a rule's condition costs: `cargo bench --profile dist --bench policy`. Nanoseconds of this
//! thread on the CPU, the best of several runs (Linux).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bearward::{
    config,
    observe::Observer,
    path::CanonicalPath,
    policy::{Access, Facts},
    request::RequestView,
    token::{
        cache::TokenCache, credential::Credential, issuer::Issuer, jwks::KeyStore, principal::Principal, proof::Proofs,
        revocation::Revocations, verify,
    },
    trace::Span,
};
use hyper::{HeaderMap, Method, header::AUTHORIZATION};

const RUNS: usize = 10;
const CALLS: u32 = 100_000;

/// Rules that let the request in.
const RULES: [&str; 10] = [
    "scopes: [orders:read]",
    "claims: {tenant: \"{path.tenant}\"}",
    "claims: {email: {matches: \"@example\\\\.com$\"}}",
    "when: 'true'",
    "when: 'claims.plan == \"pro\"'",
    "when: 'claims.plan in [\"pro\", \"team\"] && request.method != \"DELETE\"'",
    "when: 'path.tenant == claims.tenant && \"editor\" in token.roles'",
    "when: 'claims.email.matches(\"@example\\\\.com$\")'",
    "when: 'query.page == \"2\" && headers[\"x-env\"] == \"prod\"'",
    "when: 'claims.groups.exists(g, g.startsWith(\"orders-\"))'",
];

fn main() {
    let (key, now) = (Ed25519KeyPair::generate().unwrap(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let rules = RULES.iter().enumerate().map(|(index, rule)| {
        format!("- {{name: r{index}, path: \"/{index}/{{tenant}}\", upstream: \"http://127.0.0.1:1\", allow: [{{{rule}}}]}}\n")
    });
    let yaml = format!(
        "issuers: {{bench: {{issuer: \"https://issuer.example\", audiences: [api], jwt: {{jwks: {{keys: [{{kty: OKP, crv: Ed25519, \
         kid: k, x: {}}}]}}}}}}}}\nroutes:\n{}",
        BASE64.encode(key.public_key()),
        rules.collect::<String>()
    );
    let policy = config::load_str(&yaml, "bench.yaml").unwrap_or_else(|errors| panic!("{errors:?}")).policy;
    let principal = principal(policy.issuers.first().unwrap().clone(), &key, now.as_secs());
    let mut headers = HeaderMap::new();
    for (name, value) in [("host", "api.example"), ("accept", "*/*"), ("user-agent", "bench"), ("x-env", "prod")] {
        headers.insert(name, value.parse().unwrap());
    }
    let facts = Facts {
        principal: &principal,
        method: &Method::GET,
        host: Some("api.example"),
        scheme: "https",
        client_ip: [192, 0, 2, 7].into(),
        path: "/0/acme",
        template: 0,
        params: std::slice::from_ref(&(3..7)),
        query: Some("sort=date&page=2"),
        headers: &headers,
        now: i64::try_from(now.as_secs()).unwrap(),
    };
    for (rule, route) in RULES.iter().zip(&policy.routes) {
        println!("{:>8.0} ns  {rule}", best(&route.allow, &facts));
    }
}

/// Whom a token of this key speaks for.
fn principal(settings: bearward::token::issuer::IssuerSettings, key: &Ed25519KeyPair, now: u64) -> Arc<Principal> {
    let claims = format!(
        r#"{{"iss":"https://issuer.example","aud":"api","sub":"u1","exp":{},"scope":"orders:read orders:write","roles":["viewer","editor"],
        "plan":"pro","tenant":"acme","email":"me@example.com","groups":["staff","mail-all","orders-write"]}}"#,
        now + 3600
    );
    let message = format!("{}.{}", BASE64.encode(r#"{"alg":"EdDSA","kid":"k"}"#), BASE64.encode(claims));
    let token = format!("{message}.{}", BASE64.encode(key.sign(message.as_bytes())));
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    let credential = Credential::from_headers(&headers, 64 * 1024).unwrap();
    let observer = Observer::silent();
    let keys = KeyStore::new(&settings, observer.clone()).unwrap();
    let cache = TokenCache::new(0, &observer).unwrap();
    let issuer = [Arc::new(Issuer::new(settings, keys, &observer))];
    let (path, span) = (CanonicalPath::parse("/").unwrap(), Span::none());
    let view = RequestView {
        listener: 0,
        method: &Method::GET,
        host: None,
        authority: None,
        scheme: "https",
        path: &path,
        query: None,
        headers: &headers,
        client_ip: [192, 0, 2, 7].into(),
        trusted_peer: false,
        certificate: None,
        span: &span,
    };
    let (revocations, proofs) = (Revocations::new(&observer), Proofs::new().unwrap());
    ready(verify(&credential, &issuer, &Arc::new(cache), &revocations, &proofs, &view)).unwrap()
}

fn best(access: &Access, facts: &Facts<'_>) -> f64 {
    let run = || {
        let begin = on_cpu();
        for _ in 0..CALLS {
            assert!(black_box(black_box(access).judge(black_box(facts))).is_ok());
        }
        (on_cpu() - begin) / f64::from(CALLS)
    };
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// Nanoseconds that this thread has been on a CPU.
fn on_cpu() -> f64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse().unwrap()
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("keys in place are waited for"),
    }
}
