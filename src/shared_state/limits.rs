//! Rate limits that replicas have in common. Each counts for itself, adds what it let through to what is counted in the
//! server, and goes on from the sum.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{Script, ScriptInvocation};

use super::{RedisSettings, link::Link};
use crate::limit::{Limiter, Spent};

/// At once: a step of this size holds the server up for less than a millisecond.
const BATCH: usize = 100;
/// A cluster's slots that counts are spread over.
const SLOTS: usize = 64;

/// As `Limiter` does it: for each key the point in time up to which was called in advance, in microseconds of the server's
/// clock. KEYS: the counts'. ARGV: for each, the microseconds that were spent and how far ahead it may be. How far each is ahead.
const ADD: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ahead = {}
for i, key in ipairs(KEYS) do
  local till = tonumber(redis.call('GET', key) or 0)
  if till < now then till = now end
  till = math.min(till + ARGV[2 * i - 1], now + ARGV[2 * i])
  redis.call('SET', key, string.format('%.0f', till), 'PX', math.ceil((till - now) / 1000) + 1)
  ahead[i] = string.format('%.0f', till - now)
end
return ahead";

/// A connection.
pub(super) struct Counts {
    link: Link,
    add: Script,
}

impl Counts {
    /// # Errors
    /// In words for the operator.
    pub(super) async fn begin(settings: &RedisSettings) -> Result<Counts, String> {
        Ok(Counts { link: Link::connect(settings).await?, add: Script::new(ADD) })
    }

    /// Adds what was spent here, and takes what was spent by all. What can't be added counts here alone.
    ///
    /// # Errors
    /// As `begin`.
    pub(super) async fn exchange(&mut self, limiters: &[Arc<Limiter>]) -> Result<(), String> {
        let mut by_slot: HashMap<usize, Vec<(&Limiter, Spent)>> = HashMap::new();
        for limiter in limiters {
            for spent in limiter.take_spent() {
                by_slot.entry(spent.key.spread() % SLOTS).or_default().push((limiter, spent));
            }
        }
        for (slot, all) in by_slot {
            for batch in all.chunks(BATCH) {
                self.add(slot, batch).await?;
            }
        }
        Ok(())
    }

    async fn add(&mut self, slot: usize, batch: &[(&Limiter, Spent)]) -> Result<(), String> {
        let mut call: ScriptInvocation<'_> = self.add.prepare_invoke();
        for (limiter, spent) in batch {
            call.key(format!("{{bearward:limits:{slot}}}:{}:{}", limiter.id(), spent.key));
            call.arg((limiter.interval() * spent.requests).as_secs_f64() * 1e6);
            call.arg(limiter.most_ahead().as_secs_f64() * 1e6);
        }
        let ahead: Vec<u64> = call.invoke_async(&mut self.link).await.map_err(|error| error.to_string())?;
        for ((limiter, spent), ahead) in batch.iter().zip(ahead) {
            limiter.catch_up(spent.key, Duration::from_micros(ahead));
        }
        Ok(())
    }
}
