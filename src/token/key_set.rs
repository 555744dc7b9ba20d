//! A JSON Web Key Set (RFC 7517), its keys prepared: parsed once, and sorted by what they can verify.

use std::collections::HashMap;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{issuer::Algorithm, json, jwt::Jwt};

/// A set with more keys is refused.
const MAX_KEYS: usize = 1_000;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// The usable keys of a set. Never empty.
#[derive(Debug)]
pub(in crate::token) struct KeySet {
    by_kid: HashMap<String, Vec<Key>>,
    without_kid: Vec<Key>,
    skipped: Vec<Skipped>,
}

/// An entry that is of no use here.
#[derive(Debug)]
pub(in crate::token) struct Skipped {
    /// From 0.
    pub(in crate::token) index: usize,
    pub(in crate::token) reason: &'static str,
    /// Whether someone should do something about it (not: a key for another purpose).
    pub(in crate::token) is_weak: bool,
}

/// A public key, ready for each algorithm that it may be used with.
#[derive(Debug)]
pub(in crate::token) struct Key(Vec<(Algorithm, ParsedPublicKey)>);

impl KeySet {
    /// Reads a JWKS. Entries that are of no use here are skipped.
    ///
    /// # Errors
    /// Not a JWKS, over 1,000 keys, no usable key; in words for the operator, with nothing of the text.
    pub(in crate::token) fn parse(text: &[u8]) -> Result<KeySet, String> {
        let document = json::parse_object(text).map_err(|error| format!("not a JWKS: {error}"))?;
        let Some(Value::Array(entries)) = document.get("keys") else {
            return Err("not a JWKS: it has no array `keys`".to_owned());
        };
        if entries.len() > MAX_KEYS {
            return Err(format!("a JWKS of {} keys; no more than {MAX_KEYS} are taken", entries.len()));
        }
        let mut set = KeySet { by_kid: HashMap::new(), without_kid: vec![], skipped: vec![] };
        for (index, entry) in entries.iter().enumerate() {
            match prepare(entry) {
                Ok((Some(kid), key)) => set.by_kid.entry(kid).or_default().push(key),
                Ok((None, key)) => set.without_kid.push(key),
                Err(reason) => {
                    set.skipped.push(Skipped { index, reason, is_weak: reason == RSA_TOO_SHORT || reason == RSA_EXPONENT });
                }
            }
        }
        if set.len() > 0 {
            return Ok(set);
        }
        let reasons: Vec<String> =
            set.skipped.iter().take(3).map(|skipped| format!("; key {}: {}", skipped.index + 1, skipped.reason)).collect();
        Err(format!("the JWKS has no usable key{}", reasons.concat()))
    }

    /// How many usable keys there are.
    pub(in crate::token) fn len(&self) -> usize {
        self.by_kid.values().map(Vec::len).sum::<usize>() + self.without_kid.len()
    }

    /// What was not taken, and why.
    pub(in crate::token) fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether the set knows this `kid`.
    pub(in crate::token) fn has_kid(&self, kid: &str) -> bool {
        self.by_kid.contains_key(kid)
    }

    /// The keys that may have signed a token: of its `kid` or of none, and for its algorithm.
    pub(in crate::token) fn fitting<'k>(&'k self, jwt: &'k Jwt) -> impl Iterator<Item = &'k ParsedPublicKey> {
        let named = jwt.kid().and_then(|kid| self.by_kid.get(kid)).into_iter().flatten();
        let any = jwt.kid().is_none().then(|| self.by_kid.values().flatten()).into_iter().flatten();
        named.chain(any).chain(&self.without_kid).filter_map(|key| key.for_algorithm(jwt.algorithm()?))
    }
}

impl Key {
    fn for_algorithm(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.0.iter().find(|(of, _)| *of == algorithm).map(|(_, key)| key)
    }
}

const RSA_TOO_SHORT: &str = "an RSA key of less than 2048 bits";
const RSA_EXPONENT: &str = "an RSA key with an exponent that isn't safe";

/// Makes a key of a JWK, or says why it is of no use.
fn prepare(entry: &Value) -> Result<(Option<String>, Key), &'static str> {
    let jwk = entry.as_object().ok_or("not an object")?;
    let kid = match jwk.get("kid") {
        None | Some(Value::Null) => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err("a `kid` that isn't a string"),
    };
    may_verify(jwk)?;
    let keys = match text(jwk, "kty")? {
        "RSA" => rsa(jwk)?,
        "EC" => elliptic(jwk)?,
        "OKP" => edwards(jwk)?,
        _ => return Err("a `kty` that isn't used here"),
    };
    if keys.is_empty() {
        return Err("an `alg` that isn't used here or doesn't fit the key");
    }
    Ok((kid, Key(keys)))
}

