//! Proofs, and what passes for one.

use std::{cell::Cell, sync::Arc, time::Duration};

use hyper::{
    HeaderMap, Method,
    header::{AUTHORIZATION, HeaderValue},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    headers::DPOP,
    path::CanonicalPath,
    token::{
        credential::Fingerprint,
        issuer::{Algorithm, Issuer, IssuerSettings, KeySource},
        place::TokenPlaces,
        revocation::TokenId,
        secret::Secret,
        tests::{ED, P256, P384, RSA, Signer, issuer_with, jwks, settings, with},
    },
    trace::Span,
};

/// That of RFC 9449, section 7.1.
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const ISSUED: i64 = 1_562_262_618;
/// The default of `clock_skew`, in seconds.
const SKEW: i64 = 30;
const MAX_AGE: i64 = 60;
static UNRECORDED: Span = Span::none();

/// A request, as far as proofs are about it.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) scheme: &'static str,
    pub(super) authority: Option<String>,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
}

impl Asked {
    pub(super) fn get(path: &str) -> Asked {
        let (method, path) = (Method::GET, path.to_owned());
        Asked { method, scheme: "https", authority: None, path, headers: HeaderMap::new() }
    }

    pub(super) fn with_view<R>(&self, ask: impl FnOnce(&RequestView<'_>) -> R) -> R {
        let path = CanonicalPath::parse(&self.path).unwrap();
        ask(&RequestView {
            listener: 0,
            method: &self.method,
            host: None,
            authority: self.authority.as_deref(),
            scheme: self.scheme,
            path: &path,
            query: None,
            headers: &self.headers,
            client_ip: [192, 0, 2, 7].into(),
            trusted_peer: false,
            certificate: None,
            span: &UNRECORDED,
        })
    }
}

fn issuer(change: impl FnOnce(&mut IssuerSettings)) -> Arc<Issuer> {
    let mut settings = settings("a", KeySource::Inline(jwks(&[P256.jwk()])));
    change(&mut settings);
    issuer_with(settings)
}

/// Who asks, and what for: the request of RFC 9449, section 7.1.
struct Scene {
    issuer: Arc<Issuer>,
    proofs: Proofs,
    claims: Value,
    asked: Asked,
    now: i64,
}

impl Scene {
    fn new(issuer: Arc<Issuer>, key: &str) -> Scene {
        let mut asked = Asked::get("/protectedresource");
        asked.authority = Some("resource.example.org".to_owned());
        asked.headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("DPoP {TOKEN}")).unwrap());
        let claims = json!({"cnf": {"jkt": key}});
        Scene { issuer, proofs: Proofs::new().unwrap(), claims, asked, now: ISSUED }
    }

    fn bound_to(signer: &Signer) -> Scene {
        Scene::new(issuer(|_| {}), &thumbprint(&signer.jwk()))
    }

    fn ask(&self, proofs: &[&str]) -> Result<(), ProofFault> {
        let mut headers = self.asked.headers.clone();
        for proof in proofs {
            headers.append(DPOP, HeaderValue::try_from(*proof).unwrap());
        }
        let asked = Asked {
            headers,
            method: self.asked.method.clone(),
            authority: self.asked.authority.clone(),
            path: self.asked.path.clone(),
            ..Asked::get("/")
        };
        let members = self.claims.as_object().unwrap();
        let principal =
            Principal::of(&self.issuer, Arc::new(members.clone()), None, Fingerprint([0; 6]), TokenId::of(TOKEN));
        asked.with_view(|view| {
            let credential = TokenPlaces::default().credential(view, 1000).unwrap();
            check(&principal, &credential, std::slice::from_ref(&self.issuer), &self.proofs, view, self.now)
        })
    }

    fn fault(&self, proof: &str) -> &'static str {
        self.ask(&[proof]).map_or_else(ProofFault::detail, |()| "none")
    }
}

