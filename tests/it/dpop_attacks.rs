//! Past proofs of possession: over reloads and other processes, by other ways to write an address, by other places for a token,
//! by routes that take who isn't known.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    binary::Binary,
    challenge::Challenge,
    gateway::{Gateway, configuration_of},
    issuer::Issuer,
    keys::Key,
    proofs::{Proof, thumbprint},
    raw::{Client, Response, exchange},
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
  - {name: anywhere, path: /anywhere, upstream: echo, allow: authenticated, token_from: [header, {cookie: session}, {header: X-Api-Token}, {query: t}]}
  - {name: elsewhere, path: /elsewhere, upstream: echo, allow: authenticated, token_from: [{cookie: session}, {header: X-Api-Token}]}
  - {name: maybe, path: /maybe, upstream: echo, allow: optional}
  - {name: dry, path: /dry, upstream: echo, allow: authenticated, enforce: false}
  - {name: files, path: "/files/**", upstream: echo, allow: authenticated}
"#;

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    /// The client's.
    key: Key,
}

impl Scene {
    fn new() -> Scene {
        Scene { issuer: Issuer::start(&Key::es256("k1")), upstream: Upstream::start(), key: Key::es256("client") }
    }

    fn yaml(&self, issuer_keys: &str) -> String {
        let issuers = format!("  main: {{issuer: \"{}\", audiences: [api]{issuer_keys}}}\n", self.issuer.url());
        configuration_of(&issuers, &self.upstream.url(), ROUTES)
    }

    fn token(&self) -> String {
        self.issuer.token().claim("cnf", json!({"jkt": thumbprint(&self.key)})).build()
    }

    fn proof(&self, htu: &str, token: &str) -> Proof {
        Proof::new(&self.key, "GET", htu, token)
    }
}

fn by_dpop(token: &str, proof: &Proof) -> String {
    format!("Authorization: DPoP {token}\r\nDPoP: {}\r\n", proof.build())
}

/// The scheme of the first challenge, and its error.
fn challenged(response: &Response) -> (String, String) {
    let challenge = Challenge::parse(response.fields.all("www-authenticate").next().expect("a challenge"));
    (challenge.scheme.clone(), challenge.error().unwrap_or_default().to_owned())
}

