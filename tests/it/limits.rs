//! What many connections cost, and what happens at the end of what the system gives: descriptors, memory.
#![cfg(target_os = "linux")]

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, sleep},
    time::Duration,
};

use crate::support::{
    PATIENCE,
    binary::Binary,
    certificates::{Authority, over},
    eventually,
    gateway::metric,
    h2::{Connection, END_STREAM, get, kind},
    http::Request,
    raw::{Client, exchange},
    skipped,
    upstream::{After, Upstream},
};

const MANY: usize = 5000;
const MEBIBYTE: usize = 1024 * 1024;
const LARGE: usize = 64 * MEBIBYTE;
/// Of an upload or an answer, for everything that is held of it. The buffers between two programs of this machine are the
/// system's and don't count.
const HELD: u64 = 8 * MEBIBYTE as u64;
const OWN: &str = "GET /own HTTP/1.1\r\nHost: a\r\n\r\n";

/// A gateway of its own process in front of an upstream, with a listener in clear and one with TLS.
struct Scene {
    upstream: Upstream,
    binary: Binary,
    authority: Authority,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// `server` is what `server:` has besides; `limits` the shell's.
    fn new(server: &str, limits: &str) -> Scene {
        let (upstream, authority, folder) = (Upstream::start(), Authority::new(), tempfile::tempdir().unwrap());
        authority.sign(2090).write(folder.path());
        let path = folder.path().join("gateway.yaml");
        let text = format!(
            "listen: [\"127.0.0.1:0\", {{address: \"127.0.0.1:0\", name: tls, tls: {{certificate: tls.crt, key: tls.key}}}}]\n\
             admin: {{address: \"127.0.0.1:0\"}}\n\
             logging: {{level: info, access: false}}\n\
             server: {{workers: 2, {server}}}\n\
             issuers: {{}}\n\
             upstreams: {{echo: {{url: \"{}\"}}}}\n\
             routes:\n\
             - {{name: own, path: /own, respond: {{status: 200, body: here}}, allow: public}}\n\
             - {{name: open, path: \"/open/**\", upstream: echo, allow: public}}\n",
            upstream.url()
        );
        std::fs::write(&path, text).unwrap();
        let binary = Binary::run_limited(limits, &path);
        Scene { upstream, binary, authority, _folder: folder }
    }

    fn client(&self) -> Client {
        Client::connect(self.binary.address())
    }

    fn status_of(&self, target: &str) -> u16 {
        exchange(self.binary.address(), "GET", target, "").status
    }

    fn open_connections(&self) -> f64 {
        metric(self.binary.admin(), "bearward_connections{listener=\"127.0.0.1:0\"}")
    }

