//! What a decision sees of a request, wherever the request came from.

use std::net::IpAddr;

use hyper::{HeaderMap, Method};

use crate::path::CanonicalPath;

/// A request as the decision sees it: made from HTTP, or from a command line.
#[derive(Debug)]
pub struct RequestView<'r> {
    /// The method, as sent.
    pub method: &'r Method,
    /// Lower-case, without port and final dot; None where an HTTP/1.0 request has none.
    pub host: Option<&'r str>,
    /// The path in its canonical form, with its other readings.
    pub path: &'r CanonicalPath,
    /// The query, byte for byte, without the question mark.
    pub query: Option<&'r str>,
    /// The fields of the head, as sent.
    pub headers: &'r HeaderMap,
    /// Who asks, as far as trusted proxies tell.
    pub client_ip: IpAddr,
}
