//! What a policy test expects.

use hyper::{StatusCode, header::HeaderName};

use super::{header_name, text};
use crate::config::{
    keys,
    reader::{At, Field, Reader},
};

/// What a test expects. At least one part is there.
#[derive(Debug, Default)]
pub struct Expectation {
    /// Whether the request is let in.
    pub allow: Option<bool>,
    /// Of the answer; 200 where the upstream gives it.
    pub status: Option<StatusCode>,
    /// The route's name.
    pub route: Option<String>,
    /// As metrics and log have it.
    pub reason: Option<String>,
    /// Which of the route's rules lets it in, the first one being 1.
    pub rule: Option<usize>,
    /// The scopes that the challenge asks for, separated by spaces.
    pub scope: Option<String>,
    /// Fields of the request that goes upstream.
    pub upstream_headers: Vec<(HeaderName, ExpectedHeader)>,
}

/// What a header must be.
#[derive(Debug, PartialEq, Eq)]
pub enum ExpectedHeader {
    /// This, to the letter.
    Value(String),
    /// There or not.
    Present(bool),
}

pub(super) const EXPECT_HINT: &str = "one of these at least: `{decision: allow}`, `{status: 401}`, `{route: orders}`";

pub(super) fn expectation(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Expectation> {
    let fields = r.fields(field)?;
    if fields.is_empty() {
        r.findings.push(field.at(()).error("nothing is expected").hint(EXPECT_HINT));
        return None;
    }
    let decision = r.field(&fields, "decision");
    Some(Expectation {
        allow: decision.and_then(|field| r.word(&field, &[("allow", true), ("deny", false)])),
        status: r.field(&fields, "status").and_then(|field| status(&field, r)),
        route: text(&fields, "route", r).map(|route| route.value),
        reason: text(&fields, "reason", r).and_then(|written| reason(&written, r)),
        rule: r.field(&fields, "rule").and_then(|field| r.count(&field, 100_000)),
        scope: text(&fields, "scope", r).map(|scope| scope.value),
        upstream_headers: r
            .field(&fields, "upstream_headers")
            .map(|field| upstream_headers(&field, r))
            .unwrap_or_default(),
    })
}

fn status(field: &Field<'_>, r: &mut Reader<'_>) -> Option<StatusCode> {
    let written = r.text(field)?;
    let status = written.value.parse::<u16>().ok().filter(|status| (100..600).contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    if status.is_none() {
        r.findings.push(written.error(format!("{} is not a status of HTTP", written.shown())).hint("`status: 403`"));
    }
    status
}

/// What metrics and log call the reasons for a decision.
const REASONS: [&str; 38] = [
    "ok",
    "public",
    "no_credential",
    "invalid_request",
    "malformed",
    "unknown_issuer",
    "unknown_key",
    "signature",
    "algorithm",
    "typ",
    "crit",
    "audience",
    "expired",
    "not_yet_valid",
    "issued_in_future",
    "too_old",
    "missing_claim",
    "revoked",
    "inactive",
    "binding",
    "scope",
    "role",
    "claim",
    "token_kind",
    "acr",
    "max_age",
    "condition",
    "keys_unavailable",
    "introspection_unavailable",
    "rate_limit",
    "no_route",
    "method",
    "path",
    "framing",
    "header",
    "size",
    "timeout",
    "issuer",
];

fn reason(written: &At<String>, r: &mut Reader<'_>) -> Option<String> {
    if REASONS.contains(&&*written.value) {
        return Some(written.value.clone());
    }
    let hint = keys::did_you_mean(&written.value, REASONS.into_iter(), "there are");
    r.findings.push(written.error(format!("{} is not a reason", written.shown())).hint_if(hint));
    None
}

fn upstream_headers(field: &Field<'_>, r: &mut Reader<'_>) -> Vec<(HeaderName, ExpectedHeader)> {
    let mut headers = Vec::new();
    for (name, field) in r.named(field) {
        let expected = match field.is_text() {
            true => r.text(&field).map(|text| ExpectedHeader::Value(text.value)),
            false => r
                .fields(&field)
                .and_then(|fields| r.required(&fields, "present", "a value, or `{present: false}`"))
                .and_then(|field| r.flag(&field))
                .map(ExpectedHeader::Present),
        };
        if let (Some(name), Some(expected)) = (header_name(&name, r), expected) {
            headers.push((name, expected));
        }
    }
    headers
}
