//! Certificates that vouch for an issuer's endpoints (`tls_ca`), besides the machine's own.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Certificates of authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExtraRoots(Vec<CertificateDer<'static>>);

impl ExtraRoots {
    /// All certificates of a PEM text.
    ///
    /// # Errors
    /// None in it, or one that can vouch for nobody; in words for the operator.
    pub fn parse(pem: &str) -> Result<ExtraRoots, &'static str> {
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|_| "a section that isn't PEM")?;
            RootCertStore::empty()
                .add(certificate.clone())
                .map_err(|_| "a certificate that can't be read as an authority's")?;
            certificates.push(certificate);
        }
        if certificates.is_empty() {
            return Err("no `BEGIN CERTIFICATE`");
        }
        Ok(ExtraRoots(certificates))
    }

    pub(in crate::token) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_and_nothing_else() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        assert_eq!(ExtraRoots::parse(&format!("a comment\n{pem}\n{pem}")).unwrap().certificates().len(), 2);
        let broken = pem.replacen("MII", "AAA", 1);
        for text in ["", "{}", &key, &pem[..60], &broken] {
            assert!(ExtraRoots::parse(text).is_err(), "{text}");
        }
    }
}
