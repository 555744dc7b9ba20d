//! What clients and tokens try, so that somebody else arrives upstream: aliases as a real application merges them,
//! duplicates, lines of `Connection`, trailers, claims that want to be more than a value, forwarding fields.

use std::cell::RefCell;

use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::{
    identity::SPELLINGS,
    support::{
        gateway::{Gateway, configuration, configuration_of},
        h2,
        issuer::Issuer,
        keys::Key,
        raw::find,
        servers::Server,
        upstream::Upstream,
    },
};

const ROUTES: &str = r#"
  - {name: closed, path: "/closed/**", upstream: echo, allow: authenticated}
  - {name: headers, path: /headers, upstream: echo, allow: optional}
  - {name: open, path: "/open/**", upstream: echo, allow: public}
  - {name: own, path: /own, upstream: echo, allow: authenticated, token_from: [{header: X-Api-Token}]}
"#;

fn scene() -> (Issuer, Upstream, Gateway) {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
    (issuer, upstream, gateway)
}

/// A WSGI server hands headers on under names in which all that isn't a letter or digit is an underscore, and joins
/// those that became one.
#[test]
fn an_application_that_merges_names_sees_one_identity() {
    let Some(wsgi) = Server::wsgi() else { return };
    let issuer = Issuer::start(&Key::es256("k1"));
    let jwt = format!("  main: {{issuer: \"{}\", audiences: [api], http_timeout: 30s}}\n", issuer.url());
    let gateway = Gateway::start(&configuration_of(&jwt, &format!("http://{}", wsgi.address), ROUTES));
    let token = issuer.token().build();
    for spelling in SPELLINGS {
        let forged = format!("{spelling}: attacker\r\n{spelling}: attacker\r\n");
        let known = gateway.call("GET", "/headers", &format!("{forged}Authorization: Bearer {token}\r\n{forged}"));
        let seen = known.text();
        assert!(seen.lines().any(|line| line == "HTTP_X_AUTH_SUBJECT=u1"), "{spelling}: {} {seen}", known.status);
        assert!(!seen.contains("attacker"), "{spelling}: {seen}");
        let unknown = gateway.call("GET", "/headers", &forged);
        assert_eq!(unknown.status, 200, "{spelling}");
        assert!(!unknown.text().contains("AUTH_SUBJECT") && !unknown.text().contains("attacker"), "{spelling}");
    }
}

#[test]
fn no_spelling_passes_over_http_2() {
    let (issuer, upstream, gateway) = scene();
    let bearer = format!("Bearer {}", issuer.token().build());
    let mut connection = h2::Connection::connect(gateway.address);
    for (stream, spelling) in (1..).step_by(4).zip(SPELLINGS) {
        let name = spelling.to_ascii_lowercase();
        let forged = [(name.as_str(), "attacker"), (name.as_str(), "attacker")];
        assert_eq!(connection.get(stream, "/open/x", &forged).status(), 200, "{spelling}");
        let with_token = [&forged[..], &[("authorization", &bearer)], &forged[..]].concat();
        assert_eq!(connection.get(stream + 2, "/closed/x", &with_token).status(), 200, "{spelling}");
        assert_eq!(upstream.last_request().fields.all("x-auth-subject").collect::<Vec<_>>(), ["u1"], "{spelling}");
    }
    assert_eq!(find(&upstream.wire(), b"attacker"), None);
}

