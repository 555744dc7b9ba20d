//! The front, through the real gateway: what arrives upstream is what a strict reader of RFC 9112 sees in the same bytes,
//! message by message, or less; all of it where there is nothing that the gateway may refuse.

use std::{cell::RefCell, collections::VecDeque};

use super::{Checked, fuzz};
use crate::support::{
    gateway::{Gateway, configuration},
    issuer::Issuer,
    keys::Key,
    strict::{self, End, Message},
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: open, path: "/**", upstream: echo, allow: public}
"#;

/// Follows what nothing may be refused of.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

struct Scene {
    _issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
    /// Of earlier inputs: a client that has gone away may be forgotten before its request has arrived.
    late: RefCell<VecDeque<Message>>,
}

const MOST_LATE: usize = 16;

impl Scene {
    fn new() -> Scene {
        let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
        Scene { _issuer: issuer, upstream, gateway, late: RefCell::default() }
    }

    fn check(&self, input: &[u8]) -> Checked {
        let (mut seen, end) = strict::read(input);
        let all_plain = end == End::Clean && seen.iter().all(is_plain);
        let mut client = self.gateway.client();
        let mut bytes = input.to_vec();
        if all_plain {
            bytes.extend_from_slice(LAST);
            seen.extend(strict::read(LAST).0);
        }
        // The answer may come, and the connection go, before all is sent.
        client.try_send(&bytes).ok();
        if !all_plain {
            client.finish();
        }
        let answers = String::from_utf8_lossy(&client.receive_rest()).into_owned();
        let arrived = self.upstream.take_messages().map_err(|why| format!("upstream: {why}"))?;
        let (mut left, mut late) = (seen.clone(), self.late.borrow_mut());
        for message in &arrived {
            if let Some(place) = left.iter().position(|sent| is_the_same(sent, message)) {
                left.remove(place);
            } else if !late.iter().any(|sent| is_the_same(sent, message)) {
                return Err(format!("{message:?} was never sent; a strict reader sees {seen:?}, {end:?}"));
            }
        }
        if all_plain && !left.is_empty() {
            return Err(format!("{left:?} doesn't arrive; answers: {answers}"));
        }
        late.extend(left);
        while late.len() > MOST_LATE {
            late.pop_front();
        }
        let status = answers.get(9..12).unwrap_or("nothing");
        Ok(format!("{status}, {} arrive, {end:?}", arrived.len().min(4)))
    }
}

fn is_the_same(sent: &Message, arrived: &Message) -> bool {
    let plain_target = sent.target.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'/');
    sent.method == arrived.method
        && sent.body == arrived.body
        && !arrived.is_old
        && (!plain_target || sent.target == arrived.target || sent.target.windows(2).any(|pair| pair == b"//"))
}

/// Nothing about it asks for more than to be passed on.
fn is_plain(message: &Message) -> bool {
    let fields = message.fields.iter().all(|(name, value)| {
        !["connection", "expect", "upgrade", "te", "trailer", "proxy-connection"].contains(&name.as_str())
            && (name != "host" || value == b"a")
            && !["content.length", "content_length", "transfer_encoding"].contains(&name.as_str())
    });
    let length = message.all("content-length").all(|value| value == b"0" || !value.starts_with(b"0"));
    let method = ["GET", "POST", "PUT"].contains(&message.method.as_str());
    let target = message.target.starts_with(b"/")
        && message.target.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'/');
    fields && length && method && target && !message.is_old && message.fields.len() <= 50 && message.trailers.is_empty()
}

#[test]
fn http1() {
    #[rustfmt::skip]
    let words = [
        "GET /a HTTP/1.1\r\n", "POST /b HTTP/1.1\r\n", "HEAD / HTTP/1.0\r\n", "GET http://a/c HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n", "Host: a\r\n", "Host: b\r\n", "\r\n", "\r\n\r\n", "\r", "\n", "\n\n", " ", "\t", ":",
        "\0", ";", ",", "Content-Length: 3\r\n", "Content-Length: 0\r\n", "Content-Length: +3\r\n",
        "Content-Length : 3\r\n", "Content_Length: 3\r\n", "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding:\tchunked\r\n", "Transfer-Encoding : chunked\r\n",
        "transfer_encoding: chunked\r\n", "3\r\nabc\r\n", "0\r\n\r\n", "0\r\nX: y\r\n\r\n", "3;x=y\r\nabc\r\n",
        "003\r\nabc\r\n", "abc", "Connection: close\r\n", "Connection: content-length\r\n", "Expect: 100-continue\r\n",
        "Upgrade: h2c\r\n", " folded\r\n", "X: y\r\n", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let scene = Scene::new();
    let outcomes = fuzz("http1", &words, 600, |input| scene.check(input));
    for outcome in ["200, 1 arrive, Clean", "200, 2 arrive, Clean"] {
        assert!(outcomes.contains_key(outcome), "{outcome}: {outcomes:?}");
    }
    assert!(outcomes.keys().any(|outcome| outcome.starts_with("400")), "{outcomes:?}");
}
