//! A connection as those see it who speak on it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::coop,
};

use super::{connect::Stream, connection::Heard, wire::Still};

/// A connection that counts what it brings. Writing to one that the other end has reset doesn't fail, it waits: there
/// may be an answer to read before the end, which reading always comes to.
pub(super) struct Counted {
    pub(super) stream: Stream,
    pub(super) heard: Heard,
}

impl Still for Counted {
    fn is_still(&mut self) -> bool {
        let mut byte = [0];
        match &mut self.stream {
            // The system is asked only where the runtime was told that something has come.
            Stream::Plain(stream) => would_block(stream.try_read(&mut byte)),
            Stream::Unix(stream) => would_block(stream.try_read(&mut byte)),
            // What comes may be a session's ticket, and no part of an answer. Without budget, reading tells nothing.
            Stream::Tls(stream) => {
                let mut cx = Context::from_waker(Waker::noop());
                coop::has_budget_remaining()
                    && Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
            }
        }
    }
}

fn would_block(read: io::Result<usize>) -> bool {
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() {
            self.heard.add(buf.filled().len().saturating_sub(before));
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        unless_reset(Pin::new(&mut self.stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        unless_reset(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        unless_reset(Pin::new(&mut self.stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn unless_reset<T>(written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    match written {
        Poll::Ready(Err(error))
            if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
        {
            Poll::Pending
        }
        written => written,
    }
}
