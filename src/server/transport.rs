//! A client's connection as bytes: TCP or a Unix socket, in clear or in TLS.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::BytesMut;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{stall::Unstalled, worker::Open};
use crate::token::proof::Thumbprint;

/// What one read of a connection's first bytes takes at most.
const FIRST_BYTES: usize = 4096;

/// An accepted socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that is counted until it is closed, whoever has it then.
pub(super) struct Transport {
    stream: Stream,
    _open: Open,
}

enum Stream {
    Plain(Unstalled),
    Tls(Box<TlsStream<Unstalled>>),
}

impl Transport {
    pub(super) fn plain(socket: Unstalled, open: Open) -> Transport {
        Transport { stream: Stream::Plain(socket), _open: open }
    }

    /// After a handshake. Sets no time limit: wrap it in one.
    ///
    /// # Errors
    /// The client went away, or the two found no common ground.
    pub(super) async fn accept(socket: Unstalled, tls: Arc<ServerConfig>, open: Open) -> io::Result<Transport> {
        let stream = TlsAcceptor::from(tls).accept(socket).await?;
        Ok(Transport { stream: Stream::Tls(Box::new(stream)), _open: open })
    }

    /// Whether HTTP/2 was agreed on (RFC 7301).
    pub(super) fn has_agreed_on_http2(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// The client's own certificate, if it proved to have its key: in this connection, or in the one that this resumes.
    pub(super) fn client_certificate(&self) -> Option<Thumbprint> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(Thumbprint::of(stream.get_ref().1.peer_certificates()?.first()?)),
        }
    }

    /// Waits for bytes and reads what there is, with no memory held meanwhile. 0: the client has ended.
    pub(super) async fn read_first(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        let Stream::Plain(stream) = &self.stream else {
            return Ok(0);
        };
        let socket = stream.socket();
        loop {
            socket.readable().await?;
            let mut buffer = [0; FIRST_BYTES];
            match socket.try_read(&mut buffer) {
                Ok(count) => {
                    into.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Socket {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.ready(Interest::READABLE).await.map(drop),
            Socket::Unix(stream) => stream.ready(Interest::READABLE).await.map(drop),
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_read(buffer),
            Socket::Unix(stream) => stream.try_read(buffer),
        }
    }
}

macro_rules! delegate {
    ($self:ident, $first:path, $second:path, $stream:ident => $call:expr) => {
        match $self {
            $first($stream) => $call,
            $second($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        delegate!(this, Socket::Tcp, Socket::Unix, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        delegate!(this, Socket::Tcp, Socket::Unix, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        delegate!(this, Socket::Tcp, Socket::Unix, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        delegate!(self, Socket::Tcp, Socket::Unix, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        delegate!(this, Socket::Tcp, Socket::Unix, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        delegate!(this, Socket::Tcp, Socket::Unix, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.get_mut().stream;
        delegate!(stream, Stream::Plain, Stream::Tls, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = &mut self.get_mut().stream;
        delegate!(stream, Stream::Plain, Stream::Tls, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = &mut self.get_mut().stream;
        delegate!(stream, Stream::Plain, Stream::Tls, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        let stream = &self.stream;
        delegate!(stream, Stream::Plain, Stream::Tls, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.get_mut().stream;
        delegate!(stream, Stream::Plain, Stream::Tls, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.get_mut().stream;
        delegate!(stream, Stream::Plain, Stream::Tls, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
