//! What the gateway says of a caller in a JWT of its own (`identity.assertion`), for upstreams that want to verify it.
//!
//! A caller's assertion serves several requests: it is signed anew when half of its time is over. It is kept by the
//! principal that it is about, of which each has a number that no other ever gets, so that nobody is taken for another.

mod published;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use moka::{Expiry, sync::Cache};
use serde_json::{Map, Value, json};

pub use self::published::{JWKS, PublishedKeys, RetiredKeys};
use crate::{
    identity::{self, AssertionPlan},
    refusal::{Refusal, UpstreamFault},
    signer::CannotSign,
    token::{self, principal::Principal},
};

/// Stands for one that nobody is to see.
pub const MASKED_ASSERTION: HeaderValue = HeaderValue::from_static("(signed for each caller)");

/// Bytes of assertions that are kept, of all routes together.
const MOST_KEPT: u64 = 16 << 20;
/// What an entry takes beside its text.
const ENTRY_BYTES: usize = 256;

/// Signs what goes to one audience by one plan.
pub struct Assertor {
    plan: AssertionPlan,
    audience: Arc<str>,
    /// Of the signing key.
    kid: String,
    /// Different from every other's of this process.
    number: u64,
    kept: AssertionCache,
}

/// Assertions that were signed and may be sent again. One for the process.
#[derive(Clone)]
pub struct AssertionCache(Cache<Key, Signed>);

/// About whom, and signed by whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    principal: u64,
    assertor: u64,
}

#[derive(Clone)]
struct Signed {
    value: HeaderValue,
    /// Unix seconds in which it may be sent: from when it was signed, to before the end.
    from: i64,
    until: i64,
}

impl Default for AssertionCache {
    fn default() -> AssertionCache {
        let weight = |_: &Key, signed: &Signed| u32::try_from(signed.value.len() + ENTRY_BYTES).unwrap_or(u32::MAX);
        AssertionCache(Cache::builder().max_capacity(MOST_KEPT).weigher(weight).expire_after(Stay).build())
    }
}

impl Assertor {
    /// One that signs by this plan, for the audience that it names, else for this upstream. What it has signed is kept there.
    ///
    /// # Errors
    /// Its key only stands for one.
    pub fn new(plan: &AssertionPlan, upstream: &str, kept: &AssertionCache) -> Result<Assertor, CannotSign> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Assertor {
            audience: plan.audience_for(upstream).into(),
            kid: plan.key.public_jwk().ok_or(CannotSign)?.kid,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            plan: plan.clone(),
            kept: kept.clone(),
        })
    }

    /// The header that carries it.
    pub fn header(&self) -> &HeaderName {
        &self.plan.header
    }

    /// Writes what is said of this principal.
    ///
    /// # Errors
    /// `Refusal::Upstream` where it can't be signed: then nothing goes on.
    pub fn write(&self, principal: &Principal, headers: &mut HeaderMap) -> Result<(), Refusal> {
        let retry_after = Duration::from_secs(1);
        let value = self
            .assert(principal, token::now())
            .map_err(|CannotSign| Refusal::Upstream(UpstreamFault::TokenUnavailable { retry_after }))?;
        headers.insert(self.plan.header.clone(), value);
        Ok(())
    }

    /// An assertion about this principal that is good now, in Unix seconds.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn assert(&self, principal: &Principal, now: i64) -> Result<HeaderValue, CannotSign> {
        let key = Key { principal: principal.number(), assertor: self.number };
        if let Some(signed) = self.kept.0.get(&key).filter(|signed| (signed.from..signed.until).contains(&now)) {
            return Ok(signed.value);
        }
        let signed = self.sign(principal, now)?;
        let value = signed.value.clone();
        // With less than two seconds there is no half that would be worth keeping.
        if signed.until > now {
            self.kept.0.insert(key, signed);
        }
        Ok(value)
    }

    fn sign(&self, principal: &Principal, now: i64) -> Result<Signed, CannotSign> {
        let ttl = i64::try_from(self.plan.ttl.as_secs()).unwrap_or(i64::MAX);
        // Nobody is vouched for beyond the token.
        let end = principal.ends_at().unwrap_or(i64::MAX);
        let expiry = now.saturating_add(ttl).min(end);
        let token = self.plan.key.jwt("JWT", Some(&self.kid), &self.claims(principal, now, expiry)?)?;
        let mut value = HeaderValue::try_from(token).map_err(|_| CannotSign)?;
        value.set_sensitive(true);
        Ok(Signed { value, from: now, until: now.saturating_add(ttl / 2).min(end) })
    }

    fn claims(&self, principal: &Principal, now: i64, expiry: i64) -> Result<Map<String, Value>, CannotSign> {
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).map_err(|_| CannotSign)?;
        let text = |value: Option<&str>| value.map(|value| json!(value));
        let token_iss = principal.claims().get("iss").filter(|iss| iss.is_string()).cloned();
        let act = principal.claims().get("act").filter(|act| act.is_object()).cloned();
        let roles = principal.roles();
        let claims = [
            ("iss", Some(json!(self.plan.issuer))),
            ("aud", Some(json!(*self.audience))),
            ("sub", text(principal.subject())),
            ("iat", Some(json!(now))),
            ("exp", Some(json!(expiry))),
            ("jti", Some(json!(URL_SAFE_NO_PAD.encode(random)))),
            ("client_id", text(principal.client())),
            ("scope", identity::scopes(principal).map(Value::String)),
            ("roles", (!roles.is_empty()).then(|| json!(roles))),
            ("act", act),
            ("token_kind", Some(json!(principal.kind().name()))),
            ("token_issuer", Some(json!(**principal.issuer()))),
            ("token_iss", token_iss),
        ];
        Ok(claims.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

/// The key doesn't print, nor does what it has signed.
impl fmt::Debug for Assertor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Assertor({} for {})", self.plan.header, self.audience)
    }
}

impl fmt::Debug for AssertionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssertionCache({})", self.0.entry_count())
    }
}

/// What can't be sent any more isn't kept.
struct Stay;

impl Expiry<Key, Signed> for Stay {
    fn expire_after_create(&self, _: &Key, signed: &Signed, _: Instant) -> Option<Duration> {
        Some(Duration::from_secs(u64::try_from(signed.until.saturating_sub(signed.from)).unwrap_or(0)))
    }

    fn expire_after_update(&self, key: &Key, signed: &Signed, at: Instant, _: Option<Duration>) -> Option<Duration> {
        self.expire_after_create(key, signed, at)
    }
}

#[cfg(test)]
mod tests;
