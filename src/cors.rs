//! Which pages of other origins may read a route's answers: the CORS protocol (Fetch Standard, section 3.2).

use std::time::Duration;

use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderName,
        HeaderValue, ORIGIN, VARY,
    },
};

use crate::body::Body;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a browser says that a page of another origin asks, of which `cors` doesn't know: in `Origin` (RFC 6454,
/// section 7), or in `Sec-Fetch-Site` where it sends none (Fetch Metadata, section 2.3). Who isn't a browser says neither.
pub fn is_foreign_page(headers: &HeaderMap, cors: Option<&Cors>) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter().peekable();
    if origins.peek().is_some() {
        return !origins.all(|origin| is_own(origin, headers) || cors.is_some_and(|cors| cors.allows(origin)));
    }
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    !sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"))
}

fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let origin = origin.as_bytes();
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// `cors` of a route, compiled.
#[derive(Clone, Debug)]
pub struct Cors {
    /// None: `*`, pages of any origin.
    origins: Option<Vec<HeaderValue>>,
    /// Of `Access-Control-Allow-Methods`.
    methods: HeaderValue,
    /// Of `Access-Control-Allow-Headers`.
    headers: Option<HeaderValue>,
    credentials: bool,
    /// Of `Access-Control-Max-Age`.
    max_age: Option<HeaderValue>,
}

impl Cors {
    /// `origins` is None for any origin; credentials are never allowed with that.
    pub fn new(
        origins: Option<Vec<HeaderValue>>,
        methods: HeaderValue,
        headers: Option<HeaderValue>,
        credentials: bool,
        max_age: Option<Duration>,
    ) -> Cors {
        let credentials = credentials && origins.is_some();
        Cors { origins, methods, headers, credentials, max_age: max_age.map(|age| age.as_secs().into()) }
    }

    /// The answer to a preflight. An origin that isn't allowed is told nothing, and its browser goes no further.
    pub fn preflight(&self, origin: Option<&HeaderValue>) -> Response<Body> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        if self.allowed(origin).is_some() {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            if let Some(allowed) = &self.headers {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
            }
            if let Some(age) = &self.max_age {
                headers.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
            }
        }
        response
    }

    /// Says on an answer of any kind who may read it. What an upstream says of that goes first.
    pub fn write(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if let Some(allowed) = self.allowed(origin) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            if self.credentials {
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
        if self.origins.is_some() {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
    }

    /// Whether pages of this origin may read answers.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.allowed(Some(origin)).is_some()
    }

    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        match &self.origins {
            None => Some(HeaderValue::from_static("*")),
            Some(origins) => origin.filter(|origin| origins.contains(origin)).cloned(),
        }
    }
}

/// Removes all that an upstream says about other origins.
pub fn remove_answers_of_others(headers: &mut HeaderMap) {
    let others = |name: &&HeaderName| name.as_str().starts_with("access-control-");
    let gone: Vec<HeaderName> = headers.keys().filter(others).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// The one `Origin` of a request.
pub fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    only(headers, &ORIGIN)
}

/// The method that a preflight asks for; None where the request isn't a preflight.
pub fn asked_method(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if *method != Method::OPTIONS {
        return None;
    }
    origin(headers)?;
    Method::from_bytes(only(headers, &ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_origins() {
        let cors = |origins: Option<&'static str>| {
            let origins = origins.map(|origin| vec![HeaderValue::from_static(origin)]);
            Cors::new(origins, HeaderValue::from_static("GET"), None, false, None)
        };
        let app = cors(Some("http://app.example"));
        let anybody = cors(None);
        for (lines, cors, foreign) in [
            (&[][..], None, false),
            (&[("origin", "http://localhost:8080")], None, false),
            (&[("origin", "https://LOCALHOST:8080")], None, false),
            (&[("origin", "http://localhost:3000")], None, true),
            (&[("origin", "http://localhost")], None, true),
            (&[("origin", "http://evil.example")], None, true),
            (&[("origin", "null")], None, true),
            (&[("origin", "")], None, true),
            (&[("origin", "localhost:8080")], None, true),
            (&[("origin", "http://app.example")], Some(&app), false),
            (&[("origin", "http://evil.example")], Some(&app), true),
            (&[("origin", "http://evil.example")], Some(&anybody), false),
            (&[("origin", "http://localhost:8080"), ("origin", "http://evil.example")], None, true),
            (&[("sec-fetch-site", "same-origin")], None, false),
            (&[("sec-fetch-site", "none")], None, false),
            (&[("sec-fetch-site", "cross-site")], None, true),
            (&[("sec-fetch-site", "same-site")], None, true),
            (&[("sec-fetch-site", "")], None, true),
            (&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], None, true),
            (&[("origin", "http://app.example"), ("sec-fetch-site", "cross-site")], Some(&app), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("localhost:8080"));
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_foreign_page(&headers, cors), foreign, "{lines:?}");
        }
        let alone = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("http://x"))]);
        assert!(is_foreign_page(&alone, None), "no host to compare with");
    }
}
