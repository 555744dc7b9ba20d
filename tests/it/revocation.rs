//! Tokens that end before their time: at the admin listener, and by a logout.

use std::{fs, io::Write, net::TcpStream, thread};

use serde_json::{Value, json};

use crate::support::{
    authorization_server::AuthorizationServer,
    eventually,
    gateway::{Gateway, configuration, configuration_of},
    http::Request,
    issuer::Issuer,
    keys::Key,
    raw::Response,
    token::now,
    upstream::{After, Upstream},
};

const ROUTES: &str = "
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
  - {name: logout, path: /logout, methods: [POST], upstream: echo, allow: authenticated, revokes: token}
";

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

fn scene() -> Scene {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
    Scene { issuer, upstream, gateway }
}

#[track_caller]
fn revoked(response: &Response) {
    assert_eq!(response.status, 401, "{}", response.text());
    let challenge = response.challenge().unwrap();
    assert_eq!(challenge.error(), Some("invalid_token"));
    assert_eq!(challenge.get("error_description"), Some("the token has been revoked"));
}

#[track_caller]
fn revoke(gateway: &Gateway, body: &Value) -> Value {
    let response = gateway.admin_call("POST", "/revocations", "", &body.to_string());
    assert_eq!(response.status, 201, "{}", response.text());
    let document = response.json();
    let location = format!("/revocations/{}", document["id"].as_str().unwrap());
    assert_eq!(response.fields.get("location"), Some(&*location));
    document
}

fn lift(gateway: &Gateway, document: &Value) -> u16 {
    let path = format!("/revocations/{}", document["id"].as_str().unwrap());
    gateway.admin_call("DELETE", &path, "", "").status
}

fn log_out(gateway: &Gateway, token: &str) -> Response {
    gateway.call("POST", "/logout", &format!("Authorization: Bearer {token}\r\nContent-Length: 0\r\n"))
}

#[test]
fn what_is_posted_ends_and_what_is_deleted_holds_again() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let token =
        issuer.token().claim("jti", json!("j1")).claim("client_id", json!("web")).claim("sub", json!("joe")).build();
    let other =
        issuer.token().claim("jti", json!("j2")).claim("client_id", json!("cli")).claim("sub", json!("ann")).build();
    let held = "bearward_revocations{source=\"admin\"}";
    for body in [
        json!({"jti": "j1"}),
        json!({"jti": "j1", "issuer": "main"}),
        json!({"jti": "j1", "issuer": issuer.url()}),
        json!({"subject": "joe", "issuer": "main", "client": null}),
        json!({"subject": "joe", "issued_before": now() + 1000}),
        json!({"client": "web", "expires_at": now() + 1000}),
        json!({"token": token}),
    ] {
        assert_eq!(gateway.get_with("/closed", &token).status, 200, "{body}");
        let document = revoke(&gateway, &body);
        for name in ["jti", "subject", "client", "issuer", "issued_before", "expires_at"] {
            assert_eq!(document.get(name), body.get(name).filter(|value| !value.is_null()), "{name}");
        }
        assert_eq!(gateway.admin("/revocations").json(), json!([document]));
        revoked(&gateway.get_with("/closed", &token));
        assert_eq!(gateway.get_with("/closed", &other).status, 200, "{body}");
        assert_eq!(gateway.metric(held), 1.0);
        assert_eq!((lift(&gateway, &document), lift(&gateway, &document)), (204, 404));
        assert_eq!(gateway.metric(held), 0.0);
    }
    assert_eq!(gateway.get_with("/closed", &token).status, 200);
    let denied = r#"bearward_decisions_total{issuer="main",outcome="deny",reason="revoked",route="closed"}"#;
    assert_eq!(gateway.metric(denied), 7.0);
    // Issued at that second or later.
    revoke(&gateway, &json!({"subject": "joe", "issued_before": now() - 1000}));
    assert_eq!(gateway.get_with("/closed", &token).status, 200);
}

