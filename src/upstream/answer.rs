//! What comes of a request that was sent: the body of its answer, or why there is none.

use std::error::Error as _;

use http_body::{Body as _, SizeHint};
use hyper::{Request, body::Incoming, client::conn::TrySendError};

use super::wire::Rest;
use crate::body::RequestBody;

/// The body of an answer.
pub(super) enum Answer {
    /// A task reads it off its connection.
    Apart(Incoming),
    /// Whoever wants it reads it off the connection.
    Here(Rest),
}

/// How sending a request ended without an answer.
pub(super) enum Unanswered {
    /// Nothing of it was written.
    Unsent(Box<Request<RequestBody>>),
    /// Over hyper.
    Library(hyper::Error),
    /// Over our own client, which hands the request back, though it was written.
    Wire(Box<Request<RequestBody>>),
}

impl Answer {
    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Answer::Apart(incoming) => incoming.is_end_stream(),
            Answer::Here(rest) => rest.is_end_stream(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Apart(incoming) => incoming.size_hint(),
            Answer::Here(rest) => rest.size_hint(),
        }
    }
}

impl Unanswered {
    /// REFUSED_STREAM, or a GOAWAY that leaves the request out.
    pub(super) fn is_unprocessed(&self) -> bool {
        self.http2().is_some_and(|error| {
            error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
        })
    }

    /// The upstream ended this request alone; its connection goes on.
    pub(super) fn is_reset(&self) -> bool {
        self.http2().is_some_and(h2::Error::is_reset)
    }

    fn http2(&self) -> Option<&h2::Error> {
        let Unanswered::Library(error) = self else { return None };
        error.source()?.downcast_ref()
    }
}

impl From<TrySendError<Request<RequestBody>>> for Unanswered {
    fn from(mut error: TrySendError<Request<RequestBody>>) -> Unanswered {
        match error.take_message() {
            Some(request) => Unanswered::Unsent(Box::new(request)),
            None => Unanswered::Library(error.into_error()),
        }
    }
}
