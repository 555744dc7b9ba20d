//! Answers that come before the body of their request was read: the client gets them, and what is left of the body is
//! never taken for a request.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    process::Command,
};

use crate::support::{
    gateway::{Gateway, public_configuration},
    h2::{self, Connection, END_HEADERS, END_STREAM, Outcome, block, kind, post},
    http::{read_head, reader},
    raw::find,
    skipped,
    upstream::Upstream,
};

const MEBIBYTE: usize = 1024 * 1024;
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn the_rest_of_the_body_is_nobody_s_request() {
    let upstream = Upstream::start();
    upstream.answer_early();
    let gateway = Gateway::start_unready(&public_configuration(&upstream.url(), ""));
    let length = SMUGGLED.len();
    let chunked = format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
    for (framing, first, rest) in [
        (format!("Content-Length: {}", length + 3), "abc", SMUGGLED),
        ("Transfer-Encoding: chunked".to_owned(), "3\r\nabc\r\n", &*chunked),
        (format!("Content-Length: {length}"), "", SMUGGLED),
        ("Transfer-Encoding: chunked".to_owned(), "", &*chunked),
    ] {
        let mut client = gateway.client();
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{first}"));
        assert_eq!(client.receive().status, 200, "{framing}");
        let next = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        // The connection may be closed by now, or go on after the body.
        client.try_send(format!("{rest}{next}")).ok();
        let answers = client.receive_rest();
        let text = String::from_utf8_lossy(&answers);
        assert!(text.matches("HTTP/1.1 ").count() <= 1, "{framing}: {text}");
    }
    let messages = upstream.take_messages().expect("messages in order");
    assert!(messages.iter().all(|message| message.target != b"/smuggled"), "{messages:?}");
    let beginnings = String::from_utf8_lossy(&upstream.wire()).matches("HTTP/1.1\r\nhost").count();
    assert!(beginnings <= 8, "{beginnings}");
}

/// An upstream that answers a head and is gone, the body unread: its system resets the connection.
fn brusque() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut input = reader(&stream).unwrap();
                if read_head(&mut input).is_ok_and(|head| head.is_some()) {
                    stream
                        .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
                        .ok();
                }
            });
        }
    });
    address
}

#[test]
fn an_upstream_that_answers_and_hangs_up_is_heard() {
    let gateway = Gateway::start_unready(&public_configuration(&format!("http://{}", brusque()), ""));
    for turn in 0..100 {
        let mut client = gateway.client();
        let framing = if turn % 2 == 0 {
            format!("Content-Length: {}", 4 * MEBIBYTE)
        } else {
            "Transfer-Encoding: chunked".to_owned()
        };
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
        let piece = if turn % 2 == 0 {
            vec![b'u'; 64 * 1024]
        } else {
            [&b"10000\r\n"[..], &[b'u'; 64 * 1024], b"\r\n"].concat()
        };
        for _ in 0..64 {
            if client.try_send(&piece).is_err() {
                break;
            }
        }
        let answer = client.receive();
        assert_eq!((answer.status, answer.text().as_str(), answer.complete), (413, "too large", true), "{turn}");
    }
}

#[test]
fn an_upstream_that_answers_and_hangs_up_is_heard_over_http_2() {
    let gateway = Gateway::start_unready(&public_configuration(&format!("http://{}", brusque()), ""));
    let mut connection = Connection::connect(gateway.address);
    for turn in 0..50 {
        let stream = 1 + 2 * turn;
        connection.request(stream, false, &post("/a"));
        // As much as the first windows take.
        for _ in 0..3 {
            connection.send(kind::DATA, 0, stream, &[b'u'; 16_000]);
        }
        let outcome = connection.outcome(stream);
        assert_eq!(outcome, Outcome::Answer { status: 413, body: b"too large".to_vec() }, "{turn}");
    }
}

#[test]
fn an_http_2_upstream_that_wants_no_more_of_it() {
    let address = h2::upstream(|mut connection| {
        while let Some(frame) = connection.next() {
            if frame.kind == kind::HEADERS {
                let head = block(&[(":status", "404")]);
                connection.send(kind::HEADERS, END_HEADERS, frame.stream, &head);
                connection.send(kind::DATA, END_STREAM, frame.stream, b"gone");
                // NO_ERROR (RFC 9113, section 8.1).
                connection.send(kind::RST_STREAM, 0, frame.stream, &[0; 4]);
            }
        }
    });
    let gateway = Gateway::start_unready(&public_configuration(&format!("http://{address}"), ", http2: true"));
    for _ in 0..20 {
        let mut client = gateway.client();
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {MEBIBYTE}\r\n\r\n"));
        for _ in 0..16 {
            if client.try_send(vec![b'u'; 64 * 1024]).is_err() {
                break;
            }
        }
        let answer = client.receive();
        assert_eq!((answer.status, answer.text().as_str(), answer.complete), (404, "gone", true));
    }
    let mut connection = Connection::connect(gateway.address);
    for stream in (1..40).step_by(2) {
        connection.request(stream, false, &post("/a"));
        connection.send(kind::DATA, 0, stream, &[b'u'; 10_000]);
        let outcome = connection.outcome(stream);
        assert_eq!(outcome, Outcome::Answer { status: 404, body: b"gone".to_vec() });
    }
}

#[test]
fn an_early_answer_over_http_2_leaves_the_others_alone() {
    let upstream = Upstream::start();
    upstream.answer_early();
    let gateway = Gateway::start_unready(&public_configuration(&upstream.url(), ""));
    let mut connection = Connection::connect(gateway.address);
    connection.request(1, false, &post("/a"));
    connection.send(kind::DATA, 0, 1, b"abc");
    assert_eq!(connection.outcome(1).status(), 200);
    connection.request(3, true, &post("/b"));
    assert_eq!(connection.outcome(3).status(), 200);
    // Late, and perhaps for nobody; no fault of the connection's.
    connection.send(kind::DATA, END_STREAM, 1, SMUGGLED.as_bytes());
    connection.request(5, true, &post("/c"));
    assert_eq!(connection.outcome(5).status(), 200);
    assert!(find(&upstream.wire(), b"POST /c").is_some());
    let messages = upstream.take_messages().expect("messages in order");
    assert!(messages.iter().all(|message| message.target != b"/smuggled"), "{messages:?}");
}

/// A client of many people's, which has no eyes for an answer that comes together with a reset.
#[test]
fn curl_gets_early_answers_over_http_2() {
    let version = Command::new("curl").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    if find(&version, b"HTTP2").is_none() {
        return skipped("there is no curl with HTTP/2 on this machine: early answers weren't tested with it");
    }
    let early = Gateway::start_unready(&public_configuration(&format!("http://{}", brusque()), ""));
    let text =
        public_configuration("http://127.0.0.1:9", "").replace("allow: public", "allow: public, max_body_bytes: 1KiB");
    let own = Gateway::start_unready(&text);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, vec![b'u'; 2 * MEBIBYTE]).unwrap();
    let body = format!("@{}", file.display());
    for gateway in [&own, &early] {
        for expect in ["Expect: 100-continue", "Expect:"] {
            for _ in 0..5 {
                let url = format!("http://{}/a", gateway.address);
                let mut curl = Command::new("curl");
                curl.args([
                    "-s",
                    "--http2-prior-knowledge",
                    "-H",
                    expect,
                    "--data-binary",
                    &body,
                    "-w",
                    "%{http_code}",
                    &url,
                ]);
                let output = curl.env_remove("http_proxy").output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout);
                assert!(text.ends_with("413"), "{expect}: {text:?} {}", output.status);
            }
        }
    }
}
