//! Tokens that are bound to a key of their client (RFC 9449): a thief who has the token, and a proof that was used with it,
//! gets nowhere.

use std::{net::TcpStream, thread};

use serde_json::{Value, json};

use crate::support::{
    authorization_server::AuthorizationServer,
    challenge::Challenge,
    gateway::{Gateway, configuration_of},
    h2::Connection,
    issuer::Issuer,
    keys::Key,
    proofs::{Proof, thumbprint},
    raw::{Client, Response, exchange},
    token::{Token, encode},
    upstream::Upstream,
};

const ROUTES: &str = "
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
  - {name: scoped, path: /scoped, upstream: echo, allow: [{scopes: [x]}]}
  - {name: open, path: /open, upstream: echo, allow: public}
  - {name: query, path: /query, upstream: echo, allow: authenticated, token_from: [header, {query: access_token}]}
  - {name: alone, path: /alone, upstream: echo, allow: authenticated, identity: {authorization: remove}}
";

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
    /// The client's.
    key: Key,
}

fn scene(issuer_keys: &str, change: impl FnOnce(String) -> String) -> Scene {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let issuers = format!("  main: {{issuer: \"{}\", audiences: [api]{issuer_keys}}}\n", issuer.url());
    let gateway = Gateway::start(&change(configuration_of(&issuers, &upstream.url(), ROUTES)));
    Scene { issuer, upstream, gateway, key: Key::es256("client") }
}

fn plain() -> Scene {
    scene("", |yaml| yaml)
}

impl Scene {
    fn token(&self) -> Token {
        self.issuer.token().claim("cnf", json!({"jkt": thumbprint(&self.key)}))
    }

    /// A good one for this.
    fn proof(&self, path: &str, token: &str) -> Proof {
        Proof::new(&self.key, "GET", &format!("http://{}{path}", self.gateway.address), token)
    }

    fn get(&self, path: &str, token: &str, proof: &str) -> Response {
        self.gateway.call("GET", path, &fields(token, proof))
    }

    fn refused_for_binding(&self) -> f64 {
        let labels = "issuer=\"main\",outcome=\"deny\",reason=\"binding\",route=\"closed\"";
        self.gateway.metric(&format!("bearward_decisions_total{{{labels}}}"))
    }
}

fn fields(token: &str, proof: &str) -> String {
    format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n")
}

fn challenges(response: &Response) -> Vec<Challenge> {
    response.fields.all("www-authenticate").map(Challenge::parse).collect()
}

/// By a challenge of DPoP that comes first.
#[track_caller]
fn is_refused(response: &Response, error: &str, description: &str) {
    assert_eq!(response.status, 401, "{}", response.text());
    let challenges = challenges(response);
    assert_eq!((challenges[0].scheme.as_str(), challenges[0].error()), ("DPoP", Some(error)), "{challenges:?}");
    assert!(challenges[0].get("algs").unwrap().contains("ES256"), "{challenges:?}");
    let found = challenges[0].get("error_description").unwrap();
    assert!(found.contains(description), "{found}");
    assert_eq!(response.fields.get("cache-control"), Some("no-store"));
}

#[test]
fn a_proof_lets_its_request_in_once() {
    let scene = plain();
    let token = scene.token().build();
    let proof = scene.proof("/closed", &token).build();
    assert_eq!(scene.get("/closed", &token, &proof).status, 200);
    let passed = scene.upstream.only_request();
    assert_eq!(passed.fields.get("authorization"), Some(&*format!("DPoP {token}")));
    assert_eq!(passed.fields.get("dpop"), Some(&*proof));
    is_refused(&scene.get("/closed", &token, &proof), "invalid_dpop_proof", "used before");
    is_refused(&scene.get("/scoped", &token, &proof), "invalid_dpop_proof", "another address");
    // The token is remembered; each request needs a proof of its own all the same.
    for _ in 0..3 {
        assert_eq!(scene.get("/closed", &token, &scene.proof("/closed", &token).build()).status, 200);
    }
    is_refused(
        &scene.gateway.call("GET", "/closed", &format!("Authorization: DPoP {token}\r\n")),
        "invalid_dpop_proof",
        "needed",
    );
    assert_eq!(scene.refused_for_binding(), 2.0);
    for scheme in ["dpop", "DPOP", "dPoP   "] {
        let proof = scene.proof("/closed", &token).build();
        let fields = format!("Authorization: {scheme} {token}\r\nDPoP: {proof}\r\n");
        assert_eq!(scene.gateway.call("GET", "/closed", &fields).status, 200, "{scheme}");
        assert_eq!(scene.upstream.last_request().fields.get("authorization"), Some(&*format!("DPoP {token}")));
    }
}

