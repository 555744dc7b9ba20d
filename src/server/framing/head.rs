//! A request head, checked line by line as it arrives (RFC 9112, sections 2 to 6).

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::{authority::Authority, target};
use crate::refusal::Refusal;

pub(in crate::server) const MAX_FIELDS: usize = 100;
const MAX_NAME_BYTES: usize = 1024;

/// How far a head has been checked. Offsets are into the bytes given to `feed`, which only ever grow.
#[derive(Debug, Default)]
pub(in crate::server) struct HeadScan {
    line: usize,
    seen: usize,
    fields: usize,
    version: Version,
    is_head: bool,
    absolute: Option<Absolute>,
    host: Option<Range<usize>>,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Version {
    /// The request line isn't complete.
    #[default]
    Unknown,
    Http10,
    Http11,
}

/// Where an absolute-form target has its authority (RFC 9112, section 3.2.2).
#[derive(Debug)]
struct Absolute {
    authority: Range<usize>,
    default_port: u16,
}

/// What is known of a head by now.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) enum Progress {
    Incomplete,
    Complete(Head),
}

/// A head that is in order.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Head {
    /// With the empty line.
    pub(in crate::server) bytes: usize,
    /// How many there are.
    pub(in crate::server) fields: usize,
    pub(in crate::server) body: BodyLength,
}

/// How long the body is (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum BodyLength {
    Fixed(u64),
    Chunked,
}

impl HeadScan {
    /// Goes on where the last call stopped. `bytes` begins with the head's first byte.
    pub(in crate::server) fn feed(&mut self, bytes: &[u8], max_bytes: usize) -> Result<Progress, Refusal> {
        // At once: another protocol (TLS, say) may never send a line feed.
        if bytes.first().is_some_and(|&byte| !is_token(byte)) {
            return Err(MALFORMED_LINE);
        }
        while let Some(rest) = bytes.get(self.seen..) {
            let Some(length) = memchr(b'\n', rest) else {
                break;
            };
            let end = self.seen + length;
            if end >= max_bytes {
                return Err(Refusal::HeadTooLarge);
            }
            let Some(line) = bytes.get(self.line..end).and_then(|line| line.strip_suffix(b"\r")) else {
                return Err(Refusal::Framing("a line of the request head ends without a carriage return"));
            };
            let start = self.line;
            self.line = end + 1;
            self.seen = end + 1;
            if self.version == Version::Unknown {
                self.request_line(line, start)?;
            } else if line.is_empty() {
                let body = self.finish(bytes)?;
                return Ok(Progress::Complete(Head { bytes: end + 1, fields: self.fields, body }));
            } else {
                self.field(line, start)?;
            }
        }
        if bytes.len() >= max_bytes {
            return Err(Refusal::HeadTooLarge);
        }
        self.seen = bytes.len();
        Ok(Progress::Incomplete)
    }

    /// Whether the answer must be without a body (RFC 9110, section 9.3.2).
    pub(super) fn is_head(&self) -> bool {
        self.is_head
    }

