//! What `benches/instructions/check` counts the instructions of: `instructions CASE` does one thing again and again, without
//! a thread or a socket; `instructions` says how often it does which. Signatures are left out (the tokens are of HS256), since how they are computed differs by
//! processor.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::{
    env,
    future::Future,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bearward::{
    config,
    decision::{Permit, decide},
    headers,
    limit::Counted,
    observe::Observer,
    outgoing::{self, Sender},
    path::CanonicalPath,
    request::RequestView,
    route::Found,
    snapshot::{LongLived, Snapshot},
    token::{cache::TokenCache, credential::Credential, verify},
    trace::Span,
};
use hyper::{
    HeaderMap, Method, Version,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};

const SECRET: &str = "a secret of more than 32 bytes, for a benchmark";
const ROUTES: usize = 20;

/// Does it once.
type Call<'s> = Box<dyn Fn() + 's>;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let scene = Scene::new();
    let cases = cases(&scene);
    let Some(name) = arguments.first() else {
        return cases.iter().for_each(|(name, count, _)| println!("{count} {name}"));
    };
    // For a case that there isn't, this is what all of them take before they begin.
    for (_, count, call) in cases.iter().filter(|(case, ..)| case == name) {
        (0..*count).for_each(|_| call());
    }
}

/// So often that what differs from start to start (a million of 450: how long random numbers are gathered for, the seeds of maps)
/// doesn't count.
fn cases(scene: &Scene) -> Vec<(&'static str, u32, Call<'_>)> {
    let (plain, encoded) = ("/api/c10/42", "/api/c10/a%20b%2Dc;v=1");
    let permit = scene.decided(plain);
    let nothing = Arc::new(TokenCache::new(0, &Observer::silent()).unwrap());
    vec![
        ("path", 600_000, Box::new(move || drop(black_box(CanonicalPath::parse(black_box(plain)).unwrap())))),
        ("path, encoded", 24_000, Box::new(move || drop(black_box(CanonicalPath::parse(black_box(encoded)).unwrap())))),
        ("route", 120_000, Box::new(move || drop(black_box(scene.find(black_box(plain)))))),
        ("decision, public route", 150_000, Box::new(|| drop(black_box(scene.decided("/open"))))),
        ("decision, token in the cache", 10_000, Box::new(|| drop(black_box(scene.decided("/api/c10/42"))))),
        ("token, new", 3_000, Box::new(move || scene.verify(&nothing))),
        ("token, in the cache", 16_000, Box::new(|| scene.verify(&scene.snapshot.tokens))),
        ("headers", 10_000, Box::new(move || drop(black_box(scene.outgoing(&permit))))),
        ("configuration", 15, Box::new(|| drop(black_box(config::load_str(&scene.yaml, "bench.yaml").unwrap())))),
    ]
}

/// A policy at work, and a request for it.
struct Scene {
    yaml: String,
    snapshot: Snapshot,
    headers: HeaderMap,
    credential: Credential,
}

impl Scene {
    fn new() -> Scene {
        let routes: String = (0..ROUTES)
            .map(|number| {
                format!(
                    "  - {{name: r{number}, path: \"/api/c{number}/{{id}}\", upstream: api, \
                     allow: [{{methods: [GET], scopes: [orders:read], claims: {{tenant: acme}}}}]}}\n"
                )
            })
            .collect();
        let yaml = format!(
            "issuers: {{bench: {{issuer: \"https://issuer.example\", audiences: [api], jwt: {{secret: \"{SECRET}\"}}}}}}\n\
             upstreams: {{api: {{url: \"http://127.0.0.1:1\"}}}}\n\
             routes:\n  - {{name: open, path: /open, upstream: api, allow: public}}\n{routes}"
        );
        let policy = config::load_str(&yaml, "bench.yaml").unwrap_or_else(|errors| panic!("{errors:?}")).policy;
        let (snapshot, _) = Snapshot::assemble(&policy, &LongLived::new(Observer::silent(), 1)).unwrap();
        let headers = fields();
        let credential = Credential::from_headers(&headers, 64 * 1024).unwrap();
        Scene { yaml, snapshot, headers, credential }
    }

    fn with_view<T>(&self, path: &str, then: impl FnOnce(&RequestView<'_>) -> T) -> T {
        let (path, span) = (CanonicalPath::parse(path).unwrap(), Span::none());
        then(&RequestView {
            listener: 0,
            method: &Method::GET,
            host: Some("api.example"),
            authority: Some("api.example"),
            scheme: "https",
            path: &path,
            query: None,
            headers: &self.headers,
            client_ip: [192, 0, 2, 7].into(),
            trusted_peer: false,
            certificate: None,
            span: &span,
        })
    }

    fn find(&self, path: &str) -> Found {
        self.snapshot.table.find(0, Some("api.example"), path, &Method::GET)
    }

    fn decided(&self, path: &str) -> Permit {
        self.with_view(path, |view| {
            ready(decide(&self.snapshot, view, &mut Counted::default())).unwrap_or_else(|denial| panic!("{denial:?}"))
        })
    }

    fn verify(&self, cache: &Arc<TokenCache>) {
        let Snapshot { issuers, revocations, proofs, .. } = &self.snapshot;
        self.with_view("/", |view| {
            assert!(ready(verify(&self.credential, issuers, cache, revocations, proofs, view)).is_ok());
        });
    }

    /// What goes on to the upstream, from what came to what we say.
    fn outgoing(&self, permit: &Permit) -> HeaderMap {
        let route = self.snapshot.routes.get(permit.route()).unwrap();
        let request_id = headers::request_id(&self.headers);
        let sender = Sender {
            peer: [192, 0, 2, 7].into(),
            is_trusted: false,
            version: Version::HTTP_11,
            scheme: "https",
            authority: Some(HeaderValue::from_static("api.example")),
            request_id: &request_id,
            trace: &headers::TraceContext::of(&self.headers, headers::SampledShare::new(0.0)),
        };
        let mut fields = outgoing::fields(&self.snapshot, route, self.headers.clone(), &sender);
        let (principal, credential) = (permit.principal().unwrap(), permit.credential().unwrap());
        route.settings.identity.write(principal, &mut fields);
        route.settings.identity.write_authorization(credential, None, &mut fields);
        fields
    }
}

/// What a browser's request has, with a token, and with what needs no random number to be made.
fn fields() -> HeaderMap {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = format!(
        r#"{{"iss":"https://issuer.example","aud":"api","sub":"u1","client_id":"app","tenant":"acme","scope":"orders:read orders:write","iat":{now},"exp":{}}}"#,
        now + 3600
    );
    let message = format!("{}.{}", BASE64.encode(r#"{"alg":"HS256","typ":"at+jwt"}"#), BASE64.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let token = format!("{message}.{}", BASE64.encode(hmac::sign(&key, message.as_bytes())));
    [
        ("host", "api.example"),
        ("connection", "keep-alive"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("accept-language", "en"),
        ("cookie", "session=0123456789abcdef"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
        ("x-auth-subject", "somebody else"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-request-id", "3f0e8b52-9d0c-4d8e-8a53-6b1f0a1c2d3e"),
    ]
    .into_iter()
    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
    .chain([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
    .collect()
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a secret in place is waited for"),
    }
}
