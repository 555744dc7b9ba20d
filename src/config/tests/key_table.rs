//! Every key of the contract is in force, or checked and named as not in force, or refused; never ignored.

use std::sync::LazyLock;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::keys::KEYS;

const KEY_SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

const KEY_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

/// A certificate and its key.
static FILES: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["internal.example".to_owned()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("included.yaml"), "version: 1\n").unwrap();
    std::fs::write(folder.path().join("private.pem"), made.signing_key.serialize_pem()).unwrap();
    folder
});

fn file(name: &str) -> String {
    FILES.path().join(name).display().to_string()
}

/// A good value for a key that is in force.
fn example(path: &str, key_file: &str) -> Value {
    match path {
        "version" => json!(1),
        "listen" => json!(["127.0.0.1:0"]),
        "listen.*.tls" => tls(key_file),
        "listen.*.address" => json!("127.0.0.1:0"),
        "admin" => json!("off"),
        "admin.address" => json!("127.0.0.1:0"),
        "server" | "issuers" | "upstreams" | "identity" | "errors" | "logging" | "token_cache" | "state" => json!({}),
        "issuers.*.jwt"
        | "issuers.*.claims"
        | "issuers.*.claims.token_kind"
        | "issuers.*.claims.token_kind.client_if"
        | "routes.*.identity" => json!({}),
        "listen.*.tls.certificate" | "listen.*.tls.client_ca" => json!(key_file.replace("keys.json", "tls.crt")),
        "listen.*.tls.key" => json!(key_file.replace("keys.json", "tls.key")),
        "listen.*.tls.client_certificate" => json!("required"),
        "server.workers" => json!("auto"),
        "server.trusted_proxies" => json!(["10.0.0.0/8"]),
        "server.max_header_bytes" | "server.max_token_bytes" => json!("64KiB"),
        "token_cache.max_bytes" => json!("1MiB"),
        "server.max_body_bytes" | "routes.*.max_body_bytes" => json!("1MiB"),
        "server.max_connections" | "upstreams.*.max_connections" => json!(100),
        "issuers.*.issuer" => json!("https://auth.example.org"),
        "issuers.*.audiences" => json!(["api"]),
        "issuers.*.introspection" => json!({"client_id": "a", "client_secret": "b"}),
        "issuers.*.introspection.endpoint" | "issuers.*.userinfo.endpoint" => json!("https://auth.example.org/ask"),
        "issuers.*.introspection.client_id" => json!("a"),
        "issuers.*.introspection.client_secret" => json!("b"),
        "issuers.*.introspection.auth" => json!("post"),
        "issuers.*.introspection.bearer_token" => json!("opaque"),
        "issuers.*.introspection.private_key" => json!(key_file.replace("keys.json", "private.pem")),
        "issuers.*.introspection.tokens" => json!("^[0-9a-f]{40}$"),
        "issuers.*.introspection.max_concurrent" => json!(8),
        "issuers.*.introspection.signed" => json!(true),
        "issuers.*.introspection.certificate" => json!(key_file.replace("keys.json", "ca.pem")),
        "issuers.*.introspection.key" => json!(key_file.replace("keys.json", "client.pem")),
        "issuers.*.userinfo" => json!({}),
        path if path.ends_with("_ttl") => json!("0s"),
        "routes.*.enforce"
        | "issuers.*.jwt.discovery"
        | "issuers.*.jwt.require_issuer"
        | "issuers.*.jwt.string_dates" => json!(true),
        "issuers.*.jwt.jwks_uri" => json!("https://auth.example.org/keys"),
        "issuers.*.jwt.jwks_file" => json!(key_file),
        "issuers.*.jwt.jwks" => serde_json::from_str(KEY_SET).unwrap(),
        "issuers.*.jwt.public_keys" => json!([key_file.replace("keys.json", "key.pem")]),
        "issuers.*.jwt.secret" | "issuers.*.jwt.secret_base64" => json!("0123456789abcdef".repeat(4)),
        "issuers.*.tls_ca" => json!(key_file.replace("keys.json", "ca.pem")),
        "state.dir" => json!("state"),
        "issuers.*.jwt.algorithms" => json!(["RS256"]),
        "issuers.*.jwt.types" => json!(["application/AT+JWT"]),
        "issuers.*.jwt.require_claims" => json!(["exp", "sub"]),
        "issuers.*.claims.token_kind.client_if.subject_matches" => json!("^service-account-"),
        "issuers.*.claims.subject" => json!("sub"),
        "issuers.*.allow_http" | "upstreams.*.preserve_host" | "logging.access" => json!(false),
        "upstreams.*.url" | "routes.*.upstream" => json!("https://orders.example.org"),
        "identity.authorization" | "routes.*.identity.authorization" => json!("remove"),
        "errors.realm" | "routes.*.name" | "listen.*.name" => json!("a name"),
        "routes.*.token_from" => json!("header"),
        "routes.*.token_from.*.query" | "routes.*.token_from.*.cookie" => json!("token"),
        "routes.*.token_from.*.header" => json!("X-Api-Token"),
        "routes.*.listeners" => json!(["public"]),
        "routes.*.hosts" => json!(["*.example.org"]),
        "routes.*.path" => json!("/a/{id}"),
        "routes.*.strip_prefix" | "routes.*.rewrite" => json!("/a"),
        "routes.*.paths" => json!(["/a", "/b/**"]),
        "routes.*.methods" | "routes.*.allow.*.methods" => json!(["GET"]),
        "routes.*.allow" => json!("authenticated"),
        "routes.*.issuers" | "routes.*.allow.*.issuers" => json!(["main"]),
        "routes.*.allow.*.claims" => {
            json!({"tenant": ["acme", "{path.tenant}-x"], "admin": true, "email": {"present": true}})
        }
        "routes.*.allow.*.when" => json!("claims.plan == \"pro\""),
        "routes.*.allow.*.token_kind" => json!("user"),
        "routes.*.allow.*.claims.*.present" => json!(false),
        "routes.*.allow.*.claims.*.matches" => json!("@example\\.org$"),
        "routes" => json!([]),
        "logging.level" => json!("info,bearward=debug"),
        "logging.format" => json!("text"),
        "routes.*.cors" => json!({"origins": ["*"]}),
        "routes.*.cors.origins" => json!(["https://app.example.com"]),
        "routes.*.cors.methods" => json!(["GET"]),
        "routes.*.cors.headers" => json!(["Authorization"]),
        "routes.*.cors.credentials" => json!(true),
        "routes.*.cors.max_age" => json!("10m"),
        "routes.*.revokes" => json!("token"),
        "include" => json!([file("included.yaml")]),
        "listen.*.mode" => json!("ext_authz"),
        "listen.*.request_from" => json!("self"),
        "admin.token" => json!("s3cret"),
        "issuers.*.logout"
        | "issuers.*.dpop"
        | "upstreams.*.eject"
        | "upstreams.*.retry"
        | "upstreams.*.tls"
        | "upstreams.*.token.assertion" => json!({}),
        "identity.assertion" | "routes.*.identity.assertion" => {
            json!({"private_key": file("private.pem"), "issuer": "https://gateway.example"})
        }
        "state.redis" => json!("rediss://user:p@ss@127.0.0.1/0"),
        "issuers.*.logout.back_channel" | "issuers.*.logout.events" | "issuers.*.dpop.nonce" | "upstreams.*.http2" => {
            json!(true)
        }
        "issuers.*.sender_constraint" => json!("mtls"),
        "upstreams.*.endpoints" => json!(["https://10.0.0.1", "https://10.0.0.2"]),
        "upstreams.*.balance" => json!("hash"),
        "upstreams.*.health" => json!({"path": "/"}),
        "upstreams.*.health.path" => json!("/healthz"),
        "upstreams.*.health.interval" | "upstreams.*.eject.for" => json!("5s"),
        "upstreams.*.health.healthy" | "upstreams.*.health.unhealthy" | "upstreams.*.eject.failures" => json!(2),
        "upstreams.*.retry.attempts" => json!(3),
        "upstreams.*.retry.on" => json!(["connect", 502, "503"]),
        "upstreams.*.retry.budget" => json!("20%"),
        "upstreams.*.tls.ca" | "upstreams.*.tls.certificate" => json!(file("cert.pem")),
        "upstreams.*.tls.key" => json!(file("private.pem")),
        "upstreams.*.tls.server_name" => json!("internal.example"),
        "upstreams.*.paths" => json!("case_insensitive"),
        "upstreams.*.token" => {
            json!({"endpoint": "https://a.example/t", "grant": "client_credentials", "client_id": "a", "client_secret": "b"})
        }
        "upstreams.*.token.endpoint" => json!("https://a.example/token"),
        "upstreams.*.token.grant" => json!("password"),
        "upstreams.*.token.client_id"
        | "upstreams.*.token.client_secret"
        | "upstreams.*.token.audience"
        | "upstreams.*.token.username"
        | "upstreams.*.token.password"
        | "upstreams.*.token.assertion.iss"
        | "upstreams.*.token.assertion.sub"
        | "upstreams.*.token.assertion.aud"
        | "identity.assertion.audience"
        | "identity.assertion.issuer" => json!("gateway"),
        "upstreams.*.token.scopes" | "routes.*.protected_resource.scopes_supported" => json!(["a:b"]),
        "upstreams.*.token.scope_separator" => json!(","),
        path if path.ends_with(".private_key") => json!(file("private.pem")),
        "upstreams.*.token.algorithm" => json!("ES256"),
        "upstreams.*.token.auth" => json!("basic"),
        path if path.ends_with(".assertion.ttl") => json!("1m"),
        "upstreams.*.token.expiry_margin" | "issuers.*.dpop.max_age" => json!("30s"),
        path if path.ends_with("assertion.header") => json!("X-Auth-Assertion"),
        "routes.*.identity.assertion.issuer" | "routes.*.identity.assertion.audience" => json!("upstream"),
        "routes.*.rate_limit" => json!({"rate": "1/s"}),
        "routes.*.rate_limit.*.rate" => json!("600/m"),
        "routes.*.rate_limit.*.burst" => json!(200),
        "routes.*.rate_limit.*.per" => json!("claims.tenant"),
        "routes.*.protected_resource" => json!({"resource": "https://api.example.com/rest"}),
        "routes.*.protected_resource.resource" => json!("https://api.example.com"),
        "tracing" => json!({}),
        "tracing.otlp" => json!("http://127.0.0.1:4317"),
        "tracing.sample" => json!(0.25),
        "routes.*.respond" => json!({}),
        "routes.*.respond.status" => json!(404),
        "routes.*.respond.body" => json!("hello"),
        "routes.*.redirect" => json!({"to": "/x"}),
        "routes.*.redirect.to" => json!("https://new.example/"),
        "routes.*.redirect.status" => json!(307),
        "routes.*.headers" | "routes.*.headers.request" | "routes.*.headers.response" => json!({}),
        "routes.*.headers.request.set" | "routes.*.headers.response.set" => json!({"X-B": "c"}),
        "routes.*.headers.request.remove" | "routes.*.headers.response.remove" => json!(["X-B"]),
        path if path.ends_with(".headers") => json!({"X-A": "subject"}),
        path if path.ends_with(".headers.*.value") => json!("a literal"),
        path if path.starts_with("issuers.*.claims.")
            || path.starts_with("routes.*.allow.*.") && path != "routes.*.allow.*.max_age" =>
        {
            json!(["a"])
        }
        path if path.ends_with("_timeout") || path.ends_with(".timeout") => json!("5s"),
        "server.drain_delay"
        | "issuers.*.jwt.clock_skew"
        | "routes.*.allow.*.max_age"
        | "issuers.*.jwt.max_token_age"
        | "issuers.*.jwt.refresh"
        | "issuers.*.jwt.stale_keys" => json!("5m"),
        other => panic!("an example for {other} is missing"),
    }
}

