//! The only door in: from a credential to a verified principal.

pub mod claims;
pub mod credential;
pub mod issuer;
pub mod json;
pub mod jwks;
pub mod jwt;
pub mod principal;

use std::sync::Arc;

use crate::refusal::Refusal;

use self::{credential::Credential, issuer::Issuer, principal::Principal};

/// Verifies a credential against the issuers that a route takes, in the file's order.
///
/// # Errors
/// `Refusal::Token` where it is no good, `Refusal::KeysUnavailable` where that can't be said now.
/// The second part of the error names the issuer that the token was put to, if it got that far.
pub async fn verify(
    _credential: &Credential,
    _issuers: &[Arc<Issuer>],
) -> Result<Arc<Principal>, (Refusal, Option<Arc<str>>)> {
    todo!()
}
