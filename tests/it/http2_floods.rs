//! HTTP/2 connections that are meant to wear the gateway out: they end, with their reason; the process takes no harm, and
//! nobody else notices.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::support::{
    PATIENCE,
    binary::Binary,
    eventually,
    gateway::public_configuration,
    h2::{Connection, END_HEADERS, END_STREAM, Outcome, block, frame, get, kind, post},
    raw::exchange,
    upstream::{After, Upstream},
};

const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;
const MEBIBYTE: u64 = 1024 * 1024;

struct Setting {
    binary: Binary,
    upstream: Upstream,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

fn start(server: &str) -> Setting {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.yaml");
    let text = public_configuration(&upstream.url(), "").replace("level: error", "level: info");
    std::fs::write(&config, text.replace("server: {workers: 2", &format!("server: {{workers: 2{server}"))).unwrap();
    let binary = Binary::run(&config);
    let address = binary.address();
    Setting { binary, upstream, address, _folder: folder }
}

/// What a client does until nobody takes any more of it.
type Flood = fn(&mut Connection);

impl Setting {
    /// Floods from several connections at a time, while another client's requests are answered each and all. What the
    /// connections were told.
    fn flood(&mut self, name: &str, flood: Flood) -> Vec<Option<u32>> {
        let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
        let address = self.address;
        let told = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut connection = Connection::connect(address);
                // For more answers than it will get.
                connection.open_window(0, 1 << 30);
                for stream in (1..).step_by(2) {
                    assert_eq!(exchange(address, "GET", "/", "").status, 200, "{name}");
                    assert_eq!(connection.get(stream, "/", &[]).status(), 200, "{name}");
                    served.fetch_add(1, Ordering::SeqCst);
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                }
            });
            let floods: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(move || {
                        let mut connection = Connection::connect(address);
                        flood(&mut connection);
                        connection.goodbye()
                    })
                })
                .collect();
            let told = floods.into_iter().map(|flood| flood.join().unwrap()).collect();
            over.store(true, Ordering::SeqCst);
            told
        });
        assert!(served.into_inner() > 0);
        assert!(self.binary.is_running(), "{name}");
        told
    }

    #[track_caller]
    fn holds_at_most(&self, before: u64, more: u64) {
        let held = self.binary.memory("VmHWM").saturating_sub(before);
        assert!(held < more, "{held} bytes");
    }
}

/// The same frames for ever.
fn repeat(connection: &mut Connection, frames: &[u8]) {
    let refused = (0..50_000).any(|_| connection.try_send_bytes(frames).is_err());
    assert!(refused, "millions of frames were taken");
}

fn frames(connection: &mut Connection, kind: u8, stream: u32, payload: &[u8]) {
    connection.request(1, false, &post("/"));
    repeat(connection, &frame(kind, 0, stream, payload).repeat(100));
}

/// `/never` gets no answer, everything else one at once.
fn answer_all_but_never(upstream: &Upstream) {
    upstream.answer(|request, stream| {
        if request.target == "/never" {
            std::io::copy(stream, &mut std::io::sink())?;
            return Ok(After::Close);
        }
        crate::support::upstream::respond(stream, 200, "", b"hello")
    });
}

#[test]
fn frames_that_bring_nothing() {
    let mut setting = start("");
    let before = setting.binary.memory("VmHWM");
    let floods: [(&str, Flood); 7] = [
        ("ping", |connection| frames(connection, kind::PING, 0, &[0; 8])),
        ("settings", |connection| frames(connection, kind::SETTINGS, 0, &[])),
        ("settings that change", |connection| frames(connection, kind::SETTINGS, 0, &[0, 4, 0, 0, 255, 255])),
        ("priority", |connection| frames(connection, kind::PRIORITY, 1, &[0, 0, 0, 0, 1])),
        ("unknown", |connection| frames(connection, 0xfe, 0, &[])),
        ("empty data", |connection| frames(connection, kind::DATA, 1, &[])),
        ("window updates", |connection| frames(connection, kind::WINDOW_UPDATE, 0, &[0, 0, 0, 1])),
    ];
    for (name, flood) in floods {
        for told in setting.flood(name, flood) {
            assert_eq!(told, Some(ENHANCE_YOUR_CALM), "{name}");
        }
    }
    setting.holds_at_most(before, 32 * MEBIBYTE);
}

/// So many pairs of a request and what ends it.
fn take_back(connection: &mut Connection, end: impl Fn(u32) -> Vec<u8>) {
    let head = block(&get("/never"));
    let refused = (1..400_001).step_by(2).any(|stream| {
        let pair = [frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head), end(stream)];
        connection.try_send_bytes(&pair.concat()).is_err()
    });
    assert!(refused, "200,000 requests were taken");
}

