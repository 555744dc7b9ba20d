//! What is left of an answer after its head.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::AsyncRead;

use super::{
    Fault, Wire,
    chunked::{Chunks, Piece},
    framing::Framing,
};

/// An answer's body, to be read from the connection that brought its head.
#[derive(Debug)]
pub(in crate::upstream) enum Rest {
    /// Nothing more.
    Nothing,
    /// So many bytes; one at least.
    Length(u64),
    Chunked(Box<Chunks>),
    UntilClose,
    /// Nothing more, though it should be there.
    Broken(Fault),
}

impl Rest {
    /// What comes after a head on this connection; where nothing does, that is free again.
    pub(super) fn new<S: AsyncRead + Unpin>(framing: Framing, wire: &mut Wire<S>) -> Rest {
        match framing {
            Framing::Length(0) => {
                wire.ended();
                Rest::Nothing
            }
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked | Framing::ChunkedOrNot => Rest::Chunked(Box::default()),
            Framing::UntilClose => Rest::UntilClose,
        }
    }

    pub(in crate::upstream) fn is_end_stream(&self) -> bool {
        matches!(self, Rest::Nothing)
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        match self {
            Rest::Nothing => SizeHint::with_exact(0),
            Rest::Length(left) => SizeHint::with_exact(*left),
            Rest::Chunked(_) | Rest::UntilClose | Rest::Broken(_) => SizeHint::default(),
        }
    }

    /// The next frame, as a body gives it. With the last one, the connection is free again, if it is to serve more.
    pub(in crate::upstream) fn poll_frame<S: AsyncRead + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if matches!(self, Rest::Broken(_))
            && let Rest::Broken(fault) = std::mem::replace(self, Rest::Nothing)
        {
            return Poll::Ready(Some(Err(fault)));
        }
        match ready!(self.poll_next(wire, cx)) {
            Ok(frame) => Poll::Ready(frame.map(Ok)),
            Err(fault) => {
                // Whoever passes it on sends what came before, then breaks off.
                *self = Rest::Broken(fault);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn poll_next<S: AsyncRead + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, Fault>> {
        loop {
            if let Some(frame) = self.at_hand(wire)? {
                return Poll::Ready(Ok(Some(frame)));
            }
            let expected = match self {
                Rest::Nothing | Rest::Broken(_) => return Poll::Ready(Ok(None)),
                Rest::Length(left) => *left,
                Rest::Chunked(chunks) => chunks.expected(),
                Rest::UntilClose => u64::MAX,
            };
            ready!(wire.poll_read_most(expected, cx)).map_err(Fault::Connection)?;
            if wire.unread.is_empty() {
                return Poll::Ready(match std::mem::replace(self, Rest::Nothing) {
                    Rest::UntilClose => Ok(None),
                    _ => Err(Fault::Ended),
                });
            }
        }
    }

    /// The next frame of what was read.
    fn at_hand<S: AsyncRead + Unpin>(&mut self, wire: &mut Wire<S>) -> Result<Option<Frame<Bytes>>, Fault> {
        let unread = &mut wire.unread;
        match self {
            Rest::Chunked(chunks) => {
                let piece = chunks.next(unread)?;
                if chunks.is_end() {
                    self.end(wire);
                }
                Ok(piece.map(|piece| match piece {
                    Piece::Data(data) => Frame::data(data),
                    Piece::Trailers(trailers) => Frame::trailers(trailers),
                }))
            }
            Rest::Length(left) if !unread.is_empty() => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(unread.len());
                let data = unread.split_to(here);
                *left = left.saturating_sub(here as u64);
                if *left == 0 {
                    self.end(wire);
                }
                Ok(Some(Frame::data(data)))
            }
            Rest::UntilClose if !unread.is_empty() => Ok(Some(Frame::data(std::mem::take(unread)))),
            Rest::Nothing | Rest::Length(_) | Rest::UntilClose | Rest::Broken(_) => Ok(None),
        }
    }

    fn end<S: AsyncRead + Unpin>(&mut self, wire: &mut Wire<S>) {
        *self = Rest::Nothing;
        wire.ended();
    }
}