    fn over_tls(&self) -> impl Read + Write + use<> {
        let line = self.binary.line_where("the TLS listener", |line| line["listener"] == "tls");
        let stream = TcpStream::connect(line["address"].as_str().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        over(stream, self.authority.client(None, &["http/1.1"]))
    }
}

/// Whether this process may have so many descriptors, and some for the tests beside.
fn may_have_many() -> bool {
    let most = bearward::descriptors::raise_limit();
    let enough = most.is_none_or(|most| most >= MANY as u64 + 1000);
    if !enough {
        skipped(&format!("{MANY} connections take more descriptors than the {most:?} that a process may have here"));
    }
    enough
}

#[test]
fn thousands_of_idle_connections_cost_nobody_a_request() {
    if !may_have_many() {
        return;
    }
    // Less than they take, as shells and service managers have it: the gateway raises it.
    let scene = Scene::new("idle_timeout: 10m, header_timeout: 10m", "-Sn 256");
    assert_eq!(scene.status_of("/own"), 200);
    let before = scene.binary.memory("VmRSS");
    let mut clients: Vec<_> = (0..MANY).map(|_| scene.client()).collect();
    for client in clients.iter_mut().step_by(2) {
        client.send(OWN);
        assert_eq!(client.receive().status, 200);
    }
    eventually("all are open", || scene.open_connections() == MANY as f64);
    assert_eq!([scene.status_of("/own"), scene.status_of("/open/x")], [200, 200]);
    for client in clients.iter_mut().step_by(100) {
        client.send(OWN);
        assert_eq!(client.receive().status, 200, "an idle one is as good as a new one");
    }
    let each = scene.binary.memory("VmRSS").saturating_sub(before) / MANY as u64;
    assert!(each < 48 * 1024, "{each} bytes a connection");
    drop(clients);
    eventually("all are gone", || scene.open_connections() == 0.0);
}

#[test]
fn thousands_of_idle_connections_end_with_their_time() {
    if !may_have_many() {
        return;
    }
    let scene = Scene::new("idle_timeout: 2s, header_timeout: 2s", "-Sn 256");
    let descriptors = || metric(scene.binary.admin(), "process_open_fds");
    let before = descriptors();
    let mut clients = Vec::new();
    for place in 0..MANY {
        let mut client = scene.client();
        if place % 2 == 0 {
            client.send(OWN);
            assert_eq!(client.receive().status, 200);
        }
        clients.push(client);
    }
    eventually("all are gone", || scene.open_connections() == 0.0);
    assert!(clients.iter_mut().all(Client::is_closed));
    eventually("and their descriptors", || descriptors() <= before + 8.0);
    assert_eq!(scene.status_of("/own"), 200);
}

/// CPU time that a process has used so far.
fn cpu(binary: &Binary) -> Duration {
    let stat = binary.proc("stat");
    // After the name, which may have spaces: the fields from the third on; these are the 14th and the 15th.
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
fn without_descriptors_new_connections_wait_and_old_ones_go_on() {
    let mut scene = Scene::new("idle_timeout: 10m", "-n 64");
    let mut first = scene.client();
    first.send(OWN);
    assert_eq!(first.receive().status, 200);
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let mut client = scene.client();
            client.send(OWN);
            client
        })
        .collect();
    scene.binary.line("new connections can't be accepted");

    let before = cpu(&scene.binary);
    sleep(Duration::from_secs(2));
    let used = cpu(&scene.binary) - before;
    assert!(used < Duration::from_millis(500), "{used:?} of two seconds went into waiting");
    let said = scene.binary.lines().into_iter().filter(|line| line["message"] == "new connections can't be accepted");
    assert!(said.count() <= 4, "each worker and listener says so once in a while");

    first.send(OWN);
    assert_eq!(first.receive().status, 200);
    for turn in 0..3 {
        first.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
        let status = first.receive().status;
        assert!(matches!(status, 502 | 503), "{status} in turn {turn}: there is no descriptor for the upstream");
    }
    assert_eq!(scene.upstream.connections(), 0);

    // Each one that ends makes room for one that waits.
    let served: Vec<_> = waiting.into_iter().map(|mut client| thread::spawn(move || client.receive().status)).collect();
    assert!(served.into_iter().all(|status| status.join().unwrap() == 200));
    eventually("the upstream can be reached again", || scene.status_of("/open/x") == 200);
    first.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(first.receive().status, 200);
    assert!(scene.binary.is_running());
    assert!(!scene.binary.output().contains("panicked"), "{}", scene.binary.output());
}

/// Waits until what is counted stands still, because nobody takes more of it.
fn until_stuck(moved: &AtomicUsize) {
    let mut last = 0;
    eventually("it stands still", || {
        sleep(Duration::from_millis(300));
        let now = moved.load(Ordering::SeqCst);
        let stuck = now > 0 && now == last;
        last = now;
        stuck
    });
    assert!(last < LARGE, "it should not all have gone through: nobody read it");
}

/// Answers everything with so much; counts what has been taken of it.
fn answer_large(upstream: &Upstream) -> Arc<AtomicUsize> {
    let moved = Arc::new(AtomicUsize::new(0));
    let counted = moved.clone();
    upstream.answer(move |_: &Request, stream: &mut TcpStream| {
        counted.store(0, Ordering::SeqCst);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")?;
        for _ in 0..LARGE / 65_536 {
            stream.write_all(&[b'x'; 65_536])?;
            counted.fetch_add(65_536, Ordering::SeqCst);
        }
        Ok(After::KeepAlive)
    });
    moved
}

/// Takes so many bytes, a mebibyte at a time.
fn read_slowly(from: &mut impl Read, mut bytes: usize) {
    let mut buffer = vec![0; MEBIBYTE];
    while bytes > 0 {
        let taken = buffer.len().min(bytes);
        from.read_exact(&mut buffer[..taken]).unwrap();
        bytes -= taken;
        sleep(Duration::from_millis(2));
    }
}

