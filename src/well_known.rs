//! Documents of the gateway's own at well-known places (RFC 8615). Everybody may read them: they leave without a permit,
//! before any route is asked, and say nothing that depends on who asks.

use std::collections::HashMap;

use bytes::Bytes;
use hyper::{
    Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue,
    },
};
use serde_json::Value;

use crate::{assertion::PublishedKeys, body::Body, refusal::Refusal, route::HostPattern, token};

/// What a document takes; each answers everybody alike.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
/// How long anybody may keep a document: a change is known everywhere five minutes later.
const CACHING: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// A new key signs as soon as it is there.
const CACHING_OF_KEYS: HeaderValue = HeaderValue::from_static("public, max-age=60");

/// All documents of a configuration, by where they are.
#[derive(Debug, Default)]
pub struct WellKnown {
    /// By canonical path, without a slash at its end.
    places: HashMap<Box<str>, Vec<Place>>,
}

/// Where, but for the path, and what.
#[derive(Debug)]
struct Place {
    /// Those at which clients are answered.
    listeners: Vec<usize>,
    /// Empty: any.
    hosts: Vec<HostPattern>,
    document: Document,
}

/// A JSON document.
#[derive(Clone, Debug)]
pub enum Document {
    /// Always the same.
    Fixed(Bytes),
    /// The keys of assertions: some are there for a while only.
    Keys(PublishedKeys),
}

impl From<&Value> for Document {
    fn from(document: &Value) -> Document {
        Document::Fixed(document.to_string().into())
    }
}

impl WellKnown {
    /// Adds a document at this canonical path, on these listeners and hosts (empty: any).
    pub fn add(&mut self, path: &str, listeners: Vec<usize>, hosts: Vec<HostPattern>, document: Document) {
        self.places.entry(without_slash(path).into()).or_default().push(Place { listeners, hosts, document });
    }

    /// What is at this place: for routes and documents alike, a host beats a wildcard, a longer one a shorter one, and both
    /// beat any host.
    pub fn find(&self, listener: usize, host: Option<&str>, path: &str) -> Option<&Document> {
        let places = self.places.get(without_slash(path))?.iter();
        let here = places.filter(|place| place.listeners.contains(&listener));
        let ranked = here.filter_map(|place| Some((rank(&place.hosts, host)?, place)));
        // Of equal ones the first: they say the same.
        ranked.rev().max_by_key(|(rank, _)| *rank).map(|(_, place)| &place.document)
    }
}

impl Document {
    /// The answer to a request of this method. Pages of every origin may read it.
    ///
    /// # Errors
    /// It is only read.
    pub fn answer(&self, method: &Method) -> Result<Response<Body>, Refusal> {
        if *method == Method::OPTIONS {
            return Ok(preflight());
        }
        let (document, caching) = match self {
            Document::Fixed(text) => (text.clone(), CACHING),
            Document::Keys(keys) => (keys.document(token::now()).to_string().into(), CACHING_OF_KEYS),
        };
        let length = document.len();
        let body = match *method {
            Method::GET => Body::full(document),
            Method::HEAD => Body::Empty,
            _ => return Err(Refusal::Method { allow: METHODS.to_str().unwrap_or_default().into() }),
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CACHE_CONTROL, caching);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        Ok(response)
    }
}

/// Clients in browsers send headers of their own along (`MCP-Protocol-Version`), and ask first whether they may.
fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    response
}

/// How closely these patterns fit a host: the closest of them counts. None: not at all.
pub(crate) fn rank(patterns: &[HostPattern], host: Option<&str>) -> Option<usize> {
    if patterns.is_empty() {
        return Some(0);
    }
    let host = host?;
    let fitting = patterns.iter().filter(|pattern| pattern.fits(host));
    fitting.map(HostPattern::rank).max()
}

/// A trailing slash makes no difference, as for routes.
pub(crate) fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hosts(patterns: &[&str]) -> Vec<HostPattern> {
        patterns.iter().map(|pattern| HostPattern::parse(pattern).unwrap()).collect()
    }

    fn found(all: &WellKnown, listener: usize, host: Option<&str>, path: &str) -> Option<String> {
        all.find(listener, host, path).map(|document| match document {
            Document::Fixed(text) => String::from_utf8(text.to_vec()).unwrap(),
            Document::Keys(_) => panic!("no keys were added"),
        })
    }

    #[test]
    fn the_closest_host_wins_and_a_slash_at_the_end_is_nothing() {
        let mut all = WellKnown::default();
        all.add("/w", vec![0], Vec::new(), (&json!("any")).into());
        all.add("/w/", vec![0, 1], hosts(&["*.example"]), (&json!("wide")).into());
        all.add("/w", vec![0], hosts(&["*.api.example", "other.example"]), (&json!("narrow")).into());
        all.add("/w", vec![0], hosts(&["a.api.example"]), (&json!("exact")).into());
        all.add("/w", vec![1], hosts(&["b.example"]), (&json!("bound")).into());
        for (listener, host, path, expected) in [
            (0, None, "/w", Some("any")),
            (1, None, "/w", None),
            (2, Some("b.example"), "/w", None),
            (0, Some("elsewhere.test"), "/w/", Some("any")),
            (0, Some("b.example"), "/w", Some("wide")),
            (1, Some("b.example"), "/w", Some("bound")),
            (0, Some("b.api.example"), "/w/", Some("narrow")),
            (0, Some("other.example"), "/w", Some("narrow")),
            (0, Some("a.api.example"), "/w", Some("exact")),
            (0, None, "/w//", None),
            (0, None, "/W", None),
            (0, None, "/", None),
            (0, None, "/w/x", None),
        ] {
            let expected = expected.map(|word| format!("\"{word}\""));
            assert_eq!(found(&all, listener, host, path), expected, "{listener} {host:?} {path}");
        }
    }

    #[test]
    fn it_is_read_and_nothing_else() {
        let mut all = WellKnown::default();
        all.add("/w", vec![0], Vec::new(), (&json!({"a": 1})).into());
        let document = all.find(0, None, "/w").unwrap();
        for (method, expected) in [("GET", Ok(200)), ("HEAD", Ok(200)), ("OPTIONS", Ok(204))] {
            let answer = document.answer(&method.parse().unwrap()).unwrap();
            assert_eq!(Ok::<_, ()>(answer.status().as_u16()), expected, "{method}");
            assert_eq!(answer.headers()["access-control-allow-origin"], "*", "{method}");
            assert!(!answer.headers().contains_key("access-control-allow-credentials"), "{method}");
        }
        for method in ["POST", "PUT", "DELETE", "TRACE", "CONNECT", "get", "FOO"] {
            let refusal = document.answer(&method.parse().unwrap()).err();
            assert_eq!(refusal, Some(Refusal::Method { allow: "GET, HEAD, OPTIONS".into() }), "{method}");
        }
    }
}
