//! A request's head, as it is written.

use http_body::Body;
use hyper::{
    HeaderMap, Method, Request, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
};

use super::head::has_option;

/// Whether a request is nothing but its head, and its answer nothing but an answer.
pub(in crate::upstream) fn is_plain<B: Body>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.body().is_end_stream()
        && request.version() == Version::HTTP_11
        && request.method() != Method::CONNECT
        && request.uri().authority().is_none()
        && !headers.contains_key(UPGRADE)
        && !headers.contains_key(TRANSFER_ENCODING)
        && announces_nothing(headers)
}

/// Its length is none, or 0: who is told of a body would take the next request for it.
fn announces_nothing(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_LENGTH).iter().all(|length| length == "0")
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
