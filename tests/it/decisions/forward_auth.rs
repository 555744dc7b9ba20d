//! What is decided, and how a no is said.

use std::net::{SocketAddr, UdpSocket};

use super::{PLACES, Scene, bearer, meant};
use crate::support::{
    binary::Binary,
    h2::{Connection, Outcome},
    raw::Client,
};

const ROUTES: &str = r#"
  - {name: api, path: "/api/**", upstream: echo, allow: [{methods: [GET], scopes: [read]}, {methods: [POST], scopes: [write]}]}
  - {name: open, path: "/open/**", upstream: echo, allow: public}
  - {name: limited, path: /limited, upstream: echo, allow: public, rate_limit: {rate: 3/h, burst: 3, per: ip}}
  - {name: tea, path: /tea, respond: {status: 418, body: tea}, allow: authenticated}
  - {name: here, path: /here, respond: {status: 200, body: here}, allow: public}
  - {name: moved, path: /moved, redirect: {to: /open, status: 307}, allow: public}
  - {name: shared, path: /shared, upstream: echo, allow: authenticated, cors: {origins: ["https://app.example"], methods: [GET]}}
"#;

#[test]
fn the_answer_is_the_decision() {
    let scene = Scene::start("", ROUTES);
    let token = scene.issuer.token().scope("read").build();
    let (good, expired) = (bearer(&token), bearer(&scene.issuer.token().exp_in(-60).build()));
    for (place, from) in PLACES.into_iter().enumerate() {
        for (method, target, fields, status) in [
            ("GET", "/api/1", good.as_str(), 200),
            ("HEAD", "/api/1", &good, 200),
            ("GET", "/api/1", "", 401),
            ("GET", "/api/1", &expired, 401),
            ("GET", "/api/1", "Authorization: Basic YTpi\r\n", 401),
            ("GET", "/api/1", "Authorization: Bearer\r\n", 400),
            ("GET", "/api/1", &format!("{good}{good}"), 400),
            ("POST", "/api/1", &good, 403),
            ("DELETE", "/api/1", &good, 405),
            ("PURGE", "/api/1", &good, 405),
            ("GET", "/nowhere", &good, 404),
            ("GET", "/open/x?y", "", 200),
            ("GET", "/tea", "", 401),
            ("GET", "/tea", &good, 418),
            ("GET", "/moved", "", 307),
            // A 2xx of the gateway's own would let the request through.
            ("GET", "/here", "", 404),
            // A preflight is for who forwards to answer: it is decided as any request.
            ("OPTIONS", "/shared", "Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n", 401),
        ] {
            let answer = scene.ask(place, method, target, fields);
            assert_eq!(meant(&answer), status, "{} {method} {target}: {}", from, answer.text());
            let is_mapped = from == "x_original" && ![200, 401, 403].contains(&status);
            assert_eq!(answer.fields.get("x-auth-status").is_some(), is_mapped, "{method} {target}");
            let is_of_the_token = [401, 403].contains(&status) || status == 400 && !fields.is_empty();
            assert_eq!(answer.fields.get("www-authenticate").is_some(), is_of_the_token, "{method} {target}");
            if status == 405 {
                assert_eq!(answer.fields.get("allow"), Some("GET, HEAD, POST"));
            }
            if status >= 400 && status != 418 && !(from == "self" && method == "HEAD") {
                assert_eq!(answer.json()["status"], status, "the document is about the request itself");
            }
        }
    }
    assert!(scene.upstream.requests().is_empty(), "nothing is forwarded");
    for (series, count) in [
        ("bearward_requests_total{method=\"POST\",route=\"api\",status=\"403\"}", 3.0),
        ("bearward_requests_total{method=\"HEAD\",route=\"api\",status=\"200\"}", 3.0),
        // As it was sent.
        ("bearward_requests_total{method=\"GET\",route=\"\",status=\"404\"}", 2.0),
        ("bearward_requests_total{method=\"GET\",route=\"\",status=\"403\"}", 1.0),
    ] {
        assert_eq!(scene.gateway.metric(series), count, "{series}");
    }
}

