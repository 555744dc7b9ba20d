//! What the gateway says of a caller in a JWT of its own: verified by other people's libraries, by the keys that it publishes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};

use crate::support::{
    binary::Binary,
    eventually,
    gateway::Gateway,
    http::Request,
    issuer::Issuer,
    keys::Key,
    raw::{Response, exchange, find},
    skipped,
    token_endpoint::TokenEndpoint,
    upstream::Upstream,
};

/// `X-Who` is the header of one route, and reserved on all.
const SPELLINGS: [&str; 16] = [
    "X-Auth-Assertion",
    "x_auth_assertion",
    "X.Auth.Assertion",
    "X-Auth_Assertion",
    "XAuthAssertion",
    "X-AUTH-ASSER-TION",
    "X-Auth-Assertion-",
    "_X-Auth-Assertion",
    "X--Auth--Assertion",
    "X!Auth!Assertion",
    "X~Auth|Assertion",
    "X-Who",
    "x_who",
    "X.Who",
    "XWho",
    "X-Who_",
];

/// Where `jose` is.
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp");
const JWKS: &str = "/.well-known/bearward/jwks.json";

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    folder: tempfile::TempDir,
}

fn private_key(kind: &'static rcgen::SignatureAlgorithm) -> String {
    rcgen::KeyPair::generate_for(kind).unwrap().serialize_pem()
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gateway.pem"), private_key(&rcgen::PKCS_ED25519)).unwrap();
        Scene { issuer: Issuer::start(&Key::es256("k1")), upstream: Upstream::start(), folder }
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("gateway.pem")
    }

    fn yaml(&self, more: &str, routes: &str) -> String {
        format!(
            "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\"}}\nlogging: {{level: info, access: false}}\n\
             server: {{workers: 2}}\n\
             issuers:\n  main: {{issuer: \"{}\", audiences: [api], http_timeout: 30s}}\n\
             upstreams:\n  orders: {{url: \"{1}\"}}\n  users: {{url: \"{1}\"}}\n\
             identity:\n  assertion: {{private_key: \"{2}\", issuer: \"https://gateway.example\"{more}}}\n\
             routes:\n{routes}",
            self.issuer.url(),
            self.upstream.url(),
            self.key_file().display(),
        )
    }

    fn start(&self, more: &str, routes: &str) -> Gateway {
        Gateway::start(&self.yaml(more, routes))
    }

    #[track_caller]
    fn sent(&self, gateway: &Gateway, path: &str, token: Option<&str>, fields: &str) -> Request {
        let credential = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let response = gateway.call("GET", path, &format!("{credential}{fields}"));
        assert_eq!(response.status, 200, "{}", response.text());
        self.upstream.last_request()
    }
}

const ROUTES: &str = r#"
  - {name: orders, path: "/orders/**", upstream: orders, allow: authenticated}
  - {name: users, path: "/users/**", upstream: users, allow: authenticated}
  - {name: named, path: /named, upstream: users, allow: authenticated, identity: {assertion: {audience: named-api, header: X-Who, ttl: 30s}}}
  - {name: maybe, path: /maybe, upstream: orders, allow: optional}
  - {name: dry, path: /dry, upstream: orders, allow: [{scopes: [never]}], enforce: false}
  - {name: open, path: /open, upstream: orders, allow: public}
"#;

fn assertion(request: &Request) -> &str {
    let mut all = request.fields.all("x-auth-assertion");
    let one = all.next().unwrap_or_else(|| panic!("no assertion in {:?}", request.fields));
    assert_eq!(all.next(), None, "one alone");
    one
}

