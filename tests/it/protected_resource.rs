//! Metadata of APIs (RFC 9728): served to everybody, named in every challenge, and found by clients.

use serde_json::json;

use crate::support::{
    challenge::Challenge,
    gateway::{Gateway, configuration_of},
    http::Fields,
    issuer::Issuer,
    keys::Key,
    raw::{Response, exchange},
    upstream::Upstream,
};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

const ROUTES: &str = r#"
  - name: campaigns
    hosts: [api.example, "*.tenants.example"]
    path: /rest/campaigns/{id}
    upstream: echo
    allow: [{methods: [GET], scopes: [campaigns:read]}, {methods: [POST], claims: {tenant: acme}}, {methods: [PUT], acr: [gold]}]
    token_from: [header, {query: access_token}]
    cors: {origins: ["https://app.example"], credentials: true}
    protected_resource: &rest {resource: https://api.example/rest, scopes_supported: [campaigns:read, campaigns:write]}
  - {name: users, hosts: [api.example, "*.tenants.example"], path: /rest/users, upstream: echo, allow: authenticated, token_from: [header, {query: access_token}], protected_resource: *rest}
  - {name: whole, hosts: [whole.example], path: "/**", upstream: echo, allow: authenticated, issuers: [main], protected_resource: {resource: "https://whole.example/"}}
  - {name: bare, path: /bare, upstream: echo, allow: authenticated}
  - {name: catch, path: "/**", upstream: echo, allow: public}
"#;

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl Scene {
    fn new() -> Scene {
        let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let issuers = format!(
            "  main: {{issuer: \"{}\", audiences: [api]}}\n  other: {{issuer: \"https://other.example\", audiences: [api], jwt: {{jwks: {{keys: []}}}}}}\n",
            issuer.url()
        );
        let issuers = issuers.replace("{keys: []}", &issuer.jwks());
        let gateway = Gateway::start(&configuration_of(&issuers, &upstream.url(), ROUTES));
        Scene { issuer, upstream, gateway }
    }

    #[track_caller]
    fn ask(&self, method: &str, host: &str, target: &str, fields: &str) -> Response {
        let mut client = self.gateway.client();
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n"));
        client.try_receive(method).unwrap().expect("a response")
    }

    fn forwarded(&self, path: &str) -> bool {
        crate::support::raw::find(&self.upstream.wire(), path.as_bytes()).is_some()
    }
}

fn stays_the_same(fields: &Fields) -> Vec<(String, String)> {
    let changing = ["x-request-id", "date"];
    fields.0.iter().filter(|(name, _)| !changing.contains(&&*name.to_ascii_lowercase())).cloned().collect()
}

#[test]
fn the_document_is_there_for_everybody() {
    let scene = Scene::new();
    let place = format!("{WELL_KNOWN}/rest");
    let answer = scene.ask("GET", "api.example", &place, "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.json(),
        json!({
            "resource": "https://api.example/rest",
            "authorization_servers": [scene.issuer.url(), "https://other.example"],
            "scopes_supported": ["campaigns:read", "campaigns:write"],
            "bearer_methods_supported": ["header", "query"],
        })
    );
    assert_eq!(answer.fields.get("content-type"), Some("application/json"));
    assert_eq!(answer.fields.get("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.fields.get("cache-control"), Some("public, max-age=300"));
    // Whoever asks, and however: one answer, which any cache may give to anybody.
    let token = scene.issuer.token().build();
    for fields in [
        format!("Authorization: Bearer {token}\r\n"),
        "Authorization: Bearer rubbish\r\nAuthorization: Basic x\r\n".to_owned(),
        "Origin: https://app.example\r\nCookie: a=b\r\n".to_owned(),
        "Origin: https://evil.example\r\n".to_owned(),
        "X-Auth-Subject: root\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\n".to_owned(),
    ] {
        let other = scene.ask("GET", "api.example", &place, &fields);
        assert_eq!(other.body, answer.body, "{fields}");
        assert_eq!(stays_the_same(&other.fields), stays_the_same(&answer.fields), "{fields}");
    }
    for target in
        [format!("{place}/"), format!("{place}?x=y"), "/.well-known/./oauth-protected%2Dresource/r%65st".into()]
    {
        assert_eq!(scene.ask("GET", "API.example:8443", &target, "").body, answer.body, "{target}");
    }
    assert_eq!(scene.ask("GET", "a.b.tenants.example", &place, "").body, answer.body);
    let head = scene.ask("HEAD", "api.example", &place, "");
    assert_eq!((head.status, head.body.is_empty()), (200, true));
    assert_eq!(head.fields.get("content-length"), Some(&*answer.body.len().to_string()));
    assert!(!scene.forwarded(WELL_KNOWN), "nothing of it went upstream");
}

#[test]
fn it_is_nowhere_else_and_is_only_read() {
    let scene = Scene::new();
    for (host, target) in [
        ("whole.example", "/rest".to_owned()),
        ("elsewhere.example", "/rest".to_owned()),
        ("tenants.example", "/rest".to_owned()),
        ("api.example", "/REST".to_owned()),
        ("api.example", "/rest/campaigns".to_owned()),
        ("api.example", "/rest//".to_owned()),
        ("api.example", String::new()),
    ] {
        let answer = scene.ask("GET", host, &format!("{WELL_KNOWN}{target}"), "");
        assert!(!answer.text().contains("authorization_servers"), "{host} {target}: {}", answer.text());
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"] {
        let answer = scene.ask(method, "api.example", &format!("{WELL_KNOWN}/rest"), "Content-Length: 0\r\n");
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.fields.get("allow"), Some("GET, HEAD, OPTIONS"), "{method}");
    }
    // A browser's client may send what it likes along (MCP-Protocol-Version), without credentials.
    let fields = "Origin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: mcp-protocol-version\r\n";
    let answer = scene.ask("OPTIONS", "api.example", &format!("{WELL_KNOWN}/rest"), fields);
    assert_eq!((answer.status, answer.fields.get("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(answer.fields.get("access-control-allow-headers"), Some("*"));
    assert_eq!(answer.fields.get("access-control-allow-credentials"), None);
}

#[test]
fn an_identifier_without_a_path_has_its_document_at_the_root() {
    let scene = Scene::new();
    for target in [WELL_KNOWN.to_owned(), format!("{WELL_KNOWN}/")] {
        let answer = scene.ask("GET", "whole.example", &target, "");
        assert_eq!(
            answer.json(),
            json!({
                "resource": "https://whole.example/",
                "authorization_servers": [scene.issuer.url()],
                "bearer_methods_supported": ["header"],
            }),
            "{target}"
        );
    }
    let challenge = scene.ask("GET", "whole.example", "/x", "").challenge().unwrap();
    assert_eq!(challenge.get("resource_metadata"), Some(&*format!("https://whole.example{WELL_KNOWN}")));
}

#[test]
fn every_challenge_of_the_route_names_it_and_no_other_does() {
    let scene = Scene::new();
    let url = format!("https://api.example{WELL_KNOWN}/rest");
    let good = format!("Authorization: Bearer {}\r\n", scene.issuer.token().build());
    let expired = format!("Authorization: Bearer {}\r\n", scene.issuer.token().exp_in(-600).build());
    let campaign = "/rest/campaigns/1";
    for (method, target, fields, status, error) in [
        ("GET", campaign, "", 401, None),
        ("GET", campaign, "Authorization: Basic dTpw\r\n", 401, None),
        ("GET", campaign, &expired, 401, Some("invalid_token")),
        ("GET", campaign, "Authorization: Bearer a b\r\n", 400, Some("invalid_request")),
        ("GET", campaign, &good, 403, Some("insufficient_scope")),
        ("POST", campaign, &good, 403, Some("insufficient_scope")),
        ("PUT", campaign, &good, 401, Some("insufficient_user_authentication")),
        ("HEAD", campaign, "", 401, None),
        ("GET", "/rest/users", "", 401, None),
    ] {
        // Where a forwarded host is believed or not, the URL is the configured one.
        for more in ["", "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n"] {
            let answer = scene.ask(method, "a.tenants.example", target, &format!("{fields}{more}"));
            assert_eq!(answer.status, status, "{method} {target} {fields}");
            let challenge = answer.challenge().unwrap();
            assert_eq!(challenge.error(), error, "{method} {target} {fields}");
            assert_eq!(challenge.get("resource_metadata"), Some(&*url), "{method} {target} {fields}");
            assert_eq!(challenge.get("realm"), Some("bearward"), "{method} {target} {fields}");
        }
    }
    for (method, target, status) in [("DELETE", campaign, 405), ("GET", "/rest/campaigns/%2f", 400)] {
        let answer = scene.ask(method, "api.example", target, "");
        assert_eq!((answer.status, answer.challenge()), (status, None), "{target}");
    }
    let challenge = scene.ask("GET", "api.example", "/bare", "").challenge().unwrap();
    assert_eq!(challenge.get("resource_metadata"), None);
}

/// Where one issuer's tokens do without a proof, clients aren't told that they need one.
#[test]
fn it_says_what_tokens_must_be_bound_to() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let one = |name: &str, more: &str| {
        let (url, keys) = (issuer.url(), issuer.jwks());
        format!(
            "  {name}: {{issuer: \"{url}/{name}\", audiences: [api], jwt: {{jwks: {keys}, algorithms: [ES256, EdDSA]}}{more}}}\n"
        )
    };
    let issuers = [
        one("free", ""),
        one("offers", ", dpop: {max_age: 30s}"),
        one("demands", ", sender_constraint: dpop"),
        one("certified", ", sender_constraint: mtls"),
    ];
    let route = |name: &str, issuers: &str, more: &str| {
        format!(
            "  - {{name: {name}, path: /{name}, upstream: echo, allow: authenticated, issuers: [{issuers}], protected_resource: {{resource: \"https://api.example/{name}\"}}{more}}}\n"
        )
    };
    let routes = [
        route("free", "free", ""),
        route("offers", "free, offers", ""),
        route("demands", "demands", ""),
        route("mixed", "free, demands, certified", ""),
        route("certified", "certified", ""),
        route("query", "free, offers", ", token_from: {query: access_token}"),
    ];
    let gateway = Gateway::start(&configuration_of(&issuers.concat(), &upstream.url(), &routes.concat()));
    let algorithms = || json!(["ES256", "EdDSA", "Ed25519"]);
    for (name, certificates, proofs, expected) in [
        ("free", None, None, None),
        ("offers", None, None, Some(algorithms())),
        ("demands", None, Some(json!(true)), Some(algorithms())),
        ("mixed", Some(json!(true)), None, Some(algorithms())),
        ("certified", Some(json!(true)), None, None),
        ("query", None, None, None),
    ] {
        let document = gateway.get(&format!("{WELL_KNOWN}/{name}")).json();
        assert_eq!(document.get("tls_client_certificate_bound_access_tokens"), certificates.as_ref(), "{name}");
        assert_eq!(document.get("dpop_bound_access_tokens_required"), proofs.as_ref(), "{name}");
        assert_eq!(document.get("dpop_signing_alg_values_supported"), expected.as_ref(), "{name}");
        // Challenges say the same, and where that is to be read.
        let answer = gateway.get(&format!("/{name}"));
        let challenges = answer.fields.all("www-authenticate").map(Challenge::parse).collect::<Vec<_>>();
        let schemes = challenges.iter().map(|challenge| challenge.scheme.as_str()).collect::<Vec<_>>();
        let demanded = proofs.is_some();
        assert_eq!(schemes.contains(&"DPoP"), expected.is_some(), "{name}");
        assert_eq!(schemes.contains(&"Bearer"), !demanded, "{name}");
        let url = format!("https://api.example{WELL_KNOWN}/{name}");
        for challenge in &challenges {
            assert_eq!(challenge.get("resource_metadata"), Some(&*url), "{name}");
            if challenge.scheme == "DPoP" {
                assert_eq!(challenge.get("algs"), Some("ES256 EdDSA Ed25519"), "{name}");
            }
        }
    }
}

#[test]
fn it_is_logged_and_counted_as_what_no_route_takes() {
    let scene = Scene::new();
    let place = format!("{WELL_KNOWN}/rest");
    scene.ask("GET", "api.example", &place, "");
    let metrics = exchange(scene.gateway.admin, "GET", "/metrics", "").text();
    let line = metrics.lines().find(|line| {
        line.starts_with("bearward_decisions_total{")
            && line.contains("route=\"\"")
            && line.contains("reason=\"public\"")
    });
    assert!(line.is_some(), "{metrics}");
    let question = json!({"url": format!("https://api.example{place}"), "method": "GET"});
    let told = scene.gateway.ask_admin("/explain", &question.to_string());
    assert_eq!((&told["decision"], &told["status"]), (&json!("allow"), &json!(200)), "{told}");
    assert_eq!(told["detail"], json!("a document of the gateway's own, which everybody may read"));
}

#[test]
fn a_proxy_that_asks_hands_the_challenge_on_and_gets_no_yes_for_the_document() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let issuers = format!("  main: {{issuer: \"{}\", audiences: [api]}}\n", issuer.url());
    let routes = "  - {name: rest, path: /rest, upstream: echo, allow: authenticated, protected_resource: {resource: https://api.example/rest}}\n";
    let yaml = configuration_of(&issuers, &upstream.url(), routes);
    let listen = "listen: [{address: \"127.0.0.1:0\", mode: forward_auth, request_from: self}, \"127.0.0.2:0\"]";
    let gateway = Gateway::start(&yaml.replace("listen: [\"127.0.0.1:0\"]", listen));
    let refused = gateway.get("/rest");
    let url = format!("https://api.example{WELL_KNOWN}/rest");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.challenge().unwrap().get("resource_metadata"), Some(&*url));
    let place = format!("{WELL_KNOWN}/rest");
    assert_eq!(gateway.get(&place).status, 404);
    assert_eq!(exchange(gateway.address_of(1), "GET", &place, "").status, 200);
}