fn tls(key_file: &str) -> Value {
    let file = |name| key_file.replace("keys.json", name);
    json!({"certificate": file("tls.crt"), "key": file("tls.key"), "client_ca": file("tls.crt")})
}

/// The smallest good file with this key in it.
fn document(path: &str, value: Value) -> String {
    document_beside(path, value, "keys.json")
}

/// The same, with key files beside this one.
fn document_beside(path: &str, value: Value, key_file: &str) -> String {
    let mut file = json!({
        "issuers": {"main": {"issuer": "https://auth.example.org", "audiences": ["api"]}},
        "upstreams": {"main": {"url": "http://127.0.0.1:9000"}},
        "routes": [{"name": "main", "path": "/", "upstream": "main", "allow": "authenticated"}],
    });
    if path == "issuers" || path == "upstreams" {
        file["routes"] = json!([]);
    }
    if path.starts_with("issuers.*.introspection.") {
        let beside = |name: &str, other: &str| value.as_str().unwrap_or_default().replace(name, other);
        file["issuers"]["main"]["introspection"] = match path.rsplit('.').next() {
            Some("bearer_token") => json!({"auth": "bearer"}),
            Some("certificate") => json!({"auth": "none", "key": beside("ca.pem", "client.pem")}),
            Some("key") => json!({"auth": "none", "certificate": beside("client.pem", "ca.pem")}),
            Some("private_key") => json!({"auth": "private_key_jwt", "client_id": "a"}),
            _ => json!({"client_id": "a", "client_secret": "b"}),
        };
    }
    if path.starts_with("issuers.*.userinfo") {
        file["issuers"]["main"]["audiences"] = json!("any");
    }
    if path.starts_with("listen.*") {
        file["listen"] = json!([{"address": "127.0.0.1:0"}]);
    }
    if path.starts_with("listen.*.tls.") {
        file["listen"][0]["tls"] = tls(key_file);
    }
    if path == "routes.*.listeners" {
        file["listen"] = json!([{"address": "127.0.0.1:0", "name": "public"}]);
    }
    if path.starts_with("routes.*.allow.*") {
        file["routes"][0]["allow"] = json!([{"any_scope": ["a"]}]);
    }
    if path.starts_with("routes.*.allow.*.claims") {
        file["routes"][0]["path"] = json!("/{tenant}");
    }
    if path == "routes.*.paths" {
        file["routes"][0].as_object_mut().unwrap().remove("path");
    }
    if path.starts_with("routes.*.respond") || path.starts_with("routes.*.redirect") {
        file["routes"][0].as_object_mut().unwrap().remove("upstream");
    }
    if path.starts_with("routes.*.redirect.") {
        file["routes"][0]["redirect"] = json!({"to": "/x"});
    }
    if path.starts_with("routes.*.cors.") {
        file["routes"][0]["cors"] = json!({"origins": ["https://app.example.com"]});
    }
    if path == "routes.*.strip_prefix" {
        file["routes"][0]["path"] = json!("/a/b");
    }
    if path.starts_with("routes.*.rate_limit.*") {
        file["routes"][0]["rate_limit"] = json!([{"rate": "1/s"}]);
    }
    if path.starts_with("routes.*.token_from.*") {
        file["routes"][0]["token_from"] = json!([{}]);
    }
    beside(path, &mut file);
    let mut place = &mut file;
    for part in path.split('.') {
        place = match (part, place.is_array()) {
            ("*", true) => &mut place[0],
            ("*", false) if path.contains(".headers.*") => &mut place["X-A"],
            ("*", false) => &mut place["main"],
            (key, _) => &mut place[key],
        };
    }
    *place = value;
    file.to_string()
}

