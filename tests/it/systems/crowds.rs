//! Many at once, and tokens as long as they get.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::json;

use super::{
    attacks::{DOCEBO, PASSWORD, ask, call},
    example,
};
use crate::support::{
    authorization_server::AuthorizationServer,
    demo::Demo,
    eventually,
    gateway::Gateway,
    h2::{Connection, get},
    issuer::Issuer,
    keys::Key,
    token::encode,
    upstream::Upstream,
};

const LONGEST: usize = 50_000;

/// An example before an authorization server that is asked with patience, and no issuer of keys.
fn asking(system: &str, server: &AuthorizationServer, api: &Upstream) -> Gateway {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/docebo");
    let yaml = example(system, server.url(), &api.url(), &folder, &folder)
        .replace("docebo-client.public.pem", "client.public.pem")
        .replace("/oauth2/introspect", "/introspect")
        .replace("cache_ttl: 60s", "cache_ttl: 1h\n      negative_ttl: 1h\n      timeout: 30s");
    Gateway::start(&yaml)
}

#[test]
fn two_hundred_at_once_with_one_unseen_token_cause_one_question() {
    let (server, api) = (AuthorizationServer::start(), Upstream::start());
    let gateway = asking("docebo", &server, &api);
    for (round, status, outcome) in [
        ("87b567fa", 200, "outcome=\"allow\",reason=\"ok\""),
        ("00000000", 401, "outcome=\"deny\",reason=\"inactive\""),
    ] {
        let token = format!("{round}3de847fb3adef9492b294bb83f8cd266");
        if status == 200 {
            server.active(&token, json!({"sub": "13007", "client_id": "app", "scope": "api"}));
        }
        let bearer = format!("Bearer {token}");
        let answered = AtomicUsize::new(0);
        let before = server.asked();
        server.hold(true);
        thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| {
                    assert_eq!(gateway.get_with("/learn/v1/courses", &token).status, status);
                    answered.fetch_add(1, Ordering::SeqCst);
                });
            }
            scope.spawn(|| {
                let mut connection = Connection::connect(gateway.address);
                for number in 0..100 {
                    let authorization = [("authorization", bearer.as_str())];
                    connection.request(2 * number + 1, true, &[&get("/learn/v1/courses")[..], &authorization].concat());
                }
                connection.await_answers(100);
                answered.fetch_add(100, Ordering::SeqCst);
            });
            let waiting =
                || gateway.metric("bearward_connections{listener=\"127.0.0.1:0\"}") >= 101.0 && server.asked() > before;
            eventually("all are there", waiting);
            assert_eq!(answered.load(Ordering::SeqCst), 0);
            server.hold(false);
        });
        assert_eq!((answered.load(Ordering::SeqCst), server.asked() - before), (200, 1));
        let series = format!("bearward_decisions_total{{issuer=\"docebo\",{outcome},route=\"learn\"}}");
        assert_eq!(gateway.metric(&series), 200.0);
    }
}

#[test]
fn so_do_two_hundred_before_the_demo() {
    let demo = Demo::start();
    let token = ask(&demo.gateway, "/oauth2/token", &format!("{PASSWORD}&{DOCEBO}"));
    let token = token["access_token"].as_str().unwrap();
    thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| assert_eq!(call(&demo.gateway, "GET", "/manage/v1/user", token).status, 200));
        }
    });
    assert_eq!(demo.metric("bearward_introspections_total{issuer=\"docebo\",result=\"ok\"}"), 1.0);
}

/// Lets a token in by every version of HTTP, twice; what the API got.
#[track_caller]
fn passes(gateway: &Gateway, api: &Upstream, token: &str, path: &str) {
    api.forget();
    let bearer = format!("Bearer {token}");
    for _ in 0..2 {
        assert_eq!(gateway.get_with(path, token).status, 200);
        let mut http2 = Connection::connect(gateway.address);
        // A field larger than a frame goes on in others.
        http2.large_request(1, &[&get(path)[..], &[("authorization", bearer.as_str())]].concat());
        assert_eq!(http2.outcome(1).status(), 200);
    }
    let requests = api.requests();
    assert_eq!(requests.len(), 4);
    for request in requests {
        assert!(request.fields.get("authorization") == Some(&*bearer), "the token isn't what it was");
    }
}

