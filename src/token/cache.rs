//! Tokens that were verified, so that their signatures aren't verified again. What is remembered are facts about a
//! token, never a decision: rules are asked each time.
//!
//! Only good tokens come in, so no flood of bad ones can push them out; and of good ones those that are used stay
//! (TinyLFU). A token is named by a keyed hash: who reads this memory finds none, and who knows the algorithm can't make
//! two that collide.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use moka::{Expiry, sync::Cache};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    Asking,
    credential::Credential,
    introspection::{IntrospectionSettings, Said, Source},
    issuer::Issuer,
    key_set::KeyId,
    principal::Principal,
};
use crate::{
    observe::{Observer, TokenCacheMetrics, TokenCacheReport},
    refusal::TokenFault,
};

/// Tokens that may be verified at the same time without one waiting for another.
const TURNS: usize = 256;
/// What an entry takes beside its claims: both hash tables, the queues, allocations.
const ENTRY_BYTES: usize = 512;
/// What a member of a map takes beside its name and value.
const MEMBER_BYTES: usize = 48;
/// Tokens that an issuer says no to, and that is remembered. They take none of the good ones' room.
const MOST_REFUSED: u64 = 16 * 1024;
/// An entry is forgotten then, however long its token is good.
const LONGEST_STAY: Duration = Duration::from_secs(30 * 24 * 3600);

/// The verified tokens of a process. Bounded in bytes.
pub struct TokenCache {
    secret: hmac::Key,
    verdicts: Cache<Key, Arc<Verdict>>,
    refused: Cache<Key, Word>,
    turns: Box<[Turn]>,
    metrics: TokenCacheMetrics,
    /// What requests are answered by, where this stands beside it: read, never written.
    in_force: Option<Arc<TokenCache>>,
}

/// Tokens of which one is verified at a time.
#[derive(Default)]
struct Turn {
    lock: Mutex<()>,
    /// How many of them were ever kept.
    kept: AtomicU64,
}

/// What a token is called here: HMAC-SHA256 with a key that only this process has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::token) struct TokenName([u8; 32]);

/// A token, and whose word about it is meant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    name: TokenName,
    /// Of the issuer that was asked (`Issuer::epoch`); None: a signature proves it, whoever it is.
    said_by: Option<u64>,
}

/// An issuer's no.
#[derive(Clone, Copy)]
struct Word {
    /// None: the token isn't active.
    fault: Option<TokenFault>,
    stay: Duration,
}

