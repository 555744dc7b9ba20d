//! Tokens that are bound to a client's certificate (RFC 8705): whoever has the token and not the certificate's key gets
//! nowhere.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::{ClientConfig, HandshakeKind};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    authorization_server::AuthorizationServer,
    certificates::{Authority, Identity, over},
    gateway::{Gateway, configuration_of},
    h2::Connection,
    issuer::Issuer,
    keys::Key,
    raw::{Response, exchange},
    token::{Token, encode},
    upstream::Upstream,
};

const ROUTES: &str = "
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
  - {name: open, path: /open, upstream: echo, allow: public}
";

/// Listener 0 is in clear, 1 with TLS.
struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
    authority: Authority,
    _folder: tempfile::TempDir,
}

fn scene(server: &str, issuer_keys: &str) -> Scene {
    scene_with(server, issuer_keys, |yaml| yaml)
}

fn scene_with(server: &str, issuer_keys: &str, change: impl FnOnce(String) -> String) -> Scene {
    let (issuer, upstream, authority) = (Issuer::start(&Key::es256("k1")), Upstream::start(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.sign(2090).write(folder.path());
    let ca = folder.path().join("clients.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let tls =
        format!("{{certificate: {}, key: {}, client_ca: {}}}", certificate.display(), key.display(), ca.display());
    let issuers = format!("  main: {{issuer: \"{}\", audiences: [api]{issuer_keys}}}\n", issuer.url());
    let yaml = configuration_of(&issuers, &upstream.url(), ROUTES)
        .replace("[\"127.0.0.1:0\"]", &format!("[\"127.0.0.1:0\", {{address: \"127.0.0.1:0\", tls: {tls}}}]"))
        .replace("server: {", &format!("server: {{{server}"));
    Scene { issuer, upstream, gateway: Gateway::start(&change(yaml)), authority, _folder: folder }
}

impl Scene {
    fn bound(&self, identity: &Identity) -> String {
        self.issuer.token().claim("cnf", json!({"x5t#S256": thumbprint(identity)})).build()
    }

    fn secure(&self) -> SocketAddr {
        self.gateway.address_of(1)
    }

    /// The status of a GET over TLS, with this certificate.
    fn get(&self, identity: Option<&Identity>, token: &str) -> u16 {
        let (status, _) = get(self.secure(), self.authority.client(identity, &[]), token);
        status
    }

    fn refused(&self) -> f64 {
        let labels = "issuer=\"main\",outcome=\"deny\",reason=\"binding\",route=\"closed\"";
        self.gateway.metric(&format!("bearward_decisions_total{{{labels}}}"))
    }
}

fn thumbprint(identity: &Identity) -> String {
    encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, identity.der()))
}

fn client_cert(identity: &Identity) -> String {
    format!(":{}:", BASE64_STANDARD.encode(identity.der()))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The status of a GET, and how hands were shaken for it.
fn get(address: SocketAddr, config: Arc<ClientConfig>, token: &str) -> (u16, Option<HandshakeKind>) {
    let mut stream = over(connect(address), config);
    let head = "GET /closed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer";
    stream.write_all(format!("{head} {token}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text.get(9..12).unwrap().parse().unwrap(), stream.conn.handshake_kind())
}

#[track_caller]
fn is_refused(response: &Response, description: &str) {
    assert_eq!(response.status, 401, "{}", response.text());
    let challenge = response.challenge().unwrap();
    assert_eq!((challenge.scheme.as_str(), challenge.error()), ("Bearer", Some("invalid_token")));
    assert!(challenge.get("error_description").unwrap().contains(description), "{challenge:?}");
}

#[test]
fn only_the_certificate_that_a_token_is_bound_to_lets_it_in() {
    let scene = scene("", "");
    let (own, other) = (scene.authority.sign(2090), scene.authority.sign(2091));
    let token = scene.bound(&own);
    // The verdict about the token is remembered after the first; its proof is asked each time.
    let asked = [Some(&own), Some(&other), None, Some(&own), Some(&other)].map(|identity| scene.get(identity, &token));
    assert_eq!(asked, [200, 401, 401, 200, 401]);
    assert_eq!(scene.refused(), 3.0);
    assert_eq!(scene.upstream.requests().len(), 2);

    let free = scene.issuer.token().build();
    assert_eq!([Some(&own), None].map(|identity| scene.get(identity, &free)), [200, 200]);
    is_refused(&scene.gateway.get_with("/closed", &token), "comes without one");
}

#[test]
fn a_binding_that_is_not_understood_is_nobodys_to_prove() {
    let scene = scene("", "");
    let own = scene.authority.sign(2090);
    let mark = thumbprint(&own);
    for cnf in [
        json!({"x5t": mark}),
        json!({"x5t#S256": mark, "kid": "k"}),
        json!({"x5t#S256": [mark]}),
        json!({"x5t#S256": mark.clone() + "="}),
        json!({"x5t#S256": ""}),
        json!({}),
        json!(mark),
    ] {
        let token = scene.issuer.token().claim("cnf", cnf.clone()).build();
        assert_eq!(scene.get(Some(&own), &token), 401, "{cnf}");
    }
    assert!(scene.upstream.requests().is_empty());
}

#[test]
fn a_resumed_session_is_of_the_client_that_began_it() {
    let scene = scene("", "");
    let (own, other) = (scene.authority.sign(2090), scene.authority.sign(2091));
    let token = scene.bound(&own);
    for (identity, status) in [(&own, 200), (&other, 401)] {
        let config = scene.authority.client(Some(identity), &["http/1.1"]);
        let first = get(scene.secure(), config.clone(), &token);
        let second = get(scene.secure(), config, &token);
        assert_eq!((first.0, second), (status, (status, Some(HandshakeKind::Resumed))));
    }
}

#[test]
fn a_resumed_session_over_http2_is_of_the_client_that_began_it() {
    let scene = scene("", "");
    let (own, other) = (scene.authority.sign(2090), scene.authority.sign(2091));
    let authorization = format!("Bearer {}", scene.bound(&own));
    for (identity, status) in [(&own, 200), (&other, 401)] {
        let config = scene.authority.client(Some(identity), &["h2"]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = over(connect(scene.secure()), config.clone());
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).unwrap();
            }
            assert_eq!(stream.conn.handshake_kind(), Some(kind));
            let mut connection = Connection::over(stream);
            let fields = [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "localhost"),
                (":path", "/closed"),
                ("authorization", authorization.as_str()),
            ];
            connection.request(1, true, &fields);
            assert_eq!(connection.outcome(1).status(), status);
        }
    }
}

/// What the issuer says of a token is remembered; whose connection it is isn't.
#[test]
fn an_answer_that_is_remembered_is_nobody_elses() {
    let server = AuthorizationServer::start();
    let asked = format!(
        ", jwt: {{}}, introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s}}",
        server.introspection()
    );
    let scene = scene("", &asked);
    let (own, other) = (scene.authority.sign(2090), scene.authority.sign(2091));
    server.active("opaque", json!({"sub": "joe", "cnf": {"x5t#S256": thumbprint(&own)}}));
    let ways = [Some(&other), Some(&own), Some(&other), None, Some(&own)];
    assert_eq!(ways.map(|identity| scene.get(identity, "opaque")), [401, 200, 401, 401, 200]);
    assert_eq!(server.asked(), 1);
}

#[test]
fn over_http2_too() {
    let scene = scene("", "");
    let (own, other) = (scene.authority.sign(2090), scene.authority.sign(2091));
    let authorization = format!("Bearer {}", scene.bound(&own));
    for (identity, status) in [(Some(&own), 200), (Some(&other), 401), (None, 401)] {
        let stream = over(connect(scene.secure()), scene.authority.client(identity, &["h2"]));
        let mut connection = Connection::over(stream);
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/closed"),
            ("authorization", authorization.as_str()),
        ];
        // Two on one connection.
        for stream in [1, 3] {
            connection.request(stream, true, &fields);
            assert_eq!(connection.outcome(stream).status(), status);
        }
    }
}

