//! A SHA-256 that names a certificate (RFC 8705, section 3.1) or a key (RFC 7638).

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// The SHA-256 of what is no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Thumbprint {
        let mut thumbprint = [0; 32];
        let hash = digest::digest(&digest::SHA256, bytes);
        thumbprint.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        Thumbprint(thumbprint)
    }

    /// As `cnf` writes it: base64url without padding.
    pub(in crate::token) fn parse(text: &str) -> Option<Thumbprint> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Thumbprint)
    }

    pub(in crate::token) fn of_bytes(bytes: [u8; 32]) -> Thumbprint {
        Thumbprint(bytes)
    }

    pub(in crate::token) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}
