//! Moments in words: `2026-11-24 22:54:45 UTC, in 5 minutes`.

use serde_json::Value;

use crate::observe::civil_date;

/// The last second of the year 9999: what is later is no date.
const LAST: i64 = 253_402_300_799;

/// A moment in seconds since 1970, as a date and from where `now` stands. None where it isn't between 1970 and 9999.
pub fn in_words(moment: i64, now: i64) -> Option<String> {
    date(moment).map(|date| format!("{date}, {}", relative(moment, now)))
}

/// A moment in seconds since 1970: `2026-11-24 22:54:45 UTC`. None where it isn't between 1970 and 9999.
pub fn date(moment: i64) -> Option<String> {
    let seconds = u64::try_from(moment).ok().filter(|_| moment <= LAST)?;
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    Some(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"))
}

/// `in 5 minutes`, `2 hours and 1 minute ago`, `now`.
pub fn relative(moment: i64, now: i64) -> String {
    let distance = length(moment.abs_diff(now));
    match moment.cmp(&now) {
        std::cmp::Ordering::Less => format!("{distance} ago"),
        std::cmp::Ordering::Equal => "now".to_owned(),
        std::cmp::Ordering::Greater => format!("in {distance}"),
    }
}

/// A NumericDate (RFC 7519, section 2), or its text, in whole seconds.
pub fn of(claim: &Value) -> Option<i64> {
    match claim {
        // A conversion from a float saturates.
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds.floor() as i64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// `2 hours and 1 minute`: a length of time by its largest unit and the one below it.
pub fn length(seconds: u64) -> String {
    const UNITS: [(u64, &str); 5] =
        [(365 * 86_400, "year"), (86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (unit, name) in UNITS {
        let number = rest / unit;
        rest %= unit;
        if number == 0 && parts.is_empty() {
            continue;
        }
        parts.push((number, name));
        if parts.len() == 2 {
            break;
        }
    }
    let said = parts.iter().filter(|(number, _)| *number > 0);
    let said = said.map(|(number, name)| if *number == 1 { format!("1 {name}") } else { format!("{number} {name}s") });
    said.collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        const NOW: i64 = 1_800_000_000;
        for (distance, words) in [
            (0, "now"),
            (1, "in 1 second"),
            (-59, "59 seconds ago"),
            (300, "in 5 minutes"),
            (-3661, "1 hour and 1 minute ago"),
            (3601, "in 1 hour"),
            (86_400 * 2 + 3600, "in 2 days and 1 hour"),
            (-86_400 * 400, "1 year and 35 days ago"),
        ] {
            assert_eq!(relative(NOW + distance, NOW), words);
        }
        assert_eq!(in_words(NOW, NOW).as_deref(), Some("2027-01-15 08:00:00 UTC, now"));
        assert_eq!(in_words(LAST, LAST).as_deref(), Some("9999-12-31 23:59:59 UTC, now"));
        for no_date in [-1, LAST + 1, i64::MIN, i64::MAX] {
            assert_eq!(in_words(no_date, NOW), None);
        }
        assert!(relative(i64::MIN, i64::MAX).ends_with(" ago"));
    }
}
