#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod several;

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use http_body_util::BodyExt as _;
use hyper::{StatusCode, Version, header::CONTENT_LENGTH};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use super::*;
use crate::{
    body::{BodyError, BodyLimits, received as bodies},
    observe::Observer,
    refusal::UpstreamFault,
    trace::Span,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET /a?b=%2F HTTP/1.1\r\nhost: client.example\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n";
const SHORT: Duration = Duration::from_millis(60);

/// What a scripted server does next on a connection.
#[derive(Clone, Copy)]
enum Step {
    /// Reads a head, and a body of the declared length or up to the last chunk.
    Read,
    /// Reads until these bytes were there.
    Until(&'static str),
    Say(&'static str),
    /// Waits for so long.
    Pause(Duration),
    /// Reads until the other end closes; says so in the record.
    AwaitClose,
}
use Step::{AwaitClose, Pause, Read, Say, Until};

/// A server that follows a script for each connection; the last one serves for all that follow.
struct Server {
    port: u16,
    accepted: Arc<AtomicUsize>,
    record: Arc<Mutex<String>>,
}

impl Server {
    async fn start(scripts: &[&[Step]]) -> Server {
        Server::start_at(("127.0.0.1", 0), scripts).await
    }

    async fn start_at(address: (&str, u16), scripts: &[&[Step]]) -> Server {
        let scripts: Vec<Vec<Step>> = scripts.iter().map(|script| script.to_vec()).collect();
        let listener = TcpListener::bind(address).await.unwrap();
        let server =
            Server { port: listener.local_addr().unwrap().port(), accepted: Arc::default(), record: Arc::default() };
        let (accepted, record) = (server.accepted.clone(), server.record.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = accepted.fetch_add(1, Ordering::SeqCst);
                let script = scripts.get(number).or(scripts.last()).unwrap().clone();
                tokio::spawn(follow(stream, script, record.clone()));
            }
        });
        server
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn record(&self) -> String {
        self.record.lock().unwrap().clone()
    }

    fn settings(&self) -> UpstreamSettings {
        UpstreamSettings {
            name: "up".into(),
            endpoint: EndpointAddress {
                tls: false,
                host: "127.0.0.1".into(),
                port: self.port,
                base_path: String::new(),
                socket: None,
            },
            connect_timeout: Duration::from_secs(10),
            response_timeout: Some(Duration::from_secs(10)),
            idle_timeout: Duration::from_secs(60),
            max_connections: None,
            preserve_host: false,
            further_endpoints: Vec::new(),
            balance: Balance::default(),
            http2: false,
            health: None,
            eject: None,
            retry: Retry { attempts: 2, on_connect: true, on_status: Vec::new(), budget_percent: 20 },
            tls: UpstreamTls::default(),
            ignores_case: false,
            token: None,
        }
    }

    fn upstream(&self) -> Arc<Upstream> {
        upstream(self.settings())
    }
}

fn upstream(settings: UpstreamSettings) -> Arc<Upstream> {
    let observer = Observer::silent();
    let parts = settings.endpoints().map(|address| EndpointParts {
        metrics: observer.upstream("up", &address.label()),
        standing: Arc::new(Standing::new(observer.endpoint_health("up", &address.label()))),
    });
    let parts: Vec<_> = parts.collect();
    Upstream::new(settings, 2, parts, None)
}

async fn follow(mut stream: TcpStream, script: Vec<Step>, record: Arc<Mutex<String>>) {
    let mut seen = String::new();
    for step in script {
        match step {
            Read => {
                let body = |head: &str| match head.split_once("content-length: ") {
                    Some((_, rest)) => rest.split_once("\r\n").unwrap().0.parse().unwrap(),
                    None => 0,
                };
                let whole = |seen: &str| match seen.split_once("\r\n\r\n") {
                    Some((head, _)) if head.contains("chunked") => seen.ends_with("0\r\n\r\n"),
                    Some((head, rest)) => rest.len() >= body(&format!("{head}\r\n")),
                    None => false,
                };
                if !read_until(&mut stream, &mut seen, &record, whole).await {
                    return;
                }
                seen.clear();
            }
            Until(text) => {
                if !read_until(&mut stream, &mut seen, &record, |seen| seen.contains(text)).await {
                    return;
                }
            }
            Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Pause(time) => sleep(time).await,
            AwaitClose => {
                read_until(&mut stream, &mut seen, &record, |_| false).await;
                record.lock().unwrap().push_str("<closed>");
            }
        }
    }
}

async fn read_until(
    stream: &mut TcpStream,
    seen: &mut String,
    record: &Mutex<String>,
    done: impl Fn(&str) -> bool,
) -> bool {
    let mut buffer = [0; 4096];
    while !done(seen) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => {
                let text = std::str::from_utf8(&buffer[..count]).unwrap();
                seen.push_str(text);
                record.lock().unwrap().push_str(text);
            }
        }
    }
    true
}

