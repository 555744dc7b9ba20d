//! `explain` says what the gateway does: the same requests, asked of both.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    authorization_server::AuthorizationServer,
    binary::Binary,
    gateway::{Gateway, configuration, configuration_of},
    issuer::{Issuer, Mood},
    keys::Key,
    raw::Client,
    token::{Token, now},
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: open, path: /open, upstream: echo, allow: public}
  - {name: maybe, path: /maybe, upstream: echo, allow: optional}
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
  - {name: tried, path: /tried, upstream: echo, enforce: false, allow: [{scopes: [s]}]}
  - {name: tenants, path: "/t/{tenant}/**", methods: [GET], upstream: echo, allow: [{scopes: [read], claims: {tenant: "{tenant}"}}, {roles: [root]}]}
  - {name: admin, path: /t/acme/admin, upstream: echo, allow: [{methods: [GET, PUT], roles: [root]}]}
  - {name: teapot, path: /teapot, respond: {status: 418}, allow: [{scopes: [tea]}]}
"#;

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let yaml = configuration(&issuer, &upstream, ROUTES);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gateway.yaml"), &yaml).unwrap();
        Scene { gateway: Gateway::start(&yaml), issuer, upstream, folder }
    }

    fn explain(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut command = Binary::command();
        command.arg("explain").arg("--config").arg(self.folder.path().join("gateway.yaml")).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that doesn't read closes its end.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn explained(&self, method: &str, target: &str, token: &str) -> Value {
        let with_token = if token.is_empty() { &[][..] } else { &["--token-file", "-"] };
        let asked = [&["--json", "--method", method, "--url", target], with_token].concat();
        let output = self.explain(&asked, token);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(token.is_empty() || !text.contains(token), "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

#[test]
fn explanations_agree_with_the_gateway() {
    let scene = Scene::new();
    let token = || scene.issuer.token();
    let good = token().scope("read s").claim("tenant", json!("acme")).build();
    let root = token().roles(&["root"]).build();
    let bad = [
        token().exp_in(-60).build(),
        token().aud("account").build(),
        token().kid("nobody").build(),
        token().claim("iss", json!("https://evil.example")).build(),
        token().claim("nbf", json!(now() + 3600)).build(),
        token().header("typ", json!("id+jwt")).build(),
        token().signed_by(&Key::es256("k1")).build(),
        "opaque".to_owned(),
    ];
    let tokens = [String::new(), good, root].into_iter().chain(bad).collect::<Vec<_>>();
    let mut seen = Vec::new();
    for (place, token) in tokens.iter().enumerate() {
        let requests: &[(&str, &str)] = match place {
            0..3 => &[
                ("GET", "/open"),
                ("GET", "/maybe"),
                ("GET", "/closed"),
                ("GET", "/tried"),
                ("GET", "/t/acme/x"),
                ("GET", "/t/other/x"),
                ("POST", "/t/acme/x"),
                ("GET", "/t/acme/admin"),
                ("GET", "/t/acme;v=1/x"),
                ("GET", "/t/acme/;x/admin"),
                ("GET", "/t/acme%2Fx"),
                ("GET", "/teapot"),
                ("GET", "/nothing"),
            ],
            _ => &[("GET", "/maybe"), ("GET", "/t/acme/x")],
        };
        for (method, target) in requests {
            let credential =
                if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
            let answered = scene.gateway.call(method, target, &credential);
            let explained = scene.explained(method, target, token);
            assert_eq!(
                explained["status"],
                json!(answered.status),
                "{method} {target} with token {place}: {explained:#}"
            );
            if let Some(seen) = scene.upstream.requests().last().filter(|_| answered.status == 200) {
                let sent = explained["upstream_headers"].as_object().unwrap();
                for name in ["X-Auth-Subject", "X-Auth-Scopes", "X-Auth-Roles", "X-Auth-Issuer"] {
                    let expected = seen.fields.get(&name.to_ascii_lowercase());
                    assert_eq!(sent.get(name).and_then(Value::as_str), expected, "{method} {target} {name}");
                }
            }
            seen.push(answered.status);
        }
    }
    for status in [200, 400, 401, 403, 404, 405] {
        assert!(seen.contains(&status), "no request was answered with {status}");
    }
}

#[test]
fn offline_nobody_is_called() {
    let scene = Scene::new();
    let token = scene.issuer.token().build();
    let (fetches, discoveries) = (scene.issuer.fetches(), scene.issuer.discoveries());
    let output = scene.explain(&["--json", "--offline", "--exit-code", "--url", "/closed", "--token", &token], "");
    assert_eq!(output.status.code(), Some(1));
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&explained["status"], &explained["reason"]), (&json!(503), &json!("keys_unavailable")));
    let arguments = ["--json", "--exit-code", "--url", "/closed", "--issuer", "main", "--claims", r#"{"sub": "u1"}"#];
    let output = scene.explain(&arguments, "");
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &explained["decision"]), (Some(0), &json!("allow")), "{explained:#}");
    assert_eq!(explained["upstream_headers"]["X-Auth-Subject"], json!("u1"));
    assert_eq!((scene.issuer.fetches(), scene.issuer.discoveries()), (fetches, discoveries));
}

#[test]
fn an_issuer_that_fails_is_told_of() {
    let scene = Scene::new();
    let token = scene.issuer.token().build();
    scene.issuer.be(Mood::Status(500));
    let explained = scene.explained("GET", "/closed", &token);
    assert_eq!(
        (&explained["status"], &explained["reason"]),
        (&json!(503), &json!("keys_unavailable")),
        "{explained:#}"
    );
}