#[test]
fn a_page_may_read_the_refusal() {
    let scene = Scene::start("", ROUTES);
    let answer = scene.ask(0, "GET", "/shared", "Origin: https://app.example\r\n");
    assert_eq!((answer.status, answer.fields.get("access-control-allow-origin")), (401, Some("https://app.example")));
}

#[test]
fn limits_count_a_request_once() {
    let scene = Scene::start("server: {trusted_proxies: [127.0.0.1]}\n", ROUTES);
    let from = |client: &str| format!("X-Forwarded-For: 10.9.9.9, {client}\r\n");
    for (client, place, status) in [
        ("192.0.2.1", 0, 200),
        ("192.0.2.1", 1, 200),
        ("192.0.2.1", 2, 200),
        ("192.0.2.1", 0, 429),
        ("192.0.2.1", 1, 429),
        ("192.0.2.2", 1, 200),
    ] {
        let answer = scene.ask(place, "GET", "/limited", &from(client));
        assert_eq!(meant(&answer), status, "{client} at {}", PLACES[place]);
        assert_eq!(answer.fields.get("retry-after").is_some(), status == 429);
        assert!(answer.fields.get("ratelimit").is_some(), "{:?}", answer.fields);
    }
}

#[test]
fn only_the_place_that_is_configured_is_read() {
    let scene = Scene::start("", ROUTES);
    let forwarded =
        "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Uri: /open/x\r\n";
    let original = "X-Original-Method: GET\r\nX-Original-URL: http://a/open/x\r\n";
    let ask = |place: usize, fields: &str| {
        let mut client = Client::connect(scene.gateway.address_of(place));
        client.send(format!("GET /api/1 HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        meant(&client.receive())
    };
    assert_eq!([ask(0, forwarded), ask(0, original), ask(0, "")], [200, 400, 400]);
    assert_eq!([ask(1, forwarded), ask(1, original), ask(1, "")], [400, 200, 400]);
    assert_eq!([ask(2, forwarded), ask(2, "")], [401, 401]);
    // Another's description, beside one's own, is a field that nobody would take away.
    assert_eq!([ask(0, &format!("{forwarded}{original}")), ask(2, original)], [400, 400]);
    assert_eq!(ask(1, &format!("{forwarded}{original}")), 200);
    for line in forwarded.split_inclusive("\r\n") {
        assert_eq!(ask(0, &forwarded.replace(line, "")), 400, "without {line}");
        assert_eq!(ask(0, &format!("{forwarded}{line}")), 400, "{line} twice");
    }
}

#[test]
fn paths_that_would_have_to_be_changed() {
    let scene = Scene::start("", ROUTES);
    for (place, from) in PLACES.into_iter().enumerate() {
        for (target, status) in [
            ("/open/a%20b/%7Ec/%61", 200),
            ("/open/.a/..b/%2Ec", 200),
            ("/open/../api/1", 400),
            ("/open/%2e%2E/api/1", 400),
            ("/open/./x", 400),
            ("/open/x/..", 400),
            ("/open/%2e", 400),
            ("/api/../open/x", 400),
            ("/open/..;/api/1", 400),
            ("/open/%252e%252e/api/1", 400),
            ("//api/1", 400),
            ("/open/x;y", 200),
            ("/open/%2Fapi", 400),
            ("/open/%5c..%5capi", 400),
            ("/OPEN/x", 404),
        ] {
            let answer = scene.ask(place, "GET", target, "");
            assert_eq!(meant(&answer), status, "{} {target}", from);
        }
    }
}

#[test]
fn names_that_nobody_would_take_away() {
    let scene = Scene::start("identity: {headers: {X-Tenant: claims.tenant}}\n", ROUTES);
    for (place, from) in PLACES.into_iter().enumerate() {
        for (name, status) in [
            // What the answer overwrites.
            ("X-Auth-Subject", 200),
            ("X-Tenant", 200),
            ("X-Auth-Roles", 200),
            ("X-Tenants", 200),
            ("x_auth_subject", 400),
            ("X-Auth.Subject", 400),
            ("XAuthSubject", 400),
            ("X_Tenant", 400),
            ("X-Auth-Assertion", 400),
            ("X-Rewrite-URL", 400),
            ("X_Original_URL", 400),
            ("X_Forwarded_For", 400),
            ("X-Forwarded-Port", 200),
        ] {
            let answer = scene.ask(place, "GET", "/open/x", &format!("{name}: root\r\n"));
            assert_eq!(meant(&answer), status, "{} {name}", from);
            assert!(!format!("{:?}", answer.fields).contains("root"), "{name}: {:?}", answer.fields);
        }
    }
}

/// A proxy may show what its client names in `Connection`, and sends it on.
#[test]
fn rules_see_what_connection_names() {
    let routes = "  - {name: r, path: /r, upstream: echo, allow: [{when: '!(\"x-debug\" in headers)'}]}\n";
    let scene = Scene::start("", routes);
    let good = bearer(&scene.issuer.token().build());
    for (place, from) in PLACES.into_iter().enumerate() {
        assert_eq!(scene.ask(place, "GET", "/r", &good).status, 200, "{from}");
        let named = format!("{good}X-Debug: 1\r\nConnection: X-Debug\r\n");
        assert_eq!(scene.ask(place, "GET", "/r", &named).status, 403, "{from}");
    }
}

#[test]
fn over_http_2_and_with_bodies() {
    let scene = Scene::start("", ROUTES);
    let token = scene.issuer.token().scope("read").claim("padding", "x".repeat(36_000).into()).build();
    assert!(token.len() > 48_000);
    let mut connection = Connection::connect(scene.gateway.address_of(0));
    let authorization = format!("Bearer {token}");
    let description = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/check"),
        (":authority", "bearward"),
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "api.example"),
        ("x-forwarded-uri", "/api/1"),
    ];
    connection.large_request(1, &[&description[..], &[("authorization", &authorization)]].concat());
    assert!(matches!(connection.outcome(1), Outcome::Answer { status: 200, .. }));
    connection.request(3, true, &description);
    assert!(matches!(connection.outcome(3), Outcome::Answer { status: 401, .. }));

    // A check's body is nobody's: it is read as far as that keeps the connection.
    let mut client = scene.client_of(0);
    for _ in 0..2 {
        client.send(format!(
            "POST /check HTTP/1.1\r\nHost: b\r\n{}Authorization: {authorization}\r\nContent-Length: 5\r\n\r\nhello",
            "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Uri: /api/1\r\n"
        ));
        let answer = client.receive();
        assert_eq!((answer.status, answer.fields.get("connection")), (200, None));
        assert_eq!(answer.fields.get("authorization"), Some(authorization.as_str()));
    }
}

