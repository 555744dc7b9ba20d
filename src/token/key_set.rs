//! A JSON Web Key Set (RFC 7517), its keys prepared: parsed once, and sorted by what they can verify.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use aws_lc_rs::{
    digest, hmac,
    signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{issuer::Algorithm, json, jwt::Jwt, pem, roca, secret::Secret};

/// A set with more keys is refused.
const MAX_KEYS: usize = 1_000;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// The usable keys of a set. Never empty.
#[derive(Debug)]
pub(in crate::token) struct KeySet {
    by_kid: HashMap<String, Vec<Key>>,
    without_kid: Vec<Key>,
    ids: HashSet<KeyId>,
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

/// A key, ready for each algorithm that it may be used with.
#[derive(Debug)]
pub(in crate::token) struct Key {
    id: KeyId,
    by_algorithm: Vec<(Algorithm, Verifier)>,
}

/// What a signature is held against. Its kind is the key's own: no token can have a public key taken for a secret.
#[derive(Debug)]
pub(in crate::token) enum Verifier {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

/// Tells a key from all others of its issuer: the SHA-256 of all that its set says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::token) struct KeyId([u8; 32]);

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
        let mut set = KeySet::empty();
        for (index, entry) in entries.iter().enumerate() {
            match prepare(entry) {
                Ok((kid, key)) => set.add(kid, key),
                Err(reason) => {
                    set.skipped.push(Skipped {
                        index,
                        reason,
                        is_weak: [RSA_TOO_SHORT, RSA_EXPONENT, RSA_FACTORABLE].contains(&reason),
                    });
                }
            }
        }
        if set.len() > 0 {
            return Ok(set);
        }
        let reasons: Vec<String> = set
            .skipped
            .iter()
            .take(3)
            .map(|skipped| format!("; key {}: {}", skipped.index + 1, skipped.reason))
            .collect();
        Err(format!("the JWKS has no usable key{}", reasons.concat()))
    }

    /// The keys of PEM files. They have no kid.
    ///
    /// # Errors
    /// A file without a public key, a key that isn't used here; in words for the operator, with nothing of the text.
    pub(in crate::token) fn of_pem<'t>(files: impl Iterator<Item = (&'t Path, &'t str)>) -> Result<KeySet, String> {
        let mut set = KeySet::empty();
        for (path, text) in files {
            let in_file = |reason| format!("{}: {reason}", path.display());
            for entry in pem::read(text).map_err(in_file)? {
                let (_, key) = prepare(&entry).map_err(in_file)?;
                set.add(None, key);
            }
        }
        Ok(set)
    }

    /// A shared secret, for each algorithm that it is long enough for (RFC 7518, section 3.2).
    ///
    /// # Errors
    /// It is too short for all.
    pub(in crate::token) fn of_secret(secret: &Secret) -> Result<KeySet, String> {
        const HASHES: [(Algorithm, hmac::Algorithm); 3] = [
            (Algorithm::Hs256, hmac::HMAC_SHA256),
            (Algorithm::Hs384, hmac::HMAC_SHA384),
            (Algorithm::Hs512, hmac::HMAC_SHA512),
        ];
        let fitting = HASHES.into_iter().filter(|(algorithm, _)| {
            algorithm.least_secret_bytes().is_some_and(|least| secret.expose().len() >= least)
        });
        let keys = fitting
            .map(|(algorithm, hash)| (algorithm, Verifier::Secret(Box::new(hmac::Key::new(hash, secret.expose())))));
        let by_algorithm = keys.collect::<Vec<_>>();
        if by_algorithm.is_empty() {
            return Err("a secret of less than 32 bytes".to_owned());
        }
        let mut set = KeySet::empty();
        // The only one of its set, and a change of it is a change of the issuer: no need to make a hash of a secret.
        set.add(None, Key { id: KeyId([0; 32]), by_algorithm });
        Ok(set)
    }

    /// No keys.
    pub(in crate::token) fn empty() -> KeySet {
        KeySet { by_kid: HashMap::new(), without_kid: vec![], ids: HashSet::new(), skipped: vec![] }
    }

    fn add(&mut self, kid: Option<String>, key: Key) {
        self.ids.insert(key.id);
        match kid {
            Some(kid) => self.by_kid.entry(kid).or_default().push(key),
            None => self.without_kid.push(key),
        }
    }

    /// Whether this key is still one of the set.
    pub(in crate::token) fn has(&self, key: KeyId) -> bool {
        self.ids.contains(&key)
    }

    /// How many usable keys there are.
    pub(in crate::token) fn len(&self) -> usize {
        self.by_kid.values().map(Vec::len).sum::<usize>() + self.without_kid.len()
    }

    /// Each usable key with its kid.
    pub(in crate::token) fn all(&self) -> impl Iterator<Item = (Option<&str>, &Key)> {
        let named = self.by_kid.iter().flat_map(|(kid, keys)| keys.iter().map(|key| (Some(kid.as_str()), key)));
        named.chain(self.without_kid.iter().map(|key| (None, key)))
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
    pub(in crate::token) fn fitting<'k>(&'k self, jwt: &'k Jwt) -> impl Iterator<Item = (KeyId, &'k Verifier)> {
        let named = jwt.kid().and_then(|kid| self.by_kid.get(kid)).into_iter().flatten();
        let any = jwt.kid().is_none().then(|| self.by_kid.values().flatten()).into_iter().flatten();
        named.chain(any).chain(&self.without_kid).filter_map(|key| Some((key.id, key.for_algorithm(jwt.algorithm()?)?)))
    }
}

