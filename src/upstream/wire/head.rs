//! The head of an answer (RFC 9112, sections 4 and 5).

use std::mem::MaybeUninit;

use bytes::Bytes;
use httparse::{ParserConfig, Status};
use hyper::{
    HeaderMap, Response, StatusCode, Version,
    ext::ReasonPhrase,
    header::{CONNECTION, HeaderName, HeaderValue},
};

use super::Fault;

pub(super) const MOST_FIELDS: usize = 100;

/// What an answer says before its body.
pub(super) struct Head {
    pub(super) version: Version,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Whether the upstream says something of the connection.
    has_connection: bool,
    /// None: the status's own.
    reason: Option<ReasonPhrase>,
}

/// Reads a head, and says how long it is. None where its end isn't there. Its values stay where they are.
pub(super) fn read(bytes: &Bytes) -> Result<Option<(Head, usize)>, Fault> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let read = ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields);
    let Status::Complete(length) = read.map_err(fault)? else { return Ok(None) };
    let (Some(minor), Some(code)) = (parsed.version, parsed.code) else { return Err(MALFORMED_LINE) };
    let status = StatusCode::from_u16(code).map_err(|_| MALFORMED_LINE)?;
    let version = if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let reason = parsed.reason.filter(|reason| status.canonical_reason() != Some(reason));
    let reason = reason.map(|reason| ReasonPhrase::try_from(reason.as_bytes()).map_err(|_| MALFORMED_LINE));
    let reason = reason.transpose()?;
    let mut headers = HeaderMap::new();
    collect(parsed.headers, &mut headers, |value| bytes.slice_ref(value))?;
    let has_connection = headers.keys().any(|name| *name == CONNECTION);
    Ok(Some((Head { version, status, headers, has_connection, reason }, length)))
}

/// The fields of a head or of trailers; `shared` makes a value's bytes its own.
pub(super) fn collect(
    fields: &[httparse::Header<'_>],
    into: &mut HeaderMap,
    shared: impl Fn(&[u8]) -> Bytes,
) -> Result<(), Fault> {
    into.try_reserve(fields.len()).map_err(|_| Fault::TooMany("fields"))?;
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| MALFORMED_FIELD)?;
        let value = HeaderValue::from_maybe_shared(shared(field.value)).map_err(|_| MALFORMED_FIELD)?;
        into.try_append(name, value).map_err(|_| Fault::TooMany("fields"))?;
    }
    Ok(())
}

/// Whether a head whose first bytes are known may be whole with those that came after them.
pub(super) fn may_be_whole(bytes: &[u8], known: usize) -> bool {
    let news = bytes.get(known.saturating_sub(3)..).unwrap_or_default();
    memchr::memchr_iter(b'\n', news).any(|at| {
        let rest = news.get(at + 1..).unwrap_or_default();
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

impl Head {
    /// Whether the answer is still to come.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// Whether the upstream takes another request after this one. Not by HTTP/1.0, which doesn't tell for sure.
    pub(super) fn is_kept(&self) -> bool {
        self.version == Version::HTTP_11
            && self.status != StatusCode::SWITCHING_PROTOCOLS
            && !(self.has_connection && has_option(self.headers.get_all(CONNECTION), "close"))
    }

    pub(super) fn into_response<B>(self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.version_mut() = self.version;
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if let Some(reason) = self.reason {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

/// Whether lines of `Connection` name this.
pub(super) fn has_option<'v>(lines: impl IntoIterator<Item = &'v HeaderValue>, option: &str) -> bool {
    let mut options = lines.into_iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    options.any(|one| one.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}

const MALFORMED_LINE: Fault = Fault::Malformed("its status line");
const MALFORMED_FIELD: Fault = Fault::Malformed("a field");

pub(super) fn fault(error: httparse::Error) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::TooMany("fields"),
        httparse::Error::Version | httparse::Error::Status => MALFORMED_LINE,
        _ => MALFORMED_FIELD,
    }
}