/// `use` and `key_ops` (RFC 7517, sections 4.2 and 4.3); a private key that someone published is nobody's any more.
fn may_verify(jwk: &Map<String, Value>) -> Result<(), &'static str> {
    if ["d", "k", "p", "q", "dp", "dq", "qi", "oth"].iter().any(|name| jwk.contains_key(*name)) {
        return Err("a private or symmetric key");
    }
    match jwk.get("use") {
        None | Some(Value::Null) => {}
        Some(Value::String(purpose)) if purpose == "sig" => {}
        Some(_) => return Err("a `use` other than sig"),
    }
    match jwk.get("key_ops") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => Ok(()),
        Some(_) => Err("`key_ops` without verify"),
    }
}

/// Whether the JWK's own `alg`, where given, is this one.
fn is_for(jwk: &Map<String, Value>, algorithm: Algorithm) -> bool {
    match jwk.get("alg") {
        None | Some(Value::Null) => true,
        Some(name) => name == algorithm.name(),
    }
}

fn rsa(jwk: &Map<String, Value>) -> Result<Vec<(Algorithm, ParsedPublicKey)>, &'static str> {
    let components = RsaPublicKeyComponents { n: integer(jwk, "n")?, e: integer(jwk, "e")? };
    let unused_bits = components.n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = components.n.len() * 8 - unused_bits;
    if bits < *RSA_BITS.start() {
        return Err(RSA_TOO_SHORT);
    }
    if bits > *RSA_BITS.end() {
        return Err("an RSA key of more than 8192 bits");
    }
    if components.e == [1] || components.e.len() > 8 || components.e.last().is_none_or(|byte| byte % 2 == 0) {
        return Err(RSA_EXPONENT);
    }
    const ALGORITHMS: [(Algorithm, &RsaParameters); 6] = [
        (Algorithm::Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::Rs384, &signature::RSA_PKCS1_2048_8192_SHA384),
        (Algorithm::Rs512, &signature::RSA_PKCS1_2048_8192_SHA512),
        (Algorithm::Ps256, &signature::RSA_PSS_2048_8192_SHA256),
        (Algorithm::Ps384, &signature::RSA_PSS_2048_8192_SHA384),
        (Algorithm::Ps512, &signature::RSA_PSS_2048_8192_SHA512),
    ];
    let prepared = ALGORITHMS.into_iter().filter(|(algorithm, _)| is_for(jwk, *algorithm));
    prepared
        .map(|(algorithm, parameters)| {
            components.to_parsed_public_key(parameters).map(|key| (algorithm, key)).map_err(|_| "not an RSA key")
        })
        .collect()
}

/// RFC 7518, section 6.2: a curve has one algorithm (section 3.4).
fn elliptic(jwk: &Map<String, Value>) -> Result<Vec<(Algorithm, ParsedPublicKey)>, &'static str> {
    let (algorithm, verification, length): (_, &'static dyn VerificationAlgorithm, _) = match text(jwk, "crv")? {
        "P-256" => (Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED, 32),
        "P-384" => (Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED, 48),
        _ => return Err("a `crv` that isn't used here"),
    };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != length || y.len() != length {
        return Err("a point whose coordinates have another length than the curve's");
    }
    let point = [&[4][..], &x, &y].concat();
    one_key(jwk, algorithm, verification, &point)
}

/// RFC 8037, section 2.
fn edwards(jwk: &Map<String, Value>) -> Result<Vec<(Algorithm, ParsedPublicKey)>, &'static str> {
    if text(jwk, "crv")? != "Ed25519" {
        return Err("a `crv` that isn't used here");
    }
    let x = bytes(jwk, "x")?;
    if x.len() != 32 {
        return Err("an Ed25519 key that isn't 32 bytes long");
    }
    one_key(jwk, Algorithm::EdDsa, &signature::ED25519, &x)
}

fn one_key(
    jwk: &Map<String, Value>,
    algorithm: Algorithm,
    verification: &'static dyn VerificationAlgorithm,
    key: &[u8],
) -> Result<Vec<(Algorithm, ParsedPublicKey)>, &'static str> {
    if !is_for(jwk, algorithm) {
        return Ok(vec![]);
    }
    let key = ParsedPublicKey::new(verification, key).map_err(|_| "not a point of its curve")?;
    Ok(vec![(algorithm, key)])
}

fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<&'j str, &'static str> {
    jwk.get(name).and_then(Value::as_str).ok_or("a member that the key needs is absent or isn't a string")
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).map_err(|_| "a member that isn't base64url")
}

/// A Base64urlUInt (RFC 7518, section 2); some issuers write leading zeros.
fn integer(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    let bytes = bytes(jwk, name)?;
    Ok(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}
