//! Refusals as answers: the problem document (RFC 9457) and the challenge (RFC 6750, section 3; RFC 9449, section 7.1; RFC 9470,
//! section 3).
//!
//! The `type` of every problem is `about:blank`: no kind of problem here means more than its status does (RFC 9457,
//! section 4.2.1), and what went wrong is in `detail` and in the challenge's `error`.

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
        WWW_AUTHENTICATE,
    },
};

use crate::{
    body::Body,
    observe::push_json,
    refusal::{ProofFault, Refusal, RuleFault, TokenFault, UpstreamFault},
    token::{
        issuer::{IssuerSettings, SenderConstraint},
        proof::algorithm_names,
    },
};

/// RFC 9449, section 8.2.
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
const AFTER_TOO_MANY_PROOFS: Duration = Duration::from_secs(5);

/// `errors.realm`, as challenges write it.
#[derive(Clone, Debug)]
pub struct Realm {
    /// `Bearer realm="…"`
    challenge: String,
    /// What every challenge ends with: `, resource_metadata="…"`, or nothing.
    end: String,
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
        Realm { challenge, end: String::new() }
    }

    /// The same, with the URL of the metadata of what is protected in every challenge (RFC 9728, section 5.1).
    #[must_use]
    pub fn with_metadata(&self, url: &str) -> Realm {
        let mut end = String::new();
        push_parameter(&mut end, "resource_metadata", url);
        Realm { challenge: self.challenge.clone(), end }
    }
}

/// What a route's challenges say of DPoP.
#[derive(Clone, Debug)]
pub struct DpopOffer {
    /// `DPoP algs="…"`
    challenge: String,
    /// Whether they name it to clients that don't ask by it.
    is_offered: bool,
    /// Whether no token is taken otherwise.
    is_required: bool,
}

impl DpopOffer {
    /// Of a route that takes these issuers' tokens, in `Authorization` among other places or not at all.
    pub fn of<'i>(issuers: impl Iterator<Item = &'i IssuerSettings> + Clone, in_authorization: bool) -> DpopOffer {
        let requires = |issuer: &IssuerSettings| issuer.sender.constraint == Some(SenderConstraint::Dpop);
        DpopOffer {
            challenge: format!("DPoP algs=\"{}\"", algorithm_names(issuers.clone()).join(" ")),
            is_offered: in_authorization && issuers.clone().any(|issuer| issuer.sender.dpop_offered),
            is_required: in_authorization && issuers.clone().next().is_some() && issuers.clone().all(requires),
        }
    }
}

/// How a refused client may present a token, and how it has.
#[derive(Clone, Copy, Debug)]
pub struct Schemes<'s> {
    /// Of `Bearer`.
    pub realm: &'s Realm,
    /// Of `DPoP`; None where no route is known.
    pub dpop: Option<&'s DpopOffer>,
    /// Whether the request came by DPoP.
    pub asked_by_dpop: bool,
}

impl<'s> From<&'s Realm> for Schemes<'s> {
    fn from(realm: &'s Realm) -> Schemes<'s> {
        Schemes { realm, dpop: None, asked_by_dpop: false }
    }
}

/// The answer to a refused request. `head_only` for HEAD: the same fields, no body.
pub fn refuse<'s>(
    refusal: &Refusal,
    schemes: impl Into<Schemes<'s>>,
    request_id: &str,
    head_only: bool,
) -> Response<Body> {
    let mut response = problem(refusal.status(), refusal.detail(), Some(request_id), head_only);
    let headers = response.headers_mut();
    for challenge in challenges(refusal, schemes.into()) {
        headers.append(WWW_AUTHENTICATE, challenge);
    }
    match refusal {
        Refusal::KeysUnavailable { retry_after }
        | Refusal::IntrospectionUnavailable { retry_after }
        | Refusal::Upstream(UpstreamFault::TokenUnavailable { retry_after })
        | Refusal::RateLimited { retry_after } => {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(*retry_after)));
        }
        Refusal::Proof(ProofFault::TooMany) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(AFTER_TOO_MANY_PROOFS)));
        }
        Refusal::Proof(ProofFault::NonceNeeded(nonce)) => {
            if let Ok(nonce) = HeaderValue::from_bytes(nonce.as_bytes()) {
                headers.insert(DPOP_NONCE, nonce);
            }
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

/// The values of `WWW-Authenticate`, where the client can do something about the refusal with a token: first what is wrong,
/// in the scheme that it is about, then the other scheme if that would do as well.
fn challenges(refusal: &Refusal, schemes: Schemes<'_>) -> Vec<HeaderValue> {
    let Some(error) = Error::of(refusal) else { return Vec::new() };
    let offer = schemes.dpop;
    let is_required = offer.is_some_and(|offer| offer.is_required);
    let is_about_dpop = match refusal {
        Refusal::Proof(fault) => fault.is_about_dpop() || schemes.asked_by_dpop,
        Refusal::NoCredential => is_required,
        Refusal::Token(TokenFault::Binding) => is_required || schemes.asked_by_dpop,
        _ => schemes.asked_by_dpop,
    };
    let end = &schemes.realm.end;
    let (bearer, dpop) = (&schemes.realm.challenge, offer.map(|offer| &offer.challenge));
    let (first, second) = match dpop.filter(|_| is_about_dpop) {
        Some(dpop) => (dpop, Some(bearer).filter(|_| !is_required)),
        None => (bearer, dpop.filter(|_| offer.is_some_and(|offer| offer.is_offered))),
    };
    let second =
        second.filter(|_| refusal.status() == StatusCode::UNAUTHORIZED).map(|bare| header(format!("{bare}{end}")));
    [header(error.written(first, end, refusal))].into_iter().chain(second).collect()
}

/// Printable ASCII alone is in it, so it is a header value.
fn header(challenge: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(challenge)).unwrap_or(HeaderValue::from_static("Bearer"))
}

/// What a challenge says is wrong.
enum Error<'r> {
    /// Nothing yet.
    Nothing,
    /// This `error`, and what scopes are needed.
    Code(&'static str, Option<&'r str>),
}

impl Error<'_> {
    /// None: no token would help.
    fn of(refusal: &Refusal) -> Option<Error<'_>> {
        let (error, scope): (_, Option<&str>) = match refusal {
            Refusal::NoCredential => return Some(Error::Nothing),
            Refusal::Credential(_) => ("invalid_request", None),
            Refusal::Token(_) => ("invalid_token", None),
            Refusal::Proof(ProofFault::TooMany) => return None,
            Refusal::Proof(ProofFault::Proof(_)) => ("invalid_dpop_proof", None),
            Refusal::Proof(ProofFault::NonceNeeded(_)) => ("use_dpop_nonce", None),
            Refusal::Proof(_) => ("invalid_token", None),
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
        Some(Error::Code(error, scope))
    }

    /// The whole challenge; `scheme` is its beginning.
    fn written(&self, scheme: &str, end: &str, refusal: &Refusal) -> String {
        let mut text = String::with_capacity(scheme.len() + 160 + end.len());
        text.push_str(scheme);
        let Error::Code(error, scope) = self else {
            text.push_str(end);
            return text;
        };
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
        text.push_str(end);
        text
    }
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
