//! Tokens where they may be, and beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::{path::CanonicalPath, trace::Span};

fn with<T>(method: Method, query: Option<&str>, fields: &[(&str, &str)], ask: impl FnOnce(&RequestView<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    ask(&RequestView {
        listener: 0,
        method: &method,
        scheme: "http",
        host: Some("api.example"),
        path: &CanonicalPath::parse("/").unwrap(),
        query,
        headers: &headers,
        client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        trusted_peer: false,
        authority: None,
        certificate: None,
        span: &Span::none(),
    })
}

fn all() -> TokenPlaces {
    TokenPlaces::new(vec![
        TokenPlace::Authorization,
        TokenPlace::Query("access_token".to_owned()),
        TokenPlace::Cookie("session".to_owned()),
        TokenPlace::Header(HeaderName::from_static("x-api-token")),
    ])
}

/// "T", "none", "bad".
fn taken(method: Method, query: Option<&str>, fields: &[(&str, &str)]) -> String {
    with(method, query, fields, |view| match all().credential(view, 100) {
        Ok(credential) => credential.expose().to_owned(),
        Err(Refusal::NoCredential) => "none".to_owned(),
        Err(Refusal::Credential(_)) => "bad".to_owned(),
        Err(other) => panic!("{other:?}"),
    })
}

#[test]
fn a_token_is_in_one_place() {
    for (query, fields, expected) in [
        (None, &[][..], "none"),
        (None, &[("authorization", "Bearer T")], "T"),
        (Some("access_token=T"), &[], "T"),
        (Some("a=1&access_token=T&b"), &[], "T"),
        (Some("access%5Ftoken=T"), &[], "T"),
        (Some("access_token=%54%2Bx%3D"), &[], "T+x="),
        (None, &[("cookie", "a=b; session=T; c")], "T"),
        (None, &[("cookie", "a=b"), ("cookie", "session = T ")], "T"),
        (None, &[("x-api-token", "T")], "T"),
        // Another scheme is no token.
        (Some("access_token=T"), &[("authorization", "Basic T")], "T"),
        (None, &[("authorization", "Basic T")], "none"),
        // Two places.
        (Some("access_token=T"), &[("authorization", "Bearer T")], "bad"),
        (Some("access_token=T"), &[("cookie", "session=T")], "bad"),
        (None, &[("cookie", "session=T"), ("x-api-token", "T")], "bad"),
        (None, &[("authorization", "Bearer T"), ("x-api-token", "T")], "bad"),
        (Some("access_token="), &[("authorization", "Bearer T")], "bad"),
        // Twice in one place, as some server may see it.
        (Some("access_token=T&access_token=T"), &[], "bad"),
        (Some("access_token=T&ACCESS_TOKEN=U"), &[], "bad"),
        (Some("access_token=T&access_token[]=U"), &[], "bad"),
        (Some("access_token=T&x=1;access_token=U"), &[], "bad"),
        (None, &[("cookie", "session=T; session=U")], "bad"),
        (None, &[("cookie", "session=T"), ("cookie", "session=U")], "bad"),
        (None, &[("x-api-token", "T"), ("x-api-token", "T")], "bad"),
        (None, &[("x-api-token", "T"), ("x_api_token", "U")], "bad"),
        (None, &[("x-api-token", "T"), ("xapitoken", "U")], "bad"),
        (None, &[("authorization", "Bearer T"), ("authorization", "Basic x")], "bad"),
        // Other names alone are none.
        (Some("ACCESS_TOKEN=T"), &[], "none"),
        (Some("access_token[]=T&x"), &[], "none"),
        (Some("x=1;access_token=T"), &[], "none"),
        (None, &[("x_api_token", "T")], "none"),
        (None, &[("cookie", "Session=T; sessions=T; asession=T; x=session=T")], "none"),
        // Malformed.
        (Some("access_token"), &[], "bad"),
        (Some("access_token=T U"), &[], "bad"),
        (Some("access_token=T+U"), &[], "bad"),
        (Some("access_token=%ff"), &[], "bad"),
        (Some("access_token=Bearer%20T"), &[], "bad"),
        (None, &[("cookie", "session=")], "bad"),
        (None, &[("cookie", "session=\"T\"")], "bad"),
        (None, &[("x-api-token", "Bearer T")], "bad"),
        (None, &[("x-api-token", "")], "bad"),
    ] {
        assert_eq!(taken(Method::GET, query, fields), expected, "{query:?} {fields:?}");
    }
}

#[test]
fn a_cookie_counts_where_no_other_site_can_have_sent_it() {
    let ask = |method: Method, fields: &[(&str, &str)]| {
        let fields = [&[("cookie", "session=T"), ("host", "api.example:8443")], fields].concat();
        taken(method, None, &fields)
    };
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        assert_eq!(ask(method.clone(), &[]), "T");
        assert_eq!(ask(method, &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")]), "T");
    }
    for (fields, expected) in [
        (&[][..], "none"),
        (&[("sec-fetch-site", "same-origin")], "T"),
        (&[("sec-fetch-site", "same-site")], "T"),
        (&[("sec-fetch-site", "none")], "T"),
        (&[("sec-fetch-site", "cross-site")], "none"),
        (&[("sec-fetch-site", "Same-Origin")], "none"),
        (&[("sec-fetch-site", "")], "none"),
        (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], "none"),
        (&[("origin", "https://api.example:8443")], "T"),
        (&[("origin", "http://API.example:8443")], "T"),
        (&[("origin", "https://api.example")], "none"),
        (&[("origin", "https://api.example:8444")], "none"),
        (&[("origin", "https://evil.example")], "none"),
        (&[("origin", "https://api.example:8443.evil.example")], "none"),
        (&[("origin", "https://evil.example/api.example:8443")], "none"),
        (&[("origin", "null")], "none"),
        (&[("origin", "api.example:8443")], "none"),
        (&[("origin", "https://")], "none"),
        (&[("origin", "https://api.example:8443"), ("origin", "https://evil.example")], "none"),
    ] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::from_bytes(b"get").unwrap()] {
            assert_eq!(ask(method, fields), expected, "{fields:?}");
        }
    }
    // A WebSocket's messages can be read by the site that opened it, whichever that is.
    for (fields, expected) in [
        (&[][..], "T"),
        (&[("origin", "https://api.example:8443")], "T"),
        (&[("sec-fetch-site", "same-origin"), ("origin", "https://api.example:8443")], "T"),
        (&[("sec-fetch-site", "same-site"), ("origin", "https://app.example")], "T"),
        (&[("origin", "https://evil.example")], "none"),
        (&[("origin", "null")], "none"),
        (&[("sec-fetch-site", "cross-site")], "none"),
        (&[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")], "none"),
        (&[("origin", "https://api.example:8443"), ("origin", "https://evil.example")], "none"),
    ] {
        let fields = [&[("connection", "upgrade"), ("upgrade", "websocket")], fields].concat();
        assert_eq!(ask(Method::GET, &fields), expected, "{fields:?}");
    }
    let by_default_port = [("cookie", "session=T"), ("host", "api.example"), ("origin", "https://api.example:443")];
    assert_eq!(taken(Method::POST, None, &by_default_port), "T");
    // One that doesn't count isn't a second one either.
    let beside = [("cookie", "session=T"), ("authorization", "Bearer U")];
    assert_eq!(taken(Method::POST, None, &beside), "U");
}

#[test]
fn nothing_of_it_goes_on() {
    for (query, left) in [
        (None, None),
        (Some(""), Some("")),
        (Some("a=%2f&&b"), Some("a=%2f&&b")),
        (Some("access_token=T"), None),
        (Some("a=1&access_token=T&b=%zz"), Some("a=1&b=%zz")),
        (Some("access_token=T&a=1&"), Some("a=1&")),
        (Some("%61ccess_token=T&Access_Token[x]=T&a=1;access_token=T&c"), Some("c")),
        (Some("access_tokens=T&xaccess_token=T"), Some("access_tokens=T&xaccess_token=T")),
    ] {
        assert_eq!(all().strip_query(query).as_deref(), left, "{query:?}");
    }
    let fields = [
        ("authorization", "Bearer T"),
        ("cookie", "a=b;  session=T; c=\"d\""),
        ("cookie", "session=T"),
        ("cookie", "e=f"),
        ("x-api-token", "T"),
        ("X_Api_Token", "T"),
        ("x-api-tokens", "kept"),
    ];
    let left = |places: TokenPlaces| {
        with(Method::POST, None, &fields, |view| {
            let mut headers = view.headers.clone();
            places.strip(&mut headers);
            let mut left =
                headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect::<Vec<_>>();
            left.sort();
            left
        })
    };
    assert_eq!(left(all()), ["authorization: Bearer T", "cookie: a=b; c=\"d\"", "cookie: e=f", "x-api-tokens: kept"]);
    assert_eq!(left(TokenPlaces::default()).len(), fields.len());
    let without = left(TokenPlaces::new(vec![TokenPlace::Query("t".to_owned())]));
    assert!(!without.iter().any(|field| field.starts_with("authorization")), "{without:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What was taken is gone, and what is left holds no second one.
    #[test]
    fn what_is_taken_is_not_left(query in "([ast]{0,2}(access_token|ACCESS_TOKEN|%61ccess_token|a)(=[A-Z;%&]{0,4})?&?){0,4}", cookies in "((session|Session| session|a)(=[A-Z]{0,3})?[; ]{0,2}){0,4}") {
        let places = all();
        let left = places.strip_query(Some(&query));
        let left = left.as_deref();
        prop_assert!(matches!(in_query(left, "access_token"), Ok(None)), "{:?}", left);
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, cookies.parse().unwrap());
        places.strip(&mut headers);
        prop_assert!(matches!(in_cookies(&headers, "session"), Ok(None)), "{:?}", headers);
    }
}