#[test]
fn of_many_that_come_with_one_proof_one_is_let_in() {
    let scene = plain();
    let token = scene.token().build();
    for _ in 0..5 {
        let proof = scene.proof("/closed", &token).build();
        let statuses = thread::scope(|scope| {
            let asking = [(); 8].map(|()| scope.spawn(|| scene.get("/closed", &token, &proof).status));
            asking.map(|asking| asking.join().unwrap())
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    }
}

#[test]
fn what_a_thief_may_try() {
    let scene = plain();
    let (token, thief) = (scene.token().build(), Key::es256("thief"));
    let address = format!("http://{}/closed", scene.gateway.address);
    let own = || scene.proof("/closed", &token);
    // The token as anybody's.
    is_refused(&scene.gateway.get_with("/closed", &token), "invalid_token", "without a DPoP proof");
    let beside = format!("Authorization: Bearer {token}\r\nDPoP: {}\r\n", own().build());
    is_refused(&scene.gateway.call("GET", "/closed", &beside), "invalid_token", "without a DPoP proof");
    is_refused(&scene.gateway.get(&format!("/query?access_token={token}")), "invalid_token", "without a DPoP proof");
    let in_query =
        scene.gateway.call("GET", &format!("/query?access_token={token}"), &format!("DPoP: {}\r\n", own().build()));
    is_refused(&in_query, "invalid_token", "without a DPoP proof");
    // A proof by another key; one for another token, method or address; an old one.
    let other = scene.token().sub("other").build();
    for (proof, error, description) in [
        (Proof::new(&thief, "GET", &address, &token), "invalid_token", "another key"),
        (own().header("jwk", thief.jwk()), "invalid_token", "another key"),
        (own().signed_by(&thief), "invalid_dpop_proof", "signature"),
        (Proof::new(&scene.key, "GET", &address, &other), "invalid_dpop_proof", "another token"),
        (Proof::new(&scene.key, "POST", &address, &token), "invalid_dpop_proof", "another method"),
        (Proof::new(&scene.key, "GET", "https://api.example/closed", &token), "invalid_dpop_proof", "another address"),
        (own().claim("htu", json!(address.replace("http:", "https:"))), "invalid_dpop_proof", "another address"),
        (own().claim("iat", json!(crate::support::token::now() - 200)), "invalid_dpop_proof", "too old"),
        (own().claim("iat", json!(crate::support::token::now() + 200)), "invalid_dpop_proof", "future"),
        (own().claim("ath", Value::Null), "invalid_dpop_proof", "malformed"),
        (own().claim("jti", Value::Null), "invalid_dpop_proof", "malformed"),
        (own().header("alg", json!("none")), "invalid_dpop_proof", "algorithm"),
        (own().header("typ", json!("JWT")), "invalid_dpop_proof", "type"),
    ] {
        is_refused(&scene.get("/closed", &token, &proof.build()), error, description);
    }
    // The token as its own proof, and the proof as a token.
    is_refused(&scene.get("/closed", &token, &token), "invalid_dpop_proof", "type");
    is_refused(&scene.get("/closed", &own().build(), &own().build()), "invalid_token", "");
    // Two proofs.
    let twice = format!("{}DPoP: {}\r\n", fields(&token, &own().build()), own().build());
    is_refused(&scene.gateway.call("GET", "/closed", &twice), "invalid_dpop_proof", "more than one");
    // A token that isn't bound gains nothing by a proof.
    let free = scene.issuer.token().build();
    let unbound = scene.get("/closed", &free, &scene.proof("/closed", &free).build());
    is_refused(&unbound, "invalid_token", "not bound");
    // Nor does `Connection` take the proof away that a request was let in with.
    let proof = own().build();
    assert!(scene.upstream.requests().is_empty());
    let fields = format!("{}Connection: close, dpop\r\n", fields(&token, &proof));
    let mut client = Client::connect(scene.gateway.address);
    client.send(format!("GET /closed HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", scene.gateway.address));
    assert_eq!(client.receive().status, 200);
    assert_eq!(scene.upstream.only_request().fields.get("dpop"), Some(&*proof));
}

#[test]
fn faults_of_the_token_come_first() {
    let scene = plain();
    let expired = scene.token().exp_in(-600).build();
    let response = scene.get("/closed", &expired, "nonsense");
    is_refused(&response, "invalid_token", "expired");
    let response = scene.get("/scoped", &scene.token().build(), "nonsense");
    is_refused(&response, "invalid_dpop_proof", "malformed");
    let token = scene.token().build();
    let response = scene.get("/scoped", &token, &scene.proof("/scoped", &token).build());
    assert_eq!((response.status, challenges(&response)[0].scheme.as_str()), (403, "DPoP"));
    let malformed = scene.gateway.call("GET", "/closed", "Authorization: DPoP a b\r\n");
    assert_eq!((malformed.status, challenges(&malformed)[0].error()), (400, Some("invalid_request")));
    let two = format!("{}Authorization: Bearer {token}\r\n", fields(&token, "x"));
    assert_eq!(scene.gateway.call("GET", "/closed", &two).status, 400);
}

#[test]
fn a_challenge_names_the_schemes_that_a_route_offers() {
    let schemes = |scene: &Scene, fields: &str| {
        let response = scene.gateway.call("GET", "/closed", fields);
        let named = challenges(&response).into_iter().map(|challenge| {
            let error = challenge.error().map(|error| format!(" {error}")).unwrap_or_default();
            format!("{}{error}", challenge.scheme)
        });
        (response.status, named.collect::<Vec<_>>().join(", "))
    };
    let says = |status: u16, text: &str| (status, text.to_owned());
    let default = plain();
    assert_eq!(schemes(&default, ""), says(401, "Bearer"));
    assert_eq!(schemes(&default, "Authorization: Bearer x\r\n"), says(401, "Bearer invalid_token"));
    assert_eq!(schemes(&default, "Authorization: DPoP x\r\n"), says(401, "DPoP invalid_token, Bearer"));
    let offering = scene(", dpop: {max_age: 30s}", |yaml| yaml);
    assert_eq!(schemes(&offering, ""), says(401, "Bearer, DPoP"));
    assert_eq!(schemes(&offering, "Authorization: Bearer x\r\n"), says(401, "Bearer invalid_token, DPoP"));
    let demanding = scene(", sender_constraint: dpop, jwt: {algorithms: [ES256, EdDSA, RS256]}", |yaml| yaml);
    assert_eq!(schemes(&demanding, ""), says(401, "DPoP"));
    let free = demanding.issuer.token().build();
    assert_eq!(schemes(&demanding, &format!("Authorization: Bearer {free}\r\n")), says(401, "DPoP invalid_token"));
    let response = demanding.gateway.get("/closed");
    assert_eq!(response.fields.get("www-authenticate"), Some("DPoP algs=\"RS256 ES256 EdDSA Ed25519\""));
    let token = demanding.token().build();
    assert_eq!(demanding.get("/closed", &token, &demanding.proof("/closed", &token).build()).status, 200);
    let by_certificate = scene(", sender_constraint: mtls", |yaml| yaml);
    let free = by_certificate.issuer.token().build();
    assert_eq!(
        schemes(&by_certificate, &format!("Authorization: Bearer {free}\r\n")),
        says(401, "Bearer invalid_token")
    );
    let token = by_certificate.token().build();
    let fields = fields(&token, &by_certificate.proof("/closed", &token).build());
    assert_eq!(schemes(&by_certificate, &fields).0, 401);
}

#[test]
fn clients_are_asked_for_a_nonce_where_that_is_wanted() {
    let scene = scene(", dpop: {nonce: true}", |yaml| yaml);
    let token = scene.token().build();
    let first = scene.get("/closed", &token, &scene.proof("/closed", &token).build());
    is_refused(&first, "use_dpop_nonce", "nonce");
    let nonce = first.fields.get("dpop-nonce").unwrap();
    let with_nonce = || scene.proof("/closed", &token).claim("nonce", json!(nonce));
    assert_eq!(scene.get("/closed", &token, &with_nonce().build()).status, 200);
    assert_eq!(scene.get("/closed", &token, &with_nonce().build()).status, 200);
    let wrong = scene.get("/closed", &token, &with_nonce().claim("nonce", json!("x")).build());
    is_refused(&wrong, "use_dpop_nonce", "nonce");
    let others = scene.get("/closed", &token, &Proof::new(&Key::es256("x"), "GET", "http://x/", &token).build());
    assert_eq!(others.fields.get("dpop-nonce"), None);
}

#[test]
fn an_address_is_the_one_that_clients_see() {
    let scene = scene("", |yaml| yaml.replace("server: {", "server: {trusted_proxies: [127.0.0.1], "));
    let token = scene.token().build();
    let ask = |htu: &str, host: &str, path: &str, more: &str| {
        let proof = Proof::new(&scene.key, "GET", htu, &token).build();
        let mut client = Client::connect(scene.gateway.address);
        let fields = fields(&token, &proof);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}{more}\r\n"));
        client.receive().status
    };
    let https = "X-Forwarded-Proto: https\r\n";
    for (htu, host, path, more, status) in [
        ("https://api.example/closed", "api.example", "/closed", https, 200),
        ("https://API.example:443/closed", "api.example", "/closed?a=b", https, 200),
        ("https://api.example/closed", "api.example:443", "/%63losed", https, 200),
        ("https://api.example/x/../closed?a=b#c", "api.example", "/closed", https, 200),
        ("http://api.example/closed", "api.example", "/closed", "", 200),
        ("http://api.example/closed", "api.example", "/closed", https, 401),
        ("https://api.example/closed", "api.example", "/closed", "", 401),
        ("https://api.example:8443/closed", "api.example", "/closed", https, 401),
        ("https://api.example/closed/", "api.example", "/closed", https, 401),
        ("https://evil.example/closed", "api.example", "/closed", "X-Forwarded-Host: evil.example\r\n", 401),
    ] {
        assert_eq!(ask(htu, host, path, more), status, "{htu} {host} {path} {more}");
    }
}

#[test]
fn over_http2_too() {
    let scene = plain();
    let token = scene.token().build();
    let proof = Proof::new(&scene.key, "GET", "http://api.example/closed", &token).build();
    let authorization = format!("DPoP {token}");
    let mut connection = Connection::connect(scene.gateway.address);
    for (stream, status) in [(1, 200), (3, 401)] {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "api.example"),
            (":path", "/closed"),
            ("authorization", authorization.as_str()),
            ("dpop", proof.as_str()),
        ];
        connection.request(stream, true, &fields);
        assert_eq!(connection.outcome(stream).status(), status);
    }
}

