//! Bodies on their way through, and their limits. None is ever held whole.

mod arriving;
mod held;
mod kept;
mod request;

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::HeaderMap;
use tokio::time::{Instant, Sleep};

use crate::{headers::clean_answer_trailers, refusal::Refusal};

pub use arriving::Arriving;
pub use held::{Held, OwesBody, Unasked};
pub(crate) use kept::Kept;
pub use request::{BodyLimits, RequestBody, Upload};

#[cfg(test)]
pub(crate) use request::tests as received;

/// A response's body.
pub enum Body {
    /// Nothing.
    Empty,
    /// All of it at hand.
    Full(Option<Bytes>),
    /// All of it at hand, with trailers: what is left of either.
    Message(Option<Bytes>, Option<Box<HeaderMap>>),
    /// From an upstream.
    Streamed(Streamed),
    /// One whose end somebody waits for.
    Watched(Box<Watched>),
}

/// The body of an upstream's answer.
pub struct Streamed {
    /// None once the time is over.
    source: Option<Source>,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What an upstream's connection brings of an answer's body.
pub(crate) type Source = Box<dyn http_body::Body<Data = Bytes, Error = BrokenOff> + Send + Unpin>;

/// Why it brings no more.
pub(crate) type BrokenOff = Box<dyn Error + Send + Sync>;

/// A body with a witness.
pub struct Watched {
    body: Body,
    sent: u64,
    on_end: Option<Box<dyn Witness>>,
}

/// Whoever waits for a body's end.
pub trait Witness: Send {
    /// It is done with; so many bytes were taken from it.
    fn ended(self: Box<Self>, bytes: u64);
}

impl<F: FnOnce(u64) + Send> Witness for F {
    fn ended(self: Box<Self>, bytes: u64) {
        (*self)(bytes);
    }
}

/// Why a body ends before its end. The connection that it was written to has to be cut.
#[derive(Debug)]
pub enum BodyError {
    /// The connection that it was read from failed.
    Connection(Box<dyn Error + Send + Sync>),
    /// Its sender did what isn't allowed, or too slowly.
    Fault(Refusal),
    /// The route's `timeout` was over in the middle of the answer.
    TimedOut,
    /// Its upstream has answered without asking for it.
    Unasked,
}

impl Body {
    /// All of a body, at hand.
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        Body::Full(Some(bytes.into()))
    }

    /// All of a body and its trailers, at hand.
    pub fn with_trailers(bytes: impl Into<Bytes>, trailers: HeaderMap) -> Body {
        Body::Message(Some(bytes.into()), Some(Box::new(trailers)))
    }

    /// What is at hand of it.
    pub fn at_hand(self) -> Bytes {
        match self {
            Body::Full(bytes) | Body::Message(bytes, _) => bytes.unwrap_or_default(),
            Body::Empty | Body::Streamed(_) | Body::Watched(_) => Bytes::new(),
        }
    }

    /// An upstream's body; after `deadline` it ends with an error.
    pub(crate) fn streamed(source: Source, deadline: Option<Instant>) -> Body {
        Body::Streamed(Streamed { source: Some(source), deadline, timer: None })
    }

    /// Whether none of it comes from an upstream.
    pub fn is_own(&self) -> bool {
        match self {
            Body::Empty | Body::Full(_) | Body::Message(..) => true,
            Body::Streamed(_) => false,
            Body::Watched(watched) => watched.body.is_own(),
        }
    }

    /// Tells `on_end` exactly once with the bytes that were taken from this body, when it is done with: read to its
    /// end, failed, or dropped because nobody wants it any more.
    #[must_use]
    pub fn watched(self, on_end: Box<dyn Witness>) -> Body {
        Body::Watched(Box::new(Watched { body: self, sent: 0, on_end: Some(on_end) }))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Message(bytes, trailers) => {
                let data = bytes.take().map(Frame::data);
                Poll::Ready(data.or_else(|| trailers.take().map(|trailers| Frame::trailers(*trailers))).map(Ok))
            }
            Body::Streamed(streamed) => streamed.poll_frame(cx),
            Body::Watched(watched) => watched.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(bytes) => bytes.is_none(),
            Body::Message(bytes, trailers) => bytes.is_none() && trailers.is_none(),
            Body::Streamed(streamed) => streamed.source.as_ref().is_some_and(|source| source.is_end_stream()),
            Body::Watched(watched) => watched.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Body::Message(..) => SizeHint::default(),
            Body::Streamed(streamed) => {
                streamed.source.as_ref().map_or_else(SizeHint::default, |source| source.size_hint())
            }
            Body::Watched(watched) => watched.body.size_hint(),
        }
    }
}

