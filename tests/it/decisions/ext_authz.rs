//! Envoy's question in the protocol's own bytes, and what it is told.

use std::net::SocketAddr;

use super::{Scene, bearer};
use crate::support::{
    modern::{Answer, Caller},
    protobuf::{Message, field, number},
    raw::exchange,
};

pub(crate) const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";
pub(crate) const CALL: &[(&str, &str)] = &[("content-type", "application/grpc")];

/// A `CheckRequest` in the making.
#[derive(Clone)]
pub(crate) struct Check {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) scheme: String,
    /// Lines; names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    /// Whether lines of one name are told apart.
    pub(crate) is_raw: bool,
    pub(crate) source: Option<&'static str>,
    pub(crate) size: i64,
    /// Further fields of the request, as bytes.
    pub(crate) more: Vec<u8>,
}

impl Check {
    /// `fields` are whole lines, each ended by CRLF.
    pub(crate) fn new(method: &str, path: &str, fields: &str) -> Check {
        let lines = fields.lines().filter_map(|line| line.split_once(": "));
        Check {
            method: method.to_owned(),
            path: path.to_owned(),
            host: "api.example".to_owned(),
            scheme: "http".to_owned(),
            fields: lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            is_raw: true,
            source: None,
            size: -1,
            more: Vec::new(),
        }
    }

    fn message(&self) -> Vec<u8> {
        let pseudo = [(":method", &self.method), (":path", &self.path), (":authority", &self.host)];
        let pseudo = pseudo.map(|(name, value)| (name.to_owned(), value.clone()));
        let fields = pseudo.iter().chain(&self.fields);
        let headers: Vec<u8> = if self.is_raw {
            let lines = fields.map(|(name, value)| field(1, [field(1, name), field(3, value)].concat()));
            field(13, lines.collect::<Vec<_>>().concat())
        } else {
            let lines = fields.map(|(name, value)| field(3, [field(1, name), field(2, value)].concat()));
            lines.collect::<Vec<_>>().concat()
        };
        let http = [
            field(1, "17"),
            field(2, &self.method),
            headers,
            field(4, &self.path),
            field(5, &self.host),
            field(6, &self.scheme),
            number(9, self.size),
            field(10, "HTTP/1.1"),
            self.more.clone(),
        ];
        let address = |address: &str| field(1, field(1, [field(2, address), number(3, 4711)].concat()));
        let source = self.source.map(|source| field(1, address(source))).unwrap_or_default();
        let request = field(4, [field(1, number(1, 1_700_000_000)), field(2, http.concat())].concat());
        field(1, [source, field(2, address("127.0.0.1")), request].concat())
    }
}

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// A `CheckResponse`, read.
#[derive(Debug)]
pub(crate) struct Told {
    /// Of google.rpc.Code.
    pub(crate) code: u64,
    /// To the client; None: the request goes on.
    pub(crate) denied: Option<u64>,
    pub(crate) body: String,
    /// On the way on, or back to the client where it is denied: name, value, how it is written.
    pub(crate) set: Vec<(String, String, u64)>,
    pub(crate) removed: Vec<String>,
    /// On the answer to a request that goes on.
    pub(crate) on_answer: Vec<(String, String, u64)>,
    pub(crate) query_removed: Vec<String>,
}

