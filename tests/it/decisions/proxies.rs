//! Real proxies, each with the configuration that is shipped for it and the gateway that it asks: what reaches the API
//! behind them, and what clients can't make of it.

use std::{net::SocketAddr, path::Path};

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};
use bearward::path::CanonicalPath;
use serde_json::json;

use super::bearer;
use crate::{
    support::{
        eventually,
        gateway::Gateway,
        http::Request,
        issuer::Issuer,
        keys::Key,
        proofs::{Proof, thumbprint},
        proxies::Proxy,
        raw::{Client, Response},
        token::encode,
        upstream::Upstream,
    },
    systems::shipped,
};

/// A proxy, the API behind it, and the gateway beside it.
struct Front {
    proxy: Proxy,
    api: Upstream,
    issuer: Issuer,
    _gateway: Gateway,
}

impl Front {
    /// By the gateway's configuration in this folder of `deploy/`.
    fn start(folder: &str, file: &str, proxy: fn(SocketAddr, SocketAddr) -> Option<Proxy>) -> Option<Front> {
        Front::with(folder, file, proxy, |yaml| yaml)
    }

    fn with(
        folder: &str,
        file: &str,
        proxy: fn(SocketAddr, SocketAddr) -> Option<Proxy>,
        change: impl FnOnce(String) -> String,
    ) -> Option<Front> {
        let (issuer, api) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let variables = [("LISTEN", "127.0.0.1:0"), ("ADMIN", "127.0.0.1:0"), ("ISSUER", issuer.url())];
        let yaml = shipped(&Path::new(folder).join(file), &variables);
        let gateway = Gateway::start(&change(yaml));
        let front = Front { proxy: proxy(gateway.address, api.address)?, api, issuer, _gateway: gateway };
        // Some listen before they know their routes.
        eventually("the proxy asks", || front.ask("GET", "/orders", "").0.status == 401);
        Some(front)
    }

    /// One request; what the client gets, and what the API got, if anything. `fields` are whole lines, each ended by CRLF.
    #[track_caller]
    fn ask(&self, method: &str, target: &str, fields: &str) -> (Response, Option<Request>) {
        self.send(method, &format!("{method} {target} HTTP/1.1\r\nHost: api.example.com\r\n{fields}\r\n"))
    }

    #[track_caller]
    fn send(&self, method: &str, request: &str) -> (Response, Option<Request>) {
        self.api.forget();
        let mut client = Client::connect(self.proxy.address);
        client.send(request);
        let answer = client.try_receive(method).unwrap();
        let answer = answer.unwrap_or_else(|| panic!("no answer to {request}: {}", self.proxy.said()));
        (answer, self.api.requests().pop())
    }

    fn reader(&self) -> String {
        bearer(&self.issuer.token().scope("api:read").build())
    }
}

/// All that a proxy has to do right.
fn everything(front: &Front) {
    what_is_let_in_arrives_with_who_asks(front);
    what_is_refused_is_said_and_does_not_arrive(front);
    nobody_says_who_they_are(front);
    nobody_describes_another_request(front);
    nobody_shows_anothers_certificate(front);
    a_proof_is_of_the_request_that_the_proxy_has(front);
    what_is_decided_is_what_arrives(front);
    whatever_the_size(front);
}

