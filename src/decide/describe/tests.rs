#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::Ipv4Addr;

use proptest::prelude::*;
use prost::Message as _;

use super::{
    super::messages::{Address, AttributeContext, HeaderLine, HeaderLines, Peer, Request, SocketAddress},
    *,
};

type Lines<'l> = &'l [(&'l str, &'l str)];

fn arrival() -> Arrival {
    Arrival::for_test(Ipv4Addr::LOCALHOST.into())
}

fn check(lines: Lines<'_>) -> request::Parts {
    let mut request = hyper::Request::builder().uri("/check").header(HOST, "bearward:9191").body(()).unwrap();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.into_parts().0
}

/// Method, scheme, host and target.
fn read(from: RequestFrom, lines: Lines<'_>) -> Result<String, Refusal> {
    from_fields(from, &check(lines), &arrival()).map(|Described { head, arrival, .. }| {
        format!("{} {}://{}{}", head.method, arrival.scheme, requests::host(&head).unwrap(), head.uri)
    })
}

const METHOD: (&str, &str) = ("X-Forwarded-Method", "POST");
const PROTO: (&str, &str) = ("X-Forwarded-Proto", "https");
const AT: (&str, &str) = ("X-Forwarded-Host", "API.example:8443");
const URI: (&str, &str) = ("X-Forwarded-Uri", "/a/%31?b=c&d");

#[test]
fn by_x_forwarded() {
    let from = RequestFrom::XForwarded;
    assert_eq!(read(from, &[METHOD, PROTO, AT, URI]).unwrap(), "POST https://api.example/a/%31?b=c&d");
    for scheme in ["HTTPS", "wss", "Wss"] {
        let read = read(from, &[METHOD, ("X-Forwarded-Proto", scheme), AT, URI]).unwrap();
        assert!(read.starts_with("POST https://"), "{scheme}: {read}");
    }
    for scheme in ["http", "ws"] {
        assert!(read(from, &[METHOD, ("X-Forwarded-Proto", scheme), AT, URI]).unwrap().starts_with("POST http://"));
    }
    let all = [METHOD, PROTO, AT, URI];
    for gone in 0..all.len() {
        let rest: Vec<_> = all.iter().enumerate().filter(|(place, _)| *place != gone).map(|(_, line)| *line).collect();
        assert_eq!(read(from, &rest).unwrap_err(), INCOMPLETE, "without {}", all[gone].0);
        let twice: Vec<_> = all.iter().copied().chain([all[gone]]).collect();
        assert_eq!(read(from, &twice).unwrap_err(), INCOMPLETE, "{} twice", all[gone].0);
    }
    // Nothing else is read.
    let original = [("X-Original-Method", "GET"), ("X-Original-URL", "https://api.example/public")];
    assert_eq!(read(from, &original).unwrap_err(), INCOMPLETE);
    let both: Vec<_> = all.iter().chain(&original).copied().collect();
    assert_eq!(read(from, &both).unwrap(), "POST https://api.example/a/%31?b=c&d");
}

#[test]
fn what_is_malformed() {
    for (name, value, reason) in [
        ("X-Forwarded-Method", "", "header"),
        ("X-Forwarded-Method", "GET, POST", "header"),
        ("X-Forwarded-Proto", "https,http", "header"),
        ("X-Forwarded-Proto", "ftp", "header"),
        ("X-Forwarded-Proto", "", "header"),
        ("X-Forwarded-Host", "", "header"),
        ("X-Forwarded-Host", "a, b", "header"),
        ("X-Forwarded-Host", "user@api.example", "header"),
        ("X-Forwarded-Host", "api.example/", "header"),
        ("X-Forwarded-Host", "api.example:port", "header"),
        ("X-Forwarded-Host", "\u{fc}.example", "header"),
        ("X-Forwarded-Uri", "", "path"),
        ("X-Forwarded-Uri", "a", "path"),
        ("X-Forwarded-Uri", "?a", "path"),
        ("X-Forwarded-Uri", "*", "path"),
        ("X-Forwarded-Uri", "http://other.example/a", "path"),
        ("X-Forwarded-Uri", "/a b", "path"),
        ("X-Forwarded-Uri", "/a#b", "path"),
        ("X-Forwarded-Uri", "/a\tb", "path"),
        ("X-Forwarded-Uri", "/a, /b", "path"),
        ("X-Forwarded-Uri", "/\u{e9}", "header"),
    ] {
        let lines = [METHOD, PROTO, AT, URI].map(|line| if line.0 == name { (name, value) } else { line });
        let refusal = read(RequestFrom::XForwarded, &lines).unwrap_err();
        assert_eq!(refusal.reason(), reason, "{name}: {value}");
    }
}

