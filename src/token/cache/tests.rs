//! What is remembered, and above all what isn't.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::json;

use super::*;
use crate::{
    refusal::{Refusal, TokenFault},
    token::{
        issuer::{Audiences, IssuerSettings, KeySource},
        jwks::KeyStore,
        tests::{P256, RSA, credential, good_claims, jwks, none, ready, settings, with},
        verify_at,
    },
    trace::Span,
};

const NOW: i64 = 1_800_000_000;

struct Scene {
    observer: Arc<Observer>,
    cache: Arc<TokenCache>,
}

impl Scene {
    fn new(max_bytes: u64) -> Scene {
        let observer = Observer::silent();
        Scene { cache: Arc::new(TokenCache::new(max_bytes, &observer).unwrap()), observer }
    }

    fn issuer(&self, name: &str, change: impl FnOnce(&mut IssuerSettings)) -> Arc<Issuer> {
        let mut settings = settings(name, KeySource::Inline(jwks(&[P256.jwk()])));
        change(&mut settings);
        let keys = KeyStore::new(&settings, self.observer.clone()).unwrap();
        Arc::new(Issuer::new(settings, keys, &self.observer))
    }

    fn ask(&self, token: &str, issuers: &[Arc<Issuer>], now: i64) -> Result<Arc<Principal>, Refusal> {
        ready(verify_at(&credential(token)?, issuers, &self.cache, none(), now, &mut Span::none()))
            .map_err(|(refusal, _)| refusal)
    }

    fn sample(&self, name: &str) -> i64 {
        let text = self.observer.render_metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or(0)
    }

    /// Found, not found.
    fn requests(&self) -> (i64, i64) {
        let of = |result| self.sample(&format!("bearward_token_cache_requests_total{{result=\"{result}\"}}"));
        (of("hit"), of("miss"))
    }

    fn verified(&self) -> i64 {
        self.sample(r#"bearward_verifications_total{algorithm="ES256",issuer="a",result="ok"}"#)
    }

    fn held(&self) -> (i64, i64) {
        self.cache.verdicts.run_pending_tasks();
        (self.sample("bearward_token_cache_entries"), self.sample("bearward_token_cache_bytes"))
    }
}

fn token() -> String {
    P256.token(json!({"alg": "ES256"}), good_claims())
}

fn fault(fault: TokenFault) -> Option<Refusal> {
    Some(Refusal::Token(fault))
}

#[test]
fn a_token_is_verified_once() {
    let scene = Scene::new(1 << 20);
    let (issuers, token) = ([scene.issuer("a", |_| {})], token());
    let first = scene.ask(&token, &issuers, NOW).unwrap();
    for _ in 0..9 {
        assert!(Arc::ptr_eq(&first, &scene.ask(&token, &issuers, NOW).unwrap()));
    }
    assert_eq!((scene.verified(), scene.requests()), (1, (9, 1)));
    let (entries, bytes) = scene.held();
    assert_eq!(entries, 1);
    assert!(bytes > i64::try_from(token.len()).unwrap());
}

#[test]
fn of_many_at_once_one_verifies() {
    let scene = Scene::new(1 << 20);
    let issuers = [scene.issuer("a", |_| {})];
    for round in 0..20 {
        let token = P256.token(json!({"alg": "ES256"}), with(good_claims(), "jti", json!(round)));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(scene.ask(&token, &issuers, NOW).is_ok()));
            }
        });
    }
    assert_eq!((scene.verified(), scene.requests()), (20, (140, 20)));
}

#[test]
fn a_route_takes_tokens_of_its_own_issuers_alone() {
    let scene = Scene::new(1 << 20);
    let (a, b, token) = (scene.issuer("a", |_| {}), scene.issuer("b", |_| {}), token());
    assert!(scene.ask(&token, &[b.clone(), a.clone()], NOW).is_ok());
    assert_eq!(scene.ask(&token, &[b], NOW).err(), fault(TokenFault::Issuer));
    assert!(scene.ask(&token, &[], NOW).is_err());
    assert!(scene.ask(&token, std::slice::from_ref(&a), NOW).is_ok());
    assert_eq!((scene.verified(), scene.requests()), (1, (1, 3)), "who asked elsewhere took nothing away");
}

