//! What the framing guard and the service of one connection tell each other.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

use tokio::time::Instant;

use crate::{body::BodyFault, refusal::Refusal};

/// The requests of a connection, in order: the guard notes each head that it hands on, and hyper calls the service once for
/// each.
#[derive(Clone, Debug)]
pub(in crate::server) struct Exchanges(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    noted: VecDeque<Noted>,
    in_flight: usize,
    closing: bool,
    in_body: bool,
    switched: bool,
    /// The guard, which waits for the answer under way.
    waiting: Option<Waker>,
    last_end: Instant,
}

/// What the next byte on the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A head's.
    Head,
    /// It depends on the answer that is under way.
    Answer,
    /// Another protocol's.
    Tunnel,
}

/// What the guard knows of a request.
#[derive(Debug, Default)]
pub(in crate::server) struct Noted {
    /// Set where the head was refused and replaced.
    pub(in crate::server) fault: Option<Refusal>,
    /// What is found wrong in the body, later.
    pub(in crate::server) body_fault: BodyFault,
}

/// A request whose answer isn't at its end.
#[derive(Debug)]
pub(in crate::server) struct InFlight(Exchanges);

impl Exchanges {
    pub(in crate::server) fn new() -> Exchanges {
        Exchanges(Arc::new(Mutex::new(Inner {
            noted: VecDeque::new(),
            in_flight: 0,
            closing: false,
            in_body: false,
            switched: false,
            waiting: None,
            last_end: Instant::now(),
        })))
    }

    /// The guard hands on a head.
    pub(super) fn note(&self, noted: Noted) {
        let mut inner = self.lock();
        inner.noted.push_back(noted);
    }

    /// The guard is in the middle of a body, or at its end.
    pub(super) fn set_in_body(&self, in_body: bool) {
        self.lock().in_body = in_body;
    }

    /// Whether something of a body is yet to come: where nobody wants it any more, the connection ends with the answer.
    pub(in crate::server) fn is_in_body(&self) -> bool {
        self.lock().in_body
    }

    /// The service is called. A call for a head that the guard hasn't seen can't be, and would be refused.
    pub(in crate::server) fn begin(&self) -> (Noted, InFlight) {
        let mut inner = self.lock();
        inner.in_flight += 1;
        let noted = inner.noted.pop_front().unwrap_or_else(|| Noted {
            fault: Some(Refusal::Framing("the request could not be told from the one before it")),
            body_fault: BodyFault::default(),
        });
        (noted, InFlight(self.clone()))
    }

    /// The answer under way changes the protocol: what follows the request is no longer HTTP.
    pub(in crate::server) fn switch(&self) {
        self.lock().switched = true;
    }

    /// What follows the request that was handed on last. Where that depends, the task is woken once it doesn't any more.
    pub(super) fn next(&self, cx: &Context<'_>) -> Next {
        let mut inner = self.lock();
        if inner.switched {
            return Next::Tunnel;
        }
        if inner.in_flight == 0 && inner.noted.is_empty() {
            return Next::Head;
        }
        match &mut inner.waiting {
            Some(waiting) => waiting.clone_from(cx.waker()),
            waiting => *waiting = Some(cx.waker().clone()),
        }
        Next::Answer
    }

    /// When the last answer ended, if none is under way.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let inner = self.lock();
        (inner.in_flight == 0 && inner.noted.is_empty()).then_some(inner.last_end)
    }

    /// From now on every answer is the last one of the connection.
    pub(in crate::server) fn close(&self) {
        self.lock().closing = true;
    }

    pub(in crate::server) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        inner.last_end = Instant::now();
        let waiting = inner.waiting.take();
        drop(inner);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}
