//! A token that isn't in the cache, put to those who may have signed it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Asking,
    cache::{TokenCache, TokenName, Verdict},
    check::{Check, Step},
    credential::Credential,
    issuer::Issuer,
    jwks::Unavailable,
    jwt::Jwt,
    key_set::{KeyId, KeySet},
    principal::Principal,
    revocation::{Revocations, TokenId},
};
use crate::{
    refusal::{Refusal, TokenFault},
    trace::{Kind, Parent},
};

/// A token, and all that it is judged by.
pub(in crate::token) struct Trial<'t> {
    pub(in crate::token) credential: &'t Credential,
    pub(in crate::token) jwt: &'t Jwt<'t>,
    /// Those of the route.
    pub(in crate::token) issuers: &'t [Arc<Issuer>],
    pub(in crate::token) cache: &'t TokenCache,
    pub(in crate::token) name: TokenName,
    /// What `TokenCache::kept` said before it was looked for in the cache; None: it wasn't.
    pub(in crate::token) looked_after: Option<u64>,
    pub(in crate::token) fetch: Fetch,
    pub(in crate::token) revocations: &'t Revocations,
    /// Unix seconds, when it began.
    pub(in crate::token) now: i64,
    /// The verification.
    pub(in crate::token) span: Parent,
}

/// How keys are fetched for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::token) enum Fetch {
    /// By the issuer's store, for all who wait.
    Shared(Asking),
    /// By a call of its own, of which nobody else sees anything.
    Apart,
    /// Not at all: who hasn't the key can't say.
    Never,
}

/// What the fetches for a token came to.
#[derive(Debug, Default)]
pub(in crate::token) struct Fetched {
    /// The time that they took.
    pub(in crate::token) waited: Duration,
    /// By the issuer's epoch, those of `Fetch::Apart`.
    keys: Vec<(u64, Arc<KeySet>)>,
}

impl Fetched {
    /// What was fetched apart for this issuer.
    pub(in crate::token) fn keys_of(&self, issuer: &Issuer) -> Option<Arc<KeySet>> {
        self.keys.iter().find(|(epoch, _)| *epoch == issuer.epoch).map(|(_, keys)| keys.clone())
    }
}

/// How it ended.
pub(in crate::token) enum End<'t> {
    /// Another request had verified it meanwhile.
    Found(Arc<Principal>),
    /// Nobody is known to have signed it: what speaks against it, and with whom it got furthest.
    NotSigned(Option<&'t Arc<Issuer>>, Refusal),
    /// By this issuer.
    Judged(&'t Arc<Issuer>, Result<Arc<Principal>, Refusal>),
}

/// What an issuer says of a token.
enum Opinion {
    /// Signed by it, and good.
    Good(Arc<Principal>),
    /// Signed by it, and no good.
    Bad(TokenFault),
    /// Not known to be signed by it.
    NotIts(TokenFault),
    /// It may have been signed by a key that would have to be fetched; nothing else speaks against it.
    Unknown,
}

impl From<Unavailable> for Refusal {
    fn from(Unavailable { retry_after }: Unavailable) -> Refusal {
        Refusal::KeysUnavailable { retry_after }
    }
}

/// Of several issuers' refusals the one to be named.
type Closest<'t> = Option<(&'t Arc<Issuer>, Refusal)>;

/// Who can't say is named first, since that may change; then who has the key.
fn closer<'t>(closest: &mut Closest<'t>, issuer: &'t Arc<Issuer>, refusal: Refusal) {
    let rank = |refusal: &Refusal| match refusal {
        Refusal::KeysUnavailable { .. } => 3,
        Refusal::Token(TokenFault::Signature) => 2,
        Refusal::Token(TokenFault::Key) => 1,
        _ => 0,
    };
    if closest.as_ref().is_none_or(|(_, known)| rank(&refusal) > rank(known)) {
        *closest = Some((issuer, refusal));
    }
}

