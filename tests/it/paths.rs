//! One path, one reading: a protected path isn't reached by another name.

use crate::support::{
    gateway::{Gateway, configuration},
    issuer::Issuer,
    keys::Key,
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: public, path: "/public/**", upstream: echo, allow: public}
  - {name: admin, path: "/admin/**", upstream: echo, allow: [{scopes: [admin]}]}
"#;

/// `/public/../admin` and what some server somewhere takes for it.
const ADMIN: &[&str] = &[
    "/admin",
    "/admin/",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/%61%64%6D%69%6E/x",
    "/./admin",
    "/%2e/admin",
    "/public/../admin",
    "/public/%2e%2e/admin",
    "/public/%2E%2E/admin",
    "/public/.%2e/admin",
    "/public/%2e./admin",
    "/public/./../admin",
    "/public/x/../../admin",
    "/public/%2e/%2e%2e/admin",
    "/public/..%2fadmin",
    "/public/..%2Fadmin",
    "/public%2f..%2fadmin",
    "/public/%2e%2e%2fadmin",
    "/public/..%5cadmin",
    "/public/..%5Cadmin",
    "/public/..\\admin",
    "/public\\..\\admin",
    "/public/%252e%252e/admin",
    "/public/%252E%252e/admin",
    "/public/..%252fadmin",
    "/public/%252e%252e%252fadmin",
    "/public/..%255cadmin",
    "/public/..;/admin",
    "/public/..;x=y/admin",
    "/public/%2e%2e;/admin",
    "/public;/../admin",
    "/public/%c0%ae%c0%ae/admin",
    "/public/%c0%af../admin",
    "/public/..%c0%afadmin",
    "/public/%e0%80%ae%e0%80%ae/admin",
    "/public/..%00/admin",
    "/public/..%0a/admin",
    "/public/%uff0e%uff0e/admin",
    "/public/../../admin",
    "/../admin",
    "/%2e%2e/admin",
    "//admin",
    "/public/..//admin",
    "/public/#/../../admin",
];

/// Every reading of a path that some server may have, by force: decoded until nothing changes, backslashes turned,
/// parameters stripped or not, slashes merged or not, dots resolved.
fn readings(path: &str) -> Vec<String> {
    let mut decoded = path.split(['?', '#']).next().unwrap_or_default().as_bytes().to_vec();
    let mut all = vec![decoded.clone()];
    for _ in 0..4 {
        decoded = decode(&decoded);
        all.push(decoded.clone());
    }
    let mut readings = Vec::new();
    for bytes in all {
        let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
        let stripped: Vec<&str> =
            text.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
        for text in [text.clone(), stripped.join("/")] {
            readings.push(resolve(text.split('/')));
            readings.push(resolve(text.split('/').filter(|segment| !segment.is_empty())));
        }
    }
    readings
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) if *byte == b'%' => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

fn resolve<'s>(segments: impl Iterator<Item = &'s str>) -> String {
    let mut resolved: Vec<&str> = Vec::new();
    for segment in segments.skip_while(|segment| segment.is_empty()) {
        match segment {
            "." => {}
            ".." => {
                resolved.pop();
            }
            segment => resolved.push(segment),
        }
    }
    format!("/{}", resolved.join("/")).to_ascii_lowercase()
}

fn leads_to_admin(path: &str) -> bool {
    readings(path).iter().any(|reading| reading == "/admin" || reading.starts_with("/admin/"))
}

fn scene() -> (Issuer, Upstream, Gateway) {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
    (issuer, upstream, gateway)
}

#[test]
fn a_protected_path_is_not_reached_by_another_name() {
    let (issuer, upstream, gateway) = scene();
    let token = issuer.token().scope("other").build();
    for path in ADMIN {
        for credential in ["", &format!("Authorization: Bearer {token}\r\n")] {
            for target in [(*path).to_owned(), format!("http://api.example{path}"), format!("{path}?a=/public/x")] {
                let mut client = gateway.client();
                client.send(format!("GET {target} HTTP/1.1\r\nHost: api.example\r\n{credential}\r\n"));
                let status = client.receive().status;
                assert!(matches!(status, 400 | 401 | 403 | 404), "{target}: {status}");
            }
        }
    }
    assert_eq!(upstream.bytes(), 0, "{}", String::from_utf8_lossy(&upstream.wire()));
}

#[test]
fn what_goes_upstream_leads_nowhere_else() {
    let (_issuer, upstream, gateway) = scene();
    let parts = [
        "..",
        ".",
        "%2e%2e",
        ".%2E",
        "%252e%252e",
        "..;",
        "..;a",
        "",
        "x",
        "%3b",
        "%5c",
        "\\",
        "%2f",
        ";",
        "..%2f",
        "%c0%ae",
    ];
    for first in parts {
        for second in parts {
            for third in ["..", "%2e%2e", "..;", ""] {
                let target = format!("/public/{first}/{second}/{third}/admin");
                let mut client = gateway.client();
                client.send(format!("GET {target} HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"));
                let status = client.receive().status;
                assert!(matches!(status, 200 | 400 | 401 | 404), "{target}: {status}");
            }
        }
    }
    let requests = upstream.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert!(!leads_to_admin(&request.target), "{}", request.target);
        assert!(request.target.starts_with("/public"), "{}", request.target);
    }
}