#[test]
fn what_goes_on_upstream() {
    let scene = plain();
    let token = scene.token().build();
    assert_eq!(scene.get("/alone", &token, &scene.proof("/alone", &token).build()).status, 200);
    let passed = scene.upstream.last_request();
    assert_eq!((passed.fields.get("authorization"), passed.fields.get("dpop")), (None, None));
    assert_eq!(scene.get("/open", &token, "as it is").status, 200);
    let passed = scene.upstream.last_request();
    assert_eq!(passed.fields.get("authorization"), Some(&*format!("DPoP {token}")));
    assert_eq!(passed.fields.get("dpop"), Some("as it is"));
}

#[test]
fn a_token_that_its_issuer_says_is_bound_is_bound() {
    let (server, upstream, key) = (AuthorizationServer::start(), Upstream::start(), Key::eddsa("client"));
    let issuer = format!(
        "  a: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s}}}}\n",
        server.introspection()
    );
    let gateway = Gateway::start(&configuration_of(&issuer, &upstream.url(), ROUTES));
    server.active("t1", json!({"sub": "joe", "token_type": "DPoP", "cnf": {"jkt": thumbprint(&key)}}));
    let address = format!("http://{}/closed", gateway.address);
    let ask = |key: &Key| {
        let proof = Proof::new(key, "GET", &address, "t1").build();
        exchange(gateway.address, "GET", "/closed", &fields("t1", &proof)).status
    };
    assert_eq!([ask(&key), ask(&Key::eddsa("thief")), ask(&key)], [200, 401, 200]);
    assert_eq!(gateway.get_with("/closed", "t1").status, 401);
    assert_eq!(server.asked(), 1);
}

