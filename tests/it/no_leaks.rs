//! No token, and no part of one, in anything that the program writes or sends.

use crate::support::{
    binary::Binary,
    gateway::configuration,
    issuer::{Issuer, Mood},
    keys::Key,
    raw::{Client, exchange, find},
    token::{Token, forged},
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
  - {name: scoped, path: /scoped, upstream: echo, allow: [{scopes: [admin]}]}
  - {name: open, path: "/open/**", upstream: echo, allow: public, identity: {authorization: remove}}
  - {name: elsewhere, path: "/elsewhere/**", upstream: echo, allow: authenticated, token_from: [{query: key-of-mine}, {cookie: session}, {header: X-Api-Token}]}
  - {name: dry, path: /dry, upstream: echo, allow: authenticated, enforce: false, token_from: [{query: access_token}]}
"#;

/// A part this long can't be there by chance.
const TELLING: usize = 16;

#[test]
fn no_output_holds_a_token() {
    let key = Key::es256("k1");
    let (issuer, upstream) = (Issuer::start(&key), Upstream::start());
    let yaml =
        configuration(&issuer, &upstream, ROUTES).replace("level: error, access: false", "level: trace, access: true");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut binary = Binary::run(&file);
    let address = binary.address();

    // Subject and scopes may be logged; what carries them may not.
    let tokens = [
        issuer.token().build(),
        issuer.token().exp_in(-600).build(),
        issuer.token().kid("unknown").build(),
        issuer.token().aud("elsewhere").build(),
        issuer.token().signed_by(&Key::es256("k1")).build(),
        Token::new("https://elsewhere.example", &key).build(),
        issuer.token().alg("none").with_signature(b"not a signature at all"),
        forged(r#"{"alg":"ES256","kid":"k1"}"#, "this isn't an object", &key),
        format!("opaque{}", "Z".repeat(64)),
        format!("toolong{}", "Y".repeat(70_000)),
    ];
    let mut answers = Vec::new();
    for token in &tokens {
        for path in ["/closed", "/scoped", "/open/x", "/none"] {
            answers.extend(exchange(address, "GET", path, &format!("Authorization: Bearer {token}\r\n")).body);
        }
        if token.len() > 10_000 {
            continue;
        }
        for fields in [
            format!("Authorization: Bearer {token} {token}\r\n"),
            format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"),
            format!("Authorization: Bearer \"{token}\"\r\n"),
            format!("Authorization: Basic {token}\r\n"),
            format!("Authorization: {token}\r\n"),
        ] {
            answers.extend(exchange(address, "GET", "/closed", &fields).body);
        }
        answers.extend(exchange(address, "GET", &format!("/closed?access_token={token}"), "").body);
        answers.extend(exchange(address, "GET", &format!("/open/x?a=b&access_token={token}&c"), "").body);
        for (target, fields) in [
            (format!("/elsewhere/x?a&key-of-mine={token}"), String::new()),
            (format!("/elsewhere/x?Key_of.Mine={token}"), String::new()),
            (format!("/none?key%2Dof-mine={token}&b"), String::new()),
            (format!("/elsewhere/x?key-of-mine={token}&key-of-mine={token}"), String::new()),
            ("/elsewhere/x".to_owned(), format!("Cookie: a=b; session={token}\r\n")),
            ("/elsewhere/x".to_owned(), format!("X-Api-Token: {token}\r\n")),
            ("/elsewhere/x".to_owned(), format!("X-Api-Token: {token}\r\nCookie: session={token}\r\n")),
            (format!("/dry?access_token={token}"), String::new()),
        ] {
            answers.extend(exchange(address, "GET", &target, &fields).body);
        }
        for broken in ["Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "Content-Length: x\r\n", "X y\r\n"] {
            let mut client = Client::connect(address);
            client.send(format!("POST /closed HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{broken}\r\n"));
            answers.extend(client.receive_rest());
        }
    }
    issuer.be(Mood::Status(500));
    upstream.answer_bytes(b"nonsense\r\n\r\n");
    answers.extend(exchange(address, "GET", "/closed", &format!("Authorization: Bearer {}\r\n", tokens[0])).body);
    binary.signal("TERM");
    assert_eq!(binary.wait().code(), Some(0));

    let output = binary.output();
    assert!(output.lines().count() > tokens.len(), "{output}");
    let answers = String::from_utf8_lossy(&answers).into_owned();
    for token in &tokens {
        for part in parts(token) {
            assert!(!output.contains(part), "{part} is in the log");
            assert!(!answers.contains(part), "{part} is in an answer");
        }
    }
    let public: Vec<_> =
        upstream.requests().into_iter().filter(|request| request.target.starts_with("/open/")).collect();
    assert!(!public.is_empty());
    assert_eq!(find(&upstream.wire(), b"Authorization: Basic"), None);
    for name in [&b"key-of-mine"[..], b"session=", b"x-api-token", b"X-Api-Token"] {
        assert_eq!(find(&upstream.wire(), name), None, "{}", name.escape_ascii());
    }
}

/// Beginnings and ends of a token's parts; the header's is the same for all tokens of a kind and tells nothing.
fn parts(token: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in token.split('.').skip(usize::from(token.contains('.'))) {
        if part.len() >= TELLING {
            parts.push(&part[..TELLING]);
            parts.push(&part[part.len() - TELLING..]);
        }
    }
    parts
}
