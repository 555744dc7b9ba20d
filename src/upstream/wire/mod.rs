//! Our own side of HTTP/1.1 (RFC 9112) for requests without a body: no task, no channel and no lock between whoever waits for
//! an answer and the connection that it comes on.

mod chunked;
mod fault;
mod framing;
mod head;
mod request;
mod rest;
mod scratch;

#[cfg(test)]
mod tests;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Body;
use hyper::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use fault::Fault;
use framing::Framing;
use head::Head;
pub(super) use request::Plain;
pub(super) use rest::Rest;

/// What may be read of a head before its end; the limit of the HTTP library that speaks where this doesn't.
const MOST_HEAD: usize = 408 * 1024;
/// Interim answers before the answer.
const MOST_INTERIM: usize = 16;
/// How often a head is read that isn't whole yet, though it looked so.
const MOST_READINGS: usize = 64;

/// A connection that serves a request at a time, driven by whoever waits for the answer's head, then by whoever reads its body.
/// Idle, it holds nothing but its stream.
pub(super) struct Wire<S> {
    stream: S,
    /// Read, and not used yet.
    unread: Bytes,
    /// What is left of a request that couldn't be written in one go.
    unwritten: Bytes,
    is_flushed: bool,
    /// Whether the last read filled the room that it had: then there is more, most probably.
    is_flowing: bool,
    /// Whether it may serve another request after this one.
    is_kept: bool,
    /// Whether it serves none.
    is_free: bool,
}

/// A stream of which can be told that nothing happens on it.
pub(super) trait Still {
    /// Whether it is open and has brought nothing since it was read, as far as can be told without waiting.
    fn is_still(&mut self) -> bool;
}

/// An answer whose head is waited for.
struct Awaited {
    /// To a HEAD.
    to_head: bool,
    /// To a request that closes the connection.
    closes: bool,
    /// What has come of the head.
    received: BytesMut,
    interim: usize,
    readings: usize,
}

impl<S: AsyncRead + AsyncWrite + Still + Unpin> Wire<S> {
    /// Speaks on this stream, of which nothing was read.
    pub(super) fn new(stream: S) -> Wire<S> {
        Wire {
            stream,
            unread: Bytes::new(),
            unwritten: Bytes::new(),
            is_flushed: true,
            is_flowing: false,
            is_kept: true,
            is_free: true,
        }
    }

    /// Whether it is there for a request: the one before is through, its answer was read to its end, and nothing came after it.
    pub(super) fn is_ready(&mut self) -> bool {
        // What came unasked may be one byte, which is gone once it was seen.
        self.is_free = self.is_free && self.stream.is_still();
        self.is_free
    }

    /// The stream, where it is free: for somebody else to speak on.
    pub(super) fn into_stream(self) -> Option<S> {
        self.is_free.then_some(self.stream)
    }

    /// Sends a request and waits for the head of its answer. Dropped before, it leaves a connection that is never
    /// ready again. Interim answers are passed over, but for a switch of protocols (101).
    ///
    /// # Errors
    /// `Fault::Unsent` where nothing was written.
    pub(super) async fn send<B: Body>(&mut self, Plain(request): Plain<'_, B>) -> Result<Response<Rest>, Fault> {
        if !std::mem::take(&mut self.is_free) {
            return Err(Fault::Unsent);
        }
        poll_fn(|cx| Poll::Ready(self.begin(request, cx))).await?;
        let mut awaited = Awaited::new(request);
        poll_fn(|cx| self.poll_answer(&mut awaited, cx)).await
    }

