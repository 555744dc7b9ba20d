//! Tokens that only their issuer can judge: asked about once, remembered for as long as it said, never believed from
//! anybody else.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::{
    ClosedPort,
    authorization_server::{AuthorizationServer, field},
    binary::Binary,
    eventually,
    gateway::{Gateway, configuration_of},
    issuer::Issuer,
    keys::Key,
    raw::{Response, exchange},
    token::{Token, now},
    upstream::Upstream,
};

const ROUTES: &str = "
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
  - {name: read, path: /read, upstream: echo, allow: [{scopes: [read]}]}
";

/// An issuer `name` that is asked at this server; `more` is put among the keys of `introspection`.
fn asked_at(name: &str, server: &AuthorizationServer, more: &str) -> String {
    format!(
        "  {name}: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s3cret, timeout: 30s{more}}}}}\n",
        server.introspection()
    )
}

fn gateway(issuers: &str, upstream: &Upstream) -> Gateway {
    Gateway::start(&configuration_of(issuers, &upstream.url(), ROUTES))
}

fn scene(more: &str) -> (AuthorizationServer, Upstream, Gateway) {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    let gateway = gateway(&asked_at("a", &server, more), &upstream);
    (server, upstream, gateway)
}

#[track_caller]
fn refused(response: &Response, description: &str) {
    assert_eq!(response.status, 401, "{}", response.text());
    let challenge = response.challenge().unwrap();
    assert_eq!(challenge.error(), Some("invalid_token"));
    assert!(challenge.get("error_description").unwrap().contains(description), "{challenge:?}");
}

#[track_caller]
fn unavailable(response: &Response) {
    assert_eq!((response.status, response.challenge()), (503, None), "{}", response.text());
    assert!(response.fields.get("retry-after").unwrap().parse::<u32>().unwrap() > 0);
}

#[test]
fn an_active_token_is_let_in_with_what_the_answer_says() {
    let (server, upstream, gateway) = scene("");
    server.active("t1", json!({"sub": "joe", "client_id": "web", "scope": "read write", "roles": ["editor"]}));
    assert_eq!(gateway.get_with("/read", "t1").status, 200);
    let request = upstream.requests().remove(0);
    for (name, value) in [
        ("x-auth-subject", "joe"),
        ("x-auth-client", "web"),
        ("x-auth-scopes", "read write"),
        ("x-auth-roles", "editor"),
        ("x-auth-issuer", "a"),
        ("authorization", "Bearer t1"),
    ] {
        assert_eq!(request.fields.get(name), Some(value), "{name}");
    }
    let question = &server.questions()[0];
    assert_eq!((question.method.as_str(), question.target.as_str()), ("POST", "/introspect"));
    assert_eq!(question.fields.get("authorization"), Some(&*format!("Basic {}", BASE64_STANDARD.encode("gw:s3cret"))));
    assert_eq!(question.fields.get("accept"), Some("application/json"));

    server.active("t2", json!({"sub": "joe", "scope": "write"}));
    let response = gateway.get_with("/read", "t2");
    assert_eq!((response.status, response.challenge().unwrap().error()), (403, Some("insufficient_scope")));
    refused(&gateway.get_with("/read", "unknown"), "not active");
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(gateway.metric("bearward_introspections_total{issuer=\"a\",result=\"ok\"}"), 3.0);
    assert_eq!(
        gateway.metric("bearward_decisions_total{issuer=\"a\",outcome=\"deny\",reason=\"inactive\",route=\"read\"}"),
        1.0
    );
}

#[test]
fn what_was_said_is_remembered_and_rules_are_asked_afresh() {
    let (server, _upstream, gateway) = scene(", negative_ttl: 1h");
    server.active("t1", json!({"sub": "joe"}));
    for _ in 0..5 {
        assert_eq!(gateway.get_with("/closed", "t1").status, 200);
        assert_eq!(gateway.get_with("/read", "t1").status, 403);
        refused(&gateway.get_with("/closed", "unknown"), "not active");
    }
    assert_eq!(server.asked(), 2);
    let cache = |result| gateway.metric(&format!("bearward_token_cache_requests_total{{result=\"{result}\"}}"));
    assert_eq!((cache("hit"), cache("miss")), (13.0, 2.0));
}