/// An answer's head, to the byte.
fn read_head(from: &mut impl Read) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", head.escape_ascii());
}

#[test]
fn a_large_answer_takes_little_memory_however_slowly_it_is_read() {
    let scene = Scene::new("idle_timeout: 10m", "-c 0");
    assert_eq!(scene.status_of("/open/x"), 200);
    let moved = answer_large(&scene.upstream);
    let before = scene.binary.memory("VmRSS");
    let plain = TcpStream::connect(scene.binary.address()).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    let connections: [(&str, Box<dyn ReadWrite>); 2] =
        [("in clear", Box::new(plain)), ("TLS", Box::new(scene.over_tls()))];
    for (kind, mut stream) in connections {
        stream.write_all(b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        read_head(&mut stream);
        until_stuck(&moved);
        read_slowly(&mut stream, LARGE);
        let held = scene.binary.memory("VmHWM").saturating_sub(before);
        assert!(held < HELD, "{kind}: {held} bytes");
    }

    let mut connection = Connection::connect(scene.binary.address());
    connection.request(1, true, &get("/open/x"));
    let mut received = 0;
    while received < LARGE {
        let frame = connection.next().expect("the rest");
        if frame.kind == kind::DATA {
            if received == 0 {
                until_stuck(&moved);
            }
            received += frame.payload.len();
            let taken = u32::try_from(frame.payload.len()).unwrap();
            if taken > 0 && frame.flags & END_STREAM == 0 {
                connection.open_window(0, taken);
                connection.open_window(1, taken);
            }
        }
    }
    let held = scene.binary.memory("VmHWM").saturating_sub(before);
    assert!(held < HELD, "HTTP/2: {held} bytes");
}

trait ReadWrite: Read + Write {}
impl<S: Read + Write> ReadWrite for S {}

#[test]
fn a_large_upload_takes_little_memory_however_slowly_it_is_read() {
    let scene = Scene::new("idle_timeout: 10m, body_timeout: 10m", "-c 0");
    assert_eq!(scene.status_of("/open/x"), 200);
    let before = scene.binary.memory("VmRSS");
    scene.upstream.answer_early();
    for framing in ["Content-Length: 67108864\r\n", "Transfer-Encoding: chunked\r\n"] {
        let (go_on, told) = mpsc::channel::<()>();
        let told = std::sync::Mutex::new(told);
        // The body isn't read until this has answered.
        scene.upstream.answer(move |_, stream| {
            told.lock().unwrap().recv_timeout(PATIENCE).ok();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
            Ok(After::KeepAlive)
        });
        let mut client = scene.client();
        client.send(format!("POST /open/x HTTP/1.1\r\nHost: a\r\n{framing}\r\n"));
        let moved = Arc::new(AtomicUsize::new(0));
        let (mut sender, sent, chunked) = (client.sender(), moved.clone(), framing.contains("chunked"));
        let upload = thread::spawn(move || upload(&mut sender, chunked, &sent));
        until_stuck(&moved);
        let held = scene.binary.memory("VmHWM").saturating_sub(before);
        assert!(held < HELD, "{framing}: {held} bytes");
        go_on.send(()).unwrap();
        assert_eq!(client.receive().status, 200);
        upload.join().unwrap().unwrap();
        let whole = || scene.upstream.requests().last().is_some_and(|request| request.body_length == LARGE as u64);
        eventually("all of it arrives", whole);
        let held = scene.binary.memory("VmHWM").saturating_sub(before);
        assert!(held < HELD, "{framing}: {held} bytes");
        scene.upstream.forget();
    }
}

fn upload(into: &mut impl Write, chunked: bool, sent: &AtomicUsize) -> io::Result<()> {
    for _ in 0..LARGE / 65_536 {
        if chunked {
            into.write_all(b"10000\r\n")?;
        }
        into.write_all(&[b'u'; 65_536])?;
        if chunked {
            into.write_all(b"\r\n")?;
        }
        sent.fetch_add(65_536, Ordering::SeqCst);
    }
    into.write_all(if chunked { b"0\r\n\r\n" } else { b"" })
}
