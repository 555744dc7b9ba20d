//! The one body type of requests and responses, and their limits.

use std::{pin::Pin, task::{Context, Poll}};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

/// A response's body.
pub enum Body {
    /// Nothing.
    Empty,
    /// All of it at hand.
    Full(Option<Bytes>),
    /// Streamed from an upstream.
    Streamed(Incoming),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Streamed(incoming) => Pin::new(incoming).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(bytes) => bytes.is_none(),
            Body::Streamed(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Body::Streamed(incoming) => incoming.size_hint(),
        }
    }
}

/// What is found wrong in a request's body while it streams: set by whoever finds it first, read by whoever answers.
#[derive(Clone, Debug, Default)]
pub struct BodyFault(std::sync::Arc<std::sync::OnceLock<crate::refusal::Refusal>>);

impl BodyFault {
    /// Notes a fault; the first one stays.
    pub fn set(&self, fault: crate::refusal::Refusal) {
        let _ = self.0.set(fault);
    }

    /// The fault, if there is one.
    pub fn get(&self) -> Option<&crate::refusal::Refusal> {
        self.0.get()
    }
}