#[test]
fn a_trusted_proxy_tells_of_its_clients_certificate() {
    let scene = scene("trusted_proxies: [127.0.0.1], ", "");
    let (own, other) = (scene.authority.sign(2090), scene.authority.sign(2091));
    let token = scene.bound(&own);
    let call =
        |fields: &str| scene.gateway.call("GET", "/closed", &format!("Authorization: Bearer {token}\r\n{fields}"));
    let (right, wrong) = (client_cert(&own), client_cert(&other));
    assert_eq!(call(&format!("Client-Cert: {right}\r\n")).status, 200);
    assert_eq!(scene.upstream.last_request().fields.get("client-cert"), Some(right.as_str()));
    is_refused(&call(""), "comes without one");
    is_refused(&call(&format!("Client-Cert: {wrong}\r\n")), "another client certificate");
    is_refused(&call(&format!("Client_Cert: {right}\r\n")), "comes without one");
    is_refused(&call(&format!("X-Forwarded-Client-Cert: Cert={right}\r\n")), "comes without one");
    for unclear in [
        format!("Client-Cert: {right}\r\nClient-Cert: {right}\r\n"),
        format!("Client-Cert: {right}, {right}\r\n"),
        format!("Client-Cert: {wrong}\r\nClient-Cert: {right}\r\n"),
        format!("Client-Cert: {right};a=1\r\n"),
        format!("Client-Cert: {}\r\n", right.trim_matches(':')),
        "Client-Cert: ::\r\n".to_owned(),
        "Client-Cert:\r\n".to_owned(),
    ] {
        is_refused(&call(&unclear), "not passed on in a form");
    }
    // A proxy that shows a certificate of its own is not its client.
    let target = scene.secure();
    let ask = |identity: &Identity, fields: &str| {
        let mut stream = over(connect(target), scene.authority.client(Some(identity), &[]));
        let head = "GET /closed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        stream.write_all(format!("{head}Authorization: Bearer {token}\r\n{fields}\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.get(9..12).unwrap().to_owned()
    };
    assert_eq!(ask(&other, &format!("Client-Cert: {right}\r\n")), "200");
    assert_eq!(ask(&own, &format!("Client-Cert: {wrong}\r\n")), "401");
    assert_eq!(ask(&own, "Client-Cert: x\r\n"), "401");
}

