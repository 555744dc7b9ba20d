//! `Authorization` lines to one credential or a reason, against RFC 6750 as a pattern.

use bearward::{
    refusal::{Refusal, TokenFault},
    token::credential::Credential,
};
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderValue},
};
use regex::bytes::Regex;

use super::{Checked, fuzz};

const MOST: usize = 64;

/// An input is the lines' values.
fn check(input: &[u8], patterns: &Patterns) -> Checked {
    let values = input.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, value);
    }
    let lines: Vec<&[u8]> = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes).collect();
    let expected = patterns.read(&lines);
    let read = match Credential::from_headers(&headers, MOST) {
        Ok(credential) => format!("token {}", credential.expose()),
        Err(Refusal::NoCredential) => "none".to_owned(),
        Err(Refusal::Credential(_)) => "malformed".to_owned(),
        Err(Refusal::Token(TokenFault::TooLong)) => "too long".to_owned(),
        Err(other) => return Err(format!("{other:?}")),
    };
    if read != expected {
        return Err(format!("read as {read:?}, expected {expected:?}"));
    }
    Ok(format!("{} of {}", read.split(' ').next().unwrap_or_default(), lines.len().min(3)))
}

struct Patterns {
    good: Regex,
    scheme: Regex,
    /// The other scheme that brings a token, without one.
    bare: Regex,
    rest: Regex,
}

impl Patterns {
    fn new() -> Patterns {
        Patterns {
            good: Regex::new(r"(?-u)\A(?i:bearer) +([A-Za-z0-9._~+/-]+=*)\z").unwrap(),
            scheme: Regex::new(r"(?-u)\A(?i:bearer)(?:\z|[^A-Za-z0-9!#$%&'*+.^_`|~-])").unwrap(),
            bare: Regex::new(r"(?-u)\A(?i:dpop)(?:\z|[^ A-Za-z0-9!#$%&'*+.^_`|~-])").unwrap(),
            rest: Regex::new(r"(?s-u)\A(?i:bearer) +(.*)\z").unwrap(),
        }
    }

    fn read(&self, lines: &[&[u8]]) -> String {
        let line = match lines {
            [] => return "none".to_owned(),
            [line] => *line,
            _ => return "malformed".to_owned(),
        };
        if self.rest.captures(line).is_some_and(|found| found[1].len() > MOST) {
            return "too long".to_owned();
        }
        match self.good.captures(line) {
            Some(found) => format!("token {}", String::from_utf8_lossy(&found[1])),
            None if self.scheme.is_match(line) || self.bare.is_match(line) => "malformed".to_owned(),
            None => "none".to_owned(),
        }
    }
}

#[test]
fn credential() {
    let patterns = Patterns::new();
    #[rustfmt::skip]
    let words = [
        "Bearer ", "bearer", "Basic ", "DPoP ", " ", "  ", "\n", "\t", "=", "==", ",", "a.b.c", "~+/", "\u{e9}", "\"",
        ";",
    ];
    let outcomes = fuzz("credential", &words, 20_000, |input| check(input, &patterns));
    for outcome in ["token of 1", "none of 1", "malformed of 1", "malformed of 2", "too of 1"] {
        assert!(outcomes.contains_key(outcome), "{outcome}: {outcomes:?}");
    }
}
