//! The guard between a connection's socket and hyper: hyper sees a head only after all of it was checked by RFC 9112, and
//! a body only as far as it was. A refused head reaches hyper as a stand-in, so that it is answered in its turn.

pub(super) mod authority;
mod chunked;
pub(super) mod exchange;
pub(super) mod head;
mod stream;
pub(super) mod target;
#[cfg(test)]
pub(super) mod tests;

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use hyper::rt::ReadBufCursor;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

pub(super) use stream::{LINGER, poll_ahead, poll_discard};

use self::{
    chunked::ChunkScan,
    exchange::{Exchanges, Next, Noted},
    head::{BodyLength, Head, HeadScan, Progress},
};
use super::connection::First;
use crate::{body::BodyFault, refusal::Refusal};

/// See `server::check_target`.
pub(super) fn check_target(method: &str, target: &str) -> Result<(), Refusal> {
    target::check(method.as_bytes(), target.as_bytes()).map(|_| ())
}

/// See `server::is_authority`.
pub(super) fn is_authority(text: &str) -> bool {
    authority::Authority::parse(text.as_bytes()).is_some()
}

/// One a thread, so that an idle connection holds no buffer.
const SCRATCH_BYTES: usize = 64 * 1024;
/// What a client may send ahead of the answer to its last request; more waits in its socket.
const MOST_AHEAD: usize = 16 * 1024;

thread_local! {
    pub(super) static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// What the guard holds a client to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of a head.
    pub(super) max_header_bytes: usize,
    /// From a head's first byte, or from the connection's start, to the head's end.
    pub(super) header_timeout: Duration,
    /// Between requests, and for the client to take something of an answer.
    pub(super) idle_timeout: Duration,
}

/// A connection's socket, as hyper may see it.
#[derive(Debug)]
pub(super) struct Guard<S> {
    io: S,
    limits: Limits,
    exchanges: Exchanges,
    state: State,
    /// Read and not handed on. Empty, and without memory, nearly always.
    held: BytesMut,
    /// How much of `held` was checked.
    checked: usize,
    /// The head under way began then.
    head_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    linger: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum State {
    /// Before or in a head. One empty line before it is let pass (RFC 9112, section 2.2).
    Head {
        scan: HeadScan,
        skipped: bool,
    },
    Fixed(u64),
    Chunked {
        scan: ChunkScan,
        fault: BodyFault,
        wrong: Option<Refusal>,
    },
    /// The protocol was changed: whatever comes is handed on.
    Tunnel,
    /// A head was refused: nothing that comes after it is looked at.
    Refused,
    /// The client has ended.
    Ended,
}

/// What the bytes at hand come to.
enum Verdict {
    /// So many are in order, after so many that are to be left out.
    Pass {
        skip: usize,
        pass: usize,
    },
    /// More is needed to tell.
    More,
    Refuse(Refusal),
    /// The body is broken; its request's fault says how.
    Broken,
}

enum TimedOut {
    Head,
    Idle,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// Begins with what was read already.
    pub(super) fn new(io: S, first: First, limits: Limits, exchanges: Exchanges) -> Guard<S> {
        Guard {
            io,
            limits,
            exchanges,
            state: State::next_head(),
            held: first.bytes,
            checked: 0,
            head_since: Some(first.since),
            timer: Box::pin(sleep_until(first.since + limits.header_timeout)),
            linger: None,
        }
    }

