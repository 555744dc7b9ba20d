//! Forms, in both ways in which curl sends them: `-d` (`application/x-www-form-urlencoded`) and `-F`
//! (`multipart/form-data`, RFC 7578).

use bytes::Bytes;
use hyper::{Request, header::CONTENT_TYPE};
use memchr::memmem;

/// The fields of a form, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form(Vec<(String, String)>);

/// What was sent is no form, or a field is in it twice where one may be (RFC 6749, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAForm;

impl Form {
    /// Reads a request's body by its type.
    ///
    /// # Errors
    /// Another type, or a body that isn't of it.
    pub(super) fn read(request: &Request<Bytes>) -> Result<Form, NotAForm> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).ok_or(NotAForm)?;
        let mut parameters = kind.split(';').map(str::trim);
        let kind = parameters.next().unwrap_or_default();
        if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return urlencoded(request.body());
        }
        if kind.eq_ignore_ascii_case("multipart/form-data") {
            let boundary = parameters.find_map(|parameter| parameter.strip_prefix("boundary=")).ok_or(NotAForm)?;
            return multipart(request.body(), boundary.trim_matches('"'));
        }
        Err(NotAForm)
    }

    /// The value of a field; empty where it isn't there.
    ///
    /// # Errors
    /// It is there twice.
    pub(super) fn one(&self, name: &str) -> Result<&str, NotAForm> {
        let mut values = self.0.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (value, None) => Ok(value.unwrap_or_default()),
            _ => Err(NotAForm),
        }
    }

    /// Every value of a field.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
    }
}

fn urlencoded(body: &[u8]) -> Result<Form, NotAForm> {
    let mut fields = Vec::new();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let (name, value) = pair.split_at(at);
        fields.push((decode(name)?, decode(value.get(1..).unwrap_or_default())?));
    }
    Ok(Form(fields))
}

/// One name or value of `application/x-www-form-urlencoded`.
fn decode(text: &[u8]) -> Result<String, NotAForm> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(*digit).to_digit(16));
                let (high, low) = digit().zip(digit()).ok_or(NotAForm)?;
                u8::try_from(high * 16 + low).map_err(|_| NotAForm)?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| NotAForm)
}

/// RFC 2046, section 5.1.1: parts between lines of two hyphens and the boundary, each a head and a body.
fn multipart(body: &[u8], boundary: &str) -> Result<Form, NotAForm> {
    if boundary.is_empty() {
        return Err(NotAForm);
    }
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(delimiter.trim_start().as_bytes()).ok_or(NotAForm)?;
    let mut fields = Vec::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let end = memmem::find(part, delimiter.as_bytes()).ok_or(NotAForm)?;
        let (part, after) = part.split_at(end);
        fields.push(field(part)?);
        rest = after.get(delimiter.len()..).ok_or(NotAForm)?;
    }
    if rest.starts_with(b"--") { Ok(Form(fields)) } else { Err(NotAForm) }
}

/// A part's name and value.
fn field(part: &[u8]) -> Result<(String, String), NotAForm> {
    let end = memmem::find(part, b"\r\n\r\n").ok_or(NotAForm)?;
    let (head, value) = part.split_at(end);
    let head = std::str::from_utf8(head).map_err(|_| NotAForm)?;
    let disposition = head
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition").then_some(value)
        })
        .ok_or(NotAForm)?;
    let name = disposition.split(';').find_map(|parameter| parameter.trim().strip_prefix("name=")).ok_or(NotAForm)?;
    let value = String::from_utf8(value.get(4..).unwrap_or_default().to_vec()).map_err(|_| NotAForm)?;
    Ok((name.trim_matches('"').to_owned(), value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(kind: &str, body: &str) -> Result<Form, NotAForm> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Form::read(&Request::post("/").header("content-type", kind).body(body).unwrap())
    }

    #[test]
    fn both_kinds_are_read() {
        let urlencoded = read("application/x-www-form-urlencoded", "a=1&b=x+y%26z&&c=&d").unwrap();
        let part = |name: &str, value: &str| {
            format!("--B-1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let body = [part("a", "1"), part("b", "x y&z"), part("c", ""), part("d", ""), "--B-1--\r\n".into()].concat();
        for kind in ["multipart/form-data; boundary=B-1", "Multipart/Form-Data;charset=utf-8; boundary=\"B-1\""] {
            assert_eq!(read(kind, &body).as_ref(), Ok(&urlencoded), "{kind}");
        }
        for (name, value) in [("a", "1"), ("b", "x y&z"), ("c", ""), ("absent", "")] {
            assert_eq!(urlencoded.one(name), Ok(value));
        }
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let multipart = "multipart/form-data; boundary=B";
        for (kind, body) in [
            ("application/json", "{}"),
            ("text/plain", "a=1"),
            ("application/x-www-form-urlencoded", "a=%4"),
            ("application/x-www-form-urlencoded", "a=%ff"),
            ("multipart/form-data", "--B--"),
            ("multipart/form-data; boundary=", "--"),
            (multipart, ""),
            (multipart, "--B\r\n"),
            (multipart, "--B\r\n\r\n\r\n--B--"),
            (multipart, "--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--"),
            (multipart, "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx"),
            (multipart, "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--B"),
        ] {
            assert_eq!(read(kind, body), Err(NotAForm), "{kind}: {body:?}");
        }
        let twice = read("application/x-www-form-urlencoded", "a=1&a=1").unwrap();
        assert_eq!((twice.one("a"), twice.all("a").len()), (Err(NotAForm), 2));
    }

    proptest! {
        #[test]
        fn a_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = urlencoded(&body);
            let _ = multipart(&body, "B");
            let _ = multipart(&[b"--B\r\n", &*body].concat(), "B");
        }

        #[test]
        fn what_is_encoded_is_read_back(text in ".{0,16}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let form = urlencoded(format!("a=b&x={encoded}").as_bytes()).unwrap();
            prop_assert_eq!(form.one("x"), Ok(text.as_str()));
        }
    }
}
