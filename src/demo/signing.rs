//! Keys that sign with RS256, as these systems do.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::der::{Der, INTEGER, SEQUENCE};

/// A key pair, new in each run.
pub(super) struct SigningKey {
    pair: RsaKeyPair,
    random: SystemRandom,
}

impl SigningKey {
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn generate() -> Result<SigningKey, String> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| "a key can't be generated".to_owned())?;
        Ok(SigningKey { pair, random: SystemRandom::new() })
    }

    /// A JWT of these two JSON texts (RFC 7515, section 7.1). None: the system has no random numbers.
    pub(super) fn jwt(&self, header: &str, claims: &str) -> Option<String> {
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let input = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &self.random, input.as_bytes(), &mut signature).ok()?;
        Some(format!("{input}.{}", encode(&signature)))
    }

    /// Whether it signed this.
    pub(super) fn signed(&self, message: &str, signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref());
        key.verify(message.as_bytes(), signature).is_ok()
    }

    /// The public key for a key set (RFC 7517), with or without a name.
    pub(super) fn jwk(&self, kid: Option<&str>) -> Value {
        // RFC 8017, appendix A.1.1; a number that would look negative has a zero before it.
        let mut numbers = Der(Der(self.pair.public_key().as_ref()).take(SEQUENCE).unwrap_or_default());
        let mut number = || {
            let octets = numbers.take(INTEGER).unwrap_or_default();
            BASE64_URL_SAFE_NO_PAD.encode(octets.strip_prefix(&[0]).unwrap_or(octets))
        };
        let mut jwk = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "n": number(), "e": number()});
        if let (Some(kid), Some(members)) = (kid, jwk.as_object_mut()) {
            members.insert("kid".to_owned(), kid.into());
        }
        jwk
    }

    /// The public key as PEM (RFC 7468, section 13). None: it can't be encoded.
    pub(super) fn public_pem(&self) -> Option<String> {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().ok()?;
        Some(pem("PUBLIC KEY", der.as_ref()))
    }

    /// The private key as PEM (RFC 7468, section 10). None: it can't be encoded.
    pub(super) fn private_pem(&self) -> Option<String> {
        let der: Pkcs8V1Der<'_> = self.pair.as_der().ok()?;
        Some(pem("PRIVATE KEY", der.as_ref()))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while let Some((line, more)) = rest.split_at_checked(64) {
        lines.extend([line, "\n"]);
        rest = more;
    }
    if !rest.is_empty() {
        lines.extend([rest, "\n"]);
    }
    lines + &format!("-----END {label}-----\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, jwk::Jwk};

    use super::*;

    #[test]
    fn others_verify_with_what_is_published() {
        let key = SigningKey::generate().unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        let token = key.jwt(r#"{"typ":"JWT","alg":"RS256"}"#, r#"{"a":1}"#).unwrap();
        let jwk: Jwk = serde_json::from_value(key.jwk(Some("k"))).unwrap();
        assert_eq!(jwk.common.key_id.as_deref(), Some("k"));
        let public = DecodingKey::from_rsa_pem(key.public_pem().unwrap().as_bytes()).unwrap();
        for decoding in [DecodingKey::from_jwk(&jwk).unwrap(), public] {
            assert_eq!(decode::<Value>(&token, &decoding, &validation).unwrap().claims, json!({"a": 1}));
        }

        let private = EncodingKey::from_rsa_pem(key.private_pem().unwrap().as_bytes()).unwrap();
        let token = encode(&Header::new(Algorithm::RS256), &json!({}), &private).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(key.signed(message, &signature) && !key.signed("other", &signature));
    }
}