/// What must stand beside a key.
fn beside(path: &str, document: &mut Value) {
    let upstream = &mut document["upstreams"]["main"];
    match path {
        "listen.*.request_from" => document["listen"][0]["mode"] = json!("forward_auth"),
        "upstreams.*.endpoints" => *upstream = json!({}),
        path if path.starts_with("upstreams.*.tls") => *upstream = json!({"url": "https://a.example", "tls": {}}),
        path if path.starts_with("upstreams.*.health.") => upstream["health"] = json!({"path": "/"}),
        path if path.starts_with("upstreams.*.token.") => {
            let (grant, beside) = match path.rsplit('.').next().unwrap() {
                "username" | "password" | "grant" => ("password", "username"),
                "private_key" | "algorithm" | "assertion" | "iss" | "sub" | "aud" | "ttl" => {
                    ("jwt_bearer", "private_key")
                }
                _ => ("client_credentials", "audience"),
            };
            upstream["token"] =
                json!({"endpoint": "https://a.example/t", "grant": grant, "client_id": "a", "client_secret": "b"});
            upstream["token"][beside] = json!(file("private.pem"));
            match grant {
                "password" => upstream["token"]["password"] = json!("c"),
                "jwt_bearer" => upstream["token"]["assertion"] = json!({}),
                _ => {}
            }
        }
        path if path.starts_with("identity.assertion.") => {
            document["identity"]["assertion"] = example("identity.assertion", "");
        }
        path if path.starts_with("routes.*.identity.assertion.") => {
            document["routes"][0]["identity"]["assertion"] = example("identity.assertion", "");
        }
        path if path.starts_with("routes.*.protected_resource.") => {
            document["routes"][0]["protected_resource"] = json!({"resource": "https://api.example.com"});
        }
        _ => {}
    }
    if path == "upstreams.*.tls.certificate" || path == "upstreams.*.tls.key" {
        document["upstreams"]["main"]["tls"] = json!({"certificate": file("cert.pem"), "key": file("private.pem")});
    }
}

