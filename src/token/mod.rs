//! The only door in: from a credential to a verified principal.

pub mod cache;
mod check;
pub mod claims;
pub mod client_certificate;
pub mod credential;
mod date;
mod discovery;
pub mod extra_roots;
mod fetches;
pub mod introspection;
pub mod issuer;
pub mod json;
pub mod jwks;
mod jwt;
mod kept_keys;
mod key_server;
mod key_set;
pub mod kind;
pub mod notice;
mod opaque;
pub mod pattern;
mod pem;
pub mod place;
pub mod principal;
pub mod proof;
pub mod rehearsal;
pub mod revocation;
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
    request::RequestView,
    trace::{Kind, Span},
};

use self::{
    cache::{TokenCache, TokenName},
    credential::Credential,
    issuer::Issuer,
    jwt::Jwt,
    opaque::Refused,
    principal::Principal,
    proof::Proofs,
    revocation::Revocations,
    trial::{End, Fetch, Fetched, Trial},
};

/// For whom something is asked over the network: what a shadow asks takes nothing away from the requests that are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::token) enum Asking {
    /// A request that waits for it.
    #[default]
    InForce,
    /// A decision beside the one in force.
    Beside,
}

/// Whether a verification was spared, as its span says it: `hit`, `wait` or `miss`.
const CACHE: &str = "bearward.token_cache";

/// Verifies a credential against the issuers that a route takes, in the file's order, or finds that this was done; asks
/// in any case whether the token has been ended since, and whether the request comes from whom it is bound to. It is told
/// as a step of the request.
///
/// # Errors
/// `Refusal::Token` where it is no good, `Refusal::Proof` where it is somebody else's, `Refusal::KeysUnavailable` or `Refusal::IntrospectionUnavailable` where that
/// can't be said now. The second part of the error names the issuer that the token was put to, if it got that far.
pub async fn verify(
    credential: &Credential,
    issuers: &[Arc<Issuer>],
    cache: &Arc<TokenCache>,
    revocations: &Revocations,
    proofs: &Proofs,
    view: &RequestView<'_>,
) -> Result<Arc<Principal>, (Refusal, Option<Arc<str>>)> {
    let mut span = view.span.child("verify token", Kind::Internal);
    let result = verify_at(credential, issuers, cache, revocations, now(), &mut span).await;
    let result =
        result.and_then(|principal| match proof::check(&principal, credential, issuers, proofs, view, now()) {
            Ok(()) => Ok(principal),
            Err(fault) => Err((Refusal::Proof(fault), Some(principal.issuer().clone()))),
        });
    match &result {
        Ok(principal) => {
            span.set("bearward.issuer", principal.issuer());
            span.set("bearward.result", "ok");
        }
        Err((refusal, issuer)) => {
            span.set_some("bearward.issuer", issuer.as_ref());
            span.set("bearward.result", refusal.reason());
            if refusal.status().is_server_error() {
                span.failed(refusal.reason());
            }
        }
    }
    result
}

async fn verify_at(
    credential: &Credential,
    issuers: &[Arc<Issuer>],
    cache: &Arc<TokenCache>,
    revocations: &Revocations,
    now: i64,
    span: &mut Span,
) -> Result<Arc<Principal>, Refused> {
    let principal = verdict(credential, issuers, cache, revocations, now, span).await?;
    // Last, whatever the answer took and wherever it came from.
    match revocations.has_ended(&principal, now) {
        true => Err((Refusal::Token(TokenFault::Revoked), Some(principal.issuer().clone()))),
        false => Ok(principal),
    }
}

async fn verdict(
    credential: &Credential,
    issuers: &[Arc<Issuer>],
    cache: &Arc<TokenCache>,
    revocations: &Revocations,
    now: i64,
    span: &mut Span,
) -> Result<Arc<Principal>, Refused> {
    let name = cache.name(credential);
    let kept = cache.kept(&name);
    if let Some(principal) = cache.find(&name, issuers, now) {
        span.set(CACHE, "hit");
        return Ok(principal);
    }
    // In a box: requests whose token is known have no room for it.
    Box::pin(judge(credential, issuers, cache, (name, kept), revocations, now, span)).await
}

/// Judges a token that isn't in the cache. `kept`: what that said of it (`TokenCache::kept`) before it was looked for.
async fn judge(
    credential: &Credential,
    issuers: &[Arc<Issuer>],
    cache: &Arc<TokenCache>,
    (name, kept): (TokenName, u64),
    revocations: &Revocations,
    now: i64,
    span: &mut Span,
) -> Result<Arc<Principal>, Refused> {
    let malformed = |span: &mut Span| {
        cache.missed();
        span.set(CACHE, "miss");
        Err((Refusal::Token(TokenFault::Malformed), None))
    };
    let parsed = Jwt::parse(credential.expose());
    // What is read so strictly is one; anything else is looked at generously.
    if !parsed.as_ref().is_ok_and(|jwt| jwt.algorithm().is_some()) && !jwt::is_one(credential.expose()) {
        let candidates = opaque::candidates(issuers, credential);
        return match candidates.is_empty() {
            true => malformed(span),
            false => opaque::ask(credential, &candidates, name, cache, span).await,
        };
    }
    let Ok(jwt) = parsed else { return malformed(span) };
    if let Some(issuer) = opaque::asked_about(&jwt, issuers) {
        return opaque::ask(credential, &[issuer], name, cache, span).await;
    }
    let began = Instant::now();
    let mut fetched = Fetched::default();
    let trial = Trial {
        credential,
        jwt: &jwt,
        issuers,
        cache,
        name,
        looked_after: Some(kept),
        revocations,
        fetch: Fetch::Shared(cache.asking()),
        now,
        span: span.as_parent(),
    };
    let (issuer, result) = match trial.judge(&mut fetched).await {
        End::Found(principal) => {
            span.set(CACHE, "hit");
            return Ok(principal);
        }
        End::Judged(issuer, result) => (Some(issuer), result),
        End::NotSigned(issuer, refusal) => {
            let candidates = opaque::candidates(issuers, credential);
            if opaque::may_be_one(&jwt, &refusal) && !candidates.is_empty() {
                return opaque::ask(credential, &candidates, name, cache, span).await;
            }
            (issuer, Err(refusal))
        }
    };
    cache.missed();
    span.set(CACHE, "miss");
    if let (Some(issuer), Asking::InForce) = (issuer, cache.asking()) {
        Verified {
            algorithm: jwt.algorithm().map_or("", |algorithm| algorithm.name()),
            result: result.as_ref().map_or_else(Refusal::reason, |_| "ok"),
            took: began.elapsed().saturating_sub(fetched.waited),
        }
        .record(&issuer.metrics);
    }
    result.map_err(|refusal| (refusal, issuer.map(|issuer| issuer.settings.name.clone())))
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
mod second_opinion_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