    fn poll_checked(&mut self, cx: &mut Context<'_>, cursor: &mut ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if cursor.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.checked == 0 && matches!(self.state, State::Head { .. }) {
            match self.exchanges.next(cx) {
                Next::Head => {}
                Next::Answer => return self.poll_ahead(cx),
                Next::Tunnel => {
                    self.state = State::Tunnel;
                    self.checked = self.held.len();
                }
            }
        }
        if self.checked == 0
            && !self.held.is_empty()
            && let Some(result) = self.judge_held()
        {
            return Poll::Ready(result);
        }
        loop {
            if self.checked > 0 {
                self.hand_on_held(cursor);
                return Poll::Ready(Ok(()));
            }
            if matches!(self.state, State::Ended) {
                return Poll::Ready(Ok(()));
            }
            if matches!(self.state, State::Refused) {
                return Poll::Pending;
            }
            let read = SCRATCH.with_borrow_mut(|scratch| self.read_through(cx, scratch, cursor));
            match read {
                Poll::Ready(Some(result)) => return Poll::Ready(result),
                Poll::Ready(None) => {}
                Poll::Pending => match ready!(self.poll_timer(cx)) {
                    TimedOut::Head => self.refuse(Refusal::HeadTooSlow),
                    TimedOut::Idle => self.state = State::Ended,
                },
            }
        }
    }

