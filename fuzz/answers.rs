//! The back, through the real gateway: what a client gets of an upstream's answer is what a strict reader of RFC 9112 sees in it,
//! or a refusal; and the next request gets its own answer.

use std::{
    cell::Cell,
    io::Write,
    sync::{Arc, Mutex},
};

use super::{Checked, fuzz};
use crate::support::{
    gateway::{Gateway, public_configuration},
    http::Request,
    raw::find,
    upstream::{After, Upstream, respond},
};

/// What a strict reader sees.
#[derive(Debug, PartialEq)]
enum Seen {
    Whole {
        status: u16,
        body: Vec<u8>,
    },
    /// In order as far as it goes.
    Cut,
    /// Not in order, or at least nothing that has to be taken.
    Wrong,
}

struct Scene {
    _upstream: Upstream,
    gateway: Gateway,
    /// The answer to whoever asks for `/given`, and whether its connection ends with it.
    given: Arc<Mutex<(Vec<u8>, After)>>,
    turn: Cell<u32>,
}

impl Scene {
    fn new() -> Scene {
        let upstream = Upstream::start();
        let given = Arc::new(Mutex::new((Vec::new(), After::Close)));
        let giving = Arc::clone(&given);
        upstream.answer(move |request: &Request, stream| {
            if request.target != "/given" {
                return respond(stream, 200, "", request.target.as_bytes());
            }
            let (bytes, after) = giving.lock().unwrap().clone();
            // At once: what comes after the next request is on its way can't be told from its answer.
            stream.write_all(&bytes)?;
            Ok(after)
        });
        let text = public_configuration(&upstream.url(), "").replace("workers: 2", "workers: 1");
        Scene { gateway: Gateway::start_unready(&text), _upstream: upstream, given, turn: Cell::new(0) }
    }

    fn check(&self, input: &[u8]) -> Checked {
        let (seen, ends) = strict(input);
        // Without its end, it would be waited for.
        let after = if ends || !matches!(seen, Seen::Whole { .. }) { After::Close } else { After::KeepAlive };
        *self.given.lock().unwrap() = (input.to_vec(), after);
        let mut client = self.gateway.client();
        client.send("GET /given HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = client.try_receive("GET").ok().flatten();
        if !client.receive_rest().is_empty() && answer.as_ref().is_some_and(|answer| answer.complete) {
            return Err("more than an answer".to_owned());
        }
        let told = match (&seen, &answer) {
            (_, Some(answer)) if answer.status == 502 && answer.text().contains("Bad Gateway") => "refused",
            (_, Some(answer)) if !answer.complete => "cut",
            (Seen::Whole { status, body }, Some(answer)) if (*status, body) == (answer.status, &answer.body) => {
                "as it is"
            }
            (Seen::Wrong, _) => "taken",
            (Seen::Cut, None) => "nothing",
            (Seen::Cut, Some(_)) => return Err(format!("{answer:?} was cut")),
            (Seen::Whole { .. }, _) => return Err(format!("{seen:?} became {answer:?}")),
        };
        if matches!(seen, Seen::Whole { .. }) && told == "cut" {
            return Err(format!("{seen:?} was cut"));
        }
        let own = format!("/own/{}", self.turn.replace(self.turn.get() + 1));
        let next = self.gateway.get(&own);
        if next.status != 502 && next.text() != own {
            return Err(format!("the next one got {} {}", next.status, next.text()));
        }
        let status = answer.map_or(0, |answer| answer.status);
        Ok(format!("{status} {told}, {}", matches!(seen, Seen::Whole { .. })))
    }
}

/// What is seen in a connection's bytes by whoever takes nothing but what the standard has, and whether that ends with them.
fn strict(bytes: &[u8]) -> (Seen, bool) {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        let begins = bytes.starts_with(b"HTTP/1.1 ") || b"HTTP/1.1 ".starts_with(bytes);
        let has_bare = String::from_utf8_lossy(bytes).replace("\r\n", "").contains('\n');
        return (if begins && !has_bare { Seen::Cut } else { Seen::Wrong }, true);
    };
    let (head, body) = (&bytes[..end], &bytes[end + 4..]);
    let Some((status, fields)) = read_head(head) else { return (Seen::Wrong, true) };
    let all = |name: &str| fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect();
    let (lengths, codings): (Vec<&str>, Vec<&str>) = (all("content-length"), all("transfer-encoding"));
    match status {
        100 | 102..=199 => return strict(body),
        204 | 304 => return (Seen::Whole { status, body: Vec::new() }, false),
        200.. => {}
        _ => return (Seen::Wrong, true),
    }
    match (&lengths[..], &codings[..]) {
        ([], []) => (Seen::Whole { status, body: body.to_vec() }, true),
        ([length], []) => match length.parse() {
            Ok(bytes) if usize::to_string(&bytes) == *length => match body.get(..bytes) {
                Some(body) => (Seen::Whole { status, body: body.to_vec() }, false),
                None => (Seen::Cut, true),
            },
            _ => (Seen::Wrong, true),
        },
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => (chunks(status, body), false),
        _ => (Seen::Wrong, true),
    }
}