#[test]
fn by_x_original() {
    let from = RequestFrom::XOriginal;
    let (method, url) = (("X-Original-Method", "PUT"), ("X-Original-URL", "https://api.example/a?b"));
    let uri = ("X-Original-URI", "/a?b");
    assert_eq!(read(from, &[method, url]).unwrap(), "PUT https://api.example/a?b");
    assert_eq!(read(from, &[method, uri]).unwrap(), "PUT http://bearward/a?b");
    assert_eq!(read(from, &[method, ("X-Original-URL", "HTTP://a:80/")]).unwrap(), "PUT http://a/");
    for lines in [&[method, url, uri][..], &[method], &[url], &[uri], &[method, url, url], &[method, method, url]] {
        assert_eq!(read(from, lines).unwrap_err(), INCOMPLETE, "{lines:?}");
    }
    for url in
        ["/a", "https://api.example", "https:///a", "https://u@api.example/a", "ftp://a/", "https://a?b/c", "://a/"]
    {
        assert_eq!(read(from, &[method, ("X-Original-URL", url)]).unwrap_err(), MALFORMED, "{url}");
    }
    assert_eq!(read(from, &[METHOD, PROTO, AT, URI]).unwrap_err(), INCOMPLETE);
}

#[test]
fn by_itself() {
    let own = from_fields(RequestFrom::Own, &check(&[METHOD, PROTO, AT, URI]), &arrival()).unwrap();
    assert_eq!((own.head.method.as_str(), own.head.uri.path(), own.arrival.scheme), ("GET", "/check", "http"));
    let nameless = hyper::Request::new(()).into_parts().0;
    assert_eq!(from_fields(RequestFrom::Own, &nameless, &arrival()).unwrap_err(), INCOMPLETE);
}

#[test]
fn the_fields_are_those_of_the_request() {
    let lines = [METHOD, PROTO, AT, URI, ("Content-Length", "0"), ("Cookie", "a=b"), ("Sec-WebSocket-Key", "x")];
    let Described { head, .. } = from_fields(RequestFrom::XForwarded, &check(&lines), &arrival()).unwrap();
    for (name, value) in [
        ("host", Some("API.example:8443")),
        ("content-length", None),
        ("cookie", Some("a=b")),
        ("upgrade", Some("websocket")),
    ] {
        assert_eq!(head.headers.get(name).map(|value| value.to_str().unwrap()), value, "{name}");
    }
}

/// What comes of a request can be sent; all of it came here as HTTP could have it.
fn is_sound(Described { head, arrival, .. }: &Described) -> bool {
    (head.uri.path().starts_with('/') || head.uri.path() == "*")
        && ["http", "https"].contains(&arrival.scheme)
        && requests::host(head).is_some()
        && server::check_target(head.method.as_str(), &head.uri.to_string()).is_ok()
        && head.headers.len() <= MAX_FIELDS + 3
}

proptest! {
    /// Whatever a message is: either a request comes of it that could have come here, or none.
    #[test]
    fn any_message(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        texts in proptest::collection::vec(prop_oneof!["\\PC{0,12}", "(GET|https?|a\\.b(:8)?|/[a-z./%;?#*]{0,12})"], 6),
        lines in proptest::collection::vec(("[a-z:_. -]{0,8}", "\\PC{0,8}"), 0..120),
        is_raw in any::<bool>(),
        size in any::<i64>(),
    ) {
        if let Ok(check) = CheckRequest::decode(bytes.as_slice())
            && let Ok(described) = from_message(check, &arrival())
        {
            prop_assert!(is_sound(&described));
        }
        let [method, path, host, scheme, source, query] = <[String; 6]>::try_from(texts).unwrap();
        let line = |(key, value): &(String, String)| HeaderLine { key: key.clone(), value: String::new(), raw_value: value.clone().into() };
        let header_map = is_raw.then(|| HeaderLines { headers: lines.iter().map(line).collect() });
        let headers = if is_raw { Default::default() } else { lines.into_iter().collect() };
        let query = if query.len() > 6 { query } else { String::new() };
        let http = HttpRequest { method, headers, path, host, scheme, query, fragment: String::new(), size, header_map };
        let source = Peer { address: Some(Address { socket_address: Some(SocketAddress { address: source }) }) };
        let attributes = AttributeContext { source: Some(source), request: Some(Request { http: Some(http) }) };
        if let Ok(described) = from_message(CheckRequest { attributes: Some(attributes) }, &arrival()) {
            prop_assert!(is_sound(&described));
            prop_assert_eq!(described.body_bytes, u64::try_from(size).ok());
        }
    }

    /// Whatever the fields say: either a request comes of it that could have come here, or none.
    #[test]
    fn any_fields(
        values in proptest::collection::vec(prop_oneof!["\\PC{0,12}", "(GET|https?|a\\.b(:8)?|/[a-z./%;?#*]{0,12}|https://a/[./%]{0,5})"], 8),
        from in proptest::sample::select(vec![RequestFrom::XForwarded, RequestFrom::XOriginal, RequestFrom::Own]),
    ) {
        let names = ["x-forwarded-method", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri", "x-original-method", "x-original-url"];
        let lines = names.iter().zip(&values).filter(|(_, value)| HeaderValue::from_str(value).is_ok());
        let lines: Vec<_> = lines.map(|(name, value)| (*name, value.as_str())).collect();
        if let Ok(described) = from_fields(from, &check(&lines), &arrival()) {
            prop_assert!(is_sound(&described));
        }
    }
}
