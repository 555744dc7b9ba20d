//! What arrives upstream: who the caller is, said by the gateway alone.

use serde_json::json;

use crate::support::{
    gateway::{Gateway, configuration},
    http::Request,
    issuer::Issuer,
    keys::Key,
    raw::find,
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: closed, path: "/closed/**", upstream: echo, allow: authenticated}
  - {name: open, path: "/open/**", upstream: echo, allow: public}
  - name: named
    path: /named
    upstream: echo
    allow: authenticated
    identity:
      authorization: remove
      headers: {X-Tenant: claims.tenant, X-User: subject, X-Env: {value: production}}
"#;

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl Scene {
    fn new() -> Scene {
        let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
        Scene { issuer, upstream, gateway }
    }

    /// What the upstream gets of a request with these fields, with a token or without.
    #[track_caller]
    fn sent(&self, path: &str, token: Option<&str>, fields: &str) -> Request {
        let credential = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let mut client = self.gateway.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: api.example\r\n{credential}{fields}\r\n"));
        let response = client.receive();
        assert_eq!(response.status, 200, "{fields:?}: {}", response.text());
        self.upstream.last_request()
    }
}

/// How back ends merge names: lower case, letters and digits alone.
fn merged(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

/// The values of all fields that a back end may take for this one.
fn taken_for<'r>(request: &'r Request, name: &str) -> Vec<&'r str> {
    let name = merged(name);
    request.fields.0.iter().filter(|(field, _)| merged(field) == name).map(|(_, value)| value.as_str()).collect()
}

pub(crate) const SPELLINGS: &[&str] = &[
    "X-Auth-Subject",
    "x-auth-subject",
    "X-AUTH-SUBJECT",
    "x-aUtH-sUbJeCt",
    "X_Auth_Subject",
    "x_auth_subject",
    "X_AUTH_SUBJECT",
    "X-Auth_Subject",
    "X_Auth-Subject",
    "X.Auth.Subject",
    "X.Auth-Subject",
    "X-Auth.Subject",
    "XAuthSubject",
    "xauthsubject",
    "X--Auth--Subject",
    "-X-Auth-Subject",
    "X-Auth-Subject-",
    "X-Auth-Subject_",
    "_X-Auth-Subject",
    "X-Auth-Sub-Ject",
    "X!Auth!Subject",
    "X~Auth~Subject",
    "X|Auth|Subject",
    "X*Auth*Subject",
    "X+Auth+Subject",
    "X'Auth'Subject",
    "X#Auth#Subject",
    "X$Auth$Subject",
    "X%Auth%Subject",
    "X&Auth&Subject",
    "X^Auth^Subject",
    "X`Auth`Subject",
];

#[test]
fn no_spelling_of_an_identity_header_passes() {
    let scene = Scene::new();
    let token = scene.issuer.token().build();
    for spelling in SPELLINGS {
        let fields = format!("{spelling}: attacker\r\n");
        let sent = scene.sent("/closed/x", Some(&token), &fields);
        assert_eq!(taken_for(&sent, "x-auth-subject"), ["u1"], "{spelling}");
        let sent = scene.sent("/open/x", None, &fields);
        assert_eq!(taken_for(&sent, "x-auth-subject"), [""; 0], "{spelling}");
    }
    assert_eq!(find(&scene.upstream.wire(), b"attacker"), None);
}

#[test]
fn every_identity_header_of_the_file_is_reserved_on_every_route() {
    let scene = Scene::new();
    let token = scene.issuer.token().build();
    for name in [
        "X-Auth-Client",
        "X-Auth-Scopes",
        "X-Auth-Roles",
        "X-Auth-Issuer",
        "X-Auth-Assertion",
        "X-Tenant",
        "X_User",
        "x.env",
    ] {
        let fields = format!("{name}: attacker\r\n{name}: attacker\r\n");
        for (path, token) in [("/closed/x", Some(token.as_str())), ("/open/x", None), ("/named", Some(token.as_str()))]
        {
            scene.sent(path, token, &fields);
        }
    }
    for name in [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-User",
        "X_Forwarded_For",
        "Forwarded",
        "X-Real-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X_Original_Method",
    ] {
        scene.sent("/open/x", None, &format!("{name}: attacker\r\n"));
    }
    assert_eq!(find(&scene.upstream.wire(), b"attacker"), None);
}