fn what_is_let_in_arrives_with_who_asks(front: &Front) {
    let token = front.issuer.token().scope("api:read api:write").build();
    let (answer, arrived) = front.ask("GET", "/orders/7?x=%41&y", &bearer(&token));
    assert_eq!(answer.status, 200, "{}", front.proxy.said());
    let arrived = arrived.expect("it arrives");
    assert_eq!((arrived.method.as_str(), arrived.target.as_str()), ("GET", "/orders/7?x=%41&y"));
    for (name, value) in [
        ("host", "api.example.com"),
        ("authorization", &format!("Bearer {token}")),
        ("x-auth-subject", "u1"),
        ("x-auth-client", "c1"),
        ("x-auth-scopes", "api:read api:write"),
        ("x-auth-roles", ""),
        ("x-auth-issuer", "main"),
    ] {
        assert_eq!(arrived.fields.get(name).unwrap_or_default(), value, "{name}: {:?}", arrived.fields);
        assert!(arrived.fields.all(name).count() < 2, "{name}: {:?}", arrived.fields);
    }
    assert!(arrived.fields.get("x-request-id").is_some_and(|id| !id.is_empty()));

    let fields = format!("{}Content-Length: 5\r\n\r\nhello", bearer(&token));
    let (answer, arrived) = front.send("POST", &format!("POST /orders HTTP/1.1\r\nHost: api.example.com\r\n{fields}"));
    assert_eq!((answer.status, arrived.expect("it arrives").body), (200, b"hello".to_vec()));

    // From the query, which the proxy leaves as it is.
    let target = format!("/downloads/a?access_token={token}");
    let (answer, arrived) = front.ask("GET", &target, "");
    assert_eq!(answer.status, 200);
    assert_eq!(arrived.expect("it arrives").fields.get("authorization"), Some(&*format!("Bearer {token}")));

    let (answer, arrived) = front.ask("GET", "/public/x", "");
    assert_eq!(answer.status, 200);
    assert_eq!(arrived.expect("it arrives").fields.get("x-auth-subject").unwrap_or_default(), "");
}

fn what_is_refused_is_said_and_does_not_arrive(front: &Front) {
    let reader = front.reader();
    let spent = bearer(&front.issuer.token().exp_in(-60).build());
    for (method, target, fields, status) in [
        ("GET", "/orders/7", "", 401),
        ("GET", "/orders/7", spent.as_str(), 401),
        ("DELETE", "/orders/7", &reader, 403),
        ("GET", "/admin/x", &reader, 403),
        ("POST", "/downloads/x", &reader, 405),
        ("GET", "/orders/7", "Authorization: Bearer a b\r\n", 400),
        ("GET", "/orders/7", &format!("{reader}{reader}"), 400),
    ] {
        let (answer, arrived) = front.ask(method, target, fields);
        assert_eq!(answer.status, status, "{method} {target} {fields}: {}", front.proxy.said());
        assert!(arrived.is_none(), "{method} {target} {fields}");
        if let 401 | 403 = status {
            let challenge = answer.challenge().expect("a challenge");
            assert_eq!(challenge.error().is_some(), !fields.is_empty());
        }
        if status == 405 {
            assert_eq!(answer.fields.get("allow"), Some("GET, HEAD"));
        }
    }
    // Some join two lines to one, which is then of another scheme.
    let two = format!("Authorization: Basic YTpi\r\n{reader}");
    let (answer, arrived) = front.ask("GET", "/orders/7", &two);
    assert!([400, 401].contains(&answer.status) && arrived.is_none(), "{}", answer.status);
    let limited = bearer(&front.issuer.token().sub("often").build());
    let statuses = [(); 3].map(|()| front.ask("GET", "/limited", &limited).0);
    assert_eq!(statuses.each_ref().map(|answer| answer.status), [200, 200, 429]);
    assert!(statuses[2].fields.get("retry-after").is_some(), "{:?}", statuses[2].fields);
}