fn thumbprint(jwk: &Value) -> String {
    let members: Map<String, Value> = jwk.as_object().unwrap().clone();
    let text = match members["kty"].as_str().unwrap() {
        "RSA" => format!(r#"{{"e":{},"kty":"RSA","n":{}}}"#, members["e"], members["n"]),
        "OKP" => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":{}}}"#, members["x"]),
        _ => format!(r#"{{"crv":{},"kty":"EC","x":{},"y":{}}}"#, members["crv"], members["x"], members["y"]),
    };
    Thumbprint::of(text.as_bytes()).to_string()
}

fn claims() -> Value {
    thread_local!(static NEXT: Cell<u64> = const { Cell::new(0) });
    let number = NEXT.replace(NEXT.get() + 1);
    json!({
        "jti": format!("j{number}"), "htm": "GET", "htu": "https://resource.example.org/protectedresource", "iat": ISSUED,
        "ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo",
    })
}

fn header(alg: &str, signer: &Signer) -> Value {
    json!({"typ": "dpop+jwt", "alg": alg, "jwk": signer.jwk()})
}

fn proof(claims: Value) -> String {
    P256.token(header("ES256", &P256), claims)
}

#[test]
fn the_request_of_rfc_9449() {
    let proof = concat!(
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0Rs",
        "cEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2",
        "In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm9",
        "0ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVF",
        "FbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
    );
    let scene = Scene::new(issuer(|_| {}), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    assert_eq!(scene.ask(&[proof]), Ok(()));
    assert_eq!(scene.fault(proof), "the DPoP proof was used before");
    let later =
        Scene { now: ISSUED + 1000, ..Scene::new(issuer(|_| {}), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I") };
    assert_eq!(later.fault(proof), "the DPoP proof is too old");
    let others = Scene::bound_to(&P256);
    assert_eq!(others.ask(&[proof]), Err(ProofFault::OtherKey));
}

#[test]
fn every_algorithm_of_public_keys() {
    for (alg, signer) in [
        ("RS256", &RSA),
        ("RS384", &RSA),
        ("RS512", &RSA),
        ("PS256", &RSA),
        ("PS384", &RSA),
        ("PS512", &RSA),
        ("ES256", &P256),
        ("ES384", &P384),
        ("EdDSA", &ED),
        ("Ed25519", &ED),
    ] {
        let scene = Scene::bound_to(signer);
        let good = signer.token(header(alg, signer), claims());
        assert_eq!(scene.ask(&[&good]), Ok(()), "{alg}");
        let says_so = with(header(alg, signer), "jwk", with(signer.jwk(), "alg", json!(alg)));
        assert_eq!(scene.ask(&[&signer.token(says_so, claims())]), Ok(()), "{alg}");
        let own = if alg == "Ed25519" { "EdDSA" } else { alg };
        let narrow = issuer(|settings| settings.jwt.algorithms.retain(|algorithm| algorithm.name() != own));
        let scene = Scene::new(narrow, &thumbprint(&signer.jwk()));
        assert!(scene.fault(&good).contains("algorithm"), "{alg}");
    }
    // Whoever signs tokens with a secret: proofs are the clients'.
    let secret = issuer(|settings| {
        settings.jwt.keys = KeySource::Secret(Secret::new(vec![7; 32]));
        settings.jwt.algorithms = Algorithm::OF_SECRETS.to_vec();
    });
    assert_eq!(Scene::new(secret, &thumbprint(&ED.jwk())).ask(&[&ED.token(header("EdDSA", &ED), claims())]), Ok(()));
}

#[test]
fn one_proof_and_no_more() {
    let scene = Scene::bound_to(&P256);
    let (one, other) = (proof(claims()), proof(claims()));
    assert_eq!(scene.ask(&[]).unwrap_err().detail(), "a DPoP proof is needed");
    for several in [[&*one, &other], [&one, &one], [&one, ""]] {
        assert_eq!(scene.ask(&several).unwrap_err().detail(), "there is more than one DPoP proof");
    }
    for text in [format!("{one}, {other}"), format!("{one} "), format!("\"{one}\""), String::new(), "x".repeat(9000)] {
        assert_eq!(scene.fault(&text), "the DPoP proof is malformed", "{text:.40}");
    }
    assert_eq!(scene.ask(&[&one]), Ok(()), "none of these was a use of it");
}

#[test]
fn the_header_says_what_it_is() {
    let scene = Scene::bound_to(&P256);
    let good = header("ES256", &P256);
    for (name, value, fault) in [
        ("typ", json!("JWT"), "type"),
        ("typ", json!(null), "type"),
        ("typ", json!("at+jwt"), "type"),
        ("typ", json!(5), "malformed"),
        ("alg", json!("none"), "algorithm"),
        ("alg", json!("HS256"), "algorithm"),
        ("alg", json!("es256"), "algorithm"),
        ("alg", json!("ES256K"), "algorithm"),
        ("alg", json!(null), "malformed"),
        ("alg", json!("ES384"), "key"),
        ("alg", json!("RS256"), "key"),
        ("crit", json!(["x"]), "critical"),
        ("crit", json!([]), "critical"),
        ("jwk", json!(null), "no public key"),
        ("jwk", json!("x"), "no public key"),
        ("jwk", json!([P256.jwk()]), "no public key"),
        ("jwk", json!({}), "key"),
        ("jwk", with(P256.jwk(), "d", json!("AA")), "key"),
        ("jwk", with(P256.jwk(), "k", json!("AA")), "key"),
        ("jwk", with(P256.jwk(), "use", json!("enc")), "key"),
        ("jwk", with(P256.jwk(), "key_ops", json!(["sign"])), "key"),
        ("jwk", with(P256.jwk(), "alg", json!("ES384")), "key"),
        ("jwk", with(P256.jwk(), "alg", json!("Ed25519")), "key"),
        ("jwk", with(P256.jwk(), "crv", json!("P-384")), "key"),
        ("jwk", with(P256.jwk(), "y", json!("AA")), "key"),
        ("jwk", json!({"kty": "oct", "k": "AAAA"}), "key"),
        ("jwk", RSA.jwk(), "key"),
    ] {
        let bad = with(good.clone(), name, value.clone());
        let found = scene.fault(&P256.token(bad, claims()));
        assert!(found.contains(fault), "{name} {value}: {found}");
    }
    let signed_by_another = P256.token(header("ES256", &P256), claims());
    let (rest, _) = signed_by_another.rsplit_once('.').unwrap();
    let (_, signature) = signed_by_another.rsplit_once('.').unwrap();
    assert!(scene.fault(&format!("{rest}.{}", signature.chars().rev().collect::<String>())).starts_with("the"));
    assert!(scene.fault(&format!("{rest}.")).contains("signature"));
    // Of a key that it doesn't bring; by one that it brings, and that isn't the token's.
    let foreign = P384.token(header("ES384", &P384), claims());
    assert_eq!(scene.ask(&[&foreign]), Err(ProofFault::OtherKey));
    for more in [("kid", json!("k")), ("jku", json!("https://x.example")), ("x5c", json!(["AA"]))] {
        let header = with(good.clone(), more.0, more.1);
        assert_eq!(scene.ask(&[&P256.token(header, claims())]), Ok(()));
    }
}

#[test]
fn the_claims_say_what_it_is_for() {
    let scene = Scene::bound_to(&P256);
    let address = |path: &str| json!(format!("https://resource.example.org{path}"));
    for (name, value, fault) in [
        ("jti", json!(null), "malformed"),
        ("jti", json!(""), "malformed"),
        ("jti", json!(5), "malformed"),
        ("htm", json!(null), "malformed"),
        ("htm", json!("POST"), "method"),
        ("htm", json!("get"), "method"),
        ("htm", json!("HEAD"), "method"),
        ("htm", json!(["GET"]), "malformed"),
        ("htu", json!(null), "malformed"),
        ("htu", address("/other"), "address"),
        ("htu", address("/"), "address"),
        ("htu", json!("http://resource.example.org/protectedresource"), "address"),
        ("htu", json!("https://resource.example.com/protectedresource"), "address"),
        ("htu", json!("https://resource.example.org:8443/protectedresource"), "address"),
        ("ath", json!(null), "malformed"),
        ("ath", json!("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo="), "another token"),
        ("ath", json!("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEp"), "another token"),
        ("ath", json!(TOKEN), "another token"),
        ("iat", json!(null), "malformed"),
        ("iat", json!(ISSUED.to_string()), "malformed"),
        ("iat", json!(ISSUED + SKEW), "none"),
        ("iat", json!(ISSUED + SKEW + 1), "future"),
        ("iat", json!(ISSUED - MAX_AGE - SKEW), "none"),
        ("iat", json!(ISSUED - MAX_AGE - SKEW - 1), "too old"),
        ("iat", json!(i64::MAX), "future"),
        ("iat", json!(-1), "too old"),
        ("exp", json!(ISSUED - SKEW), "too old"),
        ("exp", json!(ISSUED - SKEW + 1), "none"),
        ("exp", json!("x"), "malformed"),
        ("nbf", json!(ISSUED + SKEW), "none"),
        ("nbf", json!(ISSUED + SKEW + 1), "future"),
        ("nonce", json!("whatever"), "none"),
        ("sub", json!("somebody"), "none"),
    ] {
        let found = scene.fault(&proof(with(claims(), name, value.clone())));
        assert!(found.contains(fault), "{name} {value}: {found}");
    }
    for htu in ["/protectedresource?a=1", "/protectedresource#x", ":443/protectedresource", "/protected%72esource"] {
        assert_eq!(scene.fault(&proof(with(claims(), "htu", address(htu)))), "none", "{htu}");
    }
}

#[test]
fn schemes_and_bindings_that_do_not_fit() {
    let good = || proof(claims());
    let mut scene = Scene::bound_to(&P256);
    scene.asked.headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {TOKEN}")).unwrap());
    assert_eq!(scene.ask(&[&good()]), Err(ProofFault::NotShown));
    scene.claims = json!({});
    assert_eq!(scene.ask(&[&good()]), Ok(()), "a proof beside an unbound token says nothing");
    scene.asked.headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("dpop {TOKEN}")).unwrap());
    assert_eq!(scene.ask(&[&good()]), Err(ProofFault::NotBound));
    let key = thumbprint(&P256.jwk());
    for (cnf, expected) in [
        (json!({"x5t#S256": key}), Err(ProofFault::NoCertificate)),
        (json!({"x5t#S256": key, "jkt": key}), Err(ProofFault::NoCertificate)),
        (json!({"jkt": key, "jku": "x"}), Err(ProofFault::Unsupported)),
        (json!({"jkt": key}), Ok(())),
    ] {
        scene.claims = json!({"cnf": cnf});
        assert_eq!(scene.ask(&[&good()]), expected, "{}", scene.claims);
    }
}

#[test]
fn nonces_where_they_are_wanted() {
    let wanting = issuer(|settings| settings.sender.dpop_nonce = true);
    let scene = Scene::new(wanting, &thumbprint(&P256.jwk()));
    let nonce = match scene.ask(&[&proof(claims())]) {
        Err(ProofFault::NonceNeeded(nonce)) => String::from_utf8(nonce.as_bytes().to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    for bad in [json!(""), json!("x"), json!(5), json!(nonce.to_uppercase())] {
        let result = scene.ask(&[&proof(with(claims(), "nonce", bad))]);
        assert!(matches!(result, Err(ProofFault::NonceNeeded(_))), "{result:?}");
    }
    let with_nonce = || proof(with(claims(), "nonce", json!(nonce)));
    let good = with_nonce();
    assert_eq!(scene.ask(&[&good]), Ok(()));
    assert_eq!(scene.fault(&good), "the DPoP proof was used before");
    assert_eq!(scene.ask(&[&with_nonce()]), Ok(()), "a nonce may be used again");
}

#[test]
fn a_rehearsal_uses_nothing_up_and_a_shadow_has_its_own_memory() {
    let scene = Scene::bound_to(&P256);
    let used = proof(claims());
    let beside = Scene { proofs: scene.proofs.beside(), ..Scene::bound_to(&P256) };
    assert_eq!([scene.ask(&[&used]), beside.ask(&[&used])], [Ok(()), Ok(())]);
    assert!(scene.ask(&[&used]).is_err() && beside.ask(&[&used]).is_err());
    assert!(beside.proofs.nonces.is_good(std::str::from_utf8(scene.proofs.nonces.give(5).as_bytes()).unwrap(), 5));
}

#[test]
fn more_time_for_proofs_is_more_time_to_remember_them() {
    let slow = issuer(|settings| settings.sender.dpop_max_age = Duration::from_secs(600));
    let mut scene = Scene::new(slow, &thumbprint(&P256.jwk()));
    let used = proof(claims());
    assert_eq!(scene.ask(&[&used]), Ok(()));
    for later in [100, 600, 630] {
        scene.now = ISSUED + later;
        assert_eq!(scene.fault(&used), "the DPoP proof was used before");
    }
    scene.now = ISSUED + 631;
    assert_eq!(scene.fault(&used), "the DPoP proof is too old");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_else_is_accepted(text in "\\PC{0,80}", at in any::<prop::sample::Index>(), to in "[A-Za-z0-9._=-]") {
        let scene = Scene::bound_to(&P256);
        if let Ok(value) = HeaderValue::try_from(text) {
            let mut headers = scene.asked.headers.clone();
            headers.append(DPOP, value);
            let scene = Scene { asked: Asked { headers, ..Asked::get("/protectedresource") }, ..Scene::bound_to(&P256) };
            prop_assert!(scene.ask(&[]).is_err());
        }
        let good = proof(claims());
        let mut changed = good.clone();
        let at = at.index(good.len());
        changed.replace_range(at..=at, &to);
        prop_assert!(changed == good || scene.ask(&[&changed]).is_err(), "{}", changed);
        prop_assert!(scene.ask(&[&good]).is_ok());
    }

    #[test]
    fn no_header_or_claims_panic(header in "[ -~]{0,60}", claims in "[ -~]{0,60}") {
        let scene = Scene::bound_to(&P256);
        prop_assert!(scene.ask(&[&P256.token_of_text("ES256", &header, &claims)]).is_err());
    }
}
