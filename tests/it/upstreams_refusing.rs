//! HTTP/2 upstreams that take fewer requests than they are sent.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{
    eventually,
    gateway::Gateway,
    h2::{Connection, END_HEADERS, END_STREAM, block, kind},
};

/// What is done with a request.
#[derive(Clone)]
enum Act {
    Answer,
    /// REFUSED_STREAM
    Refuse,
    /// A GOAWAY that leaves it out.
    SayGoodbye,
    /// Once so many have come, on all connections.
    Count(usize),
}

/// An upstream that does these in turn, then the last one of them for ever, and counts the requests and connections.
#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    connections: AtomicUsize,
}

fn start(most_streams: u8, acts: Vec<Act>) -> (Gateway, Arc<Counts>) {
    start_with(most_streams, acts, 1, "")
}

/// `more`: further keys of the upstream.
fn start_with(most_streams: u8, acts: Vec<Act>, workers: usize, more: &str) -> (Gateway, Arc<Counts>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Gateway::start_unready(&format!(
        "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\"}}\nlogging: {{level: error, access: false}}\n\
         server: {{workers: {workers}}}\nissuers: {{}}\nupstreams: {{api: {{url: \"http://{}\", http2: true{more}}}}}\n\
         routes: [{{name: open, path: \"/**\", upstream: api, allow: public}}]\n",
        listener.local_addr().unwrap()
    ));
    let counts = Arc::new(Counts::default());
    let (counting, acts) = (counts.clone(), Arc::new(Mutex::new(acts)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counting.connections.fetch_add(1, Ordering::SeqCst);
            let (counts, acts) = (counting.clone(), acts.clone());
            std::thread::spawn(move || serve(stream.unwrap(), most_streams, &counts, &acts));
        }
    });
    (gateway, counts)
}

fn serve(mut stream: TcpStream, most_streams: u8, counts: &Arc<Counts>, acts: &Mutex<Vec<Act>>) {
    stream.read_exact(&mut [0; 24]).unwrap();
    let writer = stream.try_clone().unwrap();
    let mut connection = Connection::accepted(stream);
    // SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, section 6.5.2).
    connection.send(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, most_streams]);
    while let Some(frame) = connection.next() {
        if frame.kind != kind::HEADERS {
            continue;
        }
        counts.requests.fetch_add(1, Ordering::SeqCst);
        let act = {
            let mut acts = acts.lock().unwrap();
            if acts.len() > 1 { acts.remove(0) } else { acts[0].clone() }
        };
        match act {
            Act::Refuse => connection.send(kind::RST_STREAM, 0, frame.stream, &7u32.to_be_bytes()),
            // And reads on: a reset would overtake it.
            Act::SayGoodbye => connection.send(kind::GOAWAY, 0, 0, &[0; 8]),
            Act::Count(most) => {
                let (counts, mut answers) = (counts.clone(), Connection::accepted(writer.try_clone().unwrap()));
                // In a thread, so that more streams are read meanwhile.
                std::thread::spawn(move || {
                    eventually("all have come", || counts.requests.load(Ordering::SeqCst) >= most);
                    answer(&mut answers, frame.stream);
                });
            }
            Act::Answer => answer(&mut connection, frame.stream),
        }
    }
}

fn answer(connection: &mut Connection, stream: u32) {
    connection.send(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block(&[(":status", "200")]));
}

#[test]
fn what_was_not_worked_on_is_sent_again() {
    for act in [Act::Refuse, Act::SayGoodbye] {
        for primed in [false, true] {
            let acts =
                if primed { vec![Act::Answer, act.clone(), Act::Answer] } else { vec![act.clone(), Act::Answer] };
            let (gateway, counts) = start(100, acts);
            let before = usize::from(primed);
            if primed {
                assert_eq!(gateway.get("/").status, 200);
            }
            assert_eq!(gateway.call("POST", "/", "Content-Length: 0\r\n").status, 200, "of any method");
            assert_eq!(counts.requests.load(Ordering::SeqCst), before + 2);
        }
    }
}

/// Its bytes are at hand: they had all come.
#[test]
fn a_body_goes_with_it() {
    for act in [Act::Refuse, Act::SayGoodbye] {
        let (gateway, counts) = start(100, vec![act, Act::Answer]);
        let mut client = gateway.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.receive().status, 200);
        assert_eq!(counts.requests.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn who_refuses_for_ever_is_not_asked_for_ever() {
    let (gateway, counts) = start(100, vec![Act::Refuse]);
    assert_eq!(gateway.get("/").status, 502);
    assert_eq!(counts.requests.load(Ordering::SeqCst), 3);
}

#[test]
fn more_requests_than_a_connection_takes_get_another_one_from_the_first_on() {
    for (most_streams, requests, connections) in [(1, 3, 3), (2, 5, 3), (100, 5, 1)] {
        let (gateway, counts) = start(most_streams, vec![Act::Count(requests)]);
        assert_eq!(all_at_once(&gateway, requests), vec![200; requests]);
        assert_eq!(counts.connections.load(Ordering::SeqCst), connections, "{requests} of {most_streams}");
    }
}

/// One connection for all workers, and one request at a time on it: whoever has no place waits for one.
#[test]
fn a_place_that_is_freed_is_given_to_who_waits() {
    for most_streams in [1, 3] {
        let (gateway, counts) = start_with(most_streams, vec![Act::Answer], 2, ", max_connections: 1");
        for _ in 0..3 {
            assert_eq!(all_at_once(&gateway, 12), [200; 12]);
        }
        assert_eq!(counts.connections.load(Ordering::SeqCst), 1);
        assert_eq!(counts.requests.load(Ordering::SeqCst), 36);
    }
}

fn all_at_once(gateway: &Gateway, requests: usize) -> Vec<u16> {
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..requests).map(|_| scope.spawn(|| gateway.get("/").status)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}
