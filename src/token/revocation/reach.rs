//! What a revocation ends, and which of two ends more.

use super::{OfIssuer, Revocation, Source, Target, Wish};
use crate::token::principal::Principal;

/// Of a revocation, or of a wish for one, what it would end.
pub(super) struct Reach<'r> {
    target: &'r Target,
    issuer: Option<&'r OfIssuer>,
    issued_before: Option<i64>,
    expires_at: Option<i64>,
    source: Source,
}

impl Revocation {
    /// Whether it ends a token of which it names what it goes by.
    pub(super) fn ends(&self, principal: &Principal, now: i64) -> bool {
        let is_its = self.issuer.as_ref().is_none_or(|issuer| *issuer.authority == *principal.authority);
        let is_old = self.issued_before.is_none_or(|before| principal.issued_at.is_none_or(|issued| issued < before));
        let is_meant = !self.target.spares_sessions() || principal.named("sid").is_none_or(|sid| sid.is_empty());
        is_its && is_old && is_meant && !self.is_over(now)
    }

    pub(super) fn is_over(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }

    pub(super) fn reach(&self) -> Reach<'_> {
        let Revocation { target, issuer, issued_before, expires_at, source, .. } = self;
        Reach {
            target,
            issuer: issuer.as_ref(),
            issued_before: *issued_before,
            expires_at: *expires_at,
            source: *source,
        }
    }
}

impl Wish {
    pub(super) fn reach(&self) -> Reach<'_> {
        let Wish { target, issuer, issued_before, expires_at, source } = self;
        Reach {
            target,
            issuer: issuer.as_ref(),
            issued_before: *issued_before,
            expires_at: *expires_at,
            source: *source,
        }
    }
}

impl Reach<'_> {
    /// Whether it ends the same, whoever asks for it.
    pub(super) fn is(&self, other: &Reach<'_>) -> bool {
        self.is_about(other)
            && self.issuer == other.issuer
            && (self.issued_before, self.expires_at) == (other.issued_before, other.expires_at)
    }

    /// Whether it ends all that another one of its issuer would end, for as long at least.
    pub(super) fn makes_needless(&self, other: &Reach<'_>) -> bool {
        let later =
            |own: Option<i64>, others: Option<i64>| own.is_none_or(|own| others.is_some_and(|other| own >= other));
        let authority = |reach: &Reach<'_>| reach.issuer.map(|issuer| issuer.authority.clone());
        self.source.is_issuers()
            && self.source == other.source
            && self.is_about(other)
            && authority(self) == authority(other)
            && later(self.issued_before, other.issued_before)
            && later(self.expires_at, other.expires_at)
    }

    fn is_about(&self, other: &Reach<'_>) -> bool {
        self.target.key() == other.target.key() && self.target.spares_sessions() == other.target.spares_sessions()
    }
}
