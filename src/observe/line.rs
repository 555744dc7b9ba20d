//! The pieces of a log line: time, milliseconds, escaped text, and the buffer that a thread uses again and again.

use std::{
    cell::RefCell,
    fmt::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Hands out this thread's line buffer, empty. A line that is begun while another is being written (a `Debug` that
/// logs) gets a buffer of its own.
pub(super) fn with_line<R>(write: impl FnOnce(&mut String) -> R) -> R {
    const KEPT: usize = 64 * 1024;
    thread_local!(static LINE: RefCell<String> = const { RefCell::new(String::new()) });

    let mut line = LINE.try_with(RefCell::take).unwrap_or_default();
    line.clear();
    let result = write(&mut line);
    if line.capacity() <= KEPT {
        let _ = LINE.try_with(|kept| kept.replace(line));
    }
    result
}

/// Formats without a way to fail: a `String` takes all.
pub(super) fn push_fmt(line: &mut String, text: fmt::Arguments<'_>) {
    let _ = line.write_fmt(text);
}

/// RFC 3339, UTC, with milliseconds.
pub(super) fn push_time(line: &mut String, at: SystemTime) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_date(days);
    push_padded(line, year, 4);
    for (mark, number) in [('-', month), ('-', day), ('T', second / 3600), (':', second / 60 % 60), (':', second % 60)]
    {
        line.push(mark);
        push_padded(line, number, 2);
    }
    line.push('.');
    push_padded(line, u64::from(since.subsec_millis()), 3);
    line.push('Z');
}

/// The same as a text of its own.
pub(crate) fn rfc_3339(at: SystemTime) -> String {
    let mut text = String::new();
    push_time(&mut text, at);
    text
}

/// Days since 1970-01-01 to year, month, day (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
pub(crate) fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Milliseconds with three decimals.
pub(super) fn push_millis(line: &mut String, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    push_padded(line, micros / 1000, 1);
    line.push('.');
    push_padded(line, micros % 1000, 3);
}

/// A number with at least this many digits.
pub(super) fn push_padded(line: &mut String, number: u64, width: usize) {
    const MOST: usize = u64::MAX.ilog10() as usize + 1;
    let mut digits = [b'0'; MOST];
    let mut rest = number;
    let mut begin = MOST;
    for digit in digits.iter_mut().rev() {
        // Below ten, so it fits.
        *digit += (rest % 10) as u8;
        rest /= 10;
        begin -= 1;
        if rest == 0 && MOST - begin >= width {
            break;
        }
    }
    line.push_str(digits.get(begin..).and_then(|digits| str::from_utf8(digits).ok()).unwrap_or_default());
}

/// Two lower-case hex digits a byte.
pub(super) fn push_hex(line: &mut String, bytes: &[u8]) {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    line.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
}

/// A JSON string, quotes included. Control characters, line separators and the marks that turn the direction of text
/// are escaped: nothing in it can end a line or repaint a terminal.
pub(crate) fn push_json(line: &mut String, text: &str) {
    line.push('"');
    push_escaped(line, text, Within::Json);
    line.push('"');
}

/// Text for a person: bare if it is one plain word, else as JSON has it.
pub(super) fn push_word(line: &mut String, text: &str) {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    if !text.is_empty() && text.bytes().all(plain) {
        line.push_str(text);
    } else {
        push_json(line, text);
    }
}

/// Where escaped text stands, and so what besides control characters would be mistaken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// A JSON string: quotes and backslashes.
    Json,
    /// A message for people: nothing.
    Message,
    /// A word of a line for people: spaces.
    Word,
}

/// Text with what is dangerous in a log escaped.
pub(super) fn push_escaped(line: &mut String, text: &str, within: Within) {
    let mistaken = match within {
        Within::Json => [b'"', b'\\'],
        Within::Message => [0; 2],
        Within::Word => [b' '; 2],
    };
    // Without an early end: the compiler makes one pass of wide compares of it.
    let is_plain = text
        .bytes()
        .fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~') & (byte != mistaken[0]) & (byte != mistaken[1]));
    if is_plain {
        line.push_str(text);
        return;
    }
    let is_mistaken = |char| mistaken.map(char::from).contains(&char);
    for char in text.chars() {
        match char {
            '"' | '\\' if is_mistaken(char) => line.extend(['\\', char]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            char if char.is_control() || is_mistaken(char) || turns_text(char) => {
                push_fmt(line, format_args!("\\u{:04x}", u32::from(char)));
            }
            char => line.push(char),
        }
    }
}

/// Line separators, marks that turn the direction of text (CVE-2021-42574), and the byte order mark.
fn turns_text(char: char) -> bool {
    matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Escapes what is written through it.
pub(super) struct Escaping<'l>(pub(super) &'l mut String, pub(super) Within);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text, self.1);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(secs: u64, millis: u32) -> String {
        let mut line = String::new();
        push_time(&mut line, UNIX_EPOCH + Duration::new(secs, millis * 1_000_000));
        line
    }

    #[test]
    fn time_is_rfc_3339() {
        assert_eq!(time(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(time(1_709_251_199, 999), "2024-02-29T23:59:59.999Z");
        assert_eq!(time(1_767_225_600, 0), "2026-01-01T00:00:00.000Z");
        assert_eq!(time(4_102_444_799, 50), "2099-12-31T23:59:59.050Z");
    }

    #[test]
    fn millis_have_three_decimals() {
        for (micros, text) in [(0, "0.000"), (7, "0.007"), (1_234, "1.234"), (60_000_000, "60000.000")] {
            let mut line = String::new();
            push_millis(&mut line, Duration::from_micros(micros));
            assert_eq!(line, text);
        }
        let mut line = String::new();
        push_padded(&mut line, u64::MAX, 1);
        assert_eq!(line, u64::MAX.to_string());
    }

    #[test]
    fn words_are_quoted_only_where_they_need_it() {
        for (text, word) in [
            ("api", "api"),
            ("", r#""""#),
            ("two words", r#""two words""#),
            ("a=b", r#""a=b""#),
            ("a\u{1b}[31m", r#""a\u001b[31m""#),
            ("né", r#""né""#),
        ] {
            let mut line = String::new();
            push_word(&mut line, text);
            assert_eq!(line, word);
        }
    }

    #[test]
    fn a_line_inside_a_line_has_its_own_buffer() {
        let text = with_line(|outer| {
            outer.push('a');
            with_line(|inner| {
                assert!(inner.is_empty());
                inner.push('b');
            });
            outer.clone()
        });
        assert_eq!(text, "a");
    }

    proptest! {
        #[test]
        fn json_reads_back(text in any::<String>()) {
            let mut line = String::new();
            push_json(&mut line, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
            prop_assert!(!line.chars().any(char::is_control));
            let marks = ['\u{2028}', '\u{202e}', '\u{2066}'];
            prop_assert!(!line.contains(marks));
        }

        #[test]
        fn dates_go_up(day in 0u64..200_000) {
            prop_assert!(civil_date(day) < civil_date(day + 1));
        }
    }
}