    /// While an answer is under way, what comes is kept unseen: whether it is a request depends on the answer. A client that
    /// goes away is noticed all the same.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(poll_ahead(&mut self.io, &mut self.held, cx))?;
        self.held = BytesMut::new();
        self.state = State::Ended;
        Poll::Ready(Ok(()))
    }

    /// Reads once, and hands on what is in order without a detour where nothing is held. None: look again.
    fn read_through(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<Option<io::Result<()>>> {
        let wanted = match self.state {
            State::Head { .. } => scratch.len(),
            _ => scratch.len().min(cursor.remaining()),
        };
        let mut buffer = ReadBuf::new(scratch.get_mut(..wanted).unwrap_or_default());
        if let Err(error) = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
            return Poll::Ready(Some(Err(error)));
        }
        let bytes = buffer.filled();
        if bytes.is_empty() {
            self.held = BytesMut::new();
            self.state = State::Ended;
            return Poll::Ready(None);
        }
        if !self.held.is_empty() {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(self.judge_held());
        }
        match self.judge(bytes) {
            Verdict::Pass { skip, pass } => {
                let now = pass.min(cursor.remaining());
                cursor.put_slice(bytes.get(skip..skip + now).unwrap_or_default());
                self.held.extend_from_slice(bytes.get(skip + now..).unwrap_or_default());
                self.checked = pass - now;
                self.begin_head_if_held();
                Poll::Ready((now > 0).then_some(Ok(())))
            }
            verdict => {
                if matches!(verdict, Verdict::More) {
                    self.held.extend_from_slice(bytes);
                    self.begin_head_if_held();
                }
                Poll::Ready(self.act_on_held(verdict))
            }
        }
    }

    fn judge_held(&mut self) -> Option<io::Result<()>> {
        let held = std::mem::take(&mut self.held);
        let verdict = self.judge(&held);
        self.held = held;
        self.act_on_held(verdict)
    }

    /// Some: that is what hyper gets. None: look again.
    fn act_on_held(&mut self, verdict: Verdict) -> Option<io::Result<()>> {
        match verdict {
            Verdict::Pass { skip, pass } => {
                self.held.advance(skip);
                self.checked = pass;
                self.begin_head_if_held();
            }
            Verdict::More => {}
            Verdict::Refuse(refusal) => self.refuse(refusal),
            Verdict::Broken => {
                return Some(Err(io::Error::new(io::ErrorKind::InvalidData, "the request body is malformed")));
            }
        }
        None
    }

    fn hand_on_held(&mut self, cursor: &mut ReadBufCursor<'_>) {
        let now = self.checked.min(cursor.remaining());
        cursor.put_slice(self.held.get(..now).unwrap_or_default());
        self.held.advance(now);
        self.checked -= now;
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
    }

    /// Follows one message through the bytes, which begin where the last verdict ended. Stops at the message's end.
    fn judge(&mut self, bytes: &[u8]) -> Verdict {
        let mut skip = 0;
        let mut pass = 0;
        if let State::Head { scan, skipped } = &mut self.state {
            if !*skipped && bytes.starts_with(b"\r\n") {
                *skipped = true;
                skip = 2;
            } else if !*skipped && bytes == b"\r" {
                return Verdict::More;
            }
            let head = bytes.get(skip..).unwrap_or_default();
            match scan.feed(head, self.limits.max_header_bytes) {
                Ok(Progress::Complete(Head { bytes, body, .. })) => {
                    pass = bytes;
                    self.head_since = None;
                    self.begin_body(body);
                }
                Ok(Progress::Incomplete) if skip > 0 => return Verdict::Pass { skip, pass: 0 },
                Ok(Progress::Incomplete) => return Verdict::More,
                Err(refusal) => return Verdict::Refuse(refusal),
            }
        }
        let body = bytes.get(skip + pass..).unwrap_or_default();
        match &mut self.state {
            State::Fixed(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(body.len());
                *left = left.saturating_sub(here as u64);
                pass += here;
                if *left == 0 {
                    self.state = State::next_head();
                    self.exchanges.set_in_body(false);
                }
            }
            State::Chunked { scan, fault, wrong } => {
                if wrong.is_none() {
                    let (done, found) = scan.feed(body);
                    pass += done;
                    *wrong = found;
                }
                if scan.is_done() {
                    self.state = State::next_head();
                    self.exchanges.set_in_body(false);
                } else if let (Some(refusal), 0) = (wrong, pass) {
                    fault.set(refusal.clone());
                    return Verdict::Broken;
                }
            }
            State::Tunnel => pass += body.len(),
            State::Head { .. } | State::Refused | State::Ended => {}
        }
        Verdict::Pass { skip, pass }
    }

    fn begin_body(&mut self, body: BodyLength) {
        let body_fault = BodyFault::default();
        self.state = match body {
            BodyLength::Fixed(0) => State::next_head(),
            BodyLength::Fixed(length) => State::Fixed(length),
            BodyLength::Chunked => {
                State::Chunked { scan: ChunkScan::default(), fault: body_fault.clone(), wrong: None }
            }
        };
        if !matches!(self.state, State::Head { .. }) {
            self.exchanges.set_in_body(true);
        }
        self.exchanges.note(Noted { fault: None, body_fault });
    }

    /// Puts a stand-in in the place of what was read, which is the last that hyper will see of this connection.
    fn refuse(&mut self, refusal: Refusal) {
        let head = matches!(&self.state, State::Head { scan, .. } if scan.is_head());
        let method: &[u8] = if head { b"HEAD" } else { b"GET" };
        self.state = State::Refused;
        self.head_since = None;
        self.held = BytesMut::from(method);
        self.held.extend_from_slice(b" / HTTP/1.1\r\nconnection: close\r\n\r\n");
        self.checked = self.held.len();
        self.exchanges.note(Noted { fault: Some(refusal), body_fault: BodyFault::default() });
    }

    /// Starts the clock of a head of which something is held.
    fn begin_head_if_held(&mut self) {
        if self.head_since.is_none() && matches!(self.state, State::Head { .. }) && self.held.len() > self.checked {
            let now = Instant::now();
            self.head_since = Some(now);
            let deadline = now + self.limits.header_timeout;
            if deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
        }
    }

    /// One timer for all. It is moved when it fires, not at every request.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<TimedOut> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let in_head = matches!(self.state, State::Head { .. });
            let (deadline, what) = match (in_head, self.head_since, self.exchanges.idle_since()) {
                (true, Some(since), _) if self.held.is_empty() => (since + self.limits.header_timeout, TimedOut::Idle),
                (true, Some(since), _) => (since + self.limits.header_timeout, TimedOut::Head),
                (true, None, Some(since)) => (since + self.limits.idle_timeout, TimedOut::Idle),
                _ => (now + self.limits.idle_timeout, TimedOut::Idle),
            };
            if deadline <= now {
                return Poll::Ready(what);
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

impl State {
    fn next_head() -> State {
        State::Head { scan: HeadScan::default(), skipped: false }
    }
}
