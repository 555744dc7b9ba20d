#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Response, StatusCode};

use super::{Address, Handler, Inherited, ListenSettings, Running, ServerSettings, StartError, start};
use crate::{
    body::Body,
    headers::TrustedProxies,
    observe::{ListenerMetrics, Observer},
    refusal::Refusal,
    server::Asked,
};

/// Says what came: method, target, headers and body, or the refusal.
#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    async fn handle(&self, asked: Box<Asked>) -> Response<Body> {
        let Asked { head, body, arrival } = *asked;
        if let Some(fault) = &arrival.fault {
            return refuse(fault);
        }
        if head.method == "CONNECT" {
            return answer(StatusCode::METHOD_NOT_ALLOWED, head.uri.to_string());
        }
        match head.uri.path() {
            "/unread" => return refuse(&Refusal::NoCredential),
            "/panic" => panic!("asked to"),
            "/slow" => tokio::time::sleep(Duration::from_millis(300)).await,
            "/stuck" => std::future::pending().await,
            _ => {}
        }
        let mut text = format!("{} {}\n", head.method, head.uri);
        for (name, value) in &head.headers {
            text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        }
        match body.collect().await {
            Ok(body) => {
                let trailers = body.trailers().cloned();
                let body = body.to_bytes();
                if body.len() > 1000 {
                    text.push_str(&format!("[{} bytes]", body.len()));
                } else {
                    text.push_str(&format!("[{}]", String::from_utf8_lossy(&body)));
                }
                for (name, value) in trailers.iter().flatten() {
                    text.push_str(&format!("\n{name}= {}", String::from_utf8_lossy(value.as_bytes())));
                }
            }
            Err(_) => {
                return match arrival.body_fault.get() {
                    Some(fault) => refuse(fault),
                    None => refuse(&Refusal::BodyTooSlow),
                };
            }
        }
        answer(StatusCode::OK, text)
    }
}

fn answer(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Full(Some(Bytes::from(text))));
    *response.status_mut() = status;
    response
}

fn refuse(refusal: &Refusal) -> Response<Body> {
    answer(refusal.status(), format!("refused: {}: {}", refusal.reason(), refusal.detail()))
}

fn settings() -> ServerSettings {
    ServerSettings {
        workers: 2,
        trusted_proxies: TrustedProxies::default(),
        max_header_bytes: 32 * 1024,
        max_token_bytes: 1024,
        max_connections: None,
        header_timeout: Duration::from_secs(20),
        body_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(20),
        ready_timeout: Duration::from_secs(1),
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(1),
    }
}

fn listen(address: &str) -> ListenSettings {
    ListenSettings {
        name: address.into(),
        address: Address::Tcp(address.parse().unwrap()),
        tls: None,
        mode: super::ListenMode::Proxy,
    }
}

