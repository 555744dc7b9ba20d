//! `GET /status` and `GET /routes`: how the gateway stands and what it goes by, without anything that is a secret.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::support::{
    authorization_server::AuthorizationServer,
    binary::Binary,
    eventually,
    gateway::{Gateway, configuration, configuration_of},
    issuer::{Issuer, Mood},
    keys::Key,
    raw::{Client, exchange},
    token_endpoint::TokenEndpoint,
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: health, path: /health, upstream: echo, allow: public}
  - name: things
    hosts: ["127.0.0.1", "*.example.org"]
    paths: ["/things/{id}", /things]
    upstream: echo
    token_from: [header, {query: access_token}]
    timeout: 20s
    max_body_bytes: 1KiB
    cors: {origins: ["https://app.example"]}
    rate_limit: [{rate: 100/s, burst: 200, per: client}, {rate: 1000/h, per: ip}]
    allow:
      - {methods: [GET], scopes: ["things:read"]}
      - {roles: [admin]}
  - {name: out, path: /out, methods: [POST], upstream: echo, allow: authenticated, revokes: token, enforce: true}
  - {name: dry, path: /dry, upstream: echo, allow: authenticated, enforce: false}
  - {name: old, path: "/old/{id}", redirect: {to: "/things/{id}", status: 308}, allow: public}
  - {name: robots, path: /robots.txt, respond: {status: 200, body: "none"}, allow: optional}
"#;

fn status(gateway: &Gateway) -> Value {
    gateway.admin("/status").json()
}

/// The members of an object, and of those in it, as `a.b`; of the first object of a list, as `a.0.b`.
fn members(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| members(value, &below(name), found)),
        Value::Array(items) if items.first().is_some_and(Value::is_object) => members(&items[0], &below("0"), found),
        _ => drop(found.insert(at.to_owned())),
    }
}

#[track_caller]
fn has_members(document: &Value, wanted: &str) {
    let mut found = BTreeSet::new();
    members(document, "", &mut found);
    for member in wanted.split_whitespace() {
        assert!(found.contains(member), "{member} in {found:#?}");
    }
}

#[track_caller]
fn is_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no text"));
    assert!(text.len() == "2026-11-24T21:55:00.123Z".len() && text.ends_with('Z') && &text[10..11] == "T", "{text}");
}

