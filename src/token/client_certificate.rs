//! The certificate that the gateway shows to an issuer (`introspection.certificate`; RFC 8705, section 2).

use std::{
    fmt,
    hash::{Hash, Hasher},
    path::PathBuf,
    sync::Arc,
};

use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::secret::Secret;
use crate::validity::first_end;

/// A certificate with its chain and its private key. The key doesn't print. Equal to another one of the same texts.
#[derive(Clone)]
pub struct ClientCertificate {
    /// Its file.
    path: PathBuf,
    certificate: String,
    key: Secret,
    ready: Arc<CertifiedKey>,
}

impl ClientCertificate {
    /// Reads both from PEM texts.
    ///
    /// # Errors
    /// No certificate, no key, or two that don't belong together; in words for the configuration's author, with nothing
    /// of the key.
    pub fn parse(path: PathBuf, certificate: String, key: Secret) -> Result<ClientCertificate, &'static str> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
        let chain = chain.map_err(|_| "the certificate's file isn't PEM")?;
        if chain.is_empty() {
            return Err("the certificate's file has no `BEGIN CERTIFICATE`");
        }
        let der =
            PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| "the key's file has no private key in PEM")?;
        let ready = CertifiedKey::from_der(chain, der, &default_provider())
            .map_err(|_| "the key isn't this certificate's, or is of a kind that isn't used here")?;
        Ok(ClientCertificate { path, certificate, key, ready: Arc::new(ready) })
    }

    /// Its file, as it is named to people, and when the first certificate in it ends, in Unix seconds.
    pub fn end(&self) -> Option<(String, i64)> {
        Some((self.path.display().to_string(), first_end(self.certificate.as_bytes())?))
    }

    /// Both, ready to prove who the gateway is.
    pub(in crate::token) fn ready(&self) -> &Arc<CertifiedKey> {
        &self.ready
    }
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate && self.key == other.key
    }
}

impl Eq for ClientCertificate {}

impl Hash for ClientCertificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.certificate.hash(state);
        self.key.hash(state);
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_key_must_be_its_certificates() {
        let made = || {
            let made = rcgen::generate_simple_self_signed(["gateway".to_owned()]).unwrap();
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
        let ((certificate, key), (other, other_key)) = (made(), made());
        let parse = |certificate: &str, key: &str| {
            ClientCertificate::parse("c.pem".into(), certificate.to_owned(), Secret::new(key.as_bytes().to_vec()))
        };
        let good = parse(&certificate, &key).unwrap();
        assert_eq!(good, parse(&certificate, &key).unwrap());
        assert_ne!(good, parse(&other, &other_key).unwrap());
        assert_eq!(format!("{good:?}"), "ClientCertificate(…)");
        for (certificate, key) in [
            (&*certificate, &*other_key),
            (&*certificate, ""),
            ("", &*key),
            (&*key, &*certificate),
            (&certificate[..60], &*key),
        ] {
            assert!(parse(certificate, key).is_err());
        }
    }
}