fn key_set(address: std::net::SocketAddr) -> Response {
    let answer = exchange(address, "GET", JWKS, "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

#[track_caller]
fn verified(assertion: &str, keys: &Value, audience: &str) -> Value {
    let keys: JwkSet = serde_json::from_value(keys.clone()).unwrap();
    let header = jsonwebtoken::decode_header(assertion).unwrap();
    let key = keys.find(header.kid.as_deref().unwrap()).expect("a published key");
    let mut rules = Validation::new(header.alg);
    rules.set_audience(&[audience]);
    rules.set_issuer(&["https://gateway.example"]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    jsonwebtoken::decode::<Value>(assertion, &DecodingKey::from_jwk(key).unwrap(), &rules).unwrap().claims
}

#[test]
fn an_upstream_can_verify_who_calls() {
    for kind in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256] {
        let scene = Scene::new();
        fs::write(scene.key_file(), private_key(kind)).unwrap();
        let gateway = scene.start("", ROUTES);
        let act = json!({"sub": "agent-7", "act": {"sub": "agent-1"}});
        let token = scene.issuer.token().sub("u7").scope("a b").roles(&["editor"]).claim("act", act.clone()).build();
        let keys = key_set(gateway.address).json();
        let sent = scene.sent(&gateway, "/orders/1", Some(&token), "");
        let claims = verified(assertion(&sent), &keys, "orders");
        for (name, value) in [
            ("sub", json!("u7")),
            ("scope", json!("a b")),
            ("roles", json!(["editor"])),
            ("act", act.clone()),
            ("token_issuer", json!("main")),
            ("token_iss", json!(scene.issuer.url())),
        ] {
            assert_eq!(claims[name], value, "{name} in {claims}");
        }
        let lasts = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!(lasts, 60);
        assert!(!assertion(&sent).contains(&token[..40]), "nothing of the token");
        // Another audience, another assertion.
        let sent = scene.sent(&gateway, "/users/1", Some(&token), "");
        verified(assertion(&sent), &keys, "users");
        let sent = scene.sent(&gateway, "/named", Some(&token), "");
        assert_eq!(sent.fields.get("x-auth-assertion"), None);
        let claims = verified(sent.fields.get("x-who").unwrap(), &keys, "named-api");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 30);
    }
}

#[test]
fn a_hot_path_is_not_signed_for_each_request() {
    let scene = Scene::new();
    let gateway = scene.start(", ttl: 1h", ROUTES);
    let (one, other) = (scene.issuer.token().sub("one").build(), scene.issuer.token().sub("other").build());
    let first = assertion(&scene.sent(&gateway, "/orders/1", Some(&one), "")).to_owned();
    for _ in 0..5 {
        assert_eq!(assertion(&scene.sent(&gateway, "/orders/2", Some(&one), "")), first);
        assert_ne!(assertion(&scene.sent(&gateway, "/orders/2", Some(&other), "")), first);
    }
    // Its token ends before it would.
    let claims = verified(&first, &key_set(gateway.address).json(), "orders");
    let end = claims["exp"].as_i64().unwrap();
    assert!(end < claims["iat"].as_i64().unwrap() + 3600, "{claims}");
    // What ends the token ends the way of what was signed for it.
    let ended = gateway.admin_call("POST", "/revocations", "", &json!({"subject": "one"}).to_string());
    assert_eq!(ended.status, 201, "{}", ended.text());
    let refused = gateway.get_with("/orders/1", &one);
    assert_eq!(refused.status, 401);
    assert_eq!(gateway.get_with("/orders/1", &other).status, 200);
}

#[test]
fn callers_who_call_together_are_told_apart() {
    let scene = Scene::new();
    let gateway = scene.start("", ROUTES);
    let tokens: Vec<_> = (0..6).map(|n| scene.issuer.token().sub(&format!("u{n}")).build()).collect();
    std::thread::scope(|threads| {
        for token in tokens.iter().chain(&tokens) {
            let gateway = &gateway;
            threads.spawn(move || {
                for path in ["/orders/1", "/users/1", "/orders/2"].repeat(5) {
                    assert_eq!(gateway.get_with(path, token).status, 200);
                }
            });
        }
    });
    let keys = key_set(gateway.address).json();
    let requests = scene.upstream.requests();
    assert_eq!(requests.len(), 6 * 2 * 15);
    for request in requests {
        let audience = if request.target.starts_with("/orders") { "orders" } else { "users" };
        let claims = verified(assertion(&request), &keys, audience);
        assert_eq!(claims["sub"].as_str(), request.fields.get("x-auth-subject"));
    }
}

#[test]
fn no_client_can_send_one() {
    let scene = Scene::new();
    let gateway = scene.start("", ROUTES);
    let token = scene.issuer.token().build();
    // One of ours, heard by somebody who isn't its caller.
    let heard = assertion(&scene.sent(&gateway, "/orders/1", Some(&token), "")).to_owned();
    for name in SPELLINGS {
        for (path, token) in [("/open", None), ("/maybe", None), ("/dry", None), ("/named", Some(token.as_str()))] {
            let sent = scene.sent(&gateway, path, token, &format!("{name}: {heard}\r\n{name}: {heard}\r\n"));
            let names = sent.fields.0.iter().filter(|(_, value)| *value == heard).collect::<Vec<_>>();
            assert!(names.is_empty(), "{name} at {path}: {names:?}");
        }
    }
    let fields = format!("Connection: X-Auth-Assertion\r\nX-Auth-Assertion: {heard}\r\n");
    let sent = scene.sent(&gateway, "/users/1", Some(&token), &fields);
    verified(assertion(&sent), &key_set(gateway.address).json(), "users");
    // A dry run vouches for whoever has a good token.
    let sent = scene.sent(&gateway, "/dry", Some(&token), "");
    verified(assertion(&sent), &key_set(gateway.address).json(), "orders");
}

#[test]
fn the_keys_are_public_and_the_private_half_is_nowhere() {
    let scene = Scene::new();
    let gateway = scene.start("", ROUTES);
    let answer = key_set(gateway.address);
    assert_eq!(answer.fields.get("content-type"), Some("application/json"));
    assert_eq!(answer.fields.get("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.fields.get("cache-control"), Some("public, max-age=60"));
    let key = &answer.json()["keys"][0];
    assert_eq!((&key["alg"], &key["use"], &key["crv"]), (&json!("EdDSA"), &json!("sig"), &json!("Ed25519")));
    assert_eq!(key.get("d"), None);
    assert_eq!(gateway.call("POST", JWKS, "Content-Length: 0\r\n").status, 405);
    assert_eq!(gateway.admin(JWKS).status, 404, "not at the admin listener");
    let pem = fs::read_to_string(scene.key_file()).unwrap();
    let secret = pem.lines().nth(1).unwrap();
    for page in ["/routes", "/status", "/metrics", "/readyz"] {
        assert!(!gateway.admin(page).text().contains(secret), "{page}");
    }
    let yaml = crate::support::gateway::public_configuration(&scene.upstream.url(), "");
    let without = Gateway::start(&yaml);
    assert!(!without.get(JWKS).text().contains("\"keys\""), "where nothing is signed, the path is anybody's");
}

#[test]
fn another_key_takes_over_and_what_the_old_one_signed_can_still_be_verified() {
    let scene = Scene::new();
    let config = scene.folder.path().join("gateway.yaml");
    fs::write(&config, scene.yaml("", ROUTES)).unwrap();
    let gateway = Binary::run(&config);
    let token = scene.issuer.token().build();
    let ask = || {
        let answer = exchange(gateway.address(), "GET", "/orders/1", &format!("Authorization: Bearer {token}\r\n"));
        assert_eq!(answer.status, 200);
        assertion(&scene.upstream.last_request()).to_owned()
    };
    let kid = |assertion: &str| jsonwebtoken::decode_header(assertion).unwrap().kid.unwrap();
    let published = || {
        let keys = key_set(gateway.address()).json();
        let kids = keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned());
        kids.collect::<Vec<_>>()
    };
    let before = ask();
    // Announced first: it is published and doesn't sign.
    let (old, new) = (fs::read_to_string(scene.key_file()).unwrap(), private_key(&rcgen::PKCS_ECDSA_P256_SHA256));
    fs::write(scene.key_file(), format!("{old}{new}")).unwrap();
    eventually("the next key is announced", || published().len() == 2);
    assert_eq!(kid(&ask()), kid(&before));
    fs::write(scene.key_file(), &new).unwrap();
    eventually("the next key signs", || kid(&ask()) != kid(&before));
    let after = ask();
    let keys = key_set(gateway.address()).json();
    assert_eq!(published(), [kid(&after), kid(&before)]);
    verified(&after, &keys, "orders");
    verified(&before, &keys, "orders");
    // A file that is no key changes nothing.
    fs::write(scene.key_file(), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    gateway.line_where("the refusal", |line| line["level"] == "error" || line.to_string().contains("private key"));
    assert_eq!(kid(&ask()), kid(&after));
    let told = gateway.output();
    for pem in [&old, &new] {
        assert!(!told.contains(pem.lines().nth(1).unwrap()), "a private key in the log");
    }
    assert!(!told.contains(&after) && !told.contains(&before), "an assertion in the log");
}

#[test]
fn an_upstream_with_a_token_of_its_own_is_told_only_where_a_route_says_so() {
    let scene = Scene::new();
    let endpoint = TokenEndpoint::start();
    let api = endpoint.api();
    let yaml = scene.yaml(
        "",
        "  - {name: silent, path: /silent, upstream: far, allow: authenticated}\n\
         \x20 - {name: told, path: /told, upstream: far, allow: authenticated, identity: {assertion: {}}}\n",
    );
    let far = format!(
        "  far: {{url: \"{}\", token: {{endpoint: \"{}\", {}}}}}\n",
        api.url(),
        endpoint.url(),
        crate::egress::CLIENT
    );
    let gateway = Gateway::start(&yaml.replace("identity:\n", &format!("{far}identity:\n")));
    let token = scene.issuer.token().build();
    assert_eq!(gateway.get_with("/silent", &token).status, 200);
    assert_eq!(api.last_request().fields.get("x-auth-assertion"), None);
    assert_eq!(gateway.get_with("/told", &token).status, 200);
    let told = api.last_request();
    verified(assertion(&told), &key_set(gateway.address).json(), "far");
    assert_eq!(told.fields.get("x-auth-subject"), None, "and nothing else");
    assert_eq!(find(&api.wire(), token.as_bytes()), None);
}

#[test]
fn a_proxy_that_asks_is_told_and_gets_no_yes_for_the_keys() {
    let scene = Scene::new();
    let listen = "listen: [{address: \"127.0.0.1:0\", mode: forward_auth, request_from: self}, \"127.0.0.2:0\"]";
    let gateway = Gateway::start(&scene.yaml("", ROUTES).replace("listen: [\"127.0.0.1:0\"]", listen));
    let keys = key_set(gateway.address_of(1)).json();
    let token = scene.issuer.token().build();
    let yes = gateway.get_with("/orders/1", &token);
    assert_eq!(yes.status, 200);
    verified(yes.fields.get("x-auth-assertion").unwrap(), &keys, "orders");
    // Sent empty, so that the proxy overwrites what its client sent.
    let nobody = gateway.get("/maybe");
    assert_eq!((nobody.status, nobody.fields.get("x-auth-assertion")), (200, Some("")));
    assert_eq!(nobody.fields.get("x-who"), Some(""), "every header of an assertion in the file");
    assert_eq!(gateway.get(JWKS).status, 404);
}

/// The block of a document behind this fence.
fn block(document: &str, language: &str) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let (_, rest) =
        text.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("no {language} in {document}"));
    rest.split_once("```").unwrap().0.to_owned()
}

/// What docs/assertion.md has its readers write, as it stands there but for the gateway's address, run on a good assertion, one
/// that was changed, one for somebody else.
fn try_the_block(language: &str, mut command: Command, driver: &str) {
    let scene = Scene::new();
    let gateway = scene.start("", ROUTES);
    let token = scene.issuer.token().sub("u7").build();
    let good = assertion(&scene.sent(&gateway, "/orders/1", Some(&token), "")).to_owned();
    let other = assertion(&scene.sent(&gateway, "/users/1", Some(&token), "")).to_owned();
    let (start, signature) = good.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let changed = format!("{start}.{flipped}{}", &signature[1..]);
    let code = block("docs/assertion.md", language);
    let code = code.replace("https://gateway.example/.well-known", &format!("http://{}/.well-known", gateway.address));
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("verify.mjs");
    std::os::unix::fs::symlink(format!("{PACKAGES}/node_modules"), folder.path().join("node_modules")).unwrap();
    fs::write(&script, format!("{code}\n{driver}")).unwrap();
    for variable in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    command.arg(&script).args([&good, &changed, &other, &token]).stdin(Stdio::null());
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = told.lines().collect::<Vec<_>>();
    assert_eq!(lines, ["u7", "no", "no", "no"], "{language}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_documents_python_verifies_it() {
    let has_it = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import jwt, cryptography"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_it) else {
        return skipped(
            "no python3 on this machine has PyJWT and cryptography: docs/assertion.md wasn't tried with it",
        );
    };
    let driver = "import sys\nfor text in sys.argv[1:]:\n    try:\n        print(caller(text)['sub'])\n    except Exception as error:\n        print('no')\n        print(repr(error), file=sys.stderr)\n";
    try_the_block("python", Command::new(python), driver);
}

#[test]
fn the_documents_javascript_verifies_it() {
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let has_jose = Path::new(PACKAGES).join("node_modules/jose").exists();
    if !has_jose || !node.is_ok_and(|status| status.success()) {
        return skipped("docs/assertion.md wasn't tried with JavaScript: it needs Node and `npm ci` in tests/mcp");
    }
    let driver = "for (const text of process.argv.slice(2)) {\n  try { console.log((await caller(text)).sub); } catch (error) { console.log('no'); console.error(error); }\n}\n";
    try_the_block("js", Command::new("node"), driver);
}
