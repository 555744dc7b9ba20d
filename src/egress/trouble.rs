//! How often a token endpoint, and an upstream that refuses tokens, may cost another question.

use std::time::Duration;

use tokio::time::Instant;

use super::source::Fault;

const FIRST_REST: Duration = Duration::from_millis(250);
/// An endpoint that can't be reached may be back at any time; one that refuses will do so until somebody changes something.
const LONGEST_REST_UNREACHABLE: Duration = Duration::from_secs(5);
const LONGEST_REST_REFUSED: Duration = Duration::from_secs(30);
/// Tokens that upstreams may end by 401 at once; and after these, one every so often.
const MOST_ENDED: u32 = 10;
const ENDED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Failures in a row, and when to ask again.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failures: u32,
    last: Option<(Fault, Instant)>,
}

impl Trouble {
    /// The last fault, as long as it isn't worth to ask again.
    pub(super) fn rests(&self, now: Instant) -> Option<Fault> {
        let (fault, until) = self.last.filter(|(_, until)| now < *until)?;
        Some(match fault {
            Fault::Unavailable { .. } => Fault::Unavailable { retry_after: until - now },
            Fault::Refused => Fault::Refused,
        })
    }

    /// Notes a failure; what to say of it.
    pub(super) fn failed(&mut self, fault: Fault, now: Instant) -> Fault {
        let rest = FIRST_REST * 2u32.pow(self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let (rest, fault) = match fault {
            // What the endpoint itself says of when it is worth to ask again counts.
            Fault::Unavailable { retry_after } => {
                let rest = rest.min(LONGEST_REST_UNREACHABLE).max(retry_after);
                (rest, Fault::Unavailable { retry_after: rest })
            }
            Fault::Refused => (rest.min(LONGEST_REST_REFUSED), Fault::Refused),
        };
        self.last = Some((fault, now + rest));
        fault
    }

    /// A token came.
    pub(super) fn is_over(&mut self) {
        *self = Trouble::default();
    }
}

/// Whether a 401 of the upstream may end a token. Whoever can make an upstream say 401 could otherwise have the endpoint
/// asked with every request.
#[derive(Debug)]
pub(super) struct Endings {
    left: u32,
    /// When the next one is given.
    next: Instant,
}

impl Endings {
    pub(super) fn new(now: Instant) -> Endings {
        Endings { left: MOST_ENDED, next: now }
    }

    /// Takes one, if one is left.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        while self.left < MOST_ENDED && self.next <= now {
            self.left += 1;
            self.next += ENDED_AGAIN_AFTER;
        }
        if self.left == 0 {
            return false;
        }
        if self.left == MOST_ENDED {
            self.next = now + ENDED_AGAIN_AFTER;
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_endpoint_that_fails_is_asked_less_and_less() {
        let now = Instant::now();
        let rests = |fault: Fault| {
            let mut trouble = Trouble::default();
            let mut rests = Vec::new();
            let mut now = now;
            for _ in 0..40 {
                assert_eq!(trouble.rests(now), None);
                trouble.failed(fault, now);
                let rest = (1..).map(Duration::from_millis).find(|rest| trouble.rests(now + *rest).is_none()).unwrap();
                rests.push(rest.as_millis());
                now += rest;
            }
            rests
        };
        let unreachable = rests(Fault::Unavailable { retry_after: Duration::ZERO });
        assert_eq!(unreachable[..7], [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(unreachable.last(), Some(&5000));
        let refused = rests(Fault::Refused);
        assert_eq!(refused[..9], [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(refused.last(), Some(&30_000));
    }

    #[test]
    fn what_is_said_while_it_rests() {
        let now = Instant::now();
        let mut trouble = Trouble::default();
        assert_eq!(trouble.failed(Fault::Refused, now), Fault::Refused);
        assert_eq!(trouble.rests(now), Some(Fault::Refused));
        trouble.is_over();
        assert_eq!(trouble.rests(now), None);
        let busy = Fault::Unavailable { retry_after: seconds(20) };
        assert_eq!(trouble.failed(busy, now), busy, "the endpoint's own word");
        assert_eq!(trouble.rests(now + seconds(5)), Some(Fault::Unavailable { retry_after: seconds(15) }));
        assert_eq!(trouble.rests(now + seconds(20)), None);
    }

    #[test]
    fn an_upstream_that_refuses_every_token_costs_few() {
        let begin = Instant::now();
        let mut endings = Endings::new(begin);
        let mut taken = |at: u64, asked: u32| (0..asked).filter(|_| endings.take(begin + seconds(at))).count();
        assert_eq!(taken(0, 1000), 10);
        assert_eq!(taken(4, 1000), 0);
        assert_eq!(taken(5, 1000), 1);
        assert_eq!(taken(21, 1000), 3);
        assert_eq!(taken(1000, 1000), 10, "no more than that are saved up");
        assert_eq!(taken(1004, 1), 0);
        assert_eq!(taken(1005, 2), 1);
    }
}
