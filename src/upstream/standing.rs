//! Whether an endpoint may be asked: what active checks say of it, and whether it rests after failures in a row.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use tokio::time::{Duration, Instant};

use super::{Ejection, EndpointAddress, HealthCheck, UpstreamSettings};
use crate::observe::{EndpointChange, EndpointHealth};

/// What an endpoint's standing depends on: as long as that stays, it outlives the settings of its upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointIdentity {
    upstream: std::sync::Arc<str>,
    address: EndpointAddress,
    health: Option<HealthCheck>,
}

impl EndpointIdentity {
    /// Of an upstream's endpoint.
    pub fn of(settings: &UpstreamSettings, address: &EndpointAddress) -> EndpointIdentity {
        EndpointIdentity { upstream: settings.name.clone(), address: address.clone(), health: settings.health.clone() }
    }
}

/// An endpoint's standing: one for the process, whatever the number of workers. While all is well, asking costs two reads.
pub struct Standing {
    health: EndpointHealth,
    /// By active checks.
    is_well: AtomicBool,
    /// Failures in a row.
    failures: AtomicU32,
    /// Milliseconds from `begin` to when the rest is over; 0: it doesn't rest.
    rests_until: AtomicU64,
    /// Whether it rests because no connection to it could be had.
    is_unreachable: AtomicBool,
    /// Milliseconds from `begin`: from then on it may be asked though it rests, where no other is left.
    anyway_from: AtomicU64,
    begin: Instant,
}

/// How long all endpoints that can't be connected to are left alone.
const ALONE: Duration = Duration::from_secs(1);

/// What an endpoint has done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    /// There was no connection to be had.
    Unreachable,
    /// It broke off, took too long, or answered with 502, 503 or 504: that may be about what it was asked, too.
    Answering,
}

/// A request may go to an endpoint; `Trial`: it is the one that finds out whether a rest is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Plain,
    Trial,
}

impl Standing {
    /// A good one.
    pub fn new(health: EndpointHealth) -> Standing {
        health.set(true);
        Standing {
            health,
            is_well: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            is_unreachable: AtomicBool::new(false),
            anyway_from: AtomicU64::new(0),
            begin: Instant::now(),
        }
    }

    /// Whether `enter` would let a request in, as far as can be told without asking it.
    pub(super) fn may_enter(&self) -> bool {
        self.is_well.load(Ordering::Relaxed)
            && match self.rests_until.load(Ordering::Relaxed) {
                0 => true,
                until => self.now() >= until,
            }
    }

