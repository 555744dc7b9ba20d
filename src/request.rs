//! What a decision sees of a request, wherever the request came from.

use std::net::IpAddr;

use hyper::{
    HeaderMap, Method, Uri,
    header::{HOST, HeaderValue},
    http::request,
};

use crate::{path::CanonicalPath, token::proof::Thumbprint, trace::Span};

/// A request as the decision sees it: made from HTTP, or from a command line.
#[derive(Debug)]
pub struct RequestView<'r> {
    /// Where it came in: an index into `Policy::listen`.
    pub listener: usize,
    /// The method, as sent.
    pub method: &'r Method,
    /// Lower-case, without port and final dot; None where an HTTP/1.0 request has none.
    pub host: Option<&'r str>,
    /// What it is for as the client has written it: host and perhaps port.
    pub authority: Option<&'r str>,
    /// `http` or `https`, as far as trusted proxies tell.
    pub scheme: &'r str,
    /// The path in its canonical form, with its other readings.
    pub path: &'r CanonicalPath,
    /// The query, byte for byte, without the question mark.
    pub query: Option<&'r str>,
    /// The fields of the head, as sent.
    pub headers: &'r HeaderMap,
    /// Who asks, as far as trusted proxies tell.
    pub client_ip: IpAddr,
    /// Whether the peer's forwarding headers are believed.
    pub trusted_peer: bool,
    /// The certificate of its connection, as the client has proved.
    pub certificate: Option<Thumbprint>,
    /// What is recorded of it.
    pub span: &'r Span,
}

/// The authority that a request is for: of its target where that is absolute (RFC 9112, section 3.2.2), else of `Host`.
pub fn authority(head: &request::Parts) -> Option<&str> {
    authority_of(&head.uri, &head.headers)
}

/// The same, as the value of a field.
pub fn authority_value(head: &request::Parts) -> Option<HeaderValue> {
    match head.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => head.headers.get(HOST).filter(|host| host.to_str().is_ok()).cloned(),
    }
}

/// The same, of a head's parts.
pub fn authority_of<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Option<&'r str> {
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(HOST)?.to_str().ok(),
    }
}

/// The authority's host: lower-case, without port and final dot.
pub fn host(head: &request::Parts) -> Option<String> {
    let name = without_port(authority(head)?);
    let name = name.strip_suffix('.').unwrap_or(name);
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_case_port_and_final_dot() {
        for (target, header, expected) in [
            ("/", "api.example.com", Some("api.example.com")),
            ("/", "API.Example.COM:8443", Some("api.example.com")),
            ("/", "api.example.com.", Some("api.example.com")),
            ("/", "api.example.com.:80", Some("api.example.com")),
            ("/", "[::1]:8080", Some("[::1]")),
            ("/", "[2001:DB8::1]", Some("[2001:db8::1]")),
            ("/", "", None),
            ("http://one.example:80/x", "two.example", Some("one.example")),
        ] {
            let request = hyper::Request::builder().uri(target).header(HOST, header).body(()).unwrap();
            assert_eq!(host(&request.into_parts().0).as_deref(), expected, "{target} {header}");
        }
    }
}
