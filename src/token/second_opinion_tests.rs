//! Another implementation's verdict on the same tokens. What is good here is good there; what is good there is good here,
//! unless something is wrong with it that is asked here alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, jwk::Jwk};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    now,
    tests::{ED, P256, P384, RSA, Signer, all_keys, ask},
};

const RSA_FAMILY: [&str; 6] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];

/// A signer, its kid at the issuer `a`, and its algorithms.
fn signers() -> [(&'static Signer, &'static str, &'static [&'static str]); 4] {
    [(&RSA, "rsa", &RSA_FAMILY), (&P256, "p256", &["ES256"]), (&P384, "p384", &["ES384"]), (&ED, "ed", &["EdDSA"])]
}

fn theirs(token: &str, key: &Value, algorithms: &[&str]) -> bool {
    let jwk: Jwk = serde_json::from_value(key.clone()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.algorithms = algorithms.iter().map(|name| name.parse().unwrap()).collect();
    validation.leeway = 30;
    validation.validate_nbf = true;
    validation.set_audience(&["api", "api-2"]);
    validation.set_issuer(&["https://a.example"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    decode::<Value>(token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).is_ok()
}

/// One of these, the first most of the time. `null` is absent.
fn mostly(values: Value) -> impl Strategy<Value = Value> {
    let values = values.as_array().unwrap().clone();
    prop_oneof![5 => Just(values[0].clone()), 1 => proptest::sample::select(values)]
}

/// Seconds from now, away from where the two round differently, or what is no date.
fn date(first: i64) -> impl Strategy<Value = Value> {
    mostly(json!([first, -5000, -100, 100, 5000, 100.5, -100.5, "text", {"a": 1}, true]))
}

/// A date claim of a `date`.
fn dated(claims: &mut Value, name: &str, date: &Value) {
    claims[name] = match (date.as_i64(), date.as_f64()) {
        (Some(whole), _) => json!(now() + whole),
        (None, Some(parts)) => json!(now() as f64 + parts),
        (None, None) => date.clone(),
    };
}

#[derive(Clone, Debug)]
enum Change {
    Nothing,
    /// The octet at this share of the text becomes this one.
    Octet(usize, char),
    /// Of two tokens, the first's beginning and the second's end.
    OtherSignature,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => Just(Change::Nothing),
        1 => (0usize..1000, proptest::char::range('0', 'z')).prop_map(|(at, octet)| Change::Octet(at, octet)),
        1 => Just(Change::OtherSignature),
    ]
}

fn changed(token: &str, other: &str, change: &Change) -> String {
    match change {
        Change::Nothing => token.to_owned(),
        Change::Octet(at, octet) => {
            let at = at * token.len() / 1000;
            format!("{}{octet}{}", &token[..at], &token[at + 1..])
        }
        Change::OtherSignature => {
            let end = other.rsplit_once('.').unwrap().1;
            format!("{}.{end}", token.rsplit_once('.').unwrap().0)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn two_implementations_say_the_same(
        signer in 0usize..4,
        algorithm in mostly(json!([null, "RS256", "PS512", "ES256", "ES384", "EdDSA", "HS256", "none", "ES512"])),
        typ in mostly(json!(["JWT", null, "at+jwt", "jwt", "application/at+jwt", "dpop+jwt", "JWS"])),
        names_key in any::<bool>(),
        iss in mostly(json!(["https://a.example", null, "https://b.example", "https://a.example/", ["https://b.example"]])),
        aud in mostly(json!(["api", null, "api-2", ["x", "api"], [], ["x"], "x", 5, "API"])),
        exp in date(100),
        nbf in date(-100),
        iat in date(-100),
        change in change(),
    ) {
        let (signer, kid, own) = signers()[signer];
        let algorithm = algorithm.as_str().unwrap_or(own[0]);
        let mut header = json!({"alg": algorithm});
        let mut claims = json!({"sub": "joe"});
        if !typ.is_null() {
            header["typ"] = typ.clone();
        }
        for (name, value) in [("iss", iss), ("aud", aud)].into_iter().filter(|(_, value)| !value.is_null()) {
            claims[name] = value;
        }
        if names_key {
            header["kid"] = json!(kid);
        }
        for (name, date) in [("exp", &exp), ("nbf", &nbf), ("iat", &iat)] {
            dated(&mut claims, name, date);
        }
        let other = signer.token(json!({"alg": own[0]}), json!({"sub": "jim"}));
        let token = changed(&signer.token(header, claims), &other, &change);

        let ours = ask(&token, &[all_keys()], now()).is_ok();
        let theirs = theirs(&token, &signer.jwk(), own);
        prop_assert!(theirs || !ours, "good here alone: {token}");
        let typ = typ.as_str().unwrap_or("JWT").to_lowercase();
        let is_expected = matches!(&*typ, "jwt" | "at+jwt" | "application/at+jwt");
        let is_issued = iat.as_f64().is_some_and(|iat| iat < 0.0);
        prop_assert!(ours || !theirs || !is_expected || !is_issued, "good there alone: {token}");
    }
}
