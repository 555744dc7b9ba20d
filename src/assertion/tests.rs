#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use jsonwebtoken::{DecodingKey, Validation, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};
use serde_json::{Value, json};

use super::*;
use crate::{signer::Signer, token::secret::Secret};

const NOW: i64 = 1_700_000_000;

fn signer(kind: &'static SignatureAlgorithm) -> Signer {
    let pem = KeyPair::generate_for(kind).unwrap().serialize_pem();
    Signer::from_pem(&Secret::new(pem.into_bytes())).unwrap()
}

fn plan(key: Signer) -> AssertionPlan {
    AssertionPlan {
        header: HeaderName::from_static("x-auth-assertion"),
        key,
        announced: Vec::new(),
        issuer: "https://gateway.example".to_owned(),
        audience: None,
        ttl: Duration::from_secs(60),
    }
}

fn assertor(plan: &AssertionPlan, upstream: &str) -> Assertor {
    Assertor::new(plan, upstream, &AssertionCache::default()).unwrap()
}

fn principal(scopes: &[&str], roles: &[&str], claims: Value) -> Box<Principal> {
    let Value::Object(claims) = claims else { panic!("claims") };
    Box::new(Principal::for_test(scopes, roles).with_claims(claims))
}

/// By somebody else's implementation; times are not its affair.
fn verified(token: &HeaderValue, assertor: &Assertor) -> Value {
    let public = assertor.plan.key.public_jwk().unwrap();
    let jwk: Jwk = serde_json::from_value(public.jwk).unwrap();
    let header = jsonwebtoken::decode_header(token.to_str().unwrap()).unwrap();
    assert_eq!((header.typ.as_deref(), header.kid.as_deref()), (Some("JWT"), Some(&*public.kid)));
    let mut rules = Validation::new(header.alg);
    rules.validate_exp = false;
    rules.set_audience(&[&*assertor.audience]);
    rules.set_issuer(&["https://gateway.example"]);
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    jsonwebtoken::decode::<Value>(token.to_str().unwrap(), &key, &rules).unwrap().claims
}

#[test]
fn it_says_who_calls_and_nothing_of_the_token() {
    for kind in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256, &PKCS_RSA_SHA256] {
        let assertor = assertor(&plan(signer(kind)), "orders");
        let act = json!({"sub": "agent", "act": {"sub": "first"}});
        let caller = principal(
            &["orders:read", "a b", "c\"d"],
            &["editor", "team, lead"],
            json!({"iss": "https://idp.example", "act": act, "email": "private", "exp": 9, "aud": "other", "jti": "t"}),
        );
        let value = assertor.assert(&caller, NOW).unwrap();
        assert!(value.is_sensitive());
        let mut claims = verified(&value, &assertor);
        let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(jti.as_str().unwrap().len(), 22);
        assert_eq!(
            claims,
            json!({
                "iss": "https://gateway.example",
                "aud": "orders",
                "sub": "subject",
                "iat": NOW,
                "exp": NOW + 60,
                "scope": "orders:read a%20b c\"d",
                "roles": ["editor", "team, lead"],
                "act": act,
                "token_kind": "user",
                "token_issuer": "test",
                "token_iss": "https://idp.example",
            })
        );
    }
}

#[test]
fn what_a_token_lacks_is_left_out() {
    let assertor = assertor(&plan(signer(&PKCS_ED25519)), "orders");
    for odd in [json!({}), json!({"act": "root", "iss": 7}), json!({"act": ["root"], "iss": null})] {
        let claims = verified(&assertor.assert(&principal(&[], &[], odd), NOW).unwrap(), &assertor);
        for absent in ["scope", "roles", "act", "client_id", "token_iss"] {
            assert_eq!(claims.get(absent), None, "{absent}");
        }
    }
}

#[test]
fn one_serves_for_half_of_its_time() {
    let assertor = assertor(&plan(signer(&PKCS_ED25519)), "orders");
    let caller = principal(&[], &[], json!({}));
    let first = assertor.assert(&caller, NOW).unwrap();
    let again = |now| assertor.assert(&caller, now).unwrap();
    for later in [0, 1, 29] {
        assert_eq!(again(NOW + later), first, "{later} s later");
    }
    let second = again(NOW + 30);
    assert_ne!(second, first);
    let claims = verified(&second, &assertor);
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(NOW + 30), &json!(NOW + 90)));
    // Where the clock was put back, nobody is told that it was signed in the future.
    let third = again(NOW - 100);
    assert_eq!(verified(&third, &assertor)["iat"], json!(NOW - 100));
}