#[test]
fn a_reload_brings_no_proof_back() {
    let scene = Scene::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    let yaml = |keys: &str| scene.yaml(keys).replace("level: error", "level: info");
    fs::write(&path, yaml(", dpop: {max_age: 60s, nonce: true}")).unwrap();
    let gateway = Binary::run(&path);
    let token = scene.token();
    let url = format!("http://{}/closed", gateway.address());
    let ask = |proof: &Proof| exchange(gateway.address(), "GET", "/closed", &by_dpop(&token, proof));
    let nonce = ask(&scene.proof(&url, &token)).fields.get("dpop-nonce").unwrap().to_owned();
    let used = scene.proof(&url, &token).claim("nonce", json!(nonce)).build();
    let ask_with = |proof: &str| {
        exchange(gateway.address(), "GET", "/closed", &format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n"))
    };
    assert_eq!(ask_with(&used).status, 200);
    // More time for proofs, other rules for tokens, another issuer beside, and back.
    for change in [
        ", dpop: {max_age: 10m, nonce: true}",
        ", dpop: {max_age: 10m}, jwt: {clock_skew: 2m}",
        "}\n  other: {issuer: \"https://other.example\", audiences: [api], jwt: {jwks: {keys: [{kty: oct}]}}, dpop: {max_age: 1h}",
        "",
    ] {
        let text = yaml(change).replace("{keys: [{kty: oct}]}", &scene.issuer.jwks());
        fs::write(&path, text).unwrap();
        let answer = exchange(gateway.admin(), "POST", "/reload", "Content-Length: 0\r\n");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let again = ask_with(&used);
        assert_eq!((again.status, challenged(&again).1.as_str()), (401, "invalid_dpop_proof"), "{change}");
        // Nonces of before are good.
        let next = scene.proof(&url, &token).claim("nonce", json!(nonce));
        assert_eq!(ask(&next).status, 200, "{change}");
    }
}

#[test]
fn another_process_gives_other_nonces() {
    let scene = Scene::new();
    let yaml = scene.yaml(", dpop: {nonce: true}");
    let [one, other] = [Gateway::start(&yaml), Gateway::start(&yaml)];
    let token = scene.token();
    let ask = |gateway: &Gateway, nonce: &str| {
        let proof = scene.proof(&format!("http://{}/closed", gateway.address), &token).claim("nonce", json!(nonce));
        gateway.call("GET", "/closed", &by_dpop(&token, &proof))
    };
    let nonce_of = |gateway: &Gateway| ask(gateway, "x").fields.get("dpop-nonce").unwrap().to_owned();
    let (nonce, others) = (nonce_of(&one), nonce_of(&other));
    assert_ne!(nonce, others);
    let refused = ask(&other, &nonce);
    assert_eq!((refused.status, challenged(&refused)), (401, ("DPoP".to_owned(), "use_dpop_nonce".to_owned())));
    let lower = nonce.to_lowercase();
    for wrong in [&nonce[1..], &nonce[..31], lower.as_str(), &format!("{nonce} "), &format!("{nonce}{nonce}")] {
        assert_eq!(ask(&one, wrong).status, 401, "{wrong}");
    }
    assert_eq!([ask(&one, &nonce).status, ask(&other, &others).status, ask(&one, &nonce).status], [200; 3]);
    // What else a client may give for one.
    for nonce in [json!([nonce]), json!({"nonce": nonce}), json!(0), json!(true), Value::Null] {
        let proof = scene.proof(&format!("http://{}/closed", one.address), &token).claim("nonce", nonce.clone());
        assert_eq!(one.call("GET", "/closed", &by_dpop(&token, &proof)).status, 401, "{nonce}");
    }
}

/// What one address is for the client must be the same for the gateway, and no other.
#[test]
fn tricks_with_addresses() {
    let scene = Scene::new();
    let gateway = Gateway::start(&scene.yaml(""));
    let token = scene.token();
    let ask = |htu: &str, host: &str, target: &str, more: &str| {
        let fields = by_dpop(&token, &scene.proof(htu, &token));
        let mut client = Client::connect(gateway.address);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}{more}Connection: close\r\n\r\n"));
        client.receive().status
    };
    let good = "http://api.example/closed";
    for (htu, host, target, status) in [
        (good, "api.example", "/closed", 200),
        (good, "api.example.", "/closed", 200),
        (good, "API.EXAMPLE:80", "/closed?token=x", 200),
        (good, "api.example", "http://api.example/closed", 200),
        (good, "api.example", "/%63losed", 200),
        (good, "api.example", "/x/../closed", 200),
        ("http://api.example./closed", "api.example", "/closed", 200),
        ("http://api.example:80/closed", "api.example", "/closed", 200),
        ("HTTP://API.EXAMPLE/%63losed?a=b#c", "api.example", "/closed", 200),
        (good, "api.example", "/closed/", 401),
        (good, "evil.example", "/closed", 401),
        (good, "api.example:8080", "/closed", 401),
        (good, "api.example", "/anywhere", 401),
        (good, "api.example", "/files/closed", 401),
        ("http://api.example/Closed", "api.example", "/closed", 401),
        ("http://api.example//closed", "api.example", "/closed", 401),
        ("http://api.example/closed/", "api.example", "/closed", 401),
        ("http://api.example/closed%3Fx", "api.example", "/closed", 401),
        ("http://api.example/closed%2f..%2fclosed", "api.example", "/closed", 401),
        ("http://api.example/%2563losed", "api.example", "/closed", 401),
        ("http://api.example/closed;x", "api.example", "/closed", 401),
        ("http://api.example/closed\\", "api.example", "/closed", 401),
        ("http://api.example:443/closed", "api.example", "/closed", 401),
        ("https://api.example/closed", "api.example", "/closed", 401),
        ("https://api.example:80/closed", "api.example", "/closed", 401),
        ("http://api.example@evil.example/closed", "api.example", "/closed", 401),
        ("http://evil.example@api.example/closed", "api.example", "/closed", 401),
        ("http://evil.example#@api.example/closed", "api.example", "/closed", 401),
        ("http://api.example", "api.example", "/closed", 401),
        ("//api.example/closed", "api.example", "/closed", 401),
        ("/closed", "api.example", "/closed", 401),
        // A path that others may read as another one is the address that it is written as.
        ("http://api.example/files//a", "api.example", "/files//a", 200),
        ("http://api.example/files/a", "api.example", "/files//a", 401),
        ("http://api.example/files/a;x", "api.example", "/files/a;x", 200),
        ("http://api.example/files/a", "api.example", "/files/a;x", 401),
        ("http://api.example/files/%252e", "api.example", "/files/%252e", 200),
        ("http://api.example/files/%2e", "api.example", "/files/%252e", 401),
    ] {
        assert_eq!(ask(htu, host, target, ""), status, "{htu} at {host} {target}");
    }
    // Who isn't trusted can't say what the address was.
    for more in [
        "X-Forwarded-Host: api.example\r\n",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: api.example\r\nX-Forwarded-Port: 443\r\n",
        "Forwarded: host=api.example;proto=https\r\n",
        "X-Original-URL: /closed\r\n",
    ] {
        assert_eq!(ask(good, "evil.example", "/closed", more), 401, "{more}");
        assert_eq!(ask("https://api.example/closed", "api.example", "/closed", more), 401, "{more}");
        assert_eq!(ask(good, "api.example", "/closed", more), 200, "{more}");
    }
}

