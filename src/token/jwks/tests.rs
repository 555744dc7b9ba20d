//! Key servers that come, go, lie and hang.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{future::Future, pin::pin, task::Poll};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::{
    fetch::tests::{Server, response},
    refusal::{Refusal, TokenFault},
    token::{
        issuer::Issuer,
        key_server::MAX_DOCUMENT_BYTES,
        tests::{P256, RSA, cache, credential, good_claims, jwks, none, settings, with},
        verify_at,
    },
    trace::Span,
};

const NOW: i64 = 1_800_000_000;
const UNAVAILABLE: Refusal = Refusal::KeysUnavailable { retry_after: Duration::from_secs(5) };

fn good_set() -> String {
    response("200 OK", "", &jwks(&[P256.jwk_of("known")]))
}

fn issuer_at(server: &Server, change: impl FnOnce(&mut IssuerSettings)) -> Arc<Issuer> {
    let mut settings = settings("a", KeySource::Uri(format!("{}/keys", server.url)));
    change(&mut settings);
    let keys = KeyStore::new(&settings, Observer::silent()).unwrap();
    Arc::new(Issuer::new(settings, keys, &Observer::silent()))
}

/// An issuer whose first fetch has ended.
async fn running(server: &Server) -> Arc<Issuer> {
    let issuer = issuer_at(server, |_| {});
    tokio::spawn(issuer.keys.clone().maintain());
    issuer.keys.fetches.subscribe().wait_for(|fetches| fetches.ended >= 1).await.unwrap();
    issuer
}

fn token(kid: &str) -> String {
    P256.token(json!({"alg": "ES256", "kid": kid}), good_claims())
}

async fn ask(issuer: &Arc<Issuer>, token: String) -> Result<(), Refusal> {
    let credential = credential(&token).unwrap();
    verify_at(&credential, std::slice::from_ref(issuer), cache(), none(), NOW, &mut Span::none())
        .await
        .map(|_| ())
        .map_err(|(refusal, _)| refusal)
}

/// What is known without waiting.
async fn at_once(issuer: &Arc<Issuer>, token: String) -> Result<(), Refusal> {
    let mut asked = pin!(ask(issuer, token));
    std::future::poll_fn(|context| match asked.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => panic!("it waits"),
    })
    .await
}

/// Moves the clock and leaves it running, since there are sockets to wait for.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_burst_of_unknown_kids_causes_one_fetch_and_holds_nobody_up() {
    let server = Server::start(|_| good_set()).await;
    let issuer = running(&server).await;
    server.hold(true);
    let mut burst = JoinSet::new();
    for number in 0..500 {
        let (issuer, token) = (issuer.clone(), token(&format!("random-{number}")));
        burst.spawn(async move { ask(&issuer, token).await });
    }
    server.has_requests(2).await;
    assert_eq!(at_once(&issuer, token("known")).await, Ok(()));
    server.hold(false);
    while let Some(result) = burst.join_next().await {
        assert_eq!(result.unwrap(), Err(Refusal::Token(TokenFault::Key)));
    }
    for number in 0..20 {
        let refused = at_once(&issuer, token(&format!("later-{number}"))).await;
        assert_eq!(refused, Err(Refusal::Token(TokenFault::Key)));
    }
    assert_eq!(server.heads().len(), 2);

    pass(Duration::from_secs(5)).await;
    assert_eq!(ask(&issuer, token("another")).await, Err(Refusal::Token(TokenFault::Key)));
    assert_eq!(at_once(&issuer, token("and-another")).await, Err(Refusal::Token(TokenFault::Key)));
    assert_eq!(server.heads().len(), 3);
}

#[tokio::test]
async fn a_new_key_is_found_by_its_first_token_and_a_removed_one_is_gone() {
    let server = Server::start(|_| good_set()).await;
    let issuer = running(&server).await;
    assert_eq!(ask(&issuer, token("known")).await, Ok(()));
    server.answer(|_| response("200 OK", "", &jwks(&[P256.jwk_of("new")])));
    assert_eq!(ask(&issuer, token("new")).await, Ok(()));
    assert_eq!(at_once(&issuer, token("new")).await, Ok(()));
    assert_eq!(at_once(&issuer, token("known")).await, Err(Refusal::Token(TokenFault::Key)));
    assert_eq!(server.heads().len(), 2);
}

