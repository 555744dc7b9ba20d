//! Connections that change their protocol: authorised as requests, then tunnels.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::support::{
    eventually,
    gateway::{Gateway, configuration, public_configuration},
    h2::{self, END_HEADERS, block, kind},
    http::Request,
    issuer::Issuer,
    keys::Key,
    raw::{Client, find},
    token::Token,
    upstream::{After, Upstream},
};

const ROUTES: &str = r#"
  - {name: chat, path: /chat, upstream: echo, allow: authenticated}
  - {name: open, path: "/**", upstream: echo, allow: public}
"#;
const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

struct Setting {
    gateway: Gateway,
    upstream: Upstream,
    key: Key,
    issuer: Issuer,
}

fn start() -> Setting {
    let key = Key::es256("k1");
    let (issuer, upstream) = (Issuer::start(&key), Upstream::start());
    let text = configuration(&issuer, &upstream, ROUTES);
    Setting { gateway: Gateway::start(&text), upstream, key, issuer }
}

/// Switches to this protocol, then sends back what it gets.
fn echo(upstream: &Upstream, protocol: &'static str) {
    upstream.answer(move |_: &Request, stream: &mut TcpStream| {
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(After::Close);
            }
            stream.write_all(&buffer[..count])?;
        }
    });
}

impl Setting {
    fn ask(&self, target: &str, fields: &str) -> Client {
        let mut client = self.gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: api\r\n{fields}\r\n"));
        client
    }
}

#[test]
fn bytes_go_both_ways_once_the_upstream_agrees() {
    let setting = start();
    echo(&setting.upstream, "websocket");
    let mut client = setting.ask("/a", &format!("{ASK}X-Auth-Subject: root\r\n"));
    let answer = client.receive();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.fields.get("upgrade"), Some("websocket"));
    assert_eq!(answer.fields.get("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    for round in 0..3 {
        // Not HTTP at all.
        client.send(b"\x00\r\nGET / HTTP/9\x00\xff");
        client.receive_until(b"\x00\xff");
        client.send(format!("round {round}"));
        client.receive_until(format!("round {round}").as_bytes());
    }
    let request = setting.upstream.wire();
    let request = String::from_utf8_lossy(&request).to_lowercase();
    assert!(request.contains("upgrade: websocket\r\n") && request.contains("connection: upgrade\r\n"), "{request}");
    assert!(request.contains("sec-websocket-key: aaa") && !request.contains("root"), "{request}");
    client.finish();
    assert!(client.is_closed());
    eventually("the upstream's end is closed", || setting.upstream.open_connections() == 0);
    eventually("it is counted", || {
        setting.gateway.metric("bearward_requests_total{method=\"GET\",route=\"open\",status=\"101\"}") == 1.0
    });
}

#[test]
fn bytes_that_come_with_the_request_are_not_taken_for_another() {
    let setting = start();
    echo(&setting.upstream, "websocket");
    let mut client = setting.gateway.client();
    client.send(format!("GET /a HTTP/1.1\r\nHost: api\r\n{ASK}\r\nGET /b HTTP/1.1\r\nHost: api\r\n\r\n"));
    assert_eq!(client.receive().status, 101);
    client.receive_until(b"GET /b HTTP/1.1\r\nHost: api\r\n\r\n");

    // Where the upstream doesn't agree, they are.
    setting.upstream.answer_with(200, "", b"hello");
    let mut client = setting.gateway.client();
    client.send(format!("GET /a HTTP/1.1\r\nHost: api\r\n{ASK}\r\nGET /b HTTP/1.1\r\nHost: api\r\n\r\n"));
    assert_eq!([client.receive().status, client.receive().status], [200, 200]);
}

#[test]
fn nobody_switches_without_a_token() {
    let setting = start();
    echo(&setting.upstream, "websocket");
    let mut client = setting.ask("/chat", ASK);
    assert_eq!(client.receive().status, 401);
    assert!(setting.upstream.requests().is_empty());
}

#[test]
fn an_upstream_that_switches_to_something_else_is_502() {
    let setting = start();
    for (asked, given) in [
        (ASK, "h2c"),
        (ASK, "websocket2"),
        ("", "websocket"),
        ("Upgrade: websocket\r\n", "websocket"),
        ("Connection: upgrade\r\nUpgrade: h2c\r\n", "h2c"),
    ] {
        echo(&setting.upstream, given);
        assert_eq!(setting.ask("/a", asked).receive().status, 502, "{asked} {given}");
    }
}