impl Scene {
    fn client_of(&self, place: usize) -> Client {
        Client::connect(self.gateway.address_of(place))
    }
}

/// An address of this machine's own that isn't loopback; what goes there doesn't leave the machine.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent by this.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test]
fn a_stranger_is_told_nothing_and_named_in_the_log() {
    // Without a network there is no other address; the decision itself is tested in src/decide/peer.rs.
    let Some(own) = own_address() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let text = |trusted: &str| {
        format!(
            "listen: [{{address: \"0.0.0.0:0\", mode: forward_auth, request_from: self}}]\n\
             admin: {{address: \"127.0.0.1:0\"}}\nserver: {{trusted_proxies: [{trusted}], workers: 1}}\nissuers: {{}}\n\
             routes: [{{name: open, path: \"/**\", allow: public}}]\n"
        )
    };
    for (trusted, status) in [("192.0.2.7", 403), ("192.0.2.7, 0.0.0.0/1, 128.0.0.0/1", 200)] {
        std::fs::write(&file, text(trusted)).unwrap();
        let gateway = Binary::run(&file);
        let mut client = Client::connect(SocketAddr::new(own, gateway.address().port()));
        client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.receive();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.fields.get("x-auth-subject").is_some(), status == 200);
        if status == 403 {
            let line = gateway.line_where("the peer's", |line| line["level"] == "WARN" || line["level"] == "warn");
            assert_eq!(line["peer"], own.to_string(), "{line}");
        }
        let mut local = Client::connect(gateway.address());
        local.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(local.receive().status, 200, "this machine may ask");
    }
}
