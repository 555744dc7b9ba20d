//! A chunked body, checked as it streams by (RFC 9112, section 7.1). Nothing of it is kept.

use super::head::{is_token, is_value};
use crate::refusal::Refusal;

const MAX_SIZE_DIGITS: u8 = 16;
/// Of one chunk's extensions.
const MAX_EXTENSION_BYTES: usize = 4 * 1024;
/// Of all extensions of a body; hyper would end the body without a reason at 16 KiB.
const MAX_EXTENSIONS_BYTES: usize = 16 * 1024 - 64;
/// Of the whole trailer section; hyper's limit is 16 KiB.
const MAX_TRAILER_BYTES: usize = 16 * 1024 - 64;
const MAX_TRAILER_FIELDS: usize = 100;

/// Where in a chunked body we are.
#[derive(Debug, Default)]
pub(super) struct ChunkScan {
    at: At,
    extensions: usize,
    trailer_bytes: usize,
    trailer_fields: usize,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Size { digits: u8, size: u64 },
    Extension { size: u64, bytes: usize },
    SizeLineFeed { size: u64 },
    Data(u64),
    DataReturn,
    DataLineFeed,
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    End,
}

impl Default for At {
    fn default() -> At {
        At::Size { digits: 0, size: 0 }
    }
}

impl ChunkScan {
    /// How many of the bytes belong to the body and are in order, and what is wrong with the one after them.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Refusal>) {
        let mut done = 0;
        while let Some((&byte, rest)) = bytes.get(done..).and_then(<[u8]>::split_first) {
            self.at = match self.at {
                At::End => break,
                At::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len() + 1);
                    done += here;
                    match left.saturating_sub(here as u64) {
                        0 => At::DataReturn,
                        left => At::Data(left),
                    }
                }
                at => match self.step(at, byte) {
                    Ok(next) => {
                        done += 1;
                        next
                    }
                    Err(detail) => return (done, Some(Refusal::Framing(detail))),
                },
            };
        }
        (done, None)
    }

    /// Whether the last byte of the body was seen.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.at, At::End)
    }

    fn step(&mut self, at: At, byte: u8) -> Result<At, &'static str> {
        match (at, byte) {
            (At::Size { digits, size }, byte) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err("a chunk size has too many digits");
                }
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Ok(At::Size { digits: digits + 1, size: (size << 4) | digit })
            }
            (At::Size { digits: 0, .. }, _) => Err("a chunk size is malformed"),
            (At::Size { size, .. } | At::Extension { size, .. }, b'\r') => Ok(At::SizeLineFeed { size }),
            (At::Size { size, .. }, b';') => Ok(At::Extension { size, bytes: 0 }),
            (At::Size { .. }, _) => Err("a chunk size is malformed"),
            (At::Extension { size, bytes }, byte) => {
                self.extensions += 1;
                if !is_value(byte) || bytes == MAX_EXTENSION_BYTES || self.extensions > MAX_EXTENSIONS_BYTES {
                    return Err("a chunk extension is malformed or too long");
                }
                Ok(At::Extension { size, bytes: bytes + 1 })
            }
            (At::SizeLineFeed { size: 0 }, b'\n') => Ok(At::TrailerLine),
            (At::SizeLineFeed { size }, b'\n') => Ok(At::Data(size)),
            (At::SizeLineFeed { .. }, _) => Err("a chunk size line has a bare carriage return"),
            (At::DataReturn, b'\r') => Ok(At::DataLineFeed),
            (At::DataLineFeed, b'\n') => Ok(At::default()),
            (At::DataReturn | At::DataLineFeed, _) => Err("a chunk is longer than its size says"),
            (At::LastLineFeed, b'\n') => Ok(At::End),
            (At::TrailerLine, b'\r') => Ok(At::LastLineFeed),
            (at, byte) => self.trailer(at, byte),
        }
    }

    fn trailer(&mut self, at: At, byte: u8) -> Result<At, &'static str> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err("the trailer section is too large");
        }
        match (at, byte) {
            (At::TrailerLine, byte) if is_token(byte) => {
                self.trailer_fields += 1;
                if self.trailer_fields > MAX_TRAILER_FIELDS {
                    return Err("the trailer section is too large");
                }
                Ok(At::TrailerName)
            }
            (At::TrailerName, byte) if is_token(byte) => Ok(At::TrailerName),
            (At::TrailerName, b':') => Ok(At::TrailerValue),
            (At::TrailerValue, b'\r') => Ok(At::TrailerLineFeed),
            (At::TrailerValue, byte) if is_value(byte) => Ok(At::TrailerValue),
            (At::TrailerLineFeed, b'\n') => Ok(At::TrailerLine),
            _ => Err("the trailer section is malformed"),
        }
    }
}
