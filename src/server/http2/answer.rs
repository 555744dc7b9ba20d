//! The answer on one HTTP/2 stream: its body in pieces, and the end of those that nobody takes. HTTP/2 has windows of its
//! own: a client can read everything else on its connection and never open that of one answer.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::Instant;

use super::{super::stall::poll_past, InFlight};
use crate::body::{Body, BodyError};

/// A body is asked for its next piece once there is room for a byte of it: the smaller the pieces, the sooner it shows that
/// a client reads. They grow as long as they go at once.
const FIRST_PIECE: usize = 4 * 1024;
const SMALLEST_PIECE: usize = 1024;
const LARGEST_PIECE: usize = 64 * 1024;
const AT_ONCE: Duration = Duration::from_millis(20);

/// A body that notes when it is over.
pub(super) struct Answer {
    body: Body,
    /// What was read of it and is more than a piece.
    rest: Bytes,
    piece: usize,
    turn: Turn,
    _in_flight: InFlight,
}

/// Whose turn it is: since when the client could take something and doesn't; None: it waits for us.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<Mutex<Option<Instant>>>);

/// Runs the streams of a connection, and ends those that are the client's turn for too long: they are reset, and what they
/// read from is let go.
#[derive(Clone)]
pub(super) struct Streams {
    /// Of the request that came last. hyper hands a stream over as soon as its service was called.
    pub(super) last: Turns,
    pub(super) limit: Duration,
}

/// Hands the turn of a request over from the service to who runs its stream.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<Turn>>);

impl Answer {
    pub(super) fn new(body: Body, turn: Turn, in_flight: InFlight) -> Answer {
        if !body.is_end_stream() {
            turn.set(Some(Instant::now()));
        }
        Answer { body, rest: Bytes::new(), piece: FIRST_PIECE, turn, _in_flight: in_flight }
    }

    fn next_piece(&mut self) -> Bytes {
        let now = Instant::now();
        let at_once = self.turn.since().is_none_or(|since| now.duration_since(since) < AT_ONCE);
        self.turn.set(Some(now));
        let piece = self.rest.split_to(self.rest.len().min(self.piece));
        self.piece = if at_once { (self.piece * 2).min(LARGEST_PIECE) } else { SMALLEST_PIECE };
        piece
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            let polled = Pin::new(&mut this.body).poll_frame(cx);
            let Poll::Ready(Some(Ok(frame))) = polled else {
                this.turn.set(None);
                return polled;
            };
            match frame.into_data() {
                Ok(data) => this.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(this.next_piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        hint.exact().map_or_else(SizeHint::default, |exact| SizeHint::with_exact(exact + self.rest.len() as u64))
    }
}

impl Turn {
    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

impl Turns {
    pub(super) fn begin(&self) -> Turn {
        let turn = Turn::default();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = turn.clone();
        turn
    }

    fn take(&self) -> Turn {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        let (turn, limit) = (self.last.take(), self.limit);
        tokio::spawn(async move {
            let mut stream = pin!(stream);
            let mut timer = None;
            std::future::poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                turn.since().map_or(Poll::Pending, |since| poll_past(&mut timer, since + limit, cx))
            })
            .await;
        });
    }
}
