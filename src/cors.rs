//! Which pages of other origins may read a route's answers: the CORS protocol (Fetch Standard, section 3.2).

use std::time::Duration;

use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue,
        ORIGIN, VARY,
    },
};

use crate::body::Body;

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