impl Told {
    #[track_caller]
    pub(crate) fn read(answer: &Answer) -> Told {
        assert_eq!(
            (answer.head.status.as_u16(), &answer.head.headers["content-type"]),
            (200, &"application/grpc".parse().unwrap())
        );
        assert_eq!(answer.trailers.get("grpc-status").map(|code| code.to_str().unwrap()), Some("0"));
        assert_eq!(answer.body[0], 0);
        assert_eq!(answer.body[1..5], u32::try_from(answer.body.len() - 5).unwrap().to_be_bytes());
        let message = Message::parse(&answer.body[5..]);
        let changes = |message: &Message, number: u64| {
            let changes = message.messages(number).into_iter();
            changes.map(|change| (change.message(1).text(1), change.message(1).text(2), change.number(3))).collect()
        };
        let (denied, ok) = (message.message(2), message.message(3));
        assert_ne!(message.has(2), message.has(3), "either yes or no: {message:?}");
        let code = message.message(1).number(1);
        assert_eq!(code == 0, message.has(3), "{message:?}");
        Told {
            code,
            denied: message.has(2).then(|| denied.message(1).number(1)),
            body: denied.text(3),
            set: if message.has(2) { changes(&denied, 2) } else { changes(&ok, 2) },
            removed: ok.texts(5),
            on_answer: changes(&ok, 6),
            query_removed: ok.texts(8),
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.set.iter().find(|(field, ..)| field == name).map(|(_, value, _)| value.as_str())
    }

    /// What an upstream gets of a client's fields.
    pub(crate) fn applied(&self, fields: &[(String, String)]) -> Vec<(String, String)> {
        let mut fields = fields.to_vec();
        for (name, value, action) in &self.set {
            if *action == 2 {
                fields.retain(|(other, _)| other != name);
            }
            fields.push((name.clone(), value.clone()));
        }
        fields.retain(|(name, _)| !self.removed.contains(name));
        fields
    }
}

/// Asks at this listener.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, check: &Check) -> Told {
    Told::read(&Caller::connect(address).call(CALL, METHOD, framed(&check.message())))
}

impl Scene {
    #[track_caller]
    pub(super) fn envoy(&self, check: &Check) -> Told {
        ask(self.gateway.address_of(4), check)
    }
}

const ROUTES: &str = r#"
  - {name: api, path: "/api/**", upstream: echo, allow: [{methods: [GET], scopes: [read]}, {methods: [POST], scopes: [write]}]}
  - {name: plain, path: /plain, upstream: echo, allow: authenticated, identity: {authorization: remove, headers: {X-Tenant: claims.tenant}}}
  - {name: open, path: "/open/**", upstream: echo, allow: public, max_body_bytes: 1KiB, headers: {request: {set: {X-Plan: pro}, remove: [X-Debug]}, response: {set: {X-Frame-Options: DENY}}}}
  - {name: limited, path: /limited, upstream: echo, allow: public, rate_limit: {rate: 2/h, burst: 2, per: ip}}
  - {name: query, path: /query, upstream: echo, allow: authenticated, token_from: {query: t}}
  - {name: here, path: /here, respond: {status: 200, body: here, headers: {X-Here: yes}}, allow: public}
  - {name: moved, path: /moved, redirect: {to: /open, status: 307}, allow: public}
  - {name: shared, path: /shared, upstream: echo, allow: authenticated, cors: {origins: ["https://app.example"], methods: [GET]}}
"#;

#[test]
fn a_yes_says_what_to_change() {
    let scene = Scene::start("", ROUTES);
    let token = scene.issuer.token().scope("read").build();
    let spoofed = "X-Auth-Subject: root\r\nX-Auth-Roles: admin\r\nx_auth_roles: admin\r\nX.Auth.Client: root\r\n\
                   X-Original-URL: /admin\r\nX_Forwarded_For: 1.1.1.1\r\nX-Forwarded-User: root\r\nX-Forwarded-For: 1.1.1.1\r\nX-Request-Id: r-1\r\n";
    for is_raw in [true, false] {
        let check = Check { is_raw, ..Check::new("GET", "/api/1?x", &format!("{spoofed}{}", bearer(&token))) };
        let mut told = scene.envoy(&check);
        let overwritten = |name: &str, value: &str| (name.to_owned(), value.to_owned(), 2);
        told.set.sort();
        let expected = [
            ("x-auth-client", "c1"),
            ("x-auth-issuer", "main"),
            ("x-auth-scopes", "read"),
            ("x-auth-subject", "u1"),
            ("x-request-id", "r-1"),
        ];
        assert_eq!(told.set, expected.map(|(name, value)| overwritten(name, value)));
        told.removed.sort();
        assert_eq!(
            told.removed,
            [
                "x-auth-roles",
                "x-forwarded-user",
                "x-original-url",
                "x-tenant",
                "x.auth.client",
                "x_auth_roles",
                "x_forwarded_for"
            ]
        );
        let arrives = told.applied(&check.fields);
        assert!(!arrives.iter().any(|(_, value)| ["root", "admin"].contains(&value.as_str())), "{arrives:?}");
    }
    assert_eq!(scene.gateway.metric("bearward_requests_total{method=\"GET\",route=\"api\",status=\"200\"}"), 2.0);
    // A proxy before Envoy that is trusted says where a request came from.
    let scene = Scene::start("server: {trusted_proxies: [10.0.0.0/8]}\n", ROUTES);
    let from = |source| Check { source: Some(source), ..Check::new("GET", "/open/x", "X-Forwarded-Host: a\r\n") };
    let is_removed = |source| scene.envoy(&from(source)).removed.contains(&"x-forwarded-host".to_owned());
    assert_eq!([is_removed("10.1.1.1"), is_removed("192.0.2.1")], [false, true]);
}