    /// Writes as much of the request as goes at once: all of it, nearly always.
    fn begin<B>(&mut self, request: &Request<B>, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.is_flushed = false;
        let stream = &mut self.stream;
        self.unwritten = scratch::with_writing(|bytes| {
            request::write(request, bytes);
            let written = match Pin::new(stream).poll_write(cx, bytes) {
                Poll::Ready(written) => written.map_err(Fault::Connection)?,
                Poll::Pending => 0,
            };
            Ok(bytes.get(written..).map_or_else(Bytes::new, Bytes::copy_from_slice))
        })?;
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unwritten.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unwritten))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unwritten.advance(written.min(self.unwritten.len())),
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_answer(&mut self, awaited: &mut Awaited, cx: &mut Context<'_>) -> Poll<Result<Response<Rest>, Fault>> {
        // An answer may come before the whole request has gone.
        if !self.is_flushed
            && let Poll::Ready(Err(error)) = self.poll_write(cx)
        {
            return Poll::Ready(Err(Fault::Connection(error)));
        }
        loop {
            ready!(self.poll_read(cx)).map_err(Fault::Connection)?;
            if self.unread.is_empty() {
                return Poll::Ready(Err(Fault::Ended));
            }
            if let Some((head, rest)) = awaited.read(std::mem::take(&mut self.unread))? {
                return Poll::Ready(self.answered(awaited, head, rest));
            }
        }
    }

    fn answered(&mut self, awaited: &Awaited, head: Head, rest: Bytes) -> Result<Response<Rest>, Fault> {
        let framing = Framing::of(&head, awaited.to_head)?;
        // Who answers before the request was there may take the rest of it for the next one.
        self.is_kept = self.is_flushed && !awaited.closes && head.is_kept() && framing.has_end();
        self.unread = rest;
        let rest = Rest::new(framing, self);
        Ok(head.into_response(rest))
    }
}

impl Awaited {
    fn new<B>(request: &Request<B>) -> Awaited {
        let (to_head, closes) = (request.method() == Method::HEAD, request::closes(request));
        Awaited { to_head, closes, received: BytesMut::new(), interim: 0, readings: 0 }
    }

    /// Takes what has come. The head, and what came after it, once it is there; those of interim answers are passed over.
    fn read(&mut self, news: Bytes) -> Result<Option<(Head, Bytes)>, Fault> {
        let mut bytes = news;
        if !self.received.is_empty() {
            let known = self.received.len();
            self.received.extend_from_slice(&bytes);
            if !head::may_be_whole(&self.received, known) {
                return check_size(self.received.len()).map(|()| None);
            }
            bytes = self.received.split().freeze();
        }
        self.readings += 1;
        if self.readings > MOST_READINGS {
            return Err(Fault::TooMany("empty lines"));
        }
        while !bytes.is_empty() {
            let Some((head, length)) = head::read(&bytes)? else { break };
            check_size(length)?;
            bytes.advance(length);
            if !head.is_interim() {
                return Ok(Some((head, bytes)));
            }
            self.interim += 1;
            if self.interim > MOST_INTERIM {
                return Err(Fault::TooMany("interim answers"));
            }
        }
        check_size(bytes.len())?;
        self.received = BytesMut::from(bytes);
        Ok(None)
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads into `unread`, which is empty; it stays so at the stream's end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unread = ready!(scratch::poll_read(&mut self.stream, cx))?;
        self.is_flowing = self.unread.len() == scratch::READ_BYTES;
        Poll::Ready(Ok(()))
    }

    /// Reads into `unread`, which is empty, where so much is expected. What flows goes where it stays; what trickles goes by the
    /// common scratch, so that nothing is set aside for what may never come.
    fn poll_read_most(&mut self, expected: u64, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = usize::try_from(expected).unwrap_or(usize::MAX).min(scratch::MOST_READ);
        if !self.is_flowing || room <= scratch::READ_BYTES {
            return self.poll_read(cx);
        }
        self.unread = ready!(scratch::poll_read_apart(&mut self.stream, room, cx))?;
        self.is_flowing = self.unread.len() >= scratch::READ_BYTES;
        Poll::Ready(Ok(()))
    }

    /// The answer is through. What comes after it is nobody's: then the connection serves no more.
    fn ended(&mut self) {
        self.is_free = self.is_kept && self.unread.is_empty();
    }
}

fn check_size(length: usize) -> Result<(), Fault> {
    if length >= MOST_HEAD { Err(Fault::TooMany("bytes of a head")) } else { Ok(()) }
}
