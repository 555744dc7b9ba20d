#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod against_hyper;
mod requests;

use std::{collections::VecDeque, future::poll_fn};

use http_body_util::Empty;
use hyper::HeaderMap;
use tokio::io::ReadBuf;

use super::*;

/// One that is.
fn plain<B: Body>(request: &Request<B>) -> Plain<'_, B> {
    Plain::of(request).unwrap()
}

/// A stream that brings these pieces, each in a read of its own before which there is nothing; then it ends, or brings nothing.
struct Pieces {
    pieces: VecDeque<Bytes>,
    has_paused: bool,
    ends: bool,
    written: Vec<u8>,
    /// How many bytes are taken of each write; 0: none, ever.
    takes: usize,
}

impl Pieces {
    fn new<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, ends: bool) -> Pieces {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).map(Bytes::copy_from_slice).collect();
        Pieces { pieces, has_paused: false, ends, written: Vec::new(), takes: usize::MAX }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.has_paused = !self.has_paused;
        if self.has_paused || self.pieces.is_empty() && !self.ends {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop_front() {
            buf.put_slice(&piece.split_to(piece.len().min(buf.remaining())));
            if !piece.is_empty() {
                self.pieces.push_front(piece);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(self.takes);
        self.written.extend_from_slice(&bytes[..taken]);
        if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(taken)) }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Still for Pieces {
    fn is_still(&mut self) -> bool {
        self.pieces.is_empty() && !self.ends
    }
}

/// What came of an answer.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant)]
enum Outcome {
    Refused(String),
    Answer { status: u16, headers: HeaderMap, body: Vec<u8>, trailers: Option<HeaderMap>, end: Result<(), String> },
}

fn request(method: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(method).uri("/a").header("host", "h").body(Empty::new()).unwrap()
}

/// The outcome, and whether the connection may be used again.
async fn ask(method: &str, stream: Pieces) -> (Outcome, bool) {
    let mut wire = Wire::new(stream);
    let response = match wire.send(plain(&request(method))).await {
        Ok(response) => response,
        Err(fault) => return (Outcome::Refused(fault.to_string()), wire.is_ready()),
    };
    let (head, mut rest) = response.into_parts();
    let (mut body, mut trailers, mut end) = (Vec::new(), None, Ok(()));
    // As whoever passes it on: not asked again after the last byte of it.
    while !rest.is_end_stream() {
        let hint = rest.size_hint();
        match poll_fn(|cx| rest.poll_frame(&mut wire, cx)).await {
            Some(Ok(frame)) => {
                assert!(trailers.is_none(), "nothing follows trailers");
                let left = hint.exact().map(|left| left - frame.data_ref().map_or(0, Bytes::len) as u64);
                assert_eq!(rest.size_hint().exact().filter(|_| left.is_some()), left);
                match frame.into_data() {
                    Ok(data) => {
                        assert!(!data.is_empty());
                        body.extend_from_slice(&data);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
            }
            Some(Err(fault)) => {
                end = Err(fault.to_string());
                break;
            }
            None => assert!(rest.is_end_stream()),
        }
    }
    let outcome = Outcome::Answer { status: head.status.as_u16(), headers: head.headers, body, trailers, end };
    (outcome, wire.is_ready())
}

/// In how many ways so many bytes may come: at once, each alone, in any two pieces.
fn splits(bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let two = (1..bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]);
    two.chain([vec![bytes], bytes.chunks(1).collect()]).collect()
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What an answer comes to, in a line: its status and body, or what is wrong; `+`: the connection may be used again.
async fn told(method: &str, answer: &[u8], ends: bool) -> String {
    let mut all = None;
    for pieces in splits(answer) {
        let come = ask(method, Pieces::new(pieces.iter().copied(), ends)).await;
        if let Some(before) = &all {
            assert_eq!(before, &come, "{} as {} pieces", answer.escape_ascii(), pieces.len());
        }
        all = Some(come);
    }
    let (outcome, is_ready) = all.unwrap();
    let outcome = match outcome {
        Outcome::Refused(why) => why,
        Outcome::Answer { status, body, trailers, end, .. } => {
            let trailers = trailers.map(|trailers| format!(" {trailers:?}")).unwrap_or_default();
            let end = end.err().map(|why| format!(" {why}")).unwrap_or_default();
            format!("{status} {}{trailers}{end}", body.escape_ascii())
        }
    };
    if is_ready { format!("{outcome} +") } else { outcome }
}

const LINE: &str = "the answer is malformed: its status line";
const FIELD: &str = "the answer is malformed: a field";
const CODING: &str = "the answer is malformed: its transfer coding";
const LENGTH: &str = "the answer is malformed: its length";

#[tokio::test]
async fn answers_in_every_split() {
    for (method, answer, wanted) in [
        ("GET", OK, "200 ok +"),
        ("GET", "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", "200 ok +"),
        ("GET", "HTTP/1.1 299 Any Words\r\ncontent-length: 2, 2\r\nCONTENT-LENGTH:2\r\n\r\nok", "299 ok +"),
        ("GET", "\r\nHTTP/1.1 200 OK\r\ncontent-length:\t2 \r\n\r\nok", "200 ok +"),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "200  +"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "204  +"),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", "304  +"),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "200  +"),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "200  +"),
        ("GET", "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 2\r\n\r\nok", "200 ok"),
        ("GET", "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", "200 ok"),
        (
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
            "204  +",
        ),
        ("GET", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", "101 "),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "200 ok +"),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "200  +"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n00a;x=\"y z\"\r\n0123456789\r\n1 \t;x\r\n!\r\n0\r\n\r\n",
            "200 0123456789! +",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n!\r\n0\r\nx-sum: 1\r\nX-Sum: 2\r\n\r\n",
            "200 ! {\"x-sum\": \"1\", \"x-sum\": \"2\"} +",
        ),
        // What comes too much is nobody's.
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", "200 ok"),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok!", "200 ok"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\nbody", "204 "),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody", "200 "),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nbody", "304 "),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n!\r\n0\r\n\r\n\n", "200 !"),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\r\n", "200 ok"),
        // Two ends, of which one is taken, once.
        (
            "GET",
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n1\r\n!\r\n0\r\n\r\n",
            "200 !",
        ),
        // What is no answer.
        ("GET", "SSH-2.0-OpenSSH_9.6\r\n\r\n", LINE),
        ("GET", "HTTP/2.0 200 OK\r\n\r\n", LINE),
        ("GET", "HTTP/1.1 20 OK\r\n\r\n", LINE),
        ("GET", "HTTP/1.1 099 OK\r\n\r\n", LINE),
        ("GET", "HTTP/1.1 200 O\0K\r\n\r\n", LINE),
        ("GET", "HTTP/1.1 200 OK\r\nbad header\r\n\r\n", FIELD),
        ("GET", "HTTP/1.1 200 OK\r\nx : y\r\n\r\n", FIELD),
        ("GET", "HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n", FIELD),
        ("GET", "HTTP/1.1 200 OK\r\n x: y\r\n\r\n", FIELD),
        ("GET", "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n", FIELD),
        ("GET", "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n", FIELD),
        ("GET", "HTTP/1.1 200 OK\r\n: y\r\n\r\n", FIELD),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", LENGTH),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nx", LENGTH),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\nx", LENGTH),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 1,\r\n\r\nx", LENGTH),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nx", LENGTH),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0x1\r\n\r\nx", LENGTH),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nx", LENGTH),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nx", LENGTH),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", CODING),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", CODING),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", CODING),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 1\r\n\r\nx", CODING),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", FIELD),
        ("GET", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", CODING),
    ] {
        assert_eq!(told(method, answer.as_bytes(), false).await, wanted, "{answer:?}");
    }
}

