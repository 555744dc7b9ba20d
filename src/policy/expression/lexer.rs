//! The words of an expression.

use std::ops::Range;

use super::Mistake;

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) span: Range<usize>,
    pub(super) word: Word,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    Name(String),
    /// Without its sign.
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}", "`",
];

/// All words of a text; an `End` is the last.
pub(super) fn words(text: &str) -> Result<Vec<Token>, Mistake> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let skipped = blank(rest);
        let rest = rest.get(skipped..).unwrap_or_default();
        at += skipped;
        let (word, length) = match rest.chars().next() {
            None => {
                tokens.push(Token { span: at..at, word: Word::End });
                return Ok(tokens);
            }
            Some(first) if quote_of(rest).is_some() => string(rest, at, first)?,
            Some(first) if first == '_' || first.is_ascii_alphabetic() => {
                let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                (Word::Name(rest.get(..end).unwrap_or_default().to_owned()), end)
            }
            Some(first) if first.is_ascii_digit() || starts_fraction(rest) => number(rest, at)?,
            Some(first) => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(&"`") => {
                    return Err(Mistake::new(at..at + 1, "names in backticks are not understood")
                        .hint("write `claims[\"the name\"]`"));
                }
                Some(sign) => (Word::Sign(sign), sign.len()),
                None => return Err(no_sign(first, at)),
            },
        };
        tokens.push(Token { span: at..at + length, word });
        at += length;
    }
}

fn no_sign(first: char, at: usize) -> Mistake {
    let mistake = Mistake::new(at..at + first.len_utf8(), format!("`{first}` means nothing here"));
    match first {
        '=' => mistake.hint("two values are compared with `==`"),
        '&' => mistake.hint("write `&&` for and"),
        '|' => mistake.hint("write `||` for or"),
        _ => mistake,
    }
}

/// The length of what stands before the next word: blanks and comments.
fn blank(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
        match rest.strip_prefix("//") {
            Some(comment) => rest = comment.split_once('\n').map_or("", |(_, after)| after),
            None => return text.len() - rest.len(),
        }
    }
}

fn starts_fraction(text: &str) -> bool {
    text.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn number(text: &str, at: usize) -> Result<(Word, usize), Mistake> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let wrong = |length| Mistake::new(at..at + length, "this number is too large");
    if let Some(hex) = text.strip_prefix("0x") {
        let length = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let value = u64::from_str_radix(hex.get(..length).unwrap_or_default(), 16).map_err(|_| wrong(length + 2))?;
        return whole(text, value, length + 2, at);
    }
    let mut length = digits(text);
    let mut fraction = false;
    let rest = text.get(length..).unwrap_or_default();
    if starts_fraction(rest) {
        fraction = true;
        length += 1 + digits(rest.get(1..).unwrap_or_default());
    }
    if let Some(exponent) = text.get(length..).and_then(|rest| rest.strip_prefix(['e', 'E'])) {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let count = digits(unsigned);
        if count > 0 {
            fraction = true;
            length += 1 + (exponent.len() - unsigned.len()) + count;
        }
    }
    let written = text.get(..length).unwrap_or_default();
    if fraction {
        let value = written.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(|| wrong(length))?;
        return ended(text, Word::Double(value), length, at);
    }
    whole(text, written.parse().map_err(|_| wrong(length))?, length, at)
}

fn whole(text: &str, value: u64, length: usize, at: usize) -> Result<(Word, usize), Mistake> {
    match text.get(length..).is_some_and(|rest| rest.starts_with(['u', 'U'])) {
        true => ended(text, Word::Uint(value), length + 1, at),
        false => ended(text, Word::Int(value), length, at),
    }
}

/// A number isn't followed by a name.
fn ended(text: &str, word: Word, length: usize, at: usize) -> Result<(Word, usize), Mistake> {
    let rest = text.get(length..).unwrap_or_default();
    let stray = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    match stray {
        0 => Ok((word, length)),
        _ => Err(Mistake::new(at..at + length + stray, "this is no number").hint("a text stands in quotes")),
    }
}

/// How a string begins: what is before its first quote, and the quotes.
fn quote_of(text: &str) -> Option<(&str, &'static str)> {
    let quotes = text.find(['"', '\'']).filter(|at| *at <= 2)?;
    let (prefix, rest) = text.split_at(quotes);
    let known = matches!(prefix, "" | "r" | "R" | "b" | "B" | "br" | "bR" | "Br" | "BR" | "rb" | "rB" | "Rb" | "RB");
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| rest.starts_with(quote))?;
    known.then_some((prefix, quote))
}

fn string(text: &str, at: usize, first: char) -> Result<(Word, usize), Mistake> {
    let Some((prefix, quote)) = quote_of(text) else { return Err(no_sign(first, at)) };
    if prefix.contains(['b', 'B']) {
        return Err(
            Mistake::new(at..at + prefix.len(), "bytes are not understood").hint("a text stands in quotes alone")
        );
    }
    let start = prefix.len() + quote.len();
    let raw = !prefix.is_empty();
    let mut value = String::new();
    let mut rest = text.get(start..).unwrap_or_default();
    loop {
        if let Some(after) = rest.strip_prefix(quote) {
            return Ok((Word::Text(value), text.len() - after.len()));
        }
        let mut chars = rest.chars();
        match chars.next() {
            Some('\\') if !raw => {
                let place = at + text.len() - rest.len();
                let (c, after) = escape(chars.as_str()).ok_or_else(|| {
                    Mistake::new(place..place + 1, "a backslash that no escape follows")
                        .hint("write `\\\\` for a backslash, or a raw text: `r\"\\d\"`")
                })?;
                value.push(c);
                rest = after;
            }
            Some('\n' | '\r') if quote.len() == 1 => break,
            Some(c) => {
                value.push(c);
                rest = chars.as_str();
            }
            None => break,
        }
    }
    Err(Mistake::new(at..at + start, "a text that doesn't end").hint(format!("it ends with `{quote}`")))
}

/// What comes after a backslash: the character, and the rest.
fn escape(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    let simple = match chars.next()? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        c @ ('\\' | '?' | '"' | '\'' | '`') => c,
        'x' | 'X' => return code(chars.as_str(), 2, 16),
        'u' => return code(chars.as_str(), 4, 16),
        'U' => return code(chars.as_str(), 8, 16),
        '0'..='3' => return code(text, 3, 8),
        _ => return None,
    };
    Some((simple, chars.as_str()))
}

fn code(text: &str, length: usize, radix: u32) -> Option<(char, &str)> {
    let (digits, after) = text.split_at_checked(length)?;
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    Some((char::from_u32(u32::from_str_radix(digits, radix).ok()?)?, after))
}