#[test]
fn with_no_time_to_remember_each_request_asks() {
    let (server, _upstream, gateway) = scene(", cache_ttl: 0s, negative_ttl: 0s");
    server.active("t1", json!({}));
    for asked in 1..=3 {
        assert_eq!(gateway.get_with("/closed", "t1").status, 200);
        assert_eq!(server.asked(), asked);
    }
    server.forget("t1");
    refused(&gateway.get_with("/closed", "t1"), "not active");
    server.active("t1", json!({}));
    assert_eq!(gateway.get_with("/closed", "t1").status, 200);
}

#[test]
fn what_was_remembered_ends() {
    let (server, _upstream, gateway) = scene(", cache_ttl: 1h, negative_ttl: 50ms");
    server.active("short", json!({"exp": now() + 5}));
    assert_eq!(gateway.get_with("/closed", "short").status, 200);
    eventually("it has expired", || gateway.get_with("/closed", "short").status == 401);
    assert!(now() >= server_exp(&server), "refused before its end");
    refused(&gateway.get_with("/closed", "short"), "expired");

    refused(&gateway.get_with("/closed", "late"), "not active");
    server.active("late", json!({}));
    eventually("a no is forgotten", || gateway.get_with("/closed", "late").status == 200);

    let (server, _upstream, gateway) = scene(", cache_ttl: 50ms");
    server.active("t1", json!({"exp": now() + 3600}));
    assert_eq!(gateway.get_with("/closed", "t1").status, 200);
    server.forget("t1");
    eventually("a yes is forgotten", || gateway.get_with("/closed", "t1").status == 401);
}

fn server_exp(server: &AuthorizationServer) -> i64 {
    server.answer_about("short")["exp"].as_i64().unwrap()
}

#[test]
fn many_who_wait_share_one_question() {
    let (server, _upstream, gateway) = scene("");
    server.active("t1", json!({}));
    server.hold(true);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                assert_eq!(gateway.get_with("/closed", "t1").status, 200);
                answered.fetch_add(1, Ordering::SeqCst);
            });
        }
        let waiting = || gateway.metric("bearward_connections{listener=\"127.0.0.1:0\"}");
        eventually("all are there", || waiting() >= 40.0 || server.asked() > 1);
        assert_eq!(answered.load(Ordering::SeqCst), 0);
        server.hold(false);
    });
    assert_eq!(server.asked(), 1);
}

#[test]
fn one_who_goes_away_takes_nobodys_answer_along() {
    let (server, _upstream, gateway) = scene("");
    server.active("t1", json!({}));
    server.hold(true);
    let mut first = gateway.client();
    first.send("GET /closed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t1\r\n\r\n");
    eventually("the question is asked", || server.asked() == 1);
    let mut second = gateway.client();
    second.send("GET /closed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t1\r\n\r\n");
    drop(first);
    server.hold(false);
    assert_eq!(second.receive().status, 200);
    assert_eq!(server.asked(), 1);
}

#[test]
fn too_many_questions_are_refused_at_once() {
    let (server, _upstream, gateway) = scene(", max_concurrent: 2");
    for token in ["t1", "t2", "t3"] {
        server.active(token, json!({}));
    }
    server.hold(true);
    std::thread::scope(|scope| {
        for token in ["t1", "t2"] {
            scope.spawn(|| assert_eq!(gateway.get_with("/closed", token).status, 200));
        }
        eventually("both are asked about", || server.asked() == 2);
        unavailable(&gateway.get_with("/closed", "t3"));
        server.hold(false);
    });
    assert_eq!(gateway.get_with("/closed", "t3").status, 200);
}

