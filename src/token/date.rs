//! NumericDates (RFC 7519, section 2).

use serde_json::{Map, Value};

/// A claim that should be a date isn't one.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::token) struct NotADate;

/// Where a NumericDate's fraction goes.
#[derive(Clone, Copy)]
pub(in crate::token) enum Round {
    /// For an end.
    Down,
    /// For a beginning.
    Up,
}

/// A claim in whole Unix seconds, rounded so that the token lives shorter. `null` is absent.
///
/// # Errors
/// Neither a finite number nor, where `string_dates`, the text of one.
pub(in crate::token) fn of(
    claims: &Map<String, Value>,
    claim: &str,
    round: Round,
    string_dates: bool,
) -> Result<Option<i64>, NotADate> {
    let seconds = match claims.get(claim) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => match number.as_i64() {
            Some(whole) => return Ok(Some(whole)),
            None => number.as_f64(),
        },
        Some(Value::String(text)) if string_dates && is_decimal(text) => match text.parse() {
            Ok(whole) => return Ok(Some(whole)),
            Err(_) => text.parse().ok(),
        },
        Some(_) => None,
    };
    match (seconds.filter(|seconds: &f64| seconds.is_finite()), round) {
        // A conversion from a float saturates.
        (Some(seconds), Round::Down) => Ok(Some(seconds.floor() as i64)),
        (Some(seconds), Round::Up) => Ok(Some(seconds.ceil() as i64)),
        (None, _) => Err(NotADate),
    }
}

/// The text of a JSON number without exponent.
fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits(whole.strip_prefix('-').unwrap_or(whole)) && is_digits(fraction)
}
