//! What a request is for, compared with what its proof says (`htu`: RFC 9449, sections 4.2 and 4.3).

use crate::{path::CanonicalPath, request::RequestView};

/// Whether `htu` is the address of this request: equal once both are normalised (RFC 3986, sections 6.2.2 and 6.2.3), the
/// path by the rules that it is decided by. A query or fragment is passed over.
pub(super) fn is_of(htu: &str, view: &RequestView<'_>) -> bool {
    let Some((scheme, rest)) = htu.split_once("://") else { return false };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = tail.split(['?', '#']).next().unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    let Some(default_port) = default_port(view.scheme) else { return false };
    let is_same_place = match (view.authority, Place::of(authority, default_port)) {
        (Some(own), Some(named)) => Place::of(own, default_port).is_some_and(|own| own.equals(&named)),
        _ => false,
    };
    is_same_place
        && scheme.eq_ignore_ascii_case(view.scheme)
        && CanonicalPath::parse(path).is_ok_and(|path| path.as_str() == view.path.as_str())
}

struct Place<'a> {
    /// Without final dot.
    host: &'a str,
    port: u16,
}

impl<'a> Place<'a> {
    fn of(authority: &'a str, default_port: u16) -> Option<Place<'a>> {
        let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match authority.get(end..)?.find(':') {
            Some(colon) => (authority.get(..end + colon)?, authority.get(end + colon + 1..)?),
            None => (authority, ""),
        };
        let port = match port {
            "" => default_port,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            _ => return None,
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        (!host.is_empty() && !host.contains('@')).then_some(Place { host, port })
    }

    fn equals(&self, other: &Place<'_>) -> bool {
        self.host.eq_ignore_ascii_case(other.host) && self.port == other.port
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::proof::tests::Asked;

    fn is_of(htu: &str, scheme: &'static str, authority: &str, path: &str) -> bool {
        let asked = Asked { scheme, authority: Some(authority.to_owned()), ..Asked::get(path) };
        asked.with_view(|view| super::is_of(htu, view))
    }

    #[test]
    fn other_spellings_of_one_address() {
        for (htu, scheme, authority, path) in [
            ("https://api.example/a", "https", "api.example", "/a"),
            ("HTTPS://API.Example/a", "https", "api.example", "/a"),
            ("https://api.example:443/a", "https", "api.example", "/a"),
            ("https://api.example/a", "https", "API.EXAMPLE:443", "/a"),
            ("https://api.example:/a", "https", "api.example", "/a"),
            ("https://api.example:0443/a", "https", "api.example", "/a"),
            ("http://api.example:80/a", "http", "api.example", "/a"),
            ("https://api.example:8443/a", "https", "api.example:8443", "/a"),
            ("https://api.example./a", "https", "api.example", "/a"),
            ("https://[2001:DB8::1]:443/a", "https", "[2001:db8::1]", "/a"),
            ("https://[::1]/a", "https", "[::1]:443", "/a"),
            ("https://api.example", "https", "api.example", "/"),
            ("https://api.example?x=1", "https", "api.example", "/"),
            ("https://api.example#x", "https", "api.example", "/"),
            ("https://api.example/a?x=/b", "https", "api.example", "/a"),
            ("https://api.example/a#/b?", "https", "api.example", "/a"),
            ("https://api.example/%61", "https", "api.example", "/a"),
            ("https://api.example/a", "https", "api.example", "/%61"),
            ("https://api.example/%c3%a9", "https", "api.example", "/%C3%A9"),
            ("https://api.example/x/../a", "https", "api.example", "/a"),
            ("https://api.example/a", "https", "api.example", "/./a"),
            ("https://api.example/a/", "https", "api.example", "/a/"),
            ("https://api.example/a//b", "https", "api.example", "/a//b"),
        ] {
            assert!(is_of(htu, scheme, authority, path), "{htu} {authority} {path}");
        }
    }

    #[test]
    fn other_addresses() {
        for htu in [
            "",
            "/a",
            "api.example/a",
            "//api.example/a",
            "http://api.example/a",
            "https://api.example:80/a",
            "https://api.example:8443/a",
            "https://api.example:443:443/a",
            "https://api.example:+443/a",
            "https://api.example:65979/a",
            "https://api.example.evil/a",
            "https://evil/api.example/a",
            "https://evil?https://api.example/a",
            "https://user@api.example/a",
            "https://api.example@evil/a",
            "https://evil#@api.example/a",
            "https://api.example\\@evil/a",
            "https://%61pi.example/a",
            " https://api.example/a",
            "https://api.example/a ",
            "https://api.example /a",
            "https:///a",
            "https://:443/a",
            "https://api.example..//a",
            "https://api.example/A",
            "https://api.example/a/",
            "https://api.example//a",
            "https://api.example/a%2F",
            "https://api.example/a%00",
            "https://api.example/%2561",
            "https://api.example/../../a",
            "https://api.example/a;x=1",
            "wss://api.example/a",
        ] {
            assert!(!is_of(htu, "https", "api.example", "/a"), "{htu}");
        }
        assert!(!is_of("https://api.example/a", "https", "", "/a"));
        assert!(!is_of("https://api.example/a", "https", "api.example:x", "/a"));
        assert!(!Asked::get("/a").with_view(|view| super::is_of("http:///a", view)));
    }

    proptest! {
        #[test]
        fn another_path_or_host_is_another_address(host in "[a-z]{1,8}", path in "/[a-zA-Z0-9/._~-]{0,12}", htu in "\\PC{0,40}") {
            let _ = is_of(&htu, "https", &host, "/a");
            if let Ok(canonical) = CanonicalPath::parse(&path) {
                let same = host == "api" && canonical.as_str() == "/a";
                prop_assert_eq!(is_of(&format!("https://{host}{path}"), "https", "api", "/a"), same);
            }
        }
    }
}
