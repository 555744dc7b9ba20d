//! Traces: the client's goes on, a new one begins, and what is recorded of a request tells what it went through, by
//! OpenTelemetry's own types.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;

use crate::support::{
    ClosedPort,
    authorization_server::AuthorizationServer,
    binary::Binary,
    collector::{Collector, Trace, decoded},
    eventually,
    gateway::{Gateway, configuration, configuration_of},
    issuer::Issuer,
    keys::Key,
    raw::{Response, exchange, find},
    token::Token,
    upstream::Upstream,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

const ROUTES: &str = "
  - {name: closed, path: \"/closed/{id}\", upstream: echo, allow: authenticated}
  - {name: scoped, path: /scoped, upstream: echo, allow: [{scopes: [admin]}]}
  - {name: open, path: \"/open/**\", upstream: echo, allow: public}
  - {name: page, path: /page, respond: {status: 200, body: hello}, allow: public}
";

struct Scene {
    collector: Collector,
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

fn scene(sample: &str) -> Scene {
    let (collector, issuer, upstream) = (Collector::start(), Issuer::start(&Key::es256("k1")), Upstream::start());
    let yaml = traced(&configuration(&issuer, &upstream, ROUTES), &collector.url(), sample);
    Scene { gateway: Gateway::start(&yaml), collector, issuer, upstream }
}

/// With one worker, so that there is one pool of connections to the upstream.
fn traced(yaml: &str, url: &str, sample: &str) -> String {
    format!("tracing: {{otlp: \"{url}\", sample: {sample}}}\n{}", yaml.replace("workers: 2", "workers: 1"))
}

impl Scene {
    /// A request with this id.
    #[track_caller]
    fn ask(&self, id: &str, target: &str, fields: &str) -> Response {
        self.gateway.call("GET", target, &format!("X-Request-Id: {id}\r\n{fields}"))
    }

    /// The same, and its spans.
    #[track_caller]
    fn trace(&self, id: &str, target: &str, fields: &str) -> Trace {
        self.ask(id, target, fields);
        self.collector.request(id)
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.issuer.token().build())
    }

    /// What the upstream was told last.
    fn sent(&self, name: &str) -> Option<String> {
        self.upstream.last_request().fields.get(name).map(str::to_owned)
    }
}

fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{SPAN}-{flags}\r\ntracestate: rojo=1\r\ntracestate: congo=2\r\n")
}

#[test]
fn a_request_is_a_span_and_its_steps_are_spans_within() {
    let scene = scene("1.0");
    let bearer = scene.bearer();
    let trace = scene.trace("first", "/closed/7?a=secret", &bearer);
    let server = &trace.server;
    assert_eq!((server.span.name.as_str(), server.parent().as_str()), ("GET /closed/{id}", ""));
    assert_eq!((server.span.flags, server.has_failed()), (0x101, false));
    server.is(&[
        ("http.request.method", "GET"),
        ("http.route", "/closed/{id}"),
        ("http.response.status_code", "200"),
        ("url.path", "/closed/7"),
        ("url.scheme", "http"),
        ("server.address", "127.0.0.1"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("bearward.route", "closed"),
        ("bearward.decision", "allow"),
        ("bearward.reason", "ok"),
        ("bearward.enforced", "true"),
        ("bearward.issuer", "main"),
        ("bearward.upstream", "echo"),
        ("bearward.attempts", "1"),
    ]);
    assert_eq!(server.get("url.query"), None);

    let verification = trace.only("verify token");
    verification.is(&[("bearward.token_cache", "miss"), ("bearward.issuer", "main"), ("bearward.result", "ok")]);
    assert_eq!((verification.span.kind(), verification.parent()), (SpanKind::Internal, server.id()));
    let connect = trace.only("connect");
    assert_eq!((connect.span.kind(), connect.parent(), connect.has_failed()), (SpanKind::Client, server.id(), false));
    let attempt = trace.only("GET");
    let endpoint = scene.upstream.address.to_string();
    attempt.is(&[
        ("bearward.upstream", "echo"),
        ("bearward.endpoint", &endpoint),
        ("bearward.attempt", "1"),
        ("server.address", "127.0.0.1"),
        ("server.port", &scene.upstream.address.port().to_string()),
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
    ]);
    assert_eq!((attempt.span.kind(), attempt.parent(), attempt.has_failed()), (SpanKind::Client, server.id(), false));
    assert_eq!(scene.sent("traceparent"), Some(format!("00-{}-{}-01", server.trace(), attempt.id())));
    for child in [verification, connect, attempt] {
        assert!(child.span.start_time_unix_nano >= server.span.start_time_unix_nano);
    }
    let resource = |key| crate::support::collector::said(&server.resource, key);
    assert_eq!(resource("service.name").as_deref(), Some("bearward"));
    assert_eq!(resource("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));

    let again = scene.trace("second", "/closed/8", &bearer);
    again.only("verify token").is(&[("bearward.token_cache", "hit"), ("bearward.issuer", "main")]);
    assert!(again.all("connect").is_empty(), "the connection was kept");
    assert_ne!(again.server.trace(), server.trace());
}

#[test]
fn the_clients_trace_goes_on() {
    let scene = scene("0");
    for (id, flags) in [("sampled", "01"), ("random", "03")] {
        let trace = scene.trace(id, "/open/x", &traceparent(flags));
        let flag = u32::from_str_radix(flags, 16).unwrap();
        assert_eq!((trace.server.trace().as_str(), trace.server.parent().as_str()), (TRACE, SPAN));
        assert_eq!(trace.server.span.flags, 0x300 | flag, "the parent is another process's");
        let attempt = trace.only("GET").id();
        assert_eq!(scene.sent("traceparent"), Some(format!("00-{TRACE}-{attempt}-{flags}")));
        let sent = scene.upstream.last_request();
        assert_eq!(sent.fields.all("tracestate").collect::<Vec<_>>(), ["rojo=1", "congo=2"]);
    }
    // Of a version to come.
    let trace = scene.trace("later", "/open/x", &format!("traceparent: cc-{TRACE}-{SPAN}-09-more\r\n"));
    assert_eq!(scene.sent("traceparent"), Some(format!("00-{TRACE}-{}-01", trace.only("GET").id())));
}

#[test]
fn what_the_client_does_not_sample_is_not_recorded() {
    let scene = scene("1.0");
    scene.ask("not", "/open/x", &traceparent("00"));
    assert_eq!(scene.sent("traceparent"), Some(format!("00-{TRACE}-{SPAN}-00")));
    assert_eq!(scene.upstream.last_request().fields.all("tracestate").count(), 2);
    scene.trace("recorded", "/open/x", "");
    assert!(Trace::of(&scene.collector.spans(), "not").is_none());
}

#[test]
fn what_is_no_trace_starts_a_new_one() {
    let scene = scene("1.0");
    let valid = format!("00-{TRACE}-{SPAN}-01");
    let cases = [
        ("version", format!("traceparent: ff-{TRACE}-{SPAN}-01\r\n")),
        ("zero", format!("traceparent: 00-{}-{SPAN}-01\r\n", "0".repeat(32))),
        ("zero-parent", format!("traceparent: 00-{TRACE}-{}-01\r\n", "0".repeat(16))),
        ("upper", format!("traceparent: {}\r\n", valid.to_uppercase())),
        ("long", format!("traceparent: {valid}-x\r\n")),
        ("two", format!("traceparent: {valid}\r\ntraceparent: {valid}\r\n")),
    ];
    for (id, fields) in cases {
        let trace = scene.trace(id, "/open/x", &format!("{fields}tracestate: rojo=1\r\n"));
        assert_ne!(trace.server.trace(), TRACE, "{id}");
        assert_eq!(trace.server.parent(), "", "{id}");
        let sent = scene.upstream.last_request();
        let expected = format!("00-{}-{}-01", trace.server.trace(), trace.only("GET").id());
        assert_eq!(sent.fields.all("traceparent").collect::<Vec<_>>(), [expected.as_str()], "{id}");
        assert_eq!(sent.fields.all("tracestate").count(), 0, "{id}");
    }
}

#[test]
fn a_connection_option_takes_no_trace_away() {
    let scene = scene("0");
    let fields = format!("{}Connection: traceparent\r\n", traceparent("00"));
    scene.ask("option", "/open/x", &fields);
    assert_eq!(scene.sent("traceparent"), Some(format!("00-{TRACE}-{SPAN}-00")));
}

#[test]
fn the_share_of_new_traces_is_recorded() {
    for (sample, least, most) in [("0", 0, 0), ("0.5", 20, 180), ("1.0", 200, 200)] {
        let scene = scene(sample);
        let mut sampled = BTreeSet::new();
        for number in 0..200 {
            scene.ask(&format!("r{number}"), "/open/x", "");
            let sent = scene.sent("traceparent").unwrap();
            match &sent[53..] {
                "01" => assert!(sampled.insert(sent[3..35].to_owned())),
                flags => assert_eq!(flags, "00"),
            }
        }
        assert!((least..=most).contains(&sampled.len()), "{sample}: {}", sampled.len());
        let recorded = || {
            let servers = scene.collector.spans().into_iter().filter(|seen| seen.span.kind() == SpanKind::Server);
            servers.map(|seen| seen.trace()).collect::<BTreeSet<_>>()
        };
        eventually("all sampled ones are there", || recorded().len() >= sampled.len());
        assert_eq!(recorded(), sampled);
    }
}

#[test]
fn without_a_collector_the_share_is_told_all_the_same() {
    for (tracing, flags) in [("", "00"), ("tracing: {sample: 1.0}\n", "01")] {
        let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let gateway = Gateway::start(&format!("{tracing}{}", configuration(&issuer, &upstream, ROUTES)));
        gateway.get("/open/x");
        assert_eq!(&upstream.last_request().fields.get("traceparent").unwrap()[53..], flags);
    }
}

#[test]
fn refusals_and_own_answers_are_recorded() {
    let scene = scene("1.0");
    let bearer = scene.bearer();
    let expired = format!("Authorization: Bearer {}\r\n", scene.issuer.token().exp_in(-600).build());
    for (id, target, fields, name, status, route, decision, reason) in [
        ("own", "/page", "", "GET /page", "200", "page", "allow", "public"),
        ("none", "/closed/1", "", "GET /closed/{id}", "401", "closed", "deny", "no_credential"),
        ("expired", "/closed/1", expired.as_str(), "GET /closed/{id}", "401", "closed", "deny", "expired"),
        ("scope", "/scoped", bearer.as_str(), "GET /scoped", "403", "scoped", "deny", "scope"),
        ("nowhere", "/nowhere", "", "GET", "404", "", "deny", "no_route"),
        ("path", "/open/%2f", "", "GET", "400", "", "deny", "path"),
        ("two", "/open/x", "Content-Length: 0\r\nContent-Length: 0\r\n", "GET", "400", "", "deny", "framing"),
    ] {
        let response = scene.ask(id, target, fields);
        assert_eq!(response.status.to_string(), status, "{id}");
        // A head that the guard refuses is replaced, and its id with it.
        let id = response
            .fields
            .get("x-request-id")
            .map_or_else(|| response_id(&response).unwrap_or_else(|| id.to_owned()), str::to_owned);
        let trace = scene.collector.request(&id);
        assert_eq!(trace.server.span.name, name, "{id}");
        trace.server.is(&[
            ("http.response.status_code", status),
            ("bearward.route", route),
            ("bearward.decision", decision),
            ("bearward.reason", reason),
        ]);
        assert!(!trace.server.has_failed(), "{id}: it isn't the server's fault");
        assert!(trace.all("GET").is_empty(), "{id}");
        if reason == "expired" {
            trace.only("verify token").is(&[("bearward.result", "expired"), ("bearward.token_cache", "miss")]);
        }
    }
    scene.gateway.call("BREW", "/open/x", "X-Request-Id: brew\r\n");
    let brew = scene.collector.request("brew");
    assert!(brew.server.span.name.starts_with("HTTP"), "{brew:?}");
    brew.server.is(&[("http.request.method", "_OTHER")]);
}

/// Of a problem document.
fn response_id(response: &Response) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(&response.body).ok()?;
    document["request_id"].as_str().map(str::to_owned)
}

#[test]
fn attempts_at_an_upstream_are_told_apart() {
    let (collector, issuer) = (Collector::start(), Issuer::start(&Key::es256("k1")));
    let (bad, good, gone) = (Upstream::start(), Upstream::start(), ClosedPort::reserve());
    bad.answer_with(503, "", b"");
    let routes = "  - {name: retried, path: /retried, upstream: several, allow: public}\n  \
                  - {name: gone, path: /gone, upstream: gone, allow: public}\n  \
                  - {name: bad, path: /bad, upstream: bad, allow: public}\n";
    let yaml = configuration(&issuer, &good, routes).replace(
        "routes:\n",
        &format!(
            "  several: {{endpoints: [\"{}\", \"{}\"], balance: round_robin, retry: {{on: [503], budget: 100%}}}}\n  \
             gone: {{url: \"http://{}\"}}\n  bad: {{url: \"{}\"}}\nroutes:\n",
            bad.url(),
            good.url(),
            gone.address,
            bad.url()
        ),
    );
    let gateway = Gateway::start(&traced(&yaml, &collector.url(), "1.0"));
    let ask = |id: &str, target: &str| gateway.call("GET", target, &format!("X-Request-Id: {id}\r\n")).status;

    // They take turns: one of two requests begins at the bad one.
    let tried: Vec<_> = ["r1", "r2"].map(|id| (ask(id, "/retried"), collector.request(id))).into();
    let (status, trace) = tried.iter().find(|(_, trace)| trace.all("GET").len() == 2).expect("one was retried");
    assert_eq!((*status, trace.server.has_failed()), (200, false));
    let attempts = trace.all("GET");
    attempts[0].is(&[("bearward.attempt", "1"), ("http.response.status_code", "503"), ("error.type", "503")]);
    attempts[1].is(&[("bearward.attempt", "2"), ("http.response.status_code", "200")]);
    assert_eq!((attempts[0].has_failed(), attempts[1].has_failed()), (true, false));
    for (upstream, attempt) in [(&bad, attempts[0]), (&good, attempts[1])] {
        attempt.is(&[("bearward.endpoint", &upstream.address.to_string())]);
        let ours = format!("00-{}-{}-01", trace.server.trace(), attempt.id());
        let requests = upstream.requests();
        assert!(requests.iter().any(|request| request.fields.get("traceparent") == Some(&ours)), "{ours}");
    }

    assert_eq!(ask("gone", "/gone"), 502);
    let trace = collector.request("gone");
    assert!(trace.server.has_failed());
    trace.server.is(&[("http.response.status_code", "502"), ("error.type", "502"), ("bearward.reason", "public")]);
    let connect = trace.all("connect");
    assert!(connect.iter().all(|connect| connect.has_failed()), "{trace:?}");
    connect[0].is(&[("bearward.attempt", "1"), ("error.type", "broken"), ("bearward.upstream", "gone")]);

    assert_eq!(ask("bad", "/bad"), 503);
    collector.request("bad").server.is(&[("error.type", "503"), ("bearward.decision", "allow")]);
}

#[test]
fn questions_to_an_issuer_are_told() {
    let (collector, server, upstream) = (Collector::start(), AuthorizationServer::start(), Upstream::start());
    let issuers = format!(
        "  asked: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s, timeout: 30s}}}}\n",
        server.introspection()
    );
    server.active("good-token", json!({"sub": "alice", "aud": "api"}));
    let yaml = configuration_of(&issuers, &upstream.url(), ROUTES);
    let gateway = Gateway::start(&traced(&yaml, &collector.url(), "1.0"));
    let trace = |id: &str, token: &str| {
        gateway.call("GET", "/closed/1", &format!("X-Request-Id: {id}\r\nAuthorization: Bearer {token}\r\n"));
        collector.request(id)
    };
    let asked = trace("asked", "good-token");
    let question = asked.only("introspect");
    question.is(&[("bearward.issuer", "asked"), ("bearward.shared", "false"), ("bearward.result", "ok")]);
    let verification = asked.only("verify token");
    assert_eq!((question.span.kind(), question.parent()), (SpanKind::Client, verification.id()));
    verification.is(&[("bearward.token_cache", "miss")]);

    let remembered = trace("remembered", "good-token");
    remembered.only("verify token").is(&[("bearward.token_cache", "hit")]);
    assert!(remembered.all("introspect").is_empty());

    trace("inactive", "other-token").only("introspect").is(&[("bearward.result", "inactive")]);
    server.answer_instead(500, "", "");
    let failed = trace("failed", "third-token");
    assert!(failed.only("introspect").has_failed() && failed.only("verify token").has_failed());
    failed.server.is(&[("bearward.reason", "introspection_unavailable"), ("error.type", "503")]);
}

#[test]
fn a_request_that_waits_for_keys_tells_so() {
    let scene = scene("1.0");
    let new = Key::es256("k2");
    scene.issuer.rotate(&new);
    let bearer = format!("Authorization: Bearer {}\r\n", scene.issuer.token().build());
    let trace = scene.trace("rotated", "/closed/1", &bearer);
    trace.server.is(&[("http.response.status_code", "200")]);
    let wait = trace.only("wait for keys");
    wait.is(&[("bearward.issuer", "main")]);
    assert_eq!((wait.parent(), wait.has_failed()), (trace.only("verify token").id(), false));
}

#[test]
fn a_client_that_goes_away_leaves_a_whole_trace() {
    let scene = scene("1.0");
    scene.upstream.answer_never();
    let mut client = scene.gateway.client();
    client.send("GET /open/wait HTTP/1.1\r\nHost: a\r\nX-Request-Id: gone\r\n\r\n");
    scene.upstream.wait_for(b"/open/wait ");
    drop(client);
    let trace = scene.collector.request("gone");
    trace.server.is(&[("error.type", "client_gone"), ("http.route", "/open/**")]);
    assert_eq!(trace.server.get("http.response.status_code"), None);
    assert_eq!(trace.only("GET").get("http.response.status_code"), None);
}

#[test]
fn no_exported_byte_is_of_a_token() {
    // Over HTTP, where the test has the bytes as they were sent.
    let (collector, issuer, upstream) = (Upstream::start(), Issuer::start(&Key::es256("k1")), Upstream::start());
    let routes = format!(
        "{ROUTES}  - {{name: elsewhere, path: /elsewhere, upstream: echo, allow: authenticated, \
         token_from: [{{query: key}}, {{cookie: session}}, {{header: X-Api-Token}}]}}\n"
    );
    let yaml = configuration(&issuer, &upstream, &routes);
    let gateway = Gateway::start(&traced(&yaml, &format!("{}/v1/traces", collector.url()), "1.0"));
    let tokens: [String; 4] = [
        issuer.token().sub("who-it-is-about").build(),
        issuer.token().exp_in(-600).build(),
        Token::new("https://elsewhere.example", &Key::es256("k1")).build(),
        format!("opaque{}", "Z".repeat(64)),
    ];
    let mut asked = 0;
    for token in &tokens {
        for (target, fields) in [
            ("/closed/1".to_owned(), format!("Authorization: Bearer {token}\r\n")),
            ("/scoped".to_owned(), format!("Authorization: Bearer {token}\r\n")),
            ("/open/1".to_owned(), format!("Authorization: Bearer {token}\r\nUser-Agent: {token}\r\n")),
            ("/closed/1".to_owned(), format!("Authorization: Bearer {token} {token}\r\n")),
            ("/closed/1".to_owned(), format!("Authorization: Basic {token}\r\n")),
            (format!("/closed/1?access_token={token}"), String::new()),
            (format!("/elsewhere?key={token}"), String::new()),
            ("/elsewhere".to_owned(), format!("Cookie: session={token}\r\n")),
            ("/elsewhere".to_owned(), format!("X-Api-Token: {token}\r\n")),
            ("/open/1".to_owned(), format!("tracestate: a={token}\r\ntraceparent: {token}\r\n")),
        ] {
            gateway.call("GET", &target, &fields);
            asked += 1;
        }
    }
    let bodies = || collector.requests().into_iter().map(|request| request.body).collect::<Vec<_>>();
    let spans = || decoded(bodies().iter().map(Vec::as_slice));
    eventually("all spans are there", || {
        spans().iter().filter(|seen| seen.span.kind() == SpanKind::Server).count() == asked
    });
    let bytes = bodies().concat();
    assert!(find(&bytes, b"/elsewhere").is_some());
    for token in &tokens {
        for part in token.as_bytes().windows(16) {
            assert!(find(&bytes, part).is_none(), "{}", String::from_utf8_lossy(part));
        }
    }
    assert!(find(&bytes, b"who-it-is-about").is_none(), "the subject");
}

#[test]
fn the_log_line_names_the_trace() {
    let (collector, issuer, upstream) = (Collector::start(), Issuer::start(&Key::es256("k1")), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    let yaml = traced(&configuration(&issuer, &upstream, ROUTES), &collector.url(), "1.0");
    std::fs::write(&path, yaml.replace("level: error, access: false", "level: info, access: true")).unwrap();
    let binary = Binary::run(&path);
    for fields in ["X-Request-Id: new\r\n".to_owned(), format!("X-Request-Id: old\r\n{}", traceparent("01"))] {
        let id = fields[14..17].to_owned();
        exchange(binary.address(), "GET", "/open/x", &fields);
        let line = binary.line_where(&id, |line| line["request_id"] == id.as_str());
        assert_eq!(line["trace_id"], collector.request(&id).server.trace());
    }
}