/// Envoy shows lines of one name joined by a comma, and octets that aren't UTF-8 as `!`: what it shows needn't be what it has.
#[test]
fn what_equals_what_is_shown_is_set_all_the_same() {
    let scene = Scene::start("", ROUTES);
    for (subject, shown) in
        [("root,ou=guests", "X-Auth-Subject: root,ou=guests\r\n"), ("bob!", "X-Auth-Subject: bob!\r\n")]
    {
        let token = scene.issuer.token().claim("sub", subject.into()).build();
        let told = scene.envoy(&Check::new("GET", "/shared", &format!("{shown}{}", bearer(&token))));
        assert_eq!(told.field("x-auth-subject"), Some(subject));
    }
    let aliases = "X_Plan: free\r\nX.Plan: free\r\nX_Debug: 1\r\n";
    let told = scene.envoy(&Check::new("GET", "/open/x", aliases));
    assert_eq!(told.field("x-plan"), Some("pro"));
    for alias in ["x_plan", "x.plan", "x_debug", "x-debug"] {
        assert!(told.removed.iter().any(|removed| removed == alias), "{alias}: {told:?}");
    }
}

#[test]
fn what_else_a_yes_says() {
    let scene = Scene::start("", ROUTES);
    let token = scene.issuer.token().scope("read").build();
    let told = scene.envoy(&Check::new("GET", "/plain", &bearer(&scene.issuer.token().build())));
    assert!(
        ["authorization", "x-auth-subject", "x-tenant"].iter().all(|name| told.removed.contains(&(*name).to_owned()))
    );
    assert!(told.field("x-request-id").is_some_and(|id| id.len() == 32), "{told:?}");

    let told = scene.envoy(&Check::new("GET", "/open/x", "X-Debug: 1\r\nAuthorization: Basic YTpi\r\n"));
    assert_eq!((told.field("x-plan"), told.field("authorization")), (Some("pro"), None));
    assert!(told.removed.contains(&"x-debug".to_owned()) && !told.removed.contains(&"authorization".to_owned()));
    assert_eq!(told.on_answer, [("x-frame-options".to_owned(), "DENY".to_owned(), 2)]);

    let told = scene.envoy(&Check::new("GET", &format!("/query?a=b&t={token}"), ""));
    assert_eq!(told.field("authorization"), Some(&*format!("Bearer {token}")));
    assert_eq!(told.query_removed, ["t"]);
    assert_eq!(told.on_answer, [("cache-control".to_owned(), "private".to_owned(), 0)]);
    assert!(scene.upstream.requests().is_empty(), "nothing is forwarded");
}

