//! Places inside of a scalar: where a part of its value stands in the file, whatever its style.

use std::ops::Range;

/// The range of a scalar's text, quotes and block header included, that a range of its value comes from. None where the value
/// isn't what was written: it holds a variable, or an escape that isn't followed here.
pub(super) fn place(written: &str, value: &str, part: Range<usize>) -> Option<Range<usize>> {
    let mut text = Written::new(written);
    let mut found = (None, None);
    for (at, c) in value.char_indices().map(|(at, c)| (at, Some(c))).chain([(value.len(), None)]) {
        if at == part.start {
            found.0 = Some(text.peek(c));
        }
        if at == part.end {
            found.1 = Some(text.at);
        }
        if let Some(c) = c {
            text.pass(c)?;
        }
    }
    let (start, end) = (found.0?, found.1?);
    Some(start..end.max(start))
}

struct Written<'w> {
    text: &'w str,
    at: usize,
    quote: Option<char>,
}

impl<'w> Written<'w> {
    fn new(text: &'w str) -> Written<'w> {
        let (quote, at) = match text.chars().next() {
            Some(quote @ ('"' | '\'')) => (Some(quote), 1),
            Some('|' | '>') => (None, text.find('\n').unwrap_or(text.len())),
            _ => (None, 0),
        };
        Written { text, at, quote }
    }

    fn rest(&self) -> &'w str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Where the next character of the value stands: after indentation, if it is no blank itself.
    fn peek(&self, next: Option<char>) -> usize {
        match next {
            Some(c) if !c.is_whitespace() => self.text.len() - self.rest().trim_start().len(),
            _ => self.at,
        }
    }

    /// Goes on by one character of the value; line breaks may be folded, and lines are indented.
    fn pass(&mut self, c: char) -> Option<()> {
        let next = self.rest().chars().next()?;
        if next == '\\' && self.quote == Some('"') {
            self.at += escape(self.rest(), c)?;
            return Some(());
        }
        if next == '\'' && self.quote == Some('\'') {
            self.at += self.rest().starts_with("''").then_some(2).filter(|_| c == '\'')?;
            return Some(());
        }
        if next == c {
            self.at += c.len_utf8();
            return Some(());
        }
        if !next.is_whitespace() {
            return None;
        }
        self.at = self.text.len() - self.rest().trim_start().len();
        if c.is_whitespace() { Some(()) } else { self.pass(c) }
    }
}

/// The length of an escape that stands for this character.
fn escape(text: &str, c: char) -> Option<usize> {
    let meant = match text.chars().nth(1)? {
        't' => '\t',
        'n' => '\n',
        same @ ('"' | '\\' | '/' | ' ') => same,
        _ => return None,
    };
    (meant == c).then_some(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_in_every_style() {
        for (written, value) in [
            ("a bcd == 1", "a bcd == 1"),
            ("'a bcd == 1'", "a bcd == 1"),
            ("\"a bcd == 1\"", "a bcd == 1"),
            ("'it''s bcd'", "it's bcd"),
            ("\"\\\"a\\\" \\\\ bcd\"", "\"a\" \\ bcd"),
            ("|\n    a &&\n    bcd\n", "a &&\nbcd\n"),
            (">-\n    a &&\n    bcd\n", "a && bcd"),
            ("a &&\n      bcd", "a && bcd"),
            ("\"a &&\n      bcd\"", "a && bcd"),
            ("|\n  a &&\n    bcd\n", "a &&\n  bcd\n"),
            ("é bcd", "é bcd"),
        ] {
            let at = value.find("bcd").unwrap_or_default();
            let found = place(written, value, at..at + 3).map(|place| written.get(place));
            assert_eq!(found, Some(Some("bcd")), "{written:?}");
            assert!(place(written, value, value.len()..value.len()).is_some(), "{written:?}");
        }
    }

    #[test]
    fn what_is_not_as_written_has_no_place() {
        for (written, value) in [("a ${X} bcd", "a y bcd"), ("\"\\x41 bcd\"", "A bcd"), ("", "bcd"), ("'a", "bcd")] {
            let at = value.find("bcd").unwrap_or_default();
            assert_eq!(place(written, value, at..at + 3), None, "{written:?}");
        }
    }
}
