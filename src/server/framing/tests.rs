#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::task::Waker;

use hyper::rt::Read as _;
use proptest::prelude::*;

use super::*;

/// A client that sends pieces of these sizes, over and over, and then ends.
struct Pieces {
    bytes: Vec<u8>,
    sent: usize,
    sizes: Vec<usize>,
    turn: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pieces = self.get_mut();
        let size = pieces.sizes[pieces.turn % pieces.sizes.len()];
        pieces.turn += 1;
        let rest = &pieces.bytes[pieces.sent..];
        let now = size.min(rest.len()).min(buffer.remaining());
        buffer.put_slice(&rest[..now]);
        pieces.sent += now;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const LIMITS: Limits =
    Limits { max_header_bytes: 2048, header_timeout: Duration::from_secs(10), idle_timeout: Duration::from_secs(10) };

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// What hyper gets.
    passed: String,
    /// Of each head.
    faults: Vec<(Option<Refusal>, Option<Refusal>)>,
    end: &'static str,
}

/// What comes of the bytes when they arrive in pieces of `sizes` and hyper has room for `room`.
fn outcome(bytes: &[u8], sizes: &[usize], room: usize) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let io = Pieces { bytes: bytes.to_vec(), sent: 0, sizes: sizes.to_vec(), turn: 0 };
    let exchanges = Exchanges::new();
    let mut guard = Guard::new(io, first(), LIMITS, exchanges.clone());
    let mut cx = Context::from_waker(Waker::noop());
    let (mut passed, mut noted) = (Vec::new(), Vec::new());
    let end = loop {
        let mut memory = vec![0; room];
        let mut buffer = hyper::rt::ReadBuf::new(&mut memory);
        match Pin::new(&mut guard).poll_read(&mut cx, buffer.unfilled()) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => break "ended",
            Poll::Ready(Ok(())) => passed.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(_)) => break "broken",
            Poll::Pending => break "refused",
        }
        // Answered at once, or the guard would wait.
        while exchanges.idle_since().is_none() {
            noted.push(exchanges.begin().0);
        }
        assert!(guard.held.len() <= LIMITS.max_header_bytes + SCRATCH_BYTES);
    };
    let faults = noted.into_iter().map(|noted| (noted.fault, noted.body_fault.get().cloned())).collect();
    Outcome { passed: String::from_utf8_lossy(&passed).into_owned(), faults, end }
}

#[test]
fn an_idle_connection_holds_no_memory() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let io = Pieces { bytes: bytes.to_vec(), sent: 0, sizes: vec![5], turn: 0 };
    let mut guard = Guard::new(io, first(), LIMITS, Exchanges::new());
    let mut memory = [0; 100];
    let mut buffer = hyper::rt::ReadBuf::new(&mut memory);
    let _ = Pin::new(&mut guard).poll_read(&mut Context::from_waker(Waker::noop()), buffer.unfilled());
    assert_eq!(buffer.filled(), bytes);
    assert_eq!(guard.held.capacity(), 0);
}

#[test]
fn what_follows_a_refused_head_is_never_passed() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /bad HTTP/1.1\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n";
    let outcome = outcome(bytes, &[1000], 1000);
    assert_eq!(outcome.faults, [(None, None), (Some(Refusal::Framing("there is no Host field")), None)]);
    assert!(!outcome.passed.contains("/bad") && !outcome.passed.contains("/after"));
    assert_eq!(outcome.end, "refused");
}

#[test]
fn a_broken_body_is_said_of_its_own_request() {
    let bytes = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
        POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX";
    let outcome = outcome(bytes, &[1000], 1000);
    assert_eq!(outcome.faults[0], (None, None));
    assert!(matches!(outcome.faults[1], (None, Some(Refusal::Framing(_)))));
    assert!(outcome.passed.ends_with("5\r\nhello"));
    assert_eq!(outcome.end, "broken");
}

