//! Where an answer's body ends (RFC 9112, section 6.3).

use hyper::{
    HeaderMap, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

use super::{Fault, head::Head};

/// Lengths above mean nothing.
const MOST_BYTES: u64 = u64::MAX - 2;

/// How the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked,
    /// The same, where a length contradicts: who else reads it may see another end.
    ChunkedOrNot,
    /// With its connection.
    UntilClose,
}

impl Framing {
    /// Of the answer to a request, which may have been a HEAD.
    pub(super) fn of(head: &Head, is_head: bool) -> Result<Framing, Fault> {
        let status = head.status;
        let has_none = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if is_head || has_none {
            return Ok(Framing::Length(0));
        }
        let headers = &head.headers;
        let (mut has_coding, mut has_length) = (false, false);
        for name in headers.keys() {
            has_coding |= *name == TRANSFER_ENCODING;
            has_length |= *name == CONTENT_LENGTH;
        }
        match (has_coding, has_length) {
            (true, _) if head.version != Version::HTTP_11 || !is_chunked_once(headers) => {
                Err(Fault::Malformed("its transfer coding"))
            }
            (true, false) => Ok(Framing::Chunked),
            (true, true) => Ok(Framing::ChunkedOrNot),
            (false, true) => length(headers).map(Framing::Length).ok_or(Fault::Malformed("its length")),
            (false, false) => Ok(Framing::UntilClose),
        }
    }

    /// Whether it ends before its connection does, beyond doubt.
    pub(super) fn has_end(self) -> bool {
        matches!(self, Framing::Length(_) | Framing::Chunked)
    }
}

fn is_chunked_once(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// One length, though it may be said several times.
fn length(headers: &HeaderMap) -> Option<u64> {
    let mut known = None;
    for line in headers.get_all(CONTENT_LENGTH) {
        for value in line.as_bytes().split(|byte| *byte == b',') {
            let value = digits(value.trim_ascii())?;
            if known.is_some_and(|known| known != value) {
                return None;
            }
            known = Some(value);
        }
    }
    known.filter(|length| *length <= MOST_BYTES)
}

fn digits(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
