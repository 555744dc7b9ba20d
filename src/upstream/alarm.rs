//! A timer that is seldom moved.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Tells when a moment has come, one wait after the other. It stays in the runtime's timers from one wait to the next, and is moved
/// when it goes off too early: a request that is answered at once costs no place among them. Not for another runtime than that of its
/// first wait.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether `until` has come; if not, the task is woken then.
    pub(super) fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() < until {
            timer.as_mut().reset(until);
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wait_ends_when_its_moment_has_come() {
        let mut alarm = Alarm::default();
        let mut now = Instant::now();
        // Later than the one before, earlier, the same, and after the one before went off unheard.
        for (begin, length) in [(0, 50), (10, 70), (0, 20), (0, 20), (200, 30), (5, 0)] {
            tokio::time::advance(Duration::from_millis(begin)).await;
            now += Duration::from_millis(begin);
            let until = now + Duration::from_millis(length);
            assert_eq!(poll_fn(|cx| Poll::Ready(alarm.poll(until, cx))).await.is_ready(), length == 0);
            poll_fn(|cx| alarm.poll(until, cx)).await;
            // The runtime's timers go by milliseconds.
            let late = Instant::now() - until;
            assert!(late < Duration::from_millis(2), "{begin} {length}: {late:?} late");
            now = Instant::now();
        }
    }
}
