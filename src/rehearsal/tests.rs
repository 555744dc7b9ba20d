#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Map, Value, json};

use super::*;
use crate::{config, observe::Observer, snapshot::LongLived};

const GATEWAY: &str = r#"
issuers:
  a: {issuer: "https://a.example", audiences: [api, other], jwt: {secret: "0123456789abcdef0123456789abcdef"}}
  b: {issuer: "https://b.example", audiences: any, jwt: {secret: "0123456789abcdef0123456789abcdef", require_claims: [exp, tenant]}}
  far: {issuer: "https://far.example", audiences: [api]}
upstreams:
  up: {url: "http://127.0.0.1:9"}
routes:
  - {name: open, path: /open, upstream: up, allow: public}
  - {name: maybe, path: /maybe, upstream: up, allow: optional, issuers: [a]}
  - {name: any, path: /any, upstream: up, allow: authenticated, identity: {authorization: remove}}
  - {name: tried, path: /tried, upstream: up, enforce: false, allow: [{scopes: [s]}], issuers: [a]}
  - {name: teapot, path: /teapot, respond: {status: 418, body: t}, allow: public}
  - {name: moved, path: /moved, redirect: {to: "/open", status: 307}, allow: public}
  - name: rules
    path: /rules/{id}
    strip_prefix: /rules
    upstream: up
    issuers: [a, b, far]
    cors: {origins: ["https://app.example"], methods: [GET]}
    allow:
      - {methods: [GET], scopes: [read]}
      - {methods: [GET, PUT], any_role: [editor]}
"#;

fn snapshot() -> Snapshot {
    let policy = config::load_str(GATEWAY, "gateway.yaml").unwrap().policy;
    Snapshot::assemble(&policy, &LongLived::new(Observer::silent(), 1)).unwrap().0
}

async fn asked(snapshot: &Snapshot, request: &str, token: Option<(&str, Value)>) -> Answer {
    let (method, url) = request.split_once(' ').unwrap();
    let question = Question::new(method, url, HeaderMap::new()).unwrap();
    let Some((issuer, claims)) = token else {
        return rehearse(snapshot, &question, Presented::Sent { may_fetch: false }).await;
    };
    let claims: Map<String, Value> = claims.as_object().unwrap().clone();
    let issuer = snapshot.issuer(issuer).unwrap();
    rehearse(snapshot, &question, Presented::Assumed { issuer, claims: &claims }).await
}