/// What was found out about a token, and what that depends on.
pub(in crate::token) struct Verdict {
    principal: Arc<Principal>,
    /// `Issuer::epoch`
    issuer: u64,
    /// None: the issuer was asked.
    key: Option<KeyId>,
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
        Ok(TokenCache::with(hmac::Key::new(hmac::HMAC_SHA256, &*secret), max_bytes, observer, None))
    }

    /// An empty cache of so many bytes beside one that requests are answered by: what is known there is known here, and
    /// not the other way round. Who asks through it has no share of what requests need (`Asking`).
    #[must_use]
    pub fn beside(in_force: Arc<TokenCache>, max_bytes: u64, observer: &Observer) -> TokenCache {
        let secret = in_force.secret.clone();
        TokenCache::with(secret, max_bytes, observer, Some(in_force))
    }

    fn with(secret: hmac::Key, max_bytes: u64, observer: &Observer, in_force: Option<Arc<TokenCache>>) -> TokenCache {
        let metrics = observer.token_cache();
        let removed = metrics.clone();
        let verdicts = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, verdict: &Arc<Verdict>| verdict.bytes)
            .expire_after(Stay)
            .eviction_listener(move |_, verdict: Arc<Verdict>, _| removed.held(-1, -i64::from(verdict.bytes)))
            .build();
        let most_refused = if max_bytes == 0 { 0 } else { MOST_REFUSED };
        let refused = Cache::builder().max_capacity(most_refused).expire_after(Stay).build();
        let turns = (0..TURNS).map(|_| Turn::default()).collect();
        TokenCache { refused, secret, verdicts, turns, metrics, in_force }
    }

    /// For whom is asked what isn't known here.
    pub(in crate::token) fn asking(&self) -> Asking {
        if self.in_force.is_some() { Asking::Beside } else { Asking::InForce }
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
        let in_force = self.in_force.as_ref().and_then(|in_force| in_force.verified(name, issuers, now));
        let found = in_force.or_else(|| self.verified(name, issuers, now))?;
        self.metrics.hit();
        Some(found)
    }

    fn verified(&self, name: &TokenName, issuers: &[Arc<Issuer>], now: i64) -> Option<Arc<Principal>> {
        let key = Key { name: *name, said_by: None };
        let verdict = self.verdicts.get(&key)?;
        // Another route's or, after a reload, an older issuer: the token is judged anew for this one.
        let index = issuers.iter().position(|issuer| issuer.epoch == verdict.issuer)?;
        let (before, issuer) = (issuers.get(..index)?, issuers.get(index)?);
        if !verdict.was_put_to_all(before) {
            return None;
        }
        if !verdict.holds(issuer, now) {
            self.verdicts.invalidate(&key);
            return None;
        }
        Some(verdict.principal.clone())
    }

    /// What this issuer, as it is configured now, has said of a token, if that still counts.
    pub(in crate::token) fn said(&self, name: &TokenName, issuer: &Issuer, now: i64) -> Option<Said> {
        if let Some(said) = self.in_force.as_ref().and_then(|in_force| in_force.said(name, issuer, now)) {
            return Some(said);
        }
        let key = Key { name: *name, said_by: Some(issuer.epoch) };
        if let Some(verdict) = self.verdicts.get(&key) {
            if verdict.holds(issuer, now) {
                return Some(Said::Good(verdict.principal.clone()));
            }
            self.verdicts.invalidate(&key);
        }
        let word = self.refused.get(&key)?;
        Some(word.fault.map_or(Said::Inactive, Said::Bad))
    }

    /// Remembers what an issuer said, for as long as `settings` allow. `now` in Unix seconds.
    pub(in crate::token) fn keep_said(
        &self,
        name: TokenName,
        issuer: &Issuer,
        settings: &IntrospectionSettings,
        said: &Said,
        now: i64,
    ) {
        let key = Key { name, said_by: Some(issuer.epoch) };
        let stay = settings.negative_ttl;
        match said {
            Said::Good(principal) => {
                let verdict = Verdict::said(principal.clone(), issuer, settings.cache_ttl);
                self.insert(key, verdict, now);
            }
            // Will be over by itself, maybe sooner.
            Said::Bad(TokenFault::NotYetValid | TokenFault::IssuedInFuture) | Said::Unavailable { .. } => {}
            Said::Inactive | Said::Bad(_) if stay.is_zero() => {}
            Said::Inactive => self.refused.insert(key, Word { fault: None, stay }),
            Said::Bad(fault) => self.refused.insert(key, Word { fault: Some(*fault), stay }),
        }
    }

    /// A token was judged by what issuers say.
    pub(in crate::token) fn told_by(&self, source: Source) {
        match source {
            Source::Memory => self.metrics.hit(),
            Source::Wait => self.metrics.wait(),
            Source::Question => self.metrics.miss(),
        }
    }

    /// How it stands now.
    pub fn report(&self) -> TokenCacheReport {
        self.metrics.report()
    }

    /// The bytes that it may take.
    pub fn max_bytes(&self) -> u64 {
        self.verdicts.policy().max_capacity().unwrap_or(0)
    }

    /// A token had to be judged.
    pub(in crate::token) fn missed(&self) {
        self.metrics.miss();
    }

    /// To be held from before the second look for a token until it is kept, so that of many requests with one unseen
    /// token one verifies it and the others find it. Not across an await.
    pub(in crate::token) fn turn(&self, name: &TokenName) -> Option<MutexGuard<'_, ()>> {
        Some(self.turn_of(name)?.lock.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn turn_of(&self, name: &TokenName) -> Option<&Turn> {
        self.turns.get(usize::from(name.0[0]) % TURNS)
    }

    /// How many tokens were kept in this one's turn: who has looked for it since that number was the same needn't look again.
    pub(in crate::token) fn kept(&self, name: &TokenName) -> u64 {
        let here = self.turn_of(name).map_or(0, |turn| turn.kept.load(Ordering::Acquire));
        here + self.in_force.as_ref().map_or(0, |in_force| in_force.kept(name))
    }

    /// Remembers a good token. `now` in Unix seconds.
    pub(in crate::token) fn keep(&self, name: TokenName, verdict: Verdict, now: i64) {
        self.insert(Key { name, said_by: None }, verdict, now);
        if let Some(turn) = self.turn_of(&name) {
            turn.kept.fetch_add(1, Ordering::Release);
        }
    }

    fn insert(&self, key: Key, mut verdict: Verdict, now: i64) {
        let left = verdict.ends_at.map_or(i64::MAX, |end| end.saturating_sub(now));
        verdict.stay = verdict.stay.min(Duration::from_secs(u64::try_from(left).unwrap_or(0)));
        if verdict.stay.is_zero() || self.max_bytes() == 0 {
            return;
        }
        self.metrics.held(1, i64::from(verdict.bytes));
        self.verdicts.insert(key, Arc::new(verdict));
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
        Verdict { principal, issuer: issuer.epoch, key: Some(key), passed_over, ends_at, stay: LONGEST_STAY, bytes }
    }

    /// What this issuer has said; its word counts for so long.
    fn said(principal: Arc<Principal>, issuer: &Issuer, stay: Duration) -> Verdict {
        let bytes = u32::try_from(bytes(&principal)).unwrap_or(u32::MAX);
        let ends_at = principal.ends_at;
        let stay = stay.min(LONGEST_STAY);
        Verdict { principal, issuer: issuer.epoch, key: None, passed_over: None, ends_at, stay, bytes }
    }

    /// Whether none of these issuers, which come first here, would have to be asked first.
    fn was_put_to_all(&self, before: &[Arc<Issuer>]) -> bool {
        let Some(passed_over) = &self.passed_over else { return true };
        before.iter().all(|issuer| !issuer.settings.takes_unnamed() || passed_over.contains(&issuer.epoch))
    }

    fn holds(&self, issuer: &Issuer, now: i64) -> bool {
        let has_key = |key| issuer.keys.at_hand().is_some_and(|keys| keys.has(key));
        self.ends_at.is_none_or(|end| now < end) && self.key.is_none_or(has_key)
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

impl<V: Staying> Expiry<Key, V> for Stay {
    fn expire_after_create(&self, _: &Key, value: &V, _: Instant) -> Option<Duration> {
        Some(value.stay())
    }
    fn expire_after_update(&self, _: &Key, value: &V, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(value.stay())
    }
}

trait Staying {
    fn stay(&self) -> Duration;
}

impl Staying for Arc<Verdict> {
    fn stay(&self) -> Duration {
        self.stay
    }
}

impl Staying for Word {
    fn stay(&self) -> Duration {
        self.stay
    }
}

impl fmt::Debug for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenName(…)")
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCache(…)")
    }
}

#[cfg(test)]
mod tests;