#[test]
fn a_path_goes_on_in_its_canonical_form() {
    let (issuer, upstream, gateway) = scene();
    for (sent, arrives) in [
        ("/public/x", "/public/x"),
        ("/public", "/public"),
        ("/public/", "/public/"),
        ("/public/a%2db%7e", "/public/a-b~"),
        ("/public/%c3%a9", "/public/%C3%A9"),
        ("/public/a/../b/./c", "/public/b/c"),
        ("/public/x?%2f..%2F&a=b+c", "/public/x?%2f..%2F&a=b+c"),
        ("/public/a;v=1", "/public/a;v=1"),
        ("/public/a//b", "/public/a//b"),
        ("/public/100%25", "/public/100%25"),
        ("/admin/../public/x", "/public/x"),
    ] {
        upstream.forget();
        assert_eq!(gateway.get(sent).status, 200, "{sent}");
        assert_eq!(upstream.only_request().target, arrives, "{sent}");
    }
    upstream.forget();
    let token = issuer.token().scope("admin").build();
    assert_eq!(gateway.get_with("/public/%2e%2e/admin", &token).status, 200);
    assert_eq!(upstream.only_request().target, "/admin");
}

#[test]
fn one_host_is_asked_for_or_none() {
    let (_issuer, upstream, gateway) = scene();
    for target in
        ["http://other.example/public/x", "http://user@api.example/public/x", "http://api.example:81/public/x"]
    {
        let mut client = gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: api.example\r\n\r\n"));
        assert_eq!(client.receive().status, 400, "{target}");
    }
    let mut client = gateway.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: api.example\r\n\r\n");
    assert_eq!(client.receive().status, 404);
    assert_eq!(upstream.bytes(), 0);
    let mut client = gateway.client();
    client.send("GET http://api.example:80/public/x HTTP/1.1\r\nHost: api.example\r\n\r\n");
    assert_eq!(client.receive().status, 200);
    assert_eq!(upstream.only_request().target, "/public/x");
}

#[test]
fn the_readings_find_what_they_should() {
    for path in
        ["/public/..%252fadmin", "/public/..;/admin", "/public/..\\admin", "//admin", "/public//../admin", "/%61dmin"]
    {
        assert!(leads_to_admin(path), "{path}");
    }
    for path in ["/public/admin", "/public/x/../admin", "/administrator"] {
        assert!(!leads_to_admin(path), "{path}");
    }
}

#[test]
fn an_upstream_that_ignores_case_is_reached_by_no_other_spelling() {
    const ROUTES: &str = r#"
  - {name: public, path: "/**", upstream: echo, allow: public}
  - {name: admin, path: "/admin/**", upstream: echo, allow: [{scopes: [admin]}]}
  - {name: tenant, path: "/tenants/{name}", upstream: echo, allow: [{claims: {tenant: "{path.name}"}}]}
"#;
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let exact = configuration(&issuer, &upstream, ROUTES);
    let ignoring = exact.replace("upstreams:\n  echo: {", "upstreams:\n  echo: {paths: case_insensitive, ");
    assert_ne!(exact, ignoring);
    let gateway = Gateway::start(&ignoring);
    for path in ["/ADMIN", "/Admin/x", "/x/../aDMIN", "/%41dmin", "/adm%C4%B1n/x", "/x/..;/Admin", "/%2541dmin"] {
        assert_eq!(gateway.get(path).status, 400, "{path}");
    }
    assert_eq!(gateway.get("/admin").status, 401);
    assert_eq!(upstream.bytes(), 0);
    for path in ["/Public", "/ADMINISTRATOR", "/x/Admin"] {
        assert_eq!(gateway.get(path).status, 200, "{path}");
        assert_eq!(upstream.last_request().target, path);
    }
    let small = issuer.token().claim("tenant", "acme".into()).build();
    let capital = issuer.token().claim("tenant", "ACME".into()).build();
    for (path, token, status) in [
        ("/tenants/acme", &small, 200),
        ("/tenants/ACME", &small, 403),
        ("/tenants/ACME", &capital, 400),
        ("/tenants/acme", &capital, 403),
    ] {
        assert_eq!(gateway.get_with(path, token).status, status, "{path}");
    }

    upstream.forget();
    let gateway = Gateway::start(&exact);
    for path in ["/ADMIN", "/Admin/x"] {
        assert_eq!(gateway.get(path).status, 200, "{path}");
        assert_eq!(upstream.last_request().target, path);
    }
}

#[test]
fn where_nothing_is_another_case_may_lead_somewhere() {
    const ROUTES: &str = r#"
  - {name: admin, path: "/admin/**", upstream: echo, allow: public}
"#;
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let exact = configuration(&issuer, &upstream, ROUTES);
    let ignoring = exact.replace("upstreams:\n  echo: {", "upstreams:\n  echo: {paths: case_insensitive, ");
    for (yaml, path, status) in
        [(&exact, "/Admin", 404), (&ignoring, "/Admin", 400), (&ignoring, "/Other", 404), (&ignoring, "/admin", 200)]
    {
        assert_eq!(Gateway::start(yaml).get(path).status, status, "{path}");
    }
}