#[tokio::test]
async fn assumed_claims_are_judged_as_a_tokens_are() {
    let snapshot = snapshot();
    let a = |claims| Some(("a", claims));
    let b = |claims| Some(("b", claims));
    for (request, token, status, reason, route, rule) in [
        ("GET /open", None, 200, "public", "open", None),
        ("GET /open", a(json!({"exp": 1})), 200, "public", "open", None),
        ("GET /maybe", None, 200, "public", "maybe", None),
        ("GET /maybe", a(json!({})), 200, "ok", "maybe", None),
        ("GET /maybe", a(json!({"exp": 1})), 401, "expired", "maybe", None),
        ("GET /maybe", b(json!({"tenant": "t"})), 401, "unknown_issuer", "maybe", None),
        ("GET /any", None, 401, "no_credential", "any", None),
        ("GET /any", a(json!({})), 200, "ok", "any", None),
        ("GET /any", a(json!({"iss": "https://b.example"})), 401, "unknown_issuer", "any", None),
        ("GET /any", a(json!({"iss": null})), 401, "unknown_issuer", "any", None),
        ("GET /any", a(json!({"iss": 5})), 401, "malformed", "any", None),
        ("GET /any", a(json!({"aud": "account"})), 401, "audience", "any", None),
        ("GET /any", a(json!({"aud": ["x", "other"]})), 200, "ok", "any", None),
        ("GET /any", a(json!({"aud": null})), 401, "audience", "any", None),
        ("GET /any", a(json!({"exp": null})), 401, "missing_claim", "any", None),
        ("GET /any", a(json!({"exp": "soon"})), 401, "malformed", "any", None),
        ("GET /any", a(json!({"nbf": 9_000_000_000_i64})), 401, "not_yet_valid", "any", None),
        ("GET /any", a(json!({"iat": 9_000_000_000_i64})), 401, "issued_in_future", "any", None),
        ("GET /any", a(json!({"cnf": {"jkt": "x"}})), 401, "binding", "any", None),
        ("GET /any", a(json!({"exp": 1, "aud": "x"})), 401, "expired", "any", None),
        ("GET /any", b(json!({})), 401, "missing_claim", "any", None),
        ("GET /any", b(json!({"tenant": "t"})), 200, "ok", "any", None),
        ("GET /any", Some(("far", json!({}))), 200, "ok", "any", None),
        ("GET /rules/1", a(json!({"scope": "read"})), 200, "ok", "rules", Some(0)),
        ("HEAD /rules/1", a(json!({"scope": "read", "roles": "editor"})), 200, "ok", "rules", Some(0)),
        ("GET /rules/1", a(json!({"roles": "editor"})), 200, "ok", "rules", Some(1)),
        ("PUT /rules/1", a(json!({"scope": "read"})), 403, "role", "rules", None),
        ("GET /rules/1", a(json!({})), 403, "scope", "rules", None),
        ("POST /rules/1", a(json!({"scope": "read"})), 405, "method", "rules", None),
        ("GET /rules/1%2F2", a(json!({"scope": "read"})), 400, "path", "", None),
        ("GET /rules/1;v=2", a(json!({"scope": "read"})), 200, "ok", "rules", Some(0)),
        ("GET /rules/;x", a(json!({"scope": "read"})), 400, "path", "rules", None),
        ("GET /rules/1#x", a(json!({"scope": "read"})), 400, "path", "", None),
        ("GET /rules/1?a=\"", a(json!({"scope": "read"})), 400, "path", "", None),
        ("TRACE /open", None, 405, "method", "open", None),
        ("OPTIONS *", None, 404, "no_route", "", None),
        ("GET /nothing", a(json!({})), 404, "no_route", "", None),
        ("GET /teapot", None, 418, "public", "teapot", None),
        ("GET /moved", None, 307, "public", "moved", None),
        ("GET /tried", None, 200, "no_credential", "tried", None),
        ("GET /tried", a(json!({})), 200, "scope", "tried", None),
        ("GET /tried", a(json!({"scope": "s"})), 200, "ok", "tried", Some(0)),
    ] {
        let answer = asked(&snapshot, request, token.clone()).await;
        let name = answer.route(&snapshot).map_or("", |route| &route.settings.name);
        let found = (answer.status(), answer.reason(), name, answer.rule());
        assert_eq!(found, (status, reason, route, rule), "{request} {token:?}");
        let is_allowed = matches!(reason, "ok" | "public");
        assert_eq!(answer.is_allowed(), is_allowed, "{request} {token:?}");
        assert_eq!(answer.is_enforced(), route != "tried" || is_allowed, "{request} {token:?}");
        assert_eq!(answer.upstream_target.is_some(), status == 200, "{request} {token:?}");
    }
}

#[tokio::test]
async fn what_goes_upstream() {
    let snapshot = snapshot();
    let mut headers = HeaderMap::new();
    headers.insert("x_auth_roles", HeaderValue::from_static("admin"));
    headers.insert("connection", HeaderValue::from_static("x-gone"));
    headers.insert("x-gone", HeaderValue::from_static("1"));
    headers.insert("accept", HeaderValue::from_static("text/plain"));
    let mut question = Question::new("GET", "https://api.example.com:8443/rules/a%20b?q=1", headers).unwrap();
    question.present("secret-of-the-client").unwrap();
    let claims = json!({"sub": "u1", "azp": "app", "scope": "read write", "roles": ["a,b"]});
    let presented = Presented::Assumed { issuer: snapshot.issuer("a").unwrap(), claims: claims.as_object().unwrap() };
    let answer = rehearse(&snapshot, &question, presented).await;
    let headers = answer.upstream_headers.iter().map(|(name, value)| format!("{name}: {value}"));
    assert_eq!(
        headers.collect::<Vec<_>>(),
        [
            "accept: text/plain",
            "authorization: Bearer (masked)",
            "host: 127.0.0.1:9",
            "traceparent: (new for each request)",
            "via: 1.1 bearward",
            "x-auth-client: app",
            "x-auth-issuer: a",
            "x-auth-roles: a%2Cb",
            "x-auth-scopes: read write",
            "x-auth-subject: u1",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: api.example.com:8443",
            "x-forwarded-proto: https",
            "x-request-id: (new for each request)",
        ]
    );
    assert_eq!(answer.upstream_target.as_deref(), Some("/a%20b?q=1"));

    let mut question = Question::new("GET", "/open", HeaderMap::new()).unwrap();
    question.present("secret-of-the-client").unwrap();
    let answer = rehearse(&snapshot, &question, Presented::Sent { may_fetch: false }).await;
    assert!(!format!("{answer:?}{question:?}").contains("secret-of"), "{answer:?}");
    let removed = asked(&snapshot, "GET /any", Some(("a", json!({})))).await;
    assert!(!removed.upstream_headers.iter().any(|(name, _)| name == "authorization"));
}

