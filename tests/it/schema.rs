//! `bearward schema`: what it says is what `check` does, and what is committed is what it says.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::{binary::Binary, json_schema::problems};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = Binary::command().arg("schema").args(arguments).output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    String::from_utf8(output.stdout).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&printed(&[])).unwrap()
}

/// As an editor reads it: variables stay what they are.
fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[track_caller]
fn is_fresh(file: &str, printed: &str) {
    let path = root().join(file);
    if std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always") {
        fs::write(&path, printed).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == printed, "{file} is not what `bearward schema` prints: INSTA_UPDATE=always cargo test schema");
}

#[test]
fn what_is_committed_is_fresh() {
    is_fresh("gateway.schema.json", &printed(&[]));
    is_fresh("docs/reference.md", &printed(&["--reference"]));
}

#[test]
fn the_example_names_its_schema() {
    let text = fs::read_to_string(root().join("gateway.yaml")).unwrap();
    assert_eq!(text.lines().next(), Some("# yaml-language-server: $schema=gateway.schema.json"));
    assert_eq!(problems(&schema(), &yaml(&text)), [] as [&str; 0]);
}

/// Every block of YAML in README and docs that is a whole configuration.
#[test]
fn files_in_the_documentation_are_valid() {
    let schema = schema();
    let mut pages: Vec<PathBuf> = vec![root().join("README.md")];
    pages.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut seen = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(page).unwrap();
        for block in text.split("\n```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()) {
            let value = yaml(block);
            if value.get("routes").is_some() {
                seen += 1;
                assert_eq!(problems(&schema, &value), [] as [&str; 0], "{}: {block}", page.display());
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn defaults_and_examples_fit_their_own_keys() {
    fn walk(schema: &Value, root: &Value, at: &str, seen: &mut usize) {
        let Some(map) = schema.as_object() else { return };
        let examples = map.get("examples").and_then(Value::as_array).into_iter().flatten();
        for value in examples.chain(map.get("default")) {
            let mut alone = schema.clone();
            alone["$defs"] = root["$defs"].clone();
            assert_eq!(problems(&alone, value), [] as [&str; 0], "{at}: {value}");
            *seen += 1;
        }
        for (key, inner) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            assert!(inner["description"].as_str().is_some_and(|text| text.len() > 3), "{at}.{key}");
            walk(inner, root, &format!("{at}.{key}"), seen);
        }
        for inner in ["items", "additionalProperties"].iter().filter_map(|key| map.get(*key)) {
            walk(inner, root, at, seen);
        }
        for inner in map.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
            walk(inner, root, at, seen);
        }
    }
    let schema = schema();
    let mut seen = 0;
    walk(&schema, &schema, "", &mut seen);
    assert!(seen > 300, "{seen}");
}

/// A good file in which one thing is set, or taken out.
fn changed(pointer: &str, value: Option<Value>) -> Value {
    let mut file = json!({
        "version": 1,
        "listen": [{"address": "127.0.0.1:8080"}],
        "server": {},
        "issuers": {"login": {"issuer": "https://login.example.com", "audiences": ["api"], "jwt": {}}},
        "upstreams": {"orders": {"url": "http://127.0.0.1:9000"}},
        "routes": [{"name": "orders", "path": "/**", "upstream": "orders", "allow": [{"scopes": ["a"]}]}],
    });
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = file.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    match value {
        Some(value) => parent[key] = value,
        None => drop(parent.as_object_mut().unwrap().remove(key)),
    }
    file
}

#[test]
fn what_can_be_written() {
    let schema = schema();
    for (pointer, value) in [
        ("/listen", json!(["0.0.0.0:8080", {"address": "${ADDRESS}"}])),
        ("/admin", json!("off")),
        ("/admin", json!({"address": "127.0.0.1:1"})),
        ("/server/workers", json!("auto")),
        ("/server/workers", json!(8)),
        ("/server/workers", json!("${N}")),
        ("/server/max_connections", json!("none")),
        ("/server/max_body_bytes", json!("${LIMIT:-1MiB}")),
        ("/server/max_header_bytes", json!(65536)),
        ("/server/header_timeout", json!("${SECONDS}s")),
        ("/logging", json!({"access": "${ACCESS:-true}", "format": "${FORMAT}"})),
        ("/issuers/login/audiences", json!("any")),
        ("/issuers/login/audiences", json!([12345])),
        ("/issuers/login/jwt/secret", json!("${file:/run/secrets/hs}")),
        ("/upstreams/orders/response_timeout", json!("none")),
        ("/upstreams/orders/url", json!("${ORDERS}")),
        ("/upstreams/orders/retry", json!({"on": ["connect", 502], "budget": "20%"})),
        ("/routes/0/allow", json!("optional")),
        ("/routes/0/allow/0/claims", json!({"a": "{path.x}", "b": [1, true], "c": 3, "d": {"present": "${P}"}})),
        ("/routes/0/rate_limit", json!({"rate": "100/s"})),
        ("/routes/0/rate_limit", json!([{"rate": "600/m", "burst": 5, "per": "claims.tenant"}])),
        ("/routes/0/identity", json!({"headers": {"X-A": "claims.a", "X-B": {"value": 5}}})),
        ("/routes/0/headers", json!({"request": {"set": {"X-Max": 5, "X-On": true}}})),
        ("/tracing", json!({"sample": 0.5})),
    ] {
        assert_eq!(problems(&schema, &changed(pointer, Some(value.clone()))), [] as [&str; 0], "{pointer}: {value}");
    }
    let included = json!({"include": ["routes/*.yaml"]});
    assert_eq!(problems(&schema, &included), [] as [&str; 0]);
}

#[test]
fn typical_mistakes() {
    let schema = schema();
    for (pointer, value) in [
        ("/rotues", json!([])),
        ("/version", json!(2)),
        ("/listen", json!("0.0.0.0:8080")),
        ("/listen", json!([])),
        ("/server", json!(null)),
        ("/server/header_timeout", json!(10)),
        ("/server/header_timeout", json!("10 s")),
        ("/server/max_body_bytes", json!("10MB")),
        ("/server/max_connections", json!(0)),
        ("/server/workers", json!("many")),
        ("/server/trusted_proxies", json!("10.0.0.0/8")),
        ("/issuers", json!([{"name": "login"}])),
        ("/issuers/login/audience", json!("api")),
        ("/issuers/login/audiences", json!([])),
        ("/issuers/login/audiences", json!("api")),
        ("/issuers/login/allow_http", json!("yes")),
        ("/issuers/login/jwt", json!({"jwks_uri": "https://a.example", "jwks_file": "keys.json"})),
        ("/issuers/login/jwt/jwks_uri", json!("login.example.com/certs")),
        ("/issuers/login/jwt/algorithms", json!(["none"])),
        ("/upstreams/orders/url", json!("127.0.0.1:9000")),
        ("/upstreams/orders/endpoints", json!(["http://127.0.0.1:1"])),
        ("/upstreams/orders/tls", json!({"certificate": "client.crt"})),
        ("/upstreams/orders/connect_timeout", json!("none")),
        ("/routes/0/allow", json!("everybody")),
        ("/routes/0/allow", json!([])),
        ("/routes/0/allow", json!([{}])),
        ("/routes/0/allow", json!(["authenticated"])),
        ("/routes/0/allow/0/scope", json!("a")),
        ("/routes/0/allow/0/scopes", json!([])),
        ("/routes/0/allow/0/claims", json!({"a": {"matches": "x", "present": true}})),
        ("/routes/0/allow/0/claims", json!({"a": {"path.tenant": null}})),
        ("/routes/0/paths", json!(["/a"])),
        ("/routes/0/respond", json!({})),
        ("/routes/0/methods", json!("GET")),
        ("/routes/0/cors", json!({"methods": ["GET"]})),
        ("/routes/0/rate_limit", json!({"rate": 100})),
        ("/routes/0/identity", json!({"authorization": "drop"})),
    ] {
        let file = changed(pointer, Some(value.clone()));
        assert_ne!(problems(&schema, &file), [] as [&str; 0], "{pointer}: {value} is taken");
    }
    for pointer in ["/routes", "/routes/0/name", "/routes/0/path", "/routes/0/allow", "/issuers/login/audiences"] {
        assert_ne!(problems(&schema, &changed(pointer, None)), [] as [&str; 0], "{pointer} may be left out");
    }
    assert_eq!(problems(&schema, &changed("/version", None)), [] as [&str; 0]);
}

#[test]
fn secrets_are_marked() {
    let schema = schema();
    for pointer in [
        "/properties/issuers/additionalProperties/properties/jwt/properties/secret",
        "/properties/issuers/additionalProperties/properties/introspection/properties/client_secret",
        "/properties/upstreams/additionalProperties/properties/token/properties/password",
        "/properties/upstreams/additionalProperties/properties/token/properties/private_key",
        "/properties/identity/properties/assertion/properties/private_key",
    ] {
        assert_eq!(schema.pointer(pointer).unwrap()["writeOnly"], json!(true), "{pointer}");
    }
}