#[test]
fn connection_cannot_take_away_what_the_gateway_says() {
    let scene = Scene::new();
    let token = scene.issuer.token().scope("a b").build();
    for fields in [
        "Connection: x-auth-subject\r\n",
        "Connection: X-Auth-Subject, authorization, host\r\n",
        "Connection: keep-alive\r\nConnection: x-auth-subject\r\n",
        "Connection: x_auth_subject, close\r\n",
        "Connection: ,,x-auth-subject,\r\nX-Auth-Subject: attacker\r\n",
        "Connection: x-drop\r\nConnection: x-drop-too\r\nX-Drop: attacker\r\nX-Drop-Too: attacker\r\n",
        "Keep-Alive: attacker\r\nProxy-Connection: attacker\r\nTE: attacker\r\n",
        "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: attacker\r\n",
    ] {
        let sent = scene.sent("/closed/x", Some(&token), fields);
        assert_eq!(taken_for(&sent, "x-auth-subject"), ["u1"], "{fields:?}");
        assert_eq!(taken_for(&sent, "authorization"), [format!("Bearer {token}")], "{fields:?}");
        assert_eq!(taken_for(&sent, "host").len(), 1, "{fields:?}");
        assert_eq!(taken_for(&sent, "upgrade"), [""; 0], "{fields:?}");
    }
    assert_eq!(find(&scene.upstream.wire(), b"attacker"), None);
}

#[test]
fn the_upstream_gets_what_was_sent_and_who_sent_it() {
    let scene = Scene::new();
    let token = scene.issuer.token().scope("read write").roles(&["editor", "owner"]).build();
    let body = "a body\r\n\r\nto the byte\0";
    let mut client = scene.gateway.client();
    client.send(format!(
        "POST /closed/a%20b?q=%2e%2e&&x HTTP/1.1\r\nHost: api.example\r\nAuthorization: bearer {token}\r\n\
         X-Request-Id: from-the-client\r\nCookie: a=1\r\nX-Own: one\r\nX-Own: two\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(client.receive().status, 200);

    let sent = scene.upstream.only_request();
    assert!(
        sent.head.starts_with(b"POST /closed/a%20b?q=%2e%2e&&x HTTP/1.1\r\n"),
        "{}",
        String::from_utf8_lossy(&sent.head)
    );
    assert_eq!(sent.body, body.as_bytes());
    let length = body.len().to_string();
    let expected = [
        ("authorization", format!("Bearer {token}")),
        ("content-length", length),
        ("cookie", "a=1".to_owned()),
        ("host", scene.upstream.address.to_string()),
        ("via", "1.1 bearward".to_owned()),
        ("x-auth-client", "c1".to_owned()),
        ("x-auth-issuer", "main".to_owned()),
        ("x-auth-roles", "editor,owner".to_owned()),
        ("x-auth-scopes", "read write".to_owned()),
        ("x-auth-subject", "u1".to_owned()),
        ("x-forwarded-for", "127.0.0.1".to_owned()),
        ("x-forwarded-host", "api.example".to_owned()),
        ("x-forwarded-proto", "http".to_owned()),
        ("x-own", "one".to_owned()),
        ("x-own", "two".to_owned()),
        ("x-request-id", "from-the-client".to_owned()),
    ];
    let mut got: Vec<(String, String)> =
        sent.fields.0.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    got.sort();
    let traceparent = got.iter().position(|(name, _)| name == "traceparent").expect("a traceparent");
    let traceparent = got.remove(traceparent).1;
    assert_eq!(traceparent.split('-').map(str::len).collect::<Vec<_>>(), [2, 32, 16, 2], "{traceparent}");
    assert_eq!(got, expected.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(scene.upstream.wire(), [sent.head, sent.body].concat());
}

#[test]
fn a_routes_own_identity_replaces_the_default() {
    let scene = Scene::new();
    let token = scene.issuer.token().claim("tenant", json!({"id": 7})).build();
    let sent = scene.sent("/named", Some(&token), "");
    assert_eq!(taken_for(&sent, "x-tenant"), [r#"{"id":7}"#]);
    assert_eq!(taken_for(&sent, "x-user"), ["u1"]);
    assert_eq!(taken_for(&sent, "x-env"), ["production"]);
    assert_eq!(taken_for(&sent, "x-auth-subject"), [""; 0]);
    assert_eq!(taken_for(&sent, "authorization"), [""; 0]);
    let without = scene.issuer.token().build();
    assert_eq!(taken_for(&scene.sent("/named", Some(&without), ""), "x-tenant"), [""; 0]);
}

#[test]
fn nothing_in_a_token_adds_a_header_or_an_element() {
    let scene = Scene::new();
    let token = scene
        .issuer
        .token()
        .sub("u1\r\nX-Auth-Roles: admin\r\n\r\nGET /smuggled HTTP/1.1\r\n\u{e9}\u{0}")
        .claim("scope", json!(["read", "two words"]))
        .roles(&["editor", "owner,admin", "a%2Cb"])
        .build();
    let sent = scene.sent("/closed/x", Some(&token), "");
    assert_eq!(taken_for(&sent, "x-auth-roles"), ["editor,owner%2Cadmin,a%252Cb"]);
    assert_eq!(
        taken_for(&sent, "x-auth-subject"),
        ["u1%0D%0AX-Auth-Roles: admin%0D%0A%0D%0AGET /smuggled HTTP/1.1%0D%0A%C3%A9%00"]
    );
    let scopes = taken_for(&sent, "x-auth-scopes");
    assert!(matches!(scopes.as_slice(), ["read two%20words"]), "{scopes:?}");
    assert_eq!(scene.upstream.requests().len(), 1);
}