#[test]
fn a_token_ends_in_the_cache_when_it_ends() {
    let scene = Scene::new(1 << 20);
    let (issuers, token) = ([scene.issuer("a", |_| {})], token());
    assert!(scene.ask(&token, &issuers, NOW).is_ok());
    assert!(scene.ask(&token, &issuers, NOW + 129).is_ok());
    assert_eq!(scene.ask(&token, &issuers, NOW + 130).err(), fault(TokenFault::Expired));
    assert_eq!(scene.held(), (0, 0), "and makes room");

    let max_age = |settings: &mut IssuerSettings| settings.jwt.max_token_age = Some(Duration::from_secs(60));
    let issuers = [scene.issuer("a", max_age)];
    assert!(scene.ask(&token, &issuers, NOW).is_ok());
    assert!(scene.ask(&token, &issuers, NOW + 90).is_ok());
    assert_eq!(scene.ask(&token, &issuers, NOW + 91).err(), fault(TokenFault::TooOld));
    assert_eq!(scene.requests(), (2, 4));
}

#[test]
fn a_change_of_its_issuer_ends_it() {
    let scene = Scene::new(1 << 20);
    let token = token();
    assert!(scene.ask(&token, &[scene.issuer("a", |_| {})], NOW).is_ok());
    let audience = |settings: &mut IssuerSettings| settings.audiences = Audiences::OneOf(vec!["other".to_owned()]);
    assert_eq!(scene.ask(&token, &[scene.issuer("a", audience)], NOW).err(), fault(TokenFault::Audience));
    let other_key = |settings: &mut IssuerSettings| settings.jwt.keys = KeySource::Inline(jwks(&[RSA.jwk()]));
    assert_eq!(scene.ask(&token, &[scene.issuer("a", other_key)], NOW).err(), fault(TokenFault::Key));
    let other_roles = |settings: &mut IssuerSettings| settings.claims.subject = settings.claims.scopes[0].clone();
    let principal = scene.ask(&token, &[scene.issuer("a", other_roles)], NOW).unwrap();
    assert_eq!(principal.subject(), Some("x y"));
}

#[test]
fn no_other_text_finds_it() {
    let scene = Scene::new(1 << 20);
    let (issuers, token) = ([scene.issuer("a", |_| {})], token());
    assert!(scene.ask(&token, &issuers, NOW).is_ok());
    for bit in 0..token.len() * 8 {
        let mut text = token.clone().into_bytes();
        text[bit / 8] ^= 1 << (bit % 8);
        if let Ok(text) = String::from_utf8(text) {
            assert!(scene.ask(&text, &issuers, NOW).is_err(), "{text}");
        }
    }
    assert_eq!(scene.requests().0, 0);
    assert_eq!(scene.held().0, 1, "and nothing bad is kept");
}

#[test]
fn floods_push_out_nothing_that_serves() {
    let scene = Scene::new(64 << 10);
    let (issuers, token) = ([scene.issuer("a", |_| {})], token());
    let asked_for = |times: i64| {
        let before = scene.requests().0;
        for _ in 0..times {
            assert!(scene.ask(&token, &issuers, NOW).is_ok());
        }
        scene.requests().0 - before
    };
    asked_for(20);
    for number in 0..2_000 {
        let bad = format!("{}.{number:04}", token.rsplit_once('.').unwrap().0);
        assert!(scene.ask(&bad, &issuers, NOW).is_err());
    }
    assert_eq!((asked_for(1), scene.held().0), (1, 1), "bad ones aren't kept");
    for number in 0..500 {
        let unique = P256.token(json!({"alg": "ES256"}), with(good_claims(), "jti", json!(number)));
        assert!(scene.ask(&unique, &issuers, NOW).is_ok());
        assert!(number % 25 != 0 || asked_for(1) == 1, "pushed out by the good token {number} that is used once");
    }
    assert_eq!(asked_for(1), 1);
    let (entries, bytes) = scene.held();
    assert!(entries > 10 && bytes <= 64 << 10, "{entries} entries, {bytes} bytes");
}

