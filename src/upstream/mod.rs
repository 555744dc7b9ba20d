//! forward(Permit, request) -> response: the only way out.

use std::{sync::Arc, time::Duration};

/// An upstream as the configuration gives it, compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamSettings {
    /// The key in the configuration, or the route's name for a URL in place.
    pub name: Arc<str>,
    /// Where it is.
    pub endpoint: EndpointAddress,
    /// TCP and TLS together.
    pub connect_timeout: Duration,
    /// Until the response's head, from the last byte of the request; None: no end.
    pub response_timeout: Option<Duration>,
    /// How long a pooled connection may idle.
    pub idle_timeout: Duration,
    /// Connections at a time; None: no limit.
    pub max_connections: Option<usize>,
    /// Whether the client's Host goes on.
    pub preserve_host: bool,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointAddress {
    /// https.
    pub tls: bool,
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Put before the request's path; without a final slash; mostly empty.
    pub base_path: String,
}
