//! HTTP/2 from clients: good requests, bad ones, and connections that are meant to wear the gateway out.

use std::net::TcpStream;

use crate::support::{
    PATIENCE,
    certificates::{Authority, over},
    eventually,
    gateway::{Gateway, configuration},
    h2::{Connection, END_HEADERS, END_STREAM, Outcome, block, get, kind, post},
    http::Fields,
    issuer::Issuer,
    keys::Key,
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: open, path: "/**", upstream: echo, allow: public, max_body_bytes: 1KiB}
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
"#;

struct Setting {
    gateway: Gateway,
    upstream: Upstream,
    _issuer: Issuer,
}

fn start(server: &str) -> Setting {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let text = configuration(&issuer, &upstream, ROUTES)
        .replace("server: {workers: 2", &format!("server: {{workers: 2, max_header_bytes: 16KiB{server}"));
    Setting { gateway: Gateway::start(&text), upstream, _issuer: issuer }
}

impl Setting {
    fn connect(&self) -> Connection {
        Connection::connect(self.gateway.address)
    }
}

#[test]
fn a_request_reaches_the_upstream_as_http_1() {
    let setting = start("");
    let fields = [("cookie", "a=1"), ("te", "trailers"), ("cookie", "b=2"), ("host", "API.example:80")];
    let outcome = setting.connect().get(1, "/a/../b?c=%2F", &fields);
    assert_eq!(outcome, Outcome::Answer { status: 200, body: b"hello".to_vec() });
    let request = setting.upstream.only_request();
    assert_eq!((&*request.method, &*request.target), ("GET", "/b?c=%2F"));
    assert_eq!(request.fields.all("cookie").collect::<Vec<_>>(), ["a=1; b=2"]);
    assert_eq!(request.fields.get("x-forwarded-host"), Some("api.example"));
    assert_eq!(request.fields.get("x-forwarded-proto"), Some("http"));
    assert_eq!(request.fields.get("via"), Some("2.0 bearward"));
    assert!(String::from_utf8_lossy(&request.head).starts_with("GET /b?c=%2F HTTP/1.1\r\n"));
}

#[test]
fn bodies_and_trailers_stream_and_trailers_are_filtered() {
    let setting = start("");
    let mut connection = setting.connect();
    let post = [&[(":method", "POST")], &get("/")[1..], &[("trailer", "x-sum")]].concat();
    connection.request(1, false, &post);
    connection.send(kind::DATA, 0, 1, b"hello ");
    setting.upstream.wait_for(b"hello ");
    connection.send(kind::DATA, 0, 1, b"world");
    let trailers = block(&[("x-sum", "1"), ("x-auth-subject", "root"), ("authorization", "Bearer x")]);
    connection.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &trailers);
    assert_eq!(connection.outcome(1).status(), 200);
    let request = setting.upstream.only_request();
    assert_eq!(request.body, b"hello world");
    assert_eq!(request.trailers, Fields(vec![("x-sum".to_owned(), "1".to_owned())]));
}

#[test]
fn a_refusal_ends_its_request_and_no_other() {
    let setting = start("");
    let mut connection = setting.connect();
    connection.request(1, false, &[&[(":method", "POST")], &get("/")[1..]].concat());
    connection.send(kind::DATA, 0, 1, &[b'x'; 2000]);
    assert_eq!(connection.outcome(1).status(), 413);
    let Outcome::Answer { status: 401, body } = connection.get(3, "/closed", &[]) else { panic!("not refused") };
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["status"], 401);
    assert_eq!(connection.get(5, "/", &[]).status(), 200);
}

/// A head, and the status of its answer; None: the stream is reset or the connection ended.
type Case<'c> = (&'c [(&'c str, &'c str)], Option<u16>);

