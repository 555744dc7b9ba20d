//! The frames of an HTTP/2 connection, watched as they come in (RFC 9113, section 4.1): header blocks have a deadline, and
//! frames that cost work and bring nothing a budget. What they mean is hyper's to say.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use hyper::rt::ReadBufCursor;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    super::connection::{First, HTTP2_PREFACE},
    follow::{FrameHead, Frames},
    goodbye::{Handover, Rest},
};

const SCRATCH_BYTES: usize = 64 * 1024;
/// So much of what is read or sent pays for one frame that brings nothing.
const BYTES_FOR_A_FRAME: u64 = 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Requests that a client has taken back (RFC 9113, section 10.5: "rapid reset"), beyond those that were answered.
const RESETS: Budget = Budget { left: 500, most: 500, a_second: 50, since: None };
/// PING, SETTINGS, PRIORITY, empty DATA and CONTINUATION, unknown frames.
const IDLE_TALK: Budget = Budget { left: 2000, most: 2000, a_second: 330, since: None };
/// WINDOW_UPDATE, beyond those for what was sent.
const UPDATES: Budget = IDLE_TALK;
/// A client may open the windows of a stream and of the connection for each frame that it got, and in two helpings.
const UPDATES_FOR_A_FRAME: u64 = 4;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection's stream, as hyper may see it.
pub(super) struct Watched<S> {
    /// None: handed over.
    io: Option<S>,
    /// Read before the protocol was known.
    first: BytesMut,
    scan: Scan,
    /// What is sent.
    sent: Frames,
    header_timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    handover: Handover<S>,
}

/// Follows what comes.
struct Scan {
    preface_left: usize,
    frames: Frames,
    /// Something must be complete soon: the preface, a frame's head, a header block.
    pending_since: Option<Instant>,
    in_header_block: bool,
    last_stream: u32,
    answered: Arc<AtomicU64>,
    answers_used: u64,
    paid_for: u64,
    /// DATA frames that were sent, and not yet paid in for `updates`.
    data_sent: u64,
    resets: Budget,
    updates: Budget,
    idle_talk: Budget,
    /// The client has gone too far.
    flooded: bool,
}

/// So many at once, and so many more each second.
#[derive(Clone, Copy)]
struct Budget {
    left: u64,
    most: u64,
    a_second: u64,
    since: Option<Instant>,
}

/// The client spends our time and brings nothing.
#[derive(Debug, PartialEq, Eq)]
struct Flood;

impl<S> Watched<S> {
    /// `answered` counts the answers that were begun on this connection. What is left of it goes to `handover`.
    pub(super) fn new(
        io: S,
        first: First,
        header_timeout: Duration,
        answered: Arc<AtomicU64>,
        handover: Handover<S>,
    ) -> Watched<S> {
        let scan = Scan {
            preface_left: HTTP2_PREFACE.len(),
            frames: Frames::default(),
            pending_since: Some(first.since),
            in_header_block: false,
            last_stream: 0,
            answered,
            answers_used: 0,
            paid_for: 0,
            data_sent: 0,
            resets: RESETS,
            updates: UPDATES,
            idle_talk: IDLE_TALK,
            flooded: false,
        };
        let sent = Frames::default();
        Watched { io: Some(io), first: first.bytes, scan, sent, header_timeout, timer: None, handover }
    }

    fn io(&mut self) -> io::Result<Pin<&mut S>>
    where
        S: Unpin,
    {
        self.io.as_mut().map(Pin::new).ok_or(io::ErrorKind::NotConnected.into())
    }

