//! Interim answers: `100 Continue`, which the upstream has a word in, and the others, which stay where they are.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
};

use crate::support::{
    PATIENCE,
    gateway::{Gateway, configuration, public_configuration},
    h2::{Connection, END_STREAM, Outcome, kind, post},
    http::{read_body, read_head, reader},
    issuer::Issuer,
    keys::Key,
    modern::Modern,
    raw::{Client, find},
    upstream::Upstream,
};

/// An upstream of which each connection is served so, and a gateway before it.
fn start(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Gateway {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway =
        Gateway::start_unready(&public_configuration(&format!("http://{}", listener.local_addr().unwrap()), ""));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), serve.clone());
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    gateway
}

fn ask(gateway: &Gateway, framing: &str) -> Client {
    let mut client = gateway.client();
    client.send(format!("POST /a HTTP/1.1\r\nHost: api.example\r\nExpect: 100-continue\r\n{framing}\r\n"));
    client
}

const FRAMINGS: [(&str, &str); 2] =
    [("Content-Length: 4\r\n", "abcd"), ("Transfer-Encoding: chunked\r\n", "4\r\nabcd\r\n0\r\n\r\n")];

#[test]
fn continue_comes_once_the_upstream_says_so() {
    let (tell, told) = mpsc::channel::<()>();
    let told = Arc::new(Mutex::new(told));
    let (heard, hear) = mpsc::channel::<Vec<u8>>();
    let gateway = start(move |mut stream| {
        let mut input = reader(&stream).unwrap();
        while let Some(mut request) = read_head(&mut input).unwrap() {
            heard.send(request.head.clone()).unwrap();
            told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            read_body(&mut input, &mut request).unwrap();
            heard.send(request.body).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    for (framing, body) in FRAMINGS {
        let mut client = ask(&gateway, framing);
        let head = hear.recv_timeout(PATIENCE).unwrap();
        assert!(find(&head, b"expect: 100-continue\r\n").is_some(), "{}", head.escape_ascii());
        tell.send(()).unwrap();
        assert_eq!(client.receive_head().unwrap().unwrap().status, 100);
        client.send(body);
        assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), b"abcd");
        assert_eq!(client.receive_head().unwrap().unwrap().status, 200);
    }
}

#[test]
fn an_upstream_that_says_no_gets_no_body_and_the_client_no_continue() {
    for after in ["", "Connection: close\r\n"] {
        let (heard, hear) = mpsc::channel::<Vec<u8>>();
        let gateway = start(move |mut stream| {
            let mut input = reader(&stream).unwrap();
            read_head(&mut input).unwrap().unwrap();
            write!(stream, "HTTP/1.1 417 No\r\nContent-Length: 2\r\n{after}\r\nno").unwrap();
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut input, &mut rest).ok();
            heard.send(rest).unwrap();
        });
        for (framing, _) in FRAMINGS {
            let mut client = ask(&gateway, framing);
            let head = client.receive_head().unwrap().unwrap();
            assert_eq!(head.status, 417, "and no 100 before it");
            assert_eq!(head.fields.get("connection"), Some("close"), "a body is owed that may never come");
            assert_eq!(client.receive_bytes(2), b"no");
            // Whatever comes now, it is neither a body nor a request.
            client.try_send("GET /smuggled HTTP/1.1\r\nHost: api.example\r\n\r\n").ok();
            assert!(client.is_closed());
            let rest = hear.recv_timeout(PATIENCE).unwrap();
            assert_eq!(rest, b"", "{}", rest.escape_ascii());
        }
    }
}

#[test]
fn an_upstream_that_says_no_is_heard_over_http_2() {
    let (heard, hear) = mpsc::channel::<Vec<u8>>();
    let gateway = start(move |mut stream| {
        let mut input = reader(&stream).unwrap();
        if read_head(&mut input).unwrap().is_some() {
            write!(stream, "HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno").unwrap();
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut input, &mut rest).ok();
            heard.send(rest).unwrap();
        }
    });
    let mut connection = Connection::connect(gateway.address);
    for stream in [1, 3, 5] {
        connection.request(stream, false, &[&post("/a")[..], &[("expect", "100-continue")]].concat());
        assert_eq!(connection.outcome(stream), Outcome::Answer { status: 417, body: b"no".to_vec() });
        // Late, for nobody, and no harm to the connection.
        connection.send(kind::DATA, END_STREAM, stream, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let rest = hear.recv_timeout(PATIENCE).unwrap();
        assert_eq!(rest, b"", "{}", rest.escape_ascii());
    }
}

