//! Every metric that operators are promised, out of a process that was given cause for each: its labels, their values, and
//! that no client chooses one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::PathBuf,
};

use serde_json::json;

use crate::support::{
    ClosedPort,
    authorization_server::AuthorizationServer,
    binary::Binary,
    certificates::Authority,
    eventually,
    gateway::metric,
    issuer::Issuer,
    keys::Key,
    raw::{Client, exchange},
    token::{Token, now},
    token_endpoint::TokenEndpoint,
    upstream::Upstream,
};

/// Name, kind, labels. The histograms' `le` is theirs by nature.
const PROMISED: [(&str, &str, &str); 36] = [
    ("bearward_requests_total", "counter", "method route status"),
    ("bearward_request_duration_seconds", "histogram", "route"),
    ("bearward_overhead_seconds", "histogram", "route"),
    ("bearward_decisions_total", "counter", "issuer outcome reason route"),
    ("bearward_token_cache_requests_total", "counter", "result"),
    ("bearward_token_cache_entries", "gauge", ""),
    ("bearward_token_cache_bytes", "gauge", ""),
    ("bearward_verifications_total", "counter", "algorithm issuer result"),
    ("bearward_verification_seconds", "histogram", ""),
    ("bearward_jwks_fetches_total", "counter", "issuer result"),
    ("bearward_jwks_age_seconds", "gauge", "issuer"),
    ("bearward_jwks_keys", "gauge", "issuer"),
    ("bearward_introspections_total", "counter", "issuer result"),
    ("bearward_introspection_seconds", "histogram", "issuer"),
    ("bearward_upstream_requests_total", "counter", "endpoint result upstream"),
    ("bearward_upstream_seconds", "histogram", "upstream"),
    ("bearward_upstream_healthy", "gauge", "endpoint upstream"),
    ("bearward_upstream_connections", "gauge", "state upstream"),
    ("bearward_rate_limited_total", "counter", "route"),
    ("bearward_revocations", "gauge", "source"),
    ("bearward_egress_tokens_total", "counter", "result upstream"),
    ("bearward_config_reloads_total", "counter", "result"),
    ("bearward_config_info", "gauge", "hash"),
    ("bearward_config_last_reload_success", "gauge", ""),
    ("bearward_connections", "gauge", "listener"),
    ("bearward_state_up", "gauge", ""),
    ("bearward_certificate_expiry_seconds", "gauge", "file"),
    ("bearward_log_lines_dropped_total", "counter", ""),
    ("bearward_build_info", "gauge", "version"),
    ("process_cpu_seconds_total", "counter", ""),
    ("process_resident_memory_bytes", "gauge", ""),
    ("process_virtual_memory_bytes", "gauge", ""),
    ("process_threads", "gauge", ""),
    ("process_open_fds", "gauge", ""),
    ("process_max_fds", "gauge", ""),
    ("process_start_time_seconds", "gauge", ""),
];

/// The reasons of the contract.
const REASONS: &str = "ok public no_credential invalid_request malformed unknown_issuer unknown_key signature algorithm \
    typ crit audience expired not_yet_valid issued_in_future too_old missing_claim revoked inactive binding scope role claim \
    token_kind acr max_age condition keys_unavailable introspection_unavailable rate_limit no_route method path framing \
    header size timeout issuer";

/// In whatever a client can choose.
const MARK: &str = "zzclientzz";

/// One line of a scrape: name, labels.
type Series = (String, BTreeMap<String, String>);

struct Scrape {
    kinds: BTreeMap<String, String>,
    series: Vec<Series>,
    text: String,
}

impl Scrape {
    fn of(admin: SocketAddr) -> Scrape {
        let text = exchange(admin, "GET", "/metrics", "").text();
        let kind = |line: &str| {
            let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
            Some((name.to_owned(), kind.to_owned()))
        };
        let series = text.lines().filter(|line| !line.starts_with('#')).map(series).collect();
        Scrape { kinds: text.lines().filter_map(kind).collect(), series, text }
    }