#[test]
fn a_bound_token_is_none_in_other_places() {
    let scene = Scene::new();
    let gateway = Gateway::start(&scene.yaml(""));
    let token = scene.token();
    let proof = |path: &str| scene.proof(&format!("http://{}{path}", gateway.address), &token);
    for path in ["/anywhere", "/elsewhere"] {
        for credential in [
            format!("Cookie: session={token}\r\n"),
            format!("X-Api-Token: {token}\r\n"),
            format!("X-Api-Token: DPoP {token}\r\n"),
            format!("Cookie: session=\"DPoP {token}\"\r\n"),
            format!("Proxy-Authorization: DPoP {token}\r\n"),
        ] {
            let fields = format!("{credential}DPoP: {}\r\n", proof(path).build());
            let response = gateway.call("GET", path, &fields);
            assert!([400, 401].contains(&response.status), "{path} {credential}: {}", response.status);
        }
    }
    assert_eq!(gateway.call("GET", &format!("/anywhere?t={token}"), "").status, 401);
    // Two tokens are two, whatever proves one of them.
    let fields = by_dpop(&token, &proof("/anywhere"));
    for more in [format!("Cookie: session={token}\r\n"), format!("X-Api-Token: {token}\r\n")] {
        assert_eq!(gateway.call("GET", "/anywhere", &format!("{fields}{more}")).status, 400);
    }
    assert!(scene.upstream.requests().is_empty());
    assert_eq!(gateway.call("GET", "/anywhere", &fields).status, 200);
    // Where nobody looks at `Authorization`, none is proved and none goes on.
    let free = scene.issuer.token().build();
    let fields = format!("{}X-Api-Token: {free}\r\n", by_dpop(&token, &proof("/elsewhere")));
    assert_eq!(gateway.call("GET", "/elsewhere", &fields).status, 200);
    let passed = scene.upstream.last_request();
    let bearer = format!("Bearer {free}");
    assert_eq!((passed.fields.get("authorization"), passed.fields.get("dpop")), (Some(&*bearer), None));
}

/// Who isn't known may come in on some routes; a thief is nobody there, and nobody else.
#[test]
fn a_thief_is_nobody_where_nobody_may_come_in() {
    let scene = Scene::new();
    let gateway = Gateway::start(&scene.yaml(""));
    let (token, thief) = (scene.token(), Key::es256("thief"));
    let stolen = |path: &str| {
        let url = format!("http://{}{path}", gateway.address);
        [by_dpop(&token, &Proof::new(&thief, "GET", &url, &token)), format!("Authorization: Bearer {token}\r\n")]
    };
    for fields in stolen("/maybe") {
        assert_eq!(gateway.call("GET", "/maybe", &fields).status, 401, "{fields}");
    }
    assert!(scene.upstream.requests().is_empty());
    for fields in stolen("/dry") {
        assert_eq!(gateway.call("GET", "/dry", &fields).status, 200);
        let passed = scene.upstream.last_request();
        assert_eq!((passed.fields.get("x-auth-subject"), passed.fields.get("x-auth-issuer")), (None, None), "{fields}");
    }
    let url = format!("http://{}/dry", gateway.address);
    let fields = by_dpop(&token, &scene.proof(&url, &token));
    assert_eq!(gateway.call("GET", "/dry", &fields).status, 200);
    assert_eq!(scene.upstream.last_request().fields.get("x-auth-subject"), Some("u1"));
}

#[test]
fn sizes_and_names() {
    let scene = Scene::new();
    let gateway = Gateway::start(&scene.yaml(""));
    let token = scene.token();
    let url = format!("http://{}/closed", gateway.address);
    let with_jti = |jti: String| {
        gateway.call("GET", "/closed", &by_dpop(&token, &scene.proof(&url, &token).claim("jti", json!(jti)))).status
    };
    assert_eq!(with_jti("j".repeat(4000)), 200);
    assert_eq!(with_jti("j".repeat(4000)), 401, "used");
    assert_eq!(with_jti("j".repeat(4001)), 200);
    assert_eq!([with_jti("j".repeat(9_000)), with_jti("j".repeat(90_000))], [401, 401]);
    assert_eq!(
        [with_jti("a\u{0}b".to_owned()), with_jti("a".to_owned()), with_jti("a\u{0}b".to_owned())],
        [200, 200, 401]
    );
    assert_eq!([with_jti("é".to_owned()), with_jti("e\u{301}".to_owned()), with_jti(" ".to_owned())], [200; 3]);
    assert_eq!(with_jti(String::new()), 401);
}
