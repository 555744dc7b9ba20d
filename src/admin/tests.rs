//! The listener, asked over a socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Mutex, mpsc};

use insta::assert_snapshot;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::Instant,
};

use super::*;

#[derive(Clone, Default)]
struct Told {
    draining: bool,
    waiting_for: Vec<String>,
    degraded: Vec<String>,
    config_is_broken: bool,
}

#[derive(Default)]
struct ToldHealth(Mutex<Told>);

impl Health for ToldHealth {
    fn draining(&self) -> bool {
        self.0.lock().unwrap().draining
    }
    fn waiting_for(&self) -> Vec<String> {
        self.0.lock().unwrap().waiting_for.clone()
    }
    fn degraded(&self) -> Vec<String> {
        self.0.lock().unwrap().degraded.clone()
    }
    fn in_force(&self) -> InForce {
        let broken = self.0.lock().unwrap().config_is_broken.then(|| "gateway.yaml:1:1: no".to_owned());
        InForce { errors: broken.into_iter().collect(), ..InForce::new(Some("gateway.yaml"), "0123456789ab") }
    }
}

struct Admin {
    address: SocketAddr,
    health: Arc<ToldHealth>,
}

fn gateway() -> Arc<Gateway> {
    let text = r#"
issuers:
  a: {issuer: "https://a.example", audiences: [api], jwt: {secret: "0123456789abcdef0123456789abcdef"}}
routes:
  - {name: x, path: /x, upstream: "http://127.0.0.1:9", allow: [{scopes: [read], claims: {t: "{header.x-t}"}}]}
"#;
    let policy = crate::config::load_str(text, "gateway.yaml").unwrap().policy;
    let parts = crate::snapshot::LongLived::new(Observer::silent(), 1);
    let (snapshot, _) = crate::snapshot::Snapshot::assemble(&policy, &parts).unwrap();
    Arc::new(Gateway::new(snapshot, Observer::silent()))
}

fn about() -> About {
    About { began: std::time::Instant::now(), listeners: Vec::new(), state_dir: None }
}

fn state() -> Arc<AdminState> {
    told_by(Arc::new(ToldHealth::default()))
}

fn told_by(health: Arc<ToldHealth>) -> Arc<AdminState> {
    Arc::new(AdminState { health, observer: Observer::silent(), gateway: gateway(), about: about(), reloads: None })
}

async fn start() -> Admin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = Arc::new(ToldHealth::default());
    tokio::spawn(serve(listener, told_by(health.clone())));
    Admin { address, health }
}

