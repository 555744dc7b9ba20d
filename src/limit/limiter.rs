//! One limit: who has called how often, for as many as fit.
//!
//! Counted is by GCRA (a leaky bucket without a clock): for each key one point in time, up to which it has called "in
//! advance". A request moves it on by the time that one takes at the limit's rate, unless that would be further ahead than the
//! burst allows. A key whose point is over is as good as new and needs no memory.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Key, RateLimit};

/// Keys that a limit remembers, about 6 MiB. When more come, those are forgotten that have called least.
const MOST_KEYS: usize = 128 * 1024;
const SHARDS: usize = 16;

/// The counts of one limit: one for the process, and outliving snapshots that don't change it.
///
/// Counting is local and never waits. Replicas that share a limit add up what was spent: whoever carries that calls
/// `share` once, then `take_spent` and `catch_up` from time to time, with `id` to tell limits apart. While they can't,
/// each counts for itself.
pub struct Limiter {
    id: Box<str>,
    /// Nanoseconds that a request takes at the limit's rate.
    interval: u64,
    /// The same of a whole burst.
    depth: u64,
    begin: Instant,
    shards: [Mutex<Shard>; SHARDS],
    is_shared: AtomicBool,
}

#[derive(Default)]
struct Shard {
    keys: HashMap<Key, Count>,
    /// Those that have something untold.
    untold: Vec<Key>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    /// Nanoseconds from `begin`.
    until: u64,
    /// Requests that nobody else was told of.
    untold: u32,
}

/// Requests of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Whose. The same in every replica.
    pub key: Key,
    /// How many.
    pub requests: u32,
}

/// What a limit says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// None: it goes on. Else when it is worth to come again.
    pub(super) refused: Option<Duration>,
    /// How many may follow at once.
    pub(super) remaining: u64,
    /// When the whole burst may be called again, if nothing comes until then.
    pub(super) full_in: Duration,
}

impl Limiter {
    /// Nobody has called yet. `id` is the limit's name among replicas.
    pub fn new(id: &str, limit: &RateLimit) -> Limiter {
        let window = u64::try_from(limit.rate.per.as_nanos()).unwrap_or(u64::MAX);
        let interval = (window / u64::from(limit.rate.requests.max(1))).max(1);
        Limiter {
            id: id.into(),
            interval,
            depth: interval.saturating_mul(limit.burst.into()),
            begin: Instant::now(),
            shards: Default::default(),
            is_shared: AtomicBool::new(false),
        }
    }

    /// The limit's name among replicas: they have it in common if their configurations have.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// From now on, what is spent is kept for `take_spent`.
    pub fn share(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
    }

    /// What was spent here since the last call.
    pub fn take_spent(&self) -> Vec<Spent> {
        let mut spent = Vec::new();
        for shard in &self.shards {
            let shard = &mut *lock(shard);
            for key in shard.untold.drain(..) {
                if let Some(count) = shard.keys.get_mut(&key) {
                    spent.push(Spent { key, requests: std::mem::take(&mut count.untold) });
                }
            }
        }
        spent
    }

    /// What a request takes at the limit's rate.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// How far replicas may be ahead together: more than a few bursts comes of no honest count.
    pub fn most_ahead(&self) -> Duration {
        Duration::from_nanos(self.depth.saturating_mul(16))
    }

