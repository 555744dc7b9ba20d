//! A client that sends just the bytes it is given.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use super::{
    PATIENCE,
    challenge::Challenge,
    http::{Fields, split_field},
};

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A whole response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    /// Decoded.
    pub(crate) body: Vec<u8>,
    /// The body ended as its framing says.
    pub(crate) complete: bool,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The one `WWW-Authenticate` field, parsed strictly; None where there is none.
    #[track_caller]
    pub(crate) fn challenge(&self) -> Option<Challenge> {
        let all: Vec<_> = self.fields.all("www-authenticate").collect();
        assert!(all.len() <= 1, "{all:?}");
        all.first().map(|value| Challenge::parse(value))
    }
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, unread: Vec::new() }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what the other end may refuse to take.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Ends the sending half.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).ok();
    }

    /// Another handle of the same connection, to send while this one reads.
    pub(crate) fn sender(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// The next final response, whole.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Response {
        self.try_receive("GET").unwrap().expect("a response, not the end of the connection")
    }

    /// The next final response to a request of this method; None if the connection ends before one begins.
    pub(crate) fn try_receive(&mut self, method: &str) -> io::Result<Option<Response>> {
        loop {
            let Some(mut response) = self.receive_head()? else {
                return Ok(None);
            };
            if response.status < 200 && response.status != 101 {
                continue;
            }
            if method != "HEAD" && !matches!(response.status, 101 | 204 | 304) {
                response.complete = self.receive_body(&response.fields.clone(), &mut response.body)?;
            }
            return Ok(Some(response));
        }
    }

    /// The next head, of an interim response too; the body stays unread.
    pub(crate) fn receive_head(&mut self) -> io::Result<Option<Response>> {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            if self.fill()? == 0 {
                return if self.unread.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap_or_default();
        assert!(status.starts_with("HTTP/1.1 "), "{status:?}");
        let status = status.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{status:?}"));
        let fields = Fields(lines.filter_map(split_field).collect());
        Ok(Some(Response { status, fields, body: Vec::new(), complete: true }))
    }

    /// Reads until these bytes have come; all that came up to their end.
    #[track_caller]
    pub(crate) fn receive_until(&mut self, wanted: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.unread, wanted) {
                return self.unread.drain(..at + wanted.len()).collect();
            }
            assert_ne!(
                self.fill().unwrap(),
                0,
                "the connection ended; unread: {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        }
    }

    /// The next bytes, so many, and no others are taken from the connection for them.
    #[track_caller]
    pub(crate) fn receive_bytes(&mut self, count: usize) -> Vec<u8> {
        let held = self.unread.len().min(count);
        let mut bytes: Vec<u8> = self.unread.drain(..held).collect();
        bytes.resize(count, 0);
        self.stream.read_exact(&mut bytes[held..]).unwrap();
        bytes
    }

    /// All that comes until the other end closes. A reset counts as a close.
    #[track_caller]
    pub(crate) fn receive_rest(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("the other end doesn't close: {error}"),
            }
        }
        std::mem::take(&mut self.unread)
    }

    /// Whether the other end has closed without another byte.
    #[track_caller]
    pub(crate) fn is_closed(&mut self) -> bool {
        self.receive_rest().is_empty()
    }

    fn receive_body(&mut self, fields: &Fields, body: &mut Vec<u8>) -> io::Result<bool> {
        if fields.get("transfer-encoding").is_some() {
            return self.receive_chunks(body);
        }
        match fields.get("content-length") {
            Some(length) => {
                let length: usize = length.parse().map_err(io::Error::other)?;
                while self.unread.len() < length {
                    if self.fill()? == 0 {
                        body.append(&mut self.unread);
                        return Ok(false);
                    }
                }
                body.extend(self.unread.drain(..length));
            }
            None => {
                while self.fill()? > 0 {}
                body.append(&mut self.unread);
            }
        }
        Ok(true)
    }

    fn receive_chunks(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            let Some(line) = self.receive_line()? else {
                return Ok(false);
            };
            let size =
                usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).map_err(io::Error::other)?;
            while size > 0 && self.unread.len() < size {
                if self.fill()? == 0 {
                    body.append(&mut self.unread);
                    return Ok(false);
                }
            }
            body.extend(self.unread.drain(..size));
            loop {
                match self.receive_line()? {
                    None => return Ok(false),
                    Some(line) if line.is_empty() => break,
                    Some(_) => {}
                }
            }
            if size == 0 {
                return Ok(true);
            }
        }
    }

    fn receive_line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..at]).into_owned()));
            }
            match self.fill() {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

/// One request on a connection of its own. `fields` are whole lines, each ended by CRLF.
#[track_caller]
pub(crate) fn exchange(address: SocketAddr, method: &str, target: &str, fields: &str) -> Response {
    let mut client = Client::connect(address);
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n{fields}Connection: close\r\n\r\n"));
    client.try_receive(method).unwrap().expect("a response")
}

/// Where the needle begins.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
