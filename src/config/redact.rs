//! What of a configuration is never shown: secrets, credentials in URLs, bytes that a terminal would obey.

use super::diagnostic::Span;

/// What stands for hidden text.
const MASK: &str = "***";

/// Whether a key of this name holds a secret, also where the name is misspelt.
pub(super) fn is_secret_key(key: &str) -> bool {
    const NAMES: [&str; 8] =
        ["secret", "secret_base64", "client_secret", "password", "token", "bearer_token", "private_key", "redis"];
    let key = key.to_ascii_lowercase();
    ["secret", "passw", "private"].iter().any(|part| key.contains(part))
        || NAMES.iter().any(|name| key == *name || is_one_slip(&key, name))
}

/// Whether two words differ by one slip of a finger: a letter more, less, another one, or two that changed places. Told without a
/// table of distances, since each key of a configuration is looked at.
fn is_one_slip(one: &str, other: &str) -> bool {
    if !one.is_ascii() || !other.is_ascii() {
        return strsim::damerau_levenshtein(one, other) == 1;
    }
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let before = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (one.get(before..).unwrap_or_default(), other.get(before..).unwrap_or_default());
    let after = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    let (one, other) = (one.get(..one.len() - after), other.get(..other.len() - after));
    match (one.unwrap_or_default(), other.unwrap_or_default()) {
        ([_], [] | [_]) | ([], [_]) => true,
        ([a, b], [c, d]) => a == d && b == c,
        _ => false,
    }
}

/// Whether a member of this name is a private part of a JSON Web Key (RFC 7518, section 6).
pub(super) fn is_private_jwk_member(key: &str) -> bool {
    matches!(key, "d" | "p" | "q" | "dp" | "dq" | "qi" | "oth" | "k")
}

/// Hides `user:password@` in whatever looks like a URL.
pub(super) fn userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '`' | '\''));
        let authority = after.get(..end.unwrap_or(after.len())).unwrap_or_default();
        match authority.rfind('@') {
            Some(sign) => {
                shown.push_str(MASK);
                rest = after.get(sign..).unwrap_or_default();
            }
            None => rest = after,
        }
    }
    shown.push_str(rest);
    shown
}

/// Replaces control characters, so that nothing shown can steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(printable_char).collect()
}

