//! An issuer's keys: fetched when needed and not more often, kept when their server fails.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use serde_json::json;

use crate::support::{
    PATIENCE, eventually,
    gateway::{Gateway, configuration, configuration_of},
    issuer::{Issuer, Mood},
    keys::Key,
    upstream::Upstream,
};

const ROUTES: &str = "
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
  - {name: open, path: /open, upstream: echo, allow: public}
";

fn scene(key: &Key) -> (Issuer, Upstream, Gateway) {
    let (issuer, upstream) = (Issuer::start(key), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
    (issuer, upstream, gateway)
}

#[test]
fn a_burst_of_unknown_kids_costs_one_fetch_and_nobody_elses_time() {
    let (issuer, upstream, gateway) = scene(&Key::es256("k1"));
    let (good, at_start, start) = (issuer.token().build(), issuer.fetches(), Instant::now());
    issuer.be(Mood::Held);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..50 {
            let (gateway, issuer, answered) = (&gateway, &issuer, &answered);
            scope.spawn(move || {
                for turn in 0..10 {
                    let token = issuer.token().kid(&format!("random-{client}-{turn}")).build();
                    let response = gateway.get_with("/closed", &token);
                    assert_eq!(response.status, 401, "{}", response.text());
                    assert_eq!(response.challenge().unwrap().error(), Some("invalid_token"));
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        eventually("a fetch begins", || issuer.fetches() > at_start);
        for _ in 0..20 {
            assert_eq!(gateway.get_with("/closed", &good).status, 200, "a known kid while the fetch hangs");
        }
        assert_eq!(answered.load(Ordering::SeqCst), 0, "an unknown kid was judged before the fetch ended");
        issuer.release();
    });
    let fetches = issuer.fetches() - at_start;
    let allowed = 1 + usize::try_from(start.elapsed().as_secs() / 5).unwrap();
    assert!((1..=allowed).contains(&fetches), "{fetches} fetches, {allowed} allowed");
    assert_eq!(answered.load(Ordering::SeqCst), 500);
    assert_eq!(upstream.requests().len(), 20);
}

#[test]
fn a_new_key_is_found_and_an_old_one_goes() {
    let (issuer, _upstream, gateway) = scene(&Key::es256("k1"));
    let old = issuer.token().build();
    assert_eq!(gateway.get_with("/closed", &old).status, 200);
    issuer.rotate(&Key::eddsa("k2"));
    assert_eq!(gateway.get_with("/closed", &issuer.token().build()).status, 200);
    let response = gateway.get_with("/closed", &old);
    assert_eq!((response.status, response.challenge().unwrap().error()), (401, Some("invalid_token")));
}

#[test]
fn a_token_that_is_bad_anyway_causes_no_fetch() {
    let (issuer, _upstream, gateway) = scene(&Key::es256("k1"));
    let fetches = issuer.fetches();
    for token in [
        issuer.token().kid("new").exp_in(-600),
        issuer.token().kid("new").aud("elsewhere"),
        issuer.token().kid("new").alg("none"),
        issuer.token().kid("new").header("typ", json!("dpop+jwt")),
        issuer.token().kid("new").claim("iss", json!("https://elsewhere.example")),
        issuer.token().kid("new").claim("cnf", json!({"jkt": "x"})),
    ] {
        assert_eq!(gateway.get_with("/closed", &token.build()).status, 401);
    }
    assert_eq!(issuer.fetches(), fetches);
}

#[test]
fn a_key_server_that_is_down_at_start_is_waited_for() {
    let key = Key::es256("k1");
    let (port, token) = Issuer::gone(&key);
    let upstream = Upstream::start();
    let issuers = format!("  main: {{issuer: \"http://{}\", audiences: [api]}}\n", port.address);
    let gateway = Gateway::start_unready(&configuration_of(&issuers, &upstream.url(), ROUTES));
    let token = token.build();
    let response = gateway.get_with("/closed", &token);
    assert_eq!((response.status, response.challenge()), (503, None));
    let retry_after = response.fields.get("retry-after").expect("Retry-After");
    assert!(retry_after.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{retry_after}");
    assert_eq!(gateway.admin("/readyz").status, 503);
    assert_eq!(gateway.get("/closed").status, 401, "without a token no keys are needed");
    assert_eq!(gateway.get("/open").status, 200);

    let _issuer = Issuer::on(port.open(), &key);
    eventually("keys arrive", || gateway.get_with("/closed", &token).status == 200);
    eventually("the gateway is ready", || gateway.admin("/readyz").status == 200);
}

#[test]
fn the_keys_at_hand_outlive_their_server() {
    let key = Key::es256("k1");
    let elsewhere = Issuer::start(&Key::es256("k2"));
    let moods = [
        Mood::Status(500),
        Mood::Status(404),
        Mood::HangUp,
        Mood::Nonsense,
        Mood::NoKeys,
        Mood::Huge,
        Mood::Redirect(elsewhere.jwks_uri()),
        Mood::OtherIssuer,
    ];
    for mood in moods {
        let (issuer, _upstream, gateway) = scene(&key);
        issuer.be(mood.clone());
        let unknown = issuer.token().kid("new").build();
        let response = gateway.get_with("/closed", &unknown);
        // A server whose discovery went wrong may still give a good key set: then the kid is known to be missing.
        match mood {
            Mood::OtherIssuer => assert!(matches!(response.status, 401 | 503), "{mood:?}: {}", response.status),
            _ => assert_eq!(response.status, 503, "{mood:?}"),
        }
        assert_eq!(gateway.get_with("/closed", &issuer.token().build()).status, 200, "{mood:?}");
        assert_eq!(gateway.admin("/readyz").status, 200, "{mood:?}");
    }
    assert_eq!(elsewhere.fetches(), 0, "a redirect was followed");
}

#[test]
fn a_key_server_that_is_slow_is_given_up() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let yaml = configuration(&issuer, &upstream, ROUTES).replace("http_timeout: 30s", "http_timeout: 500ms");
    let gateway = Gateway::start(&yaml);
    issuer.be(Mood::Slow(PATIENCE));
    let unknown = issuer.token().kid("new").build();
    assert_eq!(gateway.get_with("/closed", &unknown).status, 503);
    assert_eq!(gateway.get_with("/closed", &issuer.token().build()).status, 200);
}

#[test]
fn a_key_set_may_hold_what_is_not_understood() {
    let key = Key::es256("k1");
    let issuer = Issuer::start(&Key::es256("first"));
    let mut for_encryption = key.named("enc").jwk();
    for_encryption["use"] = json!("enc");
    for jwk in [
        json!({"kty": "AKP", "kid": "future", "alg": "ML-DSA-44", "pub": "x"}),
        json!({"kty": "EC", "crv": "secp999", "kid": "curve", "x": "AA", "y": "AA"}),
        json!({"kty": "oct", "kid": "secret", "k": "c2VjcmV0"}),
        json!({}),
        for_encryption,
        key.jwk(),
    ] {
        issuer.publish(jwk);
    }
    let upstream = Upstream::start();
    let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
    assert_eq!(gateway.get_with("/closed", &issuer.token().signed_by(&key).kid("k1").build()).status, 200);
    assert_eq!(gateway.get_with("/closed", &issuer.token().signed_by(&key).kid("enc").build()).status, 401);
    let hmac = issuer.token().alg("HS256").kid("secret").with_hmac(b"secret");
    assert_eq!(gateway.get_with("/closed", &hmac).status, 401);
}
