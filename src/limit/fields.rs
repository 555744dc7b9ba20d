//! `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4; RFC 9651).

use std::{fmt::Write as _, time::Duration};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use super::{RateLimit, limiter::Taken};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The limits' names, in quotes, each once: what they count by, and a number where several count by the same.
pub(super) fn names(limits: &[RateLimit]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for limit in limits {
        let base = limit.per.to_string();
        let numbered = (2..).map(|number| quoted(&format!("{base}-{number}")));
        let name = std::iter::once(quoted(&base)).chain(numbered).find(|name| !names.contains(name));
        names.extend(name);
    }
    names
}

/// A string as RFC 9651, section 4.1.6 has it; what it can't hold is a question mark.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            ' '..='~' => quoted.push(char),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

/// What all limits are. None where there are none.
pub(super) fn policy(names: &[String], limits: &[RateLimit]) -> Option<HeaderValue> {
    let policies = names
        .iter()
        .zip(limits)
        .map(|(name, limit)| format!("{name};q={};w={}", limit.rate.requests, limit.rate.per.as_secs()));
    let policies = policies.collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(policies).ok().filter(|policies| !policies.is_empty())
}

/// Says how much is left of those limits that were counted by.
pub(super) fn write<'l>(
    policy: Option<&HeaderValue>,
    counted: impl Iterator<Item = (&'l str, &'l Taken)>,
    headers: &mut HeaderMap,
) {
    let mut text = String::with_capacity(64);
    for (name, taken) in counted {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a text can't fail.
        let _ = write!(text, "{comma}{name};r={};t={}", taken.remaining, whole_seconds(taken.full_in));
    }
    if let (Some(policy), Ok(left)) = (policy, HeaderValue::try_from(text)) {
        headers.insert(RATELIMIT_POLICY, policy.clone());
        headers.insert(RATELIMIT, left);
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}
