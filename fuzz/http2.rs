//! HTTP/2 through the real gateway to an HTTP/1.1 upstream. A request as it is written here arrives as one of the same meaning
//! or not at all, and as it is where nothing may be refused; bytes of a connection as they come harm nobody.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use super::{Checked, fuzz};
use crate::support::{
    PATIENCE,
    gateway::{Gateway, public_configuration},
    h2::{self, Connection, END_HEADERS, END_STREAM, Outcome, kind},
    strict::Message,
    upstream::Upstream,
};

/// Between the head, pieces of the body, and the trailers.
const PART: u8 = 0x1d;
/// Between fields.
const FIELD: u8 = 0x1e;
/// Between a name and its value.
const VALUE: u8 = 0x1f;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A request as it is sent.
#[derive(Clone, Debug)]
struct Sent {
    head: Fields,
    data: Vec<Vec<u8>>,
    trailers: Option<Fields>,
}

impl Sent {
    /// The first part is the head. With three or more the last one holds trailers; it may be empty, for none.
    fn read(input: &[u8]) -> Sent {
        let mut parts: VecDeque<&[u8]> = input.split(|byte| *byte == PART).collect();
        let head = fields(parts.pop_front().unwrap_or_default());
        let last = if parts.len() >= 2 { parts.pop_back() } else { None };
        let data = parts.into_iter().map(<[u8]>::to_vec).collect();
        Sent { head, data, trailers: last.filter(|last| !last.is_empty()).map(fields) }
    }

    fn send(&self, connection: &mut Connection) {
        let pieces = self.data.len() + usize::from(self.trailers.is_some());
        let last = |place: usize| if place == pieces { END_STREAM } else { 0 };
        // The answer may come before all is sent, and the connection end.
        connection.try_send(kind::HEADERS, END_HEADERS | last(0), 1, &h2::block_of(&self.head)).ok();
        for (place, piece) in self.data.iter().enumerate() {
            connection.try_send(kind::DATA, last(place + 1), 1, piece).ok();
        }
        if let Some(trailers) = &self.trailers {
            connection.try_send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &h2::block_of(trailers)).ok();
        }
    }

    fn one(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.head.iter().filter(|(field, _)| field == name.as_bytes());
        let first = all.next();
        first.filter(|_| all.next().is_none()).map(|(_, value)| value.as_slice())
    }

    fn body(&self) -> Vec<u8> {
        self.data.concat()
    }

    /// What RFC 9113 calls malformed (section 8.1.1), as far as it matters to who reads on in HTTP/1.1.
    fn is_malformed(&self) -> bool {
        let regular = self.head.iter().position(|(name, _)| !name.starts_with(b":")).unwrap_or(self.head.len());
        let pseudo = |name: &str| self.one(name).is_none();
        let (first, rest) = self.head.split_at(regular);
        let known = [":method", ":scheme", ":path", ":authority"];
        let lengths: Vec<_> = rest.iter().filter(|(name, _)| name == b"content-length").collect();
        [":method", ":scheme", ":path"].into_iter().any(pseudo)
            || first.iter().any(|(name, _)| !known.iter().any(|known| known.as_bytes() == name))
            || self.head.iter().filter(|(name, _)| name == b":authority").count() > 1
            || first.iter().any(|(_, value)| value.iter().any(|byte| *byte <= b' ' || *byte == 0x7f))
            || rest.iter().any(is_malformed)
            || lengths.len() > 1
            || lengths.iter().any(|(_, length)| *length != self.body().len().to_string().into_bytes())
    }

    /// Nothing about it asks for more than to be passed on.
    fn is_plain(&self) -> bool {
        let is_word = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_alphanumeric);
        let path = self.one(":path").unwrap_or_default();
        !self.is_malformed()
            && ["GET", "POST", "PUT"].iter().any(|method| self.one(":method") == Some(method.as_bytes()))
            && self.one(":scheme") == Some(b"http")
            && self.one(":authority") == Some(b"a")
            && path.strip_prefix(b"/").is_some_and(|path| path.is_empty() || is_word(path))
            && self.trailers.is_none()
            && self.head.len() <= 20
            && self.head.iter().all(|(name, value)| {
                name.starts_with(b":")
                    || name == b"content-length"
                    || name == b"x" && value.iter().all(u8::is_ascii_graphic)
            })
    }

    fn is_the_same(&self, arrived: &Message) -> bool {
        let path = self.one(":path").unwrap_or_default();
        let plain_path = path.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'/');
        self.one(":method") == Some(arrived.method.as_bytes())
            && self.body() == arrived.body
            && !arrived.is_old
            && (!plain_path || path == arrived.target)
            && arrived.trailers.len() <= self.trailers.as_ref().map_or(0, Vec::len)
    }
}

