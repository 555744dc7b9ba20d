//! An answer on its way to a client of HTTP/1.1: framed (RFC 9112, sections 6 and 7), and written in as few calls as there can be.

use std::{
    cell::Cell,
    io::{self, IoSlice, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::{Buf as _, Bytes};
use http_body::{Body as _, Frame};
use hyper::{
    Response, StatusCode,
    ext::ReasonPhrase,
    header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING},
    http::response,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::framing::head::parse_length;
use crate::body::{Body, BodyError};

/// What is written at once, if there is so much; also what a thread keeps for the next answer.
const MOST_GATHERED: usize = 16 * 1024;
/// A piece of a body that is longer isn't copied beside the others.
const MOST_COPIED: usize = 4 * 1024;

/// An answer, and how far it is written.
pub(super) struct Answer {
    body: Body,
    framing: Framing,
    out: Out,
    is_last: bool,
    /// All of the body is taken.
    is_taken: bool,
    /// The body ended before its end: the connection has to be cut after what is there of it.
    is_broken: bool,
}

/// How the client knows where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// So many bytes are to come.
    Length(u64),
    Chunked,
}

/// What is to be written, in this order.
struct Out {
    gathered: Vec<u8>,
    /// So much of `gathered` is written.
    written: usize,
    large: Bytes,
    after: &'static [u8],
}

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Answer {
    /// Written with the head is what the body has by then.
    ///
    /// # Errors
    /// It can't be the answer to such a request.
    pub(super) fn new(response: Response<Body>, head_only: bool, is_last: bool) -> io::Result<Answer> {
        let (mut head, body) = response.into_parts();
        if head.status.is_informational() {
            return Err(invalid("an informational answer"));
        }
        let said = Said::in_head(&head)?;
        let is_last = is_last || said.closes;
        if is_last {
            head.headers.remove(CONNECTION);
        }
        let mut out = Out { gathered: SPARE.take(), written: 0, large: Bytes::new(), after: b"" };
        let framing = write_head(&mut out.gathered, &head, &said, &body, head_only, is_last)?;
        let is_taken = framing == Framing::Length(0);
        Ok(Answer { body, framing, out, is_last, is_taken, is_broken: false })
    }

    /// Whether the connection ends with it.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Writes on. An error where the client can't make anything of the answer, or is gone.
    pub(super) fn poll_write<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut is_waiting = false;
            while !self.is_taken && self.out.has_room() {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(frame) => self.take(frame),
                    Poll::Pending => {
                        is_waiting = true;
                        break;
                    }
                }
            }
            while !self.out.is_empty() {
                ready!(self.out.poll_write(cx, stream))?;
            }
            if self.is_broken {
                return Poll::Ready(Err(invalid("the answer's body broke off")));
            }
            if self.is_taken || is_waiting {
                ready!(Pin::new(&mut *stream).poll_flush(cx))?;
                return if self.is_taken { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) {
        match frame {
            None => self.end(),
            Some(Err(_)) => self.break_off(),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.take_data(data),
                // Nobody has said that they want trailers, or this wasn't a plain request.
                Err(_trailers) => self.end(),
            },
        }
    }

    fn take_data(&mut self, data: Bytes) {
        match &mut self.framing {
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(less) => {
                    *left = less;
                    self.out.push(data, b"");
                    self.is_taken = less == 0;
                }
                None => self.break_off(),
            },
            Framing::Chunked => {
                if !data.is_empty() {
                    let _ = write!(self.out.gathered, "{:x}\r\n", data.len());
                    self.out.push(data, b"\r\n");
                }
            }
        }
        if !self.is_taken && self.body.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        match self.framing {
            Framing::Length(0) => self.is_taken = true,
            Framing::Length(_) => self.break_off(),
            Framing::Chunked => {
                self.out.push(Bytes::from_static(b"0\r\n\r\n"), b"");
                self.is_taken = true;
            }
        }
    }

    fn break_off(&mut self) {
        self.is_taken = true;
        self.is_broken = true;
    }
}

/// What a head says of things that are the connection's own.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    has_date: bool,
    closes: bool,
}

