//! The only door in: from a credential to a verified principal.

pub mod cache;
mod check;
pub mod claims;
pub mod credential;
mod discovery;
pub mod extra_roots;
pub mod issuer;
pub mod json;
pub mod jwks;
mod jwt;
mod kept_keys;
mod key_server;
mod key_set;
pub mod kind;
mod pem;
pub mod place;
pub mod principal;
pub mod rehearsal;
mod roca;
pub mod secret;
mod trial;

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    observe::Verified,
    refusal::{Refusal, TokenFault},
};

use self::{
    cache::TokenCache,
    credential::Credential,
    issuer::Issuer,
    jwt::Jwt,
    principal::Principal,
    trial::{End, Fetch, Fetched, Trial},
};

/// Verifies a credential against the issuers that a route takes, in the file's order, or finds that this was done.
///
/// # Errors
/// `Refusal::Token` where it is no good, `Refusal::KeysUnavailable` where that can't be said now.
/// The second part of the error names the issuer that the token was put to, if it got that far.
pub async fn verify(
    credential: &Credential,
    issuers: &[Arc<Issuer>],
    cache: &TokenCache,
) -> Result<Arc<Principal>, (Refusal, Option<Arc<str>>)> {
    verify_at(credential, issuers, cache, now()).await
}

async fn verify_at(
    credential: &Credential,
    issuers: &[Arc<Issuer>],
    cache: &TokenCache,
    now: i64,
) -> Result<Arc<Principal>, (Refusal, Option<Arc<str>>)> {
    let name = cache.name(credential);
    if let Some(principal) = cache.find(&name, issuers, now) {
        return Ok(principal);
    }
    let Ok(jwt) = Jwt::parse(credential.expose()) else {
        cache.missed();
        return Err((Refusal::Token(TokenFault::Malformed), None));
    };
    let began = Instant::now();
    let mut fetched = Fetched::default();
    let trial = Trial { credential, jwt: &jwt, issuers, cache, name, fetch: Fetch::Shared, now };
    match trial.judge(&mut fetched).await {
        End::Found(principal) => Ok(principal),
        End::Nobodys(fault) => {
            cache.missed();
            Err((Refusal::Token(fault), None))
        }
        End::Judged(issuer, result) => {
            cache.missed();
            Verified {
                algorithm: jwt.algorithm().map_or("", |algorithm| algorithm.name()),
                result: result.as_ref().map_or_else(Refusal::reason, |_| "ok"),
                took: began.elapsed().saturating_sub(fetched.waited),
            }
            .record(&issuer.metrics);
            result.map_err(|refusal| (refusal, Some(issuer.settings.name.clone())))
        }
    }
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
