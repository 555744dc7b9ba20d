//! A token from a private key, for tests.

use std::{fs::File, io::Read, path::Path, time::Duration};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value};

use crate::{config, token::json};

const TTL: Duration = Duration::from_secs(3600);
/// A larger file is no key.
const LARGEST_KEY: u64 = 64 * 1024;

const RSA: [(&str, Algorithm); 6] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
];
const EC: [(&str, Algorithm); 2] = [("ES256", Algorithm::ES256), ("ES384", Algorithm::ES384)];
const ED: [(&str, Algorithm); 1] = [("EdDSA", Algorithm::EdDSA)];

/// What the token is to be.
pub(super) struct Wanted<'w> {
    pub(super) claims: &'w str,
    /// None: what fits the key.
    pub(super) alg: Option<&'w str>,
    pub(super) kid: Option<String>,
    pub(super) ttl: Option<&'w str>,
}

/// Reads a key file.
pub(super) fn read_key(path: &Path) -> Result<Vec<u8>, String> {
    let mut pem = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST_KEY + 1).read_to_end(&mut pem));
    match read {
        Ok(_) if pem.len() as u64 > LARGEST_KEY => Err(format!("{}: too large for a key", path.display())),
        Ok(_) => Ok(pem),
        Err(why) => Err(format!("{}: {why}", path.display())),
    }
}

/// Makes and signs a token.
///
/// # Errors
/// What can't be used, in words that hold nothing of the key.
pub(super) fn token(pem: &[u8], wanted: Wanted<'_>, now: i64) -> Result<String, String> {
    let claims = claims(wanted.claims, wanted.ttl, now)?;
    let (key, algorithms) = key(pem)?;
    let names = || algorithms.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let chosen = match wanted.alg {
        None => algorithms,
        Some(alg) => {
            algorithms.iter().position(|(name, _)| *name == alg).and_then(|at| algorithms.get(at..=at)).ok_or_else(
                || format!("`{}` is not an algorithm of this key: it takes {}", config::printable(alg), names()),
            )?
        }
    };
    // An elliptic key fits the algorithm of its own curve alone.
    for (_, algorithm) in chosen {
        let mut header = Header::new(*algorithm);
        header.typ = Some("at+jwt".to_owned());
        header.kid.clone_from(&wanted.kid);
        if let Ok(token) = encode(&header, &claims, &key) {
            return Ok(token);
        }
    }
    Err(match wanted.alg {
        Some(alg) => format!("this key can't sign with {alg}"),
        None => format!("this key can't sign with any of {}", names()),
    })
}

/// The claims with `iat` and `exp`.
fn claims(text: &str, ttl: Option<&str>, now: i64) -> Result<Map<String, Value>, String> {
    let mut claims =
        json::parse_object(text.as_bytes()).map_err(|why| format!("the claims are not a JSON object: {why}"))?;
    if ttl.is_some() && claims.contains_key("exp") {
        return Err("`--ttl` beside `exp` in the claims".to_owned());
    }
    let ttl = match ttl {
        None => TTL,
        Some(ttl) => {
            config::duration(ttl).map_err(|hint| format!("`{}` is not a duration: {hint}", config::printable(ttl)))?
        }
    };
    let end = now.saturating_add_unsigned(ttl.as_secs());
    claims.entry("iat").or_insert_with(|| now.into());
    claims.entry("exp").or_insert_with(|| end.into());
    Ok(claims)
}

