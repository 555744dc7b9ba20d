//! HTTP/2 as a client that writes its own frames, good ones and others.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use super::PATIENCE;

pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

const ACK: u8 = 1;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// One connection.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
}

#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answer {
        status: u16,
        body: Vec<u8>,
    },
    Reset(u32),
    /// The connection ended first.
    Ended,
}

impl Outcome {
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        match self {
            Outcome::Answer { status, .. } => *status,
            other => panic!("{other:?}"),
        }
    }
}

impl Connection {
    /// In clear, by prior knowledge.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection::over(stream)
    }

    #[track_caller]
    pub(crate) fn over(mut stream: impl Read + Write + Send + 'static) -> Connection {
        stream.write_all(PREFACE).unwrap();
        let mut connection = Connection { stream: Box::new(stream) };
        // SETTINGS_HEADER_TABLE_SIZE (RFC 9113, section 6.5.2): answers whose fields refer to no earlier ones.
        connection.send(kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
        connection
    }

    /// The other side of one, its preface read.
    pub(crate) fn accepted(stream: TcpStream) -> Connection {
        Connection { stream: Box::new(stream) }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.try_send(kind, flags, stream, payload).unwrap();
    }

    /// Sends what the other end may refuse to take.
    pub(crate) fn try_send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&frame(kind, flags, stream, payload))
    }

    /// Sends bytes as they are.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// A whole request head.
    #[track_caller]
    pub(crate) fn request(&mut self, stream: u32, last: bool, fields: &[(&str, &str)]) {
        let flags = END_HEADERS | if last { END_STREAM } else { 0 };
        self.send(kind::HEADERS, flags, stream, &block(fields));
    }

    /// A whole request head that may not fit into one frame (RFC 9113, section 6.10), without a body.
    #[track_caller]
    pub(crate) fn large_request(&mut self, stream: u32, fields: &[(&str, &str)]) {
        const FRAME: usize = 16 * 1024;
        let block = block(fields);
        let parts: Vec<_> = block.chunks(FRAME).collect();
        for (number, part) in parts.iter().enumerate() {
            let ends_headers = if number + 1 == parts.len() { END_HEADERS } else { 0 };
            match number {
                0 => self.send(kind::HEADERS, END_STREAM | ends_headers, stream, part),
                _ => self.send(kind::CONTINUATION, ends_headers, stream, part),
            }
        }
    }

    /// Waits until so many answers have begun, on whatever streams.
    #[track_caller]
    pub(crate) fn await_answers(&mut self, count: usize) {
        let mut begun = 0;
        while begun < count {
            begun += usize::from(self.next().expect("another answer").kind == kind::HEADERS);
        }
    }

    /// Lets the gateway send so much more on a stream; 0: on all together.
    #[track_caller]
    pub(crate) fn open_window(&mut self, stream: u32, bytes: u32) {
        self.send(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    /// A GET of this path and what came of it.
    #[track_caller]
    pub(crate) fn get(&mut self, stream: u32, path: &str, more: &[(&str, &str)]) -> Outcome {
        self.request(stream, true, &[&get(path)[..], more].concat());
        self.outcome(stream)
    }

    /// The next frame; None at the end of the connection. Settings and pings are acknowledged.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if frame.kind == kind::SETTINGS && frame.flags & ACK == 0 {
            self.try_send(kind::SETTINGS, ACK, 0, &[]).ok();
        }
        if frame.kind == kind::PING && frame.flags & ACK == 0 {
            self.try_send(kind::PING, ACK, 0, &frame.payload).ok();
        }
        Some(frame)
    }

    /// Sends so much of a body as the windows take, the last piece with its end, and reads what comes meanwhile. Begins with
    /// the first windows: on a connection's first request alone. How much went, where nothing came for the time that
    /// reading may take.
    pub(crate) fn upload(&mut self, stream: u32, length: usize) -> usize {
        let piece = [b'u'; 16 * 1024];
        let (mut connection_window, mut stream_window, mut initial) = (65_535_i64, 65_535_i64, 65_535_i64);
        let mut sent = 0;
        while sent < length {
            let room = usize::try_from(connection_window.min(stream_window)).unwrap_or(0);
            let now = room.min(piece.len()).min(length - sent);
            if now > 0 {
                let last = if sent + now == length { END_STREAM } else { 0 };
                self.send(kind::DATA, last, stream, &piece[..now]);
                sent += now;
                connection_window -= now as i64;
                stream_window -= now as i64;
                continue;
            }
            let Some(frame) = self.next() else { break };
            match frame.kind {
                kind::WINDOW_UPDATE => {
                    let more = i64::from(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
                    *(if frame.stream == 0 { &mut connection_window } else { &mut stream_window }) += more;
                }
                kind::SETTINGS => {
                    // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.9.2).
                    for setting in frame.payload.chunks(6).filter(|setting| setting[1] == 4) {
                        let now = i64::from(u32::from_be_bytes(setting[2..6].try_into().unwrap()));
                        stream_window += now - initial;
                        initial = now;
                    }
                }
                _ => {}
            }
        }
        sent
    }

    /// What became of the request on this stream; other streams' frames are passed over.
    #[track_caller]
    pub(crate) fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut status, mut body) = (0, Vec::new());
        while let Some(frame) = self.next() {
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                kind::HEADERS if status == 0 => status = status_of(&frame.payload),
                kind::DATA => body.extend_from_slice(&frame.payload),
                // One without an error follows an answer to a request that wasn't read to its end.
                kind::RST_STREAM if frame.payload != [0; 4] => {
                    return Outcome::Reset(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
                }
                _ => {}
            }
            if frame.flags & END_STREAM != 0 && matches!(frame.kind, kind::HEADERS | kind::DATA) {
                return Outcome::Answer { status, body };
            }
        }
        Outcome::Ended
    }

    /// Reads to the end of the connection; the code of the last GOAWAY, if there was one.
    pub(crate) fn goodbye(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next() {
            if frame.kind == kind::GOAWAY {
                code = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        code
    }
}

/// An upstream that speaks HTTP/2 in clear by its own frames: each connection is served so, after preface and settings.
pub(crate) fn upstream(serve: impl Fn(Connection) + Clone + Send + 'static) -> SocketAddr {
    upstream_with(PATIENCE, serve)
}

/// One whose connections are read no longer than that without a byte.
pub(crate) fn upstream_with(patience: Duration, serve: impl Fn(Connection) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(patience)).unwrap();
                if stream.read_exact(&mut [0; 24]).is_ok() {
                    let mut connection = Connection::accepted(stream);
                    connection.send(kind::SETTINGS, 0, 0, &[]);
                    serve(connection);
                }
            });
        }
    });
    address
}

