//! Header fields between client and upstream: hop-by-hop, forwarding, correlation.

mod caching;
mod changes;
mod correlation;
mod traceparent;
mod trailers;
mod trusted;

use std::{io::Write as _, net::IpAddr};

use hyper::{
    HeaderMap, Version,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
    },
};

pub use caching::make_private;
pub use changes::{HeaderChanges, HeaderRules};
pub use correlation::{RequestId, request_id};
pub use traceparent::{SampledShare, SpanId, TraceContext, TraceId};
pub use trailers::clean_answer_trailers;
pub use trusted::TrustedProxies;

/// The proof that a request brings (RFC 9449, section 4.1): a part of its credential.
pub const DPOP: HeaderName = HeaderName::from_static("dpop");
/// Of `Upgrade: h2c` (RFC 7540, section 3.2.1), which never goes on.
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Removes hop-by-hop fields and whatever the lines of `Connection` name (RFC 9110, section 7.6.1), save
/// `Authorization`, `DPoP`, `Host` and `Content-Length`. For requests and responses. `TE: trailers` stays on requests.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // One look at all that there are, since there is seldom one of these among them.
    let (mut has_connection, mut has_others) = (false, false);
    for name in headers.keys() {
        match *name {
            CONNECTION => has_connection = true,
            TE | PROXY_AUTHENTICATE | PROXY_AUTHORIZATION | TRANSFER_ENCODING | UPGRADE => has_others = true,
            _ => has_others |= *name == KEEP_ALIVE || *name == PROXY_CONNECTION || *name == HTTP2_SETTINGS,
        }
    }
    if has_connection {
        remove_connection(headers);
    }
    if has_others {
        keep_te_trailers(headers);
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
    }
}

static HOP_BY_HOP: [HeaderName; 7] =
    [HTTP2_SETTINGS, KEEP_ALIVE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE];

/// `HeaderMap::remove` would hand out the first line of `Connection` and drop the others unread, so all are taken
/// before anything is removed.
fn remove_connection(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(CONNECTION).iter();
    let Some(first) = lines.next() else { return };
    let alone = lines.next().is_none();
    if alone
        && (first.as_bytes().eq_ignore_ascii_case(b"keep-alive") || first.as_bytes().eq_ignore_ascii_case(b"close"))
    {
        headers.remove(CONNECTION);
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    headers.remove(CONNECTION);
    for option in lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
        match HeaderName::from_bytes(option.trim_ascii()) {
            // TE has its own rule, and is the one field that must be named here to be heard.
            Ok(AUTHORIZATION | HOST | CONTENT_LENGTH | TE) | Err(_) => {}
            Ok(named) if named == DPOP => {}
            Ok(named) => {
                headers.remove(named);
            }
        }
    }
}

fn keep_te_trailers(headers: &mut HeaderMap) {
    if !headers.contains_key(TE) {
        return;
    }
    let trailers = headers
        .get_all(TE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

/// Adds `X-Forwarded-For`, `-Proto`, `-Host` and `Via`. From a trusted peer the first is appended to and the others
/// stay as they came; from another all are written anew.
/// `via`: what the request came in (RFC 9110, section 7.6.3), and who we are.
pub fn add_forwarding(
    headers: &mut HeaderMap,
    peer: IpAddr,
    trusted_peer: bool,
    scheme: &str,
    host: Option<HeaderValue>,
    via: HeaderValue,
) {
    add_forwarded_for(headers, peer, trusted_peer);
    if !trusted_peer || !headers.contains_key(X_FORWARDED_PROTO) {
        set(headers, X_FORWARDED_PROTO, scheme_value(scheme));
    }
    if !trusted_peer || !headers.contains_key(X_FORWARDED_HOST) {
        set(headers, X_FORWARDED_HOST, host);
    }
    headers.append(VIA, via);
}

/// What a request of this version gets as its `Via`.
pub fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2.0 bearward",
        Version::HTTP_10 => "1.0 bearward",
        _ => "1.1 bearward",
    })
}

