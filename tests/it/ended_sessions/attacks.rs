//! To log others out, and to be let in by what logs out.

use std::{thread, time::Duration};

use serde_json::json;

use super::*;
use crate::support::{
    eventually,
    gateway::{Gateway, configuration_of},
    issuer::Issuer,
    keys::Key,
    token::{Token, encode, now},
    upstream::Upstream,
};

#[test]
fn all_that_is_refused_says_why_and_ends_nothing() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let token = issuer.token().build();
    let good = logout_token(&issuer);
    let other = Key::es256("k1");
    let form = format!("Content-Type: {FORM}\r\n");
    let as_form = |token: &Token| format!("logout_token={}", token.build());
    for (fields, body, words) in [
        (&*form, String::new(), "not exactly one logout_token"),
        (&*form, "logout_token=".to_owned(), "malformed"),
        (&*form, "logout_token=abc".to_owned(), "malformed"),
        (&*form, good.build(), "not exactly one logout_token"),
        (&*form, format!("token={}", good.build()), "not exactly one logout_token"),
        (&*form, format!("{0}&{0}", as_form(&good)), "not exactly one logout_token"),
        (&*form, format!("{}&logout%5Ftoken=x", as_form(&good)), "not exactly one logout_token"),
        ("", as_form(&good), "not of the type"),
        ("Content-Type: application/json\r\n", as_form(&good), "not of the type"),
        ("Content-Type: text/plain\r\n", as_form(&good), "not of the type"),
        (&*format!("{form}{form}"), as_form(&good), "not of the type"),
        (&*form, as_form(&good.clone().signed_by(&other)), "signature"),
        (&*form, as_form(&good.clone().kid("gone")), "does not publish"),
        (&*form, as_form(&good.clone().alg("none")), "algorithm"),
        (&*form, format!("logout_token={}.", good.clone().alg("none").signing_input()), "algorithm"),
        (
            &*form,
            format!("logout_token={}", good.clone().alg("HS256").with_hmac(issuer.jwks().as_bytes())),
            "algorithm",
        ),
        (&*form, as_form(&good.clone().header("jwk", other.jwk()).signed_by(&other)), "signature"),
        (&*form, as_form(&issuer.token()), "of a type"),
        (&*form, as_form(&issuer.token().header("typ", json!("JWT")).claim("jti", json!("t"))), "no events"),
        (&*form, as_form(&good.clone().claim("nonce", json!("n"))), "nonce"),
        (&*form, as_form(&good.clone().aud("other")), "another audience"),
        (&*form, as_form(&good.clone().claim("iss", json!("https://other.example"))), "from an issuer"),
        (&*form, as_form(&good.clone().exp_in(-100)), "expired"),
        (&*form, as_form(&good.clone().claim("iat", json!(now() - 1000))), "too old"),
        (&*form, as_form(&good.clone().claim("iat", json!(now() + 100))), "in the future"),
        (&*form, as_form(&good.clone().without("jti")), "lacks a claim"),
        (&*form, as_form(&good.clone().without("sub")), "lacks a claim"),
        (&*form, as_form(&event(&issuer, REVOKED, user(&issuer, "u1"))), "of a type"),
    ] {
        let response = post(gateway.address, LOGOUT_PLACE, fields, &body);
        assert_eq!(response.status, 400, "{body}: {}", response.text());
        let document = response.json();
        assert_eq!(document["error"], "invalid_request");
        assert!(document["error_description"].as_str().unwrap().contains(words), "{words}: {document}");
        assert_eq!(response.fields.get("cache-control"), Some("no-store"));
        assert_eq!(response.fields.get("content-type"), Some("application/json"));
    }
    let good = event(&issuer, REVOKED, user(&issuer, "u1"));
    let said = format!("Content-Type: {EVENT}\r\n");
    for (fields, body, err) in [
        (&*said, String::new(), "invalid_request"),
        (&*said, "{}".to_owned(), "invalid_request"),
        ("", good.build(), "invalid_request"),
        (&*form, good.build(), "invalid_request"),
        (&*said, good.clone().kid("gone").build(), "invalid_key"),
        (&*said, good.clone().alg("none").build(), "invalid_key"),
        (&*said, good.clone().signed_by(&other).build(), "authentication_failed"),
        (&*said, good.clone().aud("other").build(), "invalid_audience"),
        (&*said, good.clone().claim("iss", json!("https://other.example")).build(), "invalid_issuer"),
        (&*said, good.clone().without("jti").build(), "invalid_request"),
        (&*said, good.clone().without("sub_id").build(), "invalid_request"),
        (
            &*said,
            good.clone().claim("sub_id", json!({"format": "email", "email": "a@b.example"})).build(),
            "invalid_request",
        ),
        (&*said, good.clone().claim("events", json!({REVOKED: 5})).build(), "invalid_request"),
        (&*said, good.clone().header("typ", json!("JWT")).build(), "invalid_request"),
        (&*said, logout_token(&issuer).build(), "invalid_request"),
        (&*said, issuer.token().build(), "invalid_request"),
    ] {
        let response = post(gateway.address, EVENTS_PLACE, fields, &body);
        assert_eq!(response.status, 400, "{body}: {}", response.text());
        assert_eq!(response.json()["err"], err, "{body}");
        assert!(!response.json()["description"].as_str().unwrap().is_empty());
        assert_eq!(response.fields.get("content-language"), Some("en"));
        assert_eq!(response.fields.get("cache-control"), Some("no-store"));
    }
    for path in [LOGOUT_PLACE, EVENTS_PLACE] {
        let response = post(gateway.address, path, &form, &"a".repeat(64 * 1024 + 1));
        assert_eq!(response.status, 413);
        for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "FOO"] {
            let response = gateway.call(method, path, "Content-Length: 0\r\n");
            assert_eq!((response.status, response.fields.get("allow")), (405, Some("POST")), "{method}");
        }
    }
    assert_eq!(gateway.admin("/revocations").json(), json!([]));
    assert!(is_let_in(&gateway, &token));
}

