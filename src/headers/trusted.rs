//! Whose forwarding headers are believed, and who the client is by them.

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap,
    header::{FORWARDED, HeaderValue},
};

use super::X_FORWARDED_FOR;

/// Networks whose forwarding headers are believed (`server.trusted_proxies`).
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<Network>,
}

/// An address block. IPv4 blocks in IPv6 clothes (`::ffff:10.0.0.0/104`) are kept as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    V4 { bits: u32, mask: u32 },
    V6 { bits: u128, mask: u128 },
}

impl TrustedProxies {
    /// Reads `10.0.0.0/8` or `::1`; an address alone is one host.
    ///
    /// # Errors
    /// What is wrong, in words for the configuration's author.
    pub fn parse<'n>(networks: impl IntoIterator<Item = &'n str>) -> Result<TrustedProxies, String> {
        let networks = networks.into_iter().map(Network::parse).collect::<Result<_, _>>()?;
        Ok(TrustedProxies { networks })
    }

    /// Whether this peer is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.networks.iter().any(|network| network.contains(peer))
    }

    /// The client's address: the rightmost one of `X-Forwarded-For` (or `Forwarded`, RFC 7239) that isn't a trusted
    /// proxy's; the peer's where the peer isn't trusted. An entry that is no address ends the walk: what is to
    /// the left of it proves nothing.
    pub fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        if headers.contains_key(X_FORWARDED_FOR) {
            let lines = headers.get_all(X_FORWARDED_FOR).iter();
            return self.walk(peer, entries_from_right(lines).map(node_address));
        }
        let lines = headers.get_all(FORWARDED).iter();
        self.walk(peer, entries_from_right(lines).map(forwarded_for))
    }

    fn walk(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut client = peer;
        for hop in hops {
            let Some(hop) = hop else { break };
            client = hop;
            if !self.trusts(hop) {
                break;
            }
        }
        client
    }
}

impl Network {
    fn parse(text: &str) -> Result<Network, String> {
        let wrong = || format!("`{text}` is neither an address nor a network such as 10.0.0.0/8");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => {
                let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
                let length: u32 = length.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
                (address, Some(length))
            }
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(longest);
        if length > longest {
            return Err(format!("the prefix of `{text}` is longer than {longest} bits"));
        }
        Ok(match (address, address.to_canonical()) {
            (IpAddr::V4(address), _) => Network::v4(address.to_bits(), length),
            (IpAddr::V6(_), IpAddr::V4(mapped)) if length >= 96 => Network::v4(mapped.to_bits(), length - 96),
            (IpAddr::V6(address), _) => {
                let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
                Network::V6 { bits: address.to_bits() & mask, mask }
            }
        })
    }

    fn v4(bits: u32, length: u32) -> Network {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        Network::V4 { bits: bits & mask, mask }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Network::V4 { bits, mask }, IpAddr::V4(address)) => address.to_bits() & mask == *bits,
            (Network::V6 { bits, mask }, IpAddr::V6(address)) => address.to_bits() & mask == *bits,
            _ => false,
        }
    }
}

/// The entries of all lines as one list, the last one first. Commas inside quotes split too: what a proxy adds at the
/// right has none, and an unclosed quote of a client's at the left can't reach it so.
fn entries_from_right<'h>(lines: impl DoubleEndedIterator<Item = &'h HeaderValue>) -> impl Iterator<Item = &'h [u8]> {
    lines.rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
}

/// `192.0.2.1`, `192.0.2.1:55`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:55`.
fn node_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bare {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None => match text.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => text.parse::<SocketAddr>().ok()?.ip(),
        },
    };
    Some(address.to_canonical())
}