#[test]
fn the_status_of_a_gateway_at_work() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
    let fresh = status(&gateway);
    has_members(
        &fresh,
        "version started_at uptime_seconds status degraded waiting_for config.file config.hash config.loaded_at
         config.last_reload config.errors listeners.0.name listeners.0.address listeners.0.mode listeners.0.tls
         listeners.0.connections issuers.0.name issuers.0.issuer issuers.0.audiences issuers.0.ways issuers.0.keys.0.kid
         issuers.0.keys.0.algorithm issuers.0.keys.0.type issuers.0.source issuers.0.age_seconds issuers.0.state
         issuers.0.last_error upstreams.0.name upstreams.0.endpoints.0.endpoint upstreams.0.endpoints.0.healthy
         upstreams.0.endpoints.0.in_flight upstreams.0.endpoints.0.ejected_until caches.tokens.entries
         caches.tokens.bytes caches.tokens.max_bytes caches.tokens.hits caches.tokens.misses caches.tokens.hit_rate
         state.redis state.dir revocations shadow",
    );
    assert_eq!((&fresh["status"], &fresh["degraded"], &fresh["shadow"]), (&json!("ready"), &json!([]), &Value::Null));
    assert_eq!(fresh["version"], env!("CARGO_PKG_VERSION"));
    is_time(&fresh["started_at"]);
    is_time(&fresh["config"]["loaded_at"]);
    assert_eq!(fresh["caches"]["tokens"]["hit_rate"], Value::Null, "nothing was looked for");
    assert_eq!(fresh["caches"]["tokens"]["max_bytes"], 64 << 20);
    assert_eq!(fresh["state"], json!({"redis": null, "dir": null}));
    let main = &fresh["issuers"][0];
    assert_eq!(
        (&main["name"], &main["issuer"], &main["audiences"], &main["ways"], &main["source"], &main["state"]),
        (&json!("main"), &json!(issuer.url()), &json!(["api"]), &json!(["jwt"]), &json!("discovery"), &json!("ok"))
    );
    assert_eq!(main["keys"], json!([{"kid": "k1", "algorithm": "ES256", "type": "EC"}]));
    assert_eq!(main["last_error"], Value::Null);
    assert!(main["age_seconds"].as_f64().unwrap() < 600.0, "{main}");
    assert_eq!(
        (&fresh["listeners"][0]["address"], &fresh["listeners"][0]["mode"], &fresh["listeners"][0]["tls"]),
        (&json!(gateway.address.to_string()), &json!("proxy"), &json!(false))
    );

    let token = issuer.token().scope("things:read").build();
    for _ in 0..4 {
        assert_eq!(gateway.get_with("/things/7", &token).status, 200);
    }
    let tokens = &status(&gateway)["caches"]["tokens"];
    assert_eq!((&tokens["entries"], &tokens["hits"], &tokens["misses"]), (&json!(1), &json!(3), &json!(1)));
    assert_eq!(tokens["hit_rate"], json!(0.75));
    assert!(tokens["bytes"].as_u64().unwrap() > 100);

    let until = upstream.answer_when_told();
    let mut client = gateway.client();
    client.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    upstream.wait_for(b"/health");
    let busy = status(&gateway);
    assert_eq!(busy["upstreams"][0]["endpoints"][0]["in_flight"], 1);
    assert!(busy["listeners"][0]["connections"].as_u64().unwrap() >= 1);
    until.send(()).unwrap();
    assert_eq!(client.receive().status, 200);
    drop(client);
    eventually("nothing is under way", || {
        let idle = status(&gateway);
        idle["upstreams"][0]["endpoints"][0]["in_flight"] == 0 && idle["listeners"][0]["connections"] == 0
    });

    assert_eq!(gateway.admin_call("POST", "/revocations", "", r#"{"jti": "x"}"#).status, 201);
    assert_eq!(status(&gateway)["revocations"], 1);
    gateway.drain();
    assert_eq!(status(&gateway)["status"], "draining");
}

#[test]
fn trouble_shows_with_when_and_what() {
    let (issuer, upstream) = (Issuer::start(&Key::rs256("k1")), Upstream::start());
    let asked = AuthorizationServer::start();
    let issuers = format!(
        "  main: {{issuer: \"{}\", audiences: any, jwt: {{jwks_uri: \"{}\"}}}}\n  \
         asked: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s3cret}}}}\n  \
         gone: {{issuer: \"http://127.0.0.1:1\", audiences: [api]}}\n",
        issuer.url(),
        issuer.jwks_uri(),
        asked.introspection(),
    );
    let routes = "  - {name: jwt, path: /jwt, issuers: [main], upstream: echo, allow: authenticated}\n  \
                  - {name: opaque, path: /opaque, issuers: [asked], upstream: echo, allow: authenticated}\n  \
                  - {name: open, path: /open, upstream: flaky, allow: public}\n";
    let flaky = Upstream::start();
    let yaml = configuration_of(&issuers, &upstream.url(), routes).replace(
        "upstreams:\n",
        &format!(
            "upstreams:\n  flaky: {{url: \"{}\", eject: {{failures: 2, for: 1h}}, retry: {{attempts: 1}}}}\n",
            flaky.url()
        ),
    );
    let yaml = yaml.replace("server: {workers: 2}", "server: {workers: 2, ready_timeout: 1s}");
    let gateway = Gateway::start(&yaml);
    let issuer_of = |name: &str| {
        let issuers = status(&gateway)["issuers"].as_array().unwrap().clone();
        issuers.into_iter().find(|issuer| issuer["name"] == name).unwrap()
    };
    let main = issuer_of("main");
    assert_eq!((&main["audiences"], &main["source"]), (&json!("any"), &json!("jwks_uri")));
    assert_eq!(main["keys"], json!([{"kid": "k1", "algorithm": "RS256", "type": "RSA"}]));
    let opaque = issuer_of("asked");
    assert_eq!((&opaque["ways"], &opaque["state"]), (&json!(["introspection"]), &json!("none")));
    assert_eq!((&opaque["keys"], &opaque["source"], &opaque["age_seconds"]), (&json!([]), &Value::Null, &Value::Null));
    let gone = issuer_of("gone");
    assert_eq!((&gone["state"], &gone["age_seconds"], &gone["keys"]), (&json!("missing"), &Value::Null, &json!([])));
    is_time(&gone["last_error"]["at"]);
    assert!(!gone["last_error"]["message"].as_str().unwrap().is_empty());

    issuer.be(Mood::Status(500));
    assert_eq!(gateway.get_with("/jwt", &issuer.token().kid("new").build()).status, 503);
    let main = issuer_of("main");
    assert_eq!((&main["state"], main["keys"].as_array().unwrap().len()), (&json!("stale"), 1));
    assert!(main["last_error"]["message"].as_str().unwrap().contains("500"), "{main}");
    asked.answer_instead(418, "", "");
    assert_eq!(gateway.get_with("/opaque", "opaque-token").status, 503);
    assert!(issuer_of("asked")["last_error"]["message"].as_str().unwrap().contains("418"));
    let degraded = status(&gateway)["degraded"].clone();
    assert_eq!(degraded, json!(["main", "asked", "gone"]));

    flaky.answer_bytes(b"nonsense\r\n\r\n");
    for _ in 0..2 {
        assert_eq!(gateway.get("/open").status, 502);
    }
    let upstreams = status(&gateway)["upstreams"].clone();
    let endpoint = |name: &str| {
        let upstream = upstreams.as_array().unwrap().iter().find(|upstream| upstream["name"] == name).unwrap();
        upstream["endpoints"][0].clone()
    };
    assert_eq!(endpoint("flaky")["healthy"], false);
    is_time(&endpoint("flaky")["ejected_until"]);
    assert_eq!(
        endpoint("echo"),
        json!({"endpoint": endpoint("echo")["endpoint"], "healthy": true, "in_flight": 0, "ejected_until": null})
    );
}

#[test]
fn routes_say_what_is_compiled() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
    let document = gateway.admin("/routes").json();
    has_members(
        &document,
        "hash routes.0.name routes.0.hosts routes.0.paths routes.0.methods routes.0.listeners routes.0.leads_to.upstream
         routes.0.allow routes.0.rules routes.0.sentence routes.0.issuers routes.0.token_from routes.0.enforce
         routes.0.rate_limits routes.0.max_body_bytes routes.0.timeout_seconds routes.0.cors routes.0.revokes
         issuers.0.name issuers.0.issuer issuers.0.jwt.source upstreams.0.name upstreams.0.endpoints",
    );
    let route = |name: &str| {
        let routes = document["routes"].as_array().unwrap().iter();
        routes.clone().find(|route| route["name"] == name).unwrap().clone()
    };
    let expected = json!({
        "name": "things",
        "hosts": ["127.0.0.1", "*.example.org"],
        "paths": ["/things/{id}", "/things"],
        "methods": null,
        "listeners": ["127.0.0.1:0"],
        "leads_to": {"upstream": "echo"},
        "allow": "rules",
        "rules": [
            {"methods": ["GET"], "sentence": "GET needs things:read", "conditions": ["things:read"]},
            {"methods": null, "sentence": "every method needs role admin", "conditions": ["role admin"]},
        ],
        "sentence": route("things")["sentence"],
        "issuers": ["main"],
        "token_from": route("things")["token_from"],
        "enforce": true,
        "rate_limits": [
            {"rate": "100/s", "burst": 200, "per": "client"},
            {"rate": "1000/h", "burst": route("things")["rate_limits"][1]["burst"], "per": "ip"},
        ],
        "max_body_bytes": 1024,
        "timeout_seconds": 20.0,
        "cors": true,
        "protected_resource": null,
        "revokes": false,
    });
    assert_eq!(route("things"), expected);
    let sentence = route("things")["sentence"].as_str().unwrap().to_owned();
    assert!(sentence.contains("GET needs things:read, or role admin"), "{sentence}");
    assert_eq!(route("things")["token_from"].as_array().unwrap().len(), 2);
    for (name, member, value) in [
        ("health", "allow", json!("public")),
        ("health", "rules", json!([])),
        ("health", "timeout_seconds", Value::Null),
        ("out", "allow", json!("authenticated")),
        ("out", "methods", json!(["POST"])),
        ("out", "revokes", json!(true)),
        ("dry", "enforce", json!(false)),
        ("old", "leads_to", json!({"redirect": "/things/{id}", "status": 308})),
        ("robots", "leads_to", json!({"respond": 200})),
        ("robots", "allow", json!("optional")),
    ] {
        assert_eq!(route(name)[member], value, "{name} {member}");
    }
    assert_eq!(document["upstreams"][0]["endpoints"], json!([upstream.url()]));
}

