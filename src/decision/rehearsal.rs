//! A decision played through: the same questions as `decide` asks, all of them, and no permit at the end.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Rules, as_written, judge};
use crate::{
    policy::{Access, RuleReport},
    refusal::Refusal,
    request::RequestView,
    snapshot::{Route, Snapshot},
    token::{
        self,
        issuer::Issuer,
        rehearsal::{Assumed, Rehearsed},
    },
};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Presented<'p> {
    /// Whoever the request's own credential is about, found and verified as live traffic's is.
    Sent {
        /// Whether keys may be fetched for it: by a call of their own, of which live traffic sees nothing.
        may_fetch: bool,
    },
    /// Whom these claims of an issuer would speak for, as if it had signed them (see `token::rehearsal::assume`). The
    /// request's own credential isn't looked at, and nothing is fetched.
    Assumed {
        /// One of the snapshot's.
        issuer: &'p Arc<Issuer>,
        /// The claims.
        claims: &'p Map<String, Value>,
    },
}

/// What `decide` would have said, and what every question came to.
#[derive(Debug)]
pub struct Rehearsal {
    /// A yes, with the no that it overrules where the route isn't enforced; or a no.
    pub outcome: Result<Option<Refusal>, Refusal>,
    /// Index of the route that matched.
    pub route: Option<usize>,
    /// What the token came to; None where none is asked for, or none was sent.
    pub token: Option<Rehearsed>,
    /// What the route's rules say, in the file's order; of a token that is no good: what they would say. Empty where
    /// there are none, or nobody to ask them about.
    pub rules: Vec<RuleReport>,
}

impl Rehearsal {
    /// One in which nobody was asked who they are.
    pub fn of(route: Option<usize>, outcome: Result<Option<Refusal>, Refusal>) -> Rehearsal {
        Rehearsal { outcome, route, token: None, rules: Vec::new() }
    }

    /// Whom the request speaks for: None where nobody was asked for, or where the token is no good.
    pub fn caller(&self) -> Option<&Assumed> {
        self.token.as_ref().filter(|token| token.outcome.is_ok())?.claimed.as_ref()
    }
}

/// Index of the route that a request leads to; its credential has no say in that.
pub fn route_of(snapshot: &Snapshot, view: &RequestView<'_>) -> Option<usize> {
    as_written(snapshot, view).map(|place| place.route).ok()
}

/// Plays a decision through as of `now`, in Unix seconds. Counts, limits and caches nothing.
pub async fn rehearse(snapshot: &Snapshot, view: &RequestView<'_>, presented: Presented<'_>, now: i64) -> Rehearsal {
    let place = match as_written(snapshot, view) {
        Ok(place) => place,
        Err(denial) => return Rehearsal::of(denial.route, Err(denial.refusal)),
    };
    let Some(route) = snapshot.routes.get(place.route) else { return Rehearsal::of(None, Err(Refusal::NoRoute)) };
    let (token, fault) = match authenticate(snapshot, route, view, presented, now).await {
        Ok(Some(token)) => {
            let fault = token.outcome.clone().err();
            (Some(token), fault)
        }
        Ok(None) => (None, None),
        Err(refusal) => (None, Some(refusal)),
    };
    let claimed = token.as_ref().and_then(|token| token.claimed.as_ref()).map(Assumed::principal);
    let rules = claimed.map_or_else(Vec::new, |principal| {
        let rules = Rules::of(snapshot, route, view, now);
        route.settings.allow.report(&rules.facts(&place, principal))
    });
    let caller = claimed.filter(|_| fault.is_none());
    let outcome = match fault {
        Some(fault) if route.settings.enforce => Err(fault),
        fault => judge(snapshot, route, view, &place, caller, now).map(|overruled| fault.or(overruled)),
    };
    Rehearsal { outcome, route: Some(place.route), token, rules }
}

/// As for live traffic, but that a token's steps are all asked.
async fn authenticate(
    snapshot: &Snapshot,
    route: &Route,
    view: &RequestView<'_>,
    presented: Presented<'_>,
    now: i64,
) -> Result<Option<Rehearsed>, Refusal> {
    let allow = &route.settings.allow;
    if matches!(allow, Access::Public) {
        return Ok(None);
    }
    match presented {
        Presented::Assumed { issuer, claims } => {
            Ok(Some(token::rehearsal::assume(claims, issuer, &route.issuers, &snapshot.revocations, now)))
        }
        Presented::Sent { may_fetch } => match route.settings.token_from.credential(view, snapshot.max_token_bytes) {
            Err(Refusal::NoCredential) if matches!(allow, Access::Optional) => Ok(None),
            Err(refusal) => Err(refusal),
            Ok(credential) => {
                let (issuers, revocations) = (&route.issuers, &snapshot.revocations);
                let mut token = token::rehearsal::verify(&credential, issuers, revocations, may_fetch, now).await;
                token.prove(&credential, issuers, &snapshot.proofs, view, now);
                Ok(Some(token))
            }
        },
    }
}