/// Whoever asks why, of a running gateway too, changes nothing for anybody: an unknown key is fetched apart.
#[test]
fn a_question_takes_nothing_from_live_traffic() {
    let scene = Scene::new();
    let fetched = || scene.gateway.metric("bearward_jwks_fetches_total{issuer=\"main\",result=\"ok\"}");
    let keys = || scene.gateway.metric("bearward_jwks_keys{issuer=\"main\"}");
    let before = (fetched(), keys(), scene.issuer.fetches());
    let key = Key::es256("k2");
    let token = Token::new(scene.issuer.url(), &key).build();
    scene.issuer.rotate(&key);
    let asked = json!({"url": "/closed", "token": token}).to_string();
    let explained = scene.gateway.ask_admin("/explain", &asked);
    assert_eq!((&explained["decision"], &explained["reason"]), (&json!("allow"), &json!("ok")), "{explained:#}");
    let steps = explained["token"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["result"] != "failed"), "{steps:#?}");
    assert_eq!((fetched(), keys(), scene.issuer.fetches()), (before.0, before.1, before.2 + 1));
    // The turn that an unknown key has every few seconds is still there.
    assert_eq!(scene.gateway.get_with("/closed", &token).status, 200);
    assert_eq!(fetched(), before.0 + 1.0);
}

#[test]
fn what_an_issuer_says_of_an_opaque_token_is_not_assumed() {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    server.active("t1", json!({"sub": "joe", "scope": "read"}));
    let issuers = format!(
        "  a: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s3cret, timeout: 30s}}}}\n",
        server.introspection()
    );
    let yaml = configuration_of(&issuers, &upstream.url(), ROUTES);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, yaml).unwrap();
    let explain = |more: &[&str]| {
        let mut command = Binary::command();
        command.args(["explain", "--url", "/closed", "--config"]).arg(&file).args(more);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let (told, assumed) = (explain(&["--token", "t1"]), explain(&["--issuer", "a", "--claims", r#"{"sub": "joe"}"#]));
    assert!(told.contains("token  of a, which was asked about it\n"), "{told}");
    assert!(assumed.contains("token  of a, assumed: claims without a signature\n"), "{assumed}");
    let told: Value = serde_json::from_str(&explain(&["--token", "t1", "--json"])).unwrap();
    assert_eq!((&told["token"]["presented"], &told["decision"]), (&json!("token"), &json!("allow")));
}

#[test]
fn what_came_from_files_is_in_no_explanation() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    put("key.txt", "marker-in-a-header\n");
    put("url.txt", &format!("{}/Marker-In-A-Path/\n", upstream.url()));
    put("audience.txt", "marker-in-an-audience");
    put("scope.txt", "marker-in-a-scope");
    let yaml = format!(
        r#"
listen: ["127.0.0.1:0"]
admin: {{address: "127.0.0.1:0"}}
logging: {{level: error, access: false}}
issuers:
  main: {{issuer: "{issuer}", audiences: ["${{file:audience.txt}}"], jwt: {{jwks_uri: "{jwks}"}}}}
upstreams:
  hook: {{url: "${{file:url.txt}}"}}
routes:
  - {{name: a, path: "/a/**", upstream: hook, allow: public, headers: {{request: {{set: {{x-key: "Key ${{file:key.txt}}"}}}}}}}}
  - {{name: b, path: /b, upstream: hook, allow: [{{scopes: ["${{file:scope.txt}}"]}}]}}
"#,
        issuer = issuer.url(),
        jwks = issuer.jwks_uri(),
    );
    let config = put("gateway.yaml", &yaml);
    let token = issuer.token().build();
    let run = |arguments: &[&str]| {
        let output = Binary::command().args(arguments).current_dir(folder.path()).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let binary = Binary::run(&config);
    let ask = |path: &str, body: &str| {
        let mut client = Client::connect(binary.admin());
        let (address, length) = (binary.admin(), body.len());
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ));
        client.try_receive("POST").unwrap().unwrap().text()
    };
    put(
        "a.test.yaml",
        r#"
config: gateway.yaml
tests:
  - name: the upstream has its key
    request: GET /a/x
    token: none
    expect: {upstream_headers: {x-key: "Key marker-in-a-header"}}
  - name: this fails
    request: GET /a/x
    token: none
    expect: {upstream_headers: {x-key: other}}
"#,
    );
    let tested = run(&["test", "a.test.yaml", "--junit", "junit.xml"]);
    assert!(tested.contains("1 passed, 1 failed"), "{tested}");
    let told = [
        ask("/explain", r#"{"url": "/a/x"}"#),
        ask("/explain", &json!({"url": "/b", "token": token}).to_string()),
        run(&["explain", "-c", "gateway.yaml", "--url", "/a/x"]),
        run(&["explain", "-c", "gateway.yaml", "--url", "/a/x", "--json"]),
        run(&["explain", "-c", "gateway.yaml", "--url", "/b", "--token", &token]),
        run(&["explain", "-c", "gateway.yaml", "--url", "/b", "--issuer", "main", "--claims", "{}"]),
        run(&["check", "-c", "gateway.yaml", "--describe"]),
        tested,
        std::fs::read_to_string(folder.path().join("junit.xml")).unwrap(),
    ];
    for told in &told {
        assert!(!told.to_lowercase().contains("marker-in"), "{told}");
        assert!(told.contains("***"), "{told}");
    }
}
