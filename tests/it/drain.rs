//! The end of the process: everything that is under way comes to its own end, or to that of its time.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    sync::{Mutex, mpsc},
};

use serde_json::Value;

use crate::support::{
    PATIENCE,
    binary::Binary,
    eventually,
    gateway::configuration,
    h2::{Connection, END_STREAM, get, kind},
    http::Request,
    issuer::Issuer,
    keys::Key,
    raw::{Client, exchange},
    upstream::{After, Upstream, respond},
};

const ROUTES: &str = "  - {name: open, path: \"/**\", upstream: echo, allow: public}\n";

struct Scene {
    upstream: Upstream,
    binary: Binary,
    path: PathBuf,
    /// Ends what waits at the upstream.
    go_on: Option<mpsc::Sender<()>>,
    _issuer: Issuer,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(server: &str) -> Scene {
        let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.yaml");
        let text = configuration(&issuer, &upstream, ROUTES)
            .replace("level: error, access: false", "level: info, access: true")
            .replace("workers: 2", &format!("workers: 2, {server}"));
        fs::write(&path, text).unwrap();
        let binary = Binary::run(&path);
        let go_on = Some(wait_at(&upstream));
        Scene { upstream, binary, path, go_on, _issuer: issuer, _folder: folder }
    }

    fn client(&self) -> Client {
        Client::connect(self.binary.address())
    }

    /// One of each kind, under way: a request, one over HTTP/2, a stream of events, a tunnel.
    fn one_of_each(&self) -> (Client, Connection, Client, Client) {
        let mut slow = self.client();
        slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut modern = Connection::connect(self.binary.address());
        modern.request(1, true, &get("/slow-too"));
        let mut events = self.client();
        events.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
        events.receive_until(b"data: 1\n");
        let mut tunnel = self.client();
        tunnel.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(tunnel.receive().status, 101);
        for target in [&b"/slow "[..], b"/slow-too "] {
            self.upstream.wait_for(target);
        }
        (slow, modern, events, tunnel)
    }

    fn access_line(&self, path: &str) -> Value {
        self.binary.line_where(path, |line| line["path"] == path)
    }
}

/// Whatever is asked for goes on when the sender ends; a tunnel with its client.
fn wait_at(upstream: &Upstream) -> mpsc::Sender<()> {
    let (sender, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    // One at a time waits for the sender; the others for their turn: all go on when it is gone.
    let wait = move || told.lock().unwrap().recv_timeout(PATIENCE).ok();
    upstream.answer(move |request: &Request, stream: &mut TcpStream| match request.target.as_str() {
        "/events" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n")?;
            wait();
            stream.write_all(b"8\r\ndata: 2\n\r\n0\r\n\r\n")?;
            Ok(After::KeepAlive)
        }
        "/chat" => {
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                stream.write_all(&buffer[..count])?;
            }
            Ok(After::Close)
        }
        target => {
            if target.starts_with("/slow") {
                wait();
            }
            respond(stream, 200, "", b"hello")
        }
    });
    sender
}

#[test]
fn what_is_under_way_comes_to_its_own_end() {
    let mut scene = Scene::new("drain_timeout: 10m");
    let (mut slow, mut modern, mut events, mut tunnel) = scene.one_of_each();
    let mut idle = scene.client();
    let address = scene.binary.address();
    scene.binary.signal("TERM");
    assert!(idle.is_closed());
    let answer = exchange(scene.binary.admin(), "GET", "/readyz", "");
    assert_eq!((answer.status, &answer.json()["status"]), (503, &Value::from("draining")));
    eventually("nobody is taken in", || TcpStream::connect(address).is_err());
    assert_eq!(exchange(scene.binary.admin(), "GET", "/livez", "").status, 200);

    tunnel.send("still there");
    tunnel.receive_until(b"still there");
    let mut said_goodbye = false;
    drop(scene.go_on.take());
    loop {
        let frame = modern.next().expect("the answer");
        said_goodbye |= frame.kind == kind::GOAWAY;
        if frame.stream == 1 && frame.flags & END_STREAM != 0 {
            break;
        }
    }
    while let Some(frame) = modern.next() {
        said_goodbye |= frame.kind == kind::GOAWAY;
    }
    assert!(said_goodbye, "HTTP/2 is told");
    let answer = slow.receive();
    assert_eq!((answer.status, answer.fields.get("connection")), (200, Some("close")));
    assert!(slow.is_closed());
    events.receive_until(b"0\r\n\r\n");
    assert!(events.is_closed());

    assert!(scene.binary.is_running(), "a tunnel is open");
    tunnel.send("to the end");
    tunnel.receive_until(b"to the end");
    drop(tunnel);
    assert_eq!(scene.binary.wait().code(), Some(0), "{}", scene.binary.output());
    let messages: Vec<_> =
        scene.binary.lines().iter().filter_map(|line| line["message"].as_str().map(str::to_owned)).collect();
    assert!(messages.ends_with(&["stopped".to_owned()]), "{messages:?}");
    assert!(!messages.iter().any(|message| message.contains("cut off")), "{messages:?}");
    for path in ["/slow", "/slow-too", "/events", "/chat"] {
        let status = &scene.access_line(path)["status"];
        assert_eq!(status, if path == "/chat" { 101 } else { 200 }, "{path}");
    }
}

#[test]
fn what_takes_longer_than_it_may_is_cut_off_and_logged() {
    let mut scene = Scene::new("drain_timeout: 1s");
    let (mut slow, mut modern, mut events, mut tunnel) = scene.one_of_each();
    scene.binary.signal("TERM");
    assert!(slow.is_closed());
    while modern.next().is_some() {}
    events.receive_rest();
    assert!(tunnel.is_closed());
    assert_eq!(scene.binary.wait().code(), Some(0), "{}", scene.binary.output());
    scene.binary.line_where("that some were cut off", |line| {
        line["level"] == "warn" && line["message"].as_str().is_some_and(|message| message.contains("cut off"))
    });
    for path in ["/slow", "/slow-too", "/events", "/chat"] {
        assert_eq!(scene.access_line(path)["route"], "open", "{path}");
    }
}

#[test]
fn the_times_are_those_of_the_configuration_in_force() {
    let mut scene = Scene::new("drain_timeout: 10m, drain_delay: 10m");
    let mut slow = scene.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.upstream.wait_for(b"/slow");
    let text = fs::read_to_string(&scene.path).unwrap();
    fs::write(&scene.path, text.replace("drain_timeout: 10m, drain_delay: 10m", "drain_timeout: 1s")).unwrap();
    scene.binary.signal("HUP");
    scene.binary.line("configuration reloaded");
    scene.binary.signal("TERM");
    assert_eq!(scene.binary.wait().code(), Some(0), "{}", scene.binary.output());
}

#[test]
fn a_second_signal_ends_it_as_it_stands() {
    let mut scene = Scene::new("drain_timeout: 10m");
    let mut slow = scene.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.upstream.wait_for(b"/slow");
    scene.binary.signal("TERM");
    scene.binary.line("draining");
    scene.binary.signal("INT");
    assert_eq!(scene.binary.wait().code(), Some(130));
}
