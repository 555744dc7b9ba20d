//! The canonical path of a request and its other readings, or a refusal.

use crate::refusal::Refusal;

mod readings;
#[cfg(test)]
mod tests;

pub(crate) use self::readings::{decode_reserved, is_in_small_letters};

/// A path in the one form that is matched and sent upstream, with the ways in which other servers may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath {
    text: String,
    readings: Vec<Reading>,
}

/// Another server's reading of the same path: a canonical path, or none (no canonical form: refused).
pub type Reading = Result<String, &'static str>;

impl CanonicalPath {
    /// Makes the path of a request target canonical (RFC 3986, section 6.2.2).
    ///
    /// # Errors
    /// `Refusal::Path` where it has no canonical form.
    pub fn parse(raw: &str) -> Result<CanonicalPath, Refusal> {
        if is_plain(raw.as_bytes()) {
            return Ok(CanonicalPath { text: raw.to_owned(), readings: Vec::new() });
        }
        let text = canonical(raw).map_err(Refusal::Path)?;
        let readings = readings::of(&text);
        Ok(CanonicalPath { text, readings })
    }

    /// The canonical form; begins with `/`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The other readings, each different from the canonical form. Empty for nearly all paths. Those that follow an
    /// `Err` are left out: the request is refused whatever they are.
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// The same for a server that ignores case, found anew: in small letters as well, in every combination.
    pub fn readings_ignoring_case(&self) -> Vec<Reading> {
        readings::ignoring_case(&self.text)
    }
}

/// Whether a path that has a canonical form differs from it by dot segments that had to be resolved, encoded or not.
pub fn has_dot_segments(raw: &str) -> bool {
    raw.split('/').any(|segment| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        plain == "." || plain == ".."
    })
}

/// Whether the path is canonical and has no other reading, by one look at each octet. Some that are (a segment that
/// begins with a dot, `%20`) take the longer way.
fn is_plain(raw: &[u8]) -> bool {
    let Some((b'/', rest)) = raw.split_first() else { return false };
    let mut previous = b'/';
    for &octet in rest {
        let plain = match octet {
            b'/' | b'.' => previous != b'/',
            b';' => false,
            _ => is_literal(octet),
        };
        if !plain {
            return false;
        }
        previous = octet;
    }
    true
}

/// The canonical form of any path.
pub(crate) fn canonical(raw: &str) -> Result<String, &'static str> {
    let mut octets = raw.bytes();
    if octets.next() != Some(b'/') {
        return Err("the path does not begin with a slash");
    }
    let mut text = String::with_capacity(raw.len());
    text.push('/');
    let mut segment = text.len();
    while let Some(octet) = octets.next() {
        match octet {
            b'/' => {
                if !resolve_dots(&mut text, segment)? {
                    text.push('/');
                }
                segment = text.len();
            }
            b'%' => push_decoded(&mut text, &mut octets)?,
            b'"' | b'^' | b'{' | b'|' | b'}' => push_encoded(&mut text, octet),
            _ if is_literal(octet) => text.push(char::from(octet)),
            b'\\' => return Err("the path has a backslash"),
            b'<' | b'>' | b'`' => return Err("the path has a character that must be encoded"),
            b' ' => return Err("the path has a space"),
            b'#' => return Err("the path has a fragment"),
            b'?' => return Err("the path has a query"),
            0x80.. => return Err("the path has octets that are not ASCII"),
            _ => return Err("the path has a control character"),
        }
    }
    resolve_dots(&mut text, segment)?;
    Ok(text)
}

/// What stands for itself in a path: `pchar` without `%` (RFC 3986, section 3.3), and the square brackets, which clients
/// leave as they are.
fn is_literal(octet: u8) -> bool {
    is_unreserved(octet) || is_reserved(octet)
}

/// RFC 3986, section 2.3.
fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~')
}

/// The reserved characters that may stand in a segment. They and their encoded forms are two paths to RFC 3986, section
/// 2.2, and one to most servers.
fn is_reserved(octet: u8) -> bool {
    matches!(
        octet,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'[' | b']'
    )
}

/// Resolves the segment that ends `text` if it is `.` or `..` (RFC 3986, section 5.2.4). If so, `text` ends with the
/// slash before it.
fn resolve_dots(text: &mut String, segment: usize) -> Result<bool, &'static str> {
    match text.get(segment..) {
        Some(".") => text.truncate(segment),
        Some("..") => {
            let above = text.get(..segment.saturating_sub(1)).and_then(|parent| parent.rfind('/'));
            let Some(slash) = above else { return Err("the path leads above the root") };
            text.truncate(slash + 1);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Adds what a `%` begins: the character itself if it is unreserved, else its encoded form.
fn push_decoded(text: &mut String, octets: &mut std::str::Bytes<'_>) -> Result<(), &'static str> {
    match hex_pair(octets)? {
        octet if is_unreserved(octet) => text.push(char::from(octet)),
        b'/' => return Err("the path has an encoded slash"),
        b'\\' => return Err("the path has an encoded backslash"),
        0x00..=0x1f | 0x7f => return Err("the path has an encoded control character"),
        octet @ 0x80.. => push_utf8(text, octet, octets)?,
        octet => push_encoded(text, octet),
    }
    Ok(())
}

/// Adds an encoded character that begins with `first` and takes more than one octet; all of them must be encoded.
fn push_utf8(text: &mut String, first: u8, octets: &mut std::str::Bytes<'_>) -> Result<(), &'static str> {
    const NOT_UTF8: &str = "the path does not decode to UTF-8";
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Err(NOT_UTF8),
    };
    let mut sequence = [first, 0, 0, 0];
    for octet in sequence.iter_mut().take(length).skip(1) {
        if octets.next() != Some(b'%') {
            return Err(NOT_UTF8);
        }
        *octet = hex_pair(octets)?;
    }
    let character = sequence.get(..length).and_then(|sequence| std::str::from_utf8(sequence).ok()).ok_or(NOT_UTF8)?;
    character.bytes().for_each(|octet| push_encoded(text, octet));
    Ok(())
}

fn hex_pair(octets: &mut std::str::Bytes<'_>) -> Result<u8, &'static str> {
    let mut digit = || octets.next().and_then(hex_digit);
    match (digit(), digit()) {
        (Some(high), Some(low)) => Ok(high << 4 | low),
        _ => Err("the path has a percent sign that two hex digits do not follow"),
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn push_encoded(text: &mut String, octet: u8) {
    let digit = |value: u8| char::from(if value < 10 { b'0' + value } else { b'A' + value - 10 });
    text.extend(['%', digit(octet >> 4), digit(octet & 0xf)]);
}
