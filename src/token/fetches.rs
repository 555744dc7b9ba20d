//! Which fetches of an issuer's keys were asked for, run, and have ended.

use std::time::Duration;

use tokio::time::Instant;

use super::Asking;

/// Between the starts of two fetches for unknown kids.
pub(in crate::token) const UNKNOWN_KID_INTERVAL: Duration = Duration::from_secs(5);

/// Fetches (a file that is read is one, too) are numbered from 1, and made one after the other.
#[derive(Debug, Default)]
pub(in crate::token) struct Fetches {
    /// The number of the last one that began.
    pub(in crate::token) begun: u64,
    /// The number of the last one that ended.
    pub(in crate::token) ended: u64,
    /// The number of the last one that somebody asked for.
    wanted: u64,
    /// For whom.
    wanted_for: Asking,
    /// When the last one that a request asked for began.
    pub(in crate::token) last_wanted: Option<Instant>,
    /// The same of those that were asked for beside.
    last_wanted_beside: Option<Instant>,
    /// How the last one ended.
    pub(in crate::token) is_ok: bool,
}

impl Fetches {
    /// Asks for one, unless one is under way, or was asked for a moment ago; whether it did.
    pub(in crate::token) fn want(&mut self, asking: Asking) -> bool {
        let is_new = self.under_way().is_none() && self.may_be_wanted(asking);
        if is_new {
            self.wanted = self.ended + 1;
            self.wanted_for = asking;
        }
        is_new
    }

    /// The number of the one that runs, or is about to.
    pub(in crate::token) fn under_way(&self) -> Option<u64> {
        (self.is_running() || self.is_wanted()).then(|| self.ended + 1)
    }

    /// The next one begins.
    pub(in crate::token) fn begin(&mut self) {
        if self.is_wanted() {
            let last = match self.wanted_for {
                Asking::InForce => &mut self.last_wanted,
                Asking::Beside => &mut self.last_wanted_beside,
            };
            *last = Some(Instant::now());
        }
        self.begun += 1;
    }

    /// Whether one is asked for that hasn't begun.
    pub(in crate::token) fn is_wanted(&self) -> bool {
        self.wanted > self.begun
    }

    fn is_running(&self) -> bool {
        self.begun > self.ended
    }

    fn may_be_wanted(&self, asking: Asking) -> bool {
        let last = match asking {
            Asking::InForce => self.last_wanted,
            Asking::Beside => self.last_wanted_beside,
        };
        last.is_none_or(|begun| begun.elapsed() >= UNKNOWN_KID_INTERVAL)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_beside_delays_no_request() {
        let mut fetches = Fetches::default();
        let done = |fetches: &mut Fetches| {
            fetches.begin();
            fetches.ended = fetches.begun;
        };
        assert!(fetches.want(Asking::Beside));
        assert_eq!(fetches.under_way(), Some(1));
        assert!(!fetches.want(Asking::InForce), "it waits for the one that is asked for");
        done(&mut fetches);
        assert!(!fetches.want(Asking::Beside), "too soon");
        assert_eq!(fetches.under_way(), None);
        assert!(fetches.want(Asking::InForce), "as if nobody had asked");
        done(&mut fetches);
        assert!(!fetches.want(Asking::InForce), "too soon");
        tokio::time::advance(UNKNOWN_KID_INTERVAL).await;
        assert!(fetches.want(Asking::Beside));
        done(&mut fetches);
        assert!(fetches.want(Asking::InForce));
    }
}
