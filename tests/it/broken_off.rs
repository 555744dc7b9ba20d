//! Whoever dies in the middle of a body: the other side never takes the half for the whole, and nobody else is harmed.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    sync::mpsc,
};

use crate::support::{
    PATIENCE, eventually,
    gateway::{Gateway, public_configuration},
    h2::{self, Connection, END_HEADERS, END_STREAM, Outcome, block, get, kind, post},
    http::Request,
    upstream::{After, Upstream},
};

const HALVES: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n",
];

#[test]
fn half_an_answer_over_http_2_is_reset_and_no_other_stream() {
    let upstream = Upstream::start();
    let gateway = Gateway::start_unready(&public_configuration(&upstream.url(), ""));
    for half in HALVES {
        let (tell, told) = mpsc::channel::<()>();
        let told = std::sync::Mutex::new(told);
        upstream.answer(move |request: &Request, stream: &mut TcpStream| {
            if request.target == "/half" {
                stream.write_all(half.as_bytes())?;
                return Ok(After::Close);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")?;
            told.lock().unwrap().recv_timeout(PATIENCE).ok();
            stream.write_all(b"def")?;
            Ok(After::KeepAlive)
        });
        let mut connection = Connection::connect(gateway.address);
        connection.request(1, true, &get("/whole"));
        while connection.next().expect("a beginning").kind != kind::DATA {}
        connection.request(3, true, &get("/half"));
        assert!(matches!(connection.outcome(3), Outcome::Reset(1..)), "{half:?}");
        tell.send(()).unwrap();
        let frame = loop {
            let frame = connection.next().expect("the rest");
            assert_ne!(frame.kind, kind::GOAWAY);
            if frame.stream == 1 {
                break frame;
            }
        };
        assert_eq!((frame.kind, &*frame.payload), (kind::DATA, &b"def"[..]));
    }
}

/// What an HTTP/2 upstream does in the middle of its answer.
#[derive(Clone, Copy, Debug)]
enum End {
    Reset,
    Goodbye,
    Hangup,
    /// Less than its content-length.
    Short,
}

fn breaking(end: End) -> Gateway {
    let address = h2::upstream(move |mut connection| {
        while let Some(frame) = connection.next() {
            if frame.kind != kind::HEADERS {
                continue;
            }
            let head = block(&[(":status", "200"), ("content-length", "9")]);
            connection.send(kind::HEADERS, END_HEADERS, frame.stream, &head);
            let last = if matches!(end, End::Short) { END_STREAM } else { 0 };
            connection.send(kind::DATA, last, frame.stream, b"abc");
            match end {
                End::Reset => connection.send(kind::RST_STREAM, 0, frame.stream, &2u32.to_be_bytes()),
                End::Goodbye => {
                    connection.send(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2]);
                    return;
                }
                End::Hangup => return,
                End::Short => {}
            }
        }
    });
    Gateway::start_unready(&public_configuration(&format!("http://{address}"), ", http2: true"))
}

#[test]
fn an_http_2_upstream_that_breaks_off() {
    for end in [End::Reset, End::Goodbye, End::Hangup, End::Short] {
        let gateway = breaking(end);
        for _ in 0..3 {
            let mut client = gateway.client();
            client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = client.try_receive("GET").ok().flatten();
            assert!(answer.is_none_or(|answer| !answer.complete || answer.status == 502), "{end:?}");
            let mut connection = Connection::connect(gateway.address);
            let outcome = connection.get(1, "/a", &[]);
            assert!(
                matches!(outcome, Outcome::Reset(1..) | Outcome::Answer { status: 502, .. }),
                "{end:?}: {outcome:?}"
            );
            connection.request(3, true, &get("/b"));
            assert_ne!(connection.outcome(3), Outcome::Ended, "{end:?}: the client's connection goes on");
        }
    }
}