#[tokio::test]
async fn answers_that_end_with_their_connection_in_every_split() {
    const ENDED: &str = "the connection ended before the answer did";
    for (answer, wanted) in [
        ("", ENDED),
        ("HTTP/1.1 200 OK\r\ncont", ENDED),
        ("HTTP/1.1 200 OK\r\n\r", ENDED),
        ("HTTP/1.1 100 Continue\r\n\r\n", ENDED),
        (OK, "200 ok"),
        ("HTTP/1.1 200 OK\r\n\r\nall of it", "200 all of it"),
        ("HTTP/1.0 200 OK\r\n\r\n", "200 "),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "200 HTTP/1.1 200 OK\\r\\n\\r\\n"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", "200 ok the connection ended before the answer did"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r",
            "200 ok the connection ended before the answer did",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nok",
            "200 ok the connection ended before the answer did",
        ),
    ] {
        assert_eq!(told("GET", answer.as_bytes(), true).await, wanted, "{answer:?}");
    }
}

#[tokio::test]
async fn chunks_that_are_none() {
    const SIZE: &str = "the answer is malformed: a chunk's size";
    const END: &str = "the answer is malformed: a chunk's end";
    const TRAILERS: &str = "the answer is malformed: its trailers";
    for (chunks, wanted) in [
        ("\r\nok", SIZE),
        ("x\r\nok", SIZE),
        ("-2\r\nok", SIZE),
        ("0x2\r\nok", SIZE),
        ("2\nok\r\n0\r\n\r\n", SIZE),
        ("2\rok\r\n0\r\n\r\n", SIZE),
        (" 2\r\nok\r\n0\r\n\r\n", SIZE),
        ("2 2\r\nok\r\n0\r\n\r\n", SIZE),
        ("2;a\nb\r\nok\r\n0\r\n\r\n", SIZE),
        ("2;a\0b\r\nok\r\n0\r\n\r\n", SIZE),
        ("00000000000000002\r\nok\r\n0\r\n\r\n", SIZE),
        ("0\r\nx : y\r\n\r\n", FIELD),
        ("0\r\n x: y\r\n\r\n", FIELD),
        ("0\r\nx\r\n\r\n", FIELD),
        ("0\r\nx: y\n\r\n", TRAILERS),
        ("0\r\nx: y\rz\r\n\r\n", TRAILERS),
        ("0\r\n\rx", TRAILERS),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(told("GET", answer.as_bytes(), false).await, format!("200  {wanted}"), "{chunks:?}");
    }
    for chunks in ["2\r\nokk\r\n", "2\r\nok0\r\n\r\n", "2\r\nok\n0\r\n\r\n", "2\r\nok\r0\r\n\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(told("GET", answer.as_bytes(), false).await, format!("200 ok {END}"), "{chunks:?}");
    }
}