type NamedAlgorithm = (&'static str, Algorithm);

/// The key, and the algorithms of its kind.
fn key(pem: &[u8]) -> Result<(EncodingKey, &'static [NamedAlgorithm]), String> {
    if let Ok(key) = EncodingKey::from_rsa_pem(pem) {
        return Ok((key, &RSA));
    }
    if let Ok(key) = EncodingKey::from_ec_pem(pem) {
        return Ok((key, &EC));
    }
    if let Ok(key) = EncodingKey::from_ed_pem(pem) {
        return Ok((key, &ED));
    }
    let text = String::from_utf8_lossy(pem);
    Err(if text.contains("BEGIN EC PRIVATE KEY") {
        "a key in SEC1 form; `openssl pkcs8 -topk8 -nocrypt -in key.pem` makes PKCS #8 of it"
    } else if text.contains("ENCRYPTED") {
        "the key is encrypted; `openssl pkcs8 -topk8 -nocrypt -in key.pem` makes a plain one of it"
    } else if text.contains("BEGIN PUBLIC KEY") {
        "this is a public key: what signs is the private one"
    } else {
        "the key is not PEM of an RSA, P-256, P-384 or Ed25519 private key"
    }
    .to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use rcgen::{
        KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm,
    };

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn pem(algorithm: &'static SignatureAlgorithm) -> String {
        KeyPair::generate_for(algorithm).unwrap().serialize_pem()
    }

    fn sign(pem: &str, claims: &str, alg: Option<&str>, ttl: Option<&str>) -> Result<(Value, Value), String> {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        let token = token(pem.as_bytes(), Wanted { claims, alg, kid: Some("k".to_owned()), ttl }, NOW)?;
        let part = |place| {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(place).unwrap()).unwrap())
        };
        Ok((part(0).unwrap(), part(1).unwrap()))
    }

    #[test]
    fn the_algorithm_follows_the_key() {
        for (key, alg) in [
            (&PKCS_ECDSA_P256_SHA256, "ES256"),
            (&PKCS_ECDSA_P384_SHA384, "ES384"),
            (&PKCS_ED25519, "EdDSA"),
            (&PKCS_RSA_SHA256, "RS256"),
        ] {
            let pem = pem(key);
            let (header, _) = sign(&pem, "{}", None, None).unwrap();
            assert_eq!(header, serde_json::json!({"alg": alg, "kid": "k", "typ": "at+jwt"}));
            for named in ["HS256", "none", "ES512", "rs256"] {
                assert!(sign(&pem, "{}", Some(named), None).unwrap_err().contains(alg), "{named}");
            }
        }
        let rsa = pem(&PKCS_RSA_SHA256);
        for (alg, _) in RSA {
            assert_eq!(sign(&rsa, "{}", Some(alg), None).unwrap().0["alg"], alg);
        }
        assert!(sign(&pem(&PKCS_ECDSA_P256_SHA256), "{}", Some("ES384"), None).is_err());
    }

    #[test]
    fn dates_are_filled_in_unless_given() {
        let pem = pem(&PKCS_ED25519);
        let claims = |claims, ttl| sign(&pem, claims, None, ttl).map(|(_, claims)| claims);
        assert_eq!(
            claims(r#"{"sub": "a"}"#, None).unwrap(),
            serde_json::json!({"sub": "a", "iat": NOW, "exp": NOW + 3600})
        );
        assert_eq!(claims("{}", Some("5m")).unwrap()["exp"], NOW + 300);
        assert_eq!(claims(r#"{"exp": 7, "iat": null}"#, None).unwrap(), serde_json::json!({"iat": null, "exp": 7}));
        assert!(claims(r#"{"exp": 7}"#, Some("5m")).is_err());
        assert!(claims("{}", Some("5")).is_err());
        for bad in ["", "[]", "{", r#"{"a": 1, "a": 2}"#] {
            assert!(claims(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_private_key() {
        for (pem, part) in [
            ("", "not PEM"),
            ("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----", "public key"),
            ("-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----", "SEC1"),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----", "encrypted"),
        ] {
            assert!(sign(pem, "{}", None, None).unwrap_err().contains(part), "{pem}");
        }
        assert!(read_key(Path::new("/nowhere/key.pem")).unwrap_err().starts_with("/nowhere/key.pem: "));
        assert!(read_key(Path::new("/dev/zero")).is_err());
    }
}