/// The address of `for=` in one element of `Forwarded`; None also for `unknown` and obfuscated names.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(|byte| *byte == b';') {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at_checked(equals)?;
        if name.trim_ascii().eq_ignore_ascii_case(b"for") && found.replace(value.get(1..)?).is_some() {
            return None;
        }
    }
    let value = found?.trim_ascii();
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    node_address(quoted.unwrap_or(value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::parse(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::ffff:172.16.0.0/108"]).unwrap()
    }

    #[test]
    fn networks() {
        let proxies = proxies();
        for (address, trusted) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("::ffff:10.1.2.3", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("172.16.3.4", true),
            ("172.32.0.1", false),
            ("::1", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(proxies.trusts(address.parse().unwrap()), trusted, "{address}");
        }
        let all = TrustedProxies::parse(["0.0.0.0/0"]).unwrap();
        assert!(all.trusts("1.2.3.4".parse().unwrap()));
        assert!(!all.trusts("2001:db8::1".parse().unwrap()));
        let all = TrustedProxies::parse(["::/0"]).unwrap();
        assert!(all.trusts("2001:db8::1".parse().unwrap()));
        assert!(!all.trusts("1.2.3.4".parse().unwrap()));
        assert!(!TrustedProxies::default().trusts("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "host",
            "10.0.0.0/8/8",
            "10.0.0.0/4294967296",
            " 10.0.0.1",
            "[::1]",
            "*",
            "fe80::1%eth0",
        ] {
            assert!(TrustedProxies::parse([text]).is_err(), "{text}");
        }
    }

    #[test]
    fn the_client_by_x_forwarded_for() {
        for (peer, lines, client) in [
            ("9.9.9.9", &["1.1.1.1"][..], "9.9.9.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1"], "1.1.1.1"),
            ("::ffff:10.0.0.1", &["1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1, 10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1", "10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1", "10.0.0.3,10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1:55"], "1.1.1.1"),
            ("10.0.0.1", &["[2001:db9::5]:123"], "2001:db9::5"),
            ("10.0.0.1", &["[2001:db9::5]"], "2001:db9::5"),
            ("10.0.0.1", &["2001:db9::5"], "2001:db9::5"),
            ("10.0.0.1", &["::ffff:1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1, [::ffff:10.0.0.9]:80"], "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, garbage, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["1.1.1.1, "], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, 999.1.1.1"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, [10.0.0.2]"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, 10.0.0.2:99999"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_static(line));
            }
            let found = proxies().client_ip(peer.parse().unwrap(), &headers);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }

    #[test]
    fn the_client_by_forwarded() {
        for (lines, client) in [
            (&["for=1.1.1.1"][..], "1.1.1.1"),
            (&["For=\"[2001:db9::5]:4711\";proto=https"], "2001:db9::5"),
            (&["for=6.6.6.6, proto=https;for=1.1.1.1"], "1.1.1.1"),
            (&["for=1.1.1.1", "for=\"10.0.0.2:80\""], "1.1.1.1"),
            (&["for=unknown"], "10.0.0.1"),
            (&["for=_hidden"], "10.0.0.1"),
            (&["proto=https"], "10.0.0.1"),
            (&["for"], "10.0.0.1"),
            (&["for=1.1.1.1;for=2.2.2.2"], "10.0.0.1"),
            (&["for=\"6.6.6.6, for=1.1.1.1"], "1.1.1.1"),
            (&["for=\"x, for=6.6.6.6, for=y\", for=1.1.1.1"], "1.1.1.1"),
            (&["for=\"1.1.1.1"], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED, HeaderValue::from_static(line));
            }
            let found = proxies().client_ip("10.0.0.1".parse().unwrap(), &headers);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{lines:?}");
        }
    }

    #[test]
    fn x_forwarded_for_comes_before_forwarded() {
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED, HeaderValue::from_static("for=6.6.6.6"));
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"));
        let found = proxies().client_ip("10.0.0.1".parse().unwrap(), &headers);
        assert_eq!(found, "1.1.1.1".parse::<IpAddr>().unwrap());
    }

    proptest! {
        /// Whatever a client writes at the left, the entry that a trusted proxy adds at the right is the client.
        #[test]
        fn a_client_cannot_hide_behind_its_own_entries(junk in "[ -~]{0,60}", forwarded in any::<bool>()) {
            let mut headers = HeaderMap::new();
            let (name, ours) = if forwarded { ("forwarded", "for=1.1.1.1") } else { ("x-forwarded-for", "1.1.1.1") };
            headers.append(name, HeaderValue::from_str(&format!("{junk}, {ours}")).unwrap());
            let found = proxies().client_ip("10.0.0.1".parse().unwrap(), &headers);
            prop_assert_eq!(found, "1.1.1.1".parse::<IpAddr>().unwrap());
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = TrustedProxies::parse([text.as_str()]);
            let _ = node_address(text.as_bytes());
            let _ = forwarded_for(text.as_bytes());
        }
    }
}
