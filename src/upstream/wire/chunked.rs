//! A body in chunks (RFC 9112, section 7.1), as it comes.

use bytes::{Buf as _, Bytes};
use httparse::Status;
use hyper::HeaderMap;

use super::{
    Fault,
    head::{self, MOST_FIELDS},
};

const MOST_DIGITS: u8 = 16;
/// Of all extensions of a body, and of the blanks before them.
const MOST_EXTENSIONS: usize = 16 * 1024;
const MOST_TRAILERS: usize = 16 * 1024;

/// How far a body was read.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Chunks {
    at: At,
    extensions: usize,
    /// The trailer section so far.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Size {
        digits: u8,
        size: u64,
    },
    /// Blanks between a size and what follows it.
    Blank {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLineFeed {
        size: u64,
    },
    Data(u64),
    DataReturn,
    DataLineFeed,
    Trailers(Line),
    End,
}

/// Where in a line of the trailer section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Begin,
    Middle,
    /// After a carriage return; in the line that ends the section, if that was its first byte.
    Return {
        is_last: bool,
    },
}

/// What of a body comes next.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Default for At {
    fn default() -> At {
        At::Size { digits: 0, size: 0 }
    }
}

impl Chunks {
    /// The next piece in these bytes, which are shortened by what was read. None where there is none: more has to come,
    /// unless it is the end.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Piece>, Fault> {
        self.pass_frame(bytes)?;
        if let At::Data(left) = self.at {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            if here == 0 {
                return Ok(None);
            }
            self.at = match left.saturating_sub(here as u64) {
                0 => At::DataReturn,
                left => At::Data(left),
            };
            let data = bytes.split_to(here);
            // So that the last piece is known for it. What is wrong there is found again.
            let _ = self.pass_frame(bytes);
            return Ok(Some(Piece::Data(data)));
        }
        if self.is_over() && !self.trailers.is_empty() {
            return self.read_trailers().map(|trailers| Some(Piece::Trailers(trailers)));
        }
        Ok(None)
    }

    /// Reads what is around data: up to that, the end, or what is wrong.
    fn pass_frame(&mut self, bytes: &mut Bytes) -> Result<(), Fault> {
        while let (false, Some(&byte)) = (matches!(self.at, At::Data(_) | At::End), bytes.first()) {
            self.at = self.step(byte)?;
            bytes.advance(1);
        }
        Ok(())
    }

    /// Whether the last byte was read; trailers may be to be fetched still.
    fn is_over(&self) -> bool {
        matches!(self.at, At::End)
    }

    /// Whether nothing is to come.
    pub(super) fn is_end(&self) -> bool {
        self.is_over() && self.trailers.is_empty()
    }

    /// What is missing in the chunk that is being read.
    pub(super) fn expected(&self) -> u64 {
        if let At::Data(left) = self.at { left } else { 0 }
    }

    fn step(&mut self, byte: u8) -> Result<At, Fault> {
        Ok(match (self.at, byte) {
            (At::Size { digits, size }, byte) if byte.is_ascii_hexdigit() => {
                if digits == MOST_DIGITS {
                    return Err(MALFORMED_SIZE);
                }
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                At::Size { digits: digits + 1, size: (size << 4) | digit }
            }
            (At::Size { digits: 0, .. }, _) => return Err(MALFORMED_SIZE),
            (At::Size { size, .. } | At::Blank { size } | At::Extension { size }, b'\r') => At::SizeLineFeed { size },
            (At::Size { size, .. } | At::Blank { size }, b';') => At::Extension { size },
            // Some servers pad their sizes.
            (At::Size { size, .. } | At::Blank { size }, b' ' | b'\t') => self.extended(At::Blank { size })?,
            (At::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => self.extended(At::Extension { size })?,
            (At::SizeLineFeed { size: 0 }, b'\n') => At::Trailers(Line::Begin),
            (At::SizeLineFeed { size }, b'\n') => At::Data(size),
            (At::DataReturn, b'\r') => At::DataLineFeed,
            (At::DataLineFeed, b'\n') => At::default(),
            (At::DataReturn | At::DataLineFeed, _) => return Err(Fault::Malformed("a chunk's end")),
            (At::Trailers(line), byte) => self.trailer(line, byte)?,
            _ => return Err(MALFORMED_SIZE),
        })
    }

    fn extended(&mut self, at: At) -> Result<At, Fault> {
        self.extensions += 1;
        if self.extensions >= MOST_EXTENSIONS { Err(Fault::TooMany("bytes of chunk extensions")) } else { Ok(at) }
    }

    fn trailer(&mut self, line: Line, byte: u8) -> Result<At, Fault> {
        let next = match (line, byte) {
            (Line::Return { is_last: true }, b'\n') if self.trailers.len() == 1 => {
                self.trailers = Vec::new();
                return Ok(At::End);
            }
            (Line::Return { is_last: true }, b'\n') => At::End,
            (Line::Return { is_last: false }, b'\n') => At::Trailers(Line::Begin),
            (Line::Return { .. }, _) | (_, b'\n') => return Err(MALFORMED_TRAILERS),
            (line, b'\r') => At::Trailers(Line::Return { is_last: line == Line::Begin }),
            _ => At::Trailers(Line::Middle),
        };
        self.trailers.push(byte);
        if self.trailers.len() >= MOST_TRAILERS { Err(Fault::TooMany("bytes of trailers")) } else { Ok(next) }
    }

    fn read_trailers(&mut self) -> Result<HeaderMap, Fault> {
        let bytes = Bytes::from(std::mem::take(&mut self.trailers));
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        match httparse::parse_headers(&bytes, &mut fields).map_err(head::fault)? {
            Status::Complete((length, fields)) if length == bytes.len() => {
                let mut trailers = HeaderMap::new();
                head::collect(fields, &mut trailers, |value| bytes.slice_ref(value)).map(|()| trailers)
            }
            _ => Err(MALFORMED_TRAILERS),
        }
    }
}

const MALFORMED_SIZE: Fault = Fault::Malformed("a chunk's size");
const MALFORMED_TRAILERS: Fault = Fault::Malformed("its trailers");