/// Whatever a client sends as an identity header, or as something that resembles one, doesn't come to the API.
fn nobody_says_who_they_are(front: &Front) {
    let reader = front.reader();
    for name in [
        "X-Auth-Subject",
        "x-auth-roles",
        "X_Auth_Subject",
        "x_auth_roles",
        "X-Auth.Subject",
        "X.Auth.Roles",
        "XAuthSubject",
        "X-Auth-Subject-",
        "X--Auth-Roles",
        "X-Auth-Issuer",
        "X-Auth-Assertion",
        "X_Auth_Assertion",
        "X-Original-URL",
        "X-Original-URI",
        "X-Original-Method",
        "X_Original_URL",
        "X-Rewrite-URL",
        "X-Real-IP",
        "Client-Cert",
        "Client-Cert-Chain",
        "Client_Cert",
        "X_Forwarded_For",
        "X-Forwarded-Host",
        "X-Forwarded-For",
        "X-Forwarded-Prefix",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Forwarded-User",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-Scheme",
        "X-Forwarded-Ssl",
        "Forwarded",
    ] {
        for (target, fields) in [("/orders/7", reader.as_str()), ("/public/x", "")] {
            for lines in [format!("{name}: spoofed\r\n"), format!("{name}: spoofed\r\n{name}: spoofed\r\n")] {
                let (answer, arrived) = front.ask("GET", target, &format!("{lines}{fields}"));
                assert!([200, 400].contains(&answer.status), "{name}: {}", answer.status);
                let spoofed = arrived.filter(|arrived| String::from_utf8_lossy(&arrived.head).contains("spoofed"));
                assert!(spoofed.is_none(), "{name}: {:?}", spoofed.map(|arrived| arrived.fields));
            }
        }
    }
    // Nor can what is said of them be taken away.
    for connection in
        ["X-Auth-Subject", "close, X-Auth-Subject, X-Auth-Scopes", "x-auth-subject\r\nConnection: keep-alive"]
    {
        let (answer, arrived) = front.ask("GET", "/orders/7", &format!("{reader}Connection: {connection}\r\n"));
        assert!([200, 400].contains(&answer.status), "{connection}: {}", answer.status);
        if let Some(arrived) = arrived {
            assert_eq!(arrived.fields.get("x-auth-subject"), Some("u1"), "{connection}: {:?}", arrived.fields);
        }
    }
    // The last address is the connection's, not what the client says.
    let (_, arrived) = front.ask("GET", "/public/x", "X-Forwarded-For: 203.0.113.7\r\n");
    let chain = arrived.expect("it arrives").fields.get("x-forwarded-for").unwrap_or_default().to_owned();
    assert_ne!(chain.rsplit(',').next().unwrap().trim(), "203.0.113.7", "{chain}");
}

/// Whatever a client sends of how it should be asked about.
fn nobody_describes_another_request(front: &Front) {
    let reader = front.reader();
    for spoof in [
        "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: api.example.com\r\nX-Forwarded-Uri: /public/x\r\n",
        "X-Forwarded-Uri: /public/x\r\n",
        "X-Forwarded-Method: GET\r\n",
        "X-Original-Method: GET\r\nX-Original-URL: http://api.example.com/public/x\r\n",
        "X-Original-URI: /public/x\r\n",
        "X-Original-Method: GET\r\n",
        "X-HTTP-Method-Override: GET\r\n",
        "X-Rewrite-URL: /public/x\r\n",
        "x-envoy-original-path: /public/x\r\n",
        "Connection: close, X-Forwarded-Uri, X-Forwarded-Method, X-Original-Method, X-Original-URL\r\n",
    ] {
        for (method, target, fields) in
            [("POST", "/admin/x", ""), ("GET", "/admin/x", ""), ("DELETE", "/orders/7", &reader)]
        {
            let (answer, arrived) = front.ask(method, target, &format!("{spoof}{fields}"));
            assert!(answer.status >= 400 && arrived.is_none(), "{method} {target} with {spoof}: {}", answer.status);
        }
    }
}

/// Certificates are public: a token that is bound to one is good for who has its key, which only the proxy could tell.
fn nobody_shows_anothers_certificate(front: &Front) {
    let certificate = b"a certificate";
    let thumbprint = encode(digest::digest(&digest::SHA256, certificate));
    let token = front.issuer.token().scope("api:read").claim("cnf", json!({"x5t#S256": thumbprint})).build();
    let shown = BASE64_STANDARD.encode(certificate);
    for fields in [
        String::new(),
        format!("Client-Cert: :{shown}:\r\n"),
        format!("client-cert: :{shown}:\r\n"),
        format!("Client-Cert: :{shown}:\r\nClient-Cert: :{shown}:\r\n"),
        format!("Client_Cert: :{shown}:\r\n"),
        format!("Client-Cert: :{shown}:\r\nConnection: close, Client-Cert\r\n"),
        format!("X-Forwarded-Client-Cert: Cert=\"{shown}\"\r\n"),
    ] {
        let (answer, arrived) = front.ask("GET", "/orders/7", &format!("{}{fields}", bearer(&token)));
        assert!([400, 401].contains(&answer.status) && arrived.is_none(), "{fields}: {}", answer.status);
    }
}

