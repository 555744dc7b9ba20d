//! Other people's vectors, all of them: Wycheproof and the JOSE cookbook (`tests/data/vectors/SOURCES.md`).
//!
//! A vector whose result isn't ours is named in a list with the reason; a list that names too many fails as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};

use super::{
    jwt::Jwt,
    key_set::{self, KeySet, Verifier},
    tests::{bit_flips, credential},
};

/// The tests of a file by their groups.
fn groups(file: &str) -> Vec<Value> {
    let document = read(file);
    let groups = document["testGroups"].as_array().unwrap().clone();
    let tests: usize = groups.iter().map(|group| group["tests"].as_array().unwrap().len()).sum();
    assert_eq!(document["numberOfTests"], json!(tests), "{file} isn't whole");
    groups
}

fn read(file: &str) -> Value {
    let path = format!("{}/tests/data/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The way of a token up to its claims: taken as a credential, taken apart, its keys found, its signature verified.
/// Payloads of vectors are no objects, so another one stands in while the rest is read.
fn verifies(keys: &KeySet, token: &str) -> bool {
    let Ok(credential) = credential(token) else { return false };
    let parts: Vec<&str> = credential.expose().split('.').collect();
    let [header, payload, signature] = parts[..] else { return false };
    let with_claims = format!("{header}.e30.{signature}");
    let Ok(jwt) = Jwt::parse(&with_claims) else { return false };
    let signed = format!("{header}.{payload}");
    B64.decode(payload).is_ok()
        && !jwt.is_critical()
        && keys.fitting(&jwt).any(|(_, key)| key.is_signed(signed.as_bytes(), jwt.signature()))
}

/// What an issuer may publish of a key: no secret part.
fn public(jwk: &Value) -> Value {
    let mut jwk = jwk.clone();
    jwk.as_object_mut().unwrap().retain(|name, _| !["d", "p", "q", "dp", "dq", "qi"].contains(&name.as_str()));
    jwk
}

/// The vectors of JWS whose result isn't ours, by number.
fn differing(file: &str) -> BTreeSet<u64> {
    let mut differing = BTreeSet::new();
    for group in groups(file) {
        let published = group.get("public").or_else(|| group.get("private")).unwrap();
        let set = if published.get("keys").is_some() { published.clone() } else { json!({"keys": [published]}) };
        let keys = KeySet::parse(set.to_string().as_bytes());
        for test in group["tests"].as_array().unwrap() {
            let token = test["jws"].as_str().unwrap();
            let is_good = keys.as_ref().is_ok_and(|keys| verifies(keys, token));
            if is_good != (test["result"] == "valid") {
                differing.insert(test["tcId"].as_u64().unwrap());
            }
        }
        // A key that was published with its secret part is nobody's any more.
        let secret = group["private"]
            .get("keys")
            .map_or_else(|| vec![group["private"].clone()], |keys| keys.as_array().unwrap().clone());
        let secret: Vec<Value> = secret.into_iter().filter(|key| key.get("d").or(key.get("k")).is_some()).collect();
        assert!(KeySet::parse(json!({"keys": secret}).to_string().as_bytes()).is_err(), "{secret:?}");
    }
    differing
}

/// The key that a DPoP proof brings with it, for the algorithm that it names.
fn as_proofs_have_it(jwk: &Value, jwt: &Jwt<'_>) -> Option<Verifier> {
    key_set::verifier(jwk.as_object()?, jwt.algorithm()?)
}

/// The same vectors where the key comes with what it has signed: no set says which keys there are. By number, those whose
/// result isn't ours.
fn differing_as_proofs(file: &str) -> BTreeSet<u64> {
    let mut differing = BTreeSet::new();
    for group in groups(file) {
        let published = group.get("public").or_else(|| group.get("private")).unwrap();
        let keys = published.get("keys").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![published.clone()]);
        for test in group["tests"].as_array().unwrap() {
            let parts: Vec<&str> = test["jws"].as_str().unwrap().split('.').collect();
            let is_good = match parts[..] {
                [header, payload, signature] => {
                    let text = format!("{header}.e30.{signature}");
                    Jwt::parse(&text).is_ok_and(|jwt| {
                        let signed = format!("{header}.{payload}");
                        let is_canonical = B64.decode(payload).is_ok() && !jwt.is_critical();
                        let mut keys = keys.iter().filter_map(|key| as_proofs_have_it(key, &jwt));
                        is_canonical && keys.any(|key| key.is_signed(signed.as_bytes(), jwt.signature()))
                    })
                }
                _ => false,
            };
            if is_good != (test["result"] == "valid") {
                differing.insert(test["tcId"].as_u64().unwrap());
            }
        }
    }
    differing
}

/// What differs in `json_web_signature_test.json`, and why.
fn signatures_of_others() -> BTreeSet<u64> {
    let mut ours = BTreeSet::new();
    // HMAC: a key set never holds a secret.
    ours.extend([1, 348, 352]);
    ours.extend([357, 358, 359, 372, 373, 376, 377]);
    // P-521 isn't used here (and its `alg` is misspelt ES521).
    ours.extend([347, 351]);
    // The key says PS256, the token PS384: a key's own `alg` must equal the token's.
    ours.extend([346, 350]);
    ours
}

/// The same of `json_web_key_test.json`: HMAC again.
fn keys_of_others() -> BTreeSet<u64> {
    BTreeSet::from([2, 13, 14, 15])
}

#[test]
fn wycheproof_json_web_signature() {
    assert_eq!(differing("json_web_signature_test.json"), signatures_of_others());
    assert_eq!(differing_as_proofs("json_web_signature_test.json"), signatures_of_others());
}

#[test]
fn wycheproof_json_web_key() {
    assert_eq!(differing("json_web_key_test.json"), keys_of_others());
    assert_eq!(differing_as_proofs("json_web_key_test.json"), keys_of_others());
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The key of a group; some groups of ECDSA give no JWK.
fn jwk_of(group: &Value) -> Value {
    if let Some(jwk) = group.get("publicKeyJwk") {
        return jwk.clone();
    }
    let point = bytes(&group["publicKey"]["uncompressed"]);
    let (x, y) = point[1..].split_at(point.len() / 2);
    let crv = if x.len() == 32 { "P-256" } else { "P-384" };
    json!({"kty": "EC", "crv": crv, "x": B64.encode(x), "y": B64.encode(y)})
}

/// Signatures of messages that are no JWS, by the keys and in the form that JWS has.
fn all_signatures_agree(file: &str, algorithm: &str) {
    let any = format!("{}.e30.", B64.encode(json!({"alg": algorithm}).to_string()));
    let jwt = Jwt::parse(&any).unwrap();
    for group in groups(file) {
        let keys = KeySet::parse(json!({"keys": [jwk_of(&group)]}).to_string().as_bytes()).unwrap();
        let (_, key) = keys.fitting(&jwt).next().unwrap();
        let of_proofs = as_proofs_have_it(&jwk_of(&group), &jwt).unwrap();
        for test in group["tests"].as_array().unwrap() {
            let is_good = key.is_signed(&bytes(&test["msg"]), &bytes(&test["sig"]));
            assert_eq!(is_good, test["result"] == "valid", "{file} {}: {}", test["tcId"], test["comment"]);
            assert_eq!(of_proofs.is_signed(&bytes(&test["msg"]), &bytes(&test["sig"])), is_good, "{}", test["tcId"]);
        }
    }
}

#[test]
fn wycheproof_ed25519() {
    all_signatures_agree("ed25519_test.json", "EdDSA");
}

#[test]
fn wycheproof_ecdsa() {
    all_signatures_agree("ecdsa_secp256r1_sha256_p1363_test.json", "ES256");
    all_signatures_agree("ecdsa_secp384r1_sha384_p1363_test.json", "ES384");
}

/// RFC 7520, sections 4.1 and 4.2; RFC 8037, appendix A.4.
#[test]
fn cookbook() {
    for file in ["cookbook_4_1.json", "cookbook_4_2.json", "cookbook_curve25519_jws.json"] {
        let vector = read(file);
        let (jwk, token) = (public(&vector["input"]["key"]), vector["output"]["compact"].as_str().unwrap());
        let keys = KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
        assert!(verifies(&keys, token), "{file}");
        assert!(bit_flips(token).iter().all(|flipped| !verifies(&keys, flipped)), "{file}");
        // The JSON serialisations are no bearer tokens.
        for name in ["json", "json_flat"] {
            assert!(!verifies(&keys, &vector["output"][name].to_string()), "{file} {name}");
        }
        let with_secret = json!({"keys": [vector["input"]["key"]]});
        assert!(KeySet::parse(with_secret.to_string().as_bytes()).is_err(), "{file}");
    }
}