#[test]
fn what_tells_of_an_end_lets_nobody_in() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let logout = logout_token(&issuer);
    for typ in ["logout+jwt", "JWT", "at+jwt", "secevent+jwt"] {
        let token = logout.clone().header("typ", json!(typ)).build();
        let response = gateway.get_with("/closed", &token);
        assert_eq!(response.status, 401, "{typ}");
        assert_eq!(response.challenge().unwrap().error(), Some("invalid_token"));
    }
}

#[test]
fn no_issuer_ends_anothers_sessions() {
    let (main, other) = (Issuer::start(&Key::es256("k1")), Issuer::start(&Key::eddsa("k2")));
    let upstream = Upstream::start();
    let issuers = ["main", "other"].map(|name| {
        let url = if name == "main" { main.url() } else { other.url() };
        format!("  {name}: {{issuer: \"{url}\", audiences: [api], http_timeout: 30s, {BOTH}}}\n")
    });
    let gateway = Gateway::start(&configuration_of(&issuers.concat(), &upstream.url(), ROUTES));
    let form = format!("Content-Type: {FORM}\r\n");
    let at =
        |place: &str, token: &Token| post(gateway.address, place, &form, &format!("logout_token={}", token.build()));
    // Its token at another's place, in another's name, about another's subject.
    assert_eq!(at(LOGOUT_PLACE, &logout_token(&other)).status, 400);
    let in_its_name = logout_token(&other).claim("iss", json!(main.url()));
    assert_eq!(at(LOGOUT_PLACE, &in_its_name).status, 400);
    assert_eq!(at("/.well-known/bearward/logout/other", &in_its_name).status, 400);
    let about = event(&other, REVOKED, user(&main, "u1"));
    let said = format!("Content-Type: {EVENT}\r\n");
    taken(&post(gateway.address, "/.well-known/bearward/events/other", &said, &about.build()), 202);
    assert_eq!(gateway.admin("/revocations").json(), json!([]));
    // Of one name with two issuers, the one who logs out.
    taken(&at("/.well-known/bearward/logout/other", &logout_token(&other)), 200);
    assert!(is_let_in(&gateway, &main.token().build()));
    assert!(!is_let_in(&gateway, &other.token().build()));
}

