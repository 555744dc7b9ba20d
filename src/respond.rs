//! Refusals as answers: the problem document (RFC 9457) and the challenge (RFC 6750, section 3; RFC 9470, section 3).
//!
//! The `type` of every problem is `about:blank`: no kind of problem here means more than its status does (RFC 9457,
//! section 4.2.1), and what went wrong is in `detail` and in the challenge's `error`.

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    },
};

use crate::{
    body::Body,
    observe::push_json,
    refusal::{Refusal, RuleFault, UpstreamFault},
};

/// `errors.realm`, as challenges write it.
#[derive(Clone, Debug)]
pub struct Realm {
    /// `Bearer realm="…"`
    challenge: String,
    /// What every challenge ends with: `, resource_metadata="…"`, or nothing.
    end: String,
    /// A challenge that says no more than both, ready to be sent.
    bare: HeaderValue,
}

impl Realm {
    /// Quotes and backslashes are escaped; what can't stand in a header, or isn't ASCII, is left out.
    pub fn new(realm: &str) -> Realm {
        let mut challenge = String::from("Bearer realm=\"");
        for char in realm.chars().filter(|char| matches!(char, ' '..='~')) {
            if matches!(char, '"' | '\\') {
                challenge.push('\\');
            }
            challenge.push(char);
        }
        challenge.push('"');
        Realm::ending(challenge, String::new())
    }

    /// The same, with the URL of the metadata of what is protected in every challenge (RFC 9728, section 5.1).
    #[must_use]
    pub fn with_metadata(&self, url: &str) -> Realm {
        let mut end = String::new();
        push_parameter(&mut end, "resource_metadata", url);
        Realm::ending(self.challenge.clone(), end)
    }

    fn ending(challenge: String, end: String) -> Realm {
        let bare = HeaderValue::try_from(format!("{challenge}{end}")).unwrap_or(HeaderValue::from_static("Bearer"));
        Realm { challenge, end, bare }
    }
}

/// The answer to a refused request. `head_only` for HEAD: the same fields, no body.
pub fn refuse(refusal: &Refusal, realm: &Realm, request_id: &str, head_only: bool) -> Response<Body> {
    let mut response = problem(refusal.status(), refusal.detail(), Some(request_id), head_only);
    let headers = response.headers_mut();
    if let Some(challenge) = challenge(refusal, realm) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    match refusal {
        Refusal::KeysUnavailable { retry_after }
        | Refusal::IntrospectionUnavailable { retry_after }
        | Refusal::Upstream(UpstreamFault::TokenUnavailable { retry_after })
        | Refusal::RateLimited { retry_after } => {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(*retry_after)));
        }
        Refusal::Method { allow } => {
            if let Ok(allow) = HeaderValue::from_str(allow) {
                headers.insert(ALLOW, allow);
            }
        }
        _ => {}
    }
    if refusal.closes_connection() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A problem document as an answer. It isn't to be stored: it is about one request.
pub fn problem(status: StatusCode, detail: &str, request_id: Option<&str>, head_only: bool) -> Response<Body> {
    let body = problem_document(status, detail, request_id);
    let length = HeaderValue::from(body.len());
    let body = if head_only { Body::Empty } else { Body::Full(Some(Bytes::from(body))) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn problem_document(status: StatusCode, detail: &str, request_id: Option<&str>) -> String {
    let title = status.canonical_reason().unwrap_or("Error");
    let mut body = String::with_capacity(256);
    body.push_str("{\"type\":\"about:blank\",\"title\":\"");
    body.push_str(title);
    body.push_str("\",\"status\":");
    body.push_str(status.as_str());
    body.push_str(",\"detail\":");
    push_json(&mut body, detail);
    if let Some(request_id) = request_id {
        body.push_str(",\"request_id\":");
        push_json(&mut body, request_id);
    }
    body.push('}');
    body
}

/// The value of `WWW-Authenticate`, where the client can do something about the refusal with a token.
fn challenge(refusal: &Refusal, realm: &Realm) -> Option<HeaderValue> {
    let (error, scope) = match refusal {
        Refusal::NoCredential => return Some(realm.bare.clone()),
        Refusal::Credential(_) => ("invalid_request", None),
        Refusal::Token(_) => ("invalid_token", None),
        Refusal::Rule(RuleFault::Scope(scope)) => ("insufficient_scope", Some(scope)),
        Refusal::Rule(RuleFault::StepUp(_)) => ("insufficient_user_authentication", None),
        Refusal::Rule(_) => ("insufficient_scope", None),
        Refusal::Path(_)
        | Refusal::Framing(_)
        | Refusal::HeadTooLarge
        | Refusal::HeadTooSlow
        | Refusal::BodyTooLarge
        | Refusal::BodyTooSlow
        | Refusal::UploadTimedOut
        | Refusal::NoRoute
        | Refusal::Method { .. }
        | Refusal::KeysUnavailable { .. }
        | Refusal::IntrospectionUnavailable { .. }
        | Refusal::ForeignPage
        | Refusal::Header(_)
        | Refusal::UntrustedPeer
        | Refusal::RateLimited { .. }
        | Refusal::Upstream(_) => return None,
    };
    let mut text = String::with_capacity(realm.challenge.len() + 160 + realm.end.len());
    text.push_str(&realm.challenge);
    push_parameter(&mut text, "error", error);
    push_parameter(&mut text, "error_description", refusal.detail());
    if let Some(scope) = scope {
        push_parameter(&mut text, "scope", scope);
    }
    if let Refusal::Rule(RuleFault::StepUp(wanted)) = refusal {
        if let Some(values) = &wanted.acr_values {
            push_parameter(&mut text, "acr_values", values);
        }
        if let Some(age) = wanted.max_age {
            push_parameter(&mut text, "max_age", &age.as_secs().to_string());
        }
    }
    text.push_str(&realm.end);
    // Printable ASCII alone is in it, so it is a header value.
    Some(HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| realm.bare.clone()))
}

/// Leaves out what RFC 6750, section 3 has no place for: quotes, backslashes, controls, and all beyond ASCII.
fn push_parameter(text: &mut String, name: &str, value: &str) {
    text.push_str(", ");
    text.push_str(name);
    text.push_str("=\"");
    text.extend(value.chars().filter(|char| matches!(char, ' ' | '!' | '#'..='[' | ']'..='~')));
    text.push('"');
}

/// Rounded up, so that nobody comes back too early; 1 at least.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).clamp(1, u128::from(u32::MAX)) as u64
}

#[cfg(test)]
mod tests;
