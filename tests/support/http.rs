//! HTTP/1.1 as a server reads it, in the fewest lines, keeping every byte.

use std::{
    io::{self, BufRead, BufReader, Read},
    net::TcpStream,
};

/// A message's fields, in order and as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(pub(crate) Vec<(String, String)>);

impl Fields {
    /// The value of the first field of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The request line and fields, to the byte, with the empty line.
    pub(crate) head: Vec<u8>,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Fields,
    /// Decoded; its beginning where it is large.
    pub(crate) body: Vec<u8>,
    /// Of the whole decoded body.
    pub(crate) body_length: u64,
    pub(crate) trailers: Fields,
}

const KEPT_BODY: u64 = 256 * 1024;

/// Reads a head; None at the end of the connection.
pub(crate) fn read_head(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if input.read_until(b'\n', &mut head)? == 0 {
            return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if before > 0 && matches!(head.get(before..), Some(b"\r\n" | b"\n")) {
            break;
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.lines();
    let mut start = lines.next().unwrap_or_default().split(' ');
    Ok(Some(Request {
        method: start.next().unwrap_or_default().to_owned(),
        target: start.next().unwrap_or_default().to_owned(),
        fields: Fields(lines.filter_map(split_field).collect()),
        head,
        ..Request::default()
    }))
}

/// Reads the body that belongs to this head.
pub(crate) fn read_body(input: &mut impl BufRead, request: &mut Request) -> io::Result<()> {
    let chunked = request.fields.get("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
    if !chunked {
        let length = request.fields.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        return take(input, length, request);
    }
    loop {
        let line = read_line(input)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| io::Error::other(format!("chunk size {line:?}")))?;
        if size == 0 {
            break;
        }
        take(input, size, request)?;
        read_line(input)?;
    }
    loop {
        let line = read_line(input)?;
        match split_field(&line) {
            Some(trailer) => request.trailers.0.push(trailer),
            None => return Ok(()),
        }
    }
}

/// A buffered reader of a connection's other half.
pub(crate) fn reader(stream: &TcpStream) -> io::Result<BufReader<TcpStream>> {
    Ok(BufReader::new(stream.try_clone()?))
}

pub(crate) fn split_field(line: &str) -> Option<(String, String)> {
    line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
}

fn take(input: &mut impl BufRead, mut length: u64, request: &mut Request) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    while length > 0 {
        let most = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
        let read = input.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if request.body_length < KEPT_BODY {
            request.body.extend_from_slice(&buffer[..read]);
        }
        request.body_length += read as u64;
        length -= read as u64;
    }
    Ok(())
}

fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.take(64 * 1024).read_line(&mut line)?;
    if line.ends_with('\n') { Ok(line.trim_end().to_owned()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
