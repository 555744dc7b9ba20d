//! `upstreams.*.tls`

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};

use super::Compiler;
use crate::{
    config::{file::UpstreamTls as Written, reader::At},
    upstream::{PemFile, UpstreamTls},
};

impl Compiler<'_> {
    /// `is_used`: whether one of the upstream's URLs is https.
    pub(super) fn upstream_tls(&mut self, written: Option<&Written>, is_used: bool) -> Option<UpstreamTls> {
        let Some(written) = written else { return Some(UpstreamTls::default()) };
        if !is_used {
            let finding = written.at.error("`tls` where no URL of the upstream begins with `https://`");
            self.findings.push(finding.hint("use https, or leave `tls` out"));
        }
        let authorities = match &written.ca {
            None => Some(None),
            Some(file) => self.certificates(file).map(|(file, _)| Some(file)),
        };
        let server_name = match &written.server_name {
            Some(name) if ServerName::try_from(name.value.as_str()).is_err() => {
                self.fail(name.error(format!("{} is not a name that a certificate can have", name.shown())))
            }
            name => Some(name.as_ref().map(|name| name.value.clone())),
        };
        let identity = match (&written.certificate, &written.key) {
            (None, None) => Some(None),
            (Some(certificate), Some(key)) => self.certified(certificate, key).map(Some),
            (Some(alone), None) => self.fail(alone.error("`certificate` without its `key`")),
            (None, Some(alone)) => self.fail(alone.error("`key` without its `certificate`")),
        };
        Some(UpstreamTls { authorities: authorities?, server_name: server_name?, identity: identity? })
    }

    fn certificates(&mut self, written: &At<String>) -> Option<(PemFile, Vec<CertificateDer<'static>>)> {
        let (path, text) = self.key_file(written)?;
        let found = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap_or_default();
        if found.is_empty() {
            return self.fail(written.error(format!("{}: no `BEGIN CERTIFICATE` that can be read", written.shown())));
        }
        Some((PemFile { path, text }, found))
    }

    fn certified(&mut self, certificate: &At<String>, key: &At<String>) -> Option<(PemFile, PemFile)> {
        let certificates = self.certificates(certificate);
        let (path, text) = self.key_file(key)?;
        let Ok(der) = PrivateKeyDer::from_pem_slice(text.as_bytes()) else {
            return self.fail(key.error(format!("{}: no private key in PEM in it", key.shown())));
        };
        let Ok(signing) = any_supported_type(&der) else {
            return self.fail(key.error(format!("{}: not a private key that can be used here", key.shown())));
        };
        let (file, chain) = certificates?;
        if CertifiedKey::new(chain, signing).keys_match().is_err() {
            let message = format!("{} is not the key of the certificate {}", key.shown(), certificate.shown());
            return self.fail(key.error(message));
        }
        Some((file, PemFile { path, text }))
    }
}
