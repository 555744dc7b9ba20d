//! Every call of our own: https only, no redirects, bounded in size and time, never link-local.

use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;

/// What came back, status 200.
#[derive(Debug)]
pub struct Fetched {
    /// The fields of the answer.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

/// What may be called and how long it may take.
#[derive(Clone, Debug)]
pub struct FetchRules {
    /// The whole call.
    pub timeout: Duration,
    /// Plain http off loopback.
    pub allow_http: bool,
    /// Bytes of the answer's body.
    pub max_body_bytes: usize,
}

/// Why there is no answer. Prints what an operator needs; never a body or a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError(pub String);

/// GETs a JSON document.
///
/// # Errors
/// Any answer but a 200, any redirect, and all that `FetchRules` forbid.
pub async fn get_json(_url: &str, _rules: &FetchRules) -> Result<Fetched, FetchError> {
    todo!()
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