#[test]
fn what_names_nothing_is_422() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let token = issuer.token().build();
    for (body, words) in [
        ("", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{\"jti\": \"a\"", "not a JSON object"),
        (r#"{"jti": "a", "jti": "b"}"#, "twice"),
        ("{}", "nothing is named"),
        (r#"{"jti": null}"#, "nothing is named"),
        (r#"{"issuer": "main"}"#, "nothing is named"),
        (r#"{"expires_at": 4000000000}"#, "nothing is named"),
        (r#"{"jti": ""}"#, "`jti` is empty"),
        (r#"{"subject": 5}"#, "`subject` is not a text"),
        (r#"{"jti": "a", "subject": "b"}"#, "only one of"),
        (r#"{"jti": "a", "issuer": "nobody"}"#, "no issuer is called `nobody`"),
        (r#"{"token": "two words"}"#, "not a bearer token"),
        (r#"{"jti": "a", "expires_at": 1}"#, "over already"),
        (r#"{"jti": "a", "expires_at": "soon"}"#, "not a time"),
        (r#"{"jti": "a", "issued_before": 1800000000000}"#, "not a time"),
        (r#"{"sub": "a"}"#, "`sub` is not a member"),
    ] {
        let response = gateway.admin_call("POST", "/revocations", "", body);
        assert_eq!(response.status, 422, "{body}: {}", response.text());
        let detail = response.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{body}: {detail}");
    }
    let large = json!({"jti": "a".repeat(1025)}).to_string();
    assert_eq!(gateway.admin_call("POST", "/revocations", "", &large).status, 422);
    let huge = json!({"token": "a".repeat(1 << 20)}).to_string();
    assert_eq!(gateway.admin_call("POST", "/revocations", "", &huge).status, 413);
    assert_eq!(gateway.admin("/revocations").json(), json!([]));
    assert_eq!(gateway.get_with("/closed", &token).status, 200);
    for (method, path, allow) in [
        ("PUT", "/revocations", "GET, HEAD, POST"),
        ("GET", "/revocations/x", "DELETE"),
        ("POST", "/revocations/x", "DELETE"),
    ] {
        let response = gateway.admin_call(method, path, "", "");
        assert_eq!((response.status, response.fields.get("allow")), (405, Some(allow)), "{method} {path}");
    }
    assert_eq!(gateway.admin_call("DELETE", "/revocations/x", "", "").status, 404);
    assert_eq!(gateway.admin_call("POST", "/revocations", "Origin: http://evil.example\r\n", "{}").status, 403);
}

#[test]
fn a_logout_ends_its_token_before_the_answer_is_seen() {
    let Scene { issuer, upstream, gateway } = scene();
    for (index, was_used) in [true, false].into_iter().enumerate() {
        let token = issuer.token().claim("jti", json!(index)).build();
        let other = issuer.token().claim("jti", json!("other")).build();
        if was_used {
            assert_eq!(gateway.get_with("/closed", &token).status, 200);
        }
        // No other answer ends it.
        for status in [400, 401, 302, 500] {
            upstream.answer_with(status, "", b"no");
            assert_eq!(log_out(&gateway, &token).status, status);
        }
        upstream.answer_bytes(b"");
        assert_eq!(log_out(&gateway, &token).status, 502);
        upstream.answer_with(204, "", b"");
        assert_eq!(gateway.get_with("/closed", &token).status, 204);
        assert_eq!(log_out(&gateway, &token).status, 204);
        revoked(&gateway.get_with("/closed", &token));
        revoked(&log_out(&gateway, &token));
        assert_eq!(gateway.get_with("/closed", &other).status, 204);
    }
    assert_eq!(gateway.metric("bearward_revocations{source=\"route\"}"), 2.0);
    let listed = gateway.admin("/revocations").text();
    assert!(!listed.contains("eyJ") && listed.contains("\"source\":\"route\""), "{listed}");
}

#[test]
fn a_logout_ends_an_opaque_token() {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    let issuers = format!(
        "  a: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s3cret, timeout: 30s}}}}\n",
        server.introspection()
    );
    let gateway = Gateway::start(&configuration_of(&issuers, &upstream.url(), ROUTES));
    for token in ["t1", "t2", "t3"] {
        server.active(token, json!({"sub": "joe", "jti": format!("j-{token}"), "exp": now() + 1000}));
    }
    assert_eq!(gateway.get_with("/closed", "t1").status, 200);
    for token in ["t1", "t2"] {
        assert_eq!(log_out(&gateway, token).status, 200);
        revoked(&gateway.get_with("/closed", token));
    }
    assert_eq!(gateway.get_with("/closed", "t3").status, 200);
    revoke(&gateway, &json!({"jti": "j-t3", "issuer": "a"}));
    revoked(&gateway.get_with("/closed", "t3"));
}

#[test]
fn whoever_asks_after_a_logout_was_answered_is_refused() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    for round in 0..20 {
        let token = issuer.token().claim("jti", json!(round)).build();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    assert_eq!(log_out(&gateway, &token).status / 100 % 2, 0);
                    revoked(&gateway.get_with("/closed", &token));
                });
            }
        });
    }
}

#[test]
fn a_tunnel_ends_when_its_token_is_revoked() {
    let Scene { issuer, upstream, gateway } = scene();
    upstream.answer(|_: &Request, stream: &mut TcpStream| {
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")?;
        let mut rest = Vec::new();
        std::io::Read::read_to_end(stream, &mut rest)?;
        Ok(After::Close)
    });
    let open = |name: &str| {
        let token = issuer.token().claim("jti", json!(name)).build();
        let mut client = gateway.client();
        client.send(format!(
            "GET /closed HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ));
        assert_eq!(client.receive().status, 101);
        client.receive_until(b"hello");
        client
    };
    let (mut ended, _other) = (open("j1"), open("j2"));
    revoke(&gateway, &json!({"jti": "unused"}));
    assert_eq!(upstream.open_connections(), 2);
    revoke(&gateway, &json!({"jti": "j1"}));
    assert!(ended.is_closed(), "without another byte");
    eventually("the upstream's end is closed", || upstream.open_connections() == 1);
}

#[test]
fn revocations_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let state = folder.path().join("state");
    let yaml = format!("state: {{dir: \"{}\"}}\n{}", state.display(), configuration(&issuer, &upstream, ROUTES));
    let [by_admin, by_logout, good] = ["a", "b", "c"].map(|name| issuer.token().claim("jti", json!(name)).build());
    let gateway = Gateway::start(&yaml);
    let document = revoke(&gateway, &json!({"jti": "a", "issuer": "main"}));
    assert_eq!(log_out(&gateway, &by_logout).status, 200);
    drop(gateway);
    let file = state.join("revocations.jsonl");
    let kept = fs::read_to_string(&file).unwrap();
    assert!(!kept.contains(&by_logout) && kept.lines().count() == 2, "{kept}");

    // A renamed issuer is the same.
    fs::write(&file, format!("spoiled\n{kept}")).unwrap();
    let gateway = Gateway::start(&yaml.replace("  main:", "  renamed:"));
    revoked(&gateway.get_with("/closed", &by_admin));
    revoked(&gateway.get_with("/closed", &by_logout));
    assert_eq!(gateway.get_with("/closed", &good).status, 200);
    assert_eq!(gateway.metric("bearward_revocations{source=\"admin\"}"), 1.0);
    assert_eq!(lift(&gateway, &document), 204);
    drop(gateway);
    let gateway = Gateway::start(&yaml);
    assert_eq!(gateway.get_with("/closed", &by_admin).status, 200);
    revoked(&gateway.get_with("/closed", &by_logout));
}

#[test]
fn explain_tells_of_a_revocation() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let token = issuer.token().claim("jti", json!("j1")).build();
    revoke(&gateway, &json!({"jti": "j1"}));
    let question = json!({"url": "/closed", "token": token}).to_string();
    let answer = gateway.admin_call("POST", "/explain", "", &question).json();
    assert_eq!((&answer["decision"], &answer["reason"]), (&json!("deny"), &json!("revoked")), "{answer}");
}

#[test]
fn with_an_admin_token_only_probes_go_without() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let yaml = configuration(&issuer, &upstream, ROUTES)
        .replace("admin: {address: \"127.0.0.1:0\"}", "admin: {address: \"127.0.0.1:0\", token: s3cret-admin}");
    let gateway = Gateway::start(&yaml);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(gateway.admin(path).status, 200, "{path}");
    }
    let with = |fields: &str| gateway.admin_call("GET", "/revocations", fields, "");
    assert_eq!(with("Authorization: Bearer s3cret-admin\r\n").status, 200);
    assert_eq!(with("authorization: bearer s3cret-admin\r\n").status, 200);
    for fields in [
        "",
        "Authorization: Bearer s3cret-admi\r\n",
        "Authorization: Bearer s3cret-adminn\r\n",
        "Authorization: Bearer S3cret-admin\r\n",
        "Authorization: s3cret-admin\r\n",
        "Authorization: Basic s3cret-admin\r\n",
        "Authorization: Bearer s3cret-admin\r\nAuthorization: Bearer s3cret-admin\r\n",
    ] {
        let response = with(fields);
        assert_eq!(response.status, 401, "{fields}");
        assert_eq!(response.fields.get("www-authenticate"), Some("Bearer realm=\"admin\""));
    }
    for (method, path) in [("POST", "/explain"), ("POST", "/revocations"), ("DELETE", "/revocations/x"), ("GET", "/x")]
    {
        assert_eq!(gateway.admin_call(method, path, "", "{}").status, 401, "{method} {path}");
    }
    let fields = "Authorization: Bearer s3cret-admin\r\nOrigin: http://evil.example\r\n";
    assert_eq!(with(fields).status, 403);
}