/// A proof that comes to the proxy is held against the request that came with it, and goes on with it.
fn a_proof_is_of_the_request_that_the_proxy_has(front: &Front) {
    let key = Key::es256("client");
    let token = front.issuer.token().scope("api:read").claim("cnf", json!({"jkt": thumbprint(&key)})).build();
    let proof = |url: &str| Proof::new(&key, "GET", url, &token).build();
    let ask = |target: &str, proof: &str| {
        front.ask("GET", target, &format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n"))
    };
    let good = proof("http://api.example.com/orders/7");
    let (answer, arrived) = ask("/orders/7?a=b", &good);
    let arrived = arrived.unwrap_or_else(|| panic!("{}: {}", answer.text(), front.proxy.said()));
    assert_eq!(arrived.fields.get("authorization"), Some(&*format!("DPoP {token}")));
    assert_eq!(arrived.fields.all("dpop").collect::<Vec<_>>(), [&*good]);
    assert_eq!(arrived.fields.get("x-auth-subject"), Some("u1"));
    let elsewhere = proof("http://api.example.com/orders/8");
    for (target, proof) in [("/orders/7", good.as_str()), ("/orders/7", &elsewhere), ("/orders/9", &elsewhere)] {
        let (answer, arrived) = ask(target, proof);
        assert!(answer.status == 401 && arrived.is_none(), "{target}: {}", answer.status);
        let challenge = answer.fields.all("www-authenticate").next().expect("a challenge");
        assert!(challenge.starts_with("DPoP ") && challenge.contains("invalid_dpop_proof"), "{challenge}");
    }
    let (answer, arrived) = front.ask("GET", "/orders/7", &bearer(&token));
    assert!(answer.status == 401 && arrived.is_none());
}

/// Without a token, only what is public arrives, in every way to write a path; and what arrives was decided.
fn what_is_decided_is_what_arrives(front: &Front) {
    for target in [
        "/public/../admin/x",
        "/public/%2e%2e/admin/x",
        "/public/.%2E/admin/x",
        "/public/./x",
        "/public/..",
        "//admin/x",
        "//public/x",
        "/public//x",
        "/public//../admin/x",
        "/admin;x/x",
        "/public/x;y",
        "/public/..;/admin/x",
        "/%2Fadmin/x",
        "/public%2F..%2Fadmin/x",
        "/public/..%2fadmin/x",
        "/public/..%5cadmin/x",
        "/public/\\..\\admin",
        "/public/%252e%252e/admin/x",
        "/public/%252fadmin",
        "/Admin/x",
        "/PUBLIC/x",
        "/%70ublic/x",
        "/public/a%20b/%7Ec?d=/../e",
        "/public/[x]|y",
        "/public/%c3%a9",
        "/public/%00",
        "/public/x%",
        "/public/x#/../admin",
        "/public/?/../../admin",
        "http://api.example.com/admin/x",
        "http://api.example.com/public/x",
        "http://other.example/public/../admin/x",
        "*",
    ] {
        for method in ["GET", "OPTIONS", "POST"] {
            let (answer, arrived) = front.ask(method, target, "Content-Length: 0\r\n");
            let Some(arrived) = arrived else {
                // Some answer that one themselves.
                let is_refused = answer.status >= 400 || (method, target) == ("OPTIONS", "*");
                assert!(is_refused, "{method} {target}: {}", answer.status);
                continue;
            };
            assert_eq!(arrived.method, method);
            let path = arrived.target.split('?').next().unwrap();
            let canonical =
                CanonicalPath::parse(path).unwrap_or_else(|_| panic!("{method} {target} arrives as {path}"));
            assert!(canonical.as_str().starts_with("/public/"), "{method} {target} arrives as {path}");
            assert!(!bearward::path::has_dot_segments(path), "{method} {target} arrives as {path}");
        }
    }
    for target in ["/public/a%20b/~c?d=/../e", "/public/x;y", "/public/?a?b"] {
        assert_eq!(front.ask("GET", target, "").1.expect("it arrives").target, target);
    }
}

fn whatever_the_size(front: &Front) {
    let long = front.issuer.token().scope("api:read").claim("padding", "x".repeat(37_200).into()).build();
    assert!(long.len() > 49_700, "{}", long.len());
    let (answer, arrived) = front.ask("GET", "/orders/7", &bearer(&long));
    assert_eq!(answer.status, 200, "{}", front.proxy.said());
    assert_eq!(arrived.expect("it arrives").fields.get("authorization"), Some(&*format!("Bearer {long}")));

    let many = (0..120).map(|number| format!("X-Field-{number}: x\r\n")).collect::<String>();
    for fields in [many, format!("X-Long: {}\r\n", "x".repeat(200_000))] {
        let request = format!("GET /admin/x HTTP/1.1\r\nHost: api.example.com\r\n{fields}\r\n");
        refused_or_cut(front, &request);
    }
}

/// Not all read to the end what is too large for them.
fn refused_or_cut(front: &Front, request: &str) {
    front.api.forget();
    let mut client = Client::connect(front.proxy.address);
    client.try_send(request).ok();
    if let Ok(Some(answer)) = client.try_receive("GET") {
        assert!(answer.status >= 400, "{}", answer.status);
    }
    assert!(front.api.requests().is_empty());
}

#[test]
fn nginx_asks() {
    if let Some(front) = Front::start("nginx", "gateway.yaml", Proxy::nginx) {
        everything(&front);
    }
}

/// nginx hands on of a refusal what it is told to.
#[test]
fn nginx_hands_a_nonce_on() {
    let asking = |yaml: String| yaml.replace("audiences: [api]", "audiences: [api]\n    dpop: {nonce: true}");
    let Some(front) = Front::with("nginx", "gateway.yaml", Proxy::nginx, asking) else { return };
    let key = Key::es256("client");
    let token = front.issuer.token().scope("api:read").claim("cnf", json!({"jkt": thumbprint(&key)})).build();
    let ask = |nonce: &str| {
        let proof = Proof::new(&key, "GET", "http://api.example.com/orders/7", &token).claim("nonce", json!(nonce));
        front.ask("GET", "/orders/7", &format!("Authorization: DPoP {token}\r\nDPoP: {}\r\n", proof.build())).0
    };
    let refused = ask("x");
    let challenges = refused.fields.all("www-authenticate").collect::<Vec<_>>();
    assert!(refused.status == 401 && challenges.concat().contains("use_dpop_nonce"), "{challenges:?}");
    let good = ask(refused.fields.get("dpop-nonce").expect("a nonce"));
    assert_eq!((good.status, good.fields.get("dpop-nonce")), (200, None));
}

#[test]
fn traefik_asks() {
    if let Some(front) = Front::start("traefik", "gateway.yaml", Proxy::traefik) {
        everything(&front);
    }
}

#[test]
fn caddy_asks() {
    if let Some(front) = Front::start("caddy", "gateway.yaml", Proxy::caddy) {
        everything(&front);
    }
}

#[test]
fn envoy_asks_over_http() {
    if let Some(front) = Front::start("envoy", "gateway-http.yaml", Proxy::envoy_http) {
        everything(&front);
    }
}

#[test]
fn envoy_asks() {
    if let Some(front) = Front::start("envoy", "gateway.yaml", Proxy::envoy) {
        everything(&front);
        // Envoy can take a token away from the query, too.
        let token = front.issuer.token().build();
        let (_, arrived) = front.ask("GET", &format!("/downloads/a?access_token={token}&x=y"), "");
        assert_eq!(arrived.expect("it arrives").target, "/downloads/a?x=y");
    }
}