fn read_head(head: &[u8]) -> Option<(u16, Vec<(String, String)>)> {
    let text = std::str::from_utf8(head)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte >= b' ' || b"\r\n".contains(&byte)))?;
    let mut lines = text.split("\r\n");
    let line = lines.next()?.strip_prefix("HTTP/1.1 ")?;
    let (status, reason) = line.split_once(' ')?;
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_token.then(|| (name.to_ascii_lowercase(), value.trim_matches(' ').to_owned()))
    });
    let fields = fields.collect::<Option<Vec<_>>>()?;
    let is_plain = text.replace("\r\n", "").bytes().all(|byte| (b' '..=b'~').contains(&byte)) && reason.is_ascii();
    let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    (is_plain && is_status).then_some(())?;
    Some((status.parse().ok()?, fields))
}

fn chunks(status: u16, mut rest: &[u8]) -> Seen {
    let mut body = Vec::new();
    loop {
        let Some(end) = find(rest, b"\r\n") else { return Seen::Cut };
        let Some(size) = std::str::from_utf8(&rest[..end]).ok().filter(|size| (1..=8).contains(&size.len())) else {
            return Seen::Wrong;
        };
        let (true, Ok(size)) = (size.bytes().all(|byte| byte.is_ascii_hexdigit()), usize::from_str_radix(size, 16))
        else {
            return Seen::Wrong;
        };
        rest = &rest[end + 2..];
        if size == 0 {
            // Trailers would be another story.
            return match rest {
                [b'\r', b'\n', ..] => Seen::Whole { status, body },
                b"" | b"\r" => Seen::Cut,
                _ => Seen::Wrong,
            };
        }
        let Some(data) = rest.get(..size) else { return Seen::Cut };
        body.extend_from_slice(data);
        rest = &rest[size..];
        rest = match rest {
            [b'\r', b'\n', rest @ ..] => rest,
            b"" | b"\r" => return Seen::Cut,
            _ => return Seen::Wrong,
        };
    }
}

#[test]
fn answers() {
    #[rustfmt::skip]
    let words = [
        "HTTP/1.1 200 OK\r\n", "HTTP/1.1 404 Not Found\r\n", "HTTP/1.0 200 OK\r\n", "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "\r\n", "\r\n\r\n", "\r", "\n", "\n\n",
        " ", "\t", ":", "\0", ";", ",", "Content-Length: 3\r\n", "Content-Length: 0\r\n", "Content-Length: +3\r\n",
        "Content-Length : 3\r\n", "Content-Length: 3, 3\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding : chunked\r\n", "3\r\nabc\r\n", "0\r\n\r\n",
        "0\r\nX: y\r\n\r\n", "3;x=y\r\nabc\r\n", "003\r\nabc\r\n", "3 \r\nabc\r\n", "abc", "Connection: close\r\n",
        "Connection: keep-alive\r\n", "Connection: content-length\r\n", "Upgrade: h2c\r\n", " folded\r\n", "X: y\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ];
    let scene = Scene::new();
    let outcomes = fuzz("answers", &words, 600, |input| scene.check(input));
    for outcome in ["200 as it is, true", "404 as it is, true", "502 refused, false", "200 cut, false"] {
        assert!(outcomes.contains_key(outcome), "{outcome}: {outcomes:?}");
    }
}