#[test]
fn nothing_that_anybody_sends_ends_anything() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let thief = Key::es256("k1");
    let good = logout_token(&issuer).build();
    let parts = good.split('.').collect::<Vec<_>>();
    let changed = encode(
        json!({"iss": issuer.url(), "aud": "api", "iat": now(), "jti": "x", "sub": "u1", "events": {LOGOUT: {}}})
            .to_string(),
    );
    let forms = [
        format!("{}.{changed}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], parts[2].to_lowercase()),
        format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
        format!("{} {}", parts[0], parts[1]),
        "\u{0}".repeat(100),
        "%".repeat(1000),
        "a.".repeat(10_000),
        format!("{{{}", "[".repeat(10_000)),
        logout_token(&issuer)
            .signed_by(&thief)
            .header("x5c", json!(["x"]))
            .header("jku", json!("http://127.0.0.1:1"))
            .build(),
    ];
    for text in forms {
        for (place, fields, body) in [
            (LOGOUT_PLACE, format!("Content-Type: {FORM}\r\n"), format!("logout_token={text}")),
            (EVENTS_PLACE, format!("Content-Type: {EVENT}\r\n"), text.clone()),
        ] {
            assert_eq!(post(gateway.address, place, &fields, &body).status, 400, "{text}");
        }
    }
    assert_eq!(gateway.admin("/revocations").json(), json!([]));
    assert!(is_let_in(&gateway, &issuer.token().build()));
}

#[test]
fn a_new_key_is_fetched_once_and_a_flood_of_unknown_ones_fetches_no_more() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let fetches = issuer.fetches();
    let (new, known) = (Key::es256("k2"), issuer.token().build());
    issuer.publish(new.jwk());
    taken(&log_out(&gateway, &logout_token(&issuer).sub("joe").kid("k2").signed_by(&new)), 200);
    assert_eq!(issuer.fetches(), fetches + 1);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (gateway, issuer, known) = (&gateway, &issuer, &known);
            scope.spawn(move || {
                for number in 0..2 {
                    let flood = logout_token(issuer).kid(&format!("{thread}-{number}"));
                    assert_eq!(log_out(gateway, &flood).status, 400);
                    assert!(is_let_in(gateway, known));
                }
            });
        }
    });
    // One in 5 s, which all who come meanwhile wait for.
    assert!(issuer.fetches() <= fetches + 4, "{}", issuer.fetches() - fetches);
    let claims = [logout_token(&issuer).aud("x"), logout_token(&issuer).claim("events", json!({}))];
    let before = issuer.fetches();
    for notice in claims {
        assert_eq!(log_out(&gateway, &notice.kid("gone")).status, 400);
    }
    assert_eq!(issuer.fetches(), before, "nothing is fetched for what is refused anyway");
}

#[test]
fn no_stranger_keeps_a_logout_by_a_new_key_away() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let (stranger, new) = (Key::es256("evil"), Key::es256("k2"));
    // Its `kid` causes a fetch just before the issuer takes another key.
    assert_eq!(log_out(&gateway, &logout_token(&issuer).kid("evil").signed_by(&stranger)).status, 400);
    issuer.publish(new.jwk());
    let token = issuer.token().build();
    taken(&log_out(&gateway, &logout_token(&issuer).kid("k2").signed_by(&new)), 200);
    assert!(!is_let_in(&gateway, &token));
}

#[test]
fn a_logout_is_seen_through_though_its_sender_goes() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let (stranger, new) = (Key::es256("evil"), Key::es256("k2"));
    assert_eq!(log_out(&gateway, &logout_token(&issuer).kid("evil").signed_by(&stranger)).status, 400);
    issuer.publish(new.jwk());
    let token = issuer.token().build();
    let body = format!("logout_token={}", logout_token(&issuer).kid("k2").signed_by(&new).build());
    let mut client = gateway.client();
    client.send(format!(
        "POST {LOGOUT_PLACE} HTTP/1.1\r\nHost: api\r\nContent-Type: {FORM}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    // It has come in by then, and waits for the next fetch.
    thread::sleep(Duration::from_secs(2));
    drop(client);
    eventually("the token is ended", || !is_let_in(&gateway, &token));
}