fn serve(settings: &ServerSettings) -> (Running, SocketAddr) {
    let metrics: Vec<ListenerMetrics> = vec![Observer::silent().listener("test")];
    let running = start(&[listen("127.0.0.1:0")], settings, |_| Echo, metrics, Inherited::default()).unwrap();
    let address = running.addresses()[0].socket().unwrap();
    (running, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// All that comes until the server closes.
fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an orderly close");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer with its body, by Content-Length.
fn read_one(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a whole head");
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    stream
}

fn statuses(answers: &str) -> Vec<&str> {
    answers
        .split("HTTP/1.")
        .filter_map(|answer| answer.get(2..5))
        .filter(|status| status.parse::<u16>().is_ok())
        .collect()
}

const LAST: &str = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// What becomes of the bytes.
enum Outcome {
    /// One request, and the echo has this in it. The one after it is understood too.
    Echo(&'static str),
    /// One answer of this status, then the end: nothing that comes after is looked at.
    Refused(u16, &'static str),
}
use Outcome::{Echo as Fine, Refused};

#[rustfmt::skip]
fn cases() -> Vec<(Vec<u8>, Outcome)> {
    let long = "x".repeat(40_000);
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let mut cases: Vec<(Vec<u8>, Outcome)> = vec![
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n").into(), Refused(431, "size")),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}").into(), Refused(431, "size")),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").into(), Refused(431, "size")),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(99)).into(), Fine("x-98: y")),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(100)).into(), Refused(431, "size")),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}: y\r\n\r\n", "n".repeat(1025)).into(), Refused(431, "size")),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n".to_vec(), Fine("x: ")),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Refused(400, "path")),
        (b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Refused(400, "path")),
        (b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), Refused(400, "framing")),
        (format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;{}\r\na\r\n0\r\n\r\n", "e".repeat(5000)).into(), Refused(400, "framing")),
        (format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: {}\r\n\r\n", "e".repeat(17_000)).into(), Refused(400, "framing")),
        (format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}\r\n", fields(101)).into(), Refused(400, "framing")),
    ];
    // Written as heads; the rest of a well-formed request is put around them.
    let heads: &[(&str, Outcome)] = &[
        ("GET / HTTP/1.1\r\nHost: a", Fine("GET /\n")),
        ("\r\nGET / HTTP/1.1\r\nHost: a", Fine("GET /\n")),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a", Refused(400, "framing")),
        ("\nGET / HTTP/1.1\r\nHost: a", Refused(400, "framing")),
        ("GET / HTTP/1.1\nHost: a", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\nX: b", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\rX: b", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\x0bc", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\x7f", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\n Host: a", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost : a", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\t: b", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX(: b", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: b", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:", Fine("x: \n")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:\t b c\t ", Fine("x: b c\n")),
        ("GET / HTTP/1.1", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a\r\nhost: b", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost:", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a b", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a,b", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a/b", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: u@a", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a:99999", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a:", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a:8x", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: [::1", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: [::1]x", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: [::g]", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: a%2eb", Refused(400, "framing")),
        ("GET / HTTP/1.1\r\nHost: [::1]:8080", Fine("host: [::1]:8080")),
        ("GET / HTTP/1.1\r\nHost: A.example_x-1.org:80", Fine("host: A.example_x-1.org:80")),
        ("GET / HTTP/1.0\r\nConnection: keep-alive", Fine("GET /\n")),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: a", Refused(400, "framing")),
        ("GET / HTTP/1.2\r\nHost: a", Refused(400, "framing")),
        ("GET / HTTP/2.0\r\nHost: a", Refused(400, "framing")),
        ("GET / HTTP/0.9\r\nHost: a", Refused(400, "framing")),
        ("GET / HTTP/1.10\r\nHost: a", Refused(400, "framing")),
        ("GET / HTTP/1.1 \r\nHost: a", Refused(400, "framing")),
        ("GET / http/1.1\r\nHost: a", Refused(400, "framing")),
        ("GET / XTTP/1.1\r\nHost: a", Refused(400, "framing")),
        ("GET /\r\nHost: a", Refused(400, "framing")),
        ("GET\r\nHost: a", Refused(400, "framing")),
        ("GET HTTP/1.1\r\nHost: a", Refused(400, "framing")),
        (" GET / HTTP/1.1\r\nHost: a", Refused(400, "framing")),
        ("G(T / HTTP/1.1\r\nHost: a", Refused(400, "framing")),
        ("GET\t/ HTTP/1.1\r\nHost: a", Refused(400, "framing")),
        ("GET /\tHTTP/1.1\r\nHost: a", Refused(400, "framing")),
        ("PRI * HTTP/2.0\r\n\r\nXM", Refused(400, "framing")),
        ("GET  / HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /  HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /a b HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /a\tb HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /a\0b HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /a\x7fb HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /<a HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /a> HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /`a` HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /a#b HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /?a#b HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /?\"a\" HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET /?<a HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET a HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET * HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("OPTIONS * HTTP/1.1\r\nHost: a", Fine("OPTIONS *\n")),
        ("OPTIONS *a HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("CONNECT a HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("CONNECT / HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET http://a/b HTTP/1.1\r\nHost: a", Fine("/b\n")),
        ("GET HTTP://A:80/b HTTP/1.1\r\nHost: a", Fine("/b\n")),
        ("GET http://a HTTP/1.1\r\nHost: a:80", Fine("host: a:80")),
        ("GET http://a?q HTTP/1.1\r\nHost: a", Fine("?q\n")),
        ("GET https://a/ HTTP/1.1\r\nHost: a:443", Fine("host: a:443")),
        ("GET http://a/ HTTP/1.1\r\nHost: a:443", Refused(400, "path")),
        ("GET http://a/ HTTP/1.1\r\nHost: b", Refused(400, "path")),
        ("GET http://a:81/ HTTP/1.1\r\nHost: a:82", Refused(400, "path")),
        ("GET http://a.b/ HTTP/1.1\r\nHost: a.b.", Refused(400, "path")),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET http://u:p@a/ HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET http:///a HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET http:/a HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET http://a\\b/ HTTP/1.1\r\nHost: a", Refused(400, "path")),
        ("GET http://a/ HTTP/1.1", Refused(400, "framing")),
    ];
    cases.extend(heads.iter().map(|(head, outcome)| (format!("{head}\r\n\r\n").into_bytes(), outcome.copy())));
    // After "POST / HTTP/1.1" and Host.
    let bodies: &[(&str, Outcome)] = &[
        ("Content-Length: 5\r\n\r\nhello", Fine("[hello]")),
        ("content-length:5\r\n\r\nhello", Fine("[hello]")),
        ("Content-Length: 0\r\n\r\n", Fine("[]")),
        ("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", Refused(400, "framing")),
        ("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", Refused(400, "framing")),
        ("Content-Length: 5, 5\r\n\r\nhello", Refused(400, "framing")),
        ("Content-Length: +5\r\n\r\nhello", Refused(400, "framing")),
        ("Content-Length: -5\r\n\r\nhello", Refused(400, "framing")),
        ("Content-Length: 0x5\r\n\r\nhello", Refused(400, "framing")),
        ("Content-Length: 5 5\r\n\r\nhello", Refused(400, "framing")),
        ("Content-Length: 05\r\n\r\nhello", Refused(400, "framing")),
        ("Content-Length:\r\n\r\nhello", Refused(400, "framing")),
        ("Content-Length: five\r\n\r\nhello", Refused(400, "framing")),
        ("Content-Length: 18446744073709551616\r\n\r\nhello", Refused(400, "framing")),
        ("Content-Length: 9223372036854775808\r\n\r\nhello", Refused(400, "framing")),
        ("Content_Length: 5\r\n\r\nhello", Refused(400, "framing")),
        ("Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer.Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: identity\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding:\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Fine("[hello]")),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Fine("[]")),
        ("Transfer-Encoding: chunked\r\n\r\n0000000000000005\r\nhello\r\n0\r\n\r\n", Fine("[hello]")),
        ("Transfer-Encoding: chunked\r\n\r\nA;x=\"y\"\r\nhellohello\r\n000\r\n\r\n", Fine("[hellohello]")),
        ("Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\nT: u\r\nV:\r\n\r\n", Fine("[ab]\nt= u\nv= ")),
        ("Transfer-Encoding: chunked\r\n\r\n00000000000000005\r\nhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n;x\r\nhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\rhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\r0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n5;a\0\r\nhello\r\n0\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\nT : u\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n: u\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\nT: u\r\n v\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\nT: u\nV: w\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\nT: u\rv\r\n\r\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\n", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\rX", Refused(400, "framing")),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n\r\n", Refused(400, "framing")),
    ];
    cases.extend(
        bodies
            .iter()
            .map(|(rest, outcome)| (format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}").into_bytes(), outcome.copy())),
    );
    cases.push((
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        Refused(400, "framing"),
    ));
    cases
}

impl Outcome {
    fn copy(&self) -> Outcome {
        match *self {
            Fine(part) => Fine(part),
            Refused(status, reason) => Refused(status, reason),
        }
    }
}

#[test]
fn every_message_is_one_request_or_refused() {
    let (_running, address) = serve(&settings());
    let cases = cases();
    assert!(cases.len() >= 150, "{}", cases.len());
    for (bytes, outcome) in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
        for pieces in [1, 3] {
            let mut stream = connect(address);
            for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
                stream.write_all(piece).unwrap();
                if pieces > 1 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            // The refused may be closed on by now.
            let _ = stream.write_all(LAST.as_bytes());
            let answers = read_all(&mut stream);
            match outcome {
                Fine(part) => {
                    assert_eq!(statuses(&answers), ["200", "200"], "{shown:?}\n{answers}");
                    assert!(answers.contains(part), "{shown:?}\n{answers}");
                    assert!(answers.contains("GET /last"), "{shown:?}\n{answers}");
                }
                Refused(status, reason) => {
                    assert_eq!(statuses(&answers), [status.to_string()], "{shown:?}\n{answers}");
                    assert!(answers.contains(&format!("refused: {reason}: ")), "{shown:?}\n{answers}");
                    assert!(answers.contains("connection: close"), "{shown:?}\n{answers}");
                }
            }
        }
    }
}

/// hyper must never be the one to refuse: its answers are bare and uncounted.
#[test]
fn every_byte_of_a_target_reaches_the_handler() {
    let (_running, address) = serve(&settings());
    for byte in 0..=255u8 {
        for place in ["/", "/?", "/a?b=", "http://a/", "http://a/?"] {
            let mut bytes = b"GET ".to_vec();
            bytes.extend_from_slice(place.as_bytes());
            bytes.push(byte);
            bytes.extend_from_slice(b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let answers = read_all(&mut send(address, &bytes));
            assert_eq!(statuses(&answers).len(), 1, "{byte:#x} in {place}: {answers}");
            assert!(answers.contains("GET ") || answers.contains("refused: "), "{byte:#x} in {place}: {answers}");
        }
    }
}

#[test]
fn what_may_be_in_a_query_reaches_the_handler() {
    let (_running, address) = serve(&settings());
    for byte in (b'!'..=b'~').filter(|byte| !b"\"<>#".contains(byte)) {
        let target = format!("/?a={}", char::from(byte));
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answers = read_all(&mut send(address, bytes.as_bytes()));
        assert!(answers.contains(&format!("GET {target}\n")), "{target}: {answers}");
    }
}

#[test]
fn a_bad_request_is_answered_in_its_turn() {
    let (_running, address) = serve(&settings());
    let good = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
    let bad = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    let mut stream = send(address, format!("{good}{good}{bad}{LAST}").as_bytes());
    let answers = read_all(&mut stream);
    assert_eq!(statuses(&answers), ["200", "200", "400"], "{answers}");
}

#[test]
fn a_refused_head_has_no_body() {
    let (_running, address) = serve(&settings());
    let answers = read_all(&mut send(address, b"HEAD / HTTP/1.1\r\n\r\n"));
    assert_eq!(statuses(&answers), ["400"]);
    assert!(answers.ends_with("\r\n\r\n"), "{answers}");
}

#[test]
fn connect_reaches_the_handler() {
    let (_running, address) = serve(&settings());
    let answers = read_all(&mut send(address, format!("CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n{LAST}").as_bytes()));
    assert_eq!(statuses(&answers), ["405", "200"], "{answers}");
}

#[test]
fn pipelined_requests_are_all_answered() {
    let (_running, address) = serve(&settings());
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(300);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".repeat(300);
    let mut stream = send(address, format!("{get}{post}{LAST}").as_bytes());
    assert_eq!(statuses(&read_all(&mut stream)).len(), 601);
}

#[test]
fn slow_heads_and_idle_connections_end() {
    let short = ServerSettings {
        header_timeout: Duration::from_millis(500),
        idle_timeout: Duration::from_millis(150),
        ..settings()
    };
    let (_running, address) = serve(&short);
    assert_eq!(read_all(&mut connect(address)), "", "nothing was sent");
    let answers = read_all(&mut send(address, b"GET / HTT"));
    assert!(statuses(&answers) == ["408"] && answers.contains("connection: close"), "{answers}");
    let answers = read_all(&mut send(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n"));
    assert_eq!(statuses(&answers), ["200"], "idle after it, an empty line apart: {answers}");
    let answers = read_all(&mut send(address, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(statuses(&answers), ["200"], "the time of an answer is not idle: {answers}");
    let answers = read_all(&mut send(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /"));
    assert_eq!(statuses(&answers), ["200", "408"], "{answers}");
    let mut dripping = connect(address);
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy" {
        if dripping.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(statuses(&read_all(&mut dripping)), ["408"], "bytes that come in don't extend it");
}

#[test]
fn a_client_that_is_still_sending_gets_the_refusal() {
    let (_running, address) = serve(&settings());
    let body = vec![b'x'; 1024 * 1024];
    for head in [
        "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnothing of the kind",
    ] {
        for _ in 0..20 {
            let mut stream = send(address, head.as_bytes());
            for piece in body.chunks(16 * 1024) {
                stream.write_all(piece).expect("the server reads on");
            }
            let answers = read_all(&mut stream);
            assert!(matches!(statuses(&answers)[..], ["400" | "401"]), "{answers}");
        }
    }
}

#[test]
fn a_body_is_asked_for_only_when_it_is_wanted() {
    let (_running, address) = serve(&settings());
    let head = |path| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let mut stream = send(address, head("/").as_bytes());
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").unwrap();
    assert!(read_one(&mut stream).contains("[hello]"));
    stream.write_all(head("/unread").as_bytes()).unwrap();
    let refused = read_one(&mut stream);
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("connection: close"), "{refused}");
    // What is sent all the same is not taken for a request.
    let _ = stream.write_all(format!("hello{LAST}").as_bytes());
    assert_eq!(read_all(&mut stream), "");
}

#[test]
fn large_bodies_pass() {
    let (_running, address) = serve(&settings());
    let body = vec![b'x'; 3_000_000];
    let mut stream = send(address, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n");
    stream.write_all(&body).unwrap();
    assert!(read_one(&mut stream).contains("[3000000 bytes]"));
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for piece in body.chunks(30_000) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert!(read_one(&mut stream).contains("[3000000 bytes]"));
}

#[test]
fn a_panic_ends_one_connection_only() {
    let (_running, address) = serve(&ServerSettings { workers: 1, ..settings() });
    let mut other = send(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    read_one(&mut other);
    assert_eq!(read_all(&mut send(address, b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n")), "");
    other.write_all(LAST.as_bytes()).unwrap();
    assert_eq!(statuses(&read_all(&mut other)), ["200"]);
}

#[test]
fn connections_over_the_limit_wait() {
    let (_running, address) = serve(&ServerSettings { max_connections: Some(2), workers: 2, ..settings() });
    let mut open: Vec<TcpStream> = (0..8).map(|_| send(address, LAST.as_bytes())).collect();
    for stream in &mut open {
        assert_eq!(statuses(&read_all(stream)), ["200"], "each has its turn");
    }
    drop(open);
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..2 {
        let mut stream = send(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        read_one(&mut stream);
        held.push(stream);
    }
    let mut third = send(address, LAST.as_bytes());
    third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(third.read(&mut [0]).is_err(), "it must wait");
    held.pop();
    third.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(statuses(&read_all(&mut third)), ["200"]);
}

#[test]
fn an_address_in_use_is_an_error() {
    let (_running, address) = serve(&settings());
    let again = start(&[listen(&address.to_string())], &settings(), |_| Echo, Vec::new(), Inherited::default());
    match again {
        Err(StartError::Listen { source, .. }) => {
            assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse)
        }
        _ => panic!("two servers on {address}"),
    }
}

fn wait(running: Running, timeout: Duration) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(running.wait(timeout))
}

#[test]
fn a_drain_finishes_requests_and_ends_idle_connections() {
    let (running, address) = serve(&settings());
    let mut idle = send(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    read_one(&mut idle);
    let mut busy = send(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    read_one(&mut busy);
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let mut queued = send(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut kept = send(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    read_one(&mut kept);
    running.begin_drain();
    std::thread::sleep(Duration::from_millis(50));
    kept.write_all(b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let answers = read_all(&mut kept);
    assert!(statuses(&answers) == ["200"] && answers.contains("connection: close"), "it crossed the drain: {answers}");
    assert_eq!(read_all(&mut idle), "");
    let answers = read_all(&mut busy);
    assert!(statuses(&answers) == ["200"] && answers.contains("connection: close"), "{answers}");
    let answers = read_all(&mut queued);
    assert_eq!(statuses(&answers), ["200"], "{answers}");
    assert!(TcpStream::connect(address).is_err(), "the listeners are closed");
    assert!(wait(running, Duration::from_secs(10)));
}

#[test]
fn a_drain_that_takes_too_long_is_cut_off() {
    let (running, address) = serve(&settings());
    let mut stuck = send(address, b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(150));
    assert!(!wait(running, Duration::from_millis(200)));
    assert!(!matches!(stuck.read(&mut [0]), Ok(1)));
}