#[test]
fn an_upstream_that_knows_no_continue_gets_the_body_after_a_while() {
    let gateway = start(|mut stream| {
        let mut input = reader(&stream).unwrap();
        while let Some(mut request) = read_head(&mut input).unwrap() {
            read_body(&mut input, &mut request).unwrap();
            assert_eq!(request.body, b"abcd");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    for (framing, body) in FRAMINGS {
        let mut client = ask(&gateway, framing);
        assert_eq!(client.receive_head().unwrap().unwrap().status, 100);
        client.send(body);
        assert_eq!(client.receive_head().unwrap().unwrap().status, 200);
        // Who doesn't wait is served, too.
        let mut client = ask(&gateway, framing);
        client.send(body);
        assert_eq!(client.receive().status, 200);
    }
}

#[test]
fn other_expectations_hold_nothing_up() {
    let upstream = Upstream::start();
    let gateway = Gateway::start_unready(&public_configuration(&upstream.url(), ""));
    for fields in ["Expect: 100-continue\r\nContent-Length: 0\r\n", "Expect: 100-continue\r\n"] {
        assert_eq!(gateway.call("POST", "/a", fields).status, 200, "{fields}");
    }
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nabcd");
    let answer = String::from_utf8(client.receive_rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 "), "HTTP/1.0 knows no interim answers: {answer}");
}

#[test]
fn a_refusal_of_our_own_asks_for_no_body() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let routes = "  - {name: closed, path: \"/**\", upstream: echo, allow: authenticated}\n";
    let gateway = Gateway::start(&configuration(&issuer, &upstream, routes));
    let mut client = ask(&gateway, "Content-Length: 4\r\n");
    assert_eq!(client.receive_head().unwrap().unwrap().status, 401);
    let mut connection = Connection::connect(gateway.address);
    connection.request(1, false, &[&post("/a")[..], &[("expect", "100-continue"), ("content-length", "4")]].concat());
    assert_eq!(connection.outcome(1).status(), 401);
    assert_eq!(upstream.bytes(), 0);
}

#[test]
fn an_expectation_over_http_2() {
    let upstream = Upstream::start();
    let modern = Modern::start(None);
    let gateways = [
        Gateway::start_unready(&public_configuration(&upstream.url(), "")),
        Gateway::start_unready(&public_configuration(&format!("http://{}", modern.address), ", http2: true")),
    ];
    for gateway in &gateways {
        let mut connection = Connection::connect(gateway.address);
        connection.request(1, false, &[&post("/a")[..], &[("expect", "100-continue")]].concat());
        // Nobody says 100 over HTTP/2: a client has to go on by itself in time (RFC 9110, section 10.1.1).
        connection.send(kind::DATA, END_STREAM, 1, b"abcd");
        assert_eq!(connection.outcome(1).status(), 200);
    }
    assert_eq!(upstream.only_request().body, b"abcd");
    assert_eq!(upstream.only_request().fields.get("expect"), Some("100-continue"));

    let mut client = ask(&gateways[1], "Content-Length: 4\r\n");
    assert_eq!(client.receive_head().unwrap().unwrap().status, 100, "to an HTTP/2 upstream the body goes at once");
    client.send("abcd");
    let answer = client.receive();
    assert_eq!((answer.status, &*answer.body), (200, &b"abcd"[..]));
}

#[test]
fn early_hints_are_left_out() {
    let gateway = start(|mut stream| {
        let mut input = reader(&stream).unwrap();
        while read_head(&mut input).unwrap().is_some() {
            let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
            write!(
                stream,
                "{hints}HTTP/1.1 102 Processing\r\n\r\n{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
            )
            .unwrap();
        }
    });
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = client.receive_head().unwrap().unwrap();
        assert_eq!((head.status, head.fields.get("link")), (200, None));
        assert_eq!(client.receive_bytes(2), b"hi");
    }
}
