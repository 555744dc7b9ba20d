//! Answers that a route gives itself, in the place of an upstream's. Each takes a `Permit`, as a request upstream does.

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION},
};

use crate::{
    body::Body,
    decision::Permit,
    path::CanonicalPath,
    refusal::Refusal,
    route::{PathTemplate, Redirection},
};

/// `respond` or `redirect` of a route, compiled.
#[derive(Clone, Debug)]
pub enum OwnAnswer {
    /// The same for every request.
    Respond(FixedAnswer),
    /// Elsewhere.
    Redirect {
        /// One of 301, 302, 303, 307, 308.
        status: StatusCode,
        /// Where to.
        to: Redirection,
    },
}

/// An answer as it is written in the configuration.
#[derive(Clone, Debug)]
pub struct FixedAnswer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl FixedAnswer {
    /// Text is `text/plain` unless the headers say otherwise; 401 and 403 aren't stored unless they say otherwise.
    ///
    /// # Errors
    /// What is wrong, in words for the configuration's author.
    pub fn new(
        status: StatusCode,
        mut headers: Vec<(HeaderName, HeaderValue)>,
        body: String,
    ) -> Result<FixedAnswer, String> {
        if !body.is_empty() && has_no_body(status) {
            return Err(format!("an answer with status {} has no body", status.as_str()));
        }
        let mut default = |name: HeaderName, value| {
            if !headers.iter().any(|(there, _)| *there == name) {
                headers.push((name, HeaderValue::from_static(value)));
            }
        };
        if !body.is_empty() {
            default(CONTENT_TYPE, "text/plain; charset=utf-8");
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            default(CACHE_CONTROL, "no-store");
        }
        Ok(FixedAnswer { status, headers, body: body.into() })
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn give(&self, head_only: bool) -> Response<Body> {
        let body = if head_only || self.body.is_empty() { Body::Empty } else { Body::full(self.body.clone()) };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        for (name, value) in &self.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        if !has_no_body(self.status) {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        response
    }
}

/// RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

impl OwnAnswer {
    /// A redirection to `to`, which may hold parameters of all of the route's paths.
    ///
    /// # Errors
    /// What is wrong, in words for the configuration's author.
    pub fn redirect(status: StatusCode, to: &str, paths: &[PathTemplate]) -> Result<OwnAnswer, String> {
        Redirection::parse(to, paths).map(|to| OwnAnswer::Redirect { status, to })
    }

    /// The status that it has for every request, if it does.
    pub fn fixed_status(&self) -> Option<StatusCode> {
        match self {
            OwnAnswer::Respond(fixed) => Some(fixed.status),
            OwnAnswer::Redirect { .. } => None,
        }
    }

    /// The status of the answer to a request that was let in.
    ///
    /// # Errors
    /// `Refusal::Path` where no safe redirection comes of the path.
    pub fn status(&self, path: &CanonicalPath) -> Result<StatusCode, Refusal> {
        match self {
            OwnAnswer::Respond(fixed) => Ok(fixed.status),
            OwnAnswer::Redirect { status, to } => to.location(path).map(|_| *status),
        }
    }

    /// The answer to a request that was let in; `head_only` for HEAD.
    ///
    /// # Errors
    /// `Refusal::Path` where no safe redirection comes of the path.
    pub fn give(&self, _permit: Permit, path: &CanonicalPath, head_only: bool) -> Result<Response<Body>, Refusal> {
        match self {
            OwnAnswer::Respond(fixed) => Ok(fixed.give(head_only)),
            OwnAnswer::Redirect { status, to } => {
                let mut response = Response::new(Body::Empty);
                *response.status_mut() = *status;
                response.headers_mut().insert(LOCATION, to.location(path)?);
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
                Ok(response)
            }
        }
    }
}
