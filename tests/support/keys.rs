//! Keys that sign, and what an issuer publishes of them.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A key pair with its `kid`.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) kid: String,
    pair: Pair,
}

#[derive(Clone)]
enum Pair {
    Rsa(Arc<RsaKeyPair>),
    Ec(Arc<EcdsaKeyPair>),
    Ed(Arc<Ed25519KeyPair>),
}

impl Key {
    /// RSA keys are slow to make: all of a process are one of two pairs.
    pub(crate) fn rs256(kid: &str) -> Key {
        static PAIR: OnceLock<Arc<RsaKeyPair>> = OnceLock::new();
        Key { kid: kid.to_owned(), pair: Pair::Rsa(Arc::clone(PAIR.get_or_init(rsa_pair))) }
    }

    /// Another pair than `rs256`.
    pub(crate) fn other_rs256(kid: &str) -> Key {
        static PAIR: OnceLock<Arc<RsaKeyPair>> = OnceLock::new();
        Key { kid: kid.to_owned(), pair: Pair::Rsa(Arc::clone(PAIR.get_or_init(rsa_pair))) }
    }

    pub(crate) fn es256(kid: &str) -> Key {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Key { kid: kid.to_owned(), pair: Pair::Ec(Arc::new(pair)) }
    }

    pub(crate) fn eddsa(kid: &str) -> Key {
        Key { kid: kid.to_owned(), pair: Pair::Ed(Arc::new(Ed25519KeyPair::generate().unwrap())) }
    }

    /// The same pair under another name.
    pub(crate) fn named(&self, kid: &str) -> Key {
        Key { kid: kid.to_owned(), pair: self.pair.clone() }
    }

    pub(crate) fn alg(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
        }
    }

    /// The public key's bytes: what an attacker would use as an HMAC secret.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// RFC 7517, with `kid`, `alg` and `use`.
    pub(crate) fn jwk(&self) -> Value {
        let bytes = self.public_bytes();
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match self.pair {
            // RSAPublicKey of 2048 bits (RFC 8017, A.1.1): the modulus begins after its length and a zero octet.
            Pair::Rsa(_) => {
                json!({"kty": "RSA", "n": encode(&bytes[9..265]), "e": encode(&bytes[267..])})
            }
            Pair::Ec(_) => {
                json!({"kty": "EC", "crv": "P-256", "x": encode(&bytes[1..33]), "y": encode(&bytes[33..])})
            }
            Pair::Ed(_) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&bytes)}),
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.alg());
        jwk["use"] = json!("sig");
        jwk
    }

    /// A signature as JWS has it (RFC 7518, section 3).
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

fn rsa_pair() -> Arc<RsaKeyPair> {
    Arc::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
}

#[test]
fn published_keys_verify_what_was_signed() {
    use jsonwebtoken::{DecodingKey, Validation, decode, jwk::Jwk};
    for key in [Key::rs256("a"), Key::other_rs256("b"), Key::es256("c"), Key::eddsa("d")] {
        let token = super::token::Token::new("https://issuer.example", &key).build();
        let jwk: Jwk = serde_json::from_value(key.jwk()).unwrap();
        let mut validation = Validation::new(key.alg().parse().unwrap());
        validation.set_audience(&["api"]);
        decode::<Value>(&token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).unwrap();
    }
}