#[test]
fn every_key_in_force_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("keys.json");
    std::fs::write(&key_file, KEY_SET).unwrap();
    std::fs::write(folder.path().join("key.pem"), KEY_PEM).unwrap();
    let pair = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.path().join("private.pem"), pair.serialize_pem()).unwrap();
    let tls = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("tls.crt"), tls.cert.pem()).unwrap();
    std::fs::write(folder.path().join("tls.key"), tls.signing_key.serialize_pem()).unwrap();
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("ca.pem"), certificate.cert.pem()).unwrap();
    std::fs::write(folder.path().join("client.pem"), certificate.signing_key.serialize_pem()).unwrap();
    for path in KEYS {
        let key_file = key_file.to_str().unwrap();
        let text = document_beside(path, example(path, key_file), key_file);
        if let Err(found) = load_str(&text, "f") {
            panic!("{path}: {}", found[0]);
        }
    }
}

/// A key that is read has an influence on whether a file is good.
#[test]
fn every_key_in_force_is_read() {
    for path in KEYS {
        let nonsense = document(path, json!([[["nonsense"]]]));
        assert!(load_str(&nonsense, "f").is_err(), "{path} takes anything");
        let nothing = document(path, json!(null));
        let found = load_str(&nothing, "f").unwrap_err();
        assert!(found.iter().any(|d| d.message.contains("has no value")), "{path}: {found:?}");
    }
}

#[test]
fn a_misspelt_key_is_an_error_with_a_suggestion() {
    for path in KEYS.iter().filter(|path| !path.ends_with('*')) {
        let misspelt = format!("{path}x");
        let found = load_str(&document(&misspelt, json!("x")), "f").unwrap_err();
        let unknown =
            found.iter().find(|d| d.message.starts_with("unknown key")).unwrap_or_else(|| panic!("{misspelt}"));
        let key = path.rsplit('.').next().unwrap();
        assert_eq!(unknown.hint.as_deref(), Some(&*format!("did you mean `{key}`?")), "{misspelt}");
    }
}

#[test]
fn no_key_is_in_the_table_twice() {
    let mut paths = KEYS.to_vec();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), KEYS.len());
}