/// The scheme that the client used: what a trusted peer says in its one `X-Forwarded-Proto`, else the connection's own. What a
/// trusted peer says unclearly counts as `http`.
pub fn client_scheme(headers: &HeaderMap, trusted_peer: bool, connection: &'static str) -> &'static str {
    if !trusted_peer {
        return connection;
    }
    let mut lines = headers.get_all(X_FORWARDED_PROTO).iter();
    match (lines.next(), lines.next()) {
        (None, _) => connection,
        (Some(said), None) if said.as_bytes().eq_ignore_ascii_case(b"https") => "https",
        _ => "http",
    }
}

/// All lines become one, the peer at its end.
fn add_forwarded_for(headers: &mut HeaderMap, peer: IpAddr, trusted_peer: bool) {
    if !trusted_peer {
        return set(headers, X_FORWARDED_FOR, address_value(peer.to_canonical()));
    }
    let mut chain = Vec::new();
    for line in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(line.as_bytes());
        chain.extend_from_slice(b", ");
    }
    // Writing to a Vec can't fail.
    let _ = write!(chain, "{}", peer.to_canonical());
    set(headers, X_FORWARDED_FOR, HeaderValue::try_from(chain).ok());
}

fn address_value(address: IpAddr) -> Option<HeaderValue> {
    /// The longest that there is, with an IPv4 address in its end.
    const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();
    let mut text = [0; LONGEST];
    let mut rest = &mut text[..];
    match address {
        // Most of them: without the machinery of formatting.
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
                let zeros = if octet < 10 { 2 } else { usize::from(octet < 100) };
                rest.write_all(if place > 0 { b"." } else { b"" }).ok()?;
                rest.write_all(digits.get(zeros..)?).ok()?;
            }
        }
        IpAddr::V6(address) => write!(rest, "{address}").ok()?,
    }
    let left = rest.len();
    HeaderValue::from_bytes(text.get(..LONGEST - left)?).ok()
}

fn scheme_value(scheme: &str) -> Option<HeaderValue> {
    match scheme {
        "http" => Some(HeaderValue::from_static("http")),
        "https" => Some(HeaderValue::from_static("https")),
        other => HeaderValue::from_str(other).ok(),
    }
}