impl Admin {
    /// Sends bytes and reads until the other end closes.
    async fn raw(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The answer without `Date`.
    async fn ask(&self, method: &str, path: &str, fields: &str) -> String {
        let answer = self.raw(&format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{fields}\r\n")).await;
        answer.lines().filter(|line| !line.starts_with("date: ")).map(|line| format!("{line}\n")).collect()
    }

    async fn ready(&self, told: Told) -> String {
        *self.health.0.lock().unwrap() = told;
        let answer = self.ask("GET", "/readyz", "Host: localhost\r\n").await;
        format!("{} {}", &answer[9..12], answer.lines().last().unwrap())
    }
}

#[tokio::test]
async fn liveness() {
    let admin = start().await;
    assert_snapshot!(admin.ask("GET", "/livez", "Host: localhost\r\n").await, @r"
    HTTP/1.1 200 OK
    content-type: text/plain; charset=utf-8
    content-length: 3
    cache-control: no-store
    connection: close

    ok
    ");
}

#[tokio::test]
async fn readiness() {
    let admin = start().await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let ready = Told::default();
    let degraded = Told { degraded: names(&["keycloak"]), ..Told::default() };
    let starting =
        Told { waiting_for: names(&["keycloak", "a\"b"]), degraded: names(&["keycloak"]), ..Told::default() };
    let draining = Told { draining: true, ..starting.clone() };
    assert_snapshot!(admin.ready(ready).await, @r#"200 {"status":"ready","degraded":[],"waiting_for":[],"config":{"hash":"0123456789ab","last_reload":"ok"}}"#);
    assert_snapshot!(admin.ready(degraded).await, @r#"200 {"status":"ready","degraded":["keycloak"],"waiting_for":[],"config":{"hash":"0123456789ab","last_reload":"ok"}}"#);
    assert_snapshot!(admin.ready(starting).await, @r#"503 {"status":"starting","degraded":["keycloak"],"waiting_for":["keycloak","a\"b"],"config":{"hash":"0123456789ab","last_reload":"ok"}}"#);
    assert_snapshot!(admin.ready(draining).await, @r#"503 {"status":"draining","degraded":["keycloak"],"waiting_for":["keycloak","a\"b"],"config":{"hash":"0123456789ab","last_reload":"ok"}}"#);
    let broken = Told { config_is_broken: true, ..Told::default() };
    assert_snapshot!(admin.ready(broken).await, @r#"200 {"status":"ready","degraded":[],"waiting_for":[],"config":{"hash":"0123456789ab","last_reload":"error"}}"#);
}

#[tokio::test]
async fn without_a_file_nothing_is_read_again() {
    let admin = start().await;
    let answer = admin.ask("POST", "/reload", "Host: localhost\r\nContent-Length: 0\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains("not from a file"), "{answer}");
}

#[tokio::test]
async fn metrics_in_prometheus_text() {
    let admin = start().await;
    let answer = admin.ask("GET", "/metrics", "Host: 127.0.0.1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\ncontent-type: text/plain; version=0.0.4\n"), "{answer}");
    assert!(answer.contains("\nbearward_verification_seconds_count 0\n"), "{answer}");
}

#[tokio::test]
async fn other_methods_and_paths() {
    let admin = start().await;
    assert_snapshot!(admin.ask("POST", "/livez", "Host: localhost\r\nContent-Length: 0\r\n").await, @r#"
    HTTP/1.1 405 Method Not Allowed
    content-type: application/problem+json
    content-length: 106
    cache-control: no-store
    allow: GET, HEAD
    connection: close

    {"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"the method is not allowed here"}
    "#);
    for path in
        ["/index.html", "/console", "/console/", "/livez/", "/LIVEZ", "/status/", "/routes/x", "//livez", "/%6civez"]
    {
        let answer = admin.ask("GET", path, "Host: localhost\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("application/problem+json"), "{path}: {answer}");
    }
    for method in ["PUT", "DELETE", "OPTIONS", "BREW"] {
        for path in ["/metrics", "/status", "/routes"] {
            let answer = admin.ask(method, path, "Host: localhost\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn head_has_the_fields_and_no_body() {
    let admin = start().await;
    for path in ["/livez", "/readyz", "/routes", "/nowhere"] {
        let get = admin.ask("GET", path, "Host: localhost\r\n").await;
        let head = admin.ask("HEAD", path, "Host: localhost\r\n").await;
        let (get_head, get_body) = get.split_once("\n\n").unwrap();
        assert!(!get_body.is_empty());
        assert_eq!(head.trim_end(), get_head);
    }
}

#[tokio::test]
async fn a_web_page_gets_nothing() {
    let admin = start().await;
    for fields in [
        "",
        "Host: evil.example\r\n",
        "Host: localhost\r\nOrigin: http://evil.example\r\n",
        "Host: localhost\r\nHost: localhost\r\n",
    ] {
        let answer = admin.ask("GET", "/metrics", fields).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{fields:?}: {answer}");
        assert!(!answer.contains("bearward_"), "{answer}");
    }
}

#[tokio::test]
async fn only_loopback_asks_for_a_loopback_host() {
    let rendering = Rendering::new(state());
    let place = Arc::new(Arc::<Connections>::default().take_place());
    let request = Request::builder().uri("/livez").header("host", "10.1.2.3:9901").body(()).unwrap();
    assert_eq!(answer(&request, &rendering, &place).await.status(), StatusCode::OK);
    assert!(guard::admit(&request, None, false).is_ok());
    assert_eq!(guard::admit(&request, None, true).unwrap_err().status(), StatusCode::FORBIDDEN);
}

/// No time goes by until it is dropped, whatever is waited for: paused time stands still while something blocks.
fn standstill() -> mpsc::Sender<()> {
    const AT_MOST: Duration = Duration::from_secs(120);
    let (held, dropped) = mpsc::channel();
    tokio::task::spawn_blocking(move || dropped.recv_timeout(AT_MOST));
    held
}

#[tokio::test(start_paused = true)]
async fn idle_peers_keep_no_probe_away() {
    let (admin, began, _standstill) = (start().await, Instant::now(), standstill());
    let mut idle = Vec::new();
    for number in 0..400 {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").await.unwrap();
        }
        idle.push(stream);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = admin.ask("GET", path, "Host: localhost\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // The oldest ones were closed for it; those that came last weren't.
    assert_eq!(idle[1].read(&mut [0; 1]).await.unwrap(), 0);
    let mut newest = idle.pop().unwrap();
    newest.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    newest.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody waited for an idle peer to be cut off");
}

#[tokio::test(start_paused = true)]
async fn peers_that_read_nothing_keep_no_probe_away() {
    let (admin, began, _standstill) = (start().await, Instant::now(), standstill());
    let mut unread = Vec::new();
    for _ in 0..connections::MOST + 10 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(admin.address).await.unwrap();
        let asked = "GET /console/uplot.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
        stream.write_all(asked.as_bytes()).await.unwrap();
        unread.push(stream);
    }
    let answer = admin.ask("GET", "/livez", "Host: localhost\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn slow_and_idle_peers_are_cut_off() {
    let admin = start().await;
    for begun in ["", "GET /livez HTTP/1.1\r\nHost: loc", "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn routes_are_rendered_once_for_a_configuration() {
    let state = state();
    let rendering = Rendering::new(state.clone());
    let place = Arc::new(Arc::<Connections>::default().take_place());
    let rendered = async || rendering.answer(Document::Routes, &place).await.into_body().at_hand();
    let first = rendered().await;
    assert_eq!(rendered().await.as_ptr(), first.as_ptr());
    let policy =
        crate::config::load_str("routes: [{name: other, path: /o, respond: {status: 204}, allow: public}]", "f");
    let parts = crate::snapshot::LongLived::new(Observer::silent(), 1);
    state.gateway.go_by(crate::snapshot::Snapshot::assemble(&policy.unwrap().policy, &parts).unwrap().0);
    let second = String::from_utf8(rendered().await.to_vec()).unwrap();
    assert!(second.contains("\"other\"") && !first.windows(7).any(|part| part == b"\"other\""), "{second}");
}

/// Status and body.
async fn explained(admin: &Admin, fields: &str, body: &str) -> (u16, serde_json::Value) {
    let fields = format!("Host: localhost\r\n{fields}Content-Length: {}\r\nConnection: close\r\n", body.len());
    let answer = admin.raw(&format!("POST /explain HTTP/1.1\r\n{fields}\r\n{body}")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn decisions_are_explained() {
    let admin = start().await;
    for (body, decision, status, reason) in [
        (r#"{"url": "https://api.example/x"}"#, "deny", 401, "no_credential"),
        (r#"{"method": "POST", "url": "/y", "token": null}"#, "deny", 404, "no_route"),
        (r#"{"url": "/x", "token": "opaque"}"#, "deny", 401, "malformed"),
        (r#"{"url": "/x", "claims": {"scope": "read"}, "issuer": "a"}"#, "deny", 403, "claim"),
        (
            r#"{"url": "/x", "claims": {"scope": "read", "t": "1"}, "issuer": "a", "headers": {"X-T": "1"}}"#,
            "allow",
            200,
            "ok",
        ),
        (
            r#"{"url": "/x", "claims": {"scope": "read", "t": "1"}, "issuer": "a", "headers": {"X-T": ["1", "1"]}}"#,
            "deny",
            403,
            "claim",
        ),
    ] {
        let (code, answer) = explained(&admin, "", body).await;
        assert_eq!(code, 200, "{body}: {answer}");
        let found = (&answer["decision"], &answer["status"], &answer["reason"]);
        assert_eq!(found, (&decision.into(), &status.into(), &reason.into()), "{body}");
    }
    for (body, words) in [
        ("", "not a JSON object"),
        ("[]", "not a JSON object"),
        (r#"{"url": "/x", "url": "/y"}"#, "not a JSON object"),
        ("{}", "`url` is missing"),
        (r#"{"url": 5}"#, "`url` is not a text"),
        (r#"{"url": "x"}"#, "neither an http address nor a path"),
        (r#"{"url": "/x", "tokn": "a"}"#, "`tokn` is not a member here"),
        // It may be a token in the wrong place.
        (r#"{"url": "/x", "87b567fa3de847fb3adef9492b294bb83f8cd266": "a"}"#, "this is not a member here"),
        (r#"{"url": "/x", "headers": []}"#, "`headers` is not an object"),
        (r#"{"url": "/x", "headers": {"a": 5}}"#, "not a header field"),
        (r#"{"url": "/x", "claims": {}}"#, "need an `issuer`"),
        (r#"{"url": "/x", "issuer": "a"}"#, "needs `claims`"),
        (r#"{"url": "/x", "claims": [], "issuer": "a"}"#, "`claims` is not an object"),
        (r#"{"url": "/x", "claims": {}, "issuer": "b"}"#, "no issuer is called `b`"),
        (r#"{"url": "/x", "claims": {}, "issuer": "a", "token": "t"}"#, "either `token`"),
    ] {
        let (code, answer) = explained(&admin, "", body).await;
        assert!(code == 422 && answer["detail"].as_str().unwrap().contains(words), "{body}: {code} {answer}");
    }
    // No page of another origin may ask.
    let (code, _) = explained(&admin, "Origin: https://evil.example\r\n", r#"{"url": "/x"}"#).await;
    assert_eq!(code, 403);
    let refused = admin.ask("GET", "/explain", "Host: localhost\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("allow: POST"), "{refused}");
}
