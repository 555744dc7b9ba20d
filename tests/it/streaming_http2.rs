//! Bodies pass as they come where one side or both speak HTTP/2: at once, in bounded memory, at their reader's pace.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use crate::support::{
    PATIENCE,
    binary::Binary,
    gateway::{Gateway, public_configuration},
    h2::{self, Connection, END_HEADERS, END_STREAM, block, get, kind, post},
    http::Request,
    raw::Client,
    upstream::{After, Upstream},
};

const MEBIBYTE: usize = 1024 * 1024;
/// More than all buffers on the way hold, and less than what is sent.
const BOUND: usize = 64 * MEBIBYTE;
const MUCH: usize = 200 * MEBIBYTE;
/// Who waits for so long waits for somebody who doesn't read.
const STUCK: Duration = Duration::from_secs(3);

/// An HTTP/2 upstream that sends an event whenever it is told to.
fn events() -> (SocketAddr, mpsc::Sender<&'static [u8]>) {
    let (tell, told) = mpsc::channel::<&'static [u8]>();
    let told = Arc::new(Mutex::new(told));
    let address = h2::upstream(move |mut connection| {
        while let Some(frame) = connection.next() {
            if frame.kind != kind::HEADERS {
                continue;
            }
            let head = block(&[(":status", "200"), ("content-type", "text/event-stream")]);
            connection.send(kind::HEADERS, END_HEADERS, frame.stream, &head);
            while let Ok(event) = told.lock().unwrap().recv_timeout(PATIENCE) {
                let last = if event.is_empty() { END_STREAM } else { 0 };
                connection.send(kind::DATA, last, frame.stream, event);
                if event.is_empty() {
                    break;
                }
            }
        }
    });
    (address, tell)
}

fn next_event(connection: &mut Connection) -> Vec<u8> {
    loop {
        let frame = connection.next().expect("an event");
        if frame.kind == kind::DATA {
            return frame.payload;
        }
    }
}

#[test]
fn events_arrive_one_by_one_over_http_2() {
    let upstream = Upstream::start();
    let gateway = Gateway::start_unready(&public_configuration(&upstream.url(), ""));
    let tell = upstream.answer_chunks("Content-Type: text/event-stream\r\n");
    let mut connection = Connection::connect(gateway.address);
    connection.request(1, true, &get("/events"));
    for event in [&b"data: 1\n\n"[..], b"data: 2\n\n"] {
        tell.send(event.to_vec()).unwrap();
        assert_eq!(next_event(&mut connection), event);
    }
    drop(tell);
    assert_eq!(next_event(&mut connection), b"");
}

#[test]
fn events_of_an_http_2_upstream_arrive_one_by_one() {
    let (address, tell) = events();
    let gateway = Gateway::start_unready(&public_configuration(&format!("http://{address}"), ", http2: true"));
    let mut client = gateway.client();
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    for event in [&b"data: 1\n\n"[..], b"data: 2\n\n"] {
        tell.send(event).unwrap();
        client.receive_until(event);
    }
    tell.send(b"").unwrap();
    client.receive_until(b"0\r\n\r\n");

    let mut connection = Connection::connect(gateway.address);
    connection.request(1, true, &get("/events"));
    for event in [&b"data: 1\n\n"[..], b"data: 2\n\n"] {
        tell.send(event).unwrap();
        assert_eq!(next_event(&mut connection), event);
    }
    tell.send(b"").unwrap();
    assert_eq!(next_event(&mut connection), b"");
}

#[test]
fn an_upload_over_http_2_passes_as_it_comes() {
    let upstream = Upstream::start();
    let gateway = Gateway::start_unready(&public_configuration(&upstream.url(), ""));
    for fields in [&[][..], &[("content-length", "11")]] {
        let mut connection = Connection::connect(gateway.address);
        connection.request(1, false, &[&post("/a")[..], fields].concat());
        connection.send(kind::DATA, 0, 1, b"first");
        upstream.wait_for(b"first");
        connection.send(kind::DATA, END_STREAM, 1, b"second");
        assert_eq!(connection.outcome(1).status(), 200);
        let request = upstream.only_request();
        assert_eq!(request.body, b"firstsecond");
        assert_eq!(request.fields.get("content-length").is_some(), !fields.is_empty());
        upstream.forget();
    }
}

/// Writes until it is stuck, and notes how much went.
fn pour(stream: &mut TcpStream, poured: &AtomicUsize) {
    stream.set_write_timeout(Some(STUCK)).unwrap();
    for _ in 0..MUCH / MEBIBYTE {
        if stream.write_all(&vec![b'd'; MEBIBYTE]).is_err() {
            return;
        }
        poured.fetch_add(MEBIBYTE, Ordering::SeqCst);
    }
}