/// Unix seconds when so much time has gone by, rounded up: a token may have ended meanwhile.
fn later(now: i64, time: Duration) -> i64 {
    let whole = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    now.saturating_add(whole).saturating_add(i64::from(time.subsec_nanos() > 0))
}

impl<'t> Trial<'t> {
    /// Puts the token to who may have made it: first with the keys at hand, then, where that can help, with those after
    /// a fetch. A good signature is final.
    pub(in crate::token) async fn judge(&self, so_far: &mut Fetched) -> End<'t> {
        let (mut refused, undecided) = match self.with_keys_at_hand() {
            Ok(end) => return end,
            Err(undecided) => undecided,
        };
        for issuer in undecided {
            let began = Instant::now();
            let fetched = match self.fetch {
                Fetch::Shared(asking) => self.wait_for_keys(issuer, asking).await,
                Fetch::Apart => issuer.keys.fetch_apart().await,
                Fetch::Never => Err(Unavailable { retry_after: Duration::ZERO }),
            };
            so_far.waited += began.elapsed();
            if let (Fetch::Apart, Ok(keys)) = (self.fetch, &fetched) {
                so_far.keys.push((issuer.epoch, keys.clone()));
            }
            let now = later(self.now, so_far.waited);
            match fetched.map(|keys| self.after_fetch(issuer, keys, now)) {
                Ok(Ok(end)) => return end,
                Ok(Err(fault)) => closer(&mut refused, issuer, Refusal::Token(fault)),
                Err(unavailable) => match self.without_fetch(issuer, unavailable, now) {
                    Ok(end) => return end,
                    Err(refusal) => closer(&mut refused, issuer, refusal),
                },
            }
        }
        self.refused(refused)
    }

    async fn wait_for_keys(&self, issuer: &Issuer, asking: Asking) -> Result<Arc<KeySet>, Unavailable> {
        let mut span = self.span.child("wait for keys", Kind::Internal);
        span.set("bearward.issuer", &issuer.settings.name);
        let fetched = issuer.keys.after_fetch(asking).await;
        if fetched.is_err() {
            span.failed("keys_unavailable");
        }
        fetched
    }

    /// # Errors
    /// The closest refusal so far, and the issuers whose keys have to be fetched.
    fn with_keys_at_hand(&self) -> Result<End<'t>, (Closest<'t>, Vec<&'t Arc<Issuer>>)> {
        let _turn = self.cache.turn(&self.name);
        if self.looked_after != Some(self.cache.kept(&self.name))
            && let Some(principal) = self.cache.find(&self.name, self.issuers, self.now)
        {
            return Ok(End::Found(principal));
        }
        let (mut refused, mut undecided) = (None, Vec::new());
        for issuer in self.candidates() {
            match self.opinion(issuer, issuer.keys.at_hand(), issuer.keys.is_remote(), self.now) {
                Opinion::Good(principal) => return Ok(End::Judged(issuer, Ok(principal))),
                Opinion::Bad(fault) => return Ok(End::Judged(issuer, Err(Refusal::Token(fault)))),
                Opinion::NotIts(fault) => closer(&mut refused, issuer, Refusal::Token(fault)),
                Opinion::Unknown => undecided.push(issuer),
            }
        }
        if undecided.is_empty() { Ok(self.refused(refused)) } else { Err((refused, undecided)) }
    }

    /// # Errors
    /// It isn't signed by this issuer.
    fn after_fetch(&self, issuer: &'t Arc<Issuer>, keys: Arc<KeySet>, now: i64) -> Result<End<'t>, TokenFault> {
        let _turn = self.cache.turn(&self.name);
        if let Some(principal) = self.cache.find(&self.name, self.issuers, now) {
            return Ok(End::Found(principal));
        }
        match self.opinion(issuer, Some(keys), false, now) {
            Opinion::Good(principal) => Ok(End::Judged(issuer, Ok(principal))),
            Opinion::Bad(fault) => Ok(End::Judged(issuer, Err(Refusal::Token(fault)))),
            Opinion::NotIts(fault) => Err(fault),
            Opinion::Unknown => Err(TokenFault::Key),
        }
    }

    /// After a fetch that failed: keys of an earlier run may be at hand by now.
    ///
    /// # Errors
    /// It isn't signed by this issuer, or that can't be said.
    fn without_fetch(&self, issuer: &'t Arc<Issuer>, unavailable: Unavailable, now: i64) -> Result<End<'t>, Refusal> {
        let Some(keys) = issuer.keys.at_hand() else { return Err(unavailable.into()) };
        let _turn = self.cache.turn(&self.name);
        if let Some(principal) = self.cache.find(&self.name, self.issuers, now) {
            return Ok(End::Found(principal));
        }
        match self.opinion(issuer, Some(keys), true, now) {
            Opinion::Good(principal) => Ok(End::Judged(issuer, Ok(principal))),
            Opinion::Bad(fault) => Ok(End::Judged(issuer, Err(Refusal::Token(fault)))),
            Opinion::NotIts(fault) => Err(Refusal::Token(fault)),
            Opinion::Unknown => Err(unavailable.into()),
        }
    }

    /// Who may have made the token: the issuer that it names, or, where it names none, those that allow that.
    fn candidates(&self) -> impl Iterator<Item = &'t Arc<Issuer>> {
        let named = self.jwt.issuer();
        self.issuers.iter().filter(move |issuer| match named {
            Some(named) => issuer.settings.takes_jwts && issuer.settings.issuer.as_deref() == Some(named),
            None => issuer.settings.takes_unnamed(),
        })
    }

    fn refused(&self, closest: Closest<'t>) -> End<'t> {
        match closest {
            Some((issuer, refusal)) => End::NotSigned(Some(issuer), refusal),
            None => {
                let fault = Check::by_nobody(self.issuers, self.jwt, self.now).first_fault(&Step::BEFORE_KEYS);
                End::NotSigned(None, Refusal::Token(fault.unwrap_or(TokenFault::Issuer)))
            }
        }
    }

    /// Key, signature and claims. Where a key might be found by a fetch, the claims come first: they may spare it.
    fn opinion(&self, issuer: &'t Arc<Issuer>, keys: Option<Arc<KeySet>>, may_fetch: bool, now: i64) -> Opinion {
        let check = Check::by(issuer, keys, self.jwt, now).minding(self.revocations);
        if let Some(fault) = check.first_fault(&Step::BEFORE_KEYS) {
            return Opinion::NotIts(fault);
        }
        let fault = check.first_fault(&Step::SIGNATURE);
        match (fault, check.signer()) {
            (None, Some(signer)) => match check.first_fault(&Step::CLAIMS) {
                None => Opinion::Good(self.remember(issuer, &check, signer, now)),
                Some(fault) => Opinion::Bad(fault),
            },
            _ if may_fetch && !check.is_kid_known() => match check.first_fault(&Step::CLAIMS) {
                None => Opinion::Unknown,
                Some(fault) => Opinion::NotIts(fault),
            },
            (fault, _) => Opinion::NotIts(fault.unwrap_or(TokenFault::Signature)),
        }
    }

    /// Of the candidates for a token without `iss`, those that were asked before this one.
    fn passed_over(&self, issuer: &Issuer) -> Option<Box<[u64]>> {
        if self.jwt.issuer().is_some() {
            return None;
        }
        let before = self.candidates().map(|candidate| candidate.epoch).take_while(|epoch| *epoch != issuer.epoch);
        Some(before.collect())
    }

    fn remember(&self, issuer: &Issuer, check: &Check<'_>, key: KeyId, now: i64) -> Arc<Principal> {
        let fingerprint = self.credential.fingerprint();
        let id = TokenId::of_signed(self.jwt.signed());
        let principal = Arc::new(Principal::of(issuer, self.jwt.shared_claims(), check.ends_at(), fingerprint, id));
        let verdict = Verdict::new(principal.clone(), issuer, key, check.ends_at(), self.passed_over(issuer));
        self.cache.keep(self.name, verdict, now);
        principal
    }
}