fn is_malformed((name, value): &(Vec<u8>, Vec<u8>)) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(byte);
    let of_the_connection: [&[u8]; 5] =
        [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"];
    name.is_empty()
        || !name.iter().all(is_token)
        || of_the_connection.contains(&name.as_slice())
        || name == b"te" && value != b"trailers"
        || value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

fn fields(part: &[u8]) -> Fields {
    let field = |field: &[u8]| {
        let at = field.iter().position(|byte| *byte == VALUE).unwrap_or(field.len());
        (field[..at].to_vec(), field.get(at + 1..).unwrap_or_default().to_vec())
    };
    part.split(|byte| *byte == FIELD).filter(|text| !text.is_empty()).map(field).collect()
}

struct Scene {
    upstream: Upstream,
    gateway: Gateway,
    /// Of earlier inputs: one that was reset may be forgotten before it has arrived.
    late: RefCell<VecDeque<Sent>>,
}

const MOST_LATE: usize = 16;

impl Scene {
    fn new() -> Scene {
        let upstream = Upstream::start();
        let gateway = Gateway::start_unready(&public_configuration(&upstream.url(), ""));
        Scene { upstream, gateway, late: RefCell::default() }
    }

    fn check_request(&self, input: &[u8]) -> Checked {
        let sent = Sent::read(input);
        let mut connection = Connection::connect(self.gateway.address);
        sent.send(&mut connection);
        let outcome = connection.outcome(1);
        let arrived = self.upstream.take_messages().map_err(|why| format!("upstream: {why}"))?;
        let mut late = self.late.borrow_mut();
        for message in &arrived {
            let is_this = !sent.is_malformed() && sent.is_the_same(message);
            if !is_this && !late.iter().any(|sent| sent.is_the_same(message)) {
                return Err(format!("{message:?} was never sent, but {sent:?}"));
            }
        }
        let told = match outcome {
            Outcome::Answer { status, .. } => status.to_string(),
            Outcome::Reset(reason) => format!("reset {reason}"),
            Outcome::Ended => "ended".to_owned(),
        };
        if sent.is_plain() && (told != "200" || arrived.len() != 1) {
            return Err(format!("{told}, and {arrived:?} arrived of {sent:?}"));
        }
        if arrived.is_empty() && !sent.is_malformed() {
            late.push_back(sent);
            while late.len() > MOST_LATE {
                late.pop_front();
            }
        }
        Ok(format!("{told}, {} arrive", arrived.len().min(2)))
    }

    /// Bytes after preface and settings.
    fn check_bytes(&self, input: &[u8]) -> Checked {
        let mut stream = TcpStream::connect(self.gateway.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let begin = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &h2::frame(kind::SETTINGS, 0, 0, &[])].concat();
        stream.write_all(&[&begin, input].concat()).ok();
        stream.shutdown(Shutdown::Write).ok();
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer)
            && matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        {
            return Err("the connection doesn't end".to_owned());
        }
        self.upstream.take_messages().map_err(|why| format!("upstream: {why}"))?;
        Ok(kinds(&answer))
    }
}