#[test]
fn an_upstream_that_switches_without_saying_to_what_is_502() {
    let setting = start();
    for fields in
        ["", "Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "Connection: close\r\nUpgrade: websocket\r\n"]
    {
        setting.upstream.answer_bytes(format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n").as_bytes());
        let mut client = setting.ask("/a", ASK);
        assert_eq!(client.receive().status, 502, "{fields:?}");
    }
    let address = h2::upstream(|mut connection| {
        while let Some(frame) = connection.next() {
            if frame.kind == kind::HEADERS {
                connection.send(kind::HEADERS, END_HEADERS, frame.stream, &block(&[(":status", "101")]));
            }
        }
    });
    let text = public_configuration(&format!("http://{address}"), ", http2: true, response_timeout: 2s");
    let gateway = Gateway::start_unready(&text);
    assert!(matches!(gateway.get("/a").status, 502 | 504));
}

/// A front that takes a request to upgrade for granted would carry what follows to the upstream unseen.
#[test]
fn an_upgrade_that_the_upstream_refuses_opens_nothing() {
    let setting = start();
    let hidden = "GET /chat HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n";
    for (status, version) in [(426, "1337"), (400, "13"), (200, "13"), (404, "8"), (503, "")] {
        setting.upstream.forget();
        setting.upstream.answer_with(status, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", b"no");
        let mut client = setting.ask("/a", &format!("{ASK}Sec-WebSocket-Version: {version}\r\n"));
        assert_eq!(client.receive().status, status);
        client.send(hidden);
        assert_eq!(client.receive().status, 401, "it is decided as any other");
        // And at once, without a look at the answer.
        let mut client = setting.ask("/a", &format!("{ASK}Sec-WebSocket-Version: {version}\r\n"));
        client.send(hidden);
        assert_eq!([client.receive().status, client.receive().status], [status, 401]);
        assert!(setting.upstream.requests().iter().all(|request| request.target == "/a"));
        assert_eq!(find(&setting.upstream.wire(), b"/chat"), None);
    }
}

#[test]
fn a_request_with_a_body_asks_for_no_upgrade() {
    let setting = start();
    let hidden = "GET /chat HTTP/1.1\r\nHost: api\r\n\r\n";
    let length = hidden.len();
    for (framing, body) in [
        (format!("Content-Length: {length}\r\n"), hidden.to_owned()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{length:x}\r\n{hidden}\r\n0\r\n\r\n")),
    ] {
        setting.upstream.forget();
        setting.upstream.answer_with(200, "", b"hello");
        let mut client = setting.gateway.client();
        client.send(format!("POST /a HTTP/1.1\r\nHost: api\r\n{ASK}{framing}\r\n{body}"));
        assert_eq!(client.receive().status, 200);
        client.send(hidden);
        assert_eq!(client.receive().status, 401);
        let request = setting.upstream.only_request();
        assert_eq!((request.fields.get("upgrade"), request.body), (None, hidden.as_bytes().to_vec()));
        // An upstream that switches all the same is not believed.
        echo(&setting.upstream, "websocket");
        let mut client = setting.gateway.client();
        client.send(format!("POST /a HTTP/1.1\r\nHost: api\r\n{ASK}{framing}\r\n{body}"));
        assert_eq!(client.receive().status, 502);
    }
    setting.upstream.answer_with(200, "", b"hello");
    setting.upstream.forget();
    let mut client = setting.gateway.client();
    client.send(format!("GET /a HTTP/1.0\r\nHost: api\r\n{ASK}\r\n"));
    client.receive_rest();
    assert_eq!(setting.upstream.only_request().fields.get("upgrade"), None, "HTTP/1.0 has no upgrades");
}

#[test]
fn http_2_is_never_asked_of_an_upstream_so() {
    let setting = start();
    for (asked, sent) in [
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", None),
        ("Connection: upgrade\r\nUpgrade: h2c, Foo/1\r\nUpgrade: H2C\r\n", Some("Foo/1")),
        ("Upgrade: websocket\r\n", None),
        ("Connection: upgrade\r\nUpgrade: h2\r\n", None),
        ("Connection: upgrade\r\nUpgrade:\t h2c \t,,\r\n", None),
        ("Connection: upgrade\r\nUpgrade: h2c,h2C\r\nHTTP2-Settings: AAMAAABk\r\n", None),
        ("Connection: upgrade\r\nUpgrade:\r\n", None),
        ("Connection: upgrade\r\n", None),
    ] {
        setting.upstream.forget();
        assert_eq!(setting.ask("/a", asked).receive().status, 200);
        let fields = setting.upstream.only_request().fields;
        assert_eq!(fields.get("upgrade"), sent, "{asked}");
        assert_eq!(fields.get("http2-settings"), None);
    }
}

#[test]
fn a_tunnel_ends_with_its_token() {
    let setting = start();
    echo(&setting.upstream, "websocket");
    let text = configuration(&setting.issuer, &setting.upstream, ROUTES);
    let text = text.replace("http_timeout: 30s", "http_timeout: 30s, jwt: {clock_skew: 0s}");
    let gateway = Gateway::start(&text);
    let token = Token::new(setting.issuer.url(), &setting.key).exp_in(3).build();
    let mut client = gateway.client();
    client.send(format!("GET /chat HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n{ASK}\r\n"));
    assert_eq!(client.receive().status, 101);
    client.send("hello");
    client.receive_until(b"hello");
    assert!(client.is_closed(), "without another byte");
    eventually("the upstream's end is closed", || setting.upstream.open_connections() == 0);
}

#[test]
fn a_drain_waits_for_tunnels() {
    let setting = start();
    echo(&setting.upstream, "websocket");
    let mut client = setting.ask("/a", ASK);
    assert_eq!(client.receive().status, 101);
    let Setting { gateway, upstream, .. } = setting;
    gateway.drain();
    let drained = std::thread::spawn(move || gateway.wait());
    std::thread::sleep(Duration::from_secs(1));
    assert!(!drained.is_finished());
    client.send("still here");
    client.receive_until(b"still here");
    drop(client);
    assert!(drained.join().unwrap(), "it ended by itself");
    drop(upstream);
}

#[test]
fn a_client_that_leaves_behind_a_second_request_is_noticed() {
    let setting = start();
    setting.upstream.answer_never();
    let mut client = setting.gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: api\r\n\r\nGET /b HTTP/1.1\r\nHost: api\r\n\r\n");
    eventually("the first is on its way", || setting.upstream.open_connections() == 1);
    drop(client);
    eventually("it ends", || setting.upstream.open_connections() == 0);
}