#[test]
fn heads_that_are_not_in_order() {
    let setting = start("");
    let whole = get("/");
    let with = |more: &[(&'static str, &'static str)]| [&whole[..], more].concat();
    let without = |name: &str| whole.into_iter().filter(|(field, _)| *field != name).collect::<Vec<_>>();
    let instead = |name: &'static str, value: &'static str| {
        whole.map(|(field, before)| if field == name { (field, value) } else { (field, before) }).to_vec()
    };
    let many = with(&[("x", "y"); 101]);
    let large = "x".repeat(17 * 1024);
    let larger = "x".repeat(40 * 1024);
    let cases: [Case<'_>; 27] = [
        (&whole, Some(200)),
        (&with(&[("host", "other.example")]), Some(400)),
        (&with(&[("host", "api.example"), ("host", "api.example")]), Some(400)),
        (&with(&[("host", "api.example:81")]), Some(400)),
        (&without(":authority"), Some(400)),
        (&[&without(":authority")[..], &[("host", "api.example")]].concat(), Some(200)),
        (&instead(":authority", "user@api.example"), Some(400)),
        (&instead(":authority", "api%2eexample"), None),
        (&with(&[("content-length", "0"), ("content-length", "0")]), Some(400)),
        (&with(&[("content_length", "5")]), Some(400)),
        (&with(&[("transfer_encoding", "chunked")]), Some(400)),
        (&with(&[("content-length", "x")]), None),
        (&with(&[("connection", "close")]), None),
        (&with(&[("transfer-encoding", "chunked")]), None),
        (&with(&[("upgrade", "websocket")]), None),
        (&with(&[("te", "gzip")]), None),
        (&with(&[("X-Upper", "a")]), None),
        (&with(&[("x", "a\nb")]), None),
        (&with(&[(":path", "/again")]), None),
        (&without(":path"), None),
        (&instead(":path", "/a%2Fb"), Some(400)),
        (&instead(":path", "/a%00b"), Some(400)),
        (&instead(":method", "TRACE"), Some(405)),
        (&[(":method", "CONNECT"), (":authority", "api.example:80")], Some(405)),
        (&many, Some(431)),
        (&[&whole[..], &[("x", &*large)]].concat(), Some(431)),
        (&[&whole[..], &[("x", &*larger)]].concat(), Some(431)),
    ];
    for (fields, expected) in cases {
        let mut connection = setting.connect();
        send_block(&mut connection, &block(fields));
        let status = match connection.outcome(1) {
            Outcome::Answer { status, .. } => Some(status),
            Outcome::Reset(_) | Outcome::Ended => None,
        };
        let shown = format!("{fields:?}");
        assert_eq!(status, expected, "{}", &shown[..shown.len().min(300)]);
    }
    let star = [(":method", "OPTIONS"), (":scheme", "http"), (":authority", "api.example"), (":path", "*")];
    let mut connection = setting.connect();
    connection.request(1, true, &star);
    assert_eq!(connection.outcome(1).status(), 404);
    assert!(setting.upstream.requests().iter().all(|request| request.target == "/" && request.method == "GET"));
}

/// A request with this block, in as many frames as it takes.
fn send_block(connection: &mut Connection, block: &[u8]) {
    let mut pieces = block.chunks(16 * 1024).peekable();
    let mut kind = kind::HEADERS;
    let mut flags = END_STREAM;
    while let Some(piece) = pieces.next() {
        flags |= if pieces.peek().is_none() { END_HEADERS } else { 0 };
        connection.send(kind, flags, 1, piece);
        (kind, flags) = (kind::CONTINUATION, 0);
    }
}

#[test]
fn a_head_that_is_too_large_is_told_so() {
    let setting = start("");
    let sizes = [17, 30].map(|size| "x".repeat(size * 1024));
    let many = [("x", "y"); 101].to_vec();
    for fields in [vec![("x", &*sizes[0])], vec![("x", &*sizes[1])], many] {
        let mut connection = setting.connect();
        send_block(&mut connection, &block(&[&get("/")[..], &fields].concat()));
        let Outcome::Answer { status: 431, body } = connection.outcome(1) else { panic!("not 431") };
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["status"], 431);
        assert_eq!(connection.get(3, "/", &[]).status(), 200, "the connection goes on");
    }
    // Over twice the limit the answer is the library's, without a body.
    let mut connection = setting.connect();
    send_block(&mut connection, &block(&[&get("/")[..], &[("x", &*"x".repeat(40 * 1024))]].concat()));
    assert_eq!(connection.outcome(1), Outcome::Answer { status: 431, body: Vec::new() });
    assert_eq!(connection.get(3, "/", &[]).status(), 200, "the connection goes on");
}