#[test]
fn a_slow_reader_over_http_2_slows_its_writer() {
    let upstream = Upstream::start();
    let gateway = Gateway::start_unready(&public_configuration(&upstream.url(), ""));
    let poured = Arc::new(AtomicUsize::new(0));
    let (noting, (done, is_done)) = (poured.clone(), mpsc::channel());
    upstream.answer(move |_: &Request, stream: &mut TcpStream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n")?;
        pour(stream, &noting);
        done.send(()).ok();
        Ok(After::Close)
    });
    let mut connection = Connection::connect(gateway.address);
    connection.request(1, true, &get("/much"));
    is_done.recv_timeout(PATIENCE).unwrap();
    let poured = poured.load(Ordering::SeqCst);
    assert!(poured < BOUND, "{poured} bytes went into the gateway and nobody had read them");
}

#[test]
fn an_upload_over_http_2_that_nobody_reads_is_slowed() {
    let upstream = Upstream::start();
    upstream.answer_early();
    upstream.answer(|_, _| {
        std::thread::park();
        Ok(After::Close)
    });
    let gateway = Gateway::start_unready(&public_configuration(&upstream.url(), ""));
    let stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(STUCK)).unwrap();
    let mut connection = Connection::over(stream);
    connection.request(1, false, &post("/much"));
    let sent = connection.upload(1, MUCH);
    assert!(sent < BOUND, "{sent} bytes went into the gateway and nobody had read them");
}

#[test]
fn an_http_2_upstream_that_opens_no_window_slows_its_client() {
    let address = h2::upstream(|mut connection| while connection.next().is_some() {});
    let gateway = Gateway::start_unready(&public_configuration(&format!("http://{address}"), ", http2: true"));
    let client = gateway.client();
    let mut sender = client.sender();
    write!(sender, "POST /much HTTP/1.1\r\nHost: a\r\nContent-Length: {MUCH}\r\n\r\n").unwrap();
    let poured = AtomicUsize::new(0);
    pour(&mut sender, &poured);
    let poured = poured.load(Ordering::SeqCst);
    assert!(poured < BOUND, "{poured} bytes went into the gateway and nobody had read them");
}

#[test]
fn a_client_that_reads_nothing_slows_an_http_2_upstream() {
    let (done, is_done) = mpsc::channel();
    let address = h2::upstream_with(STUCK, move |mut connection| {
        while connection.next().is_some_and(|frame| frame.kind != kind::HEADERS) {}
        connection.send(kind::HEADERS, END_HEADERS, 1, &block(&[(":status", "200")]));
        done.send(connection.upload(1, MUCH)).ok();
    });
    let gateway = Gateway::start_unready(&public_configuration(&format!("http://{address}"), ", http2: true"));
    let mut client = gateway.client();
    client.send("GET /much HTTP/1.1\r\nHost: a\r\n\r\n");
    let sent = is_done.recv_timeout(PATIENCE).unwrap();
    assert!(sent < BOUND, "{sent} bytes went into the gateway and nobody had read them");
}

/// Takes all of a body and answers with as much.
fn echo_as_much(_: &Request, stream: &mut TcpStream) -> std::io::Result<After> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n")?;
    for _ in 0..MUCH / MEBIBYTE {
        stream.write_all(&vec![b'd'; MEBIBYTE])?;
    }
    Ok(After::KeepAlive)
}

/// 200 MiB up and as much down, and what the process has held at most.
#[test]
fn two_hundred_mebibytes_pass_in_bounded_memory() {
    let upstream = Upstream::start();
    upstream.answer(echo_as_much);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.yaml");
    std::fs::write(&config, public_configuration(&upstream.url(), "").replace("level: error", "level: info")).unwrap();
    let binary = Binary::run(&config);
    let address = binary.address();
    let before = binary.memory("VmHWM");

    let mut client = Client::connect(address);
    client.send(format!("POST /much HTTP/1.1\r\nHost: a\r\nContent-Length: {MUCH}\r\n\r\n"));
    for _ in 0..MUCH / MEBIBYTE {
        client.send(vec![b'u'; MEBIBYTE]);
    }
    assert_eq!(client.receive_head().unwrap().unwrap().status, 200);
    for _ in 0..MUCH / MEBIBYTE {
        client.receive_bytes(MEBIBYTE);
    }

    let mut connection = Connection::connect(address);
    connection.open_window(0, 1 << 30);
    connection.request(1, false, &post("/much"));
    connection.open_window(1, 1 << 30);
    assert_eq!(connection.upload(1, MUCH), MUCH);
    let mut received = 0;
    while received < MUCH {
        let frame = connection.next().expect("the rest");
        received += if frame.kind == kind::DATA { frame.payload.len() } else { 0 };
    }
    for request in upstream.requests() {
        assert_eq!(request.body_length, MUCH as u64);
    }
    let held = binary.memory("VmHWM") - before;
    assert!(held < 24 * MEBIBYTE as u64, "{held} bytes");
}