    /// All replicas together have called so far in advance. What was spent here meanwhile is told later.
    pub fn catch_up(&self, key: Key, ahead: Duration) {
        let now = self.now();
        let ahead = ahead.min(self.most_ahead());
        let until = now.saturating_add(u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX));
        let mut shard = self.shard(key);
        let count = shard.count(key, now);
        count.until = count.until.max(until);
    }

    pub(super) fn take(&self, key: Key) -> Taken {
        self.take_at(key, self.now())
    }

    fn take_at(&self, key: Key, now: u64) -> Taken {
        let shard = &mut *self.shard(key);
        let is_shared = self.is_shared.load(Ordering::Relaxed);
        let has_room = shard.untold.len() < MOST_KEYS / SHARDS;
        let count = shard.count(key, now);
        let until = count.until.max(now);
        let ahead = (until - now).saturating_add(self.interval);
        if ahead > self.depth {
            return Taken {
                refused: Some(Duration::from_nanos(ahead - self.depth)),
                remaining: 0,
                full_in: Duration::from_nanos(until - now),
            };
        }
        count.until = now.saturating_add(ahead);
        // While nobody asks, as many names are kept as there may be keys: what is more isn't told.
        let is_listed = count.untold > 0;
        if is_shared && (is_listed || has_room) {
            count.untold = count.untold.saturating_add(1);
            if !is_listed {
                shard.untold.push(key);
            }
        }
        let remaining = (self.depth - ahead) / self.interval;
        Taken { refused: None, remaining, full_in: Duration::from_nanos(ahead) }
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        let [first, ..] = &self.shards;
        lock(self.shards.get(key.spread() % SHARDS).unwrap_or(first))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Shard {
    fn count(&mut self, key: Key, now: u64) -> &mut Count {
        if self.keys.len() >= MOST_KEYS / SHARDS && !self.keys.contains_key(&key) {
            self.make_room(now);
        }
        self.keys.entry(key).or_default()
    }

    /// Forgets those whose time is over; if that isn't enough, the quarter that has called least.
    fn make_room(&mut self, now: u64) {
        self.keys.retain(|_, count| count.until > now || count.untold > 0);
        let most = MOST_KEYS / SHARDS * 3 / 4;
        if self.keys.len() <= most {
            return;
        }
        let mut ends: Vec<u64> = self.keys.values().map(|count| count.until).collect();
        let cut = self.keys.len() - most;
        let (_, cut, _) = ends.select_nth_unstable(cut);
        let cut = *cut;
        self.keys.retain(|_, count| count.until > cut);
    }
}

/// Nothing that holds it can panic; were it poisoned all the same, counts are sound.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::limit::{LimitKey, Rate};

    const SECOND: u64 = 1_000_000_000;

    fn limiter(requests: u32, seconds: u64, burst: u32) -> Limiter {
        let rate = Rate { requests, per: Duration::from_secs(seconds) };
        Limiter::new("r", &RateLimit { rate, burst, per: LimitKey::Ip })
    }

    fn key(number: u32) -> Key {
        Key::of_ip(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn a_burst_then_the_rate() {
        let limiter = limiter(10, 1, 3);
        let remaining = |now| {
            let taken = limiter.take_at(key(1), now);
            taken.refused.is_none().then_some(taken.remaining)
        };
        assert_eq!([0; 4].map(remaining), [Some(2), Some(1), Some(0), None]);
        let refused = limiter.take_at(key(1), 0);
        assert_eq!((refused.refused, refused.full_in), (Some(Duration::from_millis(100)), Duration::from_millis(300)));
        assert_eq!(remaining(SECOND / 10 - 1), None, "a refusal costs nothing, and time passes");
        assert_eq!(remaining(SECOND / 10), Some(0));
        assert_eq!(remaining(SECOND / 10), None);
        assert_eq!(remaining(10 * SECOND), Some(2), "rested");
        assert_eq!(limiter.take_at(key(2), 0).remaining, 2, "another key");
    }

    #[test]
    fn what_was_spent_is_told_once_and_counts_elsewhere() {
        let (here, there) = (limiter(1, 3600, 5), limiter(1, 3600, 5));
        here.take(key(1));
        assert_eq!(here.take_spent(), [], "nobody shares it");
        here.share();
        (0..2).for_each(|_| assert_eq!(here.take(key(1)).refused, None));
        let spent = here.take_spent();
        assert_eq!(spent, [Spent { key: key(1), requests: 2 }]);
        assert_eq!(here.take_spent(), []);
        there.share();
        there.catch_up(key(1), 3 * here.interval());
        assert_eq!(there.take(key(1)).remaining, 1);
        assert_eq!(there.take_spent().len(), 1, "what came from elsewhere isn't told again");
        there.catch_up(key(1), Duration::ZERO);
        assert_eq!(there.take(key(1)).remaining, 0, "nothing is given back");
        there.catch_up(key(1), 9 * here.interval());
        assert!(there.take(key(1)).refused.unwrap() > 4 * here.interval(), "what was too much is made up for");
        there.catch_up(key(1), Duration::from_secs(1 << 40));
        assert!(there.take(key(1)).refused.unwrap() <= there.most_ahead(), "whatever another one says");
    }

    #[test]
    fn keys_are_bounded_and_who_calls_most_stays() {
        let limiter = limiter(1, 3600, 10);
        for _ in 0..10 {
            assert_eq!(limiter.take(key(7)).refused, None);
        }
        for number in 0..2 * MOST_KEYS as u32 {
            limiter.take(key(1000 + number));
        }
        let kept: usize = limiter.shards.iter().map(|shard| lock(shard).keys.len()).sum();
        assert!(kept <= MOST_KEYS && kept > MOST_KEYS / 2, "{kept}");
        assert!(limiter.take(key(7)).refused.is_some());
    }

    #[test]
    fn what_nobody_is_told_is_bounded() {
        let limiter = limiter(1, 3600, 10);
        limiter.share();
        for number in 0..4 * MOST_KEYS as u32 {
            limiter.take(key(number));
        }
        let untold: usize = limiter.shards.iter().map(|shard| lock(shard).untold.len()).sum();
        assert!(untold <= MOST_KEYS, "{untold}");
        assert!(limiter.take_spent().len() <= MOST_KEYS);
        limiter.take(key(1));
        assert_eq!(limiter.take_spent().len(), 1, "it goes on");
    }

    #[test]
    fn keys_that_rested_make_room() {
        let limiter = limiter(1000, 1, 1);
        for number in 0..4 * MOST_KEYS as u32 {
            limiter.take_at(key(number), u64::from(number) * SECOND / 1000);
        }
        assert_eq!(limiter.take_at(key(4 * MOST_KEYS as u32), u64::MAX / 2).refused, None);
    }

    proptest! {
        /// Never more than the burst, and what the rate allows in the time.
        #[test]
        fn no_more_than_the_limit_in_any_time(
            requests in 1u32..50, burst in 1u32..20, steps in prop::collection::vec(0u64..SECOND, 1..200),
        ) {
            let limiter = limiter(requests, 1, burst);
            let (mut now, mut let_in) = (0, 0);
            for step in steps {
                now += step;
                let_in += u64::from(limiter.take_at(key(1), now).refused.is_none());
                prop_assert!(let_in <= u64::from(burst) + now / limiter.interval);
            }
        }
    }
}