#[test]
fn nobody_else_tells_of_a_certificate() {
    let scene = scene("trusted_proxies: [192.0.2.1], ", "");
    let own = scene.authority.sign(2090);
    let token = scene.bound(&own);
    let fields = format!("Client-Cert: {0}\r\nClient-Cert-Chain: {0}\r\nclient_cert: {0}\r\n", client_cert(&own));
    is_refused(
        &scene.gateway.call("GET", "/closed", &format!("Authorization: Bearer {token}\r\n{fields}")),
        "comes without one",
    );
    assert_eq!(scene.gateway.call("GET", "/open", &fields).status, 200);
    let passed = scene.upstream.only_request();
    let names = passed.fields.0.iter().map(|(name, _)| name.to_ascii_lowercase());
    assert_eq!(names.filter(|name| name.starts_with("client")).count(), 0, "{:?}", passed.fields);
}

/// Where another proxy has the request, the connection's certificate is that proxy's: it proves nothing for its clients.
#[test]
fn a_proxy_that_asks_proves_nothing_by_its_own_certificate() {
    for (trusted, is_told) in [("192.0.2.1", false), ("127.0.0.1", true)] {
        let place = |from: &str| format!("mode: forward_auth, request_from: {from}, tls: {{certificate");
        let scene = scene_with(&format!("trusted_proxies: [{trusted}], "), "", |yaml| {
            yaml.replace("tls: {certificate", &place("x_original"))
        });
        let (own, other) = (scene.authority.sign(2090), scene.authority.sign(2091));
        let (of_proxy, of_client) = (scene.bound(&own), scene.bound(&other));
        let ask = |token: &str, fields: &str| {
            let mut stream = over(connect(scene.secure()), scene.authority.client(Some(&own), &[]));
            let described = "X-Original-Method: GET\r\nX-Original-URL: https://api.example/closed\r\n";
            let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{described}{fields}");
            stream.write_all(format!("{head}Authorization: Bearer {token}\r\n\r\n").as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer.get(9..12).unwrap().to_owned()
        };
        assert_eq!(ask(&scene.issuer.token().build(), ""), "200");
        assert_eq!(ask(&of_proxy, ""), "401");
        let told = ask(&of_client, &format!("Client-Cert: {}\r\n", client_cert(&other)));
        assert_eq!(told, if is_told { "200" } else { "401" });
        assert_eq!(ask(&of_proxy, &format!("Client-Cert: {}\r\n", client_cert(&other))), "401");
    }
}

#[test]
fn a_token_that_its_issuer_says_is_bound_is_bound() {
    let (server, upstream, authority) = (AuthorizationServer::start(), Upstream::start(), Authority::new());
    let own = authority.sign(2090);
    let issuer = format!(
        "  a: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s}}}}\n",
        server.introspection()
    );
    let yaml = configuration_of(&issuer, &upstream.url(), ROUTES)
        .replace("server: {", "server: {trusted_proxies: [127.0.0.1], ");
    let gateway = Gateway::start(&yaml);
    server.active("t1", json!({"sub": "joe", "cnf": {"x5t#S256": thumbprint(&own)}}));
    let call = |fields: &str| {
        let authorization = "Authorization: Bearer t1\r\n";
        exchange(gateway.address, "GET", "/closed", &format!("{authorization}{fields}")).status
    };
    let shown = format!("Client-Cert: {}\r\n", client_cert(&own));
    assert_eq!([call(&shown), call(""), call(&shown)], [200, 401, 200]);
    assert_eq!(server.asked(), 1);
    server.active("t2", json!({"sub": "joe", "token_type": "DPoP", "cnf": {"x5t#S256": thumbprint(&own)}}));
    let fields = format!("Authorization: Bearer t2\r\n{shown}");
    assert_eq!(exchange(gateway.address, "GET", "/closed", &fields).status, 401);
}

#[test]
fn explain_says_whom_a_token_is_bound_to() {
    let scene = scene("", "");
    let own = scene.authority.sign(2090);
    let ask = |token: &Token| {
        let question = json!({"method": "GET", "url": "/closed", "token": token.build()});
        scene.gateway.ask_admin("/explain", &question.to_string())
    };
    let step = |answer: &Value| {
        let steps = answer["token"]["steps"].as_array().unwrap();
        steps.iter().find(|step| step["step"] == "binding").unwrap()["detail"].as_str().unwrap().to_owned()
    };
    let answer = ask(&scene.issuer.token().claim("cnf", json!({"x5t#S256": thumbprint(&own)})));
    assert_eq!(answer["decision"], "allow");
    assert!(step(&answer).contains(&thumbprint(&own)) && step(&answer).contains("taken as given"), "{answer}");
    let answer = ask(&scene.issuer.token().claim("cnf", json!({"x5t": "x"})));
    assert_eq!((answer["decision"].as_str(), answer["reason"].as_str()), (Some("deny"), Some("binding")));
    assert!(step(&answer).contains("isn't understood"), "{answer}");
}
