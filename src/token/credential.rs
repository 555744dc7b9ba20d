//! Exactly one credential out of a request, or a reason.

use hyper::HeaderMap;

use crate::refusal::Refusal;

/// A bearer token as it was presented. Doesn't print.
pub struct Credential(String);

/// The first 12 hex digits of a token's SHA-256: how logs name it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 6]);

impl Credential {
    /// The credential of a request: `Authorization: Bearer` with the scheme in any case (RFC 6750, section 2.1).
    /// `max_token_bytes` from `server.max_token_bytes`.
    ///
    /// # Errors
    /// `NoCredential` (none, or another scheme), `Credential` (two, malformed), `Token(TooLong)`.
    pub fn from_headers(_headers: &HeaderMap, _max_token_bytes: usize) -> Result<Credential, Refusal> {
        todo!()
    }

    /// The token's text: for verification and for the upstream's `Authorization`, nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// How logs name it.
    pub fn fingerprint(&self) -> Fingerprint {
        todo!()
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}