#[test]
fn an_answer_that_says_nothing_is_503_and_isnt_remembered() {
    let (server, upstream, gateway) = scene(", negative_ttl: 1h");
    let (good, json) = (r#"{"active": true}"#, "Content-Type: application/json\r\n");
    let padded = format!("{good}{}", " ".repeat(2 * 1024 * 1024));
    let elsewhere = AuthorizationServer::start();
    let redirect = format!("Location: {}\r\n", elsewhere.introspection());
    server.active("t1", json!({}));
    for (status, fields, body) in [
        (500, json, good),
        (401, json, good),
        (403, json, good),
        (404, json, good),
        (204, json, ""),
        (201, json, good),
        (302, redirect.as_str(), good),
        (307, redirect.as_str(), good),
        (200, json, ""),
        (200, json, "<html>busy"),
        (200, json, "null"),
        (200, json, "[]"),
        (200, json, "true"),
        (200, json, "{}"),
        (200, json, r#"{"sub": "joe"}"#),
        (200, json, r#"{"active": false, "active": true}"#),
        (200, json, r#"{"active": true, "scope": "a", "scope": "b"}"#),
        (200, json, r#"{"active": true, "exp": "tomorrow"}"#),
        (200, json, r#"{"active": true"#),
        (200, json, r#"{"active": true}{}"#),
        (200, json, padded.as_str()),
        (200, "Transfer-Encoding: chunked\r\n", good),
    ] {
        server.answer_instead(status, fields, body);
        let response = gateway.get_with("/closed", "t1");
        assert_eq!(response.status, 503, "{status} {body:.60}");
        unavailable(&response);
    }
    assert_eq!((elsewhere.asked(), upstream.requests().len()), (0, 0));
    assert!(gateway.metric("bearward_introspections_total{issuer=\"a\",result=\"error\"}") > 20.0);
    let degraded = gateway.admin("/readyz");
    assert_eq!((degraded.status, &degraded.json()["degraded"]), (200, &json!(["a"])));
    server.recover();
    assert_eq!(gateway.get_with("/closed", "t1").status, 200, "trouble was held against the token");
    assert_eq!(gateway.admin("/readyz").json()["degraded"], json!([]));
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let (server, upstream, gateway) = scene("");
    for (token, members, description) in [
        ("e1", json!({"exp": now() - 1}), "expired"),
        ("e2", json!({"nbf": now() + 600}), "not valid yet"),
        ("e3", json!({"aud": "elsewhere"}), "audience"),
        ("e4", json!({"cnf": {"jkt": "x"}}), "bound"),
        ("e5", json!({"cnf": {"x5t#S256": "x"}}), "bound"),
        ("e6", json!({"token_type": "DPoP"}), "bound"),
        ("e7", json!({"token_use": "refresh_token"}), "type"),
        ("e8", json!({"active": "true"}), "not active"),
        ("e9", json!({"active": 1}), "not active"),
        ("ea", json!({"active": null}), "not active"),
        ("eb", json!({"active": false, "exp": now() - 1}), "not active"),
    ] {
        server.active(token, members);
        refused(&gateway.get_with("/closed", token), description);
    }
    assert_eq!(upstream.requests().len(), 0);
    server
        .active("good", json!({"aud": ["x", "api"], "exp": now() + 60, "nbf": now(), "iat": now(), "iss": "anybody"}));
    assert_eq!(gateway.get_with("/closed", "good").status, 200);
}

#[test]
fn each_way_to_prove_who_asks() {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    server.active("t1", json!({}));
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, pem).unwrap();
    let basic = |pair: &str| Some(format!("Basic {}", BASE64_STANDARD.encode(pair)));
    let token = "token=t1&token_type_hint=access_token";
    for (auth, authorization, form) in [
        (r#"client_id: "a:b", client_secret: "50%+é""#.to_owned(), basic("a%3Ab:50%25%2B%C3%A9"), token.to_owned()),
        (
            r#"auth: post, client_id: "a&b", client_secret: "x=y z""#.to_owned(),
            None,
            format!("{token}&client_id=a%26b&client_secret=x%3Dy+z"),
        ),
        ("auth: bearer, bearer_token: own-token".to_owned(), Some("Bearer own-token".to_owned()), token.to_owned()),
        ("auth: none".to_owned(), None, token.to_owned()),
        ("auth: none, client_id: gw".to_owned(), None, format!("{token}&client_id=gw")),
        (
            format!("auth: private_key_jwt, client_id: gw, private_key: {}", key.display()),
            None,
            format!(
                "{token}&client_id=gw&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion="
            ),
        ),
    ] {
        let issuer =
            format!("  a: {{audiences: [api], introspection: {{endpoint: \"{}\", {auth}}}}}\n", server.introspection());
        let gateway = gateway(&issuer, &upstream);
        assert_eq!(gateway.get_with("/closed", "t1").status, 200, "{auth}");
        let question = server.questions().pop().unwrap();
        assert_eq!(question.fields.get("authorization"), authorization.as_deref(), "{auth}");
        let body = String::from_utf8(question.body.clone()).unwrap();
        match field(&question.body, "client_assertion") {
            None => assert_eq!(body, form),
            Some(assertion) => {
                assert!(body.starts_with(&form), "{body}");
                let claims = assertion.split('.').nth(1).unwrap();
                let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
                let claims: Value = serde_json::from_slice(&claims).unwrap();
                assert_eq!((&claims["iss"], &claims["sub"]), (&json!("gw"), &json!("gw")));
                assert_eq!(claims["aud"], json!(server.introspection()));
            }
        }
    }
}

#[test]
fn an_endpoint_can_be_discovered_and_found_again() {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    server.active("t1", json!({"iss": server.url()}));
    server.active("t2", json!({"iss": server.url()}));
    server.active("t3", json!({"iss": "https://elsewhere.example"}));
    let issuer = format!(
        "  a: {{issuer: \"{}\", audiences: [api], introspection: {{client_id: gw, client_secret: x}}}}\n",
        server.url()
    );
    let gateway = gateway(&issuer, &upstream);
    assert_eq!(server.discoveries(), 0, "an issuer that is asked isn't probed at start");
    assert_eq!(gateway.get_with("/closed", "t1").status, 200);
    assert_eq!(gateway.get_with("/closed", "t2").status, 200);
    refused(&gateway.get_with("/closed", "t3"), "issuer");
    assert_eq!((server.discoveries(), server.asked()), (1, 3));
}

/// Of many who come at once, each with a connection of its own, after an outage of everything that was known.
#[test]
fn many_at_once_cause_one_discovery_and_one_question_a_token() {
    const MANY: usize = 200;
    for is_one_token in [true, false] {
        let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
        let tokens: Vec<_> = (0..MANY).map(|number| format!("t{}", if is_one_token { 0 } else { number })).collect();
        for token in &tokens {
            server.active(token, json!({}));
        }
        let issuer = format!(
            "  a: {{issuer: \"{}\", audiences: [api], http_timeout: 30s, introspection: {{client_id: gw, client_secret: x, timeout: 30s, max_concurrent: {MANY}}}}}\n",
            server.url()
        );
        let gateway = gateway(&issuer, &upstream);
        server.hold_discovery(true);
        std::thread::scope(|scope| {
            for token in &tokens {
                scope.spawn(|| assert_eq!(gateway.get_with("/closed", token).status, 200));
            }
            let waiting = || gateway.metric("bearward_connections{listener=\"127.0.0.1:0\"}");
            eventually("all are there", || waiting() >= MANY as f64 || server.discoveries() > 1);
            assert_eq!(server.asked(), 0);
            server.hold_discovery(false);
        });
        assert_eq!(server.discoveries(), 1);
        assert_eq!(server.asked(), if is_one_token { 1 } else { MANY });
    }
}

#[test]
fn a_discovery_that_fails_is_shared_and_tried_again() {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    let issuer = format!(
        "  a: {{issuer: \"{}\", audiences: [api], introspection: {{client_id: gw, client_secret: x}}}}\n",
        server.url()
    );
    let gateway = gateway(&issuer, &upstream);
    server.active("t1", json!({}));
    server.answer_instead(500, "", "oops");
    for _ in 0..3 {
        unavailable(&gateway.get_with("/closed", "t1"));
    }
    server.recover();
    assert_eq!(gateway.get_with("/closed", "t1").status, 200);
    assert_eq!((server.discoveries(), server.asked()), (1, 1));
    // What an answer that can't be used was asked of is looked up anew.
    server.active("t2", json!({}));
    server.answer_instead(500, "", "oops");
    unavailable(&gateway.get_with("/closed", "t2"));
    server.recover();
    assert_eq!(gateway.get_with("/closed", "t2").status, 200);
    assert_eq!(server.discoveries(), 2);
}

#[test]
fn questions_share_a_connection() {
    for is_userinfo in [false, true] {
        let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
        let issuers = match is_userinfo {
            false => asked_at("a", &server, ", cache_ttl: 0s, negative_ttl: 0s"),
            true => {
                format!("  a: {{audiences: any, userinfo: {{endpoint: \"{}\", cache_ttl: 0s}}}}\n", server.userinfo())
            }
        };
        let one_worker = configuration_of(&issuers, &upstream.url(), ROUTES).replace("workers: 2", "workers: 1");
        let gateway = Gateway::start(&one_worker);
        server.active("t1", json!({"sub": "joe"}));
        for number in 0..20 {
            assert_eq!(gateway.get_with("/closed", "t1").status, 200);
            refused(&gateway.get_with("/closed", &format!("unknown-{number}")), "not active");
        }
        assert_eq!((server.asked(), server.connections()), (40, 1));
    }
}

#[test]
fn a_server_that_is_gone_is_503_until_it_is_back() {
    let (port, upstream) = (ClosedPort::reserve(), Upstream::start());
    let issuer = format!(
        "  a: {{audiences: [api], introspection: {{endpoint: \"http://{}/introspect\", client_id: a, client_secret: b}}}}\n",
        port.address
    );
    let gateway = gateway(&issuer, &upstream);
    unavailable(&gateway.get_with("/closed", "t1"));
    unavailable(&gateway.get_with("/closed", "t1"));
    assert_eq!(gateway.get("/closed").status, 401);
    let server = AuthorizationServer::at(port);
    server.active("t1", json!({}));
    assert_eq!(gateway.get_with("/closed", "t1").status, 200);
}

#[test]
fn a_slow_server_is_given_up() {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    server.active("t1", json!({}));
    let issuer = asked_at("a", &server, "").replace("timeout: 30s", "timeout: 200ms");
    let gateway = gateway(&issuer, &upstream);
    server.hold(true);
    unavailable(&gateway.get_with("/closed", "t1"));
    server.hold(false);
    eventually("it answers again", || gateway.get_with("/closed", "t1").status == 200);
}

#[test]
fn several_issuers_are_asked_in_the_files_order() {
    let (a, b, upstream) = (AuthorizationServer::start(), AuthorizationServer::start(), Upstream::start());
    let issuers = asked_at("a", &a, ", cache_ttl: 1h, negative_ttl: 0s") + &asked_at("b", &b, ", negative_ttl: 0s");
    let gateway = gateway(&issuers, &upstream);
    let issuer_of = |token: &str| {
        assert_eq!(gateway.get_with("/closed", token).status, 200, "{token}");
        upstream.requests().pop().unwrap().fields.get("x-auth-issuer").unwrap().to_owned()
    };
    b.active("b1", json!({"sub": "joe"}));
    assert_eq!(issuer_of("b1"), "b");
    a.active("both", json!({}));
    b.active("both", json!({}));
    assert_eq!(issuer_of("both"), "a");
    assert_eq!((a.asked(), b.asked()), (2, 1));
    refused(&gateway.get_with("/closed", "neither"), "not active");

    // What speaks for another issuer is nobody's word.
    a.active("stray", json!({"aud": "other"}));
    b.active("stray", json!({}));
    refused(&gateway.get_with("/closed", "stray"), "audience");

    // One that can't be asked might have said yes.
    a.answer_instead(500, "", "");
    unavailable(&gateway.get_with("/closed", "neither"));
    b.active("b2", json!({}));
    assert_eq!(issuer_of("b2"), "b");
    // Its word is remembered, and is still only its own: the first comes first once it is back.
    a.recover();
    a.active("b2", json!({}));
    assert_eq!(issuer_of("b2"), "a");
}

#[test]
fn what_one_issuer_said_opens_no_route_of_anothers() {
    let (a, b, upstream) = (AuthorizationServer::start(), AuthorizationServer::start(), Upstream::start());
    let routes = "
  - {name: of-a, path: /a, issuers: [a], upstream: echo, allow: authenticated}
  - {name: of-b, path: /b, issuers: [b], upstream: echo, allow: authenticated}
  - {name: of-both, path: /both, upstream: echo, allow: authenticated}
";
    let issuers = asked_at("a", &a, ", negative_ttl: 1h") + &asked_at("b", &b, ", negative_ttl: 1h");
    let gateway = Gateway::start(&configuration_of(&issuers, &upstream.url(), routes));
    a.active("t1", json!({"sub": "joe"}));
    for _ in 0..2 {
        assert_eq!(gateway.get_with("/a", "t1").status, 200);
        refused(&gateway.get_with("/b", "t1"), "not active");
        assert_eq!(gateway.get_with("/both", "t1").status, 200);
        assert_eq!(upstream.requests().pop().unwrap().fields.get("x-auth-issuer"), Some("a"));
    }
    b.active("t2", json!({"sub": "jim"}));
    for _ in 0..2 {
        refused(&gateway.get_with("/a", "t2"), "not active");
        assert_eq!(gateway.get_with("/b", "t2").status, 200);
        assert_eq!(gateway.get_with("/both", "t2").status, 200);
    }
    assert_eq!((a.asked(), b.asked()), (2, 2));
}

#[test]
fn tokens_that_look_otherwise_are_sent_to_nobody() {
    let (a, b, upstream) = (AuthorizationServer::start(), AuthorizationServer::start(), Upstream::start());
    let issuers = asked_at("a", &a, ", tokens: \"^[0-9a-f]{40}$\"") + &asked_at("b", &b, ", tokens: \"^b\"");
    let gateway = gateway(&issuers, &upstream);
    let hex = "87b567fa3de847fb3adef9492b294bb83f8cd266";
    a.active(hex, json!({}));
    assert_eq!(gateway.get_with("/closed", hex).status, 200);
    b.active("b-1", json!({}));
    assert_eq!(gateway.get_with("/closed", "b-1").status, 200);
    refused(&gateway.get_with("/closed", "x"), "malformed");
    refused(&gateway.get_with("/closed", &format!("{hex}0")), "malformed");
    assert_eq!((a.asked(), b.asked()), (1, 1));
}

#[test]
fn jwts_and_opaque_tokens_side_by_side() {
    let (issuer, server, upstream) =
        (Issuer::start(&Key::es256("k1")), AuthorizationServer::start(), Upstream::start());
    let issuers = format!(
        "  main: {{issuer: \"{}\", audiences: [api], jwt: {{}}, introspection: {{endpoint: \"{}\", client_id: gw, client_secret: x}}}}\n",
        issuer.url(),
        server.introspection(),
    );
    let gateway = gateway(&issuers, &upstream);
    let good = issuer.token().build();
    assert_eq!(gateway.get_with("/closed", &good).status, 200);
    server.active("opaque", json!({}));
    assert_eq!(gateway.get_with("/closed", "opaque").status, 200);
    let asked = server.asked();
    let (header, _) = good.split_once('.').unwrap();
    for token in [
        issuer.token().exp_in(-600).build(),
        issuer.token().signed_by(&Key::es256("k1")).build(),
        issuer.token().claim("iss", json!("https://elsewhere.example")).build(),
        issuer.token().alg("none").with_signature(b""),
        format!("{good}="),
        format!("{header}.bm90IGpzb24.AAAA"),
    ] {
        server.active(&token, json!({}));
        assert_eq!(gateway.get_with("/closed", &token).status, 401, "{token}");
    }
    assert_eq!(server.asked(), asked, "a JWT was sent to be asked about");
    for token in ["a.b.c", "a.b", &format!("{good}.x.y"), &format!("{header}~.x.y")] {
        server.active(token, json!({}));
        assert_eq!(gateway.get_with("/closed", token).status, 200, "{token} is opaque");
    }
}

#[test]
fn a_jwt_goes_to_its_issuer_alone() {
    let (a, b, upstream) = (AuthorizationServer::start(), AuthorizationServer::start(), Upstream::start());
    let of = |name: &str, server: &AuthorizationServer| {
        asked_at(name, server, "").replace("{audiences", &format!("{{issuer: \"{}\", audiences", server.url()))
    };
    let gateway = gateway(&(of("a", &a) + &of("b", &b)), &upstream);
    let key = Key::es256("k1");
    let of_b = Token::new(b.url(), &key).build();
    b.active(&of_b, json!({"sub": "joe"}));
    assert_eq!(gateway.get_with("/closed", &of_b).status, 200);
    assert_eq!((a.asked(), b.asked()), (0, 1));
    let foreign = Token::new("https://elsewhere.example", &key).build();
    a.active(&foreign, json!({}));
    refused(&gateway.get_with("/closed", &foreign), "issuer");
    assert_eq!((a.asked(), b.asked()), (0, 1));
    // One that names nobody is put to all.
    let unnamed = Token::new("", &key).without("iss").build();
    b.active(&unnamed, json!({}));
    assert_eq!(gateway.get_with("/closed", &unnamed).status, 200);
    assert_eq!((a.asked(), b.asked()), (1, 2));
}

#[test]
fn a_jwt_without_issuer_is_verified_first_and_asked_about_then() {
    let (server, upstream, key) = (AuthorizationServer::start(), Upstream::start(), Key::es256("k1"));
    let jwks = json!({"keys": [key.jwk()]});
    let issuers = format!(
        "  jwt: {{issuer: \"https://jwt.example\", audiences: [api], jwt: {{require_issuer: false, jwks: {jwks}}}}}\n{}",
        asked_at("asked", &server, "")
    );
    let gateway = gateway(&issuers, &upstream);
    let issuer_of = |token: &str| {
        assert_eq!(gateway.get_with("/closed", token).status, 200);
        upstream.requests().pop().unwrap().fields.get("x-auth-issuer").unwrap().to_owned()
    };
    let unnamed = |key: &Key| Token::new("", key).without("iss");
    assert_eq!(issuer_of(&unnamed(&key).build()), "jwt");
    refused(&gateway.get_with("/closed", &unnamed(&key).exp_in(-600).build()), "expired");
    assert_eq!(server.asked(), 0, "a good signature is final");
    let other = unnamed(&Key::es256("other")).build();
    refused(&gateway.get_with("/closed", &other), "not active");
    let theirs = unnamed(&Key::es256("theirs")).build();
    server.active(&theirs, json!({}));
    assert_eq!(issuer_of(&theirs), "asked");
}

#[test]
fn userinfo_judges_by_answering() {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    let issuers = format!("  social: {{audiences: any, userinfo: {{endpoint: \"{}\"}}}}\n", server.userinfo());
    let gateway = gateway(&issuers, &upstream);
    server.say("t1", json!({"sub": "joe", "email": "joe@example.com"}));
    for _ in 0..3 {
        assert_eq!(gateway.get_with("/closed", "t1").status, 200);
    }
    assert_eq!(upstream.requests()[0].fields.get("x-auth-subject"), Some("joe"));
    let question = &server.questions()[0];
    assert_eq!((question.method.as_str(), question.fields.get("authorization")), ("GET", Some("Bearer t1")));
    refused(&gateway.get_with("/closed", "unknown"), "not active");
    assert_eq!(server.asked(), 2);
    let challenge = "WWW-Authenticate: Bearer error=\"insufficient_scope\"\r\n";
    for (status, fields, expected) in
        [(403, challenge, 401), (403, "", 503), (429, "", 503), (500, "", 503), (200, "", 503), (204, "", 503)]
    {
        server.answer_instead(status, fields, "x");
        assert_eq!(
            gateway.get_with("/closed", &format!("other-{status}-{}", fields.len())).status,
            expected,
            "{status}"
        );
    }
}

#[test]
fn a_signed_answer_must_be_the_issuers_and_ours() {
    let (server, upstream, key) = (AuthorizationServer::start(), Upstream::start(), Key::es256("k1"));
    server.publish(&json!({"keys": [key.jwk()]}).to_string());
    let issuers = format!(
        "  a: {{issuer: \"{}\", audiences: [api], introspection: {{client_id: gw, client_secret: x, signed: true, negative_ttl: 0s}}}}\n",
        server.url()
    );
    let gateway = gateway(&issuers, &upstream);
    let answer = |members: Value| {
        Token::new(server.url(), &key)
            .aud("gw")
            .header("typ", json!("token-introspection+jwt"))
            .without("exp")
            .claim("iat", json!(now()))
            .claim("token_introspection", members)
    };
    let active = json!({"active": true, "sub": "joe", "aud": "api"});
    server.say("t1", json!(answer(active.clone()).build()));
    assert_eq!(gateway.get_with("/closed", "t1").status, 200);
    assert_eq!(upstream.requests()[0].fields.get("x-auth-subject"), Some("joe"));
    assert_eq!(server.questions()[0].fields.get("accept"), Some("application/token-introspection+jwt"));
    server.say("t2", json!(answer(json!({"active": false})).build()));
    refused(&gateway.get_with("/closed", "t2"), "not active");
    let good = answer(active.clone());
    for (number, (what, wrong)) in [
        ("another client", good.clone().aud("other").build()),
        ("another issuer", good.clone().claim("iss", json!("https://elsewhere.example")).build()),
        ("another type", good.clone().header("typ", json!("JWT")).build()),
        ("another key", good.clone().signed_by(&Key::es256("k1")).build()),
        ("no signature", good.clone().alg("none").with_signature(b"")),
        ("an old answer", good.clone().claim("iat", json!(now() - 3600)).build()),
        ("no time", good.clone().without("iat").build()),
        ("no members", good.clone().without("token_introspection").build()),
        ("members of another kind", good.clone().claim("token_introspection", json!("x")).build()),
        ("crit", good.clone().header("crit", json!(["x"])).build()),
        ("nonsense", "x".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("wrong-{number}");
        server.say(&token, json!(wrong));
        assert_eq!(gateway.get_with("/closed", &token).status, 503, "{what}");
    }
    server.say("plain", active);
    assert_eq!(gateway.get_with("/closed", "plain").status, 503, "an unsigned answer was believed");
}

#[test]
fn a_token_of_50_000_characters_is_asked_about_whole() {
    let (server, upstream, gateway) = scene("");
    let token = "a+/~".repeat(12_500);
    server.active(&token, json!({"sub": "joe"}));
    assert_eq!(gateway.get_with("/closed", &token).status, 200);
    assert_eq!(gateway.get_with("/closed", &token).status, 200);
    assert_eq!((server.asked(), upstream.requests().len()), (1, 2));
    assert_eq!(field(&server.questions()[0].body, "token"), Some(token));
}

#[test]
fn a_flood_of_unknown_tokens_pushes_no_good_one_out() {
    let (server, _upstream, gateway) = scene(", negative_ttl: 1h");
    server.active("good", json!({}));
    assert_eq!(gateway.get_with("/closed", "good").status, 200);
    for number in 0..300 {
        refused(&gateway.get_with("/closed", &format!("bad-{number}")), "not active");
    }
    let asked = server.asked();
    assert_eq!(gateway.get_with("/closed", "good").status, 200);
    assert_eq!(server.asked(), asked);
    assert_eq!(gateway.metric("bearward_token_cache_entries"), 1.0);
}

#[test]
fn no_output_holds_a_token_or_a_secret() {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    let secrets = ["swordfish-".repeat(3), "marlin-".repeat(4), "opaque-token-".repeat(3), "unknown-token-".repeat(3)];
    let [secret, bearer, good, unknown] = &secrets;
    server.active(good, json!({"sub": "joe"}));
    let issuers = format!(
        "  a: {{audiences: [api], introspection: {{endpoint: \"{0}\", client_id: gw, client_secret: {secret}, cache_ttl: 0s}}}}\n  \
         b: {{audiences: [api], introspection: {{endpoint: \"{0}?x={secret}\", auth: bearer, bearer_token: {bearer}}}}}\n  \
         c: {{audiences: any, userinfo: {{endpoint: \"{1}\"}}}}\n",
        server.introspection(),
        server.userinfo(),
    );
    let yaml = configuration_of(&issuers, &upstream.url(), ROUTES)
        .replace("level: error, access: false", "level: trace, access: true");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut binary = Binary::run(&file);
    let address = binary.address();
    let mut answers = String::new();
    let mut ask = || {
        for token in [good, unknown] {
            let fields = format!("Authorization: Bearer {token}\r\n");
            answers.push_str(&exchange(address, "GET", "/closed", &fields).text());
        }
    };
    ask();
    let twice = format!("{{\"active\": true, \"{good}\": 1, \"{good}\": 2}}");
    for (status, body) in [(500, good), (200, good), (200, &twice)] {
        server.answer_instead(status, "", body);
        ask();
    }
    binary.signal("TERM");
    assert_eq!(binary.wait().code(), Some(0));
    let output = binary.output();
    assert!(output.contains("a token could not be asked about"), "{output}");
    for secret in &secrets {
        assert!(!output.contains(secret.as_str()), "{secret} is in the log: {output}");
        assert!(!answers.contains(secret.as_str()), "{secret} is in an answer");
    }
}