    fn request_line(&mut self, line: &[u8], start: usize) -> Result<(), Refusal> {
        let Some(method_end) = memchr(b' ', line) else {
            return Err(MALFORMED_LINE);
        };
        let Some(target_end) = memrchr(b' ', line) else {
            return Err(MALFORMED_LINE);
        };
        let (Some(method), Some(target), Some(version)) =
            (line.get(..method_end), line.get(method_end + 1..target_end), line.get(target_end + 1..))
        else {
            return Err(MALFORMED_LINE);
        };
        if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
            return Err(Refusal::Framing("the method is not a token"));
        }
        self.is_head = method == b"HEAD";
        self.version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            _ if version.starts_with(b"HTTP/") => {
                return Err(Refusal::Framing("the HTTP version is neither 1.0 nor 1.1"));
            }
            _ => return Err(MALFORMED_LINE),
        };
        self.absolute = target::check(method, target)?.map(|(authority, default_port)| {
            let offset = start + method_end + 1;
            Absolute { authority: authority.start + offset..authority.end + offset, default_port }
        });
        Ok(())
    }

    fn field(&mut self, line: &[u8], start: usize) -> Result<(), Refusal> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::Framing("a header field is folded over two lines"));
        }
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(Refusal::HeadTooLarge);
        }
        let Some(colon) = memchr(b':', line) else {
            return Err(Refusal::Framing("a header line has no colon"));
        };
        let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
        if name.len() > MAX_NAME_BYTES {
            return Err(Refusal::HeadTooLarge);
        }
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err(Refusal::Framing("a header name is not a token"));
        }
        // Without a branch in the loop, so that it runs on many bytes at once.
        if value.iter().fold(false, |bad, &byte| bad | !is_value(byte)) {
            return Err(Refusal::Framing("a header value has a control character in it"));
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value, start + colon + 1),
            14 if is_or_resembles(name, b"content-length")? => self.content_length(trim(value)),
            17 if is_or_resembles(name, b"transfer-encoding")? => self.transfer_encoding(trim(value)),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8], start: usize) -> Result<(), Refusal> {
        if self.host.is_some() {
            return Err(Refusal::Framing("there are two Host fields"));
        }
        let host = trim(value);
        if Authority::parse(host).is_none() {
            return Err(Refusal::Framing("the Host field is malformed"));
        }
        let start = start + value.iter().take_while(|byte| is_blank(**byte)).count();
        self.host = Some(start..start + host.len());
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::Framing("there are two Content-Length fields"));
        }
        self.length = Some(parse_length(value).ok_or(Refusal::Framing("the Content-Length field is malformed"))?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(Refusal::Framing("there are two Transfer-Encoding fields"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::Framing("the transfer coding is not understood"));
        }
        if self.version != Version::Http11 {
            return Err(Refusal::Framing("HTTP/1.0 has no Transfer-Encoding"));
        }
        self.chunked = true;
        Ok(())
    }

    fn finish(&self, bytes: &[u8]) -> Result<BodyLength, Refusal> {
        if self.chunked && self.length.is_some() {
            return Err(Refusal::Framing("there are a Content-Length and a Transfer-Encoding field"));
        }
        let Some(host) = &self.host else {
            return if self.version == Version::Http11 {
                Err(Refusal::Framing("there is no Host field"))
            } else {
                Ok(self.body())
            };
        };
        if let Some(absolute) = &self.absolute {
            let host = bytes.get(host.clone()).and_then(Authority::parse);
            let target = bytes.get(absolute.authority.clone()).and_then(Authority::parse);
            match (host, target) {
                (Some(host), Some(target)) if target.equals(&host, absolute.default_port) => {}
                _ => {
                    return Err(Refusal::Path("the host of the request target is not that of the Host field"));
                }
            }
        }
        Ok(self.body())
    }

    fn body(&self) -> BodyLength {
        if self.chunked { BodyLength::Chunked } else { BodyLength::Fixed(self.length.unwrap_or(0)) }
    }
}

const MALFORMED_LINE: Refusal = Refusal::Framing("the request line is malformed");

/// Whether it is this name. One that differs only in its punctuation is refused: back ends that fold names (CGI, WSGI) would
/// take it for the real one.
pub(in crate::server) fn is_or_resembles(name: &[u8], wanted: &[u8]) -> Result<bool, Refusal> {
    let alike = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*b == b'-' && !a.is_ascii_alphanumeric());
    if name.eq_ignore_ascii_case(wanted) {
        Ok(true)
    } else if name.iter().zip(wanted).all(alike) {
        Err(Refusal::Framing("a header name resembles one that frames the message"))
    } else {
        Ok(false)
    }
}

/// Digits only, without a sign or leading zeros, and within what a length can be.
pub(in crate::server) fn parse_length(value: &[u8]) -> Option<u64> {
    let plain = match value {
        [] => false,
        [b'0'] => true,
        [first, ..] => *first != b'0' && value.iter().all(u8::is_ascii_digit),
    };
    let length: u64 = std::str::from_utf8(value).ok().filter(|_| plain)?.parse().ok()?;
    (length <= i64::MAX as u64).then_some(length)
}

/// A character of a token (RFC 9110, section 5.6.2).
pub(in crate::server) fn is_token(byte: u8) -> bool {
    static TOKEN: [bool; 256] = token_table();
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn token_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = matches!(
            byte,
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.'
                | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        byte += 1;
    }
    table
}

/// A character of a field value (RFC 9110, section 5.5).
pub(super) fn is_value(byte: u8) -> bool {
    ((byte >= b' ') & (byte != 0x7f)) | (byte == b'\t')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim(value: &[u8]) -> &[u8] {
    let start = value.iter().take_while(|byte| is_blank(**byte)).count();
    let value = value.get(start..).unwrap_or_default();
    let end = value.len() - value.iter().rev().take_while(|byte| is_blank(**byte)).count();
    value.get(..end).unwrap_or_default()
}
