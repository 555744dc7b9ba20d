//! What a route does with the requests that it lets in.

use crate::support::{
    gateway::{Gateway, configuration, configuration_of},
    issuer::Issuer,
    keys::Key,
    upstream::Upstream,
};

/// A gateway with public routes to an upstream of this base path.
fn public(upstream: &Upstream, base: &str, routes: &str) -> Gateway {
    Gateway::start(&configuration_of("  {}\n", &format!("{}{base}", upstream.url()), routes))
}

#[test]
fn the_path_that_goes_upstream_can_be_another() {
    let upstream = Upstream::start();
    let gateway = public(
        &upstream,
        "/base",
        r#"
  - {name: strip, path: "/rest/**", upstream: echo, allow: public, strip_prefix: /rest}
  - {name: write, paths: ["/old/{id}", "/older/{kind}/{id}/**"], upstream: echo, allow: public, rewrite: "/v2/{id}"}
"#,
    );
    for (path, sent) in [
        ("/rest", "/base/"),
        ("/rest/a/b/?c=/rest/d", "/base/a/b/?c=/rest/d"),
        ("/%72est/a%2bb", "/base/a%2Bb"),
        ("/x/../rest/y", "/base/y"),
        ("/rest/a;v=1", "/base/a;v=1"),
        ("/old/7", "/base/v2/7"),
        ("/old/a%2520b?q", "/base/v2/a%2520b?q"),
        ("/older/x/%C3%A9/rest", "/base/v2/%C3%A9"),
    ] {
        assert_eq!(gateway.get(path).status, 200, "{path}");
        assert_eq!(upstream.last_request().target, sent, "{path}");
    }
    upstream.forget();
    for path in
        ["/rest//evil.example", "/rest/..;/rest/secret", "/rest/%252e%252e/rest/secret", "/old/..", "/old/.%2e;"]
    {
        let status = gateway.get(path).status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn headers_are_set_and_removed_on_the_way_there_and_back() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let routes = r#"
  - name: changed
    path: /changed/**
    upstream: echo
    allow: authenticated
    headers:
      request: {set: {X-Env: prod}, remove: [X-Debug, Cookie]}
      response: {set: {Strict-Transport-Security: max-age=1, Cache-Control: public}, remove: [Server]}
"#;
    let gateway = Gateway::start(&configuration(&issuer, &upstream, routes));
    upstream.answer_with(200, "Server: secret/1.0\r\nCache-Control: no-cache\r\nX-Kept: 1\r\n", b"hello");
    let fields = format!(
        "Authorization: Bearer {}\r\nx_env: evil\r\nX-ENV: evil\r\nX-Debug: 1\r\nX_Debug: 1\r\nCookie: a=b\r\nX-Kept: 1\r\n",
        issuer.token().build()
    );
    let response = gateway.call("GET", "/changed/x", &fields);
    assert_eq!(response.status, 200);
    assert_eq!(response.fields.get("server"), None);
    assert_eq!(response.fields.all("cache-control").collect::<Vec<_>>(), ["public"]);
    assert_eq!(response.fields.get("strict-transport-security"), Some("max-age=1"));
    assert_eq!(response.fields.get("x-kept"), Some("1"));
    let sent = upstream.last_request();
    let head = String::from_utf8_lossy(&sent.head).to_lowercase();
    assert_eq!(sent.fields.get("x-env"), Some("prod"));
    assert_eq!((sent.fields.get("x-kept"), sent.fields.get("x-auth-subject")), (Some("1"), Some("u1")));
    assert!(!head.contains("evil") && !head.contains("debug") && !head.contains("cookie"), "{head}");

    // A refusal keeps what it says itself.
    let refused = gateway.get("/changed/x");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.fields.all("cache-control").collect::<Vec<_>>(), ["no-store"]);
    assert_eq!(refused.fields.get("strict-transport-security"), Some("max-age=1"));
    assert_eq!(gateway.get("/nowhere").fields.get("strict-transport-security"), None);
}

#[test]
fn the_gateway_answers_itself() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let routes = r#"
  - name: pot
    path: /pot
    respond: {status: 418, body: "short and stout", headers: {X-Pot: tea, Cache-Control: private}}
    headers: {response: {set: {X-All: "1", X-Pot: coffee}}}
    allow: public
  - {name: closed, path: /closed, respond: {body: secret}, allow: authenticated}
  - {name: empty, path: /empty, respond: {status: 204}, allow: public}
  - {name: moved, path: "/old/{id}", redirect: {to: "https://new.example/{id}?was={id}"}, allow: public}
  - {name: rest, path: "/rest/**", redirect: {to: "/**", status: 302}, allow: authenticated}
"#;
    let gateway = Gateway::start(&configuration(&issuer, &upstream, routes));
    let token = issuer.token().build();

    let pot = gateway.get("/pot");
    assert_eq!((pot.status, &*pot.text()), (418, "short and stout"));
    assert_eq!(pot.fields.get("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(pot.fields.all("x-pot").collect::<Vec<_>>(), ["tea"]);
    assert_eq!((pot.fields.get("x-all"), pot.fields.get("cache-control")), (Some("1"), Some("private")));
    let mut client = gateway.client();
    client.send("HEAD /pot HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.try_receive("HEAD").unwrap().unwrap();
    assert_eq!((head.status, head.fields.get("content-length")), (418, Some("15")));
    client.send("GET /empty HTTP/1.1\r\nHost: h\r\n\r\n");
    let empty = client.receive();
    assert_eq!((empty.status, empty.fields.get("content-length")), (204, None));

    // `allow` decides first.
    assert_eq!(gateway.get("/closed").status, 401);
    assert_eq!(gateway.get_with("/closed", &token).text(), "secret");
    assert_eq!(gateway.get("/rest/a").status, 401);

    let moved = gateway.get("/old/a&b%0d%0aX?dropped");
    assert_eq!(moved.status, 400);
    let moved = gateway.get("/old/a&b%20c?dropped");
    assert_eq!((moved.status, moved.fields.get("location")), (308, Some("https://new.example/a&b%20c?was=a%26b%20c")));
    let rest = gateway.get_with("/rest/a/b/", &token);
    assert_eq!((rest.status, rest.fields.get("location")), (302, Some("/a/b/")));
    assert_eq!(gateway.get_with("/rest//evil.example", &token).status, 400);

    assert_eq!(upstream.connections(), 0);
}

const CORS: &str = r#"
  - name: api
    path: /api
    methods: [GET, PUT]
    upstream: echo
    allow: authenticated
    cors:
      origins: ["https://app.example"]
      headers: [Authorization]
      credentials: true
      max_age: 10m
  - {name: api-post, path: /api, methods: [POST], upstream: echo, allow: authenticated}
  - {name: any, path: /any, respond: {body: hello}, allow: public, cors: {origins: ["*"]}}
"#;

#[test]
fn preflights_are_answered_without_a_token() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, CORS));
    let preflight = |path: &str, origin: &str, method: &str| {
        gateway.call("OPTIONS", path, &format!("Origin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n"))
    };
    let answer = preflight("/api", "https://app.example", "PUT");
    assert_eq!(answer.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, HEAD, PUT"),
        ("access-control-allow-headers", "Authorization"),
        ("access-control-max-age", "600"),
        ("vary", "Origin"),
    ] {
        assert_eq!(answer.fields.all(name).collect::<Vec<_>>(), [value], "{name}");
    }
    let answer = preflight("/any", "null", "GET");
    assert_eq!((answer.status, answer.fields.get("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(answer.fields.get("access-control-allow-credentials"), None);

    for (path, origin, method) in [
        ("/api", "https://evil.example", "PUT"),
        ("/api", "https://app.example.evil.example", "GET"),
        ("/api", "https://APP.example", "GET"),
        ("/api", "null", "GET"),
    ] {
        let answer = preflight(path, origin, method);
        assert!(!answer.fields.0.iter().any(|(name, _)| name.starts_with("access-control")), "{path} {origin}");
        assert_eq!(answer.fields.get("vary"), Some("Origin"));
    }
    // The route for POST has no `cors`, and nobody takes OPTIONS.
    let other = preflight("/api", "https://app.example", "POST");
    assert_eq!((other.status, other.fields.get("allow")), (405, Some("GET, HEAD, POST, PUT, OPTIONS")));
    assert_eq!(preflight("/nowhere", "https://app.example", "GET").status, 404);
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn every_answer_says_which_pages_may_read_it() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, CORS));
    let token = issuer.token().build();
    upstream.answer_with(
        200,
        "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: x\r\n",
        b"hello",
    );
    for (origin, credential, status, allowed) in [
        ("https://app.example", &*format!("Authorization: Bearer {token}\r\n"), 200, vec!["https://app.example"]),
        ("https://app.example", "", 401, vec!["https://app.example"]),
        ("https://evil.example", &*format!("Authorization: Bearer {token}\r\n"), 200, vec![]),
        ("https://evil.example", "", 401, vec![]),
    ] {
        let answer = gateway.call("GET", "/api", &format!("Origin: {origin}\r\n{credential}"));
        assert_eq!(answer.status, status, "{origin}");
        assert_eq!(answer.fields.all("access-control-allow-origin").collect::<Vec<_>>(), allowed, "{origin}");
        assert_eq!(answer.fields.get("access-control-allow-credentials").is_some(), !allowed.is_empty(), "{origin}");
        assert_eq!(answer.fields.get("access-control-expose-headers"), None);
        assert_eq!(answer.fields.get("vary"), Some("Origin"));
    }
    // Without `cors` the upstream's own pass.
    let answer =
        gateway.call("POST", "/api", &format!("Origin: https://x.example\r\nAuthorization: Bearer {token}\r\n"));
    assert_eq!(answer.fields.get("access-control-allow-origin"), Some("*"));
    assert_eq!(gateway.get("/any").fields.get("access-control-allow-origin"), Some("*"));
}
