//! A request's head, as it is written.

use http_body::Body;
use hyper::{
    HeaderMap, Method, Request, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
};

use super::head::has_option;

/// A request that is nothing but its head, and whose answer is nothing but an answer.
pub(in crate::upstream) struct Plain<'r, B>(pub(super) &'r Request<B>);

impl<B: Body> Plain<'_, B> {
    /// None where a request is more than that.
    pub(in crate::upstream) fn of(request: &Request<B>) -> Option<Plain<'_, B>> {
        let is_plain = request.body().is_end_stream()
            && request.version() == Version::HTTP_11
            && request.method() != Method::CONNECT
            && request.uri().authority().is_none()
            && announces_nothing(request.headers());
        is_plain.then_some(Plain(request))
    }
}

/// No other protocol, and no body: its length is none, or 0. Who is told of a body would take the next request for it.
fn announces_nothing(headers: &HeaderMap) -> bool {
    headers.iter().all(|(name, value)| match *name {
        UPGRADE | TRANSFER_ENCODING => false,
        CONTENT_LENGTH => value == "0",
        _ => true,
    })
}

/// Whether it asks for the connection's end after its answer.
pub(super) fn closes<B>(request: &Request<B>) -> bool {
    has_option(request.headers().get_all(CONNECTION), "close")
}

/// Writes the head. Types see to it that no part of it holds a line's end, nor, before the fields, a blank.
pub(super) fn write<B>(request: &Request<B>, into: &mut Vec<u8>) {
    let uri = request.uri();
    into.extend_from_slice(request.method().as_str().as_bytes());
    into.push(b' ');
    into.extend_from_slice(uri.path().as_bytes());
    if let Some(query) = uri.query() {
        into.push(b'?');
        into.extend_from_slice(query.as_bytes());
    }
    into.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in request.headers() {
        into.extend_from_slice(name.as_str().as_bytes());
        into.extend_from_slice(b": ");
        into.extend_from_slice(value.as_bytes());
        into.extend_from_slice(b"\r\n");
    }
    into.extend_from_slice(b"\r\n");
}
