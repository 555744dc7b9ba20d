//! The request that a check is about, as the fields of the check describe it, or a message.

use hyper::{
    HeaderMap, Method, Uri,
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE},
    http::{request, uri::PathAndQuery},
};

use super::messages::{CheckRequest, HttpRequest};
use crate::{
    refusal::Refusal,
    request as requests,
    server::{self, Arrival, RequestFrom},
    snapshot::Snapshot,
};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
/// Proxies take `Upgrade` away from a check; this one, which WebSockets cannot do without (RFC 6455, section 4.1), arrives.
const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");

/// As many as a head may have that comes here.
const MAX_FIELDS: usize = 100;

const INCOMPLETE: Refusal = Refusal::Header("the fields that describe the request are not there once each");
const MALFORMED: Refusal = Refusal::Header("a field that describes the request is malformed");

/// A request that somebody else has.
#[derive(Debug)]
pub(super) struct Described {
    /// Its head, as if it had come here.
    pub(super) head: request::Parts,
    /// How it came to who describes it, as far as that is known.
    pub(super) arrival: Arrival,
    /// How long its body is, where that is known.
    pub(super) body_bytes: Option<u64>,
}

/// What makes a described request, from wherever it was read.
pub(super) struct Words<'w> {
    pub(super) method: &'w str,
    /// `http` or `https`, or the same for WebSockets, in any case.
    pub(super) scheme: &'w str,
    /// Host and perhaps port.
    pub(super) authority: &'w str,
    /// Path and query.
    pub(super) target: &'w str,
    /// The client's fields, with whatever else.
    pub(super) headers: HeaderMap,
}

/// The request that a check describes in the place that it is to be read from; nothing else is.
///
/// # Errors
/// `Refusal::Header` where something is missing, given twice or malformed; `Refusal::Path` for a target that no request has.
pub(super) fn from_fields(from: RequestFrom, check: &request::Parts, arrival: &Arrival) -> Result<Described, Refusal> {
    let words =
        |method, scheme, authority, target| Words { method, scheme, authority, target, headers: check.headers.clone() };
    let fields = &check.headers;
    let words = match from {
        RequestFrom::XForwarded => words(
            once(fields, &X_FORWARDED_METHOD)?,
            once(fields, &X_FORWARDED_PROTO)?,
            once(fields, &X_FORWARDED_HOST)?,
            once(fields, &X_FORWARDED_URI)?,
        ),
        RequestFrom::XOriginal => {
            let method = once(fields, &X_ORIGINAL_METHOD)?;
            match (fields.contains_key(X_ORIGINAL_URL), fields.contains_key(X_ORIGINAL_URI)) {
                (true, false) => {
                    let (scheme, authority, target) = parts_of_url(once(fields, &X_ORIGINAL_URL)?)?;
                    words(method, scheme, authority, target)
                }
                (false, true) => {
                    let host = requests::authority(check).ok_or(INCOMPLETE)?;
                    words(method, arrival.scheme, host, once(fields, &X_ORIGINAL_URI)?)
                }
                (true, true) | (false, false) => return Err(INCOMPLETE),
            }
        }
        RequestFrom::Own => return own(check, arrival),
    };
    words.described(arrival)
}

/// The check is what it is about.
fn own(check: &request::Parts, arrival: &Arrival) -> Result<Described, Refusal> {
    requests::authority(check).ok_or(INCOMPLETE)?;
    let mut head = check.clone();
    leave_out_the_connection(&mut head.headers);
    // The connection is that of who describes the request: so is its certificate.
    let arrival = Arrival { client_certificate: None, ..arrival.clone() };
    Ok(Described { head, arrival, body_bytes: None })
}

