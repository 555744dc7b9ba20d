//! The keys by which assertions are verified: those that sign, those that are announced, and for a while those that have signed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{identity::AssertionPlan, signer::PublicJwk};

/// Where they are.
pub const JWKS: &str = "/.well-known/bearward/jwks.json";

/// How long a key stays beyond the last assertion that it signed: clocks differ, and requests wait in queues.
const MARGIN: Duration = Duration::from_secs(300);
/// Keys that have signed and are still published; the oldest give way.
const MOST_RETIRED: usize = 100;

/// The key set of one configuration.
#[derive(Clone, Debug)]
pub struct PublishedKeys {
    /// Each with how long its assertions are good.
    in_force: Vec<(PublicJwk, Duration)>,
    retired: Arc<RetiredKeys>,
}

/// Keys of earlier configurations. One for the process.
#[derive(Debug, Default)]
pub struct RetiredKeys(Mutex<Vec<Retired>>);

#[derive(Debug)]
struct Retired {
    key: PublicJwk,
    /// Unix seconds.
    until: i64,
}

impl PublishedKeys {
    /// The keys of these plans, each once, beside those that are retired. None where no plan has any.
    pub fn of<'p>(plans: impl Iterator<Item = &'p AssertionPlan>, retired: &Arc<RetiredKeys>) -> Option<PublishedKeys> {
        let mut in_force: Vec<(PublicJwk, Duration)> = Vec::new();
        for plan in plans {
            for key in [&plan.key].into_iter().chain(&plan.announced).filter_map(|key| key.public_jwk()) {
                match in_force.iter_mut().find(|(known, _)| known.kid == key.kid) {
                    Some((_, ttl)) => *ttl = plan.ttl.max(*ttl),
                    None => in_force.push((key, plan.ttl)),
                }
            }
        }
        (!in_force.is_empty()).then(|| PublishedKeys { in_force, retired: retired.clone() })
    }

    /// Keeps the keys that the next configuration doesn't have, until nothing that they have signed is good any more. `now`
    /// in Unix seconds.
    pub fn retire_for(&self, next: Option<&PublishedKeys>, now: i64) {
        let stays = |kid: &str| next.is_some_and(|next| next.in_force.iter().any(|(key, _)| key.kid == kid));
        let mut retired = self.retired.0.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|old| old.until > now && !stays(&old.key.kid));
        for (key, ttl) in self.in_force.iter().filter(|(key, _)| !stays(&key.kid)) {
            let end = i64::try_from((*ttl + MARGIN).as_secs()).unwrap_or(i64::MAX);
            retired.push(Retired { key: key.clone(), until: now.saturating_add(end) });
        }
        let too_many = retired.len().saturating_sub(MOST_RETIRED);
        retired.drain(..too_many);
    }

    /// The key set (RFC 7517, section 5) as of now, in Unix seconds.
    pub fn document(&self, now: i64) -> Value {
        let retired = self.retired.0.lock().unwrap_or_else(PoisonError::into_inner);
        let in_force = self.in_force.iter().map(|(key, _)| key);
        let is_new = |old: &&Retired| !self.in_force.iter().any(|(key, _)| key.kid == old.key.kid);
        let old = retired.iter().filter(|old| old.until > now).filter(is_new).map(|old| &old.key);
        json!({"keys": in_force.chain(old).map(|key| &key.jwk).collect::<Vec<_>>()})
    }
}
