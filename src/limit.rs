//! Rate limits: what `routes.*.rate_limit` says, and who has called how often.

mod fields;
mod limiter;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use hyper::{HeaderMap, header::HeaderValue};
use serde_json::Value;

use crate::{
    refusal::Refusal,
    token::{claims::ClaimPath, principal::Principal},
};
use limiter::Taken;

pub use limiter::{Limiter, Spent};

/// A limit on a route's requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// How many go on in the long run.
    pub rate: Rate,
    /// How many at once, after a rest.
    pub burst: u32,
    /// What is counted together.
    pub per: LimitKey,
}

/// Requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// At least one.
    pub requests: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
}

impl fmt::Display for Rate {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.requests)
    }
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// The client that the token was given to; where there is none, the address.
    Client,
    /// Whom the token speaks for; where there is nobody, the address.
    Subject,
    /// The value of a claim; where it is absent, the address.
    Claim(ClaimPath),
    /// The client's address, an IPv6 one by its /64. Counted before the credential is looked at.
    Ip,
    /// All of the route. Counted before the credential is looked at.
    Route,
}

impl fmt::Display for LimitKey {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitKey::Client => f.write_str("client"),
            LimitKey::Subject => f.write_str("subject"),
            LimitKey::Claim(path) => write!(f, "claims.{path}"),
            LimitKey::Ip => f.write_str("ip"),
            LimitKey::Route => f.write_str("route"),
        }
    }
}

impl LimitKey {
    /// Whether it is known before anybody was asked who they are.
    fn is_early(&self) -> bool {
        matches!(self, LimitKey::Ip | LimitKey::Route)
    }
}

/// Whose requests: the same in every process. Names are hashed, so that none of them is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u128);

/// The limits of a route at work.
#[derive(Debug, Default)]
pub struct RouteLimits {
    /// Those that come before the credential first, else in the file's order.
    limits: Box<[Limit]>,
    early: usize,
    policy: Option<HeaderValue>,
}

#[derive(Debug)]
struct Limit {
    /// As the fields write it, in quotes.
    name: Box<str>,
    per: LimitKey,
    limiter: Arc<Limiter>,
}

/// What a route's limits have said of a request so far, in their order.
#[derive(Debug, Default)]
pub struct Counted(Vec<Taken>);

impl RouteLimits {
    /// Of these limits, each with its counts.
    pub fn new(limits: impl IntoIterator<Item = (RateLimit, Arc<Limiter>)>) -> RouteLimits {
        let (early, late): (Vec<_>, Vec<_>) = limits.into_iter().partition(|(limit, _)| limit.per.is_early());
        let count = early.len();
        let (settings, limiters): (Vec<_>, Vec<_>) = early.into_iter().chain(late).unzip();
        let names = fields::names(&settings);
        let policy = fields::policy(&names, &settings);
        let limits = settings.into_iter().zip(limiters).zip(names);
        let limits = limits.map(|((limit, limiter), name)| Limit { name: name.into(), per: limit.per, limiter });
        RouteLimits { limits: limits.collect(), early: count, policy }
    }

    /// The counts of all of them.
    pub fn limiters(&self) -> impl Iterator<Item = &Arc<Limiter>> {
        self.limits.iter().map(|limit| &limit.limiter)
    }

    /// Counts a request of whom nothing is known but the address.
    ///
    /// # Errors
    /// `Refusal::RateLimited` by the first limit that is exceeded; those after it don't count.
    pub fn count_early(&self, ip: IpAddr, counted: &mut Counted) -> Result<(), Refusal> {
        let early = self.limits.iter().take(self.early);
        count(early.map(|limit| (limit, if limit.per == LimitKey::Ip { Key::of_ip(ip) } else { Key::ROUTE })), counted)
    }

    /// Counts a request that was let in.
    ///
    /// # Errors
    /// As `count_early`.
    pub fn count_late(&self, ip: IpAddr, principal: Option<&Principal>, counted: &mut Counted) -> Result<(), Refusal> {
        let late = self.limits.iter().skip(self.early);
        let key = |limit: &Limit| principal.and_then(|principal| key_of(&limit.per, principal));
        count(late.map(|limit| (limit, key(limit).unwrap_or_else(|| Key::of_ip(ip)))), counted)
    }

    /// Tells how much is left (draft-ietf-httpapi-ratelimit-headers-10), in the place of what an upstream says of its own.
    pub fn write(&self, counted: &Counted, headers: &mut HeaderMap) {
        if counted.0.is_empty() {
            return;
        }
        let names = self.limits.iter().map(|limit| &*limit.name);
        fields::write(self.policy.as_ref(), names.zip(&counted.0), headers);
    }
}

fn count<'l>(limits: impl Iterator<Item = (&'l Limit, Key)>, counted: &mut Counted) -> Result<(), Refusal> {
    for (limit, key) in limits {
        let taken = limit.limiter.take(key);
        counted.0.push(taken);
        if let Some(retry_after) = taken.refused {
            return Err(Refusal::RateLimited { retry_after });
        }
    }
    Ok(())
}

/// None where the token doesn't say. One name at two issuers is two callers.
fn key_of(per: &LimitKey, principal: &Principal) -> Option<Key> {
    let issuer = &**principal.issuer();
    match per {
        LimitKey::Client => Some(Key::of_name(b"client", issuer, [principal.client()?])),
        LimitKey::Subject => Some(Key::of_name(b"subject", issuer, [principal.subject()?])),
        LimitKey::Claim(path) => {
            let values = path.find(principal.claims());
            (!values.is_empty()).then(|| match values.as_slice() {
                [Value::String(text)] => Key::of_name(b"text", issuer, [text.as_str()]),
                several => Key::of_name(b"json", issuer, several.iter().map(ToString::to_string)),
            })
        }
        LimitKey::Ip | LimitKey::Route => None,
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Key {
    const ROUTE: Key = Key(0);

    /// An IPv6 address by its /64: that much is one customer's (RFC 6177).
    pub(super) fn of_ip(ip: IpAddr) -> Key {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Key(1 << 120 | u128::from(ip.to_bits())),
            IpAddr::V6(ip) => Key(2 << 120 | ip.to_bits() >> 64),
        }
    }

    fn of_name(kind: &[u8], issuer: &str, parts: impl IntoIterator<Item = impl AsRef<str>>) -> Key {
        let mut context = Context::new(&SHA256);
        context.update(kind);
        let mut add = |text: &str| {
            context.update(&text.len().to_le_bytes());
            context.update(text.as_bytes());
        };
        add(issuer);
        parts.into_iter().for_each(|part| add(part.as_ref()));
        let digest = context.finish();
        let digest = digest.as_ref().iter().take(15).fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        Key(3 << 120 | digest)
    }

    /// Spreads keys evenly.
    pub(crate) fn spread(self) -> usize {
        let folded = (self.0 ^ self.0 >> 64) as u64;
        (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
