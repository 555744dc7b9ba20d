//! What is to go on with a request that was let in.

use super::{PLACES, Scene, bearer, meant};
use crate::support::raw::Response;

const ROUTES: &str = r#"
  - {name: api, path: "/api/**", upstream: echo, allow: authenticated}
  - {name: plain, path: /plain, upstream: echo, allow: authenticated, identity: {authorization: remove, headers: {X-Tenant: claims.tenant, X-Env: {value: test}}}}
  - {name: open, path: /open, upstream: echo, allow: public}
  - {name: maybe, path: /maybe, upstream: echo, allow: optional}
  - {name: dry, path: /dry, upstream: echo, allow: [{scopes: [write]}], enforce: false}
  - {name: query, path: /query, upstream: echo, allow: authenticated, token_from: {query: t}}
  - {name: cookie, path: /cookie, upstream: echo, allow: authenticated, token_from: {cookie: session}}
  - {name: own, path: /own, upstream: echo, allow: authenticated, token_from: {header: X-Api-Token}}
  - {name: changed, path: /changed, upstream: echo, allow: public, headers: {request: {set: {X-Plan: pro}, remove: [X-Debug]}}}
"#;

/// The values of a field, several with a bar between; None where it isn't there.
fn values(answer: &Response, name: &str) -> Option<String> {
    let all: Vec<_> = answer.fields.all(name).collect();
    (!all.is_empty()).then(|| all.join("|"))
}

#[track_caller]
fn assert_fields(answer: &Response, expected: &[(&str, Option<&str>)]) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    for (name, value) in expected {
        assert_eq!(values(answer, name).as_deref(), *value, "{name}");
    }
}

#[test]
fn who_asks_is_said_and_what_is_not_known_is_empty() {
    let scene = Scene::start("", ROUTES);
    let token = scene.issuer.token().scope("read write").claim("tenant", "acme".into()).build();
    let spoofed =
        "X-Auth-Subject: root\r\nX-Auth-Roles: admin\r\nX-Tenant: other\r\nX-Env: prod\r\nX-Request-Id: r-1\r\n";
    let credential = format!("Bearer {token}");
    for place in 0..PLACES.len() {
        let answer = scene.ask(place, "GET", "/api/1", &format!("{spoofed}{}", bearer(&token)));
        let known = [
            ("x-auth-subject", Some("u1")),
            ("x-auth-client", Some("c1")),
            ("x-auth-scopes", Some("read write")),
            ("x-auth-roles", Some("")),
            ("x-auth-issuer", Some("main")),
            // Of another route.
            ("x-tenant", Some("")),
            ("x-env", Some("")),
            ("authorization", Some(&credential)),
            ("x-request-id", Some("r-1")),
            ("cache-control", Some("no-store")),
            ("content-length", Some("0")),
            ("x-auth-assertion", None),
        ];
        assert_fields(&answer, &known);
        let answer = scene.ask(place, "GET", "/plain", &format!("{spoofed}{}", bearer(&token)));
        let plain = [
            ("x-tenant", Some("acme")),
            ("x-env", Some("test")),
            ("x-auth-subject", Some("")),
            ("authorization", Some("")),
        ];
        assert_fields(&answer, &plain);
    }
    assert!(scene.upstream.requests().is_empty());
}

/// A proxy that copies fields by their names leaves what resembles one as it is.
#[test]
fn names_that_resemble_what_a_route_changes_are_refused() {
    let scene = Scene::start("", ROUTES);
    for place in 0..PLACES.len() {
        for (field, status) in [
            ("X-Plan: free", 200),
            ("X-Debug: 1", 200),
            ("X_Plan: free", 400),
            ("X.Plan: free", 400),
            ("X_Debug: 1", 400),
        ] {
            let answer = scene.ask(place, "GET", "/changed", &format!("{field}\r\n"));
            assert_eq!(meant(&answer), status, "{field}");
        }
        assert_eq!(scene.ask(place, "GET", "/open", "X_Plan: free\r\n").status, 200, "nothing is changed there");
    }
}

#[test]
fn nobody_is_nobody() {
    let scene = Scene::start("", ROUTES);
    let expired = bearer(&scene.issuer.token().exp_in(-60).build());
    let poor = bearer(&scene.issuer.token().build());
    let nobody = [("x-auth-subject", Some("")), ("x-auth-scopes", Some("")), ("x-tenant", Some(""))];
    for (target, fields, authorization) in [
        ("/open", "", Some("")),
        // On a public route nobody looks at it.
        ("/open", "Authorization: Basic YTpi\r\n", Some("Basic YTpi")),
        ("/open", "Authorization: a\r\nAuthorization: b\r\n", Some("a|b")),
        ("/maybe", "", Some("")),
        ("/dry", "", Some("")),
        ("/dry", &expired, Some(expired["Authorization: ".len()..].trim())),
    ] {
        let answer = scene.ask(0, "GET", target, &format!("X-Auth-Subject: root\r\n{fields}"));
        assert_fields(&answer, &nobody);
        assert_eq!(values(&answer, "authorization").as_deref(), authorization, "{target} {fields}");
    }
    // A dry run knows who it is.
    assert_fields(&scene.ask(0, "GET", "/dry", &poor), &[("x-auth-subject", Some("u1"))]);
}

#[test]
fn a_token_from_elsewhere_is_taken_away() {
    let scene = Scene::start("", ROUTES);
    let token = scene.issuer.token().build();
    let credential = format!("Bearer {token}");
    for place in 0..PLACES.len() {
        let answer = scene.ask(place, "GET", &format!("/query?a=b&t={token}"), "");
        assert_fields(&answer, &[("authorization", Some(&credential)), ("x-auth-subject", Some("u1"))]);
        assert_eq!(scene.ask(place, "GET", "/query", &bearer(&token)).status, 401);
        let cookies = format!("Cookie: a=b; session={token}; c=d\r\n");
        let answer = scene.ask(place, "GET", "/cookie", &cookies);
        assert_fields(&answer, &[("authorization", Some(&credential)), ("cookie", Some("a=b; c=d"))]);
        let answer = scene.ask(place, "GET", "/own", &format!("X-Api-Token: {token}\r\n"));
        assert_fields(&answer, &[("authorization", Some(&credential)), ("x-api-token", Some(""))]);
    }
}

/// A proxy takes `Upgrade` away before it asks; a page of another origin must not open a tunnel with somebody's cookie all
/// the same.
#[test]
fn a_websocket_is_seen_by_its_key() {
    let scene = Scene::start("", ROUTES);
    let cookie = format!("Cookie: session={}\r\n", scene.issuer.token().build());
    for place in 0..PLACES.len() {
        let ask = |more: &str| scene.ask(place, "GET", "/cookie", &format!("{cookie}{more}")).status;
        assert_eq!(ask("Origin: https://evil.example\r\n"), 200);
        let key = "Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n";
        assert_eq!(ask(&format!("{key}Origin: https://evil.example\r\n")), 401);
        assert_eq!(ask(&format!("{key}Origin: http://api.example\r\n")), 200);
    }
}

#[test]
fn what_a_route_changes_is_said() {
    let scene = Scene::start("", ROUTES);
    let answer = scene.ask(0, "GET", "/changed", "X-Plan: free\r\nX-Debug: 1\r\n");
    assert_fields(&answer, &[("x-plan", Some("pro")), ("x-debug", Some(""))]);
}
