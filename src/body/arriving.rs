//! A request's body as it comes in, and what becomes of the part that nobody wants.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::{Version, body::Incoming};
use tokio::time::timeout;

/// How long the rest of a body is read and forgotten. An HTTP/2 stream is reset once nobody has its body any more, and there are
/// clients who, when that comes together with the answer, have no eyes for the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A body that is read on for a while where it is dropped before its end.
#[derive(Debug)]
pub struct Arriving {
    /// None: dropped.
    incoming: Option<Incoming>,
    lingers: bool,
}

impl Arriving {
    /// No body.
    pub fn nothing() -> Arriving {
        Arriving { incoming: None, lingers: false }
    }

    /// The body of a request in this version of HTTP. For HTTP/1 the connection sees to the rest itself.
    pub fn new(incoming: Incoming, version: Version) -> Arriving {
        Arriving { incoming: Some(incoming), lingers: version == Version::HTTP_2 }
    }
}

impl From<Incoming> for Arriving {
    /// One that doesn't linger.
    fn from(incoming: Incoming) -> Arriving {
        Arriving { incoming: Some(incoming), lingers: false }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let Some(mut rest) = self.incoming.take().filter(|rest| self.lingers && !rest.is_end_stream()) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = timeout(LINGER, async { while let Some(Ok(_)) = rest.frame().await {} }).await;
            });
        }
    }
}