#[test]
fn a_no_is_the_answer_for_the_client() {
    let scene = Scene::start("", ROUTES);
    let good = bearer(&scene.issuer.token().scope("read").build());
    let preflight = "Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n";
    for (method, path, fields, status, code) in [
        ("GET", "/api/1", "", 401, 16),
        ("HEAD", "/api/1", "", 401, 16),
        ("POST", "/api/1", good.as_str(), 403, 7),
        ("DELETE", "/api/1", &good, 405, 7),
        ("GET", "/nowhere", &good, 404, 7),
        ("GET", "/api/1", &format!("{good}{good}"), 400, 7),
        ("GET", "/api/1", "Authorization: Bearer\r\n", 400, 7),
        ("GET", "/open/../api/1", "", 400, 7),
        ("GET", "/open/%2e%2e/api/1", "", 400, 7),
        ("GET", "//api/1", "", 400, 7),
        ("TRACE", "/open/x", "", 405, 7),
        ("CONNECT", "/open/x", "", 400, 7),
        ("GET", "/here", "", 200, 7),
        ("GET", "/moved", "", 307, 7),
        ("OPTIONS", "/shared", preflight, 204, 7),
    ] {
        let told = scene.envoy(&Check::new(method, path, fields));
        assert_eq!((told.denied, told.code), (Some(status), code), "{method} {path}: {told:?}");
        let challenged = told.field("www-authenticate").is_some();
        assert_eq!(challenged, [401, 403].contains(&status) || status == 400 && !fields.is_empty(), "{method} {path}");
        match (status, method) {
            (_, "HEAD") | (204 | 307, _) => assert_eq!(told.body, ""),
            (200, _) => assert_eq!((told.body.as_str(), told.field("x-here")), ("here", Some("yes"))),
            _ => {
                let problem: serde_json::Value = serde_json::from_str(&told.body).unwrap();
                assert_eq!(problem["status"], status);
                assert_eq!(told.field("content-type"), Some("application/problem+json"));
                assert_eq!(told.field("cache-control"), Some("no-store"));
            }
        }
        for ours in ["content-length", "connection"] {
            assert_eq!(told.field(ours), None);
        }
        if status == 307 {
            assert_eq!(told.field("location"), Some("/open"));
        }
        if status == 204 {
            assert_eq!(told.field("access-control-allow-origin"), Some("https://app.example"));
        }
    }
    let series = "bearward_requests_total{method=\"POST\",route=\"api\",status=\"403\"}";
    assert_eq!(scene.gateway.metric(series), 1.0, "the status is the client's");
}

#[test]
fn what_is_known_besides() {
    let scene = Scene::start("server: {trusted_proxies: [10.0.0.0/8]}\n", ROUTES);
    let from = |source, forwarded: &str| Check {
        source: Some(source),
        ..Check::new("GET", "/limited", &format!("X-Forwarded-For: {forwarded}\r\n"))
    };
    for (source, forwarded, denied) in [
        ("192.0.2.1", "192.0.2.9", None),
        ("192.0.2.1", "192.0.2.8", None),
        ("192.0.2.1", "192.0.2.7", Some(429)),
        // A proxy before Envoy, which is trusted to tell.
        ("10.1.1.1", "192.0.2.1", Some(429)),
        ("10.1.1.1", "192.0.2.5", None),
        ("10.1.1.1", "192.0.2.1, 192.0.2.5", None),
        ("10.1.1.1", "192.0.2.5", Some(429)),
    ] {
        let told = scene.envoy(&from(source, forwarded));
        assert_eq!(told.denied, denied, "{source} {forwarded}");
        let fields = if denied.is_some() { &told.set } else { &told.on_answer };
        assert!(fields.iter().any(|(name, ..)| name == "ratelimit"), "{told:?}");
        assert_eq!(told.field("retry-after").is_some(), denied.is_some());
    }
    for (size, denied) in [(-1, None), (0, None), (1024, None), (1025, Some(413))] {
        let told = scene.envoy(&Check { size, ..Check::new("POST", "/open/x", "") });
        assert_eq!(told.denied, denied, "{size}");
    }
}