async fn told_at_once(answer: &str) -> String {
    match ask("GET", Pieces::new([answer.as_bytes()], true)).await.0 {
        Outcome::Refused(why) | Outcome::Answer { end: Err(why), .. } => why,
        Outcome::Answer { status, .. } => status.to_string(),
    }
}

#[tokio::test]
async fn everything_has_its_limit() {
    let of = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n");
    assert_eq!(told_at_once(&of(&"x: y\r\n".repeat(99))).await, "200");
    assert_eq!(told_at_once(&of(&"x: y\r\n".repeat(100))).await, "too many fields");
    let room = MOST_HEAD - of("x: \r\n").len();
    assert_eq!(told_at_once(&of(&format!("x: {}\r\n", "y".repeat(room - 1)))).await, "200");
    assert_eq!(told_at_once(&of(&format!("x: {}\r\n", "y".repeat(MOST_HEAD)))).await, "too many bytes of a head");
    assert_eq!(told_at_once(&of(&format!("{}: y\r\n", "x".repeat(70_000)))).await, FIELD);

    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    assert_eq!(told_at_once(&format!("{}{}", hint.repeat(MOST_INTERIM), of(""))).await, "200");
    assert_eq!(told_at_once(&format!("{}{}", hint.repeat(MOST_INTERIM + 1), of(""))).await, "too many interim answers");

    let chunked = |chunks: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    let long = "y".repeat(16 * 1024 - 1);
    assert_eq!(told_at_once(&chunked(&format!("0;{}\r\n\r\n", &long))).await, "200");
    assert_eq!(told_at_once(&chunked(&format!("0;{long}y\r\n\r\n"))).await, "too many bytes of chunk extensions");
    let many = format!("1;{}\r\n!\r\n", "y".repeat(1024)).repeat(16);
    assert_eq!(told_at_once(&chunked(&format!("{many}0\r\n\r\n"))).await, "too many bytes of chunk extensions");
    assert_eq!(told_at_once(&chunked(&format!("0\r\nx: {long}\r\n\r\n"))).await, "too many bytes of trailers");
    assert_eq!(told_at_once(&chunked(&format!("0\r\n{}\r\n", "x: y\r\n".repeat(100)))).await, "200");
    assert_eq!(told_at_once(&chunked(&format!("0\r\n{}\r\n", "x: y\r\n".repeat(101)))).await, "too many fields");
}

