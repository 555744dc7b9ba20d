//! What a request's own span says when it is over: the log line's facts by OpenTelemetry's names (semantic conventions of HTTP
//! servers), and the decision. Nothing of the token or who it speaks for, no query, no field of the head.

use std::borrow::Cow;

use hyper::Version;

use super::Span;
use crate::observe::{RequestFinished, path_without_tokens};

/// What the log line has no place for.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'r> {
    /// The route's path that it took, as the configuration writes it.
    pub template: Option<&'r str>,
    /// Whether an answer was begun.
    pub is_answered: bool,
    /// `http` or `https`, as the client used it.
    pub scheme: &'static str,
    /// Of HTTP.
    pub version: Version,
}

impl Span {
    /// Says all that is known of a request that is over.
    pub fn describe(&mut self, request: &RequestFinished<'_>, beside: &Beside<'_>) {
        let method = known_method(request.method);
        self.name(|| {
            let method = method.unwrap_or("HTTP");
            beside.template.map_or(method.into(), |template| Cow::Owned(format!("{method} {template}")))
        });
        self.set("http.request.method", method.unwrap_or("_OTHER"));
        self.set_some("http.route", beside.template.map(str::to_owned));
        self.set("url.path", path_without_tokens(request.path).into_owned());
        self.set("url.scheme", beside.scheme);
        self.set_some("server.address", request.host.map(str::to_owned));
        self.set("client.address", request.client_ip.to_string());
        self.set("network.protocol.version", protocol_version(beside.version));
        self.set("bearward.request_id", request.request_id.to_owned());
        self.set("bearward.route", request.route.to_owned());
        self.set("bearward.decision", request.outcome());
        self.set("bearward.reason", request.reason);
        self.set("bearward.enforced", request.enforced);
        self.set_some("bearward.issuer", request.issuer.map(str::to_owned));
        self.set_some("bearward.upstream", request.upstream.map(str::to_owned));
        if request.attempts > 0 {
            self.set("bearward.attempts", request.attempts);
        }
        if !beside.is_answered {
            self.set("error.type", "client_gone");
            return;
        }
        self.set("http.response.status_code", request.status);
        if request.status >= 500 {
            self.failed(request.status.to_string());
        }
    }
}

/// None where a client may have made it up.
pub(crate) fn known_method(method: &str) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method)
}

fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
