//! A connection that brings plain HTTP/1.1 requests one after the other: read, handed to the handler and answered by code of
//! our own, with as few system calls, copies and wake-ups as there can be, and with no memory held while it idles. What isn't
//! plain (a body, `Upgrade`, `Expect`, HTTP/1.0, a head that is to be refused) is left to hyper behind the framing guard, which
//! gets all that was read of it and has the connection from then on.

mod answer;
mod head;
#[cfg(test)]
mod tests;

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use hyper::{Method, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::{Instant, Sleep, sleep_until, timeout},
};

use self::answer::Answer;
use super::{
    Arrival, Asked, Handler,
    connection::{First, LAST_REQUEST_GRACE},
    drain::{Phase, Phases},
    framing::{
        LINGER, Limits, SCRATCH,
        head::{BodyLength, HeadScan, Progress},
        poll_ahead, poll_discard,
    },
    http1,
};
use crate::body::Body;

/// Serves a connection until it ends, or until its last answer once draining has begun.
pub(super) async fn serve<H, S>(stream: S, first: First, arrival: Arrival, handler: H, limits: Limits, phases: Phases)
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut front = Front::new(stream, first, arrival, limits);
    let mut draining = phases.clone();
    let mut draining = pin!(draining.reached(Phase::Draining));
    loop {
        let asked = match front.next(draining.as_mut()).await {
            Next::Plain(asked) => asked,
            Next::Other => {
                let (stream, first, arrival) = front.into_parts();
                return Box::pin(http1::serve(stream, first, arrival, handler, limits, phases)).await;
            }
            Next::End => break,
            Next::Gone => return,
        };
        let head_only = asked.head.method == Method::HEAD;
        // In a box: a connection that idles has no room for it.
        let Some(response) = front.answered(Box::pin(handler.handle(asked))).await else { return };
        let is_last = phases.are_at(Phase::Draining);
        match front.answer(response, head_only, is_last).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => return,
        }
    }
    front.end().await;
}