async fn send_with(upstream: &Upstream, worker: usize, bytes: &str, limits: BodyLimits) -> Exchange {
    let (request, fault, _client) = bodies::request(bytes.as_bytes(), limits).await;
    upstream.forward(Permit::for_test(), worker, Box::new(request), &fault, Span::none().as_parent()).await
}

async fn send(upstream: &Upstream, bytes: &str) -> Exchange {
    send_with(upstream, 0, bytes, bodies::GENEROUS).await
}

async fn text(exchange: Exchange) -> String {
    let body = exchange.answer.unwrap().into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

fn refused(exchange: &Exchange) -> &Refusal {
    exchange.answer.as_ref().err().expect("an answer came")
}

const BROKEN: Refusal = Refusal::Upstream(UpstreamFault::Broken);
const TIMED_OUT: Refusal = Refusal::Upstream(UpstreamFault::TimedOut);
const UNAVAILABLE: Refusal = Refusal::Upstream(UpstreamFault::Unavailable);

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_connection_is_used_again_once_its_answer_was_read() {
    let server =
        Server::start(&[&[Read, Say(OK), Read, Say(OK), Read, Say("HTTP/1.1 204 No Content\r\n\r\n"), Read, Say(OK)]])
            .await;
    let upstream = server.upstream();
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!(upstream.endpoints[0].pool.idle(0), 1);
    let exchange = send(&upstream, POST).await;
    assert_eq!(exchange.attempts, 1);
    assert_eq!(upstream.endpoints[0].pool.idle(0), 0, "in use until its answer was read");
    assert_eq!(text(exchange).await, "ok");
    assert_eq!(text(send(&upstream, POST).await).await, "");
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_connection_serves_requests_with_bodies_and_without() {
    let server = Server::start(&[&[Read, Say(OK)].repeat(6)]).await;
    let upstream = server.upstream();
    for request in [GET, POST, "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi", GET, POST] {
        assert_eq!(text(send(&upstream, request).await).await, "ok");
        until(|| upstream.endpoints[0].pool.idle(0) == 1).await;
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn idle_connections_that_are_of_no_use_are_swept_away() {
    let ends = Server::start(&[&[Read, Say(OK)]]).await;
    let upstream = ends.upstream();
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    until(|| upstream.endpoints[0].pool.all_closed(0)).await;
    upstream.endpoints[0].pool.sweep();
    assert_eq!(upstream.endpoints[0].pool.idle(0), 0);

    for (idle_timeout, left) in [(Duration::from_secs(60), 1), (Duration::ZERO, 0)] {
        let stays = Server::start(&[&[Read, Say(OK), AwaitClose]]).await;
        let upstream = self::upstream(UpstreamSettings { idle_timeout, ..stays.settings() });
        assert_eq!(text(send(&upstream, GET).await).await, "ok");
        upstream.endpoints[0].pool.sweep();
        assert_eq!(upstream.endpoints[0].pool.idle(0), left);
        until(|| left == 1 || stays.record().ends_with("<closed>")).await;
    }
}

/// What comes while nobody has asked may be the answer to nobody.
#[tokio::test]
async fn a_connection_that_speaks_unasked_is_not_used() {
    for unasked in ["!", "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"] {
        let server = Server::start(&[&[Read, Say(OK), Pause(SHORT), Say(unasked), AwaitClose], &[Read, Say(OK)]]).await;
        let upstream = server.upstream();
        assert_eq!(text(send(&upstream, GET).await).await, "ok");
        until(|| upstream.endpoints[0].pool.all_closed(0)).await;
        assert_eq!(text(send(&upstream, POST).await).await, "ok");
        assert_eq!(server.accepted(), 2);
    }
}

#[tokio::test]
async fn chunked_answers_free_their_connection_too() {
    let server = Server::start(&[&[
        Read,
        Say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        Read,
        Say(OK),
    ]])
    .await;
    let upstream = server.upstream();
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    until(|| upstream.endpoints[0].pool.idle(0) == 1).await;
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn an_answer_dropped_unread_takes_its_connection_along() {
    let server = Server::start(&[
        &[Read, Say("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx"), AwaitClose],
        &[Read, Say(OK)],
    ])
    .await;
    let upstream = server.upstream();
    drop(send(&upstream, GET).await);
    until(|| server.record().contains("<closed>")).await;
    assert_eq!(upstream.endpoints[0].pool.idle(0), 0);
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_request_dropped_ends_at_the_upstream() {
    let server = Server::start(&[&[Read, AwaitClose]]).await;
    let upstream = server.upstream();
    tokio::select! {
        _ = send(&upstream, GET) => panic!("no answer was sent"),
        () = until(|| server.record().contains("\r\n\r\n")) => {}
    }
    until(|| server.record().contains("<closed>")).await;
}

/// The keep-alive race: the upstream closes while the next request is on its way.
#[tokio::test]
async fn a_reused_connection_that_says_nothing_is_replaced_for_what_may_be_repeated() {
    for (request, answered) in [
        (GET, true),
        ("HEAD / HTTP/1.1\r\nhost: h\r\n\r\n", true),
        ("DELETE / HTTP/1.1\r\nhost: h\r\n\r\n", true),
        (POST, false),
        ("PATCH / HTTP/1.1\r\nhost: h\r\n\r\n", false),
        ("PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi", false),
    ] {
        let server = Server::start(&[&[Read, Say(OK), Read], &[Read, Say(OK)]]).await;
        let upstream = server.upstream();
        assert_eq!(text(send(&upstream, GET).await).await, "ok");
        let exchange = send(&upstream, request).await;
        if answered {
            assert_eq!(exchange.attempts, 2, "{request}");
            assert_eq!(exchange.answer.unwrap().status(), StatusCode::OK);
        } else {
            assert_eq!((refused(&exchange), exchange.attempts), (&BROKEN, 1), "{request}");
            assert_eq!(server.accepted(), 1);
        }
    }
}

#[tokio::test]
async fn it_is_replaced_once_only() {
    let server = Server::start(&[&[Read, Say(OK), Read], &[Read]]).await;
    let upstream = server.upstream();
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    let exchange = send(&upstream, GET).await;
    assert_eq!((refused(&exchange), exchange.attempts, server.accepted()), (&BROKEN, 2, 2));
}

#[tokio::test]
async fn a_new_connection_that_says_nothing_is_not_asked_again() {
    let server = Server::start(&[&[Read]]).await;
    let exchange = send(&server.upstream(), GET).await;
    assert_eq!((refused(&exchange), exchange.attempts, server.accepted()), (&BROKEN, 1, 1));
}

#[tokio::test]
async fn half_an_answer_is_not_asked_for_again() {
    let server = Server::start(&[&[Read, Say(OK), Read, Say("HTTP/1.1 200 OK\r\ncont")], &[Read, Say(OK)]]).await;
    let upstream = server.upstream();
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    let exchange = send(&upstream, GET).await;
    assert_eq!((refused(&exchange), exchange.attempts, server.accepted()), (&BROKEN, 1, 1));
}

#[tokio::test]
async fn any_request_survives_a_connection_that_closed_while_idle() {
    for request in [GET, POST, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi"] {
        let server = Server::start(&[&[Read, Say(OK)], &[Read, Say(OK)]]).await;
        let upstream = server.upstream();
        assert_eq!(text(send(&upstream, GET).await).await, "ok");
        until(|| upstream.endpoints[0].pool.all_closed(0)).await;
        assert_eq!(text(send(&upstream, request).await).await, "ok");
        assert_eq!(server.accepted(), 2);
    }
}

/// More than one answer to a request must not become the answer to somebody else's.
#[tokio::test]
async fn an_answer_too_many_is_never_heard() {
    let server = Server::start(&[
        &[
            Read,
            Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
            AwaitClose,
        ],
        &[Read, Say(OK)],
    ])
    .await;
    let upstream = server.upstream();
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn what_is_no_answer_is_refused() {
    for script in [
        &[&[Read, Say("SSH-2.0-OpenSSH_9.6\r\n\r\n")][..]],
        &[&[Read, Say("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx")][..]],
        &[&[Read, Say("HTTP/1.1 200 OK\r\nbad header\r\n\r\n")][..]],
        &[&[Read, Say("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")][..]],
        &[&[Read, Say("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nx")][..]],
        &[&[Read, Say("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 1\r\n\r\nx")][..]],
        &[&[
            Read,
            Say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n"),
        ][..]],
        &[&[Read, Say("HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n")][..]],
        &[&[Read, Say("")][..]],
        &[&[Read, Say("HTTP/1.1 100 Continue\r\n\r\n")][..]],
    ] {
        let server = Server::start(script).await;
        let exchange = send(&server.upstream(), POST).await;
        assert_eq!((refused(&exchange), exchange.attempts), (&BROKEN, 1));
    }
}

#[tokio::test]
async fn an_answers_framing_is_made_plain() {
    let server = Server::start(&[&[
        Read,
        Say("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\
             connection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nwww-authenticate: Bearer\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ]])
    .await;
    let answer = send(&server.upstream(), GET).await.answer.unwrap();
    let names: Vec<&str> = answer.headers().keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["www-authenticate"]);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
}

#[tokio::test]
async fn an_answer_of_http_1_0_ends_its_connection() {
    let server = Server::start(&[&[
        Read,
        Say("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"),
        AwaitClose,
    ]])
    .await;
    let upstream = server.upstream();
    let exchange = send(&upstream, GET).await;
    let version = exchange.answer.as_ref().unwrap().version();
    assert_eq!(version, Version::HTTP_11, "the version is each connection's own (RFC 9110, section 6.2)");
    assert_eq!(text(exchange).await, "ok");
    until(|| server.record().contains("<closed>")).await;
    assert_eq!(upstream.endpoints[0].pool.idle(0), 0);
}

/// Whoever answers before the body was there may never read it, and take it for the next request.
#[tokio::test]
async fn an_answer_before_the_requests_end_ends_its_connection() {
    let server = Server::start(&[&[Until("hello"), Say(OK), AwaitClose], &[Read, Say(OK)]]).await;
    let upstream = server.upstream();
    let head = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhello";
    let (request, fault, mut client) = bodies::request(head, bodies::GENEROUS).await;
    assert_eq!(
        text(upstream.forward(Permit::for_test(), 0, Box::new(request), &fault, Span::none().as_parent()).await).await,
        "ok"
    );
    client.write_all(b"GET ").await.unwrap();
    until(|| server.record().contains("GET ") || server.record().contains("<closed>")).await;
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!(server.accepted(), 2);
}

/// A body that comes all the same, a moment later, would be the answer to the next request.
#[tokio::test]
async fn an_answer_that_announces_a_body_and_has_none_ends_its_connection() {
    const HEAD: &str = "HEAD / HTTP/1.1\r\nhost: h\r\n\r\n";
    for (request, answer) in [
        (HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n"),
        (HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 42\r\n\r\n"),
        (GET, "HTTP/1.1 204 No Content\r\ncontent-length: 42\r\n\r\n"),
    ] {
        let server = Server::start(&[&[Read, Say(answer), AwaitClose], &[Read, Say(OK)]]).await;
        let upstream = server.upstream();
        let exchange = send(&upstream, request).await;
        let fields = exchange.answer.as_ref().unwrap().headers();
        assert_eq!(fields.contains_key(CONTENT_LENGTH), answer.contains("42") && !answer.contains("204"), "{answer}");
        assert_eq!(text(exchange).await, "");
        assert_eq!(text(send(&upstream, GET).await).await, "ok", "{answer}");
        assert_eq!(server.accepted(), 2, "{answer}");
    }
}

/// 413, closed with the rest unread: the reset fails our writes, and the answer is there to be read.
#[tokio::test]
async fn an_answer_is_read_though_writing_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut theirs, _) = listener.accept().await.unwrap();
    let mut ours = counted::Counted { stream: connect::Stream::Plain(ours), heard: connection::Heard::default() };
    ours.write_all(b"unread").await.unwrap();
    theirs.readable().await.unwrap();
    theirs.write_all(b"answer").await.unwrap();
    drop(theirs);
    for _ in 0..1000 {
        let written = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(tokio::io::AsyncWrite::poll_write(std::pin::Pin::new(&mut ours), cx, b"more"))
        });
        match written.await {
            std::task::Poll::Ready(written) => assert_eq!(written.unwrap(), 4),
            std::task::Poll::Pending => break,
        }
        sleep(Duration::from_millis(1)).await;
    }
    let mut answer = [0; 6];
    ours.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
}

#[tokio::test]
async fn an_answer_cut_short_is_an_error() {
    let server = Server::start(&[&[Read, Say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")]]).await;
    let answer = send(&server.upstream(), GET).await.answer.unwrap();
    assert!(matches!(answer.into_body().collect().await, Err(BodyError::Connection(_))));
}

#[tokio::test]
async fn the_request_line_and_host_are_the_upstreams() {
    for (base_path, preserve_host, request, written) in [
        ("", false, GET, "GET /a?b=%2F HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n\r\n"),
        ("", true, GET, "GET /a?b=%2F HTTP/1.1\r\nhost: client.example\r\n\r\n"),
        ("/v1", false, GET, "GET /v1/a?b=%2F HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n\r\n"),
        ("/v1", false, "GET / HTTP/1.1\r\nhost: h\r\n\r\n", "GET /v1/ HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n\r\n"),
        ("", false, "GET //x/y HTTP/1.1\r\nhost: h\r\n\r\n", "GET //x/y HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n\r\n"),
        ("", true, "GET http://h/abs?q HTTP/1.1\r\nhost: h\r\n\r\n", "GET /abs?q HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("", true, "GET /old HTTP/1.0\r\n\r\n", "GET /old HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n\r\n"),
    ] {
        let server = Server::start(&[&[Read, Say(OK)]]).await;
        let mut settings = server.settings();
        settings.endpoint.base_path = base_path.into();
        settings.preserve_host = preserve_host;
        assert_eq!(text(send(&upstream(settings), request).await).await, "ok");
        assert_eq!(server.record(), written.replace("PORT", &server.port.to_string()));
    }
}

#[test]
fn authorities() {
    for (tls, host, port, authority) in [
        (false, "h", 80, "h"),
        (false, "h", 443, "h:443"),
        (true, "h", 443, "h"),
        (true, "h", 80, "h:80"),
        (false, "::1", 80, "[::1]"),
        (false, "::1", 8080, "[::1]:8080"),
    ] {
        let endpoint = EndpointAddress { tls, host: host.into(), port, base_path: String::new(), socket: None };
        assert_eq!(endpoint.authority(), authority);
    }
}

#[tokio::test]
async fn bodies_and_trailers_pass_with_any_method() {
    for method in ["POST", "GET", "DELETE"] {
        let server = Server::start(&[&[Until("x-sum: 5\r\n\r\n"), Say(OK)]]).await;
        let request = format!(
            "{method} / HTTP/1.1\r\nhost: h\r\ntrailer: x-sum, x-auth-subject\r\ntransfer-encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\nx-sum: 5\r\nx-auth-subject: root\r\n\r\n"
        );
        assert_eq!(text(send(&server.upstream(), &request).await).await, "ok");
        let record = server.record();
        assert!(record.contains("transfer-encoding: chunked\r\n"), "{record}");
        assert!(record.ends_with("\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n"), "{record}");
    }
}

#[tokio::test]
async fn a_fault_of_the_client_is_not_the_upstreams() {
    let server = Server::start(&[&[Until("hello"), AwaitClose]]).await;
    let limits = BodyLimits { max_bytes: Some(5), ..bodies::GENEROUS };
    let request = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    let exchange = send_with(&server.upstream(), 0, request, limits).await;
    assert_eq!(refused(&exchange), &Refusal::BodyTooLarge);
    until(|| server.record().contains("<closed>")).await;
    assert!(!server.record().contains("0\r\n\r\n"), "the upstream saw an end");
}

#[tokio::test]
async fn a_client_that_goes_away_in_its_body_ends_the_request() {
    let server = Server::start(&[&[Until("hello"), AwaitClose]]).await;
    let upstream = server.upstream();
    let (request, fault, client) =
        bodies::request(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhello", bodies::GENEROUS).await;
    let go_away = async {
        until(|| server.record().contains("hello")).await;
        drop::<DuplexStream>(client);
    };
    let (exchange, ()) = tokio::join!(
        upstream.forward(Permit::for_test(), 0, Box::new(request), &fault, Span::none().as_parent()),
        go_away
    );
    assert!(exchange.answer.is_err());
    until(|| server.record().contains("<closed>")).await;
}

#[tokio::test]
async fn connecting_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server =
        Server { port: listener.local_addr().unwrap().port(), accepted: Arc::default(), record: Arc::default() };
    let mut settings = server.settings();
    settings.endpoint.tls = true;
    settings.connect_timeout = SHORT;
    let exchange = send(&upstream(settings), GET).await;
    assert_eq!((refused(&exchange), exchange.attempts), (&TIMED_OUT, 1), "no handshake");

    drop(listener);
    let exchange = send(&server.upstream(), GET).await;
    assert_eq!((refused(&exchange), exchange.attempts), (&BROKEN, 2), "refused");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    for script in [&[&[Read, AwaitClose][..]], &[&[Read, Say("HTTP/1.1 200 OK\r\nx: "), AwaitClose][..]]] {
        let server = Server::start(script).await;
        let mut settings = server.settings();
        settings.response_timeout = Some(SHORT);
        let exchange = send(&upstream(settings), GET).await;
        assert_eq!((refused(&exchange), exchange.attempts), (&TIMED_OUT, 1));
        until(|| server.record().contains("<closed>")).await;
    }
}

#[tokio::test]
async fn a_slow_client_does_not_use_up_the_upstreams_time() {
    let server = Server::start(&[&[Read, Say(OK)]]).await;
    let mut settings = server.settings();
    settings.response_timeout = Some(SHORT);
    let (request, fault, mut client) =
        bodies::request(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\n", bodies::GENEROUS).await;
    let upload = async {
        for _ in 0..3 {
            sleep(SHORT * 3).await;
            client.write_all(b"x").await.unwrap();
        }
    };
    let upstream = upstream(settings);
    let (exchange, ()) = tokio::join!(
        upstream.forward(Permit::for_test(), 0, Box::new(request), &fault, Span::none().as_parent()),
        upload
    );
    assert_eq!(text(exchange).await, "ok");
}

fn soon() -> BodyLimits {
    BodyLimits { deadline: Some(Instant::now() + SHORT), ..bodies::GENEROUS }
}

#[tokio::test]
async fn the_routes_time_bounds_every_phase() {
    let silent = Server::start(&[&[Read, AwaitClose]]).await;
    let waiting = send_with(&silent.upstream(), 0, GET, soon()).await;
    assert_eq!(refused(&waiting), &TIMED_OUT);

    let upload = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nx";
    let uploading = send_with(&silent.upstream(), 0, upload, soon()).await;
    assert_eq!(refused(&uploading), &Refusal::UploadTimedOut);

    let dripping = Server::start(&[&[Read, Say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"), AwaitClose]]).await;
    let answer = send_with(&dripping.upstream(), 0, GET, soon()).await.answer.unwrap();
    assert!(matches!(answer.into_body().collect().await, Err(BodyError::TimedOut)));
    until(|| dripping.record().contains("<closed>")).await;
}

#[tokio::test]
async fn connections_are_limited_and_shared_by_workers() {
    let server = Server::start(&[&[Read, Say(OK), Read, Say(OK), Read, Say(OK)]]).await;
    let mut settings = server.settings();
    settings.max_connections = Some(1);
    settings.connect_timeout = SHORT;
    let upstream = upstream(settings);
    let first = send(&upstream, GET).await;
    let second = send_with(&upstream, 1, GET, bodies::GENEROUS).await;
    assert_eq!((refused(&second), second.attempts), (&UNAVAILABLE, 0));

    assert_eq!(text(first).await, "ok");
    let other_worker = send_with(&upstream, 1, GET, bodies::GENEROUS).await;
    assert_eq!(text(other_worker).await, "ok");
    assert_eq!(server.accepted(), 1, "another worker's idle connection is used");
}

#[tokio::test]
async fn whoever_waits_for_a_connection_gets_the_next() {
    let server = Server::start(&[&[Read, Pause(SHORT), Say(OK), Read, Say(OK), Read, Say(OK)]]).await;
    let mut settings = server.settings();
    settings.max_connections = Some(1);
    let upstream = upstream(settings);
    let one = async { text(send(&upstream, GET).await).await };
    let two = async { text(send(&upstream, GET).await).await };
    let three = async { text(send_with(&upstream, 1, GET, bodies::GENEROUS).await).await };
    let all = tokio::join!(one, two, three);
    assert_eq!(all, ("ok".to_owned(), "ok".to_owned(), "ok".to_owned()));
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn connections_that_idled_too_long_are_not_used() {
    let server = Server::start(&[&[Read, Say(OK), AwaitClose]]).await;
    let mut settings = server.settings();
    settings.idle_timeout = Duration::ZERO;
    let upstream = upstream(settings);
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!((server.accepted(), upstream.endpoints[0].pool.idle(0)), (2, 1));
    until(|| server.record().contains("<closed>")).await;
}

#[tokio::test]
async fn futures_can_move_between_threads() {
    let server = Server::start(&[&[Read, Say(OK)]]).await;
    let upstream = server.upstream();
    let exchange = tokio::spawn(async move { send(&upstream, GET).await }).await.unwrap();
    assert_eq!(text(exchange).await, "ok");
}