#[test]
fn nobody_is_vouched_for_beyond_the_token() {
    let assertor = assertor(&plan(signer(&PKCS_ED25519)), "orders");
    let caller = principal(&[], &[], json!({})).with_end(NOW + 40);
    let claims = |now| verified(&assertor.assert(&caller, now).unwrap(), &assertor);
    for (now, iat) in [(NOW, NOW), (NOW + 29, NOW), (NOW + 30, NOW + 30), (NOW + 39, NOW + 30)] {
        let claims = claims(now);
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(iat), &json!(NOW + 40)), "{now}");
    }
}

#[test]
fn one_second_is_never_kept() {
    let short = AssertionPlan { ttl: Duration::from_secs(1), ..plan(signer(&PKCS_ED25519)) };
    let assertor = assertor(&short, "orders");
    let caller = principal(&[], &[], json!({}));
    assert_ne!(assertor.assert(&caller, NOW).unwrap(), assertor.assert(&caller, NOW).unwrap());
}

#[test]
fn nobody_gets_what_is_about_another_or_for_another() {
    let (key, kept) = (signer(&PKCS_ED25519), AssertionCache::default());
    let (orders, users) = (
        Assertor::new(&plan(key.clone()), "orders", &kept).unwrap(),
        Assertor::new(&plan(key), "users", &kept).unwrap(),
    );
    // Alike in all that can be seen.
    let (one, two) = (principal(&[], &[], json!({})), principal(&[], &[], json!({})));
    let all = [&orders, &users].map(|assertor| [&one, &two].map(|who| assertor.assert(who, NOW).unwrap())).concat();
    for (place, value) in all.iter().enumerate() {
        assert!(!all.iter().take(place).any(|other| other == value), "{place}");
    }
    assert_eq!(verified(&all[0], &orders)["aud"], json!("orders"));
    assert_eq!(verified(&all[2], &users)["aud"], json!("users"));
}

#[test]
fn threads_mix_nobody_up() {
    let assertor = assertor(&plan(signer(&PKCS_ED25519)), "orders");
    let callers: Vec<_> = (0..20).map(|n| principal(&[&format!("s{n}")], &[], json!({}))).collect();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for round in 0..20 {
                    for (n, caller) in callers.iter().enumerate() {
                        let value = assertor.assert(caller, NOW + round * 7).unwrap();
                        assert_eq!(verified(&value, &assertor)["scope"], json!(format!("s{n}")));
                    }
                }
            });
        }
    });
}

#[test]
fn keys_are_published_until_nothing_that_they_signed_is_good() {
    let retired = Arc::new(RetiredKeys::default());
    let [old, new, next] = [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256, &PKCS_RSA_SHA256].map(signer);
    let keys = |key: &Signer, announced: &[&Signer]| {
        let announced = announced.iter().map(|key| (*key).clone()).collect();
        let plan = AssertionPlan { announced, ..plan(key.clone()) };
        PublishedKeys::of([&plan, &plan].into_iter(), &retired).unwrap()
    };
    let kids = |keys: &PublishedKeys, now| {
        let document = keys.document(now);
        let kids = document["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned());
        kids.collect::<Vec<_>>()
    };
    let kid = |key: &Signer| key.public_jwk().unwrap().kid;
    let first = keys(&old, &[&new]);
    assert_eq!(kids(&first, NOW), [kid(&old), kid(&new)], "an announced key is there before it signs");
    assert!(!first.document(NOW).to_string().contains("\"d\""));
    let second = keys(&new, &[&next]);
    first.retire_for(Some(&second), NOW);
    assert_eq!(kids(&second, NOW + 359), [kid(&new), kid(&next), kid(&old)]);
    assert_eq!(kids(&second, NOW + 360), [kid(&new), kid(&next)]);
    // Back to the first: it is there once.
    let third = keys(&old, &[]);
    second.retire_for(Some(&third), NOW + 10);
    assert_eq!(kids(&third, NOW + 10), [kid(&old), kid(&new), kid(&next)]);
    assert!(PublishedKeys::of(std::iter::empty(), &retired).is_none());
}

#[test]
fn what_only_stands_for_a_key_signs_nothing() {
    let plan = plan(Signer::stand_in(&Secret::new(b"gateway.pem".to_vec())));
    assert!(Assertor::new(&plan, "orders", &AssertionCache::default()).is_err());
}
