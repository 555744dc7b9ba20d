//! HTTP/2 upstreams that take fewer requests than they are sent.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{
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
    /// Once so many wait.
    Together(Arc<Barrier>),
}

/// An upstream that does these in turn, then the last one of them for ever, and counts the requests and connections.
#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    connections: AtomicUsize,
}

fn start(most_streams: u8, acts: Vec<Act>) -> (Gateway, Arc<Counts>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Gateway::start_unready(&format!(
        "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\"}}\nlogging: {{level: error, access: false}}\n\
         server: {{workers: 1}}\nissuers: {{}}\nupstreams: {{api: {{url: \"http://{}\", http2: true}}}}\n\
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

fn serve(mut stream: TcpStream, most_streams: u8, counts: &Counts, acts: &Mutex<Vec<Act>>) {
    stream.read_exact(&mut [0; 24]).unwrap();
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
            act => {
                if let Act::Together(barrier) = act {
                    barrier.wait();
                }
                connection.send(kind::HEADERS, END_HEADERS | END_STREAM, frame.stream, &block(&[(":status", "200")]));
            }
        }
    }
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

#[test]
fn who_refuses_for_ever_is_not_asked_for_ever() {
    let (gateway, counts) = start(100, vec![Act::Refuse]);
    assert_eq!(gateway.get("/").status, 502);
    assert_eq!(counts.requests.load(Ordering::SeqCst), 3);
}

#[test]
fn more_requests_than_a_connection_takes_get_another_one() {
    let together = Act::Together(Arc::new(Barrier::new(3)));
    let (gateway, counts) = start(1, vec![Act::Answer, Act::Answer, together]);
    // What an upstream takes is known from the second request on.
    assert_eq!([gateway.get("/").status, gateway.get("/").status], [200, 200]);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..3).map(|_| scope.spawn(|| gateway.get("/").status)).collect();
        for call in calls {
            assert_eq!(call.join().unwrap(), 200);
        }
    });
    assert_eq!(counts.connections.load(Ordering::SeqCst), 3);
}