impl Key {
    fn for_algorithm(&self, algorithm: Algorithm) -> Option<&Verifier> {
        self.by_algorithm.iter().find(|(of, _)| *of == algorithm).map(|(_, key)| key)
    }

    /// What it is for, where that is one algorithm.
    pub(in crate::token) fn only_algorithm(&self) -> Option<Algorithm> {
        match self.by_algorithm.as_slice() {
            [(algorithm, _)] => Some(*algorithm),
            _ => None,
        }
    }

    /// Its `kty` (RFC 7518, section 6.1).
    pub(in crate::token) fn kind(&self) -> &'static str {
        self.by_algorithm.first().map_or("", |(algorithm, _)| algorithm.key_type())
    }
}

impl Verifier {
    /// Whether this signature is this key's. Secrets are compared in constant time.
    pub(in crate::token) fn is_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Verifier::Public(key) => key.verify_sig(message, signature).is_ok(),
            Verifier::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

impl KeyId {
    fn of(jwk: &Value) -> KeyId {
        let mut id = [0; 32];
        let hash = digest::digest(&digest::SHA256, jwk.to_string().as_bytes());
        id.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        KeyId(id)
    }
}

const RSA_TOO_SHORT: &str = "an RSA key of less than 2048 bits";
const RSA_EXPONENT: &str = "an RSA key with an exponent that isn't safe";
const RSA_FACTORABLE: &str = "an RSA key that can be factored (CVE-2017-15361)";

/// What verifies signatures by the key of a JWK with this algorithm; None where it is no public key that does.
pub(in crate::token) fn verifier(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<Verifier> {
    if !is_for(jwk, algorithm) {
        return None;
    }
    let mut jwk = jwk.clone();
    jwk.insert("alg".to_owned(), algorithm.name().into());
    let (_, key) = prepare(&Value::Object(jwk)).ok()?;
    key.by_algorithm.into_iter().find(|(of, _)| *of == algorithm).map(|(_, verifier)| verifier)
}

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
    Ok((kid, Key { id: KeyId::of(entry), by_algorithm: keys }))
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

fn rsa(jwk: &Map<String, Value>) -> Result<Vec<(Algorithm, Verifier)>, &'static str> {
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
    if roca::is_marked(&components.n) {
        return Err(RSA_FACTORABLE);
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
            components
                .to_parsed_public_key(parameters)
                .map(|key| (algorithm, Verifier::Public(key)))
                .map_err(|_| "not an RSA key")
        })
        .collect()
}