impl Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(source) = &mut self.source else { return Poll::Ready(Some(Err(BodyError::TimedOut))) };
        match Pin::new(source).poll_frame(cx) {
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(cleaned(frame)))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BodyError::Connection(error)))),
            Poll::Pending => match self.deadline {
                Some(deadline) if poll_timer(&mut self.timer, deadline, cx) => {
                    self.source = None;
                    Poll::Ready(Some(Err(BodyError::TimedOut)))
                }
                _ => Poll::Pending,
            },
        }
    }
}

impl Watched {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            on_end.ended(self.sent);
        }
    }
}

fn cleaned(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            clean_answer_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// Whether this time has come; if not, the task is woken then. The timer is made when first needed and reused.
fn poll_timer(timer: &mut Option<Pin<Box<Sleep>>>, until: Instant, cx: &mut Context<'_>) -> bool {
    let sleep = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
    if sleep.deadline() != until {
        sleep.as_mut().reset(until);
    }
    sleep.as_mut().poll(cx).is_ready()
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Connection(error) => write!(f, "the body broke off: {error}"),
            BodyError::Fault(refusal) => f.write_str(refusal.detail()),
            BodyError::TimedOut => f.write_str("the time for this exchange was over"),
            BodyError::Unasked => f.write_str("the upstream answered without asking for the body"),
        }
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BodyError::Connection(error) => Some(&**error),
            BodyError::Fault(_) | BodyError::TimedOut | BodyError::Unasked => None,
        }
    }
}

/// What is found wrong in a request's body while it streams: set by whoever finds it first, read by whoever answers.
#[derive(Clone, Debug)]
pub struct BodyFault(Option<Arc<OnceLock<Refusal>>>);

impl BodyFault {
    /// Of a request without a body.
    pub fn nowhere() -> BodyFault {
        BodyFault(None)
    }

    /// Notes a fault; the first one stays.
    pub fn set(&self, fault: Refusal) {
        if let Some(found) = &self.0 {
            let _ = found.set(fault);
        }
    }

    /// The fault, if there is one.
    pub fn get(&self) -> Option<&Refusal> {
        self.0.as_ref()?.get()
    }
}

impl Default for BodyFault {
    /// Nothing is found yet.
    fn default() -> BodyFault {
        BodyFault(Some(Arc::default()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use http_body_util::BodyExt as _;

    use super::*;

    fn counted(body: Body) -> (Body, Arc<AtomicU64>, Arc<AtomicU64>) {
        let (calls, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (into_calls, into_bytes) = (calls.clone(), bytes.clone());
        let body = body.watched(Box::new(move |sent| {
            into_calls.fetch_add(1, Ordering::Relaxed);
            into_bytes.fetch_add(sent, Ordering::Relaxed);
        }));
        (body, calls, bytes)
    }

    #[tokio::test]
    async fn the_end_is_told_once_with_the_bytes() {
        let (body, calls, bytes) = counted(Body::full("hello"));
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(5));
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
        assert_eq!((calls.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed)), (1, 5));
    }

    #[test]
    fn the_end_is_told_where_nobody_reads() {
        for body in [Body::Empty, Body::full("hello")] {
            let (body, calls, bytes) = counted(body);
            drop(body);
            assert_eq!((calls.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed)), (1, 0));
        }
    }

    #[test]
    fn the_first_fault_stays() {
        let fault = BodyFault::default();
        let same = fault.clone();
        assert_eq!(fault.get(), None);
        same.set(Refusal::BodyTooLarge);
        fault.set(Refusal::BodyTooSlow);
        assert_eq!(fault.get(), Some(&Refusal::BodyTooLarge));
    }
}