#[test]
fn requests_that_are_taken_back() {
    let mut setting = start("");
    answer_all_but_never(&setting.upstream);
    let before = setting.binary.memory("VmHWM");
    let floods: [(&str, u32, Flood); 3] = [
        ("rapid reset", ENHANCE_YOUR_CALM, |connection| {
            take_back(connection, |stream| frame(kind::RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        }),
        // Faults of the client's for which it is the gateway that resets.
        ("a window of no use", PROTOCOL_ERROR, |connection| {
            take_back(connection, |stream| frame(kind::WINDOW_UPDATE, 0, stream, &[0; 4]));
        }),
        ("a window over the edge", ENHANCE_YOUR_CALM, |connection| {
            take_back(connection, |stream| frame(kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]));
        }),
    ];
    for (name, reason, flood) in floods {
        for told in setting.flood(name, flood) {
            assert_eq!(told, Some(reason), "{name}");
        }
        let worked_on = setting.upstream.requests().iter().filter(|request| request.target == "/never").count();
        assert!(worked_on < 4 * 700, "{name}: {worked_on}");
        setting.upstream.forget();
    }
    eventually("the upstream is left alone", || setting.upstream.open_connections() <= 2);
    setting.holds_at_most(before, 64 * MEBIBYTE);
}

#[test]
fn heads_without_an_end() {
    let mut setting = start(", header_timeout: 2s");
    let before = setting.binary.memory("VmHWM");
    let floods: [(&str, Flood); 2] = [
        ("continuations", |connection| {
            connection.send(kind::HEADERS, END_STREAM, 1, &block(&get("/")));
            let piece = block(&[("x", &"y".repeat(1000))]);
            repeat(connection, &frame(kind::CONTINUATION, 0, 1, &piece).repeat(10));
        }),
        ("empty continuations", |connection| {
            connection.send(kind::HEADERS, END_STREAM, 1, &block(&get("/")));
            repeat(connection, &frame(kind::CONTINUATION, 0, 1, &[]).repeat(100));
        }),
    ];
    for (name, flood) in floods {
        for told in setting.flood(name, flood) {
            assert_eq!(told, Some(ENHANCE_YOUR_CALM), "{name}");
        }
    }
    let silences: [(&str, Flood); 3] = [
        ("a block that isn't ended", |connection| connection.send(kind::HEADERS, END_STREAM, 1, &block(&get("/")))),
        ("half a block", |connection| {
            let head = frame(kind::HEADERS, END_STREAM, 1, &block(&get("/")));
            connection.try_send_bytes(&head[..12]).unwrap();
        }),
        ("half a frame's head", |connection| connection.try_send_bytes(&[0, 0]).unwrap()),
    ];
    for (name, silence) in silences {
        // Our own acknowledgement of settings may end up in the middle of the block.
        for told in setting.flood(name, silence) {
            assert!(matches!(told, Some(PROTOCOL_ERROR | ENHANCE_YOUR_CALM)), "{name}: {told:?}");
        }
    }
    let mut silent = TcpStream::connect(setting.address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n").unwrap();
    silent.read_to_end(&mut Vec::new()).unwrap();
    assert!(setting.upstream.requests().iter().all(|request| request.method == "GET" && request.target == "/"));
    setting.holds_at_most(before, 32 * MEBIBYTE);
}

/// A field of 4,000 bytes that is remembered, and then meant so often again, a byte each time (RFC 7541, section 6.1).
fn bomb(times: usize) -> Vec<u8> {
    let mut head = block(&get("/"));
    head.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    head.extend_from_slice(&[b'y'; 4000]);
    head.extend(vec![0xbe; times]);
    head
}

#[test]
fn small_heads_that_unfold() {
    let mut setting = start("");
    let before = setting.binary.memory("VmHWM");
    for (times, answered) in [(50, true), (10_000, false)] {
        let mut connection = Connection::connect(setting.address);
        connection.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &bomb(times));
        match connection.outcome(1) {
            Outcome::Answer { status, .. } => assert_eq!(status, 431),
            cut => assert!(!answered, "{cut:?}"),
        }
    }
    let told = setting.flood("bombs", |connection| {
        let mut first = true;
        for stream in (1..4001).step_by(2) {
            let head = if first { bomb(10_000) } else { [block(&get("/")), vec![0xbe; 16_000]].concat() };
            first = false;
            if connection.try_send(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head).is_err() {
                break;
            }
        }
    });
    assert!(told.iter().all(|told| *told == Some(ENHANCE_YOUR_CALM)), "{told:?}");
    setting.holds_at_most(before, 32 * MEBIBYTE);
}

#[test]
fn more_requests_than_are_taken() {
    let mut setting = start("");
    answer_all_but_never(&setting.upstream);
    let before = setting.binary.memory("VmHWM");
    let told = setting.flood("requests", |connection| {
        let large = "y".repeat(4000);
        let head = block(&[&get("/never")[..], &[("x", &large)]].concat());
        for stream in (1..20_001).step_by(2) {
            if connection.try_send(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head).is_err() {
                break;
            }
        }
    });
    assert!(told.iter().all(|told| *told == Some(ENHANCE_YOUR_CALM)), "{told:?}");
    setting.holds_at_most(before, 64 * MEBIBYTE);
}

/// Answers that are asked for and never taken, on all streams of several connections.
#[test]
fn windows_that_stay_shut() {
    const LENGTH: usize = 4 * 1024 * 1024;
    let mut setting = start(", idle_timeout: 15s");
    setting.upstream.answer(|request, stream| {
        if request.target != "/large" {
            return crate::support::upstream::respond(stream, 200, "", b"hello");
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")?;
        (0..LENGTH / 65_536).try_for_each(|_| stream.write_all(&[b'x'; 65_536]))?;
        Ok(After::KeepAlive)
    });
    let before = setting.binary.memory("VmHWM");
    setting.flood("shut windows", |connection| {
        connection.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        for stream in (1..257).step_by(2) {
            connection.request(stream, true, &get("/large"));
        }
        let mut reset = 0;
        while reset < 128 {
            let frame = connection.next().expect("resets of all");
            if frame.kind == kind::RST_STREAM {
                assert_eq!(frame.payload, [0, 0, 0, 8], "CANCEL");
                reset += 1;
            }
        }
    });
    // 512 answers: what is read ahead of each, and its upstream's buffers.
    setting.holds_at_most(before, 96 * MEBIBYTE);
    eventually("the upstream is let go", || setting.upstream.open_connections() <= 4);
}