/// Each might be the last before an answer, and reading all of them again for each would take for ever.
#[tokio::test]
async fn empty_lines_before_an_answer_are_not_read_for_ever() {
    let lines = vec![&b"\r\n"[..]; MOST_READINGS + 1];
    let (outcome, _) = ask("GET", Pieces::new(lines, false)).await;
    assert_eq!(outcome, Outcome::Refused("too many empty lines".to_owned()));
}

/// Bodies that are larger than what is read at a time.
#[tokio::test]
async fn large_bodies_arrive_as_they_are() {
    let body: Vec<u8> = (0..300_000u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    let with_length = [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    let until_close = [b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat();
    let mut chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(70_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for (answer, ends) in [(with_length, false), (until_close, true), (chunked, false)] {
        for piece in [usize::MAX, 65_536, 16_384, 1_000] {
            let (outcome, is_ready) = ask("GET", Pieces::new(answer.chunks(piece), ends)).await;
            let Outcome::Answer { body: read, end, .. } = outcome else { panic!("{outcome:?}") };
            assert!(read == body, "{piece}");
            assert_eq!((end, is_ready), (Ok(()), !ends), "{piece}");
        }
    }
}

/// One that is whole with its head is known to be: client and connection wait for nothing.
#[tokio::test]
async fn what_came_in_one_read_is_there_in_one_frame() {
    for answer in [OK, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"] {
        let mut wire = Wire::new(Pieces::new([answer.as_bytes()], false));
        let mut rest = wire.send(plain(&request("GET"))).await.unwrap().into_body();
        assert!(!wire.is_ready());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Some(Ok(frame))) = rest.poll_frame(&mut wire, &mut cx) else { panic!("{answer}") };
        assert_eq!(frame.into_data().unwrap(), "ok");
        assert!(rest.is_end_stream() && wire.is_ready());
        assert!(matches!(rest.poll_frame(&mut wire, &mut cx), Poll::Ready(None)));
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let mut wire = Wire::new(Pieces::new([], false));
    for _ in 0..3 {
        wire.stream.pieces.push_back(Bytes::from_static(OK.as_bytes()));
        wire.stream.pieces.push_back(Bytes::new());
        wire.stream.pieces.pop_back();
        let mut rest = wire.send(plain(&request("GET"))).await.unwrap().into_body();
        assert!(
            wire.send(plain(&request("GET"))).await.is_err_and(|fault| matches!(fault, Fault::Unsent)),
            "one is under way"
        );
        assert!(poll_fn(|cx| rest.poll_frame(&mut wire, cx)).await.unwrap().is_ok());
        assert!(wire.is_ready());
    }
    wire.stream.pieces.push_back(Bytes::from_static(b"?"));
    assert!(!wire.is_ready());
    wire.stream.pieces.clear();
    assert!(!wire.is_ready(), "a byte that nobody asked for is the end of it");
    assert!(wire.into_stream().is_none());
}

#[tokio::test]
async fn one_that_is_left_in_the_middle_serves_no_more() {
    let mut wire = Wire::new(Pieces::new([], false));
    {
        let request = request("GET");
        let mut sent = std::pin::pin!(wire.send(plain(&request)));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(sent.as_mut().poll(&mut cx).is_pending());
    }
    assert!(!wire.is_ready());
    assert!(wire.send(plain(&request("GET"))).await.is_err());
}
