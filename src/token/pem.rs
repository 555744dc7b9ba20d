//! Public keys in PEM files (RFC 7468, sections 5 and 13), also out of certificates, as entries of a JWKS: what makes a
//! good key is said at one place, in `key_set`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::pem::{PemObject, SectionKind};
use serde_json::{Value, json};

use crate::der::{Der, INTEGER, SEQUENCE};

const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// RFC 8017, appendix A.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// RFC 5480, section 2.1.1.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// RFC 8410, section 3.
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

const NOT_DER: &str = "a section that isn't a public key or certificate in DER";
const OTHER_KIND: &str = "a key of a kind that isn't used here (RSA, P-256, P-384 and Ed25519 are)";

/// The keys of a file's text. A certificate is taken for its key alone: its dates and its signature say nothing.
///
/// # Errors
/// No key, a private key, one of an unknown kind: in words for the operator, with nothing of the text.
pub(in crate::token) fn read(text: &str) -> Result<Vec<Value>, &'static str> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (kind, der) = section.map_err(|_| "a section that isn't PEM")?;
        keys.push(match kind {
            SectionKind::PublicKey => public_key(&der)?,
            SectionKind::Certificate => public_key(key_of_certificate(&der).ok_or(NOT_DER)?)?,
            SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey => {
                return Err("a private key; verifying needs the public one alone");
            }
            _ => return Err("a section that is neither a public key nor a certificate"),
        });
    }
    if keys.is_empty() {
        return Err("no `BEGIN PUBLIC KEY` and no `BEGIN CERTIFICATE`");
    }
    Ok(keys)
}

/// RFC 5280, section 4.1: the SubjectPublicKeyInfo.
fn key_of_certificate(der: &[u8]) -> Option<&[u8]> {
    let mut fields = Der::in_certificate(der)?;
    for _signature_issuer_validity_subject in 0..4 {
        fields.take(SEQUENCE)?;
    }
    Some(fields.0)
}

/// A SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) as a JWK; what follows it isn't looked at.
fn public_key(der: &[u8]) -> Result<Value, &'static str> {
    let mut info = Der(Der(der).take(SEQUENCE).ok_or(NOT_DER)?);
    let mut algorithm = Der(info.take(SEQUENCE).ok_or(NOT_DER)?);
    let Some([0, key @ ..]) = info.take(BIT_STRING) else { return Err(NOT_DER) };
    let kind = algorithm.take(OBJECT_IDENTIFIER).ok_or(NOT_DER)?;
    match kind {
        kind if kind == RSA => rsa(key).ok_or(NOT_DER),
        kind if kind == EC => match algorithm.take(OBJECT_IDENTIFIER) {
            Some(curve) if curve == P256 => point("P-256", key),
            Some(curve) if curve == P384 => point("P-384", key),
            _ => Err(OTHER_KIND),
        },
        kind if kind == ED25519 => Ok(json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(key)})),
        _ => Err(OTHER_KIND),
    }
}

fn rsa(key: &[u8]) -> Option<Value> {
    let mut numbers = Der(Der(key).take(SEQUENCE)?);
    let (n, e) = (numbers.take(INTEGER)?, numbers.take(INTEGER)?);
    Some(json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e)}))
}

/// SEC 1, section 2.3.3, uncompressed.
fn point(curve: &str, key: &[u8]) -> Result<Value, &'static str> {
    let [4, coordinates @ ..] = key else { return Err("a compressed point") };
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    Ok(json!({"kty": "EC", "crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)}))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    /// RFC 8410, section 10.1.
    const ED: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn keys_and_certificates_say_the_same() {
        for (algorithm, curve) in
            [(&PKCS_ECDSA_P256_SHA256, "P-256"), (&PKCS_ECDSA_P384_SHA384, "P-384"), (&PKCS_ED25519, "Ed25519")]
        {
            let pair = KeyPair::generate_for(algorithm).unwrap();
            let certificate = CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&pair).unwrap();
            let keys = read(&pair.public_key_pem()).unwrap();
            assert_eq!(keys[0]["crv"], curve);
            assert_eq!(read(&certificate.pem()).unwrap(), keys);
            let both = format!("a comment\n{}\n{}", certificate.pem(), pair.public_key_pem());
            assert_eq!(read(&both).unwrap().len(), 2);
            assert!(read(&pair.serialize_pem()).unwrap_err().contains("private"));
        }
        assert_eq!(read(ED).unwrap()[0]["x"], "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
    }

    #[test]
    fn what_is_no_key() {
        let pem = |der: &[u8]| {
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
        };
        for text in ["", "{}", "-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n", &pem(&[])] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&ED[..60]).is_err());
        let x25519 = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 3, 0x21, 0][..], &[1; 32]].concat();
        assert_eq!(read(&pem(&x25519)).unwrap_err(), OTHER_KIND);
    }

    proptest! {
        #[test]
        fn never_panics(der in proptest::collection::vec(any::<u8>(), 0..80), flip in 0usize..44 * 8) {
            let _ = public_key(&der);
            let _ = key_of_certificate(&der);
            let mut key = <(SectionKind, Vec<u8>)>::from_pem_slice(ED.as_bytes()).unwrap().1;
            key[flip / 8] ^= 1 << (flip % 8);
            let _ = public_key(&key);
        }
    }
}
