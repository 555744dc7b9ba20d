//! Signing with a private key of the configuration.

mod jwk;

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{
    rand::{SecureRandom, SystemRandom},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

pub use self::jwk::PublicJwk;
use crate::token::secret::Secret;

const NO_KEY: &str = "no private key in PEM in it";
const OTHER_KIND: &str = "not a private key that can be used here (RSA of 2048 bits and more, P-256, P-384, Ed25519)";

/// A private key, ready to sign. Doesn't print. Equal to another one if it is of the same text.
#[derive(Clone)]
pub struct Signer {
    pem: Secret,
    key: Arc<Pair>,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
    /// It isn't there.
    StandIn,
}

/// What a JWT says that is good once, for one server (RFC 7523, section 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Assertion {
    /// `iss`
    pub iss: String,
    /// `sub`
    pub sub: String,
    /// `aud`
    pub aud: String,
    /// From `iat` to `exp`; whole seconds, 1 at least.
    pub ttl: Duration,
}

/// The key can't sign: the system has no random numbers, or it only stands for one.
#[derive(Debug)]
pub struct CannotSign;

impl Signer {
    /// The first private key of a PEM text (RFC 7468, section 10; RFC 5915; RFC 8017, appendix A.1.2).
    ///
    /// # Errors
    /// There is none, or none of a kind that is used here: in words for the configuration's author, with nothing of
    /// the text.
    pub fn from_pem(pem: &Secret) -> Result<Signer, &'static str> {
        let der = PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|_| NO_KEY)?;
        Signer::of(pem, &der)
    }

    /// All private keys of a PEM text, in its order; one at least.
    ///
    /// # Errors
    /// As `from_pem`, of any of them.
    pub fn all_from_pem(pem: &Secret) -> Result<Vec<Signer>, &'static str> {
        let keys = PrivateKeyDer::pem_slice_iter(pem.expose());
        let keys = keys.map(|der| Signer::of(pem, &der.map_err(|_| NO_KEY)?)).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(NO_KEY) } else { Ok(keys) }
    }

    fn of(pem: &Secret, der: &PrivateKeyDer<'_>) -> Result<Signer, &'static str> {
        let key = match der {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(Pair::Rsa),
            PrivateKeyDer::Sec1(der) => {
                elliptic(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der.secret_sec1_der()).ok())
            }
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let rsa = RsaKeyPair::from_pkcs8(der).ok().map(Pair::Rsa);
                rsa.or_else(|| elliptic(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok()))
                    .or_else(|| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Pair::Ed))
            }
            _ => None,
        };
        Ok(Signer { pem: pem.clone(), key: Arc::new(key.ok_or(OTHER_KIND)?) })
    }

    /// What stands for a key of this name that can't be had where a configuration is only checked. It signs nothing.
    pub fn stand_in(name: &Secret) -> Signer {
        Signer { pem: name.clone(), key: Arc::new(Pair::StandIn) }
    }

    /// Whether it stands for a key that isn't there.
    pub fn is_stand_in(&self) -> bool {
        matches!(*self.key, Pair::StandIn)
    }

    /// What it signs with (RFC 7518, section 3.1; RFC 8037, section 3.1).
    pub fn algorithm(&self) -> &'static str {
        match &*self.key {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_, algorithm) => algorithm,
            Pair::Ed(_) | Pair::StandIn => "EdDSA",
        }
    }

    /// A JWT of these claims (RFC 7515, section 7.1), with the name of the key in its header, if it is to be looked up.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn jwt(&self, typ: &str, kid: Option<&str>, claims: &Map<String, Value>) -> Result<String, CannotSign> {
        let mut header = json!({"alg": self.algorithm(), "typ": typ});
        if let (Some(kid), Value::Object(header)) = (kid, &mut header) {
            header.insert("kid".to_owned(), json!(kid));
        }
        let claims = serde_json::to_string(claims).map_err(|_| CannotSign)?;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// A JWT with these claims, `iat`, `exp` and a `jti` of its own. `now` in Unix seconds.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn assertion(&self, says: &Assertion, now: i64) -> Result<Zeroizing<String>, CannotSign> {
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).map_err(|_| CannotSign)?;
        let ttl = i64::try_from(says.ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        let claims = [
            ("iss", json!(says.iss)),
            ("sub", json!(says.sub)),
            ("aud", json!(says.aud)),
            ("iat", json!(now)),
            ("exp", json!(now.saturating_add(ttl))),
            ("jti", json!(URL_SAFE_NO_PAD.encode(random))),
        ];
        let claims: Map<_, _> = claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.jwt("JWT", None, &claims).map(Zeroizing::new)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CannotSign> {
        let random = SystemRandom::new();
        match &*self.key {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| CannotSign)?;
                Ok(signature)
            }
            Pair::Ec(pair, _) => Ok(pair.sign(&random, message).map_err(|_| CannotSign)?.as_ref().to_vec()),
            Pair::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::StandIn => Err(CannotSign),
        }
    }
}

/// A key fits the algorithm of its own curve alone.
fn elliptic(read: impl Fn(&'static EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>) -> Option<Pair> {
    let of = |algorithm, name| read(algorithm).map(|pair| Pair::Ec(pair, name));
    of(&ECDSA_P256_SHA256_FIXED_SIGNING, "ES256").or_else(|| of(&ECDSA_P384_SHA384_FIXED_SIGNING, "ES384"))
}

impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem
    }
}

impl Eq for Signer {}

impl Hash for Signer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pem.hash(state);
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} …)", self.algorithm())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, UnparsedPublicKey};
    use rcgen::{
        KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData,
    };

    use super::*;

    fn signer(pem: &str) -> Result<Signer, &'static str> {
        Signer::from_pem(&Secret::new(pem.as_bytes().to_vec()))
    }

    #[test]
    fn what_it_signs_verifies() {
        for (kind, name, verification) in [
            (
                &PKCS_ECDSA_P256_SHA256,
                "ES256",
                &ECDSA_P256_SHA256_FIXED as &dyn aws_lc_rs::signature::VerificationAlgorithm,
            ),
            (&PKCS_ECDSA_P384_SHA384, "ES384", &ECDSA_P384_SHA384_FIXED),
            (&PKCS_ED25519, "EdDSA", &ED25519),
        ] {
            let pair = KeyPair::generate_for(kind).unwrap();
            let signer = signer(&pair.serialize_pem()).unwrap();
            let Value::Object(claims) = json!({"sub": "x"}) else { unreachable!() };
            let token = signer.jwt("JWT", None, &claims).unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let header: Value =
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split('.').next().unwrap()).unwrap()).unwrap();
            assert_eq!(header, json!({"alg": name, "typ": "JWT"}));
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            UnparsedPublicKey::new(verification, pair.der_bytes()).verify(signed.as_bytes(), &signature).unwrap();
        }
    }

    #[test]
    fn rsa_keys_sign_too() {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let signer = signer(&pair.serialize_pem()).unwrap();
        assert_eq!(signer.algorithm(), "RS256");
        let signature = signer.sign(b"message").unwrap();
        UnparsedPublicKey::new(&aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256, pair.der_bytes())
            .verify(b"message", &signature)
            .unwrap();
    }

    #[test]
    fn what_is_no_key_is_refused_and_nothing_prints() {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        for text in
            ["", "secret", &pair.public_key_pem(), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
        {
            assert!(signer(text).is_err(), "{text}");
        }
        let one = signer(&pair.serialize_pem()).unwrap();
        assert_eq!(format!("{one:?}"), "Signer(EdDSA …)");
        assert_eq!(one, signer(&pair.serialize_pem()).unwrap());
    }
}
