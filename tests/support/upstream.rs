//! An API behind the gateway: records the exact bytes of what it gets, answers as it is told.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
};

use super::{
    PATIENCE, eventually,
    http::{Request, read_body, read_head},
    raw::find,
    strict::{self, End, Message},
};

/// Whether the connection goes on after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    KeepAlive,
    Close,
}

type Answer = dyn Fn(&Request, &mut TcpStream) -> io::Result<After> + Send + Sync;

/// The upstream. Ends with its value.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    answer: Mutex<Arc<Answer>>,
    /// Answer as soon as the head is there; the body is read afterwards.
    early: AtomicBool,
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    /// Every byte of every connection, in the order of arrival; the first megabyte.
    wire: Mutex<Vec<u8>>,
    /// By connection, what `take_messages` has not taken; the first megabyte.
    untaken: Mutex<BTreeMap<usize, Vec<u8>>>,
    bytes: AtomicU64,
    stopped: AtomicBool,
    /// Every connection, to be cut.
    streams: Mutex<Vec<TcpStream>>,
}

const KEPT_WIRE: usize = 1024 * 1024;

impl Upstream {
    /// One that answers 200 and `hello` on kept-alive connections.
    pub(crate) fn start() -> Upstream {
        Upstream::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn on(listener: TcpListener) -> Upstream {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            answer: Mutex::new(Arc::new(|_: &Request, stream: &mut TcpStream| respond(stream, 200, "", b"hello"))),
            early: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            requests: Mutex::default(),
            wire: Mutex::default(),
            untaken: Mutex::default(),
            bytes: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let state = Arc::clone(&serving);
                state.streams.lock().unwrap().push(stream.try_clone().unwrap());
                let number = state.connections.fetch_add(1, Ordering::SeqCst);
                state.open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    // A client that goes away in the middle is part of some tests.
                    serve(&state, stream, number).ok();
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Upstream { address, state }
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers so.
    pub(crate) fn answer(
        &self,
        answer: impl Fn(&Request, &mut TcpStream) -> io::Result<After> + Send + Sync + 'static,
    ) {
        *self.state.answer.lock().unwrap() = Arc::new(answer);
    }

    /// Answers with this status, these field lines (each ended by CRLF) and this body.
    pub(crate) fn answer_with(&self, status: u16, fields: &str, body: &[u8]) {
        let (fields, body) = (fields.to_owned(), body.to_vec());
        self.answer(move |_, stream| respond(stream, status, &fields, &body));
    }

    /// Answers with these bytes and closes: garbage, half an answer, or nothing at all.
    pub(crate) fn answer_bytes(&self, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.answer(move |_, stream| stream.write_all(&bytes).map(|()| After::Close));
    }

    /// Answers well on a connection that it then closes without having said so: the keep-alive race.
    pub(crate) fn answer_and_hang_up(&self) {
        self.answer(|_, stream| respond(stream, 200, "", b"hello").map(|_| After::Close));
    }

    /// Answers with a chunked body of which one part goes out for each message received; ends when the sender does.
    pub(crate) fn answer_chunks(&self, fields: &str) -> mpsc::Sender<Vec<u8>> {
        let (sender, receiver) = mpsc::channel::<Vec<u8>>();
        let (receiver, fields) = (Mutex::new(receiver), fields.to_owned());
        self.answer(move |_, stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{fields}\r\n")?;
            while let Ok(part) = receiver.lock().unwrap().recv_timeout(PATIENCE) {
                write!(stream, "{:x}\r\n", part.len())?;
                stream.write_all(&part)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")?;
            Ok(After::KeepAlive)
        });
        sender
    }

    /// Waits with each answer until the sender says so (or is gone).
    pub(crate) fn answer_when_told(&self) -> mpsc::Sender<()> {
        let (sender, receiver) = mpsc::channel::<()>();
        let receiver = Mutex::new(receiver);
        self.answer(move |_, stream| {
            receiver.lock().unwrap().recv_timeout(PATIENCE).ok();
            respond(stream, 200, "", b"hello")
        });
        sender
    }

    /// Never answers: reads until the other end closes.
    pub(crate) fn answer_never(&self) {
        self.answer(|_, stream| io::copy(stream, &mut io::sink()).map(|_| After::Close));
    }

    /// Answers when the head is there instead of after the body.
    pub(crate) fn answer_early(&self) {
        self.state.early.store(true, Ordering::SeqCst);
    }

    /// What came, whole, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// The one request that came.
    #[track_caller]
    pub(crate) fn only_request(&self) -> Request {
        let requests = self.requests();
        let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
        request.clone()
    }

    #[track_caller]
    pub(crate) fn last_request(&self) -> Request {
        self.requests().pop().expect("a request")
    }

    /// Every byte that came, complete request or not.
    pub(crate) fn wire(&self) -> Vec<u8> {
        self.state.wire.lock().unwrap().clone()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::SeqCst)
    }

    /// The whole messages that came since the last call, as a strict reader sees them, connection by connection. What has
    /// only begun stays.
    ///
    /// # Errors
    /// What isn't in order.
    pub(crate) fn take_messages(&self) -> Result<Vec<Message>, String> {
        let mut messages = Vec::new();
        for bytes in self.state.untaken.lock().unwrap().values_mut() {
            let (whole, rest, end) = strict::read_on(bytes);
            if let End::Wrong(why) = end {
                return Err(format!("{why}: {}", bytes.escape_ascii()));
            }
            let rest = rest.to_vec();
            messages.extend(whole);
            *bytes = rest;
        }
        Ok(messages)
    }

    /// Connections that were ever made.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Ends as a process does that is killed: nothing listens any more, and every connection is cut.
    pub(crate) fn kill(&self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        eventually("nobody listens", || TcpStream::connect(self.address).is_err());
        for stream in self.state.streams.lock().unwrap().drain(..) {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }

    /// Forgets what came.
    pub(crate) fn forget(&self) {
        self.state.requests.lock().unwrap().clear();
        self.state.wire.lock().unwrap().clear();
        self.state.bytes.store(0, Ordering::SeqCst);
    }

    /// Waits until these bytes have come.
    #[track_caller]
    pub(crate) fn wait_for(&self, bytes: &[u8]) {
        let what = format!("the upstream gets {:?}", String::from_utf8_lossy(bytes));
        eventually(&what, || find(&self.state.wire.lock().unwrap(), bytes).is_some());
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
    }
}

/// Writes an answer with a length.
pub(crate) fn respond(stream: &mut TcpStream, status: u16, fields: &str, body: &[u8]) -> io::Result<After> {
    let mut answer = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n{fields}\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    stream.write_all(&answer)?;
    Ok(After::KeepAlive)
}

fn serve(state: &Arc<State>, mut stream: TcpStream, number: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let recorder = Recorder { stream: stream.try_clone()?, state: Arc::clone(state), number };
    let mut input = io::BufReader::new(recorder);
    while let Some(mut request) = read_head(&mut input)? {
        let answer = Arc::clone(&state.answer.lock().unwrap());
        let after = if state.early.load(Ordering::SeqCst) {
            let after = answer(&request, &mut stream)?;
            read_body(&mut input, &mut request)?;
            state.requests.lock().unwrap().push(request);
            after
        } else {
            expect_body(&request, &mut stream)?;
            read_body(&mut input, &mut request)?;
            state.requests.lock().unwrap().push(request.clone());
            answer(&request, &mut stream)?
        };
        if after == After::Close {
            stream.shutdown(std::net::Shutdown::Both).ok();
            return Ok(());
        }
    }
    Ok(())
}

fn expect_body(request: &Request, stream: &mut TcpStream) -> io::Result<()> {
    match request.fields.get("expect") {
        Some(_) => stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n"),
        None => Ok(()),
    }
}

/// Notes every byte on its way in.
struct Recorder {
    stream: TcpStream,
    state: Arc<State>,
    number: usize,
}

impl Read for Recorder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.state.bytes.fetch_add(read as u64, Ordering::SeqCst);
        let mut wire = self.state.wire.lock().unwrap();
        let room = KEPT_WIRE.saturating_sub(wire.len()).min(read);
        wire.extend_from_slice(&buffer[..room]);
        let mut untaken = self.state.untaken.lock().unwrap();
        let own = untaken.entry(self.number).or_default();
        let room = KEPT_WIRE.saturating_sub(own.len()).min(read);
        own.extend_from_slice(&buffer[..room]);
        Ok(read)
    }
}

#[test]
fn an_upstream_keeps_every_byte() {
    let upstream = Upstream::start();
    let mut client = super::raw::Client::connect(upstream.address);
    let message = b"POST /x?y HTTP/1.1\r\nhOST: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n";
    client.send(message);
    let response = client.receive();
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    let request = upstream.only_request();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/x?y"));
    assert_eq!((request.body.as_slice(), request.trailers.get("t")), (b"abc".as_slice(), Some("1")));
    assert_eq!(upstream.wire(), message);

    let parts = upstream.answer_chunks("X-A: b\r\n");
    parts.send(b"one".to_vec()).unwrap();
    client.send("GET / HTTP/1.1\r\n\r\n");
    client.receive_until(b"one\r\n");
    parts.send(b"two".to_vec()).unwrap();
    drop(parts);
    assert_eq!(client.receive_until(b"0\r\n\r\n"), b"3\r\ntwo\r\n0\r\n\r\n");

    upstream.answer_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal");
    client.send("GET / HTTP/1.1\r\n\r\n");
    let half = client.receive();
    assert_eq!((half.complete, half.text().as_str()), (false, "hal"));
    assert_eq!(upstream.connections(), 1);
}