impl Said {
    fn in_head(head: &response::Parts) -> io::Result<Said> {
        let mut said = Said::default();
        for (name, value) in &head.headers {
            match *name {
                CONTENT_LENGTH => {
                    let length = parse_length(value.as_bytes());
                    let length = length.ok_or_else(|| invalid("the answer's length is malformed"))?;
                    if said.length.replace(length).is_some_and(|before| before != length) {
                        return Err(invalid("the answer has two lengths"));
                    }
                }
                CONNECTION => said.closes |= value.as_bytes().eq_ignore_ascii_case(b"close"),
                DATE => said.has_date = true,
                _ => {}
            }
        }
        Ok(said)
    }
}

/// Writes the head. What is in it of framing is ours.
fn write_head(
    out: &mut Vec<u8>,
    head: &response::Parts,
    said: &Said,
    body: &Body,
    head_only: bool,
    is_last: bool,
) -> io::Result<Framing> {
    let status = head.status;
    let reason = head.extensions.get::<ReasonPhrase>();
    if status == StatusCode::OK && reason.is_none() {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        let reason =
            reason.map_or_else(|| status.canonical_reason().unwrap_or("<none>").as_bytes(), ReasonPhrase::as_bytes);
        out.extend_from_slice(reason);
        out.extend_from_slice(b"\r\n");
    }
    for (name, value) in &head.headers {
        if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }
    let framing = write_framing(out, head.status, said.length, body, head_only);
    if is_last {
        out.extend_from_slice(b"connection: close\r\n");
    }
    if !said.has_date {
        let _ = write!(out, "date: {}\r\n", httpdate::HttpDate::from(SystemTime::now()));
    }
    out.extend_from_slice(b"\r\n");
    Ok(framing)
}

fn write_framing(
    out: &mut Vec<u8>,
    status: StatusCode,
    declared: Option<u64>,
    body: &Body,
    head_only: bool,
) -> Framing {
    let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = declared.or(if body.is_end_stream() { Some(0) } else { body.size_hint().exact() });
    match length {
        // What a GET would get isn't known.
        _ if has_none || head_only && declared.is_none() => Framing::Length(0),
        Some(length) => {
            out.extend_from_slice(b"content-length: ");
            let _ = write!(out, "{length}\r\n");
            Framing::Length(if head_only { 0 } else { length })
        }
        None => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Framing::Chunked
        }
    }
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Out {
    fn has_room(&self) -> bool {
        self.large.is_empty() && self.gathered.len() < MOST_GATHERED
    }

    fn is_empty(&self) -> bool {
        self.written == self.gathered.len() && self.large.is_empty() && self.after.is_empty()
    }

    fn push(&mut self, data: Bytes, after: &'static [u8]) {
        if data.len() > MOST_COPIED {
            (self.large, self.after) = (data, after);
        } else {
            self.gathered.extend_from_slice(&data);
            self.gathered.extend_from_slice(after);
        }
    }

    fn poll_write<S: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<()>> {
        let gathered = self.gathered.get(self.written..).unwrap_or_default();
        let stream = Pin::new(stream);
        let written = if self.large.is_empty() && self.after.is_empty() {
            stream.poll_write(cx, gathered)
        } else {
            let slices = [IoSlice::new(gathered), IoSlice::new(&self.large), IoSlice::new(self.after)];
            stream.poll_write_vectored(cx, &slices)
        };
        match ready!(written)? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => self.advance(count),
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize) {
        let of_gathered = count.min(self.gathered.len() - self.written);
        self.written += of_gathered;
        let of_large = (count - of_gathered).min(self.large.len());
        self.large.advance(of_large);
        self.after = self.after.get(count - of_gathered - of_large..).unwrap_or_default();
        if self.written == self.gathered.len() {
            self.gathered.clear();
            self.written = 0;
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let mut gathered = std::mem::take(&mut self.gathered);
        if gathered.capacity() <= 2 * MOST_GATHERED {
            gathered.clear();
            SPARE.set(gathered);
        }
    }
}