/// The connections are the proxy's affair: whatever a client names in `Connection`, the fields that the proxy shows are
/// those that it sends on. That a client wants another protocol is told anew.
fn leave_out_the_connection(headers: &mut HeaderMap) {
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    if headers.contains_key(SEC_WEBSOCKET_KEY) {
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// The request that Envoy describes.
///
/// # Errors
/// As `from_fields`.
pub(super) fn from_message(check: CheckRequest, arrival: &Arrival) -> Result<Described, Refusal> {
    let attributes = check.attributes.unwrap_or_default();
    let http = attributes.request.and_then(|request| request.http).ok_or(INCOMPLETE)?;
    // The path holds both, says the protocol.
    if !http.query.is_empty() || !http.fragment.is_empty() {
        return Err(MALFORMED);
    }
    let words = Words {
        method: &http.method,
        scheme: &http.scheme,
        authority: &http.host,
        target: &http.path,
        headers: lines(&http)?,
    };
    let described = words.described(arrival)?;
    let source = attributes.source.and_then(|peer| peer.address?.socket_address);
    let peer = source.and_then(|source| source.address.parse().ok()).unwrap_or(arrival.peer);
    Ok(Described {
        arrival: Arrival { peer, ..described.arrival },
        body_bytes: u64::try_from(http.size).ok(),
        ..described
    })
}

/// The client's fields, without HTTP/2's pseudo-fields, which are told beside them.
fn lines(http: &HttpRequest) -> Result<HeaderMap, Refusal> {
    let raw = http.header_map.iter().flat_map(|map| &map.headers).map(|line| {
        let value = if line.raw_value.is_empty() { line.value.as_bytes() } else { &line.raw_value };
        (line.key.as_str(), value)
    });
    let joined = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let mut headers = HeaderMap::new();
    for (name, value) in raw.chain(joined).filter(|(name, _)| !name.starts_with(':')) {
        if headers.len() >= MAX_FIELDS {
            return Err(Refusal::HeadTooLarge);
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| MALFORMED)?;
        headers.append(name, HeaderValue::from_bytes(value).map_err(|_| MALFORMED)?);
    }
    Ok(headers)
}

impl Words<'_> {
    /// The request as if it had come here.
    ///
    /// # Errors
    /// As `from_fields`.
    pub(super) fn described(self, arrival: &Arrival) -> Result<Described, Refusal> {
        let method = Method::from_bytes(self.method.as_bytes()).map_err(|_| MALFORMED)?;
        let scheme = match self.scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => "http",
            "https" | "wss" => "https",
            _ => return Err(MALFORMED),
        };
        if !server::is_authority(self.authority) {
            return Err(MALFORMED);
        }
        server::check_target(self.method, self.target)?;
        if !self.target.starts_with('/') && self.target != "*" {
            return Err(Refusal::Path("the target of the request is not a path"));
        }
        let target = PathAndQuery::try_from(self.target);
        let target = target.map_err(|_| Refusal::Path("the request target is malformed"))?;

        let mut head = hyper::Request::new(()).into_parts().0;
        head.method = method;
        head.uri = Uri::from(target);
        head.headers = self.headers;
        head.headers.insert(HOST, HeaderValue::from_str(self.authority).map_err(|_| MALFORMED)?);
        // What the check says of its own connection says nothing of this one.
        head.headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
        leave_out_the_connection(&mut head.headers);
        let arrival = Arrival { scheme, client_certificate: None, ..arrival.clone() };
        Ok(Described { head, arrival, body_bytes: None })
    }
}

/// `scheme://authority/path?query`
fn parts_of_url(url: &str) -> Result<(&str, &str, &str), Refusal> {
    let (scheme, rest) = url.split_once("://").ok_or(MALFORMED)?;
    let (authority, target) = rest.split_at_checked(rest.find('/').ok_or(MALFORMED)?).ok_or(MALFORMED)?;
    Ok((scheme, authority, target))
}

/// The text of a field that must be there once.
fn once<'h>(fields: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, Refusal> {
    let mut lines = fields.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().map_err(|_| MALFORMED),
        _ => Err(INCOMPLETE),
    }
}

/// A name that only the gateway or a proxy may use, and that the answer to the check doesn't overwrite: servers that merge
/// names would take it for what it resembles.
pub(super) fn check_names(snapshot: &Snapshot, from: RequestFrom, headers: &HeaderMap) -> Result<(), Refusal> {
    let describes = |name: &HeaderName| {
        from == RequestFrom::XOriginal && [X_ORIGINAL_METHOD, X_ORIGINAL_URI, X_ORIGINAL_URL].contains(name)
    };
    let mut taken = headers.keys().filter(|name| snapshot.reserved.forbids(name.as_str(), true));
    match taken.all(|name| snapshot.identity_names.contains(name) || describes(name)) {
        true => Ok(()),
        false => Err(forbidden_name()),
    }
}

/// Why a request isn't let through whose proxy would send such a field on.
pub(super) fn forbidden_name() -> Refusal {
    Refusal::Header("the request has a field under a name that clients may not use")
}

#[cfg(test)]
mod tests;