/// The pseudo-fields of a GET.
pub(crate) fn get(path: &str) -> [(&str, &str); 4] {
    [(":method", "GET"), (":scheme", "http"), (":authority", "api.example"), (":path", path)]
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The pseudo-fields of a POST.
pub(crate) fn post(path: &str) -> [(&str, &str); 4] {
    [(":method", "POST"), (":scheme", "http"), (":authority", "api.example"), (":path", path)]
}

/// Fields as HPACK literals that nobody has to remember (RFC 7541, section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    block_of(fields)
}

/// The same of bytes.
pub(crate) fn block_of<T: AsRef<[u8]>>(fields: &[(T, T)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            integer(text.len(), &mut bytes);
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// RFC 7541, section 5.1, with a prefix of 7 bits.
fn integer(value: usize, bytes: &mut Vec<u8>) {
    if value < 127 {
        bytes.push(value as u8);
        return;
    }
    bytes.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// The status, which comes first.
fn status_of(block: &[u8]) -> u16 {
    // A change of the table's size may come before it.
    let block = &block[block.iter().take_while(|byte| **byte & 0xe0 == 0x20).count()..];
    match block {
        [byte @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(byte - 0x88)],
        [0x48 | 0x08 | 0x18, length, text @ ..] if length & 0x80 == 0 => {
            std::str::from_utf8(&text[..usize::from(*length)]).unwrap().parse().unwrap()
        }
        [0x48 | 0x08 | 0x18, length, text @ ..] => huffman_digits(&text[..usize::from(length & 0x7f)]),
        other => panic!("{other:02x?}"),
    }
}

/// Three digits (RFC 7541, appendix B).
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let bits = bits + "1";
    let (mut rest, mut number) = (&*bits, 0);
    for _ in 0..3 {
        let long = u16::from_str_radix(&rest[..6], 2).unwrap();
        let (digit, length) = if long < 6 { (long / 2, 5) } else { (long - 0b011001 + 3, 6) };
        number = number * 10 + digit;
        rest = &rest[length..];
    }
    number
}
