//! HTTP/1.1 requests as RFC 9112 has them and not a byte otherwise: a reader of our own, to hold others against.

/// Names in lower case, values without the blanks around them.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// A whole request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) method: String,
    pub(crate) target: Vec<u8>,
    /// HTTP/1.0.
    pub(crate) is_old: bool,
    pub(crate) fields: Fields,
    /// Decoded.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
}

impl Message {
    /// The values of all fields of this name.
    pub(crate) fn all<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m [u8]> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_slice())
    }
}

/// How what was read ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// After a whole message, or with nothing.
    Clean,
    /// In the middle of a message that is in order as far as it goes.
    Cut,
    /// With what isn't in order.
    Wrong(&'static str),
}

type Read<T> = Result<T, End>;

/// All whole messages, up to the first that isn't in order, and how they end.
pub(crate) fn read(bytes: &[u8]) -> (Vec<Message>, End) {
    let (messages, _, end) = read_on(bytes);
    (messages, end)
}

/// The same, with what comes after the last whole message.
pub(crate) fn read_on(bytes: &[u8]) -> (Vec<Message>, &[u8], End) {
    let mut reader = Reader(bytes);
    let mut messages = Vec::new();
    loop {
        let rest = reader.0;
        // One empty line before a message is let pass (section 2.2).
        if reader.0.starts_with(b"\r\n") {
            reader.0 = &reader.0[2..];
        }
        if reader.0.is_empty() {
            return (messages, reader.0, End::Clean);
        }
        match reader.message() {
            Ok(message) => messages.push(message),
            Err(end) => return (messages, rest, end),
        }
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn message(&mut self) -> Read<Message> {
        let mut message = self.request_line()?;
        message.fields = self.fields()?;
        let hosts: Vec<&[u8]> = message.all("host").collect();
        match hosts.as_slice() {
            [] if message.is_old => {}
            [_] => {}
            _ => return Err(End::Wrong("not one Host")),
        }
        let lengths: Vec<&[u8]> = message.all("content-length").collect();
        let codings: Vec<&[u8]> = message.all("transfer-encoding").collect();
        let body = match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Vec::new(),
            ([length], []) => self.take(number(length)?)?.to_vec(),
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && !message.is_old => {
                let (body, trailers) = self.chunks()?;
                message.trailers = trailers;
                body
            }
            _ => return Err(End::Wrong("no clear length")),
        };
        message.body = body;
        Ok(message)
    }

    fn request_line(&mut self) -> Read<Message> {
        let line = self.line()?;
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(End::Wrong("not three words"));
        };
        if method.is_empty() || !method.iter().all(is_token) {
            return Err(End::Wrong("the method"));
        }
        if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
            return Err(End::Wrong("the target"));
        }
        let is_old = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(End::Wrong("the version")),
        };
        let method = String::from_utf8_lossy(method).into_owned();
        Ok(Message { method, target: target.to_vec(), is_old, ..Message::default() })
    }

    fn fields(&mut self) -> Read<Fields> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Err(End::Wrong("no colon")) };
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if name.is_empty() || !name.iter().all(is_token) {
                return Err(End::Wrong("a name"));
            }
            if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
                return Err(End::Wrong("a value"));
            }
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
            let from = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
            let to = value.iter().rposition(|byte| !blank(byte)).map_or(from, |last| last + 1);
            fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value[from..to].to_vec()));
        }
    }

    /// Body and trailers.
    fn chunks(&mut self) -> Read<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            if digits == 0 || digits > 16 || line.get(digits).is_some_and(|byte| *byte != b';') {
                return Err(End::Wrong("a chunk's size"));
            }
            if line[digits..].iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
                return Err(End::Wrong("a chunk's extension"));
            }
            let size = std::str::from_utf8(&line[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
            let size = size.ok_or(End::Wrong("a chunk's size"))?;
            if size == 0 {
                return Ok((body, self.fields()?));
            }
            body.extend_from_slice(self.take(size)?);
            match self.0 {
                [b'\r', b'\n', rest @ ..] => self.0 = rest,
                [] | [b'\r'] => return Err(End::Cut),
                _ => return Err(End::Wrong("a chunk's end")),
            }
        }
    }

    /// Up to a CRLF; neither CR nor LF stands alone.
    fn line(&mut self) -> Read<&'b [u8]> {
        let Some(end) = self.0.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else { return Err(End::Cut) };
        match &self.0[end..] {
            [b'\r', b'\n', rest @ ..] => {
                let line = &self.0[..end];
                self.0 = rest;
                Ok(line)
            }
            [b'\r'] => Err(End::Cut),
            _ => Err(End::Wrong("a line's end")),
        }
    }

    fn take(&mut self, length: u64) -> Read<&'b [u8]> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (taken, rest) = self.0.split_at_checked(length).ok_or(End::Cut)?;
        self.0 = rest;
        Ok(taken)
    }
}

fn number(text: &[u8]) -> Read<u64> {
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| plain).and_then(|text| text.parse().ok());
    number.ok_or(End::Wrong("a length"))
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

#[test]
fn messages_are_read_to_the_letter() {
    let two = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\nGET /b HTTP/1.0\r\n\r\n";
    let (messages, end) = read(two);
    assert_eq!(end, End::Clean);
    let told: Vec<_> = messages.iter().map(|one| (one.method.as_str(), one.body.as_slice())).collect();
    assert_eq!(told, [("POST", b"abc".as_slice()), ("GET", b"")]);
    let (messages, end) =
        read(b"POST / HTTP/1.1\r\nHost:a\r\nTransfer-Encoding: Chunked\r\n\r\n2;x\r\nab\r\n0\r\nT: u\r\n\r\nGET");
    assert_eq!((messages[0].body.as_slice(), messages[0].trailers.len(), end), (b"ab".as_slice(), 1, End::Cut));
    for wrong in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    ] {
        let (messages, end) = read(wrong);
        assert!(messages.is_empty() && matches!(end, End::Wrong(_)), "{}: {end:?}", wrong.escape_ascii());
    }
}
