//! Verification as an ordered list of steps: live traffic stops at the first fault, in the order in which faults are
//! named.

use std::{cell::OnceCell, slice, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use super::{
    credential::Fingerprint,
    date::Round,
    issuer::{Audiences, Issuer},
    jwt::Jwt,
    key_set::{KeyId, KeySet, Verifier},
    principal::Principal,
    proof::Binding,
    revocation::{Revocations, TokenId},
};
use crate::refusal::TokenFault;

/// All that a step may ask.
pub(in crate::token) struct Check<'c> {
    jwt: &'c Jwt<'c>,
    /// Whose settings the header is held against: the issuer of the token, or all of the route where it is nobody's.
    considered: &'c [Arc<Issuer>],
    issuer: Option<&'c Arc<Issuer>>,
    /// The issuer's, once they have been looked for.
    keys: Option<Arc<KeySet>>,
    /// Which of them has signed it, once that was asked.
    signer: OnceCell<Option<KeyId>>,
    revocations: Option<&'c Revocations>,
    /// Unix seconds.
    now: i64,
}

/// One thing that is asked of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Step {
    /// Of its form, what is left when it was taken apart.
    Dates,
    Algorithm,
    Type,
    Critical,
    Issuer,
    Key,
    Signature,
    Expiry,
    NotBefore,
    IssuedAt,
    Audience,
    RequiredClaims,
    Revocation,
    Binding,
}

impl Step {
    /// Every one, in the order in which faults are named.
    pub(in crate::token) const ALL: [Step; 14] = [
        Step::Dates,
        Step::Algorithm,
        Step::Type,
        Step::Critical,
        Step::Issuer,
        Step::Key,
        Step::Signature,
        Step::Expiry,
        Step::NotBefore,
        Step::IssuedAt,
        Step::Audience,
        Step::RequiredClaims,
        Step::Revocation,
        Step::Binding,
    ];
    /// What is asked before keys are looked for.
    pub(in crate::token) const BEFORE_KEYS: [Step; 5] =
        [Step::Dates, Step::Algorithm, Step::Type, Step::Critical, Step::Issuer];
    /// What is asked of the keys at hand, or of those after a fetch.
    pub(in crate::token) const SIGNATURE: [Step; 2] = [Step::Key, Step::Signature];
    /// What is asked once the signature is known to be good, or before keys are fetched.
    pub(in crate::token) const CLAIMS: [Step; 7] = [
        Step::Expiry,
        Step::NotBefore,
        Step::IssuedAt,
        Step::Audience,
        Step::RequiredClaims,
        Step::Revocation,
        Step::Binding,
    ];

    /// What this step finds wrong.
    pub(in crate::token) fn fault(self, check: &Check<'_>) -> Option<TokenFault> {
        match self {
            Step::Dates => check.dates_fault(),
            Step::Algorithm => check.algorithm_fault(),
            Step::Type => check.type_fault(),
            Step::Critical => check.jwt.is_critical().then_some(TokenFault::Critical),
            Step::Issuer => check.issuer.is_none().then_some(TokenFault::Issuer),
            Step::Key => check.fitting().next().is_none().then_some(TokenFault::Key),
            Step::Signature => check.signer().is_none().then_some(TokenFault::Signature),
            Step::Expiry => check.expiry().err(),
            Step::NotBefore => check.not_before().err(),
            Step::IssuedAt => check.issued_at().err(),
            Step::Audience => check.audience_fault(),
            Step::RequiredClaims => check.required_claims_fault(),
            Step::Revocation => check.is_revoked().then_some(TokenFault::Revoked),
            Step::Binding => check.binding_fault(),
        }
    }
}