/// A token goes where its route takes it, and is gone from there on its way upstream.
#[tokio::test]
async fn a_token_is_presented_where_its_route_takes_it() {
    let routes = r#"
issuers: {a: {issuer: "https://a.example", audiences: [api], jwt: {secret: "0123456789abcdef0123456789abcdef"}}}
routes:
  - {name: query, path: /query, upstream: "http://127.0.0.1:9", allow: authenticated, token_from: {query: t.k}}
  - {name: cookie, path: /cookie, upstream: "http://127.0.0.1:9", allow: authenticated, token_from: {cookie: session}}
  - {name: own, path: /own, upstream: "http://127.0.0.1:9", allow: authenticated, token_from: {header: X-Api-Token}}
  - {name: both, path: /both, upstream: "http://127.0.0.1:9", allow: authenticated, token_from: [{query: t}, header]}
"#;
    let policy = config::load_str(routes, "gateway.yaml").unwrap().policy;
    let snapshot = Snapshot::assemble(&policy, &LongLived::new(Observer::silent(), 1)).unwrap().0;
    let key = jsonwebtoken::EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
    let claims = json!({"iss": "https://a.example", "aud": "api", "exp": 9_000_000_000_i64});
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    for (method, target, field, reason, upstream) in [
        ("GET", "/query", None, "ok", Some("/query")),
        ("GET", "/query?x=%41", None, "ok", Some("/query?x=%41")),
        ("GET", "/query?t.k=other", None, "invalid_request", None),
        ("GET", "/cookie", None, "ok", Some("/cookie")),
        ("POST", "/cookie", None, "no_credential", None),
        ("POST", "/cookie", Some(("sec-fetch-site", "same-origin")), "ok", Some("/cookie")),
        ("GET", "/own", None, "ok", Some("/own")),
        ("GET", "/own", Some(("x-api-token", "other")), "invalid_request", None),
        ("GET", "/both", None, "ok", Some("/both")),
    ] {
        let headers =
            field.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut question = Question::new(method, target, headers.collect()).unwrap();
        question.present(&token).unwrap();
        let answer = rehearse(&snapshot, &question, Presented::Sent { may_fetch: false }).await;
        assert_eq!((answer.reason(), answer.upstream_target.as_deref()), (reason, upstream), "{method} {target}");
        assert!(!format!("{question:?}{answer:?}").contains(&token));
        let names = answer.upstream_headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        assert!(!names.contains(&"cookie") && !names.contains(&"x-api-token"), "{names:?}");
        assert_eq!(names.contains(&"authorization"), reason == "ok");
    }
}

/// Health checks and other proxies have listeners of their own: what is asked without a word of that is a client's.
#[tokio::test]
async fn a_request_comes_in_where_clients_do() {
    let listen = |modes: &str| {
        let routes =
            "routes: [{name: r, path: /r, upstream: \"http://127.0.0.1:9\", listeners: [main], allow: public}]";
        config::load_str(&format!("listen: [{modes}]\n{routes}"), "gateway.yaml").unwrap().policy
    };
    let deciding = "{address: \"127.0.0.1:1\", name: first, mode: forward_auth, request_from: self}";
    for (modes, reason) in [
        (format!("{deciding}, {{address: \"127.0.0.1:2\", name: main}}"), "public"),
        ("{address: \"127.0.0.1:2\", name: other}, {address: \"127.0.0.1:3\", name: main}".to_owned(), "no_route"),
        (deciding.replace("first", "main"), "public"),
    ] {
        let snapshot = Snapshot::assemble(&listen(&modes), &LongLived::new(Observer::silent(), 1)).unwrap().0;
        assert_eq!(asked(&snapshot, "GET /r", None).await.reason(), reason, "{modes}");
    }
}