fn printable_char(c: char) -> char {
    match c {
        '\t' | '\n' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// A line fit to be shown, and where in it (in characters) a range of its bytes has gone.
///
/// `hidden` are the ranges of the whole text that hold secrets. Where the text could not be read as YAML they aren't
/// known; then lines that look like a secret's are hidden from the colon on.
pub(super) fn line(
    text: &str,
    line_start: usize,
    line: &str,
    hidden: Option<&[Span]>,
    (from, to): (usize, usize),
) -> (String, usize, usize) {
    let mut ranges = hidden
        .unwrap_or_default()
        .iter()
        .filter(|span| span.start < line_start + line.len() && span.end > line_start)
        .map(|span| (span.start.saturating_sub(line_start), (span.end - line_start).min(line.len())))
        .collect::<Vec<_>>();
    if hidden.is_none() {
        ranges.extend(looks_secret(text, line_start, line));
    }
    ranges.extend(userinfo_ranges(line));
    ranges.sort_unstable();

    let mut shown = String::new();
    let mut shown_chars = 0;
    let mut places = (None, None);
    let mut hidden_until = 0;
    for (at, c) in line.char_indices() {
        if at >= from && places.0.is_none() {
            places.0 = Some(shown_chars);
        }
        if at >= to && places.1.is_none() {
            places.1 = Some(shown_chars);
        }
        if at < hidden_until {
            continue;
        }
        let covering = ranges.iter().filter(|(start, end)| *start <= at && at < *end).map(|(_, end)| *end).max();
        match covering {
            Some(end) => {
                hidden_until = end;
                shown.push_str(MASK);
                shown_chars += MASK.len();
            }
            None => {
                shown.push(printable_char(c));
                shown_chars += 1;
            }
        }
    }
    (shown, places.0.unwrap_or(shown_chars), places.1.unwrap_or(shown_chars))
}

/// The part of a line that may be a secret's value: after `secret:` on the line itself, or all of a line that is
/// indented below such a key.
fn looks_secret(text: &str, line_start: usize, line: &str) -> Option<(usize, usize)> {
    let whole = (0, line.len());
    if let Some((colon, nested)) = secret_colon(line) {
        return (!nested).then_some((colon + 1, line.len()));
    }
    let mut indent = indentation(line);
    for above in text.get(..line_start)?.lines().rev().take(200) {
        if above.trim().is_empty() || indentation(above) >= indent {
            continue;
        }
        indent = indentation(above);
        if secret_colon(above).is_some_and(|(_, nested)| !nested) {
            return Some(whole);
        }
        if indent == 0 {
            break;
        }
    }
    None
}

/// Where the colon after the name of a secret is, and whether a map begins after it (`token:` alone on its line
/// with keys below, which a tree knows better).
fn secret_colon(line: &str) -> Option<(usize, bool)> {
    line.match_indices(':').map(|(at, _)| at).find_map(|at| {
        let before = line.get(..at)?.trim_end_matches([' ', '"', '\'']);
        let name = before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next()?;
        let after = line.get(at + 1..)?;
        let is_map = after.trim().is_empty() && name == "token";
        (is_secret_key(name) && (after.is_empty() || after.starts_with([' ', '\t', '"', '\'']))).then_some((at, is_map))
    })
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

fn userinfo_ranges(line: &str) -> Vec<(usize, usize)> {
    line.match_indices("://")
        .filter_map(|(at, _)| {
            let from = at + 3;
            let after = line.get(from..)?;
            let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\''));
            let sign = after.get(..end.unwrap_or(after.len()))?.rfind('@')?;
            Some((from, from + sign))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn show(text: &str) -> String {
        line(text, 0, text, None, (0, 1)).0
    }

    #[test]
    fn secrets_are_hidden_by_their_name() {
        assert_eq!(show("client_secret: hunter2"), "client_secret:***");
        assert_eq!(show("{id: x, \"client_secret\": hunter2}"), "{id: x, \"client_secret\":***");
        assert_eq!(show("  clientsecret: hunter2"), "  clientsecret:***");
        assert_eq!(show("pasword: hunter2"), "pasword:***");
        assert_eq!(show("redis: redis://:pw@h"), "redis:***");
        assert_eq!(show("max_token_bytes: 64KiB"), "max_token_bytes: 64KiB");
        let block = "private_key: |\n  -----BEGIN\n  abc\n";
        assert_eq!(line(block, 15, "  -----BEGIN", None, (0, 1)).0, "***");
    }

    proptest! {
        #[test]
        fn one_slip_is_a_distance_of_one(one in "[abcé]{0,5}", other in "[abcé]{0,5}") {
            prop_assert_eq!(is_one_slip(&one, &other), strsim::damerau_levenshtein(&one, &other) == 1);
        }
    }

    #[test]
    fn credentials_in_urls_are_hidden() {
        assert_eq!(userinfo("see `http://u:p@h:1/x` and a@b"), "see `http://***@h:1/x` and a@b");
        assert_eq!(userinfo("http://h/a@b"), "http://h/a@b");
        assert_eq!(userinfo("http://u:p@q@h"), "http://***@h");
        assert_eq!(show("url: http://u:p@h:1/x"), "url: http://***@h:1/x");
    }

    #[test]
    fn the_caret_follows_what_was_cut() {
        let text = "url: http://u:pppppp@h:1/x end";
        let at = 27;
        let (shown, from, to) = line(text, 0, text, None, (at, at + 3));
        let caret = shown.chars().skip(from).take(to - from).collect::<String>();
        assert_eq!(caret, "end");
    }
}
