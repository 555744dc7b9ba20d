//! Header fields between client and upstream: hop-by-hop, forwarding, tracing.

use std::net::IpAddr;

use hyper::HeaderMap;

/// Networks whose forwarding headers are believed (`server.trusted_proxies`).
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {}

impl TrustedProxies {
    /// Reads `10.0.0.0/8` or `::1`; an address alone is one host.
    ///
    /// # Errors
    /// What is wrong, in words for the configuration's author.
    pub fn parse<'n>(_networks: impl IntoIterator<Item = &'n str>) -> Result<TrustedProxies, String> {
        todo!()
    }

    /// Whether this peer is believed.
    pub fn trusts(&self, _peer: IpAddr) -> bool {
        todo!()
    }

    /// The client's address: the rightmost one of `X-Forwarded-For` (or `Forwarded`, RFC 7239) that isn't a trusted
    /// proxy's; the peer's where the peer isn't trusted.
    pub fn client_ip(&self, _peer: IpAddr, _headers: &HeaderMap) -> IpAddr {
        todo!()
    }
}

/// Removes hop-by-hop fields and whatever the lines of `Connection` name (RFC 9110, section 7.6.1), save
/// `Authorization`, `Host` and `Content-Length`. For requests and responses. `TE: trailers` stays on requests.
pub fn remove_hop_by_hop(_headers: &mut HeaderMap) {
    todo!()
}

/// Adds `X-Forwarded-For`, `-Proto`, `-Host` and `Via`. From a trusted peer the first is appended to and the others
/// stay as they came; from another all are written anew.
pub fn add_forwarding(_headers: &mut HeaderMap, _peer: IpAddr, _trusted_peer: bool, _scheme: &str, _host: Option<&str>) {
    todo!()
}
