//! A head that was found in order, as a request.

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Uri,
    header::{CONNECTION, EXPECT, HeaderName, HeaderValue, TE, UPGRADE},
};
use memchr::{memchr, memrchr};

use super::super::{Arrival, Asked};
use crate::body::{Arriving, BodyFault};

/// What the gateway adds to a request's fields, mostly: room for it is made at once.
const OUR_FIELDS: usize = 8;

/// The request of this head, which is all of one that `HeadScan` has passed and that has no body. None where it isn't plain.
/// Its parts are shared with `head`.
pub(super) fn plain(head: &Bytes, fields: usize, arrival: &Arrival) -> Option<Box<Asked>> {
    let (line, mut rest) = next_line(head)?;
    let (method, target) = (line.get(..memchr(b' ', line)?)?, line.get(..memrchr(b' ', line)?)?);
    let target = target.get(method.len() + 1..)?;
    if !line.ends_with(b" HTTP/1.1") || method == b"CONNECT" {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(fields + OUR_FIELDS);
    loop {
        let (line, after) = next_line(rest)?;
        if line.is_empty() {
            break;
        }
        rest = after;
        let colon = memchr(b':', line)?;
        let name = HeaderName::from_bytes(line.get(..colon)?).ok()?;
        let value = line.get(colon + 1..)?.trim_ascii();
        match name {
            CONNECTION if !value.eq_ignore_ascii_case(b"keep-alive") => return None,
            EXPECT | TE | UPGRADE => return None,
            _ => headers.append(name, HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()?),
        };
    }
    // In HTTP/1.1, as new ones are.
    let mut request = Request::new(Arriving::nothing());
    *request.method_mut() = Method::from_bytes(method).ok()?;
    *request.uri_mut() = Uri::from_maybe_shared(head.slice_ref(target)).ok()?;
    *request.headers_mut() = headers;
    Some(Asked::new(request, Arrival { body_fault: BodyFault::nowhere(), ..arrival.clone() }))
}

/// A line without its end, and what follows it.
fn next_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'\n', bytes)?;
    Some((bytes.get(..end)?.strip_suffix(b"\r")?, bytes.get(end + 1..)?))
}
