//! A body that waits for its upstream's word: `Expect: 100-continue` (RFC 9110, section 10.1.1). Whoever expects it keeps its
//! body back until it is told to go on, and the gateway asks it for nothing before the upstream does.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use hyper::{HeaderMap, header::EXPECT};
use tokio::time::{Instant, Sleep};

use super::poll_timer;

/// Upstreams that have never heard of it say nothing and wait for the body.
const AT_MOST: Duration = Duration::from_secs(1);

/// What an upstream has to say about a body that is held back.
#[derive(Clone, Debug)]
pub struct Held(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    word: Word,
    waiting: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// None yet.
    Silence,
    /// The body goes, and nothing stops it any more.
    GoOn,
    /// There is an answer, to a request whose body was never asked for: it stays where it is.
    Answered,
    /// And the answer is through.
    Over,
}

/// An answer that came without its request's body. Dropped, it ends the upstream's wait for that.
#[derive(Debug)]
pub struct Unasked(Held);

/// The body's side.
#[derive(Debug)]
pub(super) struct Waiting {
    held: Held,
    until: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Marks an answer after which its client owes a body that nobody has asked for: who takes the connection for free and who
/// doesn't may be of two minds, so it has to be closed.
#[derive(Clone, Copy, Debug)]
pub struct OwesBody;

/// Whether a request's body waits to be asked for.
pub(super) fn is_expected(headers: &HeaderMap) -> bool {
    headers.get_all(EXPECT).iter().any(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

impl Held {
    pub(super) fn new() -> Held {
        Held(Arc::new(Mutex::new(State { word: Word::Silence, waiting: None })))
    }

    pub(super) fn waiting(&self) -> Waiting {
        Waiting { held: self.clone(), until: Instant::now() + AT_MOST, timer: None }
    }

    /// The upstream asks for the body.
    pub fn go_on(&self) {
        self.tell(|word| if word == Word::Silence { Word::GoOn } else { word });
    }

    /// The upstream has answered. None: it had asked for the body, or waited for it.
    #[must_use]
    pub fn answered(self) -> Option<Unasked> {
        self.tell(|word| if word == Word::Silence { Word::Answered } else { word });
        let was_asked = self.lock().word != Word::Answered;
        if was_asked { None } else { Some(Unasked(self)) }
    }

    fn tell(&self, change: impl FnOnce(Word) -> Word) {
        let waiting = {
            let mut state = self.lock();
            state.word = change(state.word);
            state.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Unasked {
    fn drop(&mut self) {
        self.0.tell(|_| Word::Over);
    }
}

impl Waiting {
    /// Ready once it is known whether the body goes.
    pub(super) fn poll_goes(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.held.lock();
        if state.word == Word::Silence && poll_timer(&mut self.timer, self.until, cx) {
            state.word = Word::GoOn;
        }
        match state.word {
            Word::GoOn => Poll::Ready(true),
            Word::Over => Poll::Ready(false),
            Word::Silence | Word::Answered => {
                state.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_gets_the_body_after_a_while() {
        let held = Held::new();
        let mut waiting = held.waiting();
        let begin = Instant::now();
        assert!(poll_fn(|cx| waiting.poll_goes(cx)).await);
        assert_eq!(begin.elapsed(), AT_MOST);
        assert!(held.answered().is_none(), "it goes");
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_when_it_is_asked_for() {
        let held = Held::new();
        let mut waiting = held.waiting();
        let begin = Instant::now();
        let (goes, ()) = tokio::join!(poll_fn(|cx| waiting.poll_goes(cx)), async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            held.go_on();
        });
        assert!(goes && begin.elapsed() < AT_MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_keeps_it_where_it_is_and_then_ends_it() {
        let held = Held::new();
        let mut waiting = held.waiting();
        let unasked = held.clone().answered().unwrap();
        let long = Duration::from_secs(3600);
        assert!(tokio::time::timeout(long, poll_fn(|cx| waiting.poll_goes(cx))).await.is_err());
        held.go_on();
        drop(unasked);
        assert!(!poll_fn(|cx| waiting.poll_goes(cx)).await, "a late word changes nothing");
    }
}