#[test]
fn what_describes_no_request_is_denied() {
    let scene = Scene::start("", ROUTES);
    let open = || Check::new("GET", "/open/x", "");
    let line = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let many = (0..101).map(|number| (format!("x-{number}"), String::new())).collect();
    for (what, check, status) in [
        ("no method", Check { method: String::new(), ..open() }, 400),
        ("two words of a method", Check { method: "GET /".to_owned(), ..open() }, 400),
        ("no path", Check { path: String::new(), ..open() }, 400),
        ("no slash", Check { path: "open/x".to_owned(), ..open() }, 400),
        ("a whole address", Check { path: "http://a/open/x".to_owned(), ..open() }, 400),
        ("a space", Check { path: "/open/x y".to_owned(), ..open() }, 400),
        ("no ASCII", Check { path: "/open/\u{e9}".to_owned(), ..open() }, 400),
        ("a fragment in the path", Check { path: "/open/x#y".to_owned(), ..open() }, 400),
        ("no host", Check { host: String::new(), ..open() }, 400),
        ("two hosts", Check { host: "a,b".to_owned(), ..open() }, 400),
        ("no scheme", Check { scheme: String::new(), ..open() }, 400),
        ("another scheme", Check { scheme: "ftp".to_owned(), ..open() }, 400),
        ("a query of its own", Check { more: field(7, "a"), ..open() }, 400),
        ("a fragment of its own", Check { more: field(8, "a"), ..open() }, 400),
        ("a line end in a value", Check { fields: line("x", "a\r\nb: c"), ..open() }, 400),
        ("no name", Check { fields: line("", "a"), ..open() }, 400),
        ("a space in a name", Check { fields: line("a b", "a"), ..open() }, 400),
        ("too many fields", Check { fields: many, ..open() }, 431),
    ] {
        for is_raw in [true, false] {
            let told = scene.envoy(&Check { is_raw, ..check.clone() });
            assert_eq!((told.denied, told.code), (Some(status), 7), "{what}");
        }
    }
    assert_eq!(scene.envoy(&open()).denied, None);
    for message in [vec![], field(1, ""), field(1, field(4, "")), field(1, field(4, field(2, "")))] {
        let answer = Caller::connect(scene.gateway.address_of(4)).call(CALL, METHOD, framed(&message));
        assert_eq!(Told::read(&answer).denied, Some(400), "{message:?}");
    }
}

#[test]
fn what_is_no_call_of_the_method() {
    let scene = Scene::start("server: {body_timeout: 30s, max_header_bytes: 16KiB}\n", ROUTES);
    let address = scene.gateway.address_of(4);
    let good = framed(&Check::new("GET", "/open/x", "").message());
    let caller = Caller::connect(address);
    let encoded = [CALL, &[("grpc-encoding", "gzip")]].concat();
    let too_long = framed(&field(1, field(1, "x".repeat((1 << 20) + (32 << 10)))));
    for (what, fields, method, body, code) in [
        ("another method", CALL, "/envoy.service.auth.v3.Authorization/Look", good.clone(), "12"),
        ("another service", CALL, "/grpc.health.v1.Health/Check", good.clone(), "12"),
        ("the service before it", CALL, "/envoy.service.auth.v2.Authorization/Check", good.clone(), "12"),
        ("nothing", CALL, METHOD, vec![], "3"),
        ("half a message", CALL, METHOD, good[..good.len() - 1].to_vec(), "3"),
        ("two messages", CALL, METHOD, [&good[..], &good].concat(), "3"),
        ("a compressed one", CALL, METHOD, [&[1], &good[1..]].concat(), "3"),
        ("one that says so", &encoded, METHOD, good.clone(), "3"),
        ("another type", CALL, METHOD, framed(b"\x0a\xff\xff"), "3"),
        ("a wrong wire type", CALL, METHOD, framed(&number(1, 7)), "3"),
        ("too long", CALL, METHOD, too_long, "8"),
    ] {
        let answer = caller.call(fields, method, body);
        let said = answer.head.headers.get("grpc-status").map(|code| code.to_str().unwrap());
        assert_eq!((answer.head.status.as_u16(), said), (200, Some(code)), "{what}: {answer:?}");
        assert!(answer.body.is_empty() && answer.head.headers.contains_key("grpc-message"), "{what}");
    }
    assert_eq!(Told::read(&caller.call(CALL, METHOD, good.clone())).denied, None, "the connection goes on");

    for content in ["application/json", "application/grpc-web", ""] {
        assert_eq!(caller.call(&[("content-type", content)], METHOD, good.clone()).head.status, 415, "{content}");
    }
    let fields = "Content-Type: application/grpc\r\n";
    for (method, target) in [("POST", METHOD), ("GET", METHOD), ("GET", "/open/x")] {
        let answer = exchange(address, method, target, fields);
        assert_eq!((answer.status, answer.json()["status"].as_u64()), (415, Some(415)), "{method} {target}");
    }
    assert!(scene.upstream.requests().is_empty());
}