    /// Whether the time for what must be complete is over; if not, the task is woken then.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(since) = self.scan.pending_since else {
            return false;
        };
        let until = since + self.header_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx).is_ready()
    }

    fn hand_on_first(&mut self, cursor: &mut ReadBufCursor<'_>) -> io::Result<()> {
        let now = self.first.len().min(cursor.remaining());
        let bytes = self.first.get(..now).unwrap_or_default();
        self.scan.feed(bytes, Instant::now()).map_err(io::Error::from)?;
        cursor.put_slice(bytes);
        self.first.advance(now);
        if self.first.is_empty() {
            self.first = BytesMut::new();
        }
        Ok(())
    }

    fn note_sent(&mut self, mut bytes: &[u8]) {
        self.scan.paid_for += bytes.len() as u64;
        while let Some(head) = self.sent.next_head(&mut bytes) {
            self.scan.data_sent += u64::from(head.kind == kind::DATA);
        }
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        // Not before our own preface, nor in the middle of a frame.
        let may_speak = self.scan.flooded && self.scan.preface_left == 0 && self.sent.is_between();
        if let Some(io) = self.io.take() {
            self.handover.give(Rest { io, calm_after: may_speak.then_some(self.scan.last_stream) });
        }
    }
}

impl Scan {
    fn feed(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        let skipped = self.preface_left.min(bytes.len());
        self.preface_left -= skipped;
        bytes = bytes.get(skipped..).unwrap_or_default();
        while let Some(head) = self.frames.next_head(&mut bytes) {
            self.frame(head, now).inspect_err(|_| self.flooded = true)?;
        }
        let pending = self.preface_left > 0 || self.frames.is_in_head() || self.in_header_block;
        self.pending_since = if pending { self.pending_since.or(Some(now)) } else { None };
        Ok(())
    }

    fn frame(&mut self, head: FrameHead, now: Instant) -> Result<(), Flood> {
        let FrameHead { length, kind, flags, stream } = head;
        self.in_header_block = matches!(kind, kind::HEADERS | kind::CONTINUATION) && flags & END_HEADERS == 0;
        match kind {
            kind::DATA if length > 0 || flags & END_STREAM != 0 => {
                self.paid_for += u64::from(length);
                Ok(())
            }
            kind::CONTINUATION if length > 0 => Ok(()),
            kind::HEADERS => {
                self.last_stream = self.last_stream.max(stream);
                Ok(())
            }
            kind::WINDOW_UPDATE => {
                self.updates.pay_in(self.data_sent.saturating_mul(UPDATES_FOR_A_FRAME));
                self.data_sent = 0;
                self.updates.spend(now)
            }
            kind::RST_STREAM => {
                let answered = self.answered.load(Ordering::Relaxed);
                self.resets.pay_in(answered.saturating_sub(self.answers_used));
                self.answers_used = answered;
                self.resets.spend(now)
            }
            _ => {
                self.idle_talk.pay_in(self.paid_for / BYTES_FOR_A_FRAME);
                self.paid_for %= BYTES_FOR_A_FRAME;
                self.idle_talk.spend(now)
            }
        }
    }
}

impl Budget {
    fn pay_in(&mut self, more: u64) {
        self.left = self.left.saturating_add(more).min(self.most);
    }

    fn spend(&mut self, now: Instant) -> Result<(), Flood> {
        let since = *self.since.get_or_insert(now);
        let seconds = now.duration_since(since).as_secs();
        if seconds > 0 {
            self.pay_in(seconds.saturating_mul(self.a_second));
            self.since = Some(since + Duration::from_secs(seconds));
        }
        self.left = self.left.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }
}

impl From<Flood> for io::Error {
    fn from(_: Flood) -> io::Error {
        io::Error::other("the client floods the connection with frames that bring nothing")
    }
}

impl<S: AsyncRead + Unpin> hyper::rt::Read for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            return Poll::Ready(this.hand_on_first(&mut cursor));
        }
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let wanted = scratch.len().min(cursor.remaining());
            let mut buffer = ReadBuf::new(scratch.get_mut(..wanted).unwrap_or_default());
            ready!(this.io()?.poll_read(cx, &mut buffer))?;
            this.scan.feed(buffer.filled(), Instant::now())?;
            cursor.put_slice(buffer.filled());
            Poll::Ready(Ok(()))
        });
        if read.is_pending() && this.is_late(cx) {
            this.scan.flooded = true;
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(this.io()?.poll_write(cx, bytes))?;
        this.note_sent(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(this.io()?.poll_write_vectored(cx, slices))?;
        let mut left = written;
        for slice in slices {
            let now = slice.len().min(left);
            this.note_sent(slice.get(..now).unwrap_or_default());
            left -= now;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().io()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().io()?.poll_shutdown(cx)
    }
}