/// The issuer has vouched for the JWT, `cnf` and all, though it doesn't repeat it.
#[test]
fn an_issuer_that_says_less_than_its_token_takes_no_binding_away() {
    let (server, upstream, key) = (AuthorizationServer::start(), Upstream::start(), Key::eddsa("client"));
    let issuer = format!(
        "  a: {{audiences: any, introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s}}}}\n",
        server.introspection()
    );
    let gateway = Gateway::start(&configuration_of(&issuer, &upstream.url(), ROUTES));
    let token = |cnf: Value| Token::new("x", &key).without("iss").claim("cnf", cnf).build();
    let bound = token(json!({"jkt": thumbprint(&key)}));
    let (unclear, free) = (token(json!({"kid": "k"})), token(Value::Null));
    for token in [&bound, &unclear, &free] {
        server.active(token, json!({"sub": "joe"}));
    }
    let as_bearer = [&bound, &unclear, &free].map(|token| gateway.get_with("/closed", token).status);
    assert_eq!(as_bearer, [401, 401, 200]);
    let proof = Proof::new(&key, "GET", &format!("http://{}/closed", gateway.address), &bound).build();
    assert_eq!(gateway.call("GET", "/closed", &fields(&bound, &proof)).status, 200);
    // What the issuer says itself goes before.
    let replaced = token(json!({"jkt": thumbprint(&Key::eddsa("before"))}));
    server.active(&replaced, json!({"sub": "joe", "cnf": {"jkt": thumbprint(&key)}}));
    let proof = Proof::new(&key, "GET", &format!("http://{}/closed", gateway.address), &replaced).build();
    assert_eq!(gateway.call("GET", "/closed", &fields(&replaced, &proof)).status, 200);
}