    /// Lets a request in. After a rest one goes first; if nothing is heard of it, the next one after as long again.
    pub(super) fn enter(&self, eject: Option<&Ejection>) -> Option<Admission> {
        if !self.is_well.load(Ordering::Relaxed) {
            return None;
        }
        let until = self.rests_until.load(Ordering::Relaxed);
        if until == 0 {
            return Some(Admission::Plain);
        }
        let now = self.now();
        if now < until {
            return None;
        }
        let next = after(now, eject.map_or(Duration::ZERO, |eject| eject.rest));
        let won = self.rests_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed);
        won.ok().map(|_| Admission::Trial)
    }

    /// Lets a request in though it rests, where no other endpoint is left: whoever asks for what fails everywhere must not
    /// keep all others out. One that can't be connected to is tried once a second.
    pub(super) fn enter_anyway(&self) -> Option<Admission> {
        if !self.is_well.load(Ordering::Relaxed) {
            return None;
        }
        if self.rests_until.load(Ordering::Relaxed) == 0 {
            return Some(Admission::Plain);
        }
        if !self.is_unreachable.load(Ordering::Relaxed) {
            return Some(Admission::Trial);
        }
        let (now, from) = (self.now(), self.anyway_from.load(Ordering::Relaxed));
        let next = after(now, ALONE);
        let won =
            now >= from && self.anyway_from.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        won.then_some(Admission::Trial)
    }

    /// An answer came that speaks for it. What began before a rest doesn't end it.
    pub(super) fn succeeded(&self, admission: Admission) {
        if admission == Admission::Trial {
            self.rests_until.store(0, Ordering::Relaxed);
            self.failures.store(0, Ordering::Relaxed);
            self.tell(EndpointChange::Returned);
        } else if self.failures.load(Ordering::Relaxed) > 0 && self.rests_until.load(Ordering::Relaxed) == 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// No answer came, or one that speaks against it.
    pub(super) fn failed(&self, admission: Admission, eject: Option<&Ejection>, failing: Failing) {
        let Some(eject) = eject else { return };
        let rests = |now| {
            self.is_unreachable.store(failing == Failing::Unreachable, Ordering::Relaxed);
            self.anyway_from.store(after(now, ALONE), Ordering::Relaxed);
        };
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let now = self.now();
        let until = after(now, eject.rest);
        if admission == Admission::Trial {
            rests(now);
            self.rests_until.store(until, Ordering::Relaxed);
        } else if failures >= eject.failures {
            // One that rests already isn't made to rest longer by what began before.
            let began = self.rests_until.compare_exchange(0, until, Ordering::Relaxed, Ordering::Relaxed);
            if began.is_ok() {
                rests(now);
                self.tell(EndpointChange::Rests { failures, rest: eject.rest });
            }
        }
    }

    /// Whether requests go there as they come, and how long it rests still: zero where the next request tries it, None
    /// where it doesn't rest.
    pub(super) fn report(&self) -> (bool, Option<Duration>) {
        let rest = match self.rests_until.load(Ordering::Relaxed) {
            0 => None,
            until => Some(Duration::from_millis(until.saturating_sub(self.now()))),
        };
        (self.is_well.load(Ordering::Relaxed) && rest.is_none(), rest)
    }

    /// What active checks find.
    pub(super) fn set_well(&self, is_well: bool) {
        if self.is_well.swap(is_well, Ordering::Relaxed) != is_well {
            self.tell(if is_well { EndpointChange::Well } else { EndpointChange::Unwell });
        }
    }

    fn tell(&self, change: EndpointChange) {
        change.record(&self.health, self.report().0);
    }

    /// Never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

fn after(now: u64, rest: Duration) -> u64 {
    now.saturating_add(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX))
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing")
            .field("is_well", &self.is_well)
            .field("failures", &self.failures)
            .field("rests_until", &self.rests_until)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::observe::Observer;

    const EJECT: Ejection = Ejection { failures: 3, rest: Duration::from_secs(10) };

    fn standing() -> Standing {
        Standing::new(Observer::silent().endpoint_health("up", "endpoint"))
    }

    fn fail(standing: &Standing, times: usize) {
        for _ in 0..times {
            standing.failed(Admission::Plain, Some(&EJECT), Failing::Unreachable);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_bring_a_rest_and_one_request_ends_it() {
        let standing = standing();
        fail(&standing, 2);
        standing.succeeded(Admission::Plain);
        fail(&standing, 2);
        assert_eq!(standing.enter(Some(&EJECT)), Some(Admission::Plain), "not in a row");
        fail(&standing, 1);
        assert_eq!((standing.enter(Some(&EJECT)), standing.may_enter()), (None, false));

        standing.succeeded(Admission::Plain);
        assert_eq!(standing.enter(Some(&EJECT)), None, "what began before doesn't count");
        advance(EJECT.rest).await;
        assert!(standing.may_enter());
        assert_eq!(standing.enter(Some(&EJECT)), Some(Admission::Trial));
        assert_eq!(standing.enter(Some(&EJECT)), None, "one at a time");
        standing.succeeded(Admission::Trial);
        fail(&standing, 2);
        assert_eq!(standing.enter(Some(&EJECT)), Some(Admission::Plain));
    }

    #[tokio::test(start_paused = true)]
    async fn where_no_other_is_left_it_is_asked_all_the_same() {
        let standing = standing();
        for _ in 0..3 {
            standing.failed(Admission::Plain, Some(&EJECT), Failing::Answering);
        }
        assert!(!standing.may_enter());
        for _ in 0..3 {
            assert_eq!(standing.enter_anyway(), Some(Admission::Trial));
            standing.failed(Admission::Trial, Some(&EJECT), Failing::Answering);
        }
        standing.failed(Admission::Trial, Some(&EJECT), Failing::Unreachable);
        assert_eq!(standing.enter_anyway(), None, "nobody is there");
        advance(ALONE).await;
        assert_eq!(standing.enter_anyway(), Some(Admission::Trial));
        assert_eq!(standing.enter_anyway(), None, "one at a time");
        standing.succeeded(Admission::Trial);
        assert!(standing.may_enter());
        standing.set_well(false);
        assert_eq!(standing.enter_anyway(), None, "checks say otherwise");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_fails_or_is_not_heard_of_makes_the_rest_longer() {
        let standing = standing();
        fail(&standing, 3);
        for heard_of in [true, false] {
            advance(EJECT.rest).await;
            assert_eq!(standing.enter(Some(&EJECT)), Some(Admission::Trial));
            if heard_of {
                standing.failed(Admission::Trial, Some(&EJECT), Failing::Unreachable);
            }
            advance(EJECT.rest - Duration::from_millis(1)).await;
            assert_eq!(standing.enter(Some(&EJECT)), None);
            advance(Duration::from_millis(1)).await;
        }
        assert_eq!(standing.enter(Some(&EJECT)), Some(Admission::Trial));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_during_a_rest_do_not_make_it_longer() {
        let standing = standing();
        fail(&standing, 3);
        advance(EJECT.rest / 2).await;
        fail(&standing, 30);
        advance(EJECT.rest / 2).await;
        assert_eq!(standing.enter(Some(&EJECT)), Some(Admission::Trial));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_rests_where_that_is_not_configured() {
        let standing = standing();
        for _ in 0..100 {
            standing.failed(Admission::Plain, None, Failing::Unreachable);
        }
        assert_eq!(standing.enter(None), Some(Admission::Plain));
    }

    #[tokio::test(start_paused = true)]
    async fn the_gauge_is_1_only_where_requests_go() {
        let observer = Observer::silent();
        let standing = Standing::new(observer.endpoint_health("up", "a:1"));
        let healthy = || {
            let metrics = observer.render_metrics();
            metrics.contains("bearward_upstream_healthy{endpoint=\"a:1\",upstream=\"up\"} 1")
        };
        assert!(healthy());
        standing.set_well(false);
        assert!(!healthy() && !standing.may_enter());
        fail(&standing, 3);
        standing.set_well(true);
        assert!(!healthy(), "it rests");
        advance(EJECT.rest).await;
        assert_eq!(standing.enter(Some(&EJECT)), Some(Admission::Trial));
        standing.succeeded(Admission::Trial);
        assert!(healthy());
        drop(standing);
        assert!(!observer.render_metrics().contains("bearward_upstream_healthy{"), "no endpoint, no sample");
    }
}