#[test]
fn duplicates_and_lines_of_connection_change_nothing() {
    let (issuer, upstream, gateway) = scene();
    let token = issuer.token().scope("read").build();
    let credential = format!("Authorization: Bearer {token}\r\n");
    for fields in [
        "X-Auth-Subject: attacker\r\nX-Auth-Subject: attacker\r\n",
        "X-Auth-Subject:\r\nX-Auth-Subject: attacker\r\n",
        "x-auth-subject: attacker\r\nX-AUTH-SUBJECT: attacker\r\nX_Auth_Subject: attacker\r\nX.Auth.Subject: attacker\r\n",
        "Connection: x-auth-subject\r\nConnection: x-auth-scopes\r\nConnection: authorization\r\n",
        "Connection: X-Auth-Subject,X-Auth-Subject , \tx-auth-subject\t\r\n",
        "Connection: close\r\nConnection: x-auth-subject\r\n",
        "Connection: \"x-auth-subject\"\r\n",
        "Connection: x-auth-subject;q=1\r\n",
        "Connection: x_auth_subject\r\nX_Auth_Subject: attacker\r\n",
        "Connection: x-other\r\nX-Other: attacker\r\nX-Auth-Subject: attacker\r\n",
        "Connection: \u{e9}, x-auth-subject\r\n",
        "Connection: via, x-forwarded-for, x-request-id, traceparent\r\n",
        "Connection: te, trailer, upgrade, keep-alive\r\nTE: trailers\r\n",
        "Proxy-Connection: x-auth-subject\r\nKeep-Alive: x-auth-subject\r\n",
        "Proxy-Authorization: attacker\r\nProxy-Authenticate: attacker\r\n",
        "X-Original-URL: /attacker\r\nX-Rewrite-URL: /attacker\r\nX-Original-URI: /attacker\r\nX-Original-Method: attacker\r\n",
    ] {
        upstream.forget();
        let response = gateway.call("GET", "/closed/x", &format!("{fields}{credential}{fields}"));
        assert_eq!(response.status, 200, "{fields:?}");
        let sent = upstream.only_request().fields;
        for (name, value) in [
            ("x-auth-subject", "u1"),
            ("x-auth-scopes", "read"),
            ("x-auth-issuer", "main"),
            ("x-forwarded-for", "127.0.0.1"),
            ("via", "1.1 bearward"),
            ("authorization", &format!("Bearer {token}")),
        ] {
            assert_eq!(sent.all(name).collect::<Vec<_>>(), [value], "{fields:?}");
        }
        assert_eq!(sent.all("host").count() + sent.all("x-request-id").count() + sent.all("traceparent").count(), 3);
        assert_eq!(find(&upstream.wire(), b"attacker"), None, "{fields:?}");
    }
    for fields in ["Authorization: Basic YTpi\r\n", "Authorization: Bearer x\r\n", "authorization:\r\n", &credential] {
        upstream.forget();
        let response = gateway.call("GET", "/closed/x", &format!("{credential}{fields}"));
        assert_eq!((response.status, upstream.bytes()), (400, 0), "{fields:?}");
    }
}

#[test]
#[rustfmt::skip]
fn trailers_say_nothing_about_who_asks() {
    let (issuer, upstream, gateway) = scene();
    let token = issuer.token().build();
    let others = [
        "Authorization", "Proxy-Authorization", "Cookie", "Host", "Content-Length", "Content_Length", "Transfer-Encoding", "Transfer_Encoding",
        "Connection", "TE", "Trailer", "Upgrade", "Expect", "Content-Type", "Content-Encoding", "X-Forwarded-For", "X_Forwarded_For",
        "X-Forwarded-Host", "Forwarded", "X-Real-IP", "x_real_ip", "X-Original-URL", "X-Rewrite-URL", "X-Auth-Assertion", "X-Api-Token", "x_api_token",
    ];
    for name in SPELLINGS.iter().chain(&others) {
        for (path, credential) in [("/closed/x", format!("Authorization: Bearer {token}\r\n")), ("/open/x", String::new())] {
            upstream.forget();
            let mut client = gateway.client();
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\n{credential}Trailer: x-fine, {name}\r\nTransfer-Encoding: chunked\r\n\r\n\
                 1\r\na\r\n0\r\n{name}: attacker\r\nX-Fine: yes\r\n{name}: attacker\r\n\r\n"
            ));
            assert_eq!(client.receive().status, 200, "{name}");
            let sent = upstream.only_request();
            assert_eq!(sent.body, b"a", "{name}");
            assert!(sent.trailers.0.iter().all(|(field, _)| field.eq_ignore_ascii_case("x-fine")), "{name}: {:?}", sent.trailers);
            assert_eq!(find(&upstream.wire(), b"attacker"), None, "{name}");
        }
    }
}

