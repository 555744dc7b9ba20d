//! Clients that don't read: those are let go, and what they asked for with them. Those that read slowly are served.

use std::{io::Write, net::TcpStream, thread::sleep, time::Duration};

use crate::support::{
    certificates::Authority,
    certificates::over,
    eventually,
    gateway::{Gateway, configuration},
    h2::{Connection, END_STREAM, Outcome, get, kind},
    http::Request,
    issuer::Issuer,
    keys::Key,
    raw::Client,
    upstream::{After, Upstream},
};

const ROUTES: &str = r#"
  - {name: open, path: "/**", upstream: echo, allow: public}
"#;
/// More than all buffers on the way hold.
const LENGTH: usize = 48 * 1024 * 1024;

struct Setting {
    gateway: Gateway,
    upstream: Upstream,
    _issuer: Issuer,
}

fn start(idle_timeout: &str) -> Setting {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let text = configuration(&issuer, &upstream, ROUTES)
        .replace("server: {workers: 2", &format!("server: {{workers: 2, idle_timeout: {idle_timeout}"));
    Setting { gateway: Gateway::start(&text), upstream, _issuer: issuer }
}

/// Answers `/large` with so many bytes, anything else with a few.
fn answer_large(upstream: &Upstream) {
    upstream.answer(|request: &Request, stream: &mut TcpStream| {
        if request.target != "/large" {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
            return Ok(After::KeepAlive);
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")?;
        for _ in 0..LENGTH / 65_536 {
            stream.write_all(&[b'x'; 65_536])?;
        }
        Ok(After::KeepAlive)
    });
}

fn is_let_go(setting: &Setting) {
    eventually("it has begun", || setting.upstream.connections() > 0);
    eventually("the upstream is let go", || setting.upstream.open_connections() == 0);
    eventually("the client, too", || setting.gateway.metric("bearward_connections{listener=\"127.0.0.1:0\"}") == 0.0);
}

#[test]
fn a_client_that_reads_nothing_is_let_go() {
    let setting = start("1s");
    answer_large(&setting.upstream);
    let mut client = setting.gateway.client();
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    is_let_go(&setting);
    assert!(client.receive_rest().len() < LENGTH, "it gets no more than what was on its way");
    assert_eq!(setting.gateway.get("/").status, 200);
}

#[test]
fn a_client_that_reads_nothing_over_http_2_is_let_go() {
    let setting = start("1s");
    answer_large(&setting.upstream);
    let mut connection = Connection::connect(setting.gateway.address);
    // A window for everything: only its socket holds anything up.
    connection.open_window(0, 1 << 30);
    connection.request(1, true, &get("/large"));
    connection.open_window(1, 1 << 30);
    is_let_go(&setting);
}

#[test]
fn an_answer_whose_window_stays_shut_is_reset_and_no_other() {
    let setting = start("1s");
    answer_large(&setting.upstream);
    let mut connection = Connection::connect(setting.gateway.address);
    connection.open_window(0, 1 << 30);
    connection.request(1, true, &get("/large"));
    for stream in (3..13).step_by(2) {
        let outcome = connection.get(stream, "/", &[]);
        assert_eq!(outcome, Outcome::Answer { status: 200, body: b"hello".to_vec() });
    }
    assert_eq!(connection.outcome(1), Outcome::Reset(8), "CANCEL");
    eventually("the upstream's is closed", || setting.upstream.open_connections() <= 1);
    assert_eq!(connection.get(13, "/", &[]).status(), 200);
}

#[test]
fn a_window_that_is_never_opened_at_all() {
    let setting = start("1s");
    answer_large(&setting.upstream);
    let mut connection = Connection::connect(setting.gateway.address);
    // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.5.2).
    connection.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    connection.request(1, true, &get("/large"));
    assert_eq!(connection.outcome(1), Outcome::Reset(8));
}

/// Takes a part of the answer in small helpings, for several times the limit.
fn sips(client: &mut Client) {
    for _ in 0..60 {
        client.receive_bytes(32 * 1024);
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_it() {
    let setting = start("1s");
    answer_large(&setting.upstream);
    let mut client = setting.gateway.client();
    client.send("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(client.receive_head().unwrap().unwrap().status, 200);
    sips(&mut client);
    let rest = client.receive_rest().len();
    assert_eq!(rest + 60 * 32 * 1024, LENGTH);
}

#[test]
fn a_window_that_is_opened_little_by_little_is_one() {
    let setting = start("1s");
    answer_large(&setting.upstream);
    let mut connection = Connection::connect(setting.gateway.address);
    connection.open_window(0, 1 << 30);
    connection.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    connection.request(1, true, &get("/large"));
    for _ in 0..20 {
        connection.open_window(1, 4096);
        sleep(Duration::from_millis(200));
    }
    connection.open_window(1, 1 << 30);
    match connection.outcome(1) {
        Outcome::Answer { status, body } => assert_eq!((status, body.len()), (200, LENGTH)),
        cut => panic!("{cut:?}"),
    }
}

#[test]
fn a_silent_upstream_is_not_the_client_s_fault() {
    let setting = start("1s");
    let events = setting.upstream.answer_chunks("Content-Type: text/event-stream\r\n");
    let mut connection = Connection::connect(setting.gateway.address);
    connection.request(1, true, &get("/events"));
    events.send(b"data: 1\n\n".to_vec()).unwrap();
    while connection.next().expect("an event").kind != kind::DATA {}
    sleep(Duration::from_secs(3));
    events.send(b"data: 2\n\n".to_vec()).unwrap();
    drop(events);
    let mut data = Vec::new();
    while let Some(frame) = connection.next() {
        assert_ne!(frame.kind, kind::RST_STREAM);
        if frame.kind == kind::DATA {
            data.extend_from_slice(&frame.payload);
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    assert_eq!(data, b"data: 2\n\n");
}

#[test]
fn a_client_that_reads_nothing_over_tls_is_let_go() {
    let (authority, upstream, folder) = (Authority::new(), Upstream::start(), tempfile::tempdir().unwrap());
    let (certificate, key) = authority.sign(2090).write(folder.path());
    let gateway = Gateway::start_unready(&format!(
        "server: {{idle_timeout: 1s}}\n\
         listen: [{{address: \"127.0.0.1:0\", tls: {{certificate: {}, key: {}}}}}]\n\
         admin: {{address: \"127.0.0.1:0\"}}\nissuers: {{}}\nlogging: {{level: error, access: false}}\n\
         routes: [{{name: open, path: \"/**\", upstream: \"{}\", allow: public}}]\n",
        certificate.display(),
        key.display(),
        upstream.url()
    ));
    answer_large(&upstream);
    let mut stream = over(TcpStream::connect(gateway.address).unwrap(), authority.client(None, &["http/1.1"]));
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually("it has begun", || upstream.connections() == 1);
    eventually("the upstream is let go", || upstream.open_connections() == 0);
}