/// A connection, and what was read of it and not used.
struct Front<S> {
    stream: S,
    arrival: Arrival,
    limits: Limits,
    /// Empty, and without memory, nearly always.
    held: BytesMut,
    /// How far what is held is a head.
    scan: HeadScan,
    /// The head under way is waited for since then.
    head_since: Option<Instant>,
    /// The last answer ended then.
    idle_since: Instant,
    /// Set once draining has begun: no head is waited for any longer.
    last_call: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// What a client wants next.
enum Next {
    /// An answer.
    Plain(Box<Asked>),
    /// Something that isn't for here.
    Other,
    /// Nothing, or it has taken too long.
    End,
    /// It isn't there any more.
    Gone,
}

/// What bytes come to.
enum Verdict {
    /// A request that is so long.
    Plain(Box<Asked>, usize),
    /// More is needed to tell.
    More,
    Other,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Front<S> {
    fn new(stream: S, first: First, arrival: Arrival, limits: Limits) -> Front<S> {
        Front {
            stream,
            arrival,
            limits,
            held: first.bytes,
            scan: HeadScan::default(),
            head_since: Some(first.since),
            idle_since: first.since,
            last_call: None,
            timer: Box::pin(sleep_until(first.since + limits.header_timeout)),
        }
    }

    fn into_parts(self) -> (S, First, Arrival) {
        let first = First { bytes: self.held, since: self.head_since.unwrap_or_else(Instant::now) };
        (self.stream, first, self.arrival)
    }

    async fn next(&mut self, mut draining: Pin<&mut impl Future<Output = ()>>) -> Next {
        if !self.held.is_empty()
            && let Some(next) = self.judge_held()
        {
            return next;
        }
        poll_fn(|cx| {
            loop {
                match SCRATCH.with_borrow_mut(|scratch| self.poll_read(cx, scratch)) {
                    Poll::Ready(Some(next)) => return Poll::Ready(next),
                    Poll::Ready(None) => {}
                    Poll::Pending => return self.poll_late(cx, draining.as_mut()),
                }
            }
        })
        .await
    }

    /// Reads once. None: look again.
    fn poll_read(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Option<Next>> {
        let mut buffer = ReadBuf::new(scratch);
        if ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).is_err() {
            return Poll::Ready(Some(Next::Gone));
        }
        let bytes = buffer.filled();
        if bytes.is_empty() {
            self.held = BytesMut::new();
            return Poll::Ready(Some(Next::End));
        }
        if !self.held.is_empty() {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(self.judge_held());
        }
        let verdict = self.judge(bytes, None);
        let used = if let Verdict::Plain(_, length) = &verdict { *length } else { 0 };
        self.held.extend_from_slice(bytes.get(used..).unwrap_or_default());
        Poll::Ready(self.act(verdict))
    }

    fn judge_held(&mut self) -> Option<Next> {
        let held = std::mem::take(&mut self.held).freeze();
        let verdict = self.judge(&held, Some(&held));
        self.held = match &verdict {
            Verdict::Plain(_, length) if *length == held.len() => BytesMut::new(),
            Verdict::Plain(_, length) => BytesMut::from(held.get(*length..).unwrap_or_default()),
            // Nobody else has a part of it, so this is no copy.
            _ => held.into(),
        };
        self.act(verdict)
    }

    /// `shared` is the same as `bytes`, where that can be shared.
    fn judge(&mut self, bytes: &[u8], shared: Option<&Bytes>) -> Verdict {
        match self.scan.feed(bytes, self.limits.max_header_bytes) {
            Ok(Progress::Incomplete) => Verdict::More,
            Ok(Progress::Complete(whole)) if whole.body == BodyLength::Fixed(0) => {
                let head = match shared {
                    Some(shared) => shared.slice(..whole.bytes.min(shared.len())),
                    None => Bytes::copy_from_slice(bytes.get(..whole.bytes).unwrap_or_default()),
                };
                match head::plain(&head, whole.fields, &self.arrival) {
                    Some(asked) => Verdict::Plain(asked, whole.bytes),
                    None => Verdict::Other,
                }
            }
            Ok(Progress::Complete(_)) | Err(_) => Verdict::Other,
        }
    }

    fn act(&mut self, verdict: Verdict) -> Option<Next> {
        match verdict {
            Verdict::Plain(asked, _) => {
                self.scan = HeadScan::default();
                self.head_since = None;
                Some(Next::Plain(asked))
            }
            Verdict::More => {
                self.begin_head();
                None
            }
            Verdict::Other => {
                self.begin_head();
                Some(Next::Other)
            }
        }
    }

    /// Starts the clock of a head of which something is held.
    fn begin_head(&mut self) {
        if self.head_since.is_none() {
            let now = Instant::now();
            self.head_since = Some(now);
            self.wake_by(now + self.limits.header_timeout);
        }
    }

    fn wake_by(&mut self, deadline: Instant) {
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
    }

    /// Nothing is there to read: has the client still time? One timer for all; it is moved when it fires, not at every request.
    fn poll_late(&mut self, cx: &mut Context<'_>, draining: Pin<&mut impl Future<Output = ()>>) -> Poll<Next> {
        if self.last_call.is_none() && draining.poll(cx).is_ready() {
            let last_call = Instant::now() + LAST_REQUEST_GRACE;
            self.last_call = Some(last_call);
            self.wake_by(last_call);
        }
        if self.head_since.is_none() {
            self.wake_by(self.idle_since + self.limits.idle_timeout);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let deadline = match self.head_since {
                Some(since) => since + self.limits.header_timeout,
                None => self.idle_since + self.limits.idle_timeout,
            };
            if self.last_call.is_some_and(|last_call| last_call <= now) {
                return Poll::Ready(Next::End);
            }
            if deadline <= now {
                return Poll::Ready(if self.held.is_empty() { Next::End } else { Next::Other });
            }
            self.timer.as_mut().reset(self.last_call.map_or(deadline, |last_call| last_call.min(deadline)));
        }
    }

    /// The handler's answer; None where the client goes away before.
    async fn answered(&mut self, mut answer: Pin<Box<impl Future<Output = Response<Body>>>>) -> Option<Response<Body>> {
        poll_fn(|cx| {
            if let Poll::Ready(response) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            self.poll_gone(cx).map(|()| None)
        })
        .await
    }

    /// Writes an answer. Whether the connection may go on after it; an error where the client can't make anything of it.
    async fn answer(&mut self, response: Response<Body>, head_only: bool, is_last: bool) -> io::Result<bool> {
        let mut answer = Answer::new(response, head_only, is_last)?;
        poll_fn(|cx| {
            if let Poll::Ready(written) = answer.poll_write(cx, &mut self.stream) {
                return Poll::Ready(written);
            }
            self.poll_gone(cx).map(|()| Err(io::ErrorKind::ConnectionAborted.into()))
        })
        .await?;
        self.idle_since = Instant::now();
        Ok(!answer.is_last())
    }

    /// While an answer is under way, what comes is kept unseen. Ready where the client goes away.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        poll_ahead(&mut self.stream, &mut self.held, cx).map(drop)
    }

    /// Ends our side, and reads the client's on for a while where it has more to send than was read.
    async fn end(mut self) {
        if self.stream.shutdown().await.is_err() || self.held.is_empty() {
            return;
        }
        let _ = timeout(LINGER, poll_fn(|cx| poll_discard(&mut self.stream, cx))).await;
    }
}