#[test]
fn what_it_takes_is_bounded_and_given_back() {
    let scene = Scene::new(0);
    let issuers = [scene.issuer("a", |_| {})];
    assert!(scene.ask(&token(), &issuers, NOW).is_ok());
    assert_eq!(scene.held(), (0, 0));

    let scene = Scene::new(100_000);
    let issuers = [scene.issuer("a", |_| {})];
    // The claims that take most for their text.
    let nested = json!(vec![json!([]); 10_000]);
    let huge = P256.token(json!({"alg": "ES256"}), with(good_claims(), "x", nested));
    assert!(scene.ask(&huge, &issuers, NOW).is_ok());
    assert_eq!(scene.held(), (0, 0), "more than all there is room for");
    assert!(scene.ask(&token(), &issuers, NOW).is_ok());
    assert_eq!(scene.held().0, 1);
    let Scene { observer, cache } = scene;
    drop(cache);
    let text = observer.render_metrics();
    assert!(text.contains("bearward_token_cache_entries 0\n") && text.contains("bearward_token_cache_bytes 0\n"));
}

#[test]
fn a_name_is_keyed_and_nothing_prints() {
    let (one, other) = (Scene::new(1), Scene::new(1));
    let token = credential(&token()).unwrap();
    assert!(one.cache.name(&token) == one.cache.name(&token));
    assert!(one.cache.name(&token) != other.cache.name(&token));
    assert_eq!(format!("{:?}", one.cache), "TokenCache(…)");
}

#[test]
fn what_stands_beside_reads_and_leaves_no_trace() {
    let scene = Scene::new(1 << 20);
    let apart = Observer::silent();
    let beside = Arc::new(TokenCache::beside(scene.cache.clone(), 1 << 20, &apart));
    let ask = |token: &str, issuer: &Arc<Issuer>| {
        let (credential, issuers) = (credential(token).unwrap(), std::slice::from_ref(issuer));
        ready(verify_at(&credential, issuers, &beside, none(), NOW, &mut Span::none())).unwrap()
    };
    let (a, stricter) =
        (scene.issuer("a", |_| {}), scene.issuer("a", |issuer| issuer.jwt.require_claims = vec!["sub".to_owned()]));
    let [known, new] =
        ["known", "new"].map(|id| P256.token(json!({"alg": "ES256"}), with(good_claims(), "jti", json!(id))));
    let principal = scene.ask(&known, std::slice::from_ref(&a), NOW).unwrap();
    let before = (scene.verified(), scene.requests(), scene.held());
    assert!(Arc::ptr_eq(&principal, &ask(&known, &a)), "what is known in force is known beside");
    let own = ask(&known, &stricter);
    assert!(!Arc::ptr_eq(&principal, &own) && Arc::ptr_eq(&own, &ask(&known, &stricter)), "and remembered for itself");
    assert!(Arc::ptr_eq(&ask(&new, &a), &ask(&new, &a)));
    assert_eq!((scene.verified(), scene.requests(), scene.held()), before);
    assert!(Arc::ptr_eq(&principal, &scene.ask(&known, std::slice::from_ref(&a), NOW).unwrap()), "not displaced");
    scene.ask(&new, std::slice::from_ref(&a), NOW).unwrap();
    assert_eq!(scene.verified(), before.0 + 1, "what is known beside isn't known in force");
    drop(beside);
    assert_eq!(scene.held().0, 2);
}
