//! A token that isn't in the cache, put to those who may have signed it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    cache::{TokenCache, TokenName, Verdict},
    check::{Check, Step},
    credential::Credential,
    issuer::Issuer,
    jwks::Unavailable,
    jwt::Jwt,
    key_set::{KeyId, KeySet},
    principal::Principal,
};
use crate::refusal::{Refusal, TokenFault};

/// A token, and all that it is judged by.
pub(in crate::token) struct Trial<'t> {
    pub(in crate::token) credential: &'t Credential,
    pub(in crate::token) jwt: &'t Jwt<'t>,
    /// Those of the route.
    pub(in crate::token) issuers: &'t [Arc<Issuer>],
    pub(in crate::token) cache: &'t TokenCache,
    pub(in crate::token) name: TokenName,
    /// Unix seconds.
    pub(in crate::token) now: i64,
}

/// How it ended.
pub(in crate::token) enum End<'t> {
    /// Another request had verified it meanwhile.
    Found(Arc<Principal>),
    /// None of the issuers can have made it.
    Nobodys(TokenFault),
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

impl<'t> Trial<'t> {
    /// Puts the token to its issuer: first with the keys at hand, then, where that can help, with those after a fetch.
    /// `waited`: the time that the fetch took.
    pub(in crate::token) async fn judge(&self, waited: &mut Duration) -> End<'t> {
        let issuer = match self.with_keys_at_hand() {
            Ok(end) => return end,
            Err(issuer) => issuer,
        };
        let began = Instant::now();
        let fetched = issuer.keys.after_fetch().await;
        *waited = began.elapsed();
        match fetched {
            Ok(keys) => self.after_fetch(issuer, keys),
            Err(Unavailable { retry_after }) => End::Judged(issuer, Err(Refusal::KeysUnavailable { retry_after })),
        }
    }

    /// # Errors
    /// The issuer whose keys have to be fetched.
    fn with_keys_at_hand(&self) -> Result<End<'t>, &'t Arc<Issuer>> {
        let _turn = self.cache.turn(&self.name);
        if let Some(principal) = self.cache.find(&self.name, self.issuers, self.now) {
            return Ok(End::Found(principal));
        }
        let Some(issuer) = self.candidate() else {
            let fault = Check::by_nobody(self.issuers, self.jwt, self.now).first_fault(&Step::BEFORE_KEYS);
            return Ok(End::Nobodys(fault.unwrap_or(TokenFault::Issuer)));
        };
        match self.opinion(issuer, issuer.keys.at_hand(), issuer.keys.is_remote()) {
            Opinion::Good(principal) => Ok(End::Judged(issuer, Ok(principal))),
            Opinion::Bad(fault) | Opinion::NotIts(fault) => Ok(End::Judged(issuer, Err(Refusal::Token(fault)))),
            Opinion::Unknown => Err(issuer),
        }
    }

    fn after_fetch(&self, issuer: &'t Arc<Issuer>, keys: Arc<KeySet>) -> End<'t> {
        let _turn = self.cache.turn(&self.name);
        if let Some(principal) = self.cache.find(&self.name, self.issuers, self.now) {
            return End::Found(principal);
        }
        match self.opinion(issuer, Some(keys), false) {
            Opinion::Good(principal) => End::Judged(issuer, Ok(principal)),
            Opinion::Bad(fault) | Opinion::NotIts(fault) => End::Judged(issuer, Err(Refusal::Token(fault))),
            Opinion::Unknown => End::Judged(issuer, Err(Refusal::Token(TokenFault::Key))),
        }
    }

    /// Who may have made the token: the issuer that it names, if the route takes it.
    fn candidate(&self) -> Option<&'t Arc<Issuer>> {
        self.issuers.iter().find(|issuer| self.jwt.issuer() == Some(issuer.settings.issuer.as_str()))
    }

    /// Key, signature and claims. Where a key might be found by a fetch, the claims come first: they may spare it.
    fn opinion(&self, issuer: &'t Arc<Issuer>, keys: Option<Arc<KeySet>>, may_fetch: bool) -> Opinion {
        let check = Check::by(issuer, keys, self.jwt, self.now);
        if let Some(fault) = check.first_fault(&Step::BEFORE_KEYS) {
            return Opinion::NotIts(fault);
        }
        let fault = check.first_fault(&Step::SIGNATURE);
        match (fault, check.signer()) {
            (None, Some(signer)) => match check.first_fault(&Step::CLAIMS) {
                None => Opinion::Good(self.remember(issuer, &check, signer)),
                Some(fault) => Opinion::Bad(fault),
            },
            _ if may_fetch && !check.is_kid_known() => match check.first_fault(&Step::CLAIMS) {
                None => Opinion::Unknown,
                Some(fault) => Opinion::NotIts(fault),
            },
            (fault, _) => Opinion::NotIts(fault.unwrap_or(TokenFault::Signature)),
        }
    }

    fn remember(&self, issuer: &Issuer, check: &Check<'_>, key: KeyId) -> Arc<Principal> {
        let (claims, places) = (self.jwt.claims(), &issuer.settings.claims);
        let principal = Arc::new(Principal {
            issuer: issuer.settings.name.clone(),
            subject: places.subject(claims),
            client: places.client(claims),
            scopes: places.scopes(claims),
            roles: places.roles(claims),
            expires_at: check.expires_at(),
            fingerprint: self.credential.fingerprint(),
            claims: claims.clone(),
        });
        self.cache.keep(self.name, Verdict::new(principal.clone(), issuer, key, check.ends_at()), self.now);
        principal
    }
}