/// The kinds of the frames that came, each once.
fn kinds(mut answer: &[u8]) -> String {
    let mut kinds = std::collections::BTreeSet::new();
    while let [high, middle, low, kind, _, _, _, _, _, rest @ ..] = answer {
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        let reason = if *kind == kind::GOAWAY { rest.get(7).copied().unwrap_or(0) } else { 0 };
        kinds.insert((*kind, reason));
        answer = rest.get(length..).unwrap_or_default();
    }
    format!("{kinds:?}")
}

#[test]
fn http2() {
    #[rustfmt::skip]
    let words = [
        ":method\x1fGET\x1e", ":method\x1fPOST\x1e", ":method\x1fHEAD\x1e", ":method\x1fCONNECT\x1e", ":scheme\x1fhttp\x1e",
        ":authority\x1fa\x1e", ":path\x1f/a\x1e", ":path\x1f/b c\x1e", ":path\x1f*\x1e", ":protocol\x1fwebsocket\x1e",
        ":status\x1f200\x1e", "host\x1fa\x1e", "host\x1fb\x1e", "content-length\x1f3\x1e", "content-length\x1f0\x1e",
        "content-length\x1f+3\x1e", "content_length\x1f3\x1e", "transfer-encoding\x1fchunked\x1e",
        "transfer_encoding\x1fchunked\x1e", "connection\x1fclose\x1e", "upgrade\x1fh2c\x1e", "te\x1ftrailers\x1e",
        "te\x1fgzip\x1e", "trailer\x1fx\x1e", "expect\x1f100-continue\x1e", "cookie\x1fa=b\x1e", "x\x1fy\x1e", "x-sum\x1f1\x1e",
        "X\x1fy\x1e", "x\x1fa\r\nY: z\x1e", "x\x1f\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n\x1e",
        " HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled", "\x1dabc", "\x1d0\r\n\r\n", "\x1dGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x1d", "\x1e", "\x1f", "\r\n", "\n", "\0", ":", " ", "\t",
    ];
    let scene = Scene::new();
    let outcomes = fuzz("http2", &words, 600, |input| scene.check_request(input));
    for outcome in ["200, 1 arrive", "400, 0 arrive", "reset 1, 0 arrive"] {
        assert!(outcomes.contains_key(outcome), "{outcome}: {outcomes:?}");
    }
    assert_eq!(scene.gateway.get("/").status, 200);
}

#[test]
fn http2_bytes() {
    #[rustfmt::skip]
    let words = [
        "\0\0\0\x04\0\0\0\0\0", "\0\0\0\x04\x01\0\0\0\0", "\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0", "\0\0\x06\x04\0\0\0\0\0\0\x05\0\x01\0\0",
        "\0\0\x08\x06\0\0\0\0\0abcdefgh", "\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08", "\0\0\x04\x08\0\0\0\0\0\0\0\x01\0",
        "\0\0\x04\x08\0\0\0\0\x01\x7f\x7f\x7f\x7f", "\0\0\x05\x02\0\0\0\0\x01\0\0\0\0\x01", "\0\0\x03\0\0\0\0\0\x01abc",
        "\0\0\x03\0\x01\0\0\0\x01abc", "\0\0\0\0\x01\0\0\0\x01", "\0\0\x04\0\x09\0\0\0\x01\x02a\0\0", "\0\0\0\x09\x04\0\0\0\x01",
        "\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0", "\0\x07:method\x03GET", "\0\x07:method\x04POST", "\0\x07:scheme\x04http",
        "\0\x05:path\x02/a", "\0\x0a:authority\x01a", "\0\x01x\x01y", "@\x01x\x01y", "\x10\x01x\x01y", "\x3f\x01", "\x20",
    ];
    let scene = Scene::new();
    let outcomes = fuzz("http2_bytes", &words, 600, |input| scene.check_bytes(input));
    assert!(outcomes.len() > 5, "{outcomes:?}");
    assert_eq!(scene.gateway.get("/").status, 200, "others are served");
}