#[test]
fn neither_answers_anybody_without_the_admin_token() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let yaml = configuration(&issuer, &upstream, ROUTES)
        .replace("admin: {address: \"127.0.0.1:0\"}", "admin: {address: \"127.0.0.1:0\", token: s3cret-of-operators}");
    let gateway = Gateway::start(&yaml);
    for path in ["/status", "/routes"] {
        assert_eq!(gateway.admin(path).status, 401, "{path}");
        let ask = |method| exchange(gateway.admin, method, path, "Authorization: Bearer s3cret-of-operators\r\n");
        let (get, head) = (ask("GET"), ask("HEAD"));
        assert_eq!((get.status, head.status, head.body.len()), (200, 200, 0), "{path}");
        assert_eq!(get.fields.get("content-type"), Some("application/json"));
        assert_eq!(get.fields.get("cache-control"), Some("no-store"));
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = ask(method);
            assert_eq!((answer.status, answer.fields.get("allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
}

/// Every key that holds a secret, what a file brings in wherever it stands, and URLs with a query.
#[test]
fn no_secret_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (upstream, endpoint, asked) = (Upstream::start(), TokenEndpoint::start(), AuthorizationServer::start());
    let issuer = Issuer::start(&Key::es256("k1"));
    put("scope.txt", "marker-in-a-scope\n");
    put("host.txt", "marker-in-a-host.example");
    put("to.txt", "/marker-in-a-redirect");
    put("id.txt", "marker-in-a-client-id");
    put("claim.txt", "marker-in-a-claim");
    put("when.txt", "marker-in-an-expression");
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    put("key.pem", &key);
    let yaml = format!(
        r#"
listen: ["127.0.0.1:0"]
admin: {{address: "127.0.0.1:0", token: "marker-of-admin-0123456789"}}
logging: {{level: info, access: false}}
server: {{ready_timeout: 1s}}
state: {{redis: "redis://marker-user:marker-of-redis@127.0.0.1:1"}}
issuers:
  shared: {{issuer: "https://a.example", audiences: [api], jwt: {{secret: "marker-of-a-secret-0123456789-0123456789"}}}}
  based: {{issuer: "https://b.example", audiences: [api], jwt: {{secret_base64: "bWFya2VyLW9mLWJhc2U2NC0wMTIzNDU2Nzg5MDEyMzQ1Njc4OQ=="}}}}
  basic: {{issuer: "https://c.example", audiences: [api], introspection: {{endpoint: "{introspection}?key=marker-in-a-query", client_id: "${{file:id.txt}}", client_secret: "marker-of-a-client"}}}}
  bearer: {{issuer: "https://d.example", audiences: [api], introspection: {{endpoint: "{introspection}", auth: bearer, bearer_token: "marker-of-a-bearer"}}}}
  signed: {{issuer: "https://e.example", audiences: [api], introspection: {{endpoint: "{introspection}", auth: private_key_jwt, client_id: gw, private_key: "key.pem"}}}}
  keys: {{issuer: "{issuer}", audiences: [api], jwt: {{jwks_uri: "{jwks}?key=marker-in-a-query"}}}}
  gone: {{issuer: "https://g.example", audiences: [api], jwt: {{jwks_uri: "http://127.0.0.1:1/?key=marker-in-a-query"}}}}
upstreams:
  api: {{url: "{api}"}}
  client: {{url: "{api}", token: {{endpoint: "{token}?key=marker-in-a-query", grant: client_credentials, client_id: app, client_secret: "marker-of-an-app"}}}}
  user: {{url: "{api}", token: {{endpoint: "{token}", grant: password, client_id: app, client_secret: "marker-of-an-app", username: u, password: "marker-of-a-user"}}}}
  jwt: {{url: "{api}", token: {{endpoint: "{token}", grant: jwt_bearer, private_key: "key.pem", assertion: {{iss: app, sub: app, aud: t}}}}}}
routes:
  - name: scoped
    path: /scoped
    hosts: ["${{file:host.txt}}"]
    upstream: api
    allow:
      - {{scopes: ["${{file:scope.txt}}"], claims: {{t: "${{file:claim.txt}}"}}}}
      - {{when: "claims.x == '${{file:when.txt}}'"}}
  - {{name: old, path: /old, redirect: {{to: "${{file:to.txt}}"}}, allow: public}}
  - {{name: own, path: /own, respond: {{status: 200, body: "marker-in-a-body", headers: {{x-key: "marker-in-a-header"}}}}, allow: public}}
  - {{name: client, path: /client, upstream: client, allow: public}}
  - {{name: user, path: /user, upstream: user, allow: public, headers: {{request: {{set: {{x-key: "marker-in-a-header"}}}}}}}}
  - {{name: jwt, path: /jwt, upstream: jwt, allow: public}}
"#,
        introspection = asked.introspection(),
        issuer = issuer.url(),
        jwks = issuer.jwks_uri(),
        api = upstream.url(),
        token = endpoint.url(),
    );
    let binary = Binary::run(&put("gateway.yaml", &yaml));
    let admin = binary.admin();
    let ask = |path: &str| {
        let answer = exchange(admin, "GET", path, "Authorization: Bearer marker-of-admin-0123456789\r\n");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    };
    eventually("the trouble is told", || ask("/status").contains("last_error\":{"));
    // What is wrong with a configuration is told, too.
    put(
        "gateway.yaml",
        &yaml
            .replace("marker-of-a-secret-0123456789-0123456789", "marker-too-short")
            .replace("path: /old", "pth: /old"),
    );
    eventually("the broken file is told of", || ask("/status").contains("unknown key"));
    let answers = [ask("/status"), ask("/routes")];
    for answer in &answers {
        assert!(!answer.contains("marker"), "{}", &answer[answer.find("marker").unwrap().saturating_sub(200)..]);
        assert!(!answer.contains("bWFya2Vy") && !answer.contains(key.lines().nth(1).unwrap()), "{answer}");
    }
    assert!(answers[1].contains("***") && answers[1].contains("?…"), "{}", answers[1]);
}

#[test]
fn a_reload_shows_with_what_was_wrong() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let yaml = configuration(&issuer, &upstream, ROUTES).replace("level: error", "level: info");
    fs::write(&file, &yaml).unwrap();
    let binary = Binary::run(&file);
    let config = || exchange(binary.admin(), "GET", "/status", "").json()["config"].clone();
    let first = config();
    assert_eq!((&first["file"], &first["last_reload"]), (&json!(file.display().to_string()), &json!("ok")));
    assert_eq!(first["hash"].as_str().unwrap().len(), 12);

    fs::write(&file, yaml.replace("max_body_bytes: 1KiB", "max_bdy_bytes: 1KiB")).unwrap();
    eventually("the error is told", || config()["last_reload"] == "error");
    let broken = config();
    assert_eq!((&broken["hash"], &broken["loaded_at"]), (&first["hash"], &first["loaded_at"]));
    let errors = broken["errors"].as_array().unwrap();
    let error = errors[0].as_str().unwrap();
    assert!(errors.len() == 1 && error.contains("gateway.yaml:") && error.contains("max_bdy_bytes"), "{errors:?}");

    fs::write(&file, yaml.replace("max_body_bytes: 1KiB", "max_body_bytes: 2KiB")).unwrap();
    eventually("the new one is in force", || config()["last_reload"] == "ok");
    let second = config();
    assert_ne!(second["hash"], first["hash"]);
    assert!(second["loaded_at"].as_str() > first["loaded_at"].as_str());
    assert_eq!(second["errors"], json!([]));
    let routes = exchange(binary.admin(), "GET", "/routes", "").json();
    assert_eq!(routes["hash"], second["hash"]);
    let client = Client::connect(binary.address());
    eventually("a connection is counted", || {
        exchange(binary.admin(), "GET", "/status", "").json()["listeners"][0]["connections"] == 1
    });
    drop(client);
}