#[test]
fn explain_holds_a_proof_against_the_request_and_uses_none_up() {
    let scene = plain();
    let token = scene.token().build();
    let url = format!("http://{}/closed", scene.gateway.address);
    let proof = scene.proof("/closed", &token).build();
    let ask = |headers: Value| {
        let question = json!({"method": "GET", "url": url, "token": token, "headers": headers});
        let answer = scene.gateway.ask_admin("/explain", &question.to_string());
        let steps = answer["token"]["steps"].as_array().unwrap().clone();
        let step = steps.iter().find(|step| step["step"] == "binding").unwrap()["detail"].as_str().unwrap().to_owned();
        (answer["decision"].as_str().unwrap().to_owned(), step, answer)
    };
    let (decision, step, answer) = ask(json!({}));
    assert_eq!(decision, "allow");
    assert!(step.contains(&thumbprint(&scene.key)) && step.contains("taken as given"), "{step}");
    for (name, shown) in [("Authorization", "DPoP (masked)"), ("Dpop", "(masked)")] {
        assert_eq!(answer["upstream_headers"][name], shown, "{answer}");
    }
    let (decision, step, answer) = ask(json!({"DPoP": proof}));
    assert_eq!(decision, "allow", "{answer}");
    assert!(step.contains("comes from there"), "{step}");
    assert_eq!(answer["upstream_headers"]["Authorization"], "DPoP (masked)");
    assert!(!answer.to_string().contains(&proof) && !answer.to_string().contains(&token));
    let (decision, step, answer) = ask(json!({"DPoP": scene.proof("/other", &token).build()}));
    assert_eq!((decision.as_str(), answer["reason"].as_str()), ("deny", Some("binding")));
    assert!(step.contains("another address"), "{step}");
    assert_eq!(scene.get("/closed", &token, &proof).status, 200, "explain has used it up");
}

#[test]
fn a_proxy_that_asks_has_the_proof_of_the_request_that_it_asks_about() {
    let listen = "listen: [{address: \"127.0.0.1:0\", mode: forward_auth, request_from: x_forwarded}]";
    let scene = scene("", |yaml| yaml.replace("listen: [\"127.0.0.1:0\"]", listen));
    let token = scene.token().build();
    let ask = |htu: &str, method: &str| {
        let proof = Proof::new(&scene.key, method, htu, &token).build();
        let described = "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: api.example\r\n\
                         X-Forwarded-Uri: /closed?a=b\r\n";
        scene.gateway.call("GET", "/ask", &format!("{described}{}", fields(&token, &proof))).status
    };
    assert_eq!(ask("https://api.example/closed", "GET"), 200);
    assert_eq!(ask("https://api.example/closed", "POST"), 401);
    assert_eq!(ask(&format!("http://{}/ask", scene.gateway.address), "GET"), 401);
}

#[test]
fn nothing_of_a_proof_that_is_no_good_stays_open() {
    let scene = plain();
    let token = scene.token().build();
    for length in [0, 1, 8191, 8192, 8193, 20_000] {
        let answer = scene.get("/closed", &token, &"e".repeat(length));
        assert_eq!(answer.status, 401, "{length}");
    }
    let deep = encode(r#"{"a":"#.repeat(2000));
    assert_eq!(scene.get("/closed", &token, &format!("{deep}.{deep}.AA")).status, 401);
    assert!(TcpStream::connect(scene.gateway.address).is_ok());
    assert!(scene.upstream.requests().is_empty());
}
