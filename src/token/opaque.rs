//! A token that only its issuer can judge, put to those that may have issued it.

use std::sync::Arc;

use super::{
    CACHE,
    cache::{TokenCache, TokenName},
    credential::Credential,
    introspection::{Said, Source},
    issuer::Issuer,
    jwt::Jwt,
    principal::Principal,
};
use crate::{
    refusal::{Refusal, TokenFault},
    trace::{Kind, Span},
};

/// Why a token isn't let in, and the issuer that it was put to.
pub(in crate::token) type Refused = (Refusal, Option<Arc<str>>);

/// Those of a route's issuers that may have issued this opaque token.
pub(in crate::token) fn candidates<'i>(issuers: &'i [Arc<Issuer>], credential: &Credential) -> Vec<&'i Arc<Issuer>> {
    let fits = |issuer: &&Arc<Issuer>| {
        issuer.introspector.as_ref().is_some_and(|introspector| introspector.fits(credential.expose()))
    };
    issuers.iter().filter(fits).collect()
}

/// The issuer that a JWT names, if that is asked about its JWTs too.
pub(in crate::token) fn asked_about<'i>(jwt: &Jwt<'_>, issuers: &'i [Arc<Issuer>]) -> Option<&'i Arc<Issuer>> {
    let named = jwt.issuer()?;
    issuers.iter().find(|issuer| !issuer.settings.takes_jwts && issuer.settings.issuer.as_deref() == Some(named))
}

/// Whether a JWT that nobody is known to have signed may be somebody's opaque token: it names nobody either.
pub(in crate::token) fn may_be_one(jwt: &Jwt<'_>, refusal: &Refusal) -> bool {
    jwt.issuer().is_none() && matches!(refusal, Refusal::Token(_))
}

/// Asks these issuers one after the other until one says that the token is its own; that is final. `name` is the
/// token's in `cache`, `span` its verification.
///
/// # Errors
/// `Refusal::Token`, or `Refusal::IntrospectionUnavailable` where none says yes and one of them couldn't be asked.
pub(in crate::token) async fn ask(
    credential: &Credential,
    issuers: &[&Arc<Issuer>],
    name: TokenName,
    cache: &Arc<TokenCache>,
    span: &mut Span,
) -> Result<Arc<Principal>, Refused> {
    let mut furthest = Source::Memory;
    let mut unavailable = None;
    let mut asked = Vec::new();
    let mut judged = None;
    for issuer in issuers {
        let Some(introspector) = &issuer.introspector else { continue };
        let question = span.child("introspect", Kind::Client);
        let (said, source) = introspector.ask(issuer, credential, name, cache).await;
        tell(question, issuer, &said, source);
        furthest = furthest.max(source);
        let own_name = || Some(issuer.settings.name.clone());
        match said {
            Said::Good(principal) => judged = Some(Ok(principal)),
            Said::Bad(fault) => judged = Some(Err((Refusal::Token(fault), own_name()))),
            Said::Inactive => asked.extend(own_name()),
            Said::Unavailable { retry_after } => {
                unavailable.get_or_insert_with(|| (Refusal::IntrospectionUnavailable { retry_after }, own_name()));
            }
        }
        if judged.is_some() {
            break;
        }
    }
    cache.told_by(furthest);
    span.set(
        CACHE,
        match furthest {
            Source::Memory => "hit",
            Source::Wait => "wait",
            Source::Question => "miss",
        },
    );
    let nobodys = || {
        let only = asked.first().filter(|_| asked.len() == 1);
        (Refusal::Token(TokenFault::Inactive), only.cloned())
    };
    judged.unwrap_or_else(|| Err(unavailable.unwrap_or_else(nobodys)))
}

/// What was remembered was no question.
fn tell(mut question: Span, issuer: &Issuer, said: &Said, source: Source) {
    if source == Source::Memory {
        return question.forget();
    }
    question.set("bearward.issuer", &issuer.settings.name);
    question.set("bearward.shared", source == Source::Wait);
    let result = match said {
        Said::Good(_) => "ok",
        Said::Bad(fault) => fault.reason(),
        Said::Inactive => "inactive",
        Said::Unavailable { .. } => return question.failed("introspection_unavailable"),
    };
    question.set("bearward.result", result);
}
