//! `allow: optional` and `enforce: false`: what goes on without a yes, and as whom.

use crate::support::{
    binary::Binary,
    eventually,
    gateway::{Gateway, configuration},
    http::Request,
    issuer::Issuer,
    keys::Key,
    raw::exchange,
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: optional, path: "/optional/**", upstream: echo, allow: optional}
  - {name: tried, path: "/tried/**", methods: [GET, POST], upstream: echo, enforce: false, allow: [{scopes: [read]}], max_body_bytes: 10}
  - {name: closed, path: /tried/closed, upstream: echo, allow: authenticated}
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

    /// What the upstream gets of a request with these fields.
    #[track_caller]
    fn sent(&self, target: &str, fields: &str) -> Request {
        let response = self.gateway.call("GET", target, fields);
        assert_eq!(response.status, 200, "{fields:?}: {}", response.text());
        self.upstream.last_request()
    }

    fn counted(&self, route: &str, issuer: &str, outcome: &str, reason: &str) -> f64 {
        let labels = format!("issuer=\"{issuer}\",outcome=\"{outcome}\",reason=\"{reason}\",route=\"{route}\"");
        self.gateway.metric(&format!("bearward_decisions_total{{{labels}}}"))
    }
}

/// `Authorization` and the identity headers that arrived.
fn identity(request: &Request) -> (Option<&str>, Option<&str>) {
    (request.fields.get("authorization"), request.fields.get("x-auth-subject"))
}

#[test]
fn optional_takes_no_token_or_a_good_one() {
    let scene = Scene::new();
    let sent = scene.sent("/optional/x", "X-Auth-Subject: attacker\r\nX_Auth_Roles: attacker\r\n");
    assert_eq!(identity(&sent), (None, None));
    assert!(!sent.head.windows(8).any(|part| part == b"attacker"));
    let sent = scene.sent("/optional/x", "Authorization: Basic dTpw\r\n");
    assert_eq!(identity(&sent), (Some("Basic dTpw"), None));
    assert_eq!(scene.counted("optional", "", "allow", "public"), 2.0);

    let token = scene.issuer.token().build();
    let sent = scene.sent("/optional/x", &format!("Authorization: bearer {token}\r\n"));
    assert_eq!(identity(&sent), (Some(format!("Bearer {token}").as_str()), Some("u1")));
    assert_eq!(scene.counted("optional", "main", "allow", "ok"), 1.0);

    scene.upstream.forget();
    let expired = scene.issuer.token().exp_in(-3600).build();
    assert_eq!(scene.gateway.get_with("/optional/x", &expired).status, 401);
    assert_eq!(scene.gateway.get_with("/optional/x", "nonsense").status, 401);
    assert_eq!(scene.gateway.call("GET", "/optional/x", "Authorization: Bearer \r\n").status, 400);
    let two = format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n");
    assert_eq!(scene.gateway.call("GET", "/optional/x", &two).status, 400);
    assert_eq!(scene.upstream.bytes(), 0);
}

#[test]
fn a_dry_run_lets_on_what_it_would_refuse() {
    let scene = Scene::new();
    let forged = "X-Auth-Subject: attacker\r\n";
    assert_eq!(identity(&scene.sent("/tried/x", forged)), (None, None));
    assert_eq!(scene.counted("tried", "", "deny", "no_credential"), 1.0);

    let expired = scene.issuer.token().exp_in(-3600).build();
    let sent = scene.sent("/tried/x", &format!("{forged}Authorization: bearer {expired}\r\n"));
    assert_eq!(identity(&sent), (Some(format!("bearer {expired}").as_str()), None));
    assert_eq!(scene.counted("tried", "main", "deny", "expired"), 1.0);

    // The token is good, what it may isn't enough.
    let token = scene.issuer.token().scope("write").build();
    let sent = scene.sent("/tried/x", &format!("{forged}Authorization: bearer {token}\r\n"));
    assert_eq!(identity(&sent), (Some(format!("Bearer {token}").as_str()), Some("u1")));
    assert_eq!(scene.counted("tried", "main", "deny", "scope"), 1.0);

    let token = scene.issuer.token().scope("read").build();
    scene.sent("/tried/x", &format!("Authorization: bearer {token}\r\n"));
    assert_eq!(scene.counted("tried", "main", "allow", "ok"), 1.0);
}

#[test]
fn a_dry_run_holds_path_method_and_limits() {
    let scene = Scene::new();
    for (method, target, fields, status) in [
        ("DELETE", "/tried/x", "", 405),
        ("GET", "/tried/closed", "", 401),
        ("GET", "/tried/%2561/../closed", "", 401),
        ("GET", "/tried/a%2Fb", "", 400),
        ("GET", "/tried/x/..;/closed", "", 400),
        ("GET", "/tried/closed;x", "", 400),
        ("POST", "/tried/x", "Content-Length: 11\r\n", 413),
        ("POST", "/tried/x", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
    ] {
        assert_eq!(scene.gateway.call(method, target, fields).status, status, "{method} {target} {fields}");
    }
    assert_eq!(scene.upstream.bytes(), 0);
}

#[test]
fn the_log_tells_what_was_not_enforced() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let text = configuration(&issuer, &upstream, ROUTES).replace("access: false", "access: true, format: json");
    std::fs::write(&file, text.replace("level: error", "level: info")).unwrap();
    let binary = Binary::run(&file);
    assert_eq!(exchange(binary.address(), "GET", "/tried/one", "").status, 200);
    assert_eq!(exchange(binary.address(), "GET", "/tried/closed", "").status, 401);
    let mut lines = Vec::new();
    eventually("two requests in the log", || {
        lines = binary.lines().into_iter().filter(|line| line["path"].is_string()).collect();
        lines.len() == 2
    });
    let told = |line: &serde_json::Value| {
        format!("{} {} {} {}", line["status"], line["decision"], line["reason"], line["enforced"])
    };
    assert_eq!(told(&lines[0]), r#"200 "deny" "no_credential" false"#);
    assert_eq!(told(&lines[1]), r#"401 "deny" "no_credential" true"#);
}