/// Replaces all lines of a field; None takes the field away.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => {
            headers.insert(name, value);
        }
        None => {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_fields_go() {
        let mut headers = map(&[
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("proxy-authorization", "Basic x"),
            ("proxy-authenticate", "Basic"),
            ("te", "gzip"),
            ("trailer", "x-checksum"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["accept", "trailer"]);
    }

    #[test]
    fn every_line_of_connection_is_read() {
        let mut headers = map(&[
            ("connection", "close"),
            ("connection", "X-One , x-two"),
            ("connection", "\tX-THREE,,"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-two", "2 again"),
            ("x-three", "3"),
            ("x-four", "4"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["x-four"]);
    }

    #[test]
    fn connection_cannot_take_away_what_decides_or_frames() {
        let mut headers = map(&[
            ("connection", "authorization, HOST, Content-Length, DPoP, x-auth-subject"),
            ("authorization", "Bearer t"),
            ("dpop", "p"),
            ("host", "h"),
            ("content-length", "3"),
            ("x-auth-subject", "me"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["authorization", "content-length", "dpop", "host"]);
    }

    #[test]
    fn connection_with_nonsense_is_survived() {
        let mut headers = map(&[("connection", "\u{e9}, =, \"x-a, x-b\", x-c;q=1, x-d"), ("x-d", "1"), ("x-c", "1")]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["x-c"]);
    }

    #[test]
    fn te_says_trailers_or_nothing() {
        for (lines, left) in [
            (&["trailers"][..], Some("trailers")),
            (&["gzip;q=0.5, Trailers"], Some("trailers")),
            (&["deflate", "trailers"], Some("trailers")),
            (&["chunked"], None),
            (&["xtrailers"], None),
            (&[""], None),
        ] {
            for connection in ["te", "close"] {
                let mut headers = map(&[("connection", connection)]);
                for line in lines {
                    headers.append(TE, HeaderValue::from_static(line));
                }
                remove_hop_by_hop(&mut headers);
                assert_eq!(headers.get(TE).map(|value| value.to_str().unwrap()), left, "{lines:?}");
                assert!(headers.get_all(TE).iter().count() <= 1);
            }
        }
    }

    #[test]
    fn an_untrusted_peer_is_described_anew() {
        let mut headers = map(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-host", "evil again"),
            ("via", "1.0 other"),
        ]);
        add_forwarding(
            &mut headers,
            "::ffff:192.0.2.7".parse().unwrap(),
            false,
            "http",
            Some(HeaderValue::from_static("api:8080")),
            via(Version::HTTP_11),
        );
        let all =
            |name: &str| -> Vec<&str> { headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect() };
        assert_eq!(all("x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(all("x-forwarded-proto"), ["http"]);
        assert_eq!(all("x-forwarded-host"), ["api:8080"]);
        assert_eq!(all("via"), ["1.0 other", "1.1 bearward"]);
    }

    #[test]
    fn the_clients_scheme_is_what_a_trusted_peer_says_clearly() {
        for (said, trusted, untrusted) in [
            (&[][..], "https", "https"),
            (&["https"], "https", "https"),
            (&["HTTPS"], "https", "https"),
            (&["http"], "http", "https"),
            (&["https, http"], "http", "https"),
            (&["https", "https"], "http", "https"),
            (&[""], "http", "https"),
        ] {
            let mut headers = HeaderMap::new();
            for line in said {
                headers.append(X_FORWARDED_PROTO, HeaderValue::from_static(line));
            }
            assert_eq!(
                [true, false].map(|peer| client_scheme(&headers, peer, "https")),
                [trusted, untrusted],
                "{said:?}"
            );
        }
        assert_eq!(client_scheme(&HeaderMap::new(), true, "http"), "http");
    }

    #[test]
    fn a_trusted_peer_is_added_to_the_chain() {
        let mut headers = map(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7, 8.8.8.8"),
            ("x-forwarded-proto", "https"),
        ]);
        add_forwarding(
            &mut headers,
            "10.0.0.1".parse().unwrap(),
            true,
            "http",
            Some(HeaderValue::from_static("api")),
            via(Version::HTTP_11),
        );
        assert_eq!(headers["x-forwarded-for"], "6.6.6.6, 7.7.7.7, 8.8.8.8, 10.0.0.1");
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "api");
    }

    #[test]
    fn a_host_that_is_absent_leaves_none_of_the_clients() {
        let mut headers = map(&[("x-forwarded-host", "evil")]);
        add_forwarding(&mut headers, "10.0.0.1".parse().unwrap(), false, "https", None, via(Version::HTTP_11));
        assert!(!headers.contains_key("x-forwarded-host"));
    }

    #[test]
    fn every_address_has_its_value() {
        for address in [
            "0.0.0.0",
            "255.255.255.255",
            "1.10.100.9",
            "99.19.199.200",
            "::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "64:ff9b::255.255.255.255",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(address_value(address).unwrap(), address.to_string());
        }
    }

    proptest! {
        #[test]
        fn whatever_connection_says_the_protected_stay(
            lines in proptest::collection::vec("[ -~\\t]{0,40}", 0..5),
        ) {
            let mut headers = map(&[
                ("authorization", "Bearer t"), ("host", "h"), ("content-length", "3"),
                ("upgrade", "h2c"), ("transfer-encoding", "chunked"),
            ]);
            for line in &lines {
                headers.append(CONNECTION, HeaderValue::from_str(line).unwrap());
            }
            remove_hop_by_hop(&mut headers);
            prop_assert_eq!(names(&headers), ["authorization", "content-length", "host"]);
        }
    }
}
