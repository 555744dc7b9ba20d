//! `host[:port]`, as in `Host` and in an absolute-form target (RFC 9110, section 7.2).

use std::net::Ipv6Addr;

/// A host and perhaps a port. Stricter than RFC 3986: no percent-encoding, no sub-delimiters, no empty port.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Authority<'a> {
    host: &'a [u8],
    port: Option<u16>,
}

impl Authority<'_> {
    pub(in crate::server) fn parse(bytes: &[u8]) -> Option<Authority<'_>> {
        let (host, port) = if bytes.first() == Some(&b'[') {
            let end = memchr::memchr(b']', bytes)? + 1;
            let address = std::str::from_utf8(bytes.get(1..end - 1)?).ok()?;
            address.parse::<Ipv6Addr>().ok()?;
            (bytes.get(..end)?, bytes.get(end..)?)
        } else {
            let end = memchr::memchr(b':', bytes).unwrap_or(bytes.len());
            let host = bytes.get(..end)?;
            if host.is_empty() || !host.iter().all(|&byte| is_name(byte)) {
                return None;
            }
            (host, bytes.get(end..)?)
        };
        let port = match port {
            [] => None,
            [b':', digits @ ..] => Some(parse_port(digits)?),
            _ => return None,
        };
        Some(Authority { host, port })
    }

    pub(in crate::server) fn has_port(&self) -> bool {
        self.port.is_some()
    }

    /// The same server: names in any case, no port meaning the default one.
    pub(in crate::server) fn equals(&self, other: &Authority<'_>, default_port: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.first() == Some(&b'0') || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