/// RFC 7518, section 6.2: a curve has one algorithm (section 3.4).
fn elliptic(jwk: &Map<String, Value>) -> Result<Vec<(Algorithm, Verifier)>, &'static str> {
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
fn edwards(jwk: &Map<String, Value>) -> Result<Vec<(Algorithm, Verifier)>, &'static str> {
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
) -> Result<Vec<(Algorithm, Verifier)>, &'static str> {
    if !is_for(jwk, algorithm) {
        return Ok(vec![]);
    }
    let key = ParsedPublicKey::new(verification, key).map_err(|_| "not a point of its curve")?;
    Ok(vec![(algorithm, Verifier::Public(key))])
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::token::tests::{P256, RSA, jwks, with};

    fn reason(entry: &Value) -> &'static str {
        prepare(entry).map(|_| ()).unwrap_err()
    }

    fn rsa_of(bytes: usize) -> Value {
        let mut modulus = vec![0xff; bytes];
        modulus[bytes - 1] = 0xfd;
        json!({"kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(modulus)})
    }

    #[test]
    fn entries_that_are_of_no_use() {
        let (rsa, ec) = (RSA.jwk(), P256.jwk());
        for (entry, why) in [
            (json!(5), "not an object"),
            (json!({}), "absent"),
            (json!({"kty": "oct", "k": "AAAA"}), "symmetric"),
            (json!({"kty": "XYZ"}), "`kty`"),
            (with(rsa.clone(), "kid", json!(5)), "`kid`"),
            (with(rsa.clone(), "d", json!("AQ")), "private"),
            (with(ec.clone(), "d", json!("AQ")), "private"),
            (with(rsa.clone(), "use", json!("enc")), "`use`"),
            (with(rsa.clone(), "use", json!(["sig"])), "`use`"),
            (with(rsa.clone(), "key_ops", json!(["sign", "encrypt"])), "`key_ops`"),
            (with(rsa.clone(), "key_ops", json!("verify")), "`key_ops`"),
            (with(rsa.clone(), "alg", json!("RSA-OAEP")), "`alg`"),
            (with(rsa.clone(), "alg", json!("HS256")), "`alg`"),
            (with(rsa.clone(), "alg", json!("none")), "`alg`"),
            (with(rsa.clone(), "alg", json!("ES256")), "`alg`"),
            (with(rsa.clone(), "alg", json!(["RS256"])), "`alg`"),
            (with(ec.clone(), "alg", json!("ES384")), "`alg`"),
            (with(rsa.clone(), "n", json!("A+/=")), "base64url"),
            (with(rsa.clone(), "n", json!("")), "less than 2048"),
            (with(rsa.clone(), "e", json!("AQ")), "exponent"),
            (with(rsa.clone(), "e", json!("")), "exponent"),
            (with(rsa.clone(), "e", json!("AAAA")), "exponent"),
            (with(rsa.clone(), "e", json!("BA")), "exponent"),
            (with(rsa, "e", json!("AQAAAAAAAAAB")), "exponent"),
            (rsa_of(128), "less than 2048"),
            (rsa_of(255), "less than 2048"),
            (rsa_of(1025), "more than 8192"),
            (with(ec.clone(), "crv", json!("P-384")), "another length"),
            (with(ec.clone(), "crv", json!("P-521")), "`crv`"),
            (with(ec.clone(), "crv", json!("secp256k1")), "`crv`"),
            (with(ec.clone(), "x", ec["y"].clone()), "curve"),
            (with(ec, "x", json!("AA")), "another length"),
            (json!({"kty": "OKP", "crv": "X25519", "x": URL_SAFE_NO_PAD.encode([1; 32])}), "`crv`"),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([1; 31])}), "32 bytes"),
        ] {
            assert!(reason(&entry).contains(why), "{entry}: {}", reason(&entry));
        }
    }

    #[test]
    fn entries_that_are() {
        let (rsa, ec) = (RSA.jwk(), P256.jwk());
        for (entry, algorithms) in [
            (rsa.clone(), 6),
            (with(rsa.clone(), "alg", json!("PS384")), 1),
            (with(with(rsa.clone(), "use", json!("sig")), "key_ops", json!(["sign", "verify"])), 6),
            (with(rsa.clone(), "n", json!(format!("AAAA{}", rsa["n"].as_str().unwrap()))), 6),
            (rsa_of(256), 6),
            (rsa_of(1024), 6),
            (with(ec.clone(), "x5c", json!(["ignored"])), 1),
            (with(ec, "kid", json!(null)), 1),
        ] {
            assert_eq!(prepare(&entry).unwrap().1.by_algorithm.len(), algorithms, "{entry}");
        }
    }

    #[test]
    fn useless_entries_beside_a_good_one_are_skipped() {
        let text = jwks(&[json!({"kty": "?"}), rsa_of(128), P256.jwk_of("a"), json!(null), P256.jwk()]);
        let set = KeySet::parse(text.as_bytes()).unwrap();
        assert_eq!(set.len(), 2);
        assert!(set.has_kid("a") && !set.has_kid(""));
        let skipped: Vec<(usize, bool)> =
            set.skipped().iter().map(|skipped| (skipped.index, skipped.is_weak)).collect();
        assert_eq!(skipped, [(0, false), (1, true), (3, false)]);
    }

    #[test]
    fn a_pem_file_that_is_no_good_is_named() {
        let files = [("keys/a.pem", "nonsense"), ("keys/b.pem", "")];
        let error = KeySet::of_pem(files.iter().map(|(path, text)| (Path::new(path), *text))).unwrap_err();
        assert!(error.starts_with("keys/a.pem: ") && !error.contains("nonsense"), "{error}");
    }

    #[test]
    fn a_thousand_keys_and_no_more() {
        let keys = |count| jwks(&vec![P256.jwk(); count]);
        assert_eq!(KeySet::parse(keys(1000).as_bytes()).unwrap().len(), 1000);
        assert!(KeySet::parse(keys(1001).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}", n in proptest::collection::vec(any::<u8>(), 0..300), e in proptest::collection::vec(any::<u8>(), 0..10)) {
            let _ = KeySet::parse(text.as_bytes());
            let entry = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e)});
            let _ = prepare(&entry);
        }
    }
}