#[tokio::test]
async fn connect_is_refused_in_its_own_form() {
    let answer = asked(&snapshot(), "CONNECT api.example:443", None).await;
    assert_eq!((answer.status(), answer.reason()), (405, "method"));
}

#[tokio::test]
async fn preflights_are_answered() {
    let snapshot = snapshot();
    let mut headers = HeaderMap::new();
    headers.insert("origin", HeaderValue::from_static("https://app.example"));
    headers.insert("access-control-request-method", HeaderValue::from_static("GET"));
    let question = Question::new("OPTIONS", "/rules/1", headers).unwrap();
    let answer = rehearse(&snapshot, &question, Presented::Sent { may_fetch: false }).await;
    assert_eq!((answer.status(), answer.reason(), answer.is_allowed()), (204, "public", true));
}

#[tokio::test]
async fn a_token_as_sent_is_verified_and_every_step_is_asked() {
    use crate::token::rehearsal::{Answer as StepAnswer, Step};
    let snapshot = snapshot();
    let sign = |claims: Value| {
        let key = jsonwebtoken::EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    let ask = async |token: &str| {
        let mut question = Question::new("GET", "/rules/1", HeaderMap::new()).unwrap();
        question.present(token).unwrap();
        rehearse(&snapshot, &question, Presented::Sent { may_fetch: false }).await
    };
    let good = json!({"iss": "https://a.example", "aud": "api", "exp": 9_000_000_000_i64, "scope": "read"});
    let answer = ask(&sign(good.clone())).await;
    assert_eq!((answer.status(), answer.reason(), answer.rule()), (200, "ok", Some(0)));
    let steps = answer.decision.token.unwrap().steps;
    assert!(steps.len() == 14 && steps.iter().all(|(_, answer)| *answer == StepAnswer::Held), "{steps:?}");

    // Of several faults the first is named, and all are told; the rules are asked all the same.
    let mut bad = good.clone();
    bad["exp"] = json!(1);
    bad["aud"] = json!("account");
    let forged = sign(bad).rsplit_once('.').unwrap().0.to_owned() + ".AAAA";
    let answer = ask(&forged).await;
    assert_eq!((answer.status(), answer.reason(), answer.rule()), (401, "signature", None));
    let token = answer.decision.token.as_ref().unwrap();
    let failed = token.steps.iter().filter(|(_, answer)| answer.fault().is_some()).map(|(step, _)| *step);
    assert_eq!(failed.collect::<Vec<_>>(), [Step::Signature, Step::Expiry, Step::Audience]);
    assert!(answer.decision.rules[0].admits() && answer.decision.caller().is_none());
    assert!(answer.upstream_headers.is_empty());

    // Without keys nothing is opened, however good the claims.
    let mut far = good;
    far["iss"] = json!("https://far.example");
    let header = jsonwebtoken::Header { alg: jsonwebtoken::Algorithm::HS256, ..Default::default() };
    let key = jsonwebtoken::EncodingKey::from_secret(b"x");
    let token = jsonwebtoken::encode(&header, &far, &key).unwrap();
    let rest = token.split_once('.').unwrap().1;
    let answer = ask(&format!("eyJhbGciOiJSUzI1NiJ9.{rest}")).await;
    assert_eq!((answer.status(), answer.reason()), (503, "keys_unavailable"));
    assert!(answer.decision.rules[0].admits() && answer.decision.caller().is_none());
    let answer = ask("opaque").await;
    assert_eq!((answer.status(), answer.reason()), (401, "malformed"));
}

#[test]
fn what_cannot_be_a_request_is_no_question() {
    for (method, url) in [
        ("GET", "api.example:443"),
        ("GET", "ftp://api.example/"),
        ("CONNECT", ""),
        ("GET", "https://user@api.example/"),
        ("GET", "https:///x"),
        ("GET", ""),
        ("G T", "/x"),
    ] {
        assert!(Question::new(method, url, HeaderMap::new()).is_err(), "{method} {url}");
    }
    assert!(Question::new("GET", "HTTPS://[::1]:8443?x", HeaderMap::new()).is_ok());
    let refused = Question::new("GET", "https://user:hunter2@api.example/", HeaderMap::new()).unwrap_err();
    assert!(!refused.contains("hunter2"), "{refused}");
}