#[test]
fn a_chunked_answer_that_breaks_off_has_no_end() {
    let address = h2::upstream(|mut connection| {
        while let Some(frame) = connection.next() {
            if frame.kind == kind::HEADERS {
                connection.send(kind::HEADERS, END_HEADERS, frame.stream, &block(&[(":status", "200")]));
                connection.send(kind::DATA, 0, frame.stream, b"abc");
                connection.send(kind::RST_STREAM, 0, frame.stream, &2u32.to_be_bytes());
            }
        }
    });
    let gateway = Gateway::start_unready(&public_configuration(&format!("http://{address}"), ", http2: true"));
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    let text = String::from_utf8(client.receive_rest()).unwrap();
    assert!(!text.contains("0\r\n\r\n") && text.matches("HTTP/1.1 ").count() <= 1, "{text}");
}

#[test]
fn an_upstream_that_dies_during_the_upload_is_502() {
    let upstream = Upstream::start();
    upstream.answer_early();
    upstream.answer(|_, stream| stream.shutdown(Shutdown::Both).map(|()| After::Close));
    let modern =
        h2::upstream(|mut connection| while connection.next().is_some_and(|frame| frame.kind != kind::HEADERS) {});
    for gateway in [
        Gateway::start_unready(&public_configuration(&upstream.url(), "")),
        Gateway::start_unready(&public_configuration(&format!("http://{modern}"), ", http2: true")),
    ] {
        let mut client = gateway.client();
        client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
        assert_eq!(client.receive().status, 502);
        let mut connection = Connection::connect(gateway.address);
        connection.request(1, false, &post("/a"));
        connection.send(kind::DATA, 0, 1, b"abc");
        assert_eq!(connection.outcome(1).status(), 502);
        connection.request(3, false, &post("/a"));
        assert_eq!(connection.outcome(3).status(), 502, "the connection goes on");
    }
}

#[test]
fn half_an_upload_is_never_whole() {
    let start = || {
        let upstream = Upstream::start();
        let gateway = Gateway::start_unready(&public_configuration(&upstream.url(), ""));
        (upstream, gateway)
    };
    let is_cut = |upstream: &Upstream| {
        eventually("the upstream's is cut", || upstream.open_connections() == 0);
        assert!(upstream.requests().is_empty());
    };
    for framing in [&[][..], &[("content-length", "9")]] {
        let (upstream, gateway) = start();
        let mut connection = Connection::connect(gateway.address);
        connection.request(1, false, &[&post("/a")[..], framing].concat());
        connection.send(kind::DATA, 0, 1, b"abc");
        upstream.wait_for(b"abc");
        connection.send(kind::RST_STREAM, 0, 1, &8u32.to_be_bytes());
        is_cut(&upstream);
        assert_eq!(connection.get(3, "/b", &[]).status(), 200, "the connection goes on");
    }
    for framing in ["Content-Length: 9\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let (upstream, gateway) = start();
        let mut client = gateway.client();
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{framing}"));
        upstream.wait_for(b"abc");
        drop(client);
        is_cut(&upstream);
    }
}

#[test]
fn half_an_upload_to_http_2_is_reset() {
    let (heard, hear) = mpsc::channel();
    let address = h2::upstream(move |mut connection| {
        while let Some(frame) = connection.next() {
            if matches!(frame.kind, kind::DATA | kind::RST_STREAM) {
                heard.send((frame.kind, frame.flags & END_STREAM)).ok();
            }
        }
    });
    let gateway = Gateway::start_unready(&public_configuration(&format!("http://{address}"), ", http2: true"));
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), (kind::DATA, 0));
    drop(client);
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap().0, kind::RST_STREAM);
    let mut connection = Connection::connect(gateway.address);
    connection.request(1, false, &post("/a"));
    connection.send(kind::DATA, 0, 1, b"abc");
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), (kind::DATA, 0));
    connection.send(kind::RST_STREAM, 0, 1, &8u32.to_be_bytes());
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap().0, kind::RST_STREAM);
}
