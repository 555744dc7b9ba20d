//! Listeners, workers, connections: bytes to requests.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::headers::TrustedProxies;

/// `server:`
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Threads that serve.
    pub workers: usize,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// Bytes of a request head.
    pub max_header_bytes: usize,
    /// Bytes of a credential.
    pub max_token_bytes: usize,
    /// Open connections on all listeners together.
    pub max_connections: Option<usize>,
    /// Time to receive a head.
    pub header_timeout: Duration,
    /// A request body that brings no byte for so long ends.
    pub body_timeout: Duration,
    /// Keep-alive without a request.
    pub idle_timeout: Duration,
    /// How long `/readyz` waits for issuers at start.
    pub ready_timeout: Duration,
    /// Not ready and still accepting, on SIGTERM.
    pub drain_delay: Duration,
    /// Then how long running requests may take.
    pub drain_timeout: Duration,
}

/// One entry of `listen:`
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// The name, or the address as written.
    pub name: Arc<str>,
    /// Where.
    pub address: SocketAddr,
}
