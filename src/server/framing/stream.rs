//! The guard as hyper reads and writes it, and the end of a connection: what the client still sends is read for a while, so
//! that a reset doesn't overtake the answer.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use hyper::rt::ReadBufCursor;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

use super::{Guard, MOST_AHEAD, SCRATCH, State};

/// How long a connection that is closed with something unread is read on, so that its client gets to the answer: a reset
/// would overtake it (RFC 9112, section 9.6).
pub(in crate::server) const LINGER: Duration = Duration::from_secs(2);

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Read for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_checked(cx, &mut cursor)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Write for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    /// Ends our side, and reads the client's on for a while where it has more to send than was read.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        if guard.linger.is_none() {
            ready!(Pin::new(&mut guard.io).poll_shutdown(cx))?;
            if !guard.must_linger() {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = guard.linger.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + LINGER)));
        if linger.as_mut().poll(cx).is_ready() || poll_discard(&mut guard.io, cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// Something of the client's is unread, or may yet come.
    fn must_linger(&self) -> bool {
        match self.state {
            State::Head { .. } => !self.held.is_empty(),
            State::Fixed(_) | State::Chunked { .. } | State::Refused => true,
            State::Tunnel | State::Ended => false,
        }
    }
}

/// Reads what a client sends before its turn, and keeps it unseen. Ready where the client has ended, or is gone.
pub(in crate::server) fn poll_ahead<S: AsyncRead + Unpin>(
    io: &mut S,
    held: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while held.len() < MOST_AHEAD {
        let ended = SCRATCH.with_borrow_mut(|scratch| {
            let wanted = MOST_AHEAD.saturating_sub(held.len()).min(scratch.len());
            let mut buffer = ReadBuf::new(scratch.get_mut(..wanted).unwrap_or_default());
            ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
            held.extend_from_slice(buffer.filled());
            Poll::Ready(io::Result::Ok(buffer.filled().is_empty()))
        });
        if ready!(ended)? {
            return Poll::Ready(Ok(()));
        }
    }
    Poll::Pending
}

/// Reads and forgets. Ready where the client has ended, or is gone.
pub(in crate::server) fn poll_discard<S: AsyncRead + Unpin>(io: &mut S, cx: &mut Context<'_>) -> Poll<()> {
    SCRATCH.with_borrow_mut(|scratch| {
        loop {
            let mut buffer = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    })
}
