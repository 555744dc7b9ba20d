//! The only door in: from a credential to a verified principal.

mod check;
pub mod claims;
pub mod credential;
mod discovery;
pub mod issuer;
pub mod json;
pub mod jwks;
mod jwt;
mod key_set;
pub mod principal;
mod roca;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    observe::Verified,
    refusal::{Refusal, TokenFault},
};

use self::{
    check::{Check, Step},
    credential::Credential,
    issuer::Issuer,
    jwks::Unavailable,
    jwt::Jwt,
    principal::Principal,
};

/// Verifies a credential against the issuers that a route takes, in the file's order.
///
/// # Errors
/// `Refusal::Token` where it is no good, `Refusal::KeysUnavailable` where that can't be said now.
/// The second part of the error names the issuer that the token was put to, if it got that far.
pub async fn verify(
    credential: &Credential,
    issuers: &[Arc<Issuer>],
) -> Result<Arc<Principal>, (Refusal, Option<Arc<str>>)> {
    verify_at(credential, issuers, now()).await
}

async fn verify_at(
    credential: &Credential,
    issuers: &[Arc<Issuer>],
    now: i64,
) -> Result<Arc<Principal>, (Refusal, Option<Arc<str>>)> {
    let began = Instant::now();
    let jwt = Jwt::parse(credential.expose()).map_err(|_| (Refusal::Token(TokenFault::Malformed), None))?;
    let mut check = Check::new(&jwt, issuers, now);
    let before_keys = refused(check.first_fault(&Step::BEFORE_KEYS));
    let Some(issuer) = check.issuer() else {
        return Err((before_keys.err().unwrap_or(Refusal::Token(TokenFault::Issuer)), None));
    };
    let mut waited = Duration::ZERO;
    let result = match before_keys {
        Ok(()) => judge(&mut check, issuer, &mut waited).await,
        Err(refusal) => Err(refusal),
    };
    Verified {
        algorithm: jwt.algorithm().map_or("", |algorithm| algorithm.name()),
        result: result.as_ref().map_or_else(Refusal::reason, |()| "ok"),
        took: began.elapsed().saturating_sub(waited),
    }
    .record(&issuer.metrics);
    result.map_err(|refusal| (refusal, Some(issuer.settings.name.clone())))?;
    let expires_at = check.expires_at();
    let places = &issuer.settings.claims;
    Ok(Arc::new(Principal {
        issuer: issuer.settings.name.clone(),
        subject: places.subject(jwt.claims()),
        client: places.client(jwt.claims()),
        scopes: places.scopes(jwt.claims()),
        roles: places.roles(jwt.claims()),
        expires_at,
        fingerprint: credential.fingerprint(),
        claims: jwt.into_claims(),
    }))
}

/// Key, signature and claims. Where a key might be found by a fetch, the claims come first, too: they may spare it.
async fn judge(check: &mut Check<'_>, issuer: &Issuer, waited: &mut Duration) -> Result<(), Refusal> {
    check.use_keys(issuer.keys.at_hand());
    let fault = check.first_fault(&Step::SIGNATURE);
    if fault.is_none() || check.is_kid_known() || !issuer.keys.is_remote() {
        refused(fault)?;
        return refused(check.first_fault(&Step::CLAIMS));
    }
    refused(check.first_fault(&Step::CLAIMS))?;
    let began = tokio::time::Instant::now();
    let fetched = issuer.keys.after_fetch().await;
    *waited = began.elapsed();
    let keys = fetched.map_err(|Unavailable { retry_after }| Refusal::KeysUnavailable { retry_after })?;
    check.use_keys(Some(keys));
    check.pass(*waited);
    refused(check.first_fault(&Step::SIGNATURE))?;
    refused(check.first_fault(&Step::CLAIMS))
}

fn refused(fault: Option<TokenFault>) -> Result<(), Refusal> {
    fault.map_or(Ok(()), |fault| Err(Refusal::Token(fault)))
}

/// Unix seconds. A clock before 1970 is broken: every token has then expired.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
