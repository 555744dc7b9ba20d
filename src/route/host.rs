//! The hosts that a route is for.

use std::{fmt, net::Ipv6Addr};

/// A host that a route is for: lower-case, without port and final dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// `*.example.org`: the text after the star, with its dot (`.example.org`). At least one label stands for the star.
    Suffix(String),
}

/// RFC 1035, section 2.3.4.
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

impl HostPattern {
    /// Reads `api.example.com` or `*.example.org`.
    ///
    /// # Errors
    /// What is wrong, in words for the configuration's author.
    pub fn parse(text: &str) -> Result<HostPattern, String> {
        let lower = text.to_ascii_lowercase();
        if lower == "*" {
            return Err("`*` is not a host: leave `hosts` out for any host".to_owned());
        }
        if let Some(address) = lower.strip_prefix('[') {
            return ipv6(text, address);
        }
        match lower.strip_prefix('*') {
            Some(suffix) => {
                let Some(name) = suffix.strip_prefix('.') else {
                    return Err(format!("`*` in `{text}` stands for whole labels: write `*.` and a domain"));
                };
                check_name(text, name)?;
                Ok(HostPattern::Suffix(suffix.to_owned()))
            }
            None => {
                check_name(text, &lower)?;
                Ok(HostPattern::Exact(lower))
            }
        }
    }

    /// Whether this host, in the form that a request's host is made to have, is meant.
    pub fn fits(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(exact) => host == exact,
            HostPattern::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }

    /// Of two patterns that fit a host, the one with the higher rank is for it. Any host, where nothing is said, has 0.
    pub fn rank(&self) -> usize {
        match self {
            HostPattern::Exact(_) => usize::MAX,
            HostPattern::Suffix(suffix) => suffix.len(),
        }
    }

    /// Whether there is a host that both fit.
    pub fn overlaps(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (HostPattern::Exact(host), pattern) | (pattern, HostPattern::Exact(host)) => pattern.fits(host),
            (HostPattern::Suffix(one), HostPattern::Suffix(two)) => one.ends_with(two) || two.ends_with(one),
        }
    }
}

impl fmt::Display for HostPattern {
    /// As it was written, in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// RFC 3986, section 3.2.2. Written in another way it would never equal a request's host.
fn ipv6(text: &str, after_bracket: &str) -> Result<HostPattern, String> {
    let Some(address) = after_bracket.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok()) else {
        return Err(format!("`{text}` is not an IPv6 address in square brackets, without a port"));
    };
    let shortest = format!("[{address}]");
    if shortest != format!("[{after_bracket}") {
        return Err(format!("the IPv6 address `{text}` has a shorter form: write `{shortest}`"));
    }
    Ok(HostPattern::Exact(shortest))
}

fn check_name(text: &str, name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("the host `{text}` has no name: write one like `api.example.com`"));
    }
    if name.contains("://") || name.contains('/') {
        return Err(format!("`{text}` is more than a host: write the name alone, like `api.example.com`"));
    }
    if name.contains(':') {
        return Err(format!("the host `{text}` has a port: leave it out, a request's port is ignored"));
    }
    if name.contains('*') {
        return Err(format!("`*` in `{text}` is only understood at the beginning, like `*.example.org`"));
    }
    if !name.is_ascii() {
        return Err(format!("the host `{text}` is not ASCII: write its A-label, which begins with `xn--`"));
    }
    if name.ends_with('.') {
        return Err(format!("the host `{text}` ends with a dot: leave the dot out"));
    }
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    if let Some(other) =
        name.chars().find(|character| *character != '.' && !u8::try_from(*character).is_ok_and(allowed))
    {
        return Err(format!("`{}` cannot be in a host: `{text}`", other.escape_default()));
    }
    if name.len() > MAX_HOST || name.split('.').any(|label| label.is_empty() || label.len() > MAX_LABEL) {
        return Err(format!("the host `{text}` has an empty or over-long label"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns() {
        let exact = |host: &str| Ok(HostPattern::Exact(host.to_owned()));
        let suffix = |host: &str| Ok(HostPattern::Suffix(host.to_owned()));
        let cases = [
            ("api.example.com", exact("api.example.com")),
            ("API.Example.COM", exact("api.example.com")),
            ("localhost", exact("localhost")),
            ("127.0.0.1", exact("127.0.0.1")),
            ("[::1]", exact("[::1]")),
            ("[2001:DB8::1]", exact("[2001:db8::1]")),
            ("my_service.ns.svc", exact("my_service.ns.svc")),
            ("xn--caf-dma.example", exact("xn--caf-dma.example")),
            ("*.example.org", suffix(".example.org")),
            ("*.Example.ORG", suffix(".example.org")),
            ("*.org", suffix(".org")),
        ];
        for (text, expected) in cases {
            assert_eq!(HostPattern::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn refused_with_a_hint() {
        let cases = [
            ("", "has no name"),
            ("*", "leave `hosts` out"),
            ("*.", "has no name"),
            ("*example.org", "whole labels"),
            ("api.*.org", "only understood at the beginning"),
            ("*.*.org", "only understood at the beginning"),
            ("api.example.com:8080", "leave it out"),
            ("*.example.com:443", "leave it out"),
            ("https://api.example.com", "the name alone"),
            ("api.example.com/x", "the name alone"),
            ("api.example.com.", "leave the dot out"),
            ("api..example.com", "empty or over-long"),
            (".example.com", "empty or over-long"),
            ("café.example", "xn--"),
            ("a b", "cannot be in a host"),
            ("a@b", "cannot be in a host"),
            ("::1", "has a port"),
            ("[::1]:80", "square brackets"),
            ("[0:0::1]", "write `[::1]`"),
            ("[x]", "square brackets"),
        ];
        for (text, part) in cases {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        assert!(HostPattern::parse(&"a".repeat(64)).is_err());
        assert!(HostPattern::parse(&["a"; 200].join(".")).is_err());
    }

    #[test]
    fn a_star_is_one_label_at_least() {
        let pattern = HostPattern::parse("*.example.org").unwrap();
        assert!(pattern.fits("a.example.org") && pattern.fits("a.b.example.org"));
        for host in ["example.org", ".example.org", "aexample.org", "a.example.org.evil.test", ""] {
            assert!(!pattern.fits(host), "{host:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn never_panics(text in "\\PC*", close in "[*a-z.:\\[\\]]{0,12}") {
            for text in [text, close] {
                if let Ok(HostPattern::Exact(host) | HostPattern::Suffix(host)) = HostPattern::parse(&text) {
                    prop_assert_eq!(host.to_ascii_lowercase(), host.clone());
                    prop_assert!(!host.ends_with('.') && !host.contains('*'));
                }
            }
        }
    }
}
