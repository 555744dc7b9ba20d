//! A client that doesn't read: what is written to it has to get forward, or its connection ends.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::transport::Socket;

/// A socket whose writes fail once none has brought a byte forward for a time.
#[derive(Debug)]
pub(super) struct Unstalled {
    socket: Socket,
    limit: Duration,
    /// Since when a write waits.
    since: Option<Instant>,
    /// Made by the first write that waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Unstalled {
    /// `limit`: how long one write may wait.
    pub(super) fn new(socket: Socket, limit: Duration) -> Unstalled {
        Unstalled { socket, limit, since: None, timer: None }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Looks at the clock where a write has to wait. The system says that a socket can be written to only once a good part
    /// of its buffer is free; a client that reads slowly may need long for that. So the last word has `try_now`, which
    /// knows nothing of that.
    fn judge(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
        try_now: impl FnOnce(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if polled.is_ready() {
            self.since = None;
            return polled;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        ready!(poll_past(&mut self.timer, since + self.limit, cx));
        self.since = None;
        match try_now(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Ready(Err(stalled())),
            tried => Poll::Ready(tried),
        }
    }
}

/// Ready once this time has come. The timer is moved when it fires, not whenever the time changes: that never comes nearer.
pub(super) fn poll_past(timer: &mut Option<Pin<Box<Sleep>>>, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
    loop {
        ready!(timer.as_mut().poll(cx));
        if until <= Instant::now() {
            return Poll::Ready(());
        }
        timer.as_mut().reset(until);
    }
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing of what it asked for")
}

impl Socket {
    /// Writes without asking first whether there is room.
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => SockRef::from(stream).send_vectored(slices),
            Socket::Unix(stream) => SockRef::from(stream).send_vectored(slices),
        }
    }
}

impl AsyncRead for Unstalled {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Unstalled {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.judge(cx, polled, |socket| socket.write_now(&[IoSlice::new(bytes)]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.judge(cx, polled, |socket| socket.write_now(slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