#[rustfmt::skip]
pub(in crate::server) fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<&'static str> = vec![
        "GET / HTTP/1.1\r\n",
        "POST /a HTTP/1.1\r\n",
        "HEAD / HTTP/1.0\r\n",
        "GET http://a/ HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "GET ",
        "/",
        " HTTP/1.1",
        "HTTP/2.0",
        "Host: a\r\n",
        "Host: a\r\n\r\n",
        "Host: b:80\r\n",
        "X: y\r\n",
        "X : y\r\n",
        " fold\r\n",
        "Content-Length: 5\r\n\r\nhello",
        "Content-Length: 3\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: gzip\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "0\r\nT: u\r\n\r\n",
        "5;x=y\r\n",
        "\r\n",
        "\r\n\r\n",
        "\r",
        "\n",
        ":",
        " ",
        "\t",
        "\0",
        "#",
        "<",
        "a",
        "5",
        "\u{e9}",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    prop_oneof![
        20 => prop::sample::select(texts).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
        1 => (0..3000usize).prop_map(|length| vec![b'x'; length]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn pieces_make_no_difference(
        fragments in prop::collection::vec(fragment(), 0..16),
        sizes in prop::collection::vec(1..60usize, 1..5),
        room in 1..100usize,
    ) {
        let bytes = fragments.concat();
        let at_once = outcome(&bytes, &[100_000], 100_000);
        prop_assert_eq!(&at_once, &outcome(&bytes, &sizes, room));
        prop_assert_eq!(&at_once, &outcome(&bytes, &[1], 7));
    }

    #[test]
    fn what_is_passed_is_what_came(fragments in prop::collection::vec(fragment(), 0..16)) {
        let bytes = fragments.concat();
        let outcome = outcome(&bytes, &[100_000], 100_000);
        if outcome.end != "refused" {
            let came = String::from_utf8_lossy(&bytes).replace(['\r', '\n'], "");
            prop_assert!(came.starts_with(&outcome.passed.replace(['\r', '\n'], "")));
        }
    }

    /// hyper and the guard must never disagree on where a message ends: it would show as a bare answer of hyper's own, or as a
    /// call for a head that the guard hasn't seen.
    #[test]
    fn hyper_keeps_step(fragments in prop::collection::vec(fragment(), 0..16), piece in 1..300usize) {
        let bytes = fragments.concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let answers = runtime.block_on(talk(bytes, piece));
        for answer in format!("\n{answers}").split("\nHTTP/1.").skip(1) {
            prop_assert!(answer.contains("x-mark: handler"), "{}", answers);
            prop_assert!(!answer.contains("x-fault: the request could not be told"), "{}", answers);
        }
    }
}

/// Marks its answers.
#[derive(Clone)]
pub(in crate::server) struct Marker;

impl crate::server::Handler for Marker {
    async fn handle(&self, asked: Box<crate::server::Asked>) -> hyper::Response<crate::body::Body> {
        use http_body_util::BodyExt;
        let crate::server::Asked { body, arrival, .. } = *asked;
        let _ = tokio::time::timeout(Duration::from_millis(2), body.collect()).await;
        let fault = arrival.fault.as_ref().map_or("", Refusal::detail);
        let response = hyper::Response::builder().header("x-mark", "handler").header("x-fault", fault);
        response.body(crate::body::Body::Empty).unwrap()
    }
}

pub(in crate::server) fn first() -> First {
    First { bytes: BytesMut::new(), since: Instant::now() }
}

/// All that a client gets that sends these bytes and waits for the end.
async fn talk(bytes: Vec<u8>, piece: usize) -> String {
    let serve =
        |server, arrival, limits, phases| crate::server::http1::serve(server, first(), arrival, Marker, limits, phases);
    talk_to(serve, bytes, piece).await
}

/// The same with whoever serves it.
pub(in crate::server) async fn talk_to<F: Future<Output = ()> + Send + 'static>(
    serve: impl FnOnce(tokio::io::DuplexStream, crate::server::Arrival, Limits, crate::server::drain::Phases) -> F,
    bytes: Vec<u8>,
    piece: usize,
) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let limits = Limits { header_timeout: Duration::from_millis(3), idle_timeout: Duration::from_millis(3), ..LIMITS };
    let arrival = crate::server::Arrival {
        peer: std::net::Ipv4Addr::LOCALHOST.into(),
        listener: 0,
        worker: 0,
        scheme: "http",
        fault: None,
        body_fault: BodyFault::default(),
        client_certificate: None,
        alive: crate::server::drain::alive().0,
    };
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let (_phase, phases) = crate::server::drain::phases();
    let served = tokio::spawn(serve(server, arrival, limits, phases));
    for piece in bytes.chunks(piece) {
        if client.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let mut answers = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut buffer).await {
        answers.extend_from_slice(&buffer[..count]);
    }
    drop(client);
    served.await.expect("no panic");
    String::from_utf8_lossy(&answers).into_owned()
}