    /// Of the samples of a metric: one value of this label each.
    fn values(&self, name: &str, label: &str) -> BTreeSet<&str> {
        let of_it = self.series.iter().filter(|(of, _)| of == name);
        of_it.filter_map(|(_, labels)| labels.get(label).map(String::as_str)).collect()
    }
}

/// `name{label="value",…} number`
fn series(line: &str) -> Series {
    let (written, _) = line.rsplit_once(' ').unwrap();
    let Some((name, labels)) = written.split_once('{') else { return (written.to_owned(), BTreeMap::new()) };
    let labels = labels.strip_suffix("\"}").unwrap().split("\",").map(|label| {
        let (name, value) = label.split_once("=\"").unwrap();
        (name.to_owned(), value.to_owned())
    });
    (name.to_owned(), labels.collect())
}

/// A gateway with something of everything.
struct Scene {
    binary: Binary,
    address: SocketAddr,
    admin: SocketAddr,
    file: PathBuf,
    yaml: String,
    key: Key,
    issuer: Issuer,
    asked: AuthorizationServer,
    endpoint: TokenEndpoint,
    _upstream: Upstream,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let key = Key::es256("k1");
        let (issuer, asked, endpoint) = (Issuer::start(&key), AuthorizationServer::start(), TokenEndpoint::start());
        let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
        let closed = ClosedPort::reserve();
        let authority = Authority::new();
        authority.sign(2090).write(folder.path());
        fs::create_dir(folder.path().join("client")).unwrap();
        authority.sign(2060).write(&folder.path().join("client"));
        let yaml = format!(
            r#"
listen:
  - {{name: plain, address: "127.0.0.1:0"}}
  - {{name: tls, address: "127.0.0.1:0", tls: {{certificate: tls.crt, key: tls.key}}}}
admin: {{address: "127.0.0.1:0"}}
logging: {{level: info, access: false}}
server: {{workers: 2, ready_timeout: 1s, body_timeout: 1s}}
state: {{redis: "redis://127.0.0.1:1"}}
issuers:
  main: {{issuer: "{issuer}", audiences: [api]}}
  strict: {{issuer: "https://strict.example", audiences: [api], jwt: {{jwks_uri: "{issuer}/jwks", max_token_age: 1h, require_claims: [must]}}, http_timeout: 30s}}
  gone: {{issuer: "http://127.0.0.1:1", audiences: [api]}}
  asked: {{audiences: [api], introspection: {{endpoint: "{asked}", client_id: gw, client_secret: s3cret, timeout: 30s, certificate: client/tls.crt, key: client/tls.key}}}}
upstreams:
  echo: {{url: "{echo}"}}
  shut: {{url: "http://{shut}", eject: {{failures: 1, for: 1h}}, retry: {{attempts: 1}}}}
  own: {{url: "{echo}", token: {{endpoint: "{token}", grant: client_credentials, client_id: app, client_secret: s3cret}}}}
  none: {{url: "{echo}", token: {{endpoint: "http://127.0.0.1:1/", grant: client_credentials, client_id: app, client_secret: s3cret}}}}
routes:
  - {{name: open, path: "/open/**", upstream: echo, allow: public, max_body_bytes: 8}}
  - {{name: things, path: "/things/{{id}}", methods: [GET], issuers: [main, strict, gone], upstream: echo, allow: [{{scopes: [read]}}]}}
  - {{name: opaque, path: /opaque, issuers: [asked], upstream: echo, allow: authenticated}}
  - {{name: role, path: /role, issuers: [main, strict], upstream: echo, allow: [{{roles: [admin]}}]}}
  - {{name: claim, path: /claim, issuers: [main], upstream: echo, allow: [{{claims: {{tenant: t1}}}}]}}
  - {{name: kind, path: /kind, issuers: [main], upstream: echo, allow: [{{token_kind: client}}]}}
  - {{name: acr, path: /acr, issuers: [main], upstream: echo, allow: [{{acr: [gold]}}]}}
  - {{name: age, path: /age, issuers: [main], upstream: echo, allow: [{{max_age: 5m}}]}}
  - {{name: when, path: /when, issuers: [main], upstream: echo, allow: [{{when: "claims.sub == 'nobody'"}}]}}
  - {{name: issuer, path: /issuer, issuers: [main, strict], upstream: echo, allow: [{{issuers: [strict]}}]}}
  - {{name: limited, path: /limited, upstream: echo, allow: public, rate_limit: {{rate: 1/h, burst: 1, per: ip}}}}
  - {{name: out, path: /out, issuers: [main], upstream: echo, allow: authenticated, revokes: token}}
  - {{name: dry, path: /dry, issuers: [main], upstream: echo, allow: authenticated, enforce: false}}
  - {{name: shut, path: /shut, upstream: shut, allow: public}}
  - {{name: own, path: /own, upstream: own, allow: public}}
  - {{name: none, path: /none, upstream: none, allow: public}}
"#,
            issuer = issuer.url(),
            asked = asked.introspection(),
            echo = upstream.url(),
            shut = closed.address,
            token = endpoint.url(),
        );
        let file = folder.path().join("gateway.yaml");
        fs::write(&file, &yaml).unwrap();
        let binary = Binary::run(&file);
        let (address, admin) = (binary.address(), binary.admin());
        Scene { binary, address, admin, file, yaml, key, issuer, asked, endpoint, _upstream: upstream, _folder: folder }
    }

    fn token(&self) -> Token {
        self.issuer.token().scope("read").claim("jti", json!(MARK))
    }

    fn strict(&self) -> Token {
        Token::new("https://strict.example", &self.key).scope("read").claim("must", json!(true))
    }

    #[track_caller]
    fn get(&self, path: &str, token: &str, status: u16) {
        let answer = exchange(self.address, "GET", path, &format!("Authorization: Bearer {token}\r\n"));
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }

    #[track_caller]
    fn raw(&self, request: &str, status: u16) {
        let mut client = Client::connect(self.address);
        client.send(request);
        assert_eq!(client.receive().status, status, "{request}");
    }

    fn count(&self, series: &str) -> f64 {
        metric(self.admin, series)
    }

    /// A token, or a request, for each reason there is.
    fn give_every_reason(&self) {
        let (token, strict) = (self.token(), self.strict());
        self.get("/things/7", &token.build(), 200);
        self.get("/things/7", &token.build(), 200);
        self.get("/open/x", "", 200);
        self.raw("GET /things/7 HTTP/1.1\r\nHost: a\r\n\r\n", 401);
        self.raw(
            "GET /things/7 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
            400,
        );
        for (bad, status) in [
            (format!("{MARK}.{MARK}"), 401),
            (Token::new(&format!("https://{MARK}.example"), &self.key).build(), 401),
            (token.clone().kid(MARK).build(), 401),
            (token.clone().signed_by(&Key::es256("k1")).build(), 401),
            (token.clone().alg("HS256").with_hmac(b"x"), 401),
            (token.clone().alg(MARK).build(), 401),
            (token.clone().header("typ", json!(MARK)).build(), 401),
            (token.clone().header("crit", json!([MARK])).header(MARK, json!(1)).build(), 401),
            (token.clone().aud(MARK).build(), 401),
            (token.clone().exp_in(-600).build(), 401),
            (token.clone().claim("nbf", json!(now() + 600)).build(), 401),
            (token.clone().claim("iat", json!(now() + 600)).build(), 401),
            (token.clone().claim("cnf", json!({"jkt": MARK})).build(), 401),
            (strict.clone().claim("iat", json!(now() - 7200)).build(), 401),
            (strict.clone().without("must").build(), 401),
            (token.clone().scope(MARK).build(), 403),
            (Token::new("http://127.0.0.1:1", &self.key).scope("read").build(), 503),
        ] {
            self.get("/things/7", &bad, status);
        }
        let stale = token.clone().claim("auth_time", json!(now() - 3600));
        for (path, status) in [
            ("/role", 403),
            ("/claim", 403),
            ("/kind", 403),
            ("/acr", 401),
            ("/age", 401),
            ("/when", 403),
            ("/issuer", 403),
        ] {
            self.get(path, &stale.build(), status);
        }
        self.get("/dry", &token.clone().exp_in(-600).build(), 200);

        let jti = token.clone().claim("jti", json!("to-be-ended"));
        let body = r#"{"jti": "to-be-ended"}"#;
        let length = body.len();
        let mut admin = Client::connect(self.admin);
        admin.send(format!("POST /revocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"));
        assert_eq!(admin.receive().status, 201);
        self.get("/things/7", &jti.build(), 401);
        self.get("/out", &token.clone().sub("leaves").build(), 200);

        self.asked.active("good", json!({"aud": "api"}));
        self.asked.hold(true);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| self.get("/opaque", "good", 200));
            }
            eventually("both are there", || self.count("bearward_connections{listener=\"plain\"}") >= 2.0);
            self.asked.hold(false);
        });
        self.get("/opaque", MARK, 401);
        self.asked.answer_instead(500, "", "");
        self.get("/opaque", "another", 503);

        self.get("/limited", "", 200);
        self.get("/limited", "", 429);
        self.get("/nowhere", "", 404);
        self.raw("POST /things/7 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405);
        self.raw("GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 400);
        self.raw("POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
        self.raw("POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789", 413);
        self.raw("POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n1", 408);
        self.raw("GET /own HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n\r\n", 403);
    }

    /// What goes wrong and right beside decisions.
    fn give_every_other_cause(&self) {
        self.get("/own", "", 200);
        assert_eq!(self.endpoint.asked(), 1);
        self.get("/none", "", 503);
        self.get("/shut", "", 502);
        let broken = self.yaml.replace("path: /shut", "pth: /shut");
        fs::write(&self.file, broken).unwrap();
        eventually("the broken file was read", || self.count("bearward_config_reloads_total{result=\"error\"}") == 1.0);
        fs::write(&self.file, self.yaml.replace("max_body_bytes: 8", "max_body_bytes: 7")).unwrap();
        eventually("the good file was read", || self.count("bearward_config_reloads_total{result=\"ok\"}") == 1.0);
    }

    /// Whatever a client can choose, chosen to be seen.
    fn be_hostile(&self) {
        for request in [
            format!("{MARK} /open/{MARK} HTTP/1.1\r\nHost: {MARK}\r\nContent-Length: 0\r\n\r\n"),
            format!("GET /{MARK}\"\\\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n"),
            format!("GET /{MARK}?{MARK}={MARK} HTTP/1.1\r\nHost: {MARK}.example:80\r\n\r\n"),
            format!("GET /open/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: {MARK}\r\nUser-Agent: {MARK}\r\n\r\n"),
            format!("GET /open/x HTTP/1.1\r\nHost: a\r\ntraceparent: {MARK}\r\nX-Forwarded-For: {MARK}\r\n\r\n"),
            format!("GET http://{MARK}/open/x HTTP/1.1\r\nHost: {MARK}\r\n\r\n"),
            format!("{MARK}\r\n\r\n"),
        ] {
            let mut client = Client::connect(self.address);
            client.send(request);
            client.receive_head().ok();
        }
    }
}

#[test]
fn every_metric_comes_with_the_labels_and_values_that_are_promised() {
    let scene = Scene::new();
    scene.give_every_reason();
    scene.give_every_other_cause();
    scene.be_hostile();
    // The last request is over when it is counted, which is after its answer.
    eventually("all requests are counted", || {
        let scrape = Scrape::of(scene.admin);
        REASONS.split_whitespace().all(|reason| scrape.values("bearward_decisions_total", "reason").contains(reason))
            && scrape.text.contains("method=\"OTHER\"")
    });
    let scrape = Scrape::of(scene.admin);

    for (name, kind, labels) in PROMISED {
        assert_eq!(scrape.kinds.get(name).map(String::as_str), Some(kind), "{name} in {}", scrape.text);
        let sample = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        let of_it = scrape.series.iter().filter(|(of, _)| *of == sample).collect::<Vec<_>>();
        assert!(!of_it.is_empty(), "{name} has no sample");
        for (_, found) in of_it {
            let found = found.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
            assert_eq!(found, labels, "{name}");
        }
    }
    let reasons = REASONS.split_whitespace().collect::<BTreeSet<_>>();
    assert_eq!(scrape.values("bearward_decisions_total", "reason"), reasons);
    let set = |words: &'static str| words.split(' ').collect::<BTreeSet<_>>();
    for (name, label, words) in [
        ("bearward_decisions_total", "outcome", "allow deny"),
        ("bearward_token_cache_requests_total", "result", "hit miss wait"),
        ("bearward_jwks_fetches_total", "result", "error ok"),
        ("bearward_introspections_total", "result", "error ok"),
        ("bearward_upstream_requests_total", "result", "error ok"),
        ("bearward_egress_tokens_total", "result", "error ok"),
        ("bearward_config_reloads_total", "result", "error ok"),
        ("bearward_upstream_connections", "state", "active idle"),
        ("bearward_revocations", "source", "admin route"),
        ("bearward_connections", "listener", "plain tls"),
        ("bearward_jwks_age_seconds", "issuer", "main strict"),
        ("bearward_rate_limited_total", "route", "limited"),
    ] {
        assert_eq!(scrape.values(name, label), set(words), "{name} {label}");
    }
    let results = scrape.values("bearward_verifications_total", "result");
    assert!(results.contains("ok") && results.is_subset(&reasons), "{results:?}");
    let algorithms = scrape.values("bearward_verifications_total", "algorithm");
    assert!(algorithms.is_subset(&set("ES256 HS256 ")), "{algorithms:?}");
    let methods = scrape.values("bearward_requests_total", "method");
    assert!(methods.is_subset(&set("GET POST OTHER")) && methods.contains("OTHER"), "{methods:?}");
    assert!(scrape.values("bearward_decisions_total", "route").contains(""), "what no route takes");
    let files = scrape.values("bearward_certificate_expiry_seconds", "file");
    assert!(files.len() == 2 && files.iter().all(|file| file.ends_with("tls.crt")), "{files:?}");
    for (series, value) in [
        ("bearward_state_up", 0.0),
        ("bearward_rate_limited_total{route=\"limited\"}", 1.0),
        ("bearward_revocations{source=\"admin\"}", 1.0),
        ("bearward_revocations{source=\"route\"}", 1.0),
        ("bearward_jwks_keys{issuer=\"main\"}", 1.0),
        ("bearward_config_last_reload_success", 1.0),
        ("bearward_decisions_total{issuer=\"main\",outcome=\"deny\",reason=\"expired\",route=\"dry\"}", 1.0),
        ("bearward_requests_total{method=\"GET\",route=\"dry\",status=\"200\"}", 1.0),
    ] {
        assert!((scene.count(series) - value).abs() < 0.5, "{series}: {}", scene.count(series));
    }
    let unhealthy =
        scrape.text.lines().filter(|line| line.starts_with("bearward_upstream_healthy") && line.ends_with(" 0"));
    assert!(unhealthy.count() == 1 && scrape.text.contains("upstream=\"shut\"} 0"));
    assert!(scene.count(&format!("bearward_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))) > 0.5);

    let marked = scrape.text.lines().filter(|line| line.contains(MARK)).collect::<Vec<_>>();
    assert!(marked.is_empty(), "a client chose a label: {marked:?}");
    assert!(!scene.binary.output().contains("panicked"));
}
