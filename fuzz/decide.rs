//! Questions of other proxies, put to the real gateway: whatever is let through is a request for what is open, and every
//! answer is in order.

use bearward::path::{CanonicalPath, has_dot_segments};

use super::{Checked, fuzz};
use crate::{
    decisions::ext_authz::{CALL, METHOD, Told, framed},
    support::{
        gateway::Gateway,
        modern::Caller,
        raw::{Client, Response},
    },
};

fn gateway(mode: &str) -> Gateway {
    let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    Gateway::start(&format!(
        "listen: [{{address: \"127.0.0.1:0\", mode: {mode}}}]\nadmin: {{address: \"127.0.0.1:0\"}}\n\
         logging: {{level: error, access: false}}\nserver: {{workers: 1}}\n\
         issuers: {{i: {{issuer: \"https://i.example\", audiences: [api], jwt: {{jwks: {keys}}}}}}}\n\
         routes:\n  - {{name: open, path: \"/open/**\", allow: public}}\n  - {{name: rest, path: \"/**\", allow: authenticated}}\n"
    ))
}

fn is_open(target: &[u8]) -> bool {
    let path = std::str::from_utf8(target).ok().and_then(|target| target.split('?').next());
    let Some(path) = path else { return false };
    CanonicalPath::parse(path).is_ok_and(|path| path.as_str().starts_with("/open")) && !has_dot_segments(path)
}

/// The lines of an input that are fields, but for what is about the check itself.
fn lines(input: &[u8]) -> Vec<(String, Vec<u8>)> {
    const NOT_SENT: [&str; 6] = ["host", "content-length", "transfer-encoding", "expect", "connection", "upgrade"];
    let field = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(&line[..colon]).ok()?.to_ascii_lowercase();
        let token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let squashed = name.replace(['_', '.'], "-");
        let value = line[colon + 1..].trim_ascii().to_vec();
        let plain = value.iter().all(|byte| *byte >= b' ' && *byte != 0x7f);
        (token && plain && !NOT_SENT.contains(&squashed.trim_matches('-'))).then_some((name, value))
    };
    input.split(|byte| *byte == b'\n').filter_map(field).take(40).collect()
}

fn sent(gateway: &Gateway, lines: &[(String, Vec<u8>)]) -> Response {
    let mut request = b"GET /check HTTP/1.1\r\nHost: bearward\r\n".to_vec();
    for (name, value) in lines {
        request.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    request.extend_from_slice(b"\r\n");
    let mut client = Client::connect(gateway.address);
    client.send(&request);
    client.receive()
}

/// The one value of a field.
fn only<'l>(lines: &'l [(String, Vec<u8>)], name: &str) -> Option<&'l [u8]> {
    let mut values = lines.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_slice());
    values.next().filter(|_| values.next().is_none())
}

fn description(forwarded: &Gateway, original: &Gateway, input: &[u8]) -> Checked {
    let lines = lines(input);
    let (by_forwarded, by_original) = (sent(forwarded, &lines), sent(original, &lines));
    let after_host = |url: &[u8]| {
        let rest = url.iter().position(|byte| *byte == b':').and_then(|colon| url.get(colon + 3..))?;
        Some(rest.get(rest.iter().position(|byte| *byte == b'/')?..)?.to_vec())
    };
    let target = match (only(&lines, "x-original-url"), only(&lines, "x-original-uri")) {
        (Some(url), None) => after_host(url),
        (None, uri) => uri.map(<[u8]>::to_vec),
        (Some(_), Some(_)) => None,
    };
    let cases = [
        (&by_forwarded, only(&lines, "x-forwarded-uri").map(<[u8]>::to_vec), "x-forwarded-method"),
        (&by_original, target, "x-original-method"),
    ];
    for (answer, target, method) in cases {
        if answer.status == 200 && !(target.is_some_and(|target| is_open(&target)) && only(&lines, method).is_some()) {
            return Err("it is let through".to_owned());
        }
        let subject = answer.fields.get("x-auth-subject").unwrap_or_default();
        if !subject.is_empty() {
            return Err(format!("it is said to come from {subject}"));
        }
    }
    Ok(format!("{} and {}", by_forwarded.status, by_original.fields.get("x-auth-status").unwrap_or("as it is")))
}

#[test]
fn descriptions() {
    let (forwarded, original) =
        (gateway("forward_auth, request_from: x_forwarded"), gateway("forward_auth, request_from: x_original"));
    #[rustfmt::skip]
    let words = [
        "\n", ": ", ",", "X-Forwarded-Method: GET\n", "X-Forwarded-Proto: https\n", "X-Forwarded-Host: a\n", "X-Forwarded-Uri: /open/x\n",
        "X-Forwarded-Uri: /admin\n", "X-Original-Method: GET\n", "X-Original-URL: http://a/open/x\n", "X-Original-URI: /open/x\n",
        "X-Original-URL: https://b/admin\n", "/../", "/%2e%2e/", "..;", "//", "%2F", "?", "#", "@", "X-Auth-Subject: root\n", "x_auth_subject: root\n",
        "Authorization: Bearer a\n", "X_Forwarded_Uri", "GET", "OPTIONS", "TRACE", "*", "\u{e9}", " ", "\t",
    ];
    let outcomes = fuzz("descriptions", &words, 300, |input| description(&forwarded, &original, input));
    for outcome in ["200 and 400", "400 and as it is", "401 and 400"] {
        assert!(outcomes.contains_key(outcome), "{outcome}: {outcomes:?}");
    }
}

fn check(caller: &Caller, input: &[u8]) -> Checked {
    let answer = caller.call(CALL, METHOD, framed(input));
    if let Some(code) = answer.head.headers.get("grpc-status") {
        return match code.to_str() {
            Ok("3") if answer.body.is_empty() => Ok("no message".to_owned()),
            code => Err(format!("{code:?}: {answer:?}")),
        };
    }
    let told = Told::read(&answer);
    let is_for_open = [&b"/open"[..], b"/%6f", b"/%6F", b"/o%"]
        .iter()
        .any(|open| input.windows(open.len()).any(|part| part == *open));
    match told.denied {
        None if !is_for_open => Err(format!("it is let through: {told:?}")),
        None => Ok("let through".to_owned()),
        Some(status) => Ok(format!("denied with {status}")),
    }
}

#[test]
fn checks() {
    let gateway = gateway("ext_authz");
    let caller = Caller::connect(gateway.address);
    #[rustfmt::skip]
    let words = [
        "\n", "\x12", "\x1a", "\"", "*", "2", "j", "\x01", "\x04", "\x08", "/open/x", "/admin", "/../", "%2e", "GET", "POST", "http", "https",
        "a.example", "x-auth-subject", ":path", "authorization", "Bearer a", "\u{e9}", "\x7f", "\r\n",
    ];
    let outcomes = fuzz("checks", &words, 600, |input| check(&caller, input));
    for outcome in ["no message", "let through", "denied with 400", "denied with 401"] {
        assert!(outcomes.contains_key(outcome), "{outcome}: {outcomes:?}");
    }
}
