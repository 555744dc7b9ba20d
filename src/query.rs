//! The fields of a query, with an eye to how other servers read them.

use std::borrow::Cow;

/// What a piece of a query between two `&` is to somebody who looks for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'q> {
    /// Another field.
    Other,
    /// The field of this name, with its value as it was written.
    Named(&'q str),
    /// Some server takes it, or a part of it, for that field: the name is in another case, padded or followed by a
    /// bracket, or a semicolon may be a separator.
    Alike,
}

/// Compares a piece with a name, which is given decoded.
pub fn compare<'q>(piece: &'q str, name: &str) -> Piece<'q> {
    let (written, value) = piece.split_once('=').unwrap_or((piece, ""));
    let alike = piece.split(';').filter(|part| is_alike(part.split('=').next().unwrap_or_default(), name)).count();
    if alike == 0 {
        return Piece::Other;
    }
    let is_this = alike == 1 && !piece.contains(';') && decode(written, true).is_some_and(|it| it == name);
    if is_this { Piece::Named(value) } else { Piece::Alike }
}

/// Whether some server takes what is written for this name: in another case, with brackets, or padded.
fn is_alike(written: &str, name: &str) -> bool {
    let Some(written) = decode(written, true) else { return false };
    let (written, name) = (written.trim().to_lowercase(), name.to_lowercase());
    written.strip_prefix(&*name).is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
}

/// Percent-decoded once; in a form, plus is a space. What isn't UTF-8 then is nothing.
pub fn decode(text: &str, form: bool) -> Option<Cow<'_, str>> {
    if !text.contains(['%', if form { '+' } else { '%' }]) {
        return Some(Cow::Borrowed(text));
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&octet) = rest.next() {
        match octet {
            b'%' => match hex_pair(rest.as_slice()) {
                Some(decoded) => {
                    octets.push(decoded);
                    rest.nth(1);
                }
                None => octets.push(octet),
            },
            b'+' if form => octets.push(b' '),
            _ => octets.push(octet),
        }
    }
    String::from_utf8(octets).ok().map(Cow::Owned)
}

fn hex_pair(octets: &[u8]) -> Option<u8> {
    let digit = |octet: &u8| char::from(*octet).to_digit(16);
    let (high, low) = (octets.first().and_then(digit)?, octets.get(1).and_then(digit)?);
    u8::try_from(high << 4 | low).ok()
}