impl<'c> Check<'c> {
    /// A token held against what one issuer asks, and these keys of its. `now` in Unix seconds.
    pub(in crate::token) fn by(
        issuer: &'c Arc<Issuer>,
        keys: Option<Arc<KeySet>>,
        jwt: &'c Jwt<'c>,
        now: i64,
    ) -> Check<'c> {
        let considered = slice::from_ref(issuer);
        Check { jwt, considered, issuer: Some(issuer), keys, signer: OnceCell::new(), revocations: None, now }
    }

    /// Asks whether it was ended, too.
    pub(in crate::token) fn minding(self, revocations: &'c Revocations) -> Check<'c> {
        Check { revocations: Some(revocations), ..self }
    }

    /// A token that is nobody's, held against what all issuers of a route ask.
    pub(in crate::token) fn by_nobody(issuers: &'c [Arc<Issuer>], jwt: &'c Jwt<'c>, now: i64) -> Check<'c> {
        Check { jwt, considered: issuers, issuer: None, keys: None, signer: OnceCell::new(), revocations: None, now }
    }

    /// Whether its `kid`, or that it has none, is nothing that a fetch of other keys would change.
    pub(in crate::token) fn is_kid_known(&self) -> bool {
        self.keys.as_ref().is_some_and(|keys| self.jwt.kid().is_none_or(|kid| keys.has_kid(kid)))
    }

    /// The first fault that these steps find.
    pub(in crate::token) fn first_fault(&self, steps: &[Step]) -> Option<TokenFault> {
        steps.iter().find_map(|step| step.fault(self))
    }

    /// Why a step has no answer here; None where it has one.
    pub(in crate::token) fn cannot_ask(&self, step: Step) -> Option<&'static str> {
        let is_nobodys = self.issuer.is_none();
        match step {
            Step::Dates | Step::Algorithm | Step::Type | Step::Critical | Step::Issuer => None,
            _ if is_nobodys => Some("no issuer takes the token"),
            Step::Key | Step::Signature if self.keys.is_none() => Some("the issuer's keys are not at hand"),
            Step::Signature if self.fitting().next().is_none() => Some("there is no key to hold it against"),
            _ => None,
        }
    }

    /// The key that has signed it.
    pub(in crate::token) fn signer(&self) -> Option<KeyId> {
        *self.signer.get_or_init(|| {
            let (message, signature) = (self.jwt.signed(), self.jwt.signature());
            self.fitting().find(|(_, key)| key.is_signed(message, signature)).map(|(id, _)| id)
        })
    }

    /// The first second, in Unix time, at which a good token isn't good any more. None: it is good for ever.
    pub(in crate::token) fn ends_at(&self) -> Option<i64> {
        let expired = self.expires_at().map(|end| end.saturating_add(self.skew()));
        let issued = self.date("iat", Round::Down).ok().flatten();
        let too_old = self.max_age().zip(issued).map(|(max_age, issued)| {
            issued.saturating_add(seconds(max_age)).saturating_add(self.skew()).saturating_add(1)
        });
        expired.into_iter().chain(too_old).min()
    }

    /// `exp` in Unix seconds.
    pub(in crate::token) fn expires_at(&self) -> Option<i64> {
        self.date("exp", Round::Down).ok().flatten()
    }

    fn fitting(&self) -> impl Iterator<Item = (KeyId, &Verifier)> {
        self.keys.iter().flat_map(|keys| keys.fitting(self.jwt))
    }

    fn dates_fault(&self) -> Option<TokenFault> {
        let string_dates = self.considered.iter().any(|issuer| issuer.settings.jwt.string_dates);
        let is_wrong = |claim| self.jwt.date(claim, Round::Down, string_dates).is_err();
        ["exp", "nbf", "iat"].into_iter().any(is_wrong).then_some(TokenFault::Malformed)
    }

    fn algorithm_fault(&self) -> Option<TokenFault> {
        let is_accepted = self.jwt.algorithm().is_some_and(|algorithm| {
            self.considered.iter().any(|issuer| issuer.settings.jwt.algorithms.contains(&algorithm))
        });
        (!is_accepted).then_some(TokenFault::Algorithm)
    }

    fn type_fault(&self) -> Option<TokenFault> {
        let accepts =
            |issuer: &Arc<Issuer>| issuer.settings.jwt.types.iter().any(|accepted| accepted == self.jwt.typ());
        (is_notice(self.jwt.claims()) || !self.considered.iter().any(accepts)).then_some(TokenFault::Type)
    }

    fn expiry(&self) -> Result<(), TokenFault> {
        let Some(end) = self.date("exp", Round::Down)? else { return Ok(()) };
        or(TokenFault::Expired, self.now < end.saturating_add(self.skew()))
    }

    fn not_before(&self) -> Result<(), TokenFault> {
        let Some(begin) = self.date("nbf", Round::Up)? else { return Ok(()) };
        or(TokenFault::NotYetValid, self.now >= begin.saturating_sub(self.skew()))
    }

    fn issued_at(&self) -> Result<(), TokenFault> {
        let Some(issued) = self.date("iat", Round::Up)? else { return Ok(()) };
        or(TokenFault::IssuedInFuture, self.now >= issued.saturating_sub(self.skew()))?;
        let Some(max_age) = self.max_age() else { return Ok(()) };
        let issued = self.date("iat", Round::Down)?.unwrap_or(i64::MIN);
        or(TokenFault::TooOld, self.now <= issued.saturating_add(seconds(max_age)).saturating_add(self.skew()))
    }

    fn audience_fault(&self) -> Option<TokenFault> {
        match &self.issuer?.settings.audiences {
            Audiences::Any => None,
            Audiences::OneOf(accepted) => {
                let is_accepted = self.jwt.audiences().iter().any(|audience| accepted.contains(audience));
                (!is_accepted).then_some(TokenFault::Audience)
            }
        }
    }

    fn required_claims_fault(&self) -> Option<TokenFault> {
        let required = &self.issuer?.settings.jwt.require_claims;
        let is_complete = required.iter().all(|claim| self.has(claim)) && (self.max_age().is_none() || self.has("iat"));
        (!is_complete).then_some(TokenFault::MissingClaim)
    }

    fn is_revoked(&self) -> bool {
        let Some((revocations, issuer)) = self.revocations.zip(self.issuer) else { return false };
        if revocations.is_empty() {
            return false;
        }
        let id = TokenId::of_signed(self.jwt.signed());
        let claimed = Principal::of(issuer, self.jwt.shared_claims(), None, Fingerprint([0; 6]), id);
        revocations.has_ended(&claimed, self.now)
    }

    /// Whether it is bound as it must be; whether the request comes from whom it is bound to is another question (`proof`).
    fn binding_fault(&self) -> Option<TokenFault> {
        let constraint = self.issuer.and_then(|issuer| issuer.settings.sender.constraint);
        (!Binding::of(self.jwt.claims()).satisfies(constraint)).then_some(TokenFault::Binding)
    }

    fn has(&self, claim: &str) -> bool {
        self.jwt.claims().get(claim).is_some_and(|value| !value.is_null())
    }

    fn date(&self, claim: &str, round: Round) -> Result<Option<i64>, TokenFault> {
        let string_dates = self.issuer.is_some_and(|issuer| issuer.settings.jwt.string_dates);
        self.jwt.date(claim, round, string_dates).map_err(|_| TokenFault::Malformed)
    }

    fn max_age(&self) -> Option<Duration> {
        self.issuer?.settings.jwt.max_token_age
    }

    fn skew(&self) -> i64 {
        self.issuer.map_or(0, |issuer| seconds(issuer.settings.jwt.clock_skew))
    }
}

/// Whether these are the claims of a security event token (RFC 8417, section 2.2), a logout token among them: whatever its `typ`,
/// it tells of something and lets nobody in.
pub(in crate::token) fn is_notice(claims: &Map<String, Value>) -> bool {
    matches!(claims.get("events"), Some(Value::Object(_)))
}

fn or(fault: TokenFault, holds: bool) -> Result<(), TokenFault> {
    if holds { Ok(()) } else { Err(fault) }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
