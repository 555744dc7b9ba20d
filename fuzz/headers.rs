//! Header fields on their way through the real gateway: what a client may send arrives as it was, what it may not send
//! doesn't, and ours are there once.

use std::collections::BTreeMap;

use super::{Checked, fuzz};
use crate::support::{
    gateway::{Gateway, configuration},
    issuer::Issuer,
    keys::Key,
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: closed, path: "/closed", upstream: echo, allow: authenticated}
"#;
/// Of the request itself, or about framing: other targets' affair.
#[rustfmt::skip]
const NOT_SENT: &[&str] = &[
    "host", "content-length", "transfer-encoding", "authorization", "expect", "upgrade", "trailer",
];
/// Written by the gateway, or by rules of their own.
#[rustfmt::skip]
const OURS: &[&str] = &[
    "host", "via", "te", "x-request-id", "traceparent", "tracestate", "authorization",
];
/// Lower case, letters and digits alone.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "xauthsubject", "xauthclient", "xauthscopes", "xauthroles", "xauthissuer", "xauthassertion", "xoriginalurl",
    "xoriginaluri", "xoriginalmethod", "xrewriteurl", "forwarded", "xrealip",
];
#[rustfmt::skip]
const HOP_BY_HOP: &[&str] = &[
    "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "upgrade",
];

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
    token: String,
}

type Fields = BTreeMap<String, Vec<Vec<u8>>>;

impl Scene {
    fn new() -> Scene {
        let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
        Scene { issuer, upstream, gateway, token: String::new() }
    }

    fn check(&self, input: &[u8]) -> Checked {
        let lines = lines(input);
        let mut request =
            format!("GET /closed HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", self.token).into_bytes();
        for (name, value) in &lines {
            request.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        request.extend_from_slice(b"\r\n");
        let mut client = self.gateway.client();
        client.send(&request);
        let answer = client.receive();
        if answer.status != 200 {
            return Err(format!("refused: {}", answer.text()));
        }
        let messages = self.upstream.take_messages()?;
        let [message] = messages.as_slice() else { return Err(format!("{messages:?}")) };
        let mut arrived = Fields::new();
        for (name, value) in &message.fields {
            arrived.entry(name.clone()).or_default().push(value.clone());
        }
        for (name, value) in [
            ("x-auth-subject", "u1"),
            ("x-auth-client", "c1"),
            ("x-auth-issuer", "main"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "a"),
            ("authorization", &format!("Bearer {}", self.token)),
        ] {
            if arrived.get(name) != Some(&vec![value.as_bytes().to_vec()]) {
                return Err(format!("{name} is {:?}", arrived.get(name)));
            }
        }
        for name in ["host", "x-request-id", "traceparent"] {
            if arrived.get(name).map(Vec::len) != Some(1) {
                return Err(format!("{name} is {:?}", arrived.get(name)));
            }
        }
        let expected = expected(&lines);
        let others: Fields = arrived.into_iter().filter(|(name, _)| !is_ours(name)).collect();
        if others != expected {
            return Err(format!("{others:?} arrives, expected {expected:?}"));
        }
        Ok(format!("{} of {} pass", expected.len().min(9), lines.len().min(9)))
    }
}

fn squashed(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

fn is_ours(name: &str) -> bool {
    let squashed = squashed(name);
    OURS.contains(&name) || RESERVED.contains(&squashed.as_str()) || squashed.starts_with("xforwarded")
}

/// The lines of an input that are fields that may be sent, up to 40.
fn lines(input: &[u8]) -> Vec<(String, Vec<u8>)> {
    let field = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = String::from_utf8(line[..colon].to_vec()).ok()?;
        let token = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        let value = line[colon + 1..].trim_ascii().to_vec();
        let plain = value.iter().all(|byte| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t');
        let lower = name.to_ascii_lowercase();
        let framing = ["contentlength", "transferencoding"].contains(&squashed(&name).as_str());
        (token && plain && !framing && !NOT_SENT.contains(&lower.as_str())).then_some((name, value))
    };
    input.split(|byte| *byte == b'\n').filter_map(field).take(40).collect()
}

fn expected(lines: &[(String, Vec<u8>)]) -> Fields {
    let mut named = Vec::new();
    for (_, value) in lines.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection")) {
        named.extend(value.split(|byte| *byte == b',').map(|option| option.trim_ascii().to_ascii_lowercase()));
    }
    let mut fields = Fields::new();
    for (name, value) in lines {
        let name = name.to_ascii_lowercase();
        let goes = is_ours(&name)
            || HOP_BY_HOP.contains(&name.as_str())
            || named.iter().any(|option| option == name.as_bytes());
        if !goes {
            fields.entry(name).or_default().push(value.clone());
        }
    }
    fields
}

#[test]
fn headers() {
    #[rustfmt::skip]
    let words = [
        "\n", ": ", ",", "Connection: ", "connection: close, ", "X-Auth-Subject", "x_auth_subject", "X.Auth.Roles",
        "XAuthScopes", "x-auth-issuer", "X-Auth-Assertion", "X-Forwarded-For", "x_forwarded_host", "Forwarded",
        "X-Real-IP", "X-Original-URL", "X-Rewrite-URL", "x-a", "X-B: c\n", "Cookie: a=b\n", "Accept: */*\n",
        "Keep-Alive", "Proxy-Authorization: x\n", "TE: trailers\n", "Via: 1.1 x\n", "X-Request-Id: a\n",
        "traceparent: x\n", "-", "_", ".", "~", "\t", " ", "\u{e9}", "\"", "Content-Type: text/plain\n",
        "Range: bytes=0-1\n", "Authorization-X: y\n",
    ];
    let mut scene = Scene::new();
    scene.token = scene.issuer.token().exp_in(86_400).build();
    let outcomes = fuzz("headers", &words, 400, |input| scene.check(input));
    assert!(outcomes.contains_key("1 of 1 pass") && outcomes.contains_key("0 of 1 pass"), "{outcomes:?}");
}
