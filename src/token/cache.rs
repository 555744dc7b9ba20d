//! Tokens that were verified, so that their signatures aren't verified again. What is remembered are facts about a
//! token, never a decision: rules are asked each time.
//!
//! Only good tokens come in, so no flood of bad ones can push them out; and of good ones those that are used stay
//! (TinyLFU). A token is named by a keyed hash: who reads this memory finds none, and who knows the algorithm can't make
//! two that collide.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use moka::{Expiry, sync::Cache};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{credential::Credential, issuer::Issuer, key_set::KeyId, principal::Principal};
use crate::observe::{Observer, TokenCacheMetrics};

/// Tokens that may be verified at the same time without one waiting for another.
const TURNS: usize = 256;
/// What an entry takes beside its claims: both hash tables, the queues, allocations.
const ENTRY_BYTES: usize = 512;
/// What a member of a map takes beside its name and value.
const MEMBER_BYTES: usize = 48;
/// An entry is forgotten then, however long its token is good.
const LONGEST_STAY: Duration = Duration::from_secs(30 * 24 * 3600);

/// The verified tokens of a process. Bounded in bytes.
pub struct TokenCache {
    secret: hmac::Key,
    verdicts: Cache<TokenName, Arc<Verdict>>,
    turns: Box<[Mutex<()>]>,
    metrics: TokenCacheMetrics,
}

/// What a token is called here: HMAC-SHA256 with a key that only this process has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::token) struct TokenName([u8; 32]);

/// What was found out about a token, and what that depends on.
pub(in crate::token) struct Verdict {
    principal: Arc<Principal>,
    /// `Issuer::epoch`
    issuer: u64,
    key: KeyId,
    /// Where the token names no issuer: whose it might have been, too, and wasn't (`Issuer::epoch`).
    passed_over: Option<Box<[u64]>>,
    /// The first Unix second at which it doesn't hold any more.
    ends_at: Option<i64>,
    /// How long it may stay.
    stay: Duration,
    bytes: u32,
}

impl TokenCache {
    /// An empty cache of so many bytes; 0: it stays empty.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(max_bytes: u64, observer: &Observer) -> Result<TokenCache, String> {
        let mut secret = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *secret).map_err(|_| "the system has no random numbers".to_owned())?;
        let metrics = observer.token_cache();
        let removed = metrics.clone();
        let verdicts = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, verdict: &Arc<Verdict>| verdict.bytes)
            .expire_after(Stay)
            .eviction_listener(move |_, verdict: Arc<Verdict>, _| removed.held(-1, -i64::from(verdict.bytes)))
            .build();
        Ok(TokenCache {
            secret: hmac::Key::new(hmac::HMAC_SHA256, &*secret),
            verdicts,
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
            metrics,
        })
    }

    pub(in crate::token) fn name(&self, credential: &Credential) -> TokenName {
        let mut name = [0; 32];
        let tag = hmac::sign(&self.secret, credential.expose().as_bytes());
        name.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        TokenName(name)
    }

    /// Who a token speaks for, if one of these issuers, as it is configured now, has said so with a key that it still
    /// has, and the token hasn't ended since.
    pub(in crate::token) fn find(&self, name: &TokenName, issuers: &[Arc<Issuer>], now: i64) -> Option<Arc<Principal>> {
        let verdict = self.verdicts.get(name)?;
        // Another route's or, after a reload, an older issuer: the token is judged anew for this one.
        let index = issuers.iter().position(|issuer| issuer.epoch == verdict.issuer)?;
        let (before, issuer) = (issuers.get(..index)?, issuers.get(index)?);
        if !verdict.was_put_to_all(before) {
            return None;
        }
        if !verdict.holds(issuer, now) {
            self.verdicts.invalidate(name);
            return None;
        }
        self.metrics.hit();
        Some(verdict.principal.clone())
    }

    /// A token had to be judged.
    pub(in crate::token) fn missed(&self) {
        self.metrics.miss();
    }

    /// To be held from before the second look for a token until it is kept, so that of many requests with one unseen
    /// token one verifies it and the others find it. Not across an await.
    pub(in crate::token) fn turn(&self, name: &TokenName) -> Option<MutexGuard<'_, ()>> {
        let turn = self.turns.get(usize::from(name.0[0]) % TURNS)?;
        Some(turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers a good token. `now` in Unix seconds.
    pub(in crate::token) fn keep(&self, name: TokenName, mut verdict: Verdict, now: i64) {
        if self.verdicts.policy().max_capacity() == Some(0) {
            return;
        }
        let left = verdict.ends_at.map_or(i64::MAX, |end| end.saturating_sub(now));
        verdict.stay = Duration::from_secs(u64::try_from(left).unwrap_or(0)).min(LONGEST_STAY);
        self.metrics.held(1, i64::from(verdict.bytes));
        self.verdicts.insert(name, Arc::new(verdict));
    }
}

impl Drop for TokenCache {
    fn drop(&mut self) {
        // What is in it still is not evicted, so nobody else tells.
        self.verdicts.run_pending_tasks();
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.held(-count(self.verdicts.entry_count()), -count(self.verdicts.weighted_size()));
    }
}

impl Verdict {
    /// What this issuer's key `key` has signed, after others were asked (`passed_over`) if the token names no issuer. `ends_at`: the first Unix second at which the token isn't good any more.
    pub(in crate::token) fn new(
        principal: Arc<Principal>,
        issuer: &Issuer,
        key: KeyId,
        ends_at: Option<i64>,
        passed_over: Option<Box<[u64]>>,
    ) -> Verdict {
        let bytes = u32::try_from(bytes(&principal)).unwrap_or(u32::MAX);
        Verdict { principal, issuer: issuer.epoch, key, passed_over, ends_at, stay: Duration::ZERO, bytes }
    }

    /// Whether none of these issuers, which come first here, would have to be asked first.
    fn was_put_to_all(&self, before: &[Arc<Issuer>]) -> bool {
        let Some(passed_over) = &self.passed_over else { return true };
        before.iter().all(|issuer| issuer.settings.jwt.require_issuer || passed_over.contains(&issuer.epoch))
    }

    fn holds(&self, issuer: &Issuer, now: i64) -> bool {
        self.ends_at.is_none_or(|end| now < end) && issuer.keys.at_hand().is_some_and(|keys| keys.has(self.key))
    }
}

/// Memory that a principal takes, rather too much than too little.
fn bytes(principal: &Principal) -> usize {
    let names = principal.scopes.iter().chain(&principal.roles).chain(&principal.subject).chain(&principal.client);
    let texts: usize = names.map(|name| size_of::<String>() + name.len()).sum();
    ENTRY_BYTES + size_of::<Verdict>() + size_of::<Principal>() + texts + members(&principal.claims)
}

fn members(object: &Map<String, Value>) -> usize {
    object.iter().map(|(name, value)| MEMBER_BYTES + name.len() + value_bytes(value)).sum()
}

/// Not deeper than tokens are (`json`).
fn value_bytes(value: &Value) -> usize {
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(value_bytes).sum(),
        Value::Object(object) => members(object),
    };
    size_of::<Value>() + inner
}

/// Entries whose tokens have ended make room.
struct Stay;

impl Expiry<TokenName, Arc<Verdict>> for Stay {
    fn expire_after_create(&self, _: &TokenName, verdict: &Arc<Verdict>, _: Instant) -> Option<Duration> {
        Some(verdict.stay)
    }
    fn expire_after_update(
        &self,
        _: &TokenName,
        verdict: &Arc<Verdict>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(verdict.stay)
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCache(…)")
    }
}

#[cfg(test)]
mod tests;
