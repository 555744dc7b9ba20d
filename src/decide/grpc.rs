//! A unary method of gRPC, as a server has it (gRPC over HTTP2, the protocol's own description): one message comes, one goes.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Method, Response, Version,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    http::request,
};
use prost::Message;
use tokio::time::timeout;

use crate::{
    body::{Arriving, Body},
    refusal::Refusal,
};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// Whether the message is compressed, and its length.
const PREFIX_BYTES: usize = 5;

const NOT_ONE_MESSAGE: Refusal = Refusal::Framing("the call has not exactly one message");

/// Whether it is a call at all.
pub(super) fn is_call(head: &request::Parts) -> bool {
    let content = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_grpc = match content.strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    };
    is_grpc && head.version == Version::HTTP_2 && head.method == Method::POST
}

/// How long the caller waits for the answer; None: it doesn't say.
pub(super) fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The message of a call. No piece of it may take longer than `idle`.
///
/// # Errors
/// It is compressed, too long, too slow, broken off, not alone, or not of this type.
pub(super) async fn message<M: Message + Default>(
    headers: &HeaderMap,
    mut body: Arriving,
    max_bytes: usize,
    idle: Duration,
) -> Result<M, Refusal> {
    if headers.get(GRPC_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Refusal::Framing("the message is compressed"));
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = timeout(idle, body.frame()).await.map_err(|_| Refusal::BodyTooSlow)? {
        let Ok(frame) = frame else { return Err(NOT_ONE_MESSAGE) };
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len().saturating_add(data.len()) > max_bytes.saturating_add(PREFIX_BYTES) {
            return Err(Refusal::BodyTooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    M::decode(unframed(&bytes)?).map_err(|_| Refusal::Framing("the message is not of the method's type"))
}

fn unframed(bytes: &[u8]) -> Result<&[u8], Refusal> {
    match bytes {
        [0, a, b, c, d, message @ ..] if usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])) == Ok(message.len()) => {
            Ok(message)
        }
        [1, ..] => Err(Refusal::Framing("the message is compressed")),
        _ => Err(NOT_ONE_MESSAGE),
    }
}

/// The answer to a call.
pub(super) fn reply(message: &impl Message) -> Response<Body> {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    framed.extend_from_slice(&message.encode_to_vec());
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    let mut response = Response::new(Body::with_trailers(Bytes::from(framed), trailers));
    response.headers_mut().insert(CONTENT_TYPE, APPLICATION_GRPC);
    response
}

/// The answer to a call that comes to nothing, as gRPC names what was wrong with it.
pub(super) fn fault(refusal: &Refusal) -> Response<Body> {
    const INVALID_ARGUMENT: u16 = 3;
    const DEADLINE_EXCEEDED: u16 = 4;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    let code = match refusal {
        Refusal::NoRoute => UNIMPLEMENTED,
        Refusal::BodyTooLarge => RESOURCE_EXHAUSTED,
        Refusal::BodyTooSlow => DEADLINE_EXCEEDED,
        _ => INVALID_ARGUMENT,
    };
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
    headers.insert(GRPC_STATUS, HeaderValue::from(code));
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(refusal.detail()));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_type() {
        for (content, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/grpcs", false),
            ("application/json", false),
            ("", false),
        ] {
            let head = |version: Version, method: &str| {
                let request = hyper::Request::builder().version(version).method(method).header(CONTENT_TYPE, content);
                request.body(()).unwrap().into_parts().0
            };
            assert_eq!(is_call(&head(Version::HTTP_2, "POST")), is, "{content}");
            assert!(!is_call(&head(Version::HTTP_11, "POST")) && !is_call(&head(Version::HTTP_2, "GET")));
        }
    }

    #[test]
    fn deadlines() {
        for (text, expected) in [
            ("5S", Some(Duration::from_secs(5))),
            ("200m", Some(Duration::from_millis(200))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("1u", Some(Duration::from_micros(1))),
            ("0n", Some(Duration::ZERO)),
            ("2M", Some(Duration::from_secs(120))),
            ("", None),
            ("S", None),
            ("100000000S", None),
            ("-1S", None),
            ("1.5S", None),
            ("5s", None),
            ("5", None),
        ] {
            let headers = HeaderMap::from_iter([(GRPC_TIMEOUT, text.parse().unwrap())]);
            assert_eq!(deadline(&headers), expected, "{text}");
        }
    }

    #[test]
    fn one_message_whole() {
        assert_eq!(unframed(b"\0\0\0\0\x02ab"), Ok(&b"ab"[..]));
        assert_eq!(unframed(b"\0\0\0\0\0"), Ok(&b""[..]));
        for bytes in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x03ab", b"\0\0\0\0\x01ab", b"\x01\0\0\0\x02ab", b"\x02\0\0\0\0"]
        {
            assert!(unframed(bytes).is_err(), "{bytes:?}");
        }
    }
}
