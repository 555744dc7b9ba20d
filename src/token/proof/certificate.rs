//! The certificate that a request comes with: of its connection, or as a trusted proxy tells (RFC 9440).

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hyper::{HeaderMap, header::HeaderName};

use super::Thumbprint;
use crate::{refusal::ProofFault, request::RequestView};

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
/// RFC 8941, section 4.2.7: padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether the request comes with this certificate.
///
/// # Errors
/// With none, or with another one.
pub(super) fn check(bound: Thumbprint, view: &RequestView<'_>) -> Result<(), ProofFault> {
    match shown(view)? {
        Some(shown) if shown == bound => Ok(()),
        Some(_) => Err(ProofFault::OtherCertificate),
        None => Err(ProofFault::NoCertificate),
    }
}

/// The one that a trusted proxy tells of, which is then its client's; else the connection's own.
///
/// # Errors
/// What the proxy tells isn't clear.
pub(in crate::token) fn shown(view: &RequestView<'_>) -> Result<Option<Thumbprint>, ProofFault> {
    match view.trusted_peer && view.headers.contains_key(CLIENT_CERT) {
        true => told(view.headers).map(Some).ok_or(ProofFault::UnclearCertificate),
        false => Ok(view.certificate),
    }
}

/// RFC 9440, section 2.2: one byte sequence, without parameters.
fn told(headers: &HeaderMap) -> Option<Thumbprint> {
    let mut lines = headers.get_all(CLIENT_CERT).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?;
    let text = line.as_bytes().trim_ascii().strip_prefix(b":")?.strip_suffix(b":")?;
    let certificate = BASE64.decode(text).ok().filter(|certificate| !certificate.is_empty())?;
    Some(Thumbprint::of(&certificate))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&[u8]]) -> Option<Thumbprint> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CLIENT_CERT, HeaderValue::from_bytes(line).unwrap());
        }
        told(&headers)
    }

    /// RFC 9440, appendix A: the example's certificate, and its SHA-256 by openssl.
    #[test]
    fn the_example_of_the_rfc() {
        let text: &str = concat!(
            ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEl",
            "udGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQY",
            "IKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo",
            "9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAw",
            "wCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4",
            "/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:",
        );
        assert_eq!(read(&[text.as_bytes()]).unwrap().to_string(), "v68ffgcPn6jdYpBfFY2nP4ShE2Yk-6_Mk5PI9yh6aes");
    }

    #[test]
    fn only_one_byte_sequence_is_clear() {
        let abc = Some(Thumbprint::of(b"abc"));
        for line in [&b":YWJj:"[..], b" :YWJj: ", b"\t:YWJj:"] {
            assert_eq!(read(&[line]), abc, "{}", line.escape_ascii());
        }
        assert_eq!(read(&[b":YWJjZA==:"]), read(&[b":YWJjZA:"]));
        for lines in [
            &[&b""[..]][..],
            &[b"::"],
            &[b":"],
            &[b"YWJj"],
            &[b":YWJj"],
            &[b"YWJj:"],
            &[b"\"YWJj\""],
            &[b":YW Jj:"],
            &[b":YW%4Aj:"],
            &[b":YWJj:;a=1"],
            &[b":YWJj:, :YWJj:"],
            &[b":YWJj:", b":YWJj:"],
            &[b":YWJj:", b""],
            &[b":YWJ_:"],
            &[b"-----BEGIN CERTIFICATE-----"],
            &[b":\xff:"],
        ] {
            assert_eq!(read(lines), None, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(line in proptest::collection::vec((0x20u8..=0xff).prop_filter("DEL", |b| *b != 0x7f), 0..60)) {
            let _ = read(&[&line]);
        }
    }
}
