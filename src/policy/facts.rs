//! What a rule can ask about: the principal, and single values of the request.

use std::{borrow::Cow, net::IpAddr, ops::Range};

use hyper::{HeaderMap, Method, header::HeaderName};

use crate::{
    identity,
    query::{Piece, compare, decode},
    token::principal::Principal,
};

/// All that conditions are judged by: one reading of one request, on one route, with one principal.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    /// Who asks.
    pub principal: &'f Principal,
    /// The method, as sent.
    pub method: &'f Method,
    /// Lower-case, without port and final dot.
    pub host: Option<&'f str>,
    /// `http` or `https`, as far as trusted proxies tell.
    pub scheme: &'f str,
    /// Who asks, as far as trusted proxies tell.
    pub client_ip: IpAddr,
    /// The path in the reading that is judged, canonical.
    pub path: &'f str,
    /// Which of the route's paths led here: an index into `RouteSettings::paths`.
    pub template: usize,
    /// Where that path's parameters are in `path`.
    pub params: &'f [Range<usize>],
    /// The query, byte for byte, without the question mark.
    pub query: Option<&'f str>,
    /// The fields of the head without those that no client may send.
    pub headers: &'f HeaderMap,
    /// Unix seconds.
    pub now: i64,
}

impl<'f> Facts<'f> {
    /// A parameter of the path by its place, decoded once.
    pub(super) fn param(&self, place: usize) -> Option<Cow<'f, str>> {
        let range = self.params.get(place)?.clone();
        decode(self.path.get(range)?, false)
    }

    /// The only value that a query has under this name, decoded as a form field. None where it isn't there, is there
    /// more than once, or where some server could find another value: under the name in another case or with brackets,
    /// or by taking a semicolon for a separator.
    pub(super) fn query(&self, name: &str) -> Option<Cow<'f, str>> {
        let mut found = None;
        for piece in self.query?.split('&') {
            match compare(piece, name) {
                Piece::Other => {}
                Piece::Named(value) if found.is_none() => found = Some(value),
                Piece::Named(_) | Piece::Alike => return None,
            }
        }
        decode(found?, true)
    }

    /// The only value of a header. None where it isn't there, is there more than once or under an alias, or isn't ASCII.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&'f str> {
        if self.headers.keys().any(|other| other != name && identity::is_alias(other.as_str(), name.as_str())) {
            return None;
        }
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn with<T>(query: Option<&str>, headers: &[(&str, &str)], ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let principal = Principal::for_test(&[], &[]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        ask(&Facts {
            principal: &principal,
            method: &Method::GET,
            host: None,
            scheme: "http",
            client_ip: [192, 0, 2, 7].into(),
            path: "/a%20b/%252F+",
            template: 0,
            params: &[1..6, 7..13],
            query,
            headers: &map,
            now: 0,
        })
    }

    #[test]
    fn params_are_decoded_once() {
        with(None, &[], |facts| {
            assert_eq!(facts.param(0).as_deref(), Some("a b"));
            assert_eq!(facts.param(1).as_deref(), Some("%2F+"));
            assert_eq!(facts.param(2), None);
        });
    }

    #[test]
    fn a_query_has_one_value_or_none() {
        for (query, value) in [
            (Some("t=acme"), Some("acme")),
            (Some("x=1&t=acme&y"), Some("acme")),
            (Some("t=a+b%20c%2Bd"), Some("a b c+d")),
            (Some("%74=acme"), Some("acme")),
            (Some("t"), Some("")),
            (Some("t=a=b"), Some("a=b")),
            (Some("t=100%"), Some("100%")),
            (Some("tt=1&xt=2&t=acme&t.x=3"), Some("acme")),
            (Some("x=1;y=2&t=acme"), Some("acme")),
            (Some("t=a%3Bb"), Some("a;b")),
            (None, None),
            (Some(""), None),
            (Some("x=t"), None),
            (Some("t=acme&t=acme"), None),
            (Some("t=acme&t"), None),
            (Some("t=acme&T=evil"), None),
            (Some("T=acme"), None),
            (Some("t=acme&t[]=evil"), None),
            (Some("t=acme&t%5B%5D=evil"), None),
            (Some("t=acme&T[x]=evil"), None),
            (Some("t[]=acme"), None),
            (Some("t=acme&%54=evil"), None),
            (Some("t=acme&+t=evil"), None),
            (Some("t=acme;t=evil"), None),
            (Some("t=acme;x"), None),
            (Some("x=1;t=acme"), None),
            (Some("t=acme&x=1;t=evil"), None),
            (Some("t=%ff"), None),
        ] {
            with(query, &[], |facts| assert_eq!(facts.query("t").as_deref(), value, "{query:?}"));
        }
    }

    #[test]
    fn a_header_has_one_value_or_none() {
        let name = HeaderName::from_static("x-tenant");
        for (headers, value) in [
            (&[("X-Tenant", "acme")][..], Some("acme")),
            (&[("x-tenant", "acme"), ("x-tenants", "b")], Some("acme")),
            (&[], None),
            (&[("x-tenant", "acme"), ("x-tenant", "acme")], None),
            (&[("x-tenant", "acme"), ("x_tenant", "evil")], None),
            (&[("x_tenant", "acme")], None),
            (&[("x-tenant", "acme"), ("XTenant", "evil")], None),
            (&[("x-tenant", "\u{e9}")], None),
        ] {
            with(None, headers, |facts| assert_eq!(facts.header(&name), value, "{headers:?}"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A second field of the name, however it is written, leaves no value.
        #[test]
        fn a_second_one_is_never_overlooked(
            before in "[a-z=&%;0-9+]{0,12}", between in "[a-z=&%;0-9+]{0,12}",
            second in prop::sample::select(vec!["t", "T", "%74", "%54", "t[]", "t%5b0%5d", "T[a]"]),
        ) {
            let query = format!("{before}&t=mine&{between}&{second}=other");
            with(Some(&query), &[], |facts| {
                prop_assert_eq!(facts.query("t"), None, "{}", query);
                Ok(())
            })?;
        }
    }
}
