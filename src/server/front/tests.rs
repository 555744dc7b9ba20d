//! The front beside hyper behind the guard, and its answers as they are written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use hyper::{HeaderMap, header::HeaderValue};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::server::{
    drain,
    framing::tests::{Marker, first, fragment, talk_to},
};

/// What a client gets that sends this in pieces of that size, each answer as its lines without the date, in order of the alphabet: by
/// the front, or by hyper behind the guard alone. Time stands still unless nobody has anything to do.
fn answers(by_front: bool, bytes: &[u8], piece: usize) -> Vec<Vec<String>> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let text = runtime.block_on(async {
        let bytes = bytes.to_vec();
        if by_front {
            let serve = |server, arrival, limits, phases| serve(server, first(), arrival, Marker, limits, phases);
            talk_to(serve, bytes, piece).await
        } else {
            let serve =
                |server, arrival, limits, phases| http1::serve(server, first(), arrival, Marker, limits, phases);
            talk_to(serve, bytes, piece).await
        }
    });
    let lines = |answer: &str| {
        let mut lines: Vec<String> =
            answer.lines().filter(|line| !line.starts_with("date: ")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    format!("\n{text}").split("\nHTTP/1.").skip(1).map(lines).collect()
}

#[test]
fn what_is_plain_and_what_is_not_are_answered_alike_by_both() {
    let get = "GET /a HTTP/1.1\r\nHost: a\r\n";
    for (request, count) in [
        (format!("{get}\r\n"), 1),
        (format!("{get}\r\n{get}\r\n{get}\r\n"), 3),
        (format!("{get}Connection: keep-alive\r\n\r\n{get}\r\n"), 2),
        (format!("{get}Connection: close\r\n\r\n{get}\r\n"), 1),
        (format!("{get}Content-Length: 0\r\n\r\n{get}\r\n"), 2),
        (format!("{get}Content-Length: 3\r\n\r\nabc{get}\r\n"), 2),
        (format!("{get}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n{get}\r\n"), 2),
        (format!("{get}\r\n{get}Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"), 2),
        (format!("{get}\r\n{get}Upgrade: foo\r\nConnection: upgrade\r\n\r\n"), 2),
        (format!("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n{get}\r\n"), 2),
        (format!("\r\n{get}\r\n"), 1),
        ("GET /a HTTP/1.0\r\n\r\n".to_owned(), 1),
        (format!("{get}\r\n{get}X: \0\r\n\r\n{get}\r\n"), 2),
        (format!("{get}\r\nGET"), 2),
        (format!("{get}\r\nnonsense\r\n\r\n"), 2),
    ] {
        for piece in [request.len(), 7, 1] {
            let ours = answers(true, request.as_bytes(), piece);
            assert_eq!(ours, answers(false, request.as_bytes(), piece), "{request:?} in pieces of {piece}");
            assert_eq!(ours.len(), count, "{request:?} in pieces of {piece}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_bytes_are_answered_alike_by_both(fragments in prop::collection::vec(fragment(), 0..16), piece in 1..300usize) {
        let bytes = fragments.concat();
        prop_assert_eq!(answers(true, &bytes, piece), answers(false, &bytes, piece));
    }
}

/// Writes an answer to the end, with so much room for what isn't read yet.
async fn written(response: Response<Body>, head_only: bool, room: usize) -> (io::Result<()>, String) {
    let (mut near, mut far) = tokio::io::duplex(room);
    let writing = async {
        let mut answer = Answer::new(response, head_only, false)?;
        let written = poll_fn(|cx| answer.poll_write(cx, &mut near)).await;
        drop(near);
        written
    };
    let reading = async {
        let mut text = Vec::new();
        let _ = far.read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    };
    tokio::join!(writing, reading)
}

fn response(status: u16, fields: &[(&'static str, &'static str)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("date", HeaderValue::from_static("today"));
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    *response.headers_mut() = headers;
    response
}

#[tokio::test]
async fn answers_are_framed_by_what_is_known_of_them() {
    let full = || Body::full("hello");
    let cases: [(Response<Body>, bool, &str); 9] = [
        (response(200, &[], full()), false, "HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 5\r\n\r\nhello"),
        (
            response(200, &[("content-length", "5")], full()),
            true,
            "HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 5\r\n\r\n",
        ),
        (response(200, &[], Body::Empty), false, "HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 0\r\n\r\n"),
        (
            response(204, &[("content-length", "0")], Body::Empty),
            false,
            "HTTP/1.1 204 No Content\r\ndate: today\r\n\r\n",
        ),
        (response(304, &[], Body::Empty), false, "HTTP/1.1 304 Not Modified\r\ndate: today\r\n\r\n"),
        (
            response(404, &[("x", "1"), ("x", "2")], Body::Empty),
            false,
            "HTTP/1.1 404 Not Found\r\ndate: today\r\nx: 1\r\nx: 2\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            response(200, &[("connection", "close")], Body::Empty),
            false,
            "HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ),
        (response(299, &[], Body::Empty), false, "HTTP/1.1 299 <none>\r\ndate: today\r\ncontent-length: 0\r\n\r\n"),
        (
            response(200, &[], Body::with_trailers("hello", HeaderMap::new())),
            false,
            "HTTP/1.1 200 OK\r\ndate: today\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
    ];
    for (response, head_only, expected) in cases {
        let (result, text) = written(response, head_only, 7).await;
        assert!(result.is_ok(), "{expected}");
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn a_length_that_is_not_kept_cuts_the_connection() {
    for length in ["4", "6", "x", "5, 6"] {
        let (result, text) =
            written(response(200, &[("content-length", length)], Body::full("hello")), false, 100).await;
        assert!(result.is_err(), "{length}: {text}");
        assert!(
            text.len() < "HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 6\r\n\r\nhello".len() + 1,
            "{length}: {text}"
        );
    }
    let two = response(200, &[("content-length", "4"), ("content-length", "5")], Body::full("hello"));
    assert!(written(two, false, 100).await.0.is_err());
    assert!(written(response(103, &[], Body::Empty), false, 100).await.0.is_err(), "it answers nothing");
}

#[tokio::test]
async fn a_large_body_arrives_whole_through_a_narrow_pipe() {
    let body: Vec<u8> = (0..200_000u32).map(|at| b'a' + (at % 26) as u8).collect();
    let (result, text) = written(response(200, &[], Body::full(body.clone())), false, 1000).await;
    assert!(result.is_ok());
    assert!(text.ends_with(&*String::from_utf8(body).unwrap()));
}

/// Serves one connection, whose drain is in the caller's hands.
fn served(limits: Limits) -> (DuplexStream, drain::PhaseSender, tokio::task::JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (sender, phases) = drain::phases();
    let arrival = Arrival::for_test(std::net::Ipv4Addr::LOCALHOST.into());
    (near, sender, tokio::spawn(serve(far, first(), arrival, Marker, limits, phases)))
}

const PATIENT: Limits =
    Limits { max_header_bytes: 8192, header_timeout: Duration::from_secs(10), idle_timeout: Duration::from_secs(75) };

#[tokio::test(start_paused = true)]
async fn who_idles_is_let_go_and_who_dawdles_is_told() {
    let begin = Instant::now();
    let (mut client, _phases, served) = self::served(PATIENT);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    client.read_to_end(&mut text).await.unwrap();
    assert!(String::from_utf8_lossy(&text).starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(begin.elapsed().as_secs(), 75);
    served.await.unwrap();

    let begin = Instant::now();
    let (mut client, _phases, served) = self::served(PATIENT);
    client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let mut text = Vec::new();
    client.read_to_end(&mut text).await.unwrap();
    assert!(String::from_utf8_lossy(&text).contains("x-fault: "), "{}", String::from_utf8_lossy(&text));
    assert_eq!(begin.elapsed().as_secs(), 10);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn idling_may_be_shorter_than_a_head_takes() {
    let begin = Instant::now();
    let (mut client, _phases, served) = self::served(Limits { idle_timeout: Duration::from_secs(1), ..PATIENT });
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    client.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 1);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn draining_ends_who_idles_after_a_last_call() {
    let (mut client, phases, served) = self::served(PATIENT);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut buffer = [0; 1024];
    let count = client.read(&mut buffer).await.unwrap();
    assert!(!String::from_utf8_lossy(&buffer[..count]).contains("connection: close"));
    phases.advance(Phase::Draining);
    tokio::time::sleep(LAST_REQUEST_GRACE / 2).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    client.read_to_end(&mut text).await.unwrap();
    assert!(String::from_utf8_lossy(&text).contains("connection: close"), "the last answer says so");
    served.await.unwrap();

    let (mut client, phases, served) = self::served(PATIENT);
    phases.advance(Phase::Draining);
    let begin = Instant::now();
    assert_eq!(client.read(&mut buffer).await.unwrap(), 0);
    assert_eq!(begin.elapsed(), LAST_REQUEST_GRACE);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_ends_what_was_asked_for() {
    let (mut client, _phases, served) = self::served(PATIENT);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    drop(client);
    served.await.unwrap();
}
