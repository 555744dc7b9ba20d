//! How much may be tried again: retries as a share of requests, so that they don't bury an upstream that is in trouble.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use hyper::Method;
use tokio::time::{Duration, Instant};

/// What the share is taken of: the requests of one or two such times.
const WINDOW: Duration = Duration::from_secs(5);
/// So many are let through in that time, however few requests there are.
const RESERVE: u64 = 10;

/// The retries of one upstream.
#[derive(Debug)]
pub(super) struct Budget {
    /// Of requests; 0: there are none.
    percent: u64,
    /// Requests that were ever begun.
    begun: AtomicU64,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    /// `begun` then.
    begun: u64,
    retries: u64,
    /// Requests and retries of the window before.
    before: (u64, u64),
}

impl Budget {
    pub(super) fn new(percent: u8) -> Budget {
        let window = Window { since: Instant::now(), begun: 0, retries: 0, before: (0, 0) };
        Budget { percent: percent.into(), begun: AtomicU64::new(0), window: Mutex::new(window) }
    }

    /// A request is begun.
    pub(super) fn begun(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there may be one more retry; then it counts. Only retries take this lock.
    pub(super) fn take(&self) -> bool {
        let begun = self.begun.load(Ordering::Relaxed);
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.move_on(begun);
        let requests = window.before.0.saturating_add(begun.saturating_sub(window.begun));
        let retries = window.before.1.saturating_add(window.retries);
        let most = requests.saturating_mul(self.percent) / 100 + RESERVE;
        let granted = self.percent > 0 && retries < most;
        window.retries += u64::from(granted);
        granted
    }
}

impl Window {
    /// Begins a new window where this one is over. One that was too long, since nobody asked, counts by its average.
    fn move_on(&mut self, begun: u64) {
        let elapsed = self.since.elapsed();
        if elapsed < WINDOW {
            return;
        }
        let average = |count: u64| {
            let share = u128::from(count).saturating_mul(WINDOW.as_millis()) / elapsed.as_millis().max(1);
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        let before = (average(begun.saturating_sub(self.begun)), average(self.retries));
        *self = Window { since: Instant::now(), begun, retries: 0, before };
    }
}

/// Whether such a request may be worked on twice without harm (RFC 9110, section 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn granted(budget: &Budget, requests: u64) -> u64 {
        (0..requests).map(|_| budget.begun()).fold(0, |granted, ()| granted + u64::from(budget.take()))
    }

    #[tokio::test(start_paused = true)]
    async fn retries_are_a_share_of_requests() {
        for (percent, most) in [(0, 0), (20, 200 + RESERVE), (100, 1000)] {
            assert_eq!(granted(&Budget::new(percent), 1000), most, "{percent}");
        }
        assert_eq!(granted(&Budget::new(20), 5), 5, "few requests have the reserve");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_long_ago_does_not_count() {
        let budget = Budget::new(20);
        (0..3600).for_each(|_| budget.begun());
        advance(Duration::from_secs(3600)).await;
        // One request a second: 5 in a window, of which one retry.
        assert_eq!((0..1000).filter(|_| budget.take()).count() as u64, RESERVE + 1);
        advance(WINDOW * 3).await;
        assert!(budget.take(), "and neither do old retries for ever");
    }
}