/// What a reader makes of a value that the gateway has encoded.
fn decoded(value: &str) -> Vec<u8> {
    let mut parts = value.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

/// A subject and a role of this text arrive as one value each that stands for just this text.
#[track_caller]
fn arrives_as_it_is(scene: &(Issuer, Upstream, Gateway), text: &str) {
    let (issuer, upstream, gateway) = scene;
    upstream.forget();
    let token = issuer.token().sub(text).claim("roles", json!([text, "last"])).build();
    let response = gateway.get_with("/closed/x", &token);
    assert_eq!(response.status, 200, "{text:?}: {}", response.text());
    let sent = upstream.only_request();
    assert!(sent.head.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n')), "{text:?}");
    let names = ["x-auth-subject", "x-auth-client", "x-auth-roles", "x-auth-issuer", "x-auth-scopes"];
    let count = sent.fields.0.iter().filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-auth")).count();
    assert!(count <= names.len(), "{text:?}: {:?}", sent.fields);
    if let Some(subject) = sent.fields.get("x-auth-subject") {
        assert_eq!(decoded(subject), text.as_bytes(), "{text:?}");
    }
    let roles: Vec<Vec<u8>> = sent.fields.get("x-auth-roles").unwrap_or_default().split(',').map(decoded).collect();
    let expected: Vec<&[u8]> = [text, "last"].into_iter().map(str::as_bytes).filter(|role| !role.is_empty()).collect();
    assert_eq!(roles, expected, "{text:?}");
    assert_eq!(sent.fields.all("x-auth-subject").count() + sent.fields.all("x-auth-roles").count(), 2, "{text:?}");
}

#[test]
#[rustfmt::skip]
fn a_claim_is_a_value_and_nothing_more() {
    let scene = scene();
    for text in [
        "u", " ", "  u", "u  ", "\tu", "u\t", ",", "a,b", "a, b", ",a,", "%", "%2C", "%0d%0a", "%%", "\r\n", "a\r\nX-Auth-Roles: admin",
        "a\nX-Auth-Roles: admin", "a\rX-Auth-Roles: admin", "\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", "\0", "a\0b", "\u{7f}", "\u{1b}[2J",
        "\u{85}", "\u{a0}u", "u\u{2028}", "\u{2029}", "\u{feff}u", "é", "日本", "🐻", "\u{202e}nimda", "\u{212a}", "\"", "\"a\"", "\\", "a;b", "a=b",
        "a:b", "<script>", "${jndi:ldap://x}", "{path.x}", "../../etc/passwd", "' or 1=1 --", "admin", "null", "true", "[\"admin\"]",
        "Bearer x", "a b", "=?utf-8?q?=0d=0a?=", "\u{ff0c}admin", "\u{10ffff}", "\u{d7ff}",
    ] {
        arrives_as_it_is(&scene, text);
    }
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(48) });
    let scene = RefCell::new(scene);
    let run = runner.run(&"[\\PC\r\n\t\0%, é]{1,24}", |text| {
        arrives_as_it_is(&scene.borrow(), &text);
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}

const FORWARDING: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: evil.example\r\n\
    X-Forwarded-Port: 6666\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-User: evil\r\nX-Forwarded-Client-Cert: evil\r\n\
    Forwarded: for=6.6.6.6;host=evil.example\r\nX-Real-IP: 6.6.6.6\r\n";
const FORWARDING_ALIASES: &str = "X_Forwarded_For: 6.6.6.6\r\nX.Forwarded.For: 6.6.6.6\r\nX-Forwarded_Host: evil.example\r\n\
    X_Real_IP: 6.6.6.6\r\nXForwardedProto: gopher\r\n_Forwarded: for=6.6.6.6\r\nForwarded-: for=6.6.6.6\r\nX-Forwarded--For: 6.6.6.6\r\n";

fn forwarding_of(upstream: &Upstream) -> Vec<(String, String)> {
    let fields = upstream.last_request().fields.0.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let mut fields: Vec<_> = fields.filter(|(name, _)| name.contains("forward") || name.contains("real")).collect();
    fields.sort();
    fields
}

#[test]
fn an_untrusted_peer_says_nothing_about_where_it_comes_from() {
    let (_issuer, upstream, gateway) = scene();
    let fields = format!("{FORWARDING}{FORWARDING_ALIASES}");
    assert_eq!(gateway.call("GET", "/open/x", &fields).status, 200);
    let host = gateway.address.to_string();
    let expected = [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-host", &host), ("x-forwarded-proto", "http")];
    assert_eq!(forwarding_of(&upstream), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for evil in ["6.6.6.6", "7.7.7.7", "evil", "gopher", "6666"] {
        assert_eq!(find(&upstream.wire(), evil.as_bytes()), None, "{evil}");
    }
}

#[test]
#[rustfmt::skip]
fn a_trusted_peer_is_believed_under_the_real_names_alone() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let yaml = configuration(&issuer, &upstream, ROUTES);
    let trusting = yaml.replace("workers: 2", "workers: 2, trusted_proxies: [127.0.0.0/8]");
    assert_ne!(yaml, trusting);
    let gateway = Gateway::start(&trusting);
    assert_eq!(gateway.call("GET", "/open/x", &format!("{FORWARDING}{FORWARDING_ALIASES}")).status, 200);
    let got = forwarding_of(&upstream);
    let names: Vec<&str> = got.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "forwarded", "x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix",
        "x-forwarded-proto", "x-forwarded-user", "x-real-ip",
    ];
    assert_eq!(names, expected);
    let forwarded_for = got.iter().find(|(name, _)| name == "x-forwarded-for");
    assert_eq!(forwarded_for.unwrap().1, "6.6.6.6, 7.7.7.7, 127.0.0.1");
}