/// Answers that their client doesn't take use up their own windows, and none of what other clients' requests share with them.
#[test]
fn answers_that_nobody_takes_leave_the_others_alone() {
    const STALLED: u32 = 40;
    let (done, is_done) = mpsc::channel();
    let address = h2::upstream(move |mut connection| {
        let mut stalled = 0;
        let piece = [b'd'; 16 * 1024];
        while let Some(frame) = connection.next() {
            if frame.kind != kind::HEADERS {
                continue;
            }
            connection.send(kind::HEADERS, END_HEADERS, frame.stream, &block(&[(":status", "200")]));
            if stalled < STALLED {
                stalled += 1;
                // As much as a stream's window takes.
                for _ in 0..16 {
                    connection.send(kind::DATA, 0, frame.stream, &piece);
                }
                if stalled == STALLED {
                    done.send(()).ok();
                }
            } else {
                connection.send(kind::DATA, END_STREAM, frame.stream, b"hello");
            }
        }
    });
    let text = public_configuration(&format!("http://{address}"), ", http2: true").replace("workers: 2", "workers: 1");
    let gateway = Gateway::start_unready(&text);
    let mut connection = Connection::connect(gateway.address);
    connection.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for stream in 0..STALLED {
        connection.request(1 + 2 * stream, true, &get("/much"));
    }
    is_done.recv_timeout(PATIENCE).unwrap();
    for _ in 0..20 {
        let answer = gateway.get("/other");
        assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
    }
}

/// A stream of small messages that its client doesn't take is a burden on the upstream's connection, which others use, too.
#[test]
fn small_messages_that_nobody_takes_leave_the_others_alone() {
    const MESSAGES: usize = 20_000;
    let (done, is_done) = mpsc::channel();
    let address = h2::upstream(move |mut connection| {
        let mut stalled = 0;
        while let Some(frame) = connection.next() {
            if frame.kind != kind::HEADERS {
                continue;
            }
            connection.send(kind::HEADERS, END_HEADERS, frame.stream, &block(&[(":status", "200")]));
            if stalled < 3 {
                stalled += 1;
                let messages = h2::frame(kind::DATA, 0, frame.stream, b"0123456789").repeat(MESSAGES);
                if connection.try_send_bytes(&messages).is_err() {
                    break;
                }
                if stalled == 3 {
                    done.send(()).ok();
                }
            } else {
                connection.send(kind::DATA, END_STREAM, frame.stream, b"hello");
            }
        }
    });
    let text = public_configuration(&format!("http://{address}"), ", http2: true").replace("workers: 2", "workers: 1");
    let gateway = Gateway::start_unready(&text);
    let mut connection = Connection::connect(gateway.address);
    connection.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for stream in [1, 3, 5] {
        connection.request(stream, true, &get("/messages"));
    }
    is_done.recv_timeout(PATIENCE).unwrap();
    for _ in 0..20 {
        let answer = gateway.get("/other");
        assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
    }
    // And they are all there for who takes them at last.
    connection.open_window(0, 1 << 30);
    connection.open_window(1, 1 << 30);
    let mut received = 0;
    while received < 10 * MESSAGES {
        let frame = connection.next().expect("the messages");
        assert!(!matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY), "{frame:?}");
        received += if frame.kind == kind::DATA { frame.payload.len() } else { 0 };
    }
}

#[test]
fn small_messages_that_an_upstream_does_not_take_wait() {
    const MESSAGES: usize = 6_000;
    let (tell, told) = mpsc::channel::<()>();
    let told = Arc::new(Mutex::new(told));
    let address = h2::upstream(move |mut connection| {
        // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.5.2).
        connection.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        while connection.next().is_some_and(|frame| frame.kind != kind::HEADERS) {}
        told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        connection.open_window(0, 1 << 30);
        connection.open_window(1, 1 << 30);
        let mut received = 0;
        while received < 10 * MESSAGES {
            let frame = connection.next().expect("the messages");
            received += if frame.kind == kind::DATA { frame.payload.len() } else { 0 };
        }
        connection.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":status", "200")]));
        while connection.next().is_some() {}
    });
    let gateway = Gateway::start_unready(&public_configuration(&format!("http://{address}"), ", http2: true"));
    let mut connection = Connection::connect(gateway.address);
    connection.request(1, false, &post("/messages"));
    // As the first window takes them.
    connection.try_send_bytes(&h2::frame(kind::DATA, 0, 1, b"0123456789").repeat(MESSAGES)).unwrap();
    assert_eq!(connection.get(3, "/a%2Fb", &[]).status(), 400, "the connection goes on");
    tell.send(()).unwrap();
    assert_eq!(connection.outcome(1).status(), 200);
}
