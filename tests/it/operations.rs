//! What an operator does and sees: the admin listener, the log, signals, exit codes.

use std::{path::PathBuf, sync::mpsc};

use serde_json::json;

use crate::support::{
    binary::Binary,
    eventually,
    gateway::{Gateway, configuration},
    issuer::Issuer,
    keys::Key,
    raw::{Client, exchange},
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: open, path: "/open/**", upstream: echo, allow: public}
  - name: things
    path: "/things/{id}"
    upstream: echo
    allow: [{methods: [GET], scopes: ["things:read"]}]
"#;

/// A configuration in a file of its own.
struct File {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(yaml: &str) -> File {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.yaml");
        std::fs::write(&path, yaml).unwrap();
        File { _directory: directory, path }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    yaml: String,
}

impl Scene {
    fn new() -> Scene {
        let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let yaml = configuration(&issuer, &upstream, ROUTES)
            .replace("level: error, access: false", "level: info, access: true");
        Scene { issuer, upstream, yaml }
    }
}

#[test]
fn the_admin_listener_says_how_it_is() {
    let scene = Scene::new();
    let gateway = Gateway::start(&scene.yaml.replace("level: info, access: true", "level: error, access: false"));
    assert_eq!(gateway.admin("/livez").status, 200);
    assert_eq!(gateway.admin("/readyz").status, 200);
    assert_eq!(gateway.get("/livez").status, 404, "not on a listener for clients");
    assert_eq!(gateway.admin("/things/7").status, 404);

    let good = scene.issuer.token().scope("things:read").build();
    assert_eq!(gateway.get_with("/things/7", &good).status, 200);
    assert_eq!(gateway.get_with("/things/7", &scene.issuer.token().build()).status, 403);
    assert_eq!(gateway.get("/things/7").status, 401);
    assert_eq!(gateway.get("/no-such-thing-7").status, 404);
    assert_eq!(gateway.call("PURGE", "/open/x", "").status, 200);
    eventually("requests are counted", || {
        gateway.metric(r#"bearward_requests_total{method="OTHER",route="open",status="200"}"#) == 1.0
    });

    let metrics = gateway.admin("/metrics").text();
    for name in [
        "bearward_requests_total",
        "bearward_request_duration_seconds",
        "bearward_overhead_seconds",
        "bearward_decisions_total",
        "bearward_token_cache_requests_total",
        "bearward_verifications_total",
        "bearward_jwks_fetches_total",
        "bearward_jwks_keys",
        "bearward_upstream_requests_total",
    ] {
        assert!(metrics.contains(&format!("# TYPE {name} ")), "{name} in {metrics}");
    }
    for (series, value) in [
        (r#"bearward_requests_total{method="GET",route="things",status="200"}"#, 1.0),
        (r#"bearward_requests_total{method="GET",route="things",status="401"}"#, 1.0),
        (r#"bearward_requests_total{method="GET",route="things",status="403"}"#, 1.0),
        (r#"bearward_requests_total{method="GET",route="",status="404"}"#, 2.0),
        (r#"bearward_decisions_total{issuer="main",outcome="allow",reason="ok",route="things"}"#, 1.0),
        (r#"bearward_decisions_total{issuer="main",outcome="deny",reason="scope",route="things"}"#, 1.0),
        (r#"bearward_jwks_keys{issuer="main"}"#, 1.0),
    ] {
        assert!((gateway.metric(series) - value).abs() < 0.5, "{series} in {metrics}");
    }
    for from_clients in ["no-such-thing", "PURGE", "u1", "things:read"] {
        assert!(!metrics.contains(from_clients), "{from_clients} is a label");
    }
}

#[test]
fn an_issuer_in_trouble_shows_and_takes_nobody_down() {
    use crate::support::issuer::Mood;
    let scene = Scene::new();
    let gateway = Gateway::start(&scene.yaml.replace("level: info, access: true", "level: error, access: false"));
    scene.issuer.be(Mood::Status(500));
    assert_eq!(gateway.get_with("/things/7", &scene.issuer.token().kid("new").build()).status, 503);
    let ready = gateway.admin("/readyz");
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("degraded"), "{}", ready.text());
}

#[test]
fn a_request_is_one_line_of_log() {
    let scene = Scene::new();
    let file = File::new(&scene.yaml);
    let binary = Binary::run(&file.path);
    let address = binary.address();
    let token = scene.issuer.token().scope("things:read").build();
    let response = exchange(
        address,
        "GET",
        "/things/7?page=2",
        &format!("Authorization: Bearer {token}\r\nX-Request-Id: one\r\n"),
    );
    assert_eq!(response.status, 200);
    let line = binary.line_where("of request one", |line| line["request_id"] == "one");
    for (field, value) in [
        ("method", json!("GET")),
        ("path", json!("/things/7")),
        ("route", json!("things")),
        ("status", json!(200)),
        ("bytes_out", json!(5)),
        ("upstream", json!("echo")),
        ("decision", json!("allow")),
        ("reason", json!("ok")),
        ("issuer", json!("main")),
        ("subject", json!("u1")),
        ("client", json!("c1")),
        ("client_ip", json!("127.0.0.1")),
    ] {
        let got =
            if field == "path" { json!(line[field].as_str().unwrap().split('?').next()) } else { line[field].clone() };
        assert_eq!(got, value, "{field} in {line}");
    }
    let fingerprint = line["token"].as_str().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let hex: String = digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(fingerprint, hex);

    exchange(address, "GET", "/things/7", "X-Request-Id: two\r\n");
    let line = binary.line_where("of request two", |line| line["request_id"] == "two");
    assert_eq!(
        (&line["status"], &line["decision"], &line["reason"]),
        (&json!(401), &json!("deny"), &json!("no_credential"))
    );

    exchange(address, "GET", "/open/x", "X-Request-Id: an id \"with\" quotes\r\nUser-Agent: {\"forged\": true}\r\n");
    let line = binary.line_where("of the third request", |line| line["route"] == "open");
    assert_ne!(line["request_id"], "an id \"with\" quotes", "an id of another form isn't taken over");
    assert_eq!(scene.upstream.requests().len(), 2);
}

#[test]
fn what_runs_ends_well_when_the_process_is_told_to_stop() {
    for signal in ["TERM", "INT"] {
        let scene = Scene::new();
        let file = File::new(&scene.yaml);
        let mut binary = Binary::run(&file.path);
        let address = binary.address();
        let until: mpsc::Sender<()> = scene.upstream.answer_when_told();
        let mut idle = Client::connect(address);
        let mut client = Client::connect(address);
        client.send("GET /open/slow HTTP/1.1\r\nHost: a\r\n\r\n");
        scene.upstream.wait_for(b"/open/slow");

        binary.signal(signal);
        assert!(idle.is_closed(), "idle connections are closed");
        eventually("the port is closed", || std::net::TcpStream::connect(address).is_err());
        assert!(binary.is_running());
        until.send(()).unwrap();
        let response = client.receive();
        assert_eq!((response.status, response.text().as_str()), (200, "hello"));
        assert_eq!(response.fields.get("connection"), Some("close"));
        assert_eq!(binary.wait().code(), Some(0), "{}", binary.output());
    }
}

#[test]
fn a_quiet_gateway_serves_until_it_is_told_to_stop() {
    for level in ["off", "error", "warn"] {
        let scene = Scene::new();
        // Nothing says where it listens.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let quiet = scene.yaml.replace("level: info, access: true", &format!("level: {level}, access: false"));
        let file = File::new(&quiet.replace("listen: [\"127.0.0.1:0\"]", &format!("listen: [\"127.0.0.1:{port}\"]")));
        let mut binary = Binary::spawn(&["run", "--config", file.path()]);
        let address = ([127, 0, 0, 1], port).into();
        eventually("it listens", || {
            std::net::TcpStream::connect::<std::net::SocketAddr>(address).is_ok() || !binary.is_running()
        });
        assert_eq!(exchange(address, "GET", "/open/x", "").status, 200, "{level}");
        assert!(binary.is_running(), "{level}: {}", binary.output());
        binary.signal("TERM");
        assert_eq!(binary.wait().code(), Some(0), "{level}: {}", binary.output());
    }
}

#[test]
fn a_request_that_never_ends_does_not_hold_the_process() {
    let scene = Scene::new();
    let file = File::new(&scene.yaml.replace("workers: 2", "workers: 2, drain_timeout: 1s"));
    let mut binary = Binary::run(&file.path);
    let _until = scene.upstream.answer_when_told();
    let mut client = Client::connect(binary.address());
    client.send("GET /open/slow HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.upstream.wait_for(b"/open/slow");
    binary.signal("TERM");
    assert_eq!(binary.wait().code(), Some(0));
}

#[test]
fn a_gateway_that_drains_is_not_ready() {
    let scene = Scene::new();
    let yaml = scene
        .yaml
        .replace("level: info, access: true", "level: error, access: false")
        .replace("workers: 2", "workers: 2, drain_delay: 30s");
    let gateway = Gateway::start(&yaml);
    gateway.drain();
    eventually("not ready", || gateway.admin("/readyz").status == 503);
    assert_eq!(gateway.admin("/livez").status, 200);
    assert_eq!(gateway.get("/open/x").status, 200, "still accepting for drain_delay");
}

#[test]
fn a_drained_gateway_stops() {
    let scene = Scene::new();
    let gateway = Gateway::start(&scene.yaml.replace("level: info, access: true", "level: error, access: false"));
    assert_eq!(gateway.get("/open/x").status, 200);
    gateway.drain();
    assert!(gateway.wait(), "all requests had ended");
}

#[test]
fn exit_codes_say_what_is_wrong() {
    let scene = Scene::new();
    let good = File::new(&scene.yaml);
    let unknown = File::new(&scene.yaml.replace("audiences: [api]", "audience: [api]"));
    let invalid = File::new("listen: [");
    let empty = File::new("");
    let missing = good.path.with_file_name("missing.yaml");
    let missing = missing.to_str().unwrap();
    for (arguments, code) in [
        (vec!["check", "--config", good.path()], 0),
        (vec!["check", "--config", unknown.path()], 1),
        (vec!["check", "--config", invalid.path()], 1),
        (vec!["check", "--config", empty.path()], 1),
        (vec!["run", "--config", unknown.path()], 78),
        (vec!["run", "--config", invalid.path()], 78),
        (vec!["run", "--config", empty.path()], 78),
        (vec!["run", "--config", missing], 78),
        (vec!["run", "--no-such-option"], 2),
        (vec!["no-such-command"], 2),
        (vec!["--help"], 0),
    ] {
        let output = Binary::command().args(&arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(code == 0 || !stderr.is_empty(), "{arguments:?} says nothing");
    }
}

#[test]
fn errors_say_where_and_come_all_at_once() {
    let scene = Scene::new();
    let yaml = scene.yaml.replace("audiences: [api]", "audience: [api], logout: {back_chanel: true}");
    let yaml = yaml.replace("workers: 2", "wrokers: 2");
    let file = File::new(&yaml);
    let output = Binary::command().args(["check", "--config", file.path()]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    for words in [
        "unknown key `audience`",
        "did you mean `audiences`?",
        "unknown key `wrokers`",
        "did you mean `workers`?",
        "unknown key `back_chanel`",
        "did you mean `back_channel`?",
    ] {
        assert!(stderr.contains(words), "{words} in {stderr}");
    }
    let line = yaml.lines().position(|line| line.contains("wrokers")).unwrap() + 1;
    assert!(stderr.contains(&format!("gateway.yaml:{line}:")), "{stderr}");
}
