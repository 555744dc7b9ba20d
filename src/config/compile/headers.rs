//! Headers that a route's author sets and removes.

use hyper::header::{HeaderName, HeaderValue};

use super::Compiler;
use crate::{
    config::{
        file::{Changes, ConfigFile, HeaderList, Headers},
        reader::At,
    },
    headers::{HeaderChanges, HeaderRules},
    identity::{ReservedNames, is_alias},
};

/// Fields that are between two servers, or say where a message ends (RFC 9110, section 7.6.1; RFC 9112, section 6).
const OF_THE_CONNECTION: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What the gateway writes on every request, and what decides where a request goes.
const OF_THE_GATEWAY: [&str; 11] = [
    "expect",
    "forwarded",
    "host",
    "traceparent",
    "tracestate",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

/// Of these, what tells where a request came from: not written for an upstream that is called with a token of its own.
const OF_THE_CALLER: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// The names of all identity headers of the file.
pub(super) fn identity_names(file: &ConfigFile) -> ReservedNames {
    let plans = file.routes.iter().map(|route| &route.identity).chain([&file.identity]);
    let names = plans.flat_map(|plan| {
        let assertion = plan.assertion.as_ref().and_then(|assertion| assertion.header.as_ref());
        plan.headers.iter().flatten().map(|(name, _)| name).chain(assertion)
    });
    let names = names.filter_map(|name| HeaderName::from_bytes(name.value.as_bytes()).ok()).collect::<Vec<_>>();
    ReservedNames::new(&names)
}

/// Whether a name has a meaning between two servers, or for the gateway, so that it can have no other.
pub(super) fn is_taken(name: &str) -> bool {
    OF_THE_CONNECTION.iter().chain(&OF_THE_GATEWAY).any(|other| is_alias(other, name))
}

impl Compiler<'_> {
    /// `headers` of a route.
    pub(super) fn headers(&mut self, written: &Headers) -> Option<HeaderRules> {
        let request = self.header_changes(&written.request);
        let response = self.header_changes(&written.response);
        Some(HeaderRules { request: request?, response: response? })
    }

    fn header_changes(&mut self, written: &Changes) -> Option<HeaderChanges> {
        let set = self.header_list(&written.set);
        let remove = written.remove.iter().map(|name| self.header_name(name)).collect::<Vec<_>>();
        for name in &written.remove {
            if let Some((other, _)) = written.set.iter().find(|(other, _)| is_alias(&name.value, &other.value)) {
                let place = self.source.place(other.span);
                self.findings.push(name.error(format!("{} is set, too, at {place}", name.shown())).hint("keep one"));
            }
        }
        Some(HeaderChanges { set: set?, remove: remove.into_iter().collect::<Option<_>>()? })
    }

    /// Names and values that a message can carry, each name once.
    pub(super) fn header_list(&mut self, written: &HeaderList) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let mut list = Vec::new();
        for (place, (name, value)) in written.iter().enumerate() {
            if let Some((first, _)) = written.iter().take(place).find(|(other, _)| is_alias(&name.value, &other.value))
            {
                let place = self.source.place(first.span);
                self.findings.push(name.error(format!("{} is the same header as the one at {place}", name.shown())));
            }
            let header = self.header_name(name);
            let text = if value.value.is_ascii() { HeaderValue::from_str(&value.value).ok() } else { None };
            let text = text.or_else(|| self.fail(value.error("a header can't hold this text")));
            list.push(header.zip(text));
        }
        list.into_iter().collect()
    }

    fn header_name(&mut self, written: &At<String>) -> Option<HeaderName> {
        if OF_THE_CONNECTION.iter().any(|name| is_alias(name, &written.value)) {
            let message = format!("{} is about the connection or the body's length", written.shown());
            return self.fail(written.error(message).hint("the gateway writes it itself; leave it out"));
        }
        let good = |name: &HeaderName| name.as_str().bytes().any(|byte| byte.is_ascii_alphanumeric());
        let name = HeaderName::from_bytes(written.value.as_bytes()).ok().filter(good);
        name.or_else(|| self.fail(written.error(format!("{} is not a header's name", written.shown()))))
    }

    /// What nobody may set or remove on the way upstream: identity headers of any route, the token, and what the
    /// gateway says of the request. Where it says nothing of the caller, the route's author may.
    pub(super) fn find_reserved_headers(&mut self, file: &ConfigFile) {
        let identity = identity_names(file);
        for route in &file.routes {
            let request = &route.headers.request;
            let is_anonymous = route.upstream.as_ref().is_some_and(|named| {
                file.upstreams.iter().any(|upstream| upstream.name.value == named.value && upstream.token.is_some())
            });
            for name in request.set.iter().map(|(name, _)| name).chain(&request.remove) {
                let is = |others: &[&str]| others.iter().any(|other| is_alias(other, &name.value));
                let hint = if identity.has(&name.value) {
                    "who the caller is, is said in `identity`"
                } else if is(&["authorization"]) {
                    "whether the token goes on is said by `authorization` in `identity`"
                } else if is_anonymous && is(&OF_THE_CALLER) {
                    continue;
                } else if is(&OF_THE_GATEWAY) {
                    "the gateway writes it itself; leave it out"
                } else {
                    continue;
                };
                let message = format!("{} can't be set or removed here", name.shown());
                self.findings.push(name.error(message).hint(hint));
            }
        }
    }
}
