//! Verification under attack.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    future::Future,
    pin::pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
    time::Duration,
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
        RsaEncoding,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use hyper::{HeaderMap, header::AUTHORIZATION};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    claims::ClaimPlaces,
    issuer::{Algorithm, Audiences, IssuerSettings, JwtSettings, KeySource},
    jwks::KeyStore,
    key_set::KeySet,
    secret::Secret,
    *,
};
use crate::{observe::Observer, trace::Span};

const NOW: i64 = 1_800_000_000;
/// The default of `clock_skew`, in seconds.
const SKEW: i64 = 30;

pub(in crate::token) enum Signer {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
}

pub(in crate::token) static RSA: LazyLock<Signer> =
    LazyLock::new(|| Signer::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap()));
static OTHER_RSA: LazyLock<Signer> =
    LazyLock::new(|| Signer::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap()));
pub(in crate::token) static P256: LazyLock<Signer> =
    LazyLock::new(|| Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), "P-256"));
pub(in crate::token) static P384: LazyLock<Signer> =
    LazyLock::new(|| Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(), "P-384"));
pub(in crate::token) static ED: LazyLock<Signer> = LazyLock::new(|| Signer::Ed(Ed25519KeyPair::generate().unwrap()));

impl Signer {
    pub(in crate::token) fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match alg {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Signer::Ec(pair, _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Signer::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    pub(in crate::token) fn jwk(&self) -> Value {
        match self {
            Signer::Rsa(pair) => {
                // RSAPublicKey ::= SEQUENCE { modulus, publicExponent }, of 2048 bits and 65537.
                let der = pair.public_key().as_ref();
                json!({"kty": "RSA", "n": B64.encode(&der[9..9 + 256]), "e": "AQAB"})
            }
            Signer::Ec(pair, crv) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
                json!({"kty": "EC", "crv": crv, "x": B64.encode(x), "y": B64.encode(y)})
            }
            Signer::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": B64.encode(pair.public_key())}),
        }
    }

    pub(in crate::token) fn jwk_of(&self, kid: &str) -> Value {
        with(self.jwk(), "kid", json!(kid))
    }

    pub(in crate::token) fn token(&self, header: Value, claims: Value) -> String {
        let alg = header["alg"].as_str().unwrap_or_default().to_owned();
        self.token_of_text(&alg, &header.to_string(), &claims.to_string())
    }

    pub(in crate::token) fn token_of_text(&self, alg: &str, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let signature = self.sign(alg, signed.as_bytes());
        format!("{signed}.{}", B64.encode(signature))
    }
}

pub(in crate::token) fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

pub(in crate::token) fn jwks(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

pub(in crate::token) fn settings(name: &str, keys: KeySource) -> IssuerSettings {
    IssuerSettings {
        name: name.into(),
        issuer: Some(format!("https://{name}.example")),
        audiences: Audiences::OneOf(vec!["api".to_owned(), "api-2".to_owned()]),
        jwt: JwtSettings {
            keys,
            algorithms: Algorithm::ALL.to_vec(),
            types: vec!["at+jwt".to_owned(), "jwt".to_owned()],
            clock_skew: Duration::from_secs(30),
            max_token_age: None,
            require_claims: vec!["exp".to_owned()],
            require_issuer: true,
            string_dates: false,
            refresh: Duration::from_secs(600),
            stale_keys: Duration::from_secs(86_400),
        },
        takes_jwts: true,
        introspection: None,
        claims: ClaimPlaces::default(),
        http_timeout: Duration::from_secs(5),
        allow_http: false,
        sender: crate::token::issuer::SenderSettings::default(),
        logout: crate::token::issuer::LogoutSettings::default(),
        tls_ca: None,
    }
}

pub(in crate::token) fn issuer_with(settings: IssuerSettings) -> Arc<Issuer> {
    let keys = KeyStore::new(&settings, Observer::silent()).unwrap();
    Arc::new(Issuer::new(settings, keys, &Observer::silent()))
}

fn issuer(name: &str, keys: &[Value]) -> Arc<Issuer> {
    issuer_with(settings(name, KeySource::Inline(jwks(keys))))
}

/// The issuer "a" with a key of each kind.
pub(in crate::token) fn all_keys() -> Arc<Issuer> {
    issuer("a", &[RSA.jwk_of("rsa"), P256.jwk_of("p256"), P384.jwk_of("p384"), ED.jwk_of("ed")])
}

pub(in crate::token) fn good_claims() -> Value {
    json!({"iss": "https://a.example", "aud": "api", "exp": NOW + 100, "iat": NOW, "sub": "joe", "scope": "x y"})
}

pub(in crate::token) fn credential(token: &str) -> Result<Credential, Refusal> {
    let mut headers = HeaderMap::new();
    let value = format!("Bearer {token}").parse().map_err(|_| Refusal::Credential("no header value"))?;
    headers.insert(AUTHORIZATION, value);
    Credential::from_headers(&headers, 64 * 1024)
}

/// With local keys nothing is waited for.
pub(in crate::token) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("local verification waits for something"),
    }
}

