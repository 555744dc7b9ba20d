//! An upstream's answer on its way out: made safe to pass on, and tied to its connection.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, UPGRADE},
};
use tokio::time::{Duration, timeout};

use super::{
    Ejection, Tunnel, Upstream,
    answer::Answer,
    exchange::{BROKEN, Try},
    pool::Lease,
    standing::{Admission, Failing},
    upgrade,
};
use crate::{
    body::{Body, BrokenOff, Held, OwesBody, Unasked},
    headers::remove_hop_by_hop,
    refusal::{Refusal, UpstreamFault},
};

/// What is read of an answer in whose place another is asked for, so that its connection can be used again.
const MOST_DISCARDED: usize = 64 * 1024;
const DISCARDED_WITHIN: Duration = Duration::from_secs(1);

/// An answer, and the tunnel behind it.
pub(super) struct Answered {
    pub(super) response: Response<Body>,
    pub(super) tunnel: Option<Tunnel>,
}

/// The body of an answer, and the connection that it comes on.
struct Tied {
    answer: Answer,
    /// None once it was read to its end, or its connection has failed.
    end: Option<End>,
}

/// What is to be done at the end of an answer. Dropped before, it closes the connection.
struct End {
    lease: Lease,
    unasked: Option<Unasked>,
    /// Whether it speaks for its endpoint.
    speaks_for: bool,
    eject: Option<Ejection>,
    /// Whether the connection may serve another request.
    reusable: bool,
}

impl Upstream {
    /// Ties the connection to the answer's body.
    pub(super) fn answer(
        &self,
        lease: Lease,
        mut response: Response<Answer>,
        this_try: &mut Try,
    ) -> Result<Answered, Refusal> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return switched(lease, response, this_try.asked.as_ref());
        }
        let deadline = this_try.deadline;
        // On a connection that has seen an HTTP/1.0 answer hyper speaks HTTP/1.0, and drops bodies of unknown length.
        // Whoever answers before the body was there may not read it, and take it for the next request. And what follows
        // a head that speaks of a body that can't be would be taken for the next answer.
        let reusable = response.version() == Version::HTTP_11
            && this_try.upload.ended()
            && !(response.body().is_end_stream() && announces_body(response.headers()));
        cleaned(&mut response).map_err(Refusal::Upstream)?;
        let unasked = this_try.held.take().and_then(Held::answered);
        if unasked.is_some() {
            response.extensions_mut().insert(OwesBody);
        }
        let speaks_for = !is_failure(response.status());
        let eject = self.settings.eject;
        let response = response.map(|answer| {
            if answer.is_end_stream() {
                if reusable {
                    lease.give_back();
                }
                return Body::Empty;
            }
            let end = End { lease, unasked, speaks_for, eject, reusable };
            Body::streamed(Box::new(Tied { answer, end: Some(end) }), deadline)
        });
        Ok(Answered { response, tunnel: None })
    }
}

impl http_body::Body for Tied {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Tied { answer, end } = self.get_mut();
        let Some(connection) = end.as_mut().and_then(|end| end.lease.connection()) else { return Poll::Ready(None) };
        let polled = connection.poll_frame(answer, cx);
        let is_whole = match &polled {
            Poll::Ready(Some(Err(_))) => Some(false),
            Poll::Ready(None) => Some(true),
            // A body of known length isn't polled again after its last byte.
            Poll::Ready(Some(Ok(_))) if answer.is_end_stream() => Some(true),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => None,
        };
        if let Some(is_whole) = is_whole
            && let Some(end) = end.take()
        {
            end.came(is_whole);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

impl End {
    /// The body was read to its end, or else its connection has failed before.
    fn came(self, is_whole: bool) {
        drop(self.unasked);
        match is_whole {
            _ if !self.speaks_for => {}
            true => self.lease.standing().succeeded(Admission::Plain),
            false => self.lease.standing().failed(Admission::Plain, self.eject.as_ref(), Failing::Answering),
        }
        if is_whole && self.reusable {
            self.lease.give_back();
        }
    }
}

/// What counts as a failure of its endpoint.
pub(super) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

/// The connection is no longer one for requests: it becomes a tunnel, or ends where nobody had asked for that.
fn switched(lease: Lease, mut response: Response<Answer>, asked: Option<&HeaderValue>) -> Result<Answered, Refusal> {
    let Some(protocol) = upgrade::agreed(response.headers(), asked) else {
        return Err(BROKEN);
    };
    let tunnel = Tunnel::new(hyper::upgrade::on(&mut response), lease);
    let headers = response.headers_mut();
    remove_hop_by_hop(headers);
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
    Ok(Answered { response: response.map(|_| Body::Empty), tunnel: Some(tunnel) })
}

/// The answer as it may leave: hop-by-hop fields removed, one length at most.
fn cleaned<B>(response: &mut Response<B>) -> Result<(), UpstreamFault> {
    let (mut codings, mut lengths) = (0, 0);
    for (name, _) in response.headers() {
        codings += usize::from(*name == TRANSFER_ENCODING);
        lengths += usize::from(*name == CONTENT_LENGTH);
    }
    // Nothing was asked to be upgraded, and no coding but chunked was (RFC 9112, section 7): what is left of another one
    // would reach the client without its name.
    if response.status().is_informational() || codings > 0 && !is_plainly_coded(response.headers()) {
        return Err(UpstreamFault::Broken);
    }
    // The version is each connection's own (RFC 9110, section 6.2).
    *response.version_mut() = Version::HTTP_11;
    let no_content = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    // Transfer-Encoding overrides a length, which then must go (RFC 9112, section 6.3); 204 has none (RFC 9110, 8.6).
    if lengths > 0 && (no_content || codings > 0) {
        headers.remove(CONTENT_LENGTH);
    } else if lengths > 1
        // Equal ones, or they would have been refused.
        && let Some(length) = headers.remove(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, length);
    }
    remove_hop_by_hop(headers);
    Ok(())
}

/// Chunked once, or not at all.
fn is_plainly_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// Whether the head speaks of a body: one that sends it all the same, where there can be none, is heard too late.
fn announces_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// Reads an answer that nobody wants to its end, if that is near.
pub(super) fn discard(response: Response<Body>) {
    let mut body = response.into_body();
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(timeout(DISCARDED_WITHIN, async move {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, bytes::Bytes::len);
            if read > MOST_DISCARDED {
                return;
            }
        }
    }));
}
