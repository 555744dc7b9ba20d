//! Durations, sizes, rates and shares, with their units written out.

use std::time::Duration;

use crate::limit::Rate;

/// Longer than any setting makes sense, and short enough to be added to any clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads `250ms`, `30s`, `5m`, `2h`.
///
/// # Errors
/// A hint at what would be right.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const EXAMPLES: &str = "write a whole number with its unit: `250ms`, `30s`, `5m`, `2h`";
    let (number, unit) = split(text).ok_or(EXAMPLES)?;
    let milliseconds = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "" => return Err(format!("add the unit: `{number}s` or `{number}ms`")),
        _ => None,
    };
    let milliseconds = milliseconds.ok_or(EXAMPLES)?;
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "the longest possible is `8760h`, a year".to_owned())
}

/// Reads `64KiB`, `10MiB`, `1GiB`, `512B`, or a number of bytes.
///
/// # Errors
/// A hint at what would be right.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const EXAMPLES: &str = "write a whole number with its unit: `64KiB`, `10MiB`, `1GiB`";
    let (number, unit) = split(text).ok_or(EXAMPLES)?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "K" | "KB" | "kB" | "k" | "kb" | "Ki" | "kib" => return Err(format!("did you mean `{number}KiB`?")),
        "M" | "MB" | "m" | "mb" | "Mi" | "mib" => return Err(format!("did you mean `{number}MiB`?")),
        "G" | "GB" | "g" | "gb" | "Gi" | "gib" => return Err(format!("did you mean `{number}GiB`?")),
        _ => return Err(EXAMPLES.to_owned()),
    };
    number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes <= 1 << 50)
        .ok_or_else(|| "this is more than anything can hold".to_owned())
}

/// Reads `100/s`, `600/m`, `1000/h`.
///
/// # Errors
/// A hint at what would be right.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    const EXAMPLES: &str = "requests in a second, a minute or an hour: `100/s`, `600/m`, `1000/h`";
    let (requests, unit) = split(text).ok_or(EXAMPLES)?;
    let per = match unit {
        "/s" => Duration::from_secs(1),
        "/m" => Duration::from_secs(60),
        "/h" => Duration::from_secs(3600),
        _ => return Err(EXAMPLES.to_owned()),
    };
    let requests = u32::try_from(requests).ok().filter(|requests| *requests > 0);
    requests.map(|requests| Rate { requests, per }).ok_or_else(|| format!("from 1 to {} requests", u32::MAX))
}

/// Reads `20%`.
///
/// # Errors
/// A hint at what would be right.
pub(super) fn percent(text: &str) -> Result<u8, String> {
    let percent = split(text).filter(|(number, unit)| *unit == "%" && *number <= 100);
    let percent = percent.and_then(|(number, _)| u8::try_from(number).ok());
    percent.ok_or_else(|| "a whole number from `0%` to `100%`".to_owned())
}

/// Reads `0.25`: a share of the whole.
///
/// # Errors
/// A hint at what would be right.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let share = text.parse::<f64>().ok().filter(|share| digits && (0.0..=1.0).contains(share));
    share.ok_or_else(|| "`1.0` is all, `0.1` every tenth".to_owned())
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        let good = [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("0s", 0)];
        for (text, milliseconds) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for bad in
            ["", "s", "5", "-1s", "+1s", "1.5s", "1 s", "5S", "1d", "5s ", "18446744073709551616s", "9000h", "٣s"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("5").unwrap_err(), "add the unit: `5s` or `5ms`");
    }

    #[test]
    fn sizes() {
        let good = [("64KiB", 65_536), ("10MiB", 10_485_760), ("1GiB", 1 << 30), ("512B", 512), ("7", 7)];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes));
        }
        for bad in ["", "KiB", "1KB", "1.5MiB", "-1", "1 MiB", "99999999999GiB", "18446744073709551615GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(size("10MB").unwrap_err(), "did you mean `10MiB`?");
    }

    #[test]
    fn rates_and_percentages() {
        let seconds = |requests, seconds| Ok(Rate { requests, per: Duration::from_secs(seconds) });
        assert_eq!((rate("100/s"), rate("600/m"), rate("1/h")), (seconds(100, 1), seconds(600, 60), seconds(1, 3600)));
        for bad in ["", "100", "/s", "0/s", "1/d", "1.5/s", "-1/s", "1 /s", "4294967296/s", "1/ms"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!((percent("0%"), percent("20%"), percent("100%")), (Ok(0), Ok(20), Ok(100)));
        for bad in ["", "20", "%", "101%", "-1%", "1.5%", "20 %", "0.2"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares() {
        for (text, value) in [("0", 0.0), ("1", 1.0), ("1.0", 1.0), ("0.25", 0.25), (".5", 0.5)] {
            assert_eq!(share(text), Ok(value));
        }
        for bad in ["", ".", "1.1", "-0", "+1", "NaN", "inf", "1e-3", "10%", "0.5.1"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC*") {
            let _ = (duration(&text), size(&text), share(&text), rate(&text), percent(&text));
        }

        #[test]
        fn what_is_written_comes_back(number in 0u64..30_000_000) {
            prop_assert_eq!(duration(&format!("{number}s")), Ok(Duration::from_secs(number)));
            prop_assert_eq!(size(&format!("{number}KiB")), Ok(number * 1024));
        }
    }
}