/// One for all: what an issuer of another test has verified counts for nobody else.
pub(in crate::token) fn cache() -> &'static Arc<TokenCache> {
    static CACHE: LazyLock<Arc<TokenCache>> =
        LazyLock::new(|| Arc::new(TokenCache::new(1 << 20, &Observer::silent()).unwrap()));
    &CACHE
}

/// Nothing has been ended.
pub(in crate::token) fn none() -> &'static Revocations {
    static NONE: LazyLock<Revocations> = LazyLock::new(|| Revocations::new(&Observer::silent()));
    &NONE
}

pub(in crate::token) fn ask(token: &str, issuers: &[Arc<Issuer>], now: i64) -> Result<Arc<Principal>, Refusal> {
    ready(verify_at(&credential(token)?, issuers, cache(), none(), now, &mut Span::none()))
        .map_err(|(refusal, _)| refusal)
}

fn fault(token: &str, issuers: &[Arc<Issuer>]) -> TokenFault {
    match ask(token, issuers, NOW) {
        Err(Refusal::Token(fault)) => fault,
        other => panic!("{other:?} for {token}"),
    }
}

#[test]
fn every_algorithm_verifies_with_its_own_key_alone() {
    let issuers = [all_keys()];
    let signers: [(&Signer, &str, &[&str]); 4] = [
        (&RSA, "rsa", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
        (&P256, "p256", &["ES256"]),
        (&P384, "p384", &["ES384"]),
        (&ED, "ed", &["EdDSA"]),
    ];
    for (signer, own_kid, algorithms) in signers {
        for alg in algorithms {
            let token = signer.token(json!({"alg": alg, "kid": own_kid}), good_claims());
            let principal = ask(&token, &issuers, NOW).unwrap();
            assert_eq!(principal.subject(), Some("joe"));
            assert_eq!(principal.scopes(), ["x", "y"]);
            assert_eq!(principal.ends_at(), Some(NOW + 100 + SKEW));
            assert_eq!(&**principal.issuer(), "a");
            assert!(ask(&signer.token(json!({"alg": alg}), good_claims()), &issuers, NOW).is_ok(), "without kid");
            for kid in ["rsa", "p256", "p384", "ed"].into_iter().filter(|kid| *kid != own_kid) {
                let token = signer.token(json!({"alg": alg, "kid": kid}), good_claims());
                assert_eq!(fault(&token, &issuers), TokenFault::Key);
            }
            // Signed by one algorithm, said to be of another.
            for other in Algorithm::ALL.map(Algorithm::name).iter().filter(|other| *other != alg) {
                let header = json!({"alg": other, "kid": own_kid}).to_string();
                let token = signer.token_of_text(alg, &header, &good_claims().to_string());
                assert!(matches!(fault(&token, &issuers), TokenFault::Key | TokenFault::Signature), "{alg} as {other}");
            }
        }
    }
}

/// RFC 7515, appendices A.2 and A.3.
const A2_KEY: &str = r#"{"keys":[{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}]}"#;
const A2: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const A3_KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
const A3: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
/// RFC 8037, appendix A.4: a JWS whose payload is no JSON.
const A4_KEY: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const A4: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

/// Every text that differs from this token in one bit of one decoded part.
pub(in crate::token) fn bit_flips(token: &str) -> Vec<String> {
    let parts: Vec<Vec<u8>> = token.split('.').map(|part| B64.decode(part).unwrap()).collect();
    let mut flipped = vec![];
    for index in 0..parts.len() {
        for bit in 0..parts[index].len() * 8 {
            let mut parts = parts.clone();
            parts[index][bit / 8] ^= 1 << (bit % 8);
            flipped.push(parts.iter().map(|part| B64.encode(part)).collect::<Vec<_>>().join("."));
        }
    }
    flipped
}

#[test]
fn rfc_7515_vectors_verify_and_no_changed_bit_does() {
    for (keys, token) in [(A2_KEY, A2), (A3_KEY, A3)] {
        let mut joe = settings("joe", KeySource::Inline(keys.to_owned()));
        joe.issuer = Some("joe".to_owned());
        joe.audiences = Audiences::Any;
        joe.jwt.require_claims = vec![];
        let issuers = [issuer_with(joe)];
        let now = 1_300_819_000;
        let principal = ask(token, &issuers, now).unwrap();
        assert_eq!(principal.claims()["http://example.com/is_root"], json!(true));
        assert_eq!(ask(token, &issuers, 1_300_819_380 + 30).unwrap_err(), Refusal::Token(TokenFault::Expired));
        for flipped in bit_flips(token) {
            assert!(ask(&flipped, &issuers, now).is_err(), "{flipped}");
        }
        for bit in 0..token.len() * 8 {
            let mut text = token.as_bytes().to_vec();
            text[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = String::from_utf8(text) {
                assert!(ask(&text, &issuers, now).is_err(), "{text}");
            }
        }
    }
}

#[test]
fn rfc_8037_vector_verifies_and_no_changed_bit_does() {
    let keys = KeySet::parse(A4_KEY.as_bytes()).unwrap();
    let eddsa = Jwt::parse("eyJhbGciOiJFZERTQSJ9.e30.").unwrap();
    let (_, key) = keys.fitting(&eddsa).next().unwrap();
    let verifies = |token: &str| {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        key.is_signed(signed.as_bytes(), &B64.decode(signature).unwrap())
    };
    assert!(verifies(A4));
    assert!(bit_flips(A4).iter().all(|flipped| !verifies(flipped)));
    let joe = issuer_with(settings("a", KeySource::Inline(A4_KEY.to_owned())));
    assert_eq!(fault(A4, &[joe]), TokenFault::Malformed, "its payload is no object");
    let token = ED.token(json!({"alg": "EdDSA", "kid": "ed"}), good_claims());
    let issuers = [all_keys()];
    assert!(bit_flips(&token).iter().all(|flipped| ask(flipped, &issuers, NOW).is_err()));
}

#[test]
fn none_in_any_spelling_is_refused() {
    let issuers = [all_keys()];
    for alg in [
        "none", "None", "NONE", "nOnE", "", " none", "none ", "null", "HS256", "HS384", "HS512", "rs256", "Rs256",
        "ES256K", "eddsa", "RS1", "RSA-OAEP",
    ] {
        for signature in ["", "AAAA"] {
            let header = B64.encode(json!({"alg": alg, "kid": "rsa"}).to_string());
            let token = format!("{header}.{}.{signature}", B64.encode(good_claims().to_string()));
            assert_eq!(fault(&token, &issuers), TokenFault::Algorithm, "{alg}");
        }
    }
    for header in [json!({}), json!({"alg": null}), json!({"alg": 5}), json!({"alg": ["RS256"]}), json!({"alg": {}})] {
        assert_eq!(fault(&RSA.token(header, good_claims()), &issuers), TokenFault::Malformed);
    }
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    let issuers = [all_keys()];
    let Signer::Rsa(pair) = &*RSA else { panic!() };
    let der = pair.public_key().as_ref().to_vec();
    let pem = format!(
        "-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n",
        base64::engine::general_purpose::STANDARD.encode(&der)
    );
    let modulus = der[9..265].to_vec();
    for secret in [der, pem.into_bytes(), modulus, vec![], RSA.jwk().to_string().into_bytes()] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        for alg in ["HS256", "RS256", "ES256"] {
            let signed = format!(
                "{}.{}",
                B64.encode(json!({"alg": alg, "kid": "rsa"}).to_string()),
                B64.encode(good_claims().to_string())
            );
            let token = format!("{signed}.{}", B64.encode(hmac::sign(&key, signed.as_bytes())));
            assert!(matches!(fault(&token, &issuers), TokenFault::Algorithm | TokenFault::Signature | TokenFault::Key));
        }
    }
}

#[test]
fn only_the_issuers_own_keys_count() {
    let a = issuer("a", &[RSA.jwk_of("k")]);
    let b = issuer("b", &[OTHER_RSA.jwk_of("k"), OTHER_RSA.jwk_of("only-b"), OTHER_RSA.jwk()]);
    let both = [a.clone(), b.clone()];
    let from_b = with(good_claims(), "iss", json!("https://b.example"));
    let header = json!({"alg": "RS256", "kid": "k"});
    assert!(ask(&RSA.token(header.clone(), good_claims()), &both, NOW).is_ok());
    assert_eq!(&**ask(&OTHER_RSA.token(header.clone(), from_b.clone()), &both, NOW).unwrap().issuer(), "b");
    assert_eq!(fault(&OTHER_RSA.token(header.clone(), good_claims()), &both), TokenFault::Signature);
    assert_eq!(fault(&RSA.token(header.clone(), from_b.clone()), &both), TokenFault::Signature);
    assert_eq!(
        fault(&OTHER_RSA.token(json!({"alg": "RS256", "kid": "only-b"}), good_claims()), &both),
        TokenFault::Key
    );
    // A route that doesn't take b doesn't take b's tokens.
    let refused = ready(verify_at(
        &credential(&OTHER_RSA.token(header, from_b)).unwrap(),
        &[a],
        cache(),
        none(),
        NOW,
        &mut Span::none(),
    ))
    .unwrap_err();
    assert_eq!(refused, (Refusal::Token(TokenFault::Issuer), None));
}

#[test]
fn nothing_in_the_header_brings_or_finds_a_key() {
    let issuers = [all_keys()];
    let jwk = OTHER_RSA.jwk();
    let certificate = base64::engine::general_purpose::STANDARD.encode([0x30, 0x82]);
    for (name, value) in [
        ("jwk", jwk.clone()),
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("x5u", json!("http://127.0.0.1:1/cert")),
        ("x5c", json!([certificate])),
    ] {
        let header = with(json!({"alg": "RS256", "kid": "rsa"}), name, value.clone());
        assert_eq!(fault(&OTHER_RSA.token(header.clone(), good_claims()), &issuers), TokenFault::Signature, "{name}");
        assert!(ask(&RSA.token(header, good_claims()), &issuers, NOW).is_ok(), "{name} is ignored");
        let header = with(json!({"alg": "RS256"}), name, value);
        assert_eq!(fault(&OTHER_RSA.token(header, good_claims()), &issuers), TokenFault::Signature, "{name}");
    }
    for kid in [
        "../../../../dev/null",
        "/etc/passwd",
        "x' OR '1'='1",
        "rsa\0",
        "RSA",
        " rsa",
        "",
        "http://127.0.0.1/k",
        "rsa;",
        "🔑",
    ] {
        let token = RSA.token(json!({"alg": "RS256", "kid": kid}), good_claims());
        assert_eq!(fault(&token, &issuers), TokenFault::Key, "{kid}");
    }
    for kid in [json!(5), json!(["rsa"]), json!({"kid": "rsa"}), json!(true)] {
        let token = RSA.token(json!({"alg": "RS256", "kid": kid}), good_claims());
        assert_eq!(fault(&token, &issuers), TokenFault::Malformed);
    }
}

#[test]
fn keys_without_a_kid_fit_any_kid_and_all_keys_of_a_kid_are_tried() {
    let issuers = [issuer("a", &[OTHER_RSA.jwk(), RSA.jwk(), P256.jwk()])];
    assert!(ask(&RSA.token(json!({"alg": "RS256", "kid": "any"}), good_claims()), &issuers, NOW).is_ok());
    assert!(ask(&RSA.token(json!({"alg": "RS256"}), good_claims()), &issuers, NOW).is_ok());
    let issuers = [issuer("a", &[OTHER_RSA.jwk_of("k"), RSA.jwk_of("k")])];
    assert!(ask(&RSA.token(json!({"alg": "RS256", "kid": "k"}), good_claims()), &issuers, NOW).is_ok());
    let issuers = [issuer("a", &[with(RSA.jwk_of("k"), "alg", json!("RS512"))])];
    assert_eq!(fault(&RSA.token(json!({"alg": "RS256", "kid": "k"}), good_claims()), &issuers), TokenFault::Key);
    assert!(ask(&RSA.token(json!({"alg": "RS512", "kid": "k"}), good_claims()), &issuers, NOW).is_ok());
}

#[test]
fn one_token_has_one_text() {
    let issuers = [all_keys()];
    let good = RSA.token(json!({"alg": "RS256", "kid": "rsa"}), good_claims());
    assert!(ask(&good, &issuers, NOW).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let mut texts = vec![
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.x"),
        format!("{good}.x.y"),
        format!("{good}="),
        format!("{good}=="),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}..{}", parts[0], parts[2]),
        format!(".{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        parts[0].to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "0123456789abcdef0123456789abcdef01234567".to_owned(),
    ];
    // 256 bytes end in a character with unused bits: the other characters that decode to the same bytes.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/";
    let (all_but_last, last) = good.split_at(good.len() - 1);
    texts.extend(alphabet.chars().filter(|char| last != char.to_string()).map(|char| format!("{all_but_last}{char}")));
    for text in texts {
        let refused = ask(&text, &issuers, NOW).unwrap_err();
        assert!(
            matches!(refused, Refusal::Token(TokenFault::Malformed | TokenFault::Signature) | Refusal::Credential(_)),
            "{text}: {refused:?}"
        );
    }
    for (header, claims) in [
        (r#"{"alg":"RS256","kid":"rsa","alg":"RS256"}"#.to_owned(), good_claims().to_string()),
        (r#"{"alg":"none","kid":"rsa","alg":"RS256"}"#.to_owned(), good_claims().to_string()),
        (r#"{"alg":"RS256","kid":"x","\u006bid":"rsa"}"#.to_owned(), good_claims().to_string()),
        (r#"{"alg":"RS256","kid":"rsa"}"#.to_owned(), good_claims().to_string().replacen('{', r#"{"exp":1,"#, 1)),
        (
            r#"{"alg":"RS256","kid":"rsa"}"#.to_owned(),
            good_claims().to_string().replacen('{', r#"{"x":{"a":1,"a":1},"#, 1),
        ),
        (r#"["alg"]"#.to_owned(), good_claims().to_string()),
        (r#"{"alg":"RS256","kid":"rsa"}"#.to_owned(), "[]".to_owned()),
        (r#"{"alg":"RS256","kid":"rsa"}"#.to_owned(), "\"x\"".to_owned()),
        (r#"{"alg":"RS256","kid":"rsa"}"#.to_owned(), String::new()),
        (r#"{"alg":"RS256","kid":"rsa"}"#.to_owned(), format!("{}{{}}", good_claims())),
        (r#"{"alg":"RS256","kid":"rsa","typ":5}"#.to_owned(), good_claims().to_string()),
    ] {
        assert_eq!(
            fault(&RSA.token_of_text("RS256", &header, &claims), &issuers),
            TokenFault::Malformed,
            "{header} {claims}"
        );
    }
}

#[test]
fn odd_json() {
    let issuers = [all_keys()];
    let header = r#"{"alg":"ES256","kid":"p256"}"#;
    let judge = |claims: &[u8]| {
        let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let token = format!("{signed}.{}", B64.encode(P256.sign("ES256", signed.as_bytes())));
        ask(&token, &issuers, NOW).err()
    };
    let with_member = |member: &str| good_claims().to_string().replacen('{', &format!("{{{member},"), 1).into_bytes();
    let good = good_claims().to_string();
    for (claims, expected) in [
        (with_member(r#""x":1"#), None),
        (with_member(r#""x":1e-400"#), None),
        (with_member(r#""x":123456789012345678901234567890"#), None),
        (with_member(r#""x":"\u0000""#), None),
        (with_member(&format!(r#""x":{}{}"#, "[".repeat(31), "]".repeat(31))), None),
        (with_member(&format!(r#""x":{}{}"#, "[".repeat(40), "]".repeat(40))), Some(TokenFault::Malformed)),
        (with_member(r#""x":1e400"#), Some(TokenFault::Malformed)),
        (with_member(r#""x":-1e400"#), Some(TokenFault::Malformed)),
        (with_member(r#""x":01"#), Some(TokenFault::Malformed)),
        (with_member(r#""x":+1"#), Some(TokenFault::Malformed)),
        (with_member(r#""x":.5"#), Some(TokenFault::Malformed)),
        (with_member(r#""x":Infinity"#), Some(TokenFault::Malformed)),
        (with_member("\"x\":\"\0\""), Some(TokenFault::Malformed)),
        (with_member(r#""x":[{"a":[{"b":1,"\u0062":1}]}]"#), Some(TokenFault::Malformed)),
        (with_member(r#""x":1/**/"#), Some(TokenFault::Malformed)),
        (format!("\u{feff}{good}").into_bytes(), Some(TokenFault::Malformed)),
        (format!("{good}\0").into_bytes(), Some(TokenFault::Malformed)),
        (format!("{good} x").into_bytes(), Some(TokenFault::Malformed)),
        ([good.as_bytes(), b"\xff"].concat(), Some(TokenFault::Malformed)),
        (good.replace("joe", "\u{1}").into_bytes(), Some(TokenFault::Malformed)),
        (good.bytes().flat_map(|byte| [byte, 0]).collect(), Some(TokenFault::Malformed)),
        (good.replace(&(NOW + 100).to_string(), "1e20").into_bytes(), None),
        (good.replace(&(NOW + 100).to_string(), "1e400").into_bytes(), Some(TokenFault::Malformed)),
        (good.replace(&(NOW + 100).to_string(), "-1e20").into_bytes(), Some(TokenFault::Expired)),
        (good.replace(&(NOW + 100).to_string(), "-0").into_bytes(), Some(TokenFault::Expired)),
    ] {
        let shown = String::from_utf8_lossy(&claims).into_owned();
        assert_eq!(judge(&claims), expected.map(Refusal::Token), "{shown}");
    }
}

#[test]
fn header_parameters() {
    let issuers = [all_keys()];
    let base = || json!({"alg": "RS256", "kid": "rsa"});
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+JWT", "application/jwt"] {
        assert!(ask(&RSA.token(with(base(), "typ", json!(typ)), good_claims()), &issuers, NOW).is_ok(), "{typ}");
    }
    for typ in
        ["", "JOSE", "logout+jwt", "dpop+jwt", "x/at+jwt", "application/application/at+jwt", "at+jwt ", "id_token"]
    {
        assert_eq!(
            fault(&RSA.token(with(base(), "typ", json!(typ)), good_claims()), &issuers),
            TokenFault::Type,
            "{typ}"
        );
    }
    for crit in [json!(["b64"]), json!(["exp"]), json!([]), json!(null), json!("x"), json!(["alg"])] {
        assert_eq!(
            fault(&RSA.token(with(base(), "crit", crit.clone()), good_claims()), &issuers),
            TokenFault::Critical,
            "{crit}"
        );
    }
    let mut only_es256 = settings("a", KeySource::Inline(jwks(&[RSA.jwk_of("rsa")])));
    only_es256.jwt.algorithms = vec![Algorithm::Es256];
    assert_eq!(fault(&RSA.token(base(), good_claims()), &[issuer_with(only_es256)]), TokenFault::Algorithm);
}

#[test]
fn claims() {
    let issuers = [all_keys()];
    let judge = |name: &str, value: Value| {
        let token = RSA.token(json!({"alg": "RS256", "kid": "rsa"}), with(good_claims(), name, value));
        ask(&token, &issuers, NOW).err()
    };
    let fault = |fault| Some(Refusal::Token(fault));
    for (name, value, expected) in [
        ("exp", json!(NOW - 29), None),
        ("exp", json!(NOW - 30), fault(TokenFault::Expired)),
        ("exp", json!(NOW as f64 - 29.5), fault(TokenFault::Expired)),
        ("exp", json!(NOW as f64 - 28.5), None),
        ("exp", json!(0), fault(TokenFault::Expired)),
        ("exp", json!(-1), fault(TokenFault::Expired)),
        ("exp", json!(i64::MIN), fault(TokenFault::Expired)),
        ("exp", json!(u64::MAX), None),
        ("exp", json!(1e300), None),
        ("exp", json!(-1e300), fault(TokenFault::Expired)),
        ("exp", json!((NOW + 9).to_string()), fault(TokenFault::Malformed)),
        ("exp", json!([NOW + 9]), fault(TokenFault::Malformed)),
        ("exp", json!(true), fault(TokenFault::Malformed)),
        ("exp", json!(null), fault(TokenFault::MissingClaim)),
        ("nbf", json!(NOW + 30), None),
        ("nbf", json!(NOW + 31), fault(TokenFault::NotYetValid)),
        ("nbf", json!(NOW as f64 + 30.5), fault(TokenFault::NotYetValid)),
        ("nbf", json!(1e300), fault(TokenFault::NotYetValid)),
        ("nbf", json!("soon"), fault(TokenFault::Malformed)),
        ("iat", json!(NOW + 30), None),
        ("iat", json!(NOW + 31), fault(TokenFault::IssuedInFuture)),
        ("iat", json!(0), None),
        ("iat", json!({}), fault(TokenFault::Malformed)),
        ("aud", json!("api"), None),
        ("aud", json!(["x", "api-2"]), None),
        ("aud", json!("API"), fault(TokenFault::Audience)),
        ("aud", json!("api x"), fault(TokenFault::Audience)),
        ("aud", json!(""), fault(TokenFault::Audience)),
        ("aud", json!([]), fault(TokenFault::Audience)),
        ("aud", json!(null), fault(TokenFault::Audience)),
        ("aud", json!(["api", 5]), fault(TokenFault::Malformed)),
        ("aud", json!({"api": true}), fault(TokenFault::Malformed)),
        ("iss", json!("https://a.example/"), fault(TokenFault::Issuer)),
        ("iss", json!("https://A.example"), fault(TokenFault::Issuer)),
        ("iss", json!(""), fault(TokenFault::Issuer)),
        ("iss", json!(null), fault(TokenFault::Issuer)),
        ("iss", json!(["https://a.example"]), fault(TokenFault::Malformed)),
        ("cnf", json!({"jkt": "x"}), fault(TokenFault::Binding)),
        ("cnf", json!({}), fault(TokenFault::Binding)),
        ("cnf", json!("x"), fault(TokenFault::Binding)),
        ("cnf", json!(null), None),
    ] {
        assert_eq!(judge(name, value.clone()), expected, "{name}: {value}");
    }
    let mut without_exp = good_claims();
    without_exp.as_object_mut().unwrap().remove("exp");
    let token = RSA.token(json!({"alg": "RS256", "kid": "rsa"}), without_exp);
    assert_eq!(ask(&token, &issuers, NOW).err(), fault(TokenFault::MissingClaim));
}

#[test]
fn settings_of_claims() {
    let judge = |change: &dyn Fn(&mut IssuerSettings), claims: Value| {
        let mut settings = settings("a", KeySource::Inline(jwks(&[P256.jwk()])));
        change(&mut settings);
        ask(&P256.token(json!({"alg": "ES256"}), claims), &[issuer_with(settings)], NOW).err()
    };
    let fault = |fault| Some(Refusal::Token(fault));
    let max_age = |settings: &mut IssuerSettings| settings.jwt.max_token_age = Some(Duration::from_secs(60));
    assert_eq!(judge(&max_age, with(good_claims(), "iat", json!(NOW - 90))), None);
    assert_eq!(judge(&max_age, with(good_claims(), "iat", json!(NOW - 91))), fault(TokenFault::TooOld));
    assert_eq!(judge(&max_age, with(good_claims(), "iat", json!(null))), fault(TokenFault::MissingClaim));
    let strings = |settings: &mut IssuerSettings| settings.jwt.string_dates = true;
    assert_eq!(judge(&strings, with(good_claims(), "exp", json!((NOW + 9).to_string()))), None);
    assert_eq!(
        judge(&strings, with(good_claims(), "exp", json!(format!("{}.5", NOW - 31)))),
        fault(TokenFault::Expired)
    );
    for text in ["", "inf", "NaN", "1e300", "+1900000000", " 1900000000", "0x7fffffff", "1900000000.", ".5", "-", "∞"]
    {
        assert_eq!(judge(&strings, with(good_claims(), "exp", json!(text))), fault(TokenFault::Malformed), "{text}");
    }
    let any = |settings: &mut IssuerSettings| settings.audiences = Audiences::Any;
    assert_eq!(judge(&any, with(good_claims(), "aud", json!(null))), None);
    let jti = |settings: &mut IssuerSettings| settings.jwt.require_claims = vec!["exp".to_owned(), "jti".to_owned()];
    assert_eq!(judge(&jti, good_claims()), fault(TokenFault::MissingClaim));
    assert_eq!(judge(&jti, with(good_claims(), "jti", json!("1"))), None);
}

/// A token with every fault, mended one by one: the faults come in the contract's order.
#[test]
fn the_first_fault_in_order_is_named() {
    let issuers = [all_keys()];
    let mut header = json!({"alg": "HS256", "typ": "x", "crit": ["y"], "kid": "nobody"});
    let mut claims = json!({
        "iss": "https://x.example", "exp": NOW - 99, "nbf": NOW + 99, "iat": NOW + 99, "aud": "x", "cnf": {"jkt": "x"},
    });
    let mut signer: &Signer = &OTHER_RSA;
    let mut required = settings("a", KeySource::Inline(jwks(&[RSA.jwk_of("rsa")])));
    required.jwt.require_claims.push("jti".to_owned());
    let required = [issuer_with(required)];
    let mut named = vec![];
    for step in 0..12 {
        let issuers = if step >= 6 { &required } else { &issuers };
        named.push(fault(&signer.token(header.clone(), claims.clone()), issuers));
        match step {
            0 => header["alg"] = json!("RS256"),
            1 => header["typ"] = json!("JWT"),
            2 => drop(header.as_object_mut().unwrap().remove("crit")),
            3 => claims["iss"] = json!("https://a.example"),
            4 => header["kid"] = json!("rsa"),
            5 => signer = &RSA,
            6 => claims["exp"] = json!(NOW + 99),
            7 => claims["nbf"] = json!(NOW),
            8 => claims["iat"] = json!(NOW),
            9 => claims["aud"] = json!("api"),
            10 => claims["jti"] = json!("1"),
            _ => claims["cnf"] = json!(null),
        }
    }
    let expected = [
        TokenFault::Algorithm,
        TokenFault::Type,
        TokenFault::Critical,
        TokenFault::Issuer,
        TokenFault::Key,
        TokenFault::Signature,
        TokenFault::Expired,
        TokenFault::NotYetValid,
        TokenFault::IssuedInFuture,
        TokenFault::Audience,
        TokenFault::MissingClaim,
        TokenFault::Binding,
    ];
    assert_eq!(named, expected);
    assert!(ask(&signer.token(header, claims), &required, NOW).is_ok());
    assert_eq!(fault("a.b.c", &issuers), TokenFault::Malformed);
}

#[test]
fn a_route_without_issuers_takes_nothing() {
    let token = RSA.token(json!({"alg": "RS256", "kid": "rsa"}), good_claims());
    assert!(ask(&token, &[], NOW).is_err());
}

#[test]
fn a_token_is_a_users_or_a_clients_own() {
    let mut a = settings("a", KeySource::Inline(jwks(&[P256.jwk()])));
    a.claims.client_subjects = Some(pattern::Pattern::parse("^service-").unwrap());
    let issuers = [issuer_with(a)];
    let kind = |claims: Value| {
        let token = P256.token(json!({"alg": "ES256"}), claims);
        ask(&token, &issuers, NOW).unwrap().kind().name()
    };
    assert_eq!(kind(good_claims()), "user");
    assert_eq!(kind(with(good_claims(), "azp", json!("app"))), "user");
    assert_eq!(kind(with(good_claims(), "sub", json!("service-app"))), "client");
    assert_eq!(kind(with(good_claims(), "sub", json!(null))), "client");
    assert_eq!(kind(with(good_claims(), "azp", json!("joe"))), "client");
}

fn hmac_token(hash: hmac::Algorithm, secret: &[u8], header: Value, claims: Value) -> String {
    let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let signature = hmac::sign(&hmac::Key::new(hash, secret), signed.as_bytes());
    format!("{signed}.{}", B64.encode(signature))
}

fn secret_issuer(name: &str, secret: &[u8], change: impl FnOnce(&mut IssuerSettings)) -> Arc<Issuer> {
    let mut settings = settings(name, KeySource::Secret(Secret::new(secret.to_vec())));
    settings.jwt.algorithms = Algorithm::OF_SECRETS.to_vec();
    change(&mut settings);
    issuer_with(settings)
}

#[test]
fn a_shared_secret_verifies_what_it_is_long_enough_for() {
    let secret = [7; 64];
    for (alg, hash, least) in
        [("HS256", hmac::HMAC_SHA256, 32), ("HS384", hmac::HMAC_SHA384, 48), ("HS512", hmac::HMAC_SHA512, 64)]
    {
        for length in [32, 47, 48, 63, 64] {
            let issuers = [secret_issuer("a", &secret[..length], |_| {})];
            let token = hmac_token(hash, &secret[..length], json!({"alg": alg, "kid": "any"}), good_claims());
            match length >= least {
                true => assert!(ask(&token, &issuers, NOW).is_ok(), "{alg} with {length} bytes"),
                false => assert_eq!(fault(&token, &issuers), TokenFault::Key, "{alg} with {length} bytes"),
            }
            let other = hmac_token(hash, &[8; 64][..length], json!({"alg": alg}), good_claims());
            assert!(ask(&other, &issuers, NOW).is_err());
            assert!(ask(&format!("{}.", token.rsplit_once('.').unwrap().0), &issuers, NOW).is_err(), "no signature");
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let short = B64.encode(&B64.decode(signature).unwrap()[..16]);
            assert!(ask(&format!("{signed}.{short}"), &issuers, NOW).is_err(), "half a signature");
        }
    }
    let too_short = settings("a", KeySource::Secret(Secret::new(vec![7; 31])));
    assert!(KeyStore::new(&too_short, Observer::silent()).is_err());
    let token = hmac_token(hmac::HMAC_SHA256, &secret[..32], json!({"alg": "HS256"}), good_claims());
    let issuers = [secret_issuer("a", &secret[..32], |_| {})];
    assert!(bit_flips(&token).iter().all(|flipped| ask(flipped, &issuers, NOW).is_err()));
    assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "Secret(…)");
}

/// Even where the settings accept every algorithm, a key is of one kind.
#[test]
fn a_secret_and_a_public_key_are_never_taken_for_one_another() {
    let every = |settings: &mut IssuerSettings| {
        settings.jwt.algorithms = Algorithm::ALL.into_iter().chain(Algorithm::OF_SECRETS).collect();
    };
    let Signer::Rsa(pair) = &*RSA else { panic!() };
    let der = pair.public_key().as_ref();
    let mut public = settings("a", KeySource::Inline(jwks(&[RSA.jwk()])));
    every(&mut public);
    let public = [issuer_with(public)];
    for text in [der.to_vec(), der[9..265].to_vec(), RSA.jwk().to_string().into_bytes()] {
        let token = hmac_token(hmac::HMAC_SHA256, &text, json!({"alg": "HS256"}), good_claims());
        assert_eq!(fault(&token, &public), TokenFault::Key);
        let secret = [secret_issuer("a", &text, every)];
        assert!(ask(&token, &secret, NOW).is_ok());
        for alg in Algorithm::ALL.map(Algorithm::name) {
            let token = hmac_token(hmac::HMAC_SHA256, &text, json!({"alg": alg}), good_claims());
            assert_eq!(fault(&token, &secret), TokenFault::Key);
        }
        assert_eq!(fault(&RSA.token(json!({"alg": "RS256"}), good_claims()), &secret), TokenFault::Key);
    }
}

#[test]
fn a_token_without_iss_is_whose_keys_it_fits() {
    let open = |settings: &mut IssuerSettings| settings.jwt.require_issuer = false;
    let (one, two) = ([1; 32], [2; 32]);
    let a = secret_issuer("a", &one, open);
    let b = secret_issuer("b", &two, open);
    let strict = secret_issuer("c", &one, |_| {});
    let mut anonymous = good_claims();
    anonymous.as_object_mut().unwrap().remove("iss");
    let header = || json!({"alg": "HS256"});
    let signed = |secret: &[u8], claims: &Value| hmac_token(hmac::HMAC_SHA256, secret, header(), claims.clone());
    let both = [strict.clone(), a.clone(), b.clone()];
    let name = |result: Result<Arc<Principal>, Refusal>| result.unwrap().issuer().to_string();

    assert_eq!(name(ask(&signed(&one, &anonymous), &both, NOW)), "a");
    assert_eq!(name(ask(&signed(&two, &anonymous), &both, NOW)), "b");
    assert_eq!(name(ask(&signed(&two, &with(anonymous.clone(), "iss", json!(null))), &both, NOW)), "b");
    assert_eq!(fault(&signed(&[3; 32], &anonymous), &both), TokenFault::Signature);
    assert_eq!(fault(&signed(&one, &anonymous), std::slice::from_ref(&strict)), TokenFault::Issuer);
    assert_eq!(fault(&signed(&one, &anonymous), std::slice::from_ref(&b)), TokenFault::Signature);
    for wrong in ["", "https://a.example/", "https://x.example"] {
        assert_eq!(fault(&signed(&one, &with(anonymous.clone(), "iss", json!(wrong))), &both), TokenFault::Issuer);
    }
    assert_eq!(
        fault(&signed(&one, &with(anonymous.clone(), "iss", json!("https://b.example"))), &both),
        TokenFault::Signature
    );
    // A good signature is final, though b takes every audience.
    let any = secret_issuer("b", &one, |settings| {
        open(settings);
        settings.audiences = Audiences::Any;
    });
    let elsewhere = signed(&one, &with(anonymous.clone(), "aud", json!("elsewhere")));
    assert_eq!(name(ask(&elsewhere, std::slice::from_ref(&any), NOW)), "b");
    assert_eq!(fault(&elsewhere, &[a, any.clone()]), TokenFault::Audience, "also where the cache knows it as b's");
    assert_eq!(name(ask(&elsewhere, &[any], NOW)), "b");
}

proptest! {
    #[test]
    fn arbitrary_text_is_refused_without_panic(text in "[A-Za-z0-9._~+/-]{1,80}") {
        prop_assert!(ask(&text, &[all_keys()], NOW).is_err());
    }

    #[test]
    fn arbitrary_json_is_refused_without_panic(header in "\\PC{0,30}", claims in "\\PC{0,30}", signature in proptest::collection::vec(any::<u8>(), 0..300)) {
        let header = format!(r#"{{"alg":"RS256","kid":"rsa",{header}}}"#);
        for header in [&header, r#"{"alg":"ES256"}"#, r#"{"alg":"EdDSA"}"#] {
            for claims in [&claims, &good_claims().to_string()] {
                let token = format!("{}.{}.{}", B64.encode(header), B64.encode(claims), B64.encode(&signature));
                prop_assert!(ask(&token, &[all_keys()], NOW).is_err());
            }
        }
    }
}
