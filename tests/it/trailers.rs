//! Trailers between the versions of HTTP, both ways: what is announced arrives, what a head decides never does.

use hyper::{HeaderMap, header::HeaderName};

use crate::support::{
    gateway::{Gateway, public_configuration},
    modern::{Caller, Modern},
    raw::find,
    upstream::{After, Upstream},
};

use std::io::Write;

/// What no request's trailers may bring.
const NEVER: [&str; 18] = [
    "x-auth-subject",
    "x_auth_roles",
    "x-auth-assertion",
    "authorization",
    "proxy-authorization",
    "cookie",
    "content-length",
    "content_length",
    "content-type",
    "transfer-encoding",
    "trailer",
    "te",
    "host",
    "x-forwarded-for",
    "x-real-ip",
    "forwarded",
    "x-original-url",
    "expect",
];

struct Behind {
    http1: Upstream,
    http2: Modern,
    to_http1: Gateway,
    to_http2: Gateway,
}

fn start() -> Behind {
    let (http1, http2) = (Upstream::start(), Modern::start(None));
    let to_http1 = Gateway::start_unready(&public_configuration(&http1.url(), ""));
    let url = format!("http://{}", http2.address);
    let to_http2 = Gateway::start_unready(&public_configuration(&url, ", http2: true"));
    Behind { http1, http2, to_http1, to_http2 }
}

fn all() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for name in NEVER.into_iter().chain(["x-sum", "x-other"]) {
        // HTTP/2's own rules forbid these to everybody; the library wouldn't send them.
        if !["te", "transfer-encoding"].contains(&name) {
            trailers.append(HeaderName::from_static(name), "attacker".parse().unwrap());
        }
    }
    trailers
}

fn names(trailers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn of_a_request_in_http_1() {
    let behind = start();
    let lines: String = NEVER.iter().map(|name| format!("{name}: attacker\r\n")).collect();
    let announced = NEVER.join(", ");
    let message = format!(
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, {announced}\r\n\r\n\
         3\r\nabc\r\n0\r\n{lines}X-Sum: 7\r\n\r\n"
    );
    for gateway in [&behind.to_http1, &behind.to_http2] {
        let mut client = gateway.client();
        client.send(&message);
        assert_eq!(client.receive().status, 200);
    }
    let request = behind.http1.only_request();
    assert_eq!((&*request.body, request.trailers.get("x-sum"), request.trailers.0.len()), (&b"abc"[..], Some("7"), 1));
    assert_eq!(find(&behind.http1.wire(), b"attacker"), None);
    let trailers = behind.http2.last_trailers();
    assert_eq!((names(&trailers), &trailers["x-sum"]), (vec!["x-sum"], &"7".parse().unwrap()));
}

#[test]
fn of_a_request_in_http_2() {
    let behind = start();
    for (gateway, is_http2) in [(&behind.to_http1, false), (&behind.to_http2, true)] {
        let answers = Caller::connect(gateway.address).post_with(&[("trailer", "x-sum")], "/a", b"abc", &all(), 1);
        assert_eq!(answers[0].head.status, 200);
        if is_http2 {
            assert_eq!(names(&behind.http2.last_trailers()), ["x-other", "x-sum"], "HTTP/2 announces by habit nothing");
        }
    }
    let request = behind.http1.only_request();
    assert_eq!((&*request.body, request.trailers.0.len()), (&b"abc"[..], 1), "HTTP/1 has what was announced");
    assert_eq!(request.trailers.get("x-sum"), Some("attacker"));
    assert_eq!(find(&behind.http1.wire(), b"x-other"), None);
}

/// What no answer's trailers may bring.
const NEVER_BACK: [&str; 9] = [
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Content-Type",
    "Content-Encoding",
    "Set-Cookie",
    "WWW-Authenticate",
    "Trailer",
    "Location",
];

fn answer_with_trailers(upstream: &Upstream) {
    upstream.answer(|_, stream| {
        let lines: String = NEVER_BACK.iter().map(|name| format!("{name}: attacker\r\n")).collect();
        let announced = NEVER_BACK.join(", ");
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, {announced}\r\n\r\n\
             3\r\nabc\r\n0\r\n{lines}X-Sum: 7\r\n\r\n"
        )?;
        Ok(After::KeepAlive)
    });
}

#[test]
fn of_an_answer_to_http_1() {
    let behind = start();
    answer_with_trailers(&behind.http1);
    let mut client = behind.to_http1.client();
    client.send("GET /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    client.receive_until(b"3\r\nabc\r\n");
    let all = client.receive_until(b"\r\n\r\n");
    assert!(all.starts_with(b"0\r\n") && find(&all, b"x-sum: 7\r\n").is_some(), "{}", all.escape_ascii());
    assert_eq!(find(&all, b"attacker"), None, "{}", all.escape_ascii());
    // Who doesn't take trailers gets none (RFC 9110, section 6.5.1).
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    client.receive_until(b"3\r\nabc\r\n");
    let all = client.receive_until(b"\r\n\r\n");
    assert_eq!(all, b"0\r\n\r\n");
    assert_eq!(find(&all, b"attacker"), None, "{}", all.escape_ascii());

    // An HTTP/2 upstream has announced none.
    let mut client = behind.to_http2.client();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nContent-Length: 3\r\n\r\nabc");
    let answer = client.receive();
    assert_eq!((answer.status, &*answer.body, answer.complete), (200, &b"abc"[..], true));
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.receive().status, 200, "the connection goes on");
}

#[test]
fn of_an_answer_to_http_2() {
    let behind = start();
    answer_with_trailers(&behind.http1);
    let answers = Caller::connect(behind.to_http1.address).post("/a", b"abc", &HeaderMap::new(), 1);
    assert_eq!(&*answers[0].body, b"abc");
    assert_eq!(names(&answers[0].trailers), ["x-sum"]);

    let mut trailers = HeaderMap::new();
    for name in NEVER_BACK {
        // Modern gives back what it gets; what comes there was asked for above.
        trailers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), "attacker".parse().unwrap());
    }
    for name in ["connection", "transfer-encoding"] {
        trailers.remove(name);
    }
    let answers = Caller::connect(behind.to_http2.address).post("/a", b"abc", &trailers, 1);
    assert_eq!(names(&answers[0].trailers), ["grpc-status"]);
}