#[test]
fn extended_connect_is_not_offered() {
    let setting = start("");
    let mut connection = setting.connect();
    let settings = loop {
        let frame = connection.next().expect("settings");
        if frame.kind == kind::SETTINGS && !frame.payload.is_empty() {
            break frame.payload;
        }
    };
    let settings: Vec<_> = settings.chunks(6).map(|s| (s[1], u32::from_be_bytes([s[2], s[3], s[4], s[5]]))).collect();
    assert!(settings.contains(&(3, 128)), "128 streams: {settings:?}");
    assert!(!settings.iter().any(|(id, _)| *id == 8), "no extended CONNECT: {settings:?}");
    let fields = [&[(":method", "CONNECT"), (":protocol", "websocket")], &get("/")[1..]].concat();
    connection.request(1, true, &fields);
    assert!(matches!(connection.outcome(1), Outcome::Reset(_) | Outcome::Ended));
}

#[test]
fn by_alpn_over_tls() {
    let (authority, upstream, folder) = (Authority::new(), Upstream::start(), tempfile::tempdir().unwrap());
    let (certificate, key) = authority.sign(2090).write(folder.path());
    let gateway = Gateway::start_unready(&format!(
        "listen: [{{address: \"127.0.0.1:0\", tls: {{certificate: {}, key: {}}}}}]\n\
         admin: {{address: \"127.0.0.1:0\"}}\nissuers: {{}}\nlogging: {{level: error, access: false}}\n\
         routes: [{{name: open, path: \"/**\", upstream: \"{}\", allow: public}}]\n",
        certificate.display(),
        key.display(),
        upstream.url()
    ));
    let socket = TcpStream::connect(gateway.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let stream = over(socket, authority.client(None, &["h2", "http/1.1"]));
    assert_eq!(Connection::over(stream).get(1, "/", &[("host", "api.example:443")]).status(), 400, ":scheme is http");
    let socket = TcpStream::connect(gateway.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = Connection::over(over(socket, authority.client(None, &["h2"])));
    assert_eq!(connection.get(1, "/", &[]).status(), 200);
    assert_eq!(upstream.last_request().fields.get("x-forwarded-proto"), Some("https"));
}

#[test]
fn more_requests_at_a_time_than_allowed_are_refused() {
    let setting = start("");
    setting.upstream.answer_never();
    let mut connection = setting.connect();
    for number in 0..128 {
        connection.request(1 + 2 * number, true, &get("/"));
    }
    eventually("all are on their way", || setting.upstream.open_connections() == 128);
    connection.request(301, true, &get("/"));
    assert_eq!(connection.outcome(301), Outcome::Reset(7), "REFUSED_STREAM");
    drop(connection);
    eventually("the client's end ends them all", || setting.upstream.open_connections() == 0);
}

#[test]
fn a_body_that_stops_is_408_and_the_others_go_on() {
    let setting = start(", body_timeout: 1s");
    let mut connection = setting.connect();
    connection.request(1, false, &post("/"));
    connection.send(kind::DATA, 0, 1, b"abc");
    assert_eq!(connection.get(3, "/", &[]).status(), 200);
    connection.request(5, false, &post("/"));
    assert_eq!(connection.outcome(5).status(), 408);
    assert_eq!(connection.get(7, "/", &[]).status(), 200);
    assert!(setting.upstream.requests().iter().all(|request| request.method == "GET"));
}

#[test]
fn an_idle_connection_is_told_goodbye() {
    let setting = start(", idle_timeout: 1s");
    let mut connection = setting.connect();
    assert_eq!(connection.get(1, "/", &[]).status(), 200);
    assert_eq!(connection.goodbye(), Some(0));
}

#[test]
fn a_drain_says_goaway_and_serves_what_is_under_way() {
    let setting = start("");
    let hold = setting.upstream.answer_when_told();
    let mut connection = setting.connect();
    connection.request(1, true, &get("/"));
    eventually("it is on its way", || setting.upstream.open_connections() == 1);
    let Setting { gateway, upstream, _issuer } = setting;
    gateway.drain();
    let drained = std::thread::spawn(move || gateway.wait());
    while connection.next().expect("a GOAWAY first").kind != kind::GOAWAY {}
    hold.send(()).unwrap();
    assert_eq!(connection.outcome(1).status(), 200);
    assert_eq!(connection.goodbye().unwrap_or(0), 0);
    assert!(drained.join().unwrap());
    drop(upstream);
}