#[test]
fn tokens_of_fifty_thousand_characters_pass_and_longer_ones_are_told() {
    let (server, api) = (AuthorizationServer::start(), Upstream::start());
    let keys = Issuer::start(&Key::rs256("k1"));
    let issuer = format!("{}/digitaleo", server.url());
    let folder = tempfile::tempdir().unwrap();
    let introspection = format!(
        "    introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s3cret, timeout: 30s, negative_ttl: 1h}}\n",
        server.introspection()
    );
    let yaml = example("digitaleo", server.url(), &api.url(), folder.path(), folder.path())
        .replace(&format!("{issuer}/jwks"), &keys.jwks_uri())
        .replace("    audiences: [digitaleo-api]\n", &format!("    audiences: [digitaleo-api]\n{introspection}"));
    let gateway = Gateway::start(&yaml);
    let path = "/rest/campaigns";
    let claims = |iss: Option<&str>| {
        let token = keys.token().without_header("kid").aud("digitaleo-api").scope("campaigns:read");
        match iss {
            Some(iss) => token.claim("iss", json!(iss)),
            None => token.without("iss"),
        }
    };

    // JWTs, with and without `iss`: verified here, nobody is asked.
    for iss in [Some(&*issuer), None] {
        let shorter = claims(iss).claim("contracts", json!("")).build().len();
        let token = claims(iss).claim("contracts", json!("0".repeat((LONGEST - shorter) / 4 * 3))).build();
        assert!((LONGEST - 4..=LONGEST).contains(&token.len()), "{}", token.len());
        passes(&gateway, &api, &token, path);
    }
    assert_eq!(server.asked(), 0);

    // A JWT without `iss` of a key that isn't known, and one that is no JWT: asked about once, whole.
    let payload = encode("0".repeat(10)) + &"0".repeat(LONGEST);
    let unknown = claims(None).signed_by(&Key::es256("other")).claim("contracts", json!("0".repeat(37_000))).build();
    for token in [unknown, payload[..LONGEST].to_owned()] {
        server.active(&token, json!({"client_id": "c1", "scope": "campaigns:read", "aud": "digitaleo-api"}));
        let before = server.asked();
        passes(&gateway, &api, &token, path);
        assert_eq!(server.asked(), before + 1);
    }

    // An issuer that has introspection alone is asked about JWTs, too, whether they name it or not.
    let (begin, end) = (yaml.find("    jwt:\n").unwrap(), yaml.find("upstreams:").unwrap());
    let only_asking = Gateway::start(&format!("{}{}", &yaml[..begin], &yaml[end..]));
    for iss in [Some(&*issuer), None] {
        let token = claims(iss).claim("contracts", json!("0".repeat(37_000))).build();
        server.active(&token, json!({"client_id": "c1", "scope": "campaigns:read", "aud": "digitaleo-api"}));
        let before = server.asked();
        passes(&only_asking, &api, &token, path);
        assert_eq!(server.asked(), before + 1);
    }

    // Longer than the longest that is taken: refused before anybody looks at it.
    let before = server.asked();
    let response = gateway.get_with(path, &"0".repeat(64 * 1024 + 1));
    assert_eq!((response.status, response.challenge().unwrap().error()), (401, Some("invalid_token")));
    let mut http2 = Connection::connect(gateway.address);
    let bearer = format!("Bearer {}", "0".repeat(64 * 1024 + 1));
    http2.large_request(1, &[&get(path)[..], &[("authorization", bearer.as_str())]].concat());
    assert_eq!(http2.outcome(1).status(), 401);
    assert_eq!(server.asked(), before);
}