#[tokio::test]
async fn a_key_that_is_named_is_found_beside_one_without_a_name() {
    let server = Server::start(|_| response("200 OK", "", &jwks(&[with(RSA.jwk(), "alg", json!("RS256"))]))).await;
    let issuer = running(&server).await;
    server.answer(|_| response("200 OK", "", &jwks(&[RSA.jwk(), P256.jwk_of("new")])));
    assert_eq!(ask(&issuer, token("new")).await, Ok(()));
    assert_eq!(at_once(&issuer, RSA.token(json!({"alg": "RS256", "kid": "any"}), good_claims())).await, Ok(()));
}

#[tokio::test]
async fn a_token_that_is_refused_for_another_reason_causes_no_fetch() {
    let server = Server::start(|_| good_set()).await;
    let issuer = running(&server).await;
    for (name, value, fault) in [
        ("exp", json!(NOW - 99), TokenFault::Expired),
        ("nbf", json!(NOW + 99), TokenFault::NotYetValid),
        ("iat", json!(NOW + 99), TokenFault::IssuedInFuture),
        ("aud", json!("x"), TokenFault::Audience),
        ("exp", Value::Null, TokenFault::MissingClaim),
        ("cnf", json!({"jkt": "x"}), TokenFault::Binding),
        ("iss", json!("x"), TokenFault::Issuer),
    ] {
        let token = P256.token(json!({"alg": "ES256", "kid": "unknown"}), with(good_claims(), name, value));
        assert_eq!(at_once(&issuer, token).await, Err(Refusal::Token(fault)));
    }
    // A key that is known and doesn't fit, a token without kid, a bad signature.
    let misfit = RSA.token(json!({"alg": "RS256", "kid": "known"}), good_claims());
    assert_eq!(at_once(&issuer, misfit).await, Err(Refusal::Token(TokenFault::Key)));
    let without = RSA.token(json!({"alg": "RS256"}), good_claims());
    assert_eq!(at_once(&issuer, without).await, Err(Refusal::Token(TokenFault::Key)));
    let forged = format!("{}AA", &token("known")[..token("known").len() - 2]);
    assert!(at_once(&issuer, forged).await.is_err());
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn a_fetch_that_failed_proves_nothing_and_the_keys_at_hand_serve_on() {
    let too_many: Vec<Value> = (0..1001).map(|number| json!({"kid": number.to_string()})).collect();
    let bad_answers = [
        response("500 Oops", "", "{}"),
        response("200 OK", "", "<html>"),
        response("200 OK", "", "[]"),
        response("200 OK", "", r#"{"keys":{}}"#),
        response("200 OK", "", r#"{"keys":[]}"#),
        response("200 OK", "", r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"x"}]}"#),
        response("200 OK", "", &jwks(&too_many)),
        response("200 OK", "", &format!(r#"{{"keys":[],{}"#, &jwks(&[P256.jwk_of("x")])[1..])),
        response("200 OK", "", &format!("{}{}", jwks(&[P256.jwk_of("x")]), " ".repeat(MAX_DOCUMENT_BYTES))),
        response("302 Found", "location: /good\r\n", ""),
        String::new(),
    ];
    for bad in bad_answers {
        let server = Server::start(|_| good_set()).await;
        let issuer = running(&server).await;
        assert!(issuer.keys.is_ready() && !issuer.keys.is_degraded());
        let said = bad.clone();
        server.answer(move |path| if path == "/good" { good_set() } else { said.clone() });
        assert_eq!(ask(&issuer, token("unknown")).await, Err(UNAVAILABLE), "{bad:.60}");
        assert_eq!(at_once(&issuer, token("unknown-2")).await, Err(UNAVAILABLE));
        assert_eq!(at_once(&issuer, token("known")).await, Ok(()));
        assert!(issuer.keys.is_ready() && issuer.keys.is_degraded());
    }
}

#[tokio::test]
async fn a_key_server_that_hangs_costs_http_timeout_and_no_more() {
    let server = Server::start(|_| good_set()).await;
    server.hold(true);
    let issuer = issuer_at(&server, |settings| settings.http_timeout = Duration::from_millis(50));
    tokio::spawn(issuer.keys.clone().maintain());
    assert_eq!(ask(&issuer, token("known")).await, Err(UNAVAILABLE));
    assert!(!issuer.keys.is_ready());
}

#[tokio::test]
async fn without_keys_there_is_503_until_they_arrive() {
    let server = Server::start(|_| response("503 Down", "", "")).await;
    let issuer = running(&server).await;
    assert!(!issuer.keys.is_ready() && issuer.keys.is_degraded());
    assert_eq!(ask(&issuer, token("known")).await, Err(UNAVAILABLE));
    assert_eq!(at_once(&issuer, token("known")).await, Err(UNAVAILABLE));
    let expired = P256.token(json!({"alg": "ES256", "kid": "known"}), with(good_claims(), "exp", json!(1)));
    assert_eq!(at_once(&issuer, expired).await, Err(Refusal::Token(TokenFault::Expired)));
    server.answer(|_| good_set());
    pass(Duration::from_secs(30)).await;
    issuer.keys.fetches.subscribe().wait_for(|fetches| fetches.is_ok).await.unwrap();
    assert_eq!(at_once(&issuer, token("known")).await, Ok(()));
}

#[tokio::test]
async fn tokens_that_come_during_the_first_fetch_wait_for_it() {
    let server = Server::start(|_| good_set()).await;
    server.hold(true);
    let issuer = issuer_at(&server, |_| {});
    tokio::spawn(issuer.keys.clone().maintain());
    server.has_requests(1).await;
    let mut asked = pin!(ask(&issuer, token("known")));
    assert!(std::future::poll_fn(|context| Poll::Ready(asked.as_mut().poll(context).is_pending())).await);
    server.hold(false);
    assert_eq!(asked.await, Ok(()));
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn stale_keys_serve_no_more() {
    let server = Server::start(|_| String::new()).await;
    let issuer = issuer_at(&server, |settings| settings.jwt.stale_keys = Duration::from_secs(100));
    begin(&Arc::downgrade(&issuer.keys));
    issuer.keys.end(KeySet::parse(jwks(&[P256.jwk_of("known")]).as_bytes()));
    issuer.keys.end(Err("down".to_owned()));
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(at_once(&issuer, token("known")).await, Ok(()));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ask(&issuer, token("known")).await, Err(UNAVAILABLE));
    assert!(issuer.keys.is_ready() && issuer.keys.is_degraded(), "an issuer in trouble later is never a 503");
}

/// `stale_keys` may be shorter than `refresh`, and zero: it is about a key server that is down.
#[tokio::test]
async fn keys_are_not_stale_while_their_server_is_up() {
    let server = Server::start(|_| good_set()).await;
    let issuer = issuer_at(&server, |settings| settings.jwt.stale_keys = Duration::ZERO);
    tokio::spawn(issuer.keys.clone().maintain());
    issuer.keys.fetches.subscribe().wait_for(|fetches| fetches.ended >= 1).await.unwrap();
    pass(Duration::from_secs(60)).await;
    assert_eq!(at_once(&issuer, token("known")).await, Ok(()));
    server.answer(|_| response("500 Oops", "", ""));
    assert_eq!(ask(&issuer, token("unknown")).await, Err(UNAVAILABLE));
    assert_eq!(at_once(&issuer, token("known")).await, Err(UNAVAILABLE));
    server.answer(|_| good_set());
    pass(Duration::from_secs(30)).await;
    issuer.keys.fetches.subscribe().wait_for(|fetches| fetches.is_ok).await.unwrap();
    assert_eq!(at_once(&issuer, token("known")).await, Ok(()));
}

#[tokio::test]
async fn a_token_that_ends_while_it_waits_for_keys_is_refused() {
    let server = Server::start(|_| good_set()).await;
    server.hold(true);
    let issuer = issuer_at(&server, |settings| settings.http_timeout = Duration::from_secs(60));
    tokio::spawn(issuer.keys.clone().maintain());
    server.has_requests(1).await;
    // With the skew of 30 s it has 2 s to live.
    let claims = with(good_claims(), "exp", json!(NOW - 28));
    let mut asked = pin!(ask(&issuer, P256.token(json!({"alg": "ES256", "kid": "known"}), claims)));
    assert!(std::future::poll_fn(|context| Poll::Ready(asked.as_mut().poll(context).is_pending())).await);
    pass(Duration::from_secs(2)).await;
    server.hold(false);
    assert_eq!(asked.await, Err(Refusal::Token(TokenFault::Expired)));
}

#[tokio::test]
async fn odd_keys_by_the_hundred_are_passed_over() {
    let odd = [
        json!({"kty": "EC", "crv": "P-256", "x": "", "y": ""}),
        json!({"kty": "EC", "crv": ["P-256"], "x": 1, "y": {}}),
        json!({"kty": "OKP", "crv": "Ed448", "x": "AA", "kid": "known"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "known"}),
        json!({"kty": "RSA", "n": "", "e": "", "kid": "known"}),
        json!({"kty": ["RSA"], "kid": "known"}),
        json!({"kid": 5}),
        json!([[[]]]),
        Value::Null,
        with(P256.jwk_of("known"), "alg", json!("ES384")),
        with(P256.jwk_of("known"), "use", json!("enc")),
        with(P256.jwk_of("known"), "key_ops", json!(["sign"])),
        with(P256.jwk_of("known"), "d", json!("AA")),
    ];
    let mut keys: Vec<Value> = odd.iter().cycle().take(900).cloned().collect();
    keys.insert(450, P256.jwk_of("known"));
    let set = jwks(&keys);
    let server = Server::start(move |_| response("200 OK", "content-type: text/html\r\n", &set)).await;
    let issuer = running(&server).await;
    assert_eq!(at_once(&issuer, token("known")).await, Ok(()));
    let other = with(good_claims(), "sub", json!("x"));
    let es384 = P256.token(json!({"alg": "ES384", "kid": "known"}), other);
    assert_eq!(at_once(&issuer, es384).await, Err(Refusal::Token(TokenFault::Key)));
}

#[tokio::test]
async fn keys_are_refreshed_in_the_background() {
    let server =
        Server::start(|_| response("200 OK", "cache-control: max-age=60\r\n", &jwks(&[P256.jwk_of("old")]))).await;
    let issuer = running(&server).await;
    server.answer(|_| good_set());
    pass(Duration::from_secs(61)).await;
    issuer.keys.fetches.subscribe().wait_for(|fetches| fetches.ended >= 2).await.unwrap();
    assert_eq!(at_once(&issuer, token("known")).await, Ok(()));
}

#[tokio::test]
async fn the_task_ends_with_the_store() {
    let server = Server::start(|_| good_set()).await;
    let issuer = issuer_at(&server, |_| {});
    let task = tokio::spawn(issuer.keys.clone().maintain());
    issuer.keys.fetches.subscribe().wait_for(|fetches| fetches.ended >= 1).await.unwrap();
    drop(issuer);
    task.await.unwrap();
    let local = KeyStore::new(&settings("a", KeySource::Inline(jwks(&[P256.jwk()]))), Observer::silent()).unwrap();
    assert!(local.is_ready() && !local.is_degraded());
    local.maintain().await;
}

#[tokio::test]
async fn discovery() {
    const OPENID: &str = "/x/.well-known/openid-configuration";
    const OAUTH: &str = "/.well-known/oauth-authorization-server/x";
    // Which document says what as `issuer`, and whether keys are then found.
    for (openid, oauth, is_found) in [
        (Some("/x"), None, true),
        (None, Some("/x"), true),
        (Some("/other"), Some("/x"), true),
        (Some("/x/"), None, false),
        (Some("/other"), None, false),
        (None, None, false),
    ] {
        let server = Server::start(|_| String::new()).await;
        let url = server.url.clone();
        server.answer(move |path| {
            let said = match path {
                "/k" => return good_set(),
                OPENID => openid,
                OAUTH => oauth,
                _ => None,
            };
            let document = |said| json!({"issuer": format!("{url}{said}"), "jwks_uri": format!("{url}/k")}).to_string();
            said.map_or(response("404 Not Found", "", ""), |said| response("200 OK", "", &document(said)))
        });
        let issuer = issuer_at(&server, |settings| {
            settings.issuer = Some(format!("{}/x", server.url));
            settings.jwt.keys = KeySource::Discovery;
        });
        tokio::spawn(issuer.keys.clone().maintain());
        issuer.keys.fetches.subscribe().wait_for(|fetches| fetches.ended >= 1).await.unwrap();
        assert_eq!(issuer.keys.is_ready(), is_found, "{openid:?} {oauth:?}");
    }
}

#[tokio::test]
async fn metadata_lead_to_no_forbidden_address() {
    for target in ["http://169.254.169.254/keys", "http://192.0.2.1/keys", "file:///etc/passwd", "/k"] {
        let server = Server::start(|_| String::new()).await;
        let document = json!({"issuer": server.url, "jwks_uri": target}).to_string();
        server.answer(move |_| response("200 OK", "", &document));
        let issuer = issuer_at(&server, |settings| {
            settings.issuer = Some(server.url.clone());
            settings.jwt.keys = KeySource::Discovery;
        });
        tokio::spawn(issuer.keys.clone().maintain());
        issuer.keys.fetches.subscribe().wait_for(|fetches| fetches.ended >= 1).await.unwrap();
        assert!(!issuer.keys.is_ready() && issuer.keys.is_degraded());
    }
}

#[test]
fn local_sets_without_use_are_refused_with_a_reason() {
    for (text, why) in [
        ("", "not a JWKS"),
        ("{}", "no array `keys`"),
        (r#"{"keys":[]}"#, "no usable key"),
        (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#, "key 1: an RSA key of less than 2048 bits"),
    ] {
        let error = KeyStore::new(&settings("a", KeySource::Inline(text.to_owned())), Observer::silent()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_token_that_was_verified_ends_with_its_key() {
    let server = Server::start(|_| good_set()).await;
    let issuer = issuer_at(&server, |_| {});
    let holds = |keys: &[Value]| issuer.keys.end(KeySet::parse(jwks(keys).as_bytes()));
    holds(&[P256.jwk_of("known"), RSA.jwk_of("other")]);
    assert_eq!(at_once(&issuer, token("known")).await, Ok(()));
    holds(&[RSA.jwk_of("new"), P256.jwk_of("known")]);
    assert_eq!(at_once(&issuer, token("known")).await, Ok(()));
    holds(&[RSA.jwk_of("new"), RSA.jwk_of("known")]);
    issuer.keys.fetches.send_modify(|fetches| fetches.last_wanted = Some(Instant::now()));
    assert_eq!(at_once(&issuer, token("known")).await, Err(Refusal::Token(TokenFault::Key)));
    holds(&[RSA.jwk_of("new")]);
    assert_eq!(at_once(&issuer, token("known")).await, Err(Refusal::Token(TokenFault::Key)));
}

#[tokio::test]
async fn many_that_wait_for_the_key_of_one_token_verify_it_once() {
    let server = Server::start(|_| good_set()).await;
    let issuer = running(&server).await;
    server.answer(|_| response("200 OK", "", &jwks(&[P256.jwk_of("new")])));
    server.hold(true);
    let (observer, token) = (Observer::silent(), token("new"));
    let cache = Arc::new(crate::token::cache::TokenCache::new(1 << 20, &observer).unwrap());
    let mut burst = JoinSet::new();
    for _ in 0..50 {
        let (issuer, cache, credential) = (issuer.clone(), cache.clone(), credential(&token).unwrap());
        burst.spawn(
            async move { verify_at(&credential, &[issuer], &cache, none(), NOW, &mut Span::none()).await.is_ok() },
        );
    }
    server.has_requests(2).await;
    server.hold(false);
    while let Some(result) = burst.join_next().await {
        assert!(result.unwrap());
    }
    let metrics = observer.render_metrics();
    assert!(metrics.contains("requests_total{result=\"hit\"} 49\n"), "{metrics}");
    assert!(metrics.contains("requests_total{result=\"miss\"} 1\n"), "{metrics}");
}
