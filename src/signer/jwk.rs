//! The public half of a signing key, as others look it up: a JWK, named by its thumbprint.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::KeyPair,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{Pair, Signer};
use crate::der::{Der, INTEGER, SEQUENCE};

/// A public key, to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicJwk {
    /// Its thumbprint (RFC 7638) with SHA-256.
    pub kid: String,
    /// With `kid`, `alg` and `use` (RFC 7517, section 4).
    pub jwk: Value,
}

impl Signer {
    /// The public half of the key; None: it only stands for one.
    pub fn public_jwk(&self) -> Option<PublicJwk> {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let members = match &*self.key {
            Pair::Rsa(pair) => {
                let mut numbers = Der(Der(pair.public_key().as_ref()).take(SEQUENCE)?);
                let (n, e) = (numbers.take(INTEGER)?, numbers.take(INTEGER)?);
                vec![("e", encoded(unsigned(e))), ("kty", "RSA".to_owned()), ("n", encoded(unsigned(n)))]
            }
            Pair::Ec(pair, algorithm) => {
                let [4, point @ ..] = pair.public_key().as_ref() else { return None };
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if *algorithm == "ES256" { "P-256" } else { "P-384" };
                vec![("crv", curve.to_owned()), ("kty", "EC".to_owned()), ("x", encoded(x)), ("y", encoded(y))]
            }
            Pair::Ed(pair) => {
                let x = encoded(pair.public_key().as_ref());
                vec![("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", x)]
            }
            Pair::StandIn => return None,
        };
        let kid = thumbprint(&members);
        let mut jwk: Map<String, Value> =
            members.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        for (name, value) in [("kid", kid.as_str()), ("alg", self.algorithm()), ("use", "sig")] {
            jwk.insert(name.to_owned(), json!(value));
        }
        Some(PublicJwk { kid, jwk: Value::Object(jwk) })
    }
}

/// RFC 7638, section 3: the members that are needed, in the order of their names. All values are base64url or names.
fn thumbprint(members: &[(&str, String)]) -> String {
    let members = members.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect::<Vec<_>>();
    URL_SAFE_NO_PAD.encode(digest(&SHA256, format!("{{{}}}", members.join(",")).as_bytes()))
}

/// A number of DER without the zero that keeps it positive (RFC 7518, section 2: Base64urlUInt).
fn unsigned(number: &[u8]) -> &[u8] {
    number.strip_prefix(&[0]).unwrap_or(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use rcgen::{KeyPair as Made, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};

    use super::*;
    use crate::token::secret::Secret;

    #[test]
    fn the_thumbprint_of_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let members = [("e", "AQAB".to_owned()), ("kty", "RSA".to_owned()), ("n", n.to_owned())];
        assert_eq!(thumbprint(&members), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    /// The thumbprint of RFC 8037, appendix A.3.
    #[test]
    fn the_thumbprint_of_rfc_8037() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let members = [("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", x.to_owned())];
        assert_eq!(thumbprint(&members), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn each_kind_of_key_is_published_without_its_private_half() {
        for (kind, members) in [
            (&PKCS_ECDSA_P256_SHA256, &["alg", "crv", "kid", "kty", "use", "x", "y"][..]),
            (&PKCS_ECDSA_P384_SHA384, &["alg", "crv", "kid", "kty", "use", "x", "y"]),
            (&PKCS_ED25519, &["alg", "crv", "kid", "kty", "use", "x"]),
            (&PKCS_RSA_SHA256, &["alg", "e", "kid", "kty", "n", "use"]),
        ] {
            let pem = Made::generate_for(kind).unwrap().serialize_pem();
            let signer = Signer::from_pem(&Secret::new(pem.into_bytes())).unwrap();
            let public = signer.public_jwk().unwrap();
            let names = public.jwk.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
            assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), members);
            assert_eq!(public.jwk["alg"], signer.algorithm());
            assert_eq!(public.jwk["kid"], json!(public.kid));
            for (name, length) in [("x", 32), ("y", 32), ("n", 256), ("e", 3)] {
                let Some(value) = public.jwk.get(name).filter(|_| signer.algorithm() != "ES384") else { continue };
                assert_eq!(URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap().len(), length, "{name}");
            }
            assert_eq!(signer.public_jwk(), Some(public));
        }
        assert_eq!(Signer::stand_in(&Secret::new(b"x".to_vec())).public_jwk(), None);
    }
}
