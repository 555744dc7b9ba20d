//! URLs of upstreams and of issuers' endpoints.

use std::net::IpAddr;

use hyper::Uri;

/// An absolute http or https URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpUrl {
    pub(super) tls: bool,
    /// Name or address; IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Begins with a slash.
    pub(super) path: String,
    pub(super) query: Option<String>,
}

impl HttpUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong, in words that hold nothing of the URL.
    pub(super) fn parse(text: &str) -> Result<HttpUrl, &'static str> {
        const FORM: &str = "this is not a URL; it begins with `http://` or `https://`, then a host";
        if text.starts_with("unix:") {
            return Err("a Unix socket can't be here; this is a URL with `http://` or `https://`");
        }
        if text.contains('#') {
            return Err("a URL without a fragment (`#…`) is expected");
        }
        let uri = text.parse::<Uri>().map_err(|_| FORM)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(FORM),
        };
        let authority = uri.authority().ok_or(FORM)?;
        if authority.as_str().contains('@') {
            return Err("user and password in a URL are not supported");
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => port
                .strip_prefix(':')
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|port| *port != 0)
                .ok_or("the port is a number from 1 to 65535")?,
            None => return Err(FORM),
        };
        Ok(HttpUrl {
            tls,
            host: host(authority.host()).ok_or("the host is neither a name nor an address")?,
            port,
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    /// Whether it can only lead to this machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

fn host(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return inner.parse::<std::net::Ipv6Addr>().ok().map(|_| inner.to_owned());
    }
    let good = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    good.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls() {
        let url = HttpUrl::parse("http://[::1]:9000/a?b").unwrap();
        assert_eq!(
            (url.tls, &*url.host, url.port, &*url.path, url.query.as_deref()),
            (false, "::1", 9000, "/a", Some("b"))
        );
        assert_eq!(HttpUrl::parse("https://H.example").unwrap().port, 443);
        assert_eq!(HttpUrl::parse("https://H.example").unwrap().host, "h.example");
        let bad = [
            "",
            "h",
            "h:80",
            "//h",
            "/a",
            "ftp://h",
            "http://",
            "http:///a",
            "http://u@h",
            "http://u:p@h",
            "http://h:0",
            "http://h:99999",
            "http://h:",
            "http://h:+80",
            "http://h:80:81",
            "http://h#f",
            "http://h/a b",
            "http://é",
            "http://[::1",
            "http://[x]",
            "http://a%2e",
            "http://h\\a",
            "unix:/a",
            " http://h",
            "http://a,b",
        ];
        for text in bad {
            assert!(HttpUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn loopback() {
        for (url, yes) in [
            ("http://127.0.0.1", true),
            ("http://127.9.9.9:1", true),
            ("http://[::1]", true),
            ("http://LOCALHOST", true),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://0.0.0.0", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(HttpUrl::parse(url).unwrap().is_loopback(), yes, "{url}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(https?://)?[a-z0-9@:\\[\\]/?#%.\\\\-]{0,30}") {
            let _ = HttpUrl::parse(&text);
        }
    }
}
