//! What the reference says of a key is true of the reader.

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use serde_json::{Value, json};

use super::*;
use crate::config::{
    keys::KEYS,
    reference::{self, Key, flow},
};

const KEY_SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A folder with all files that examples name.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    for name in ["tls.crt", "gw.crt", "client.crt", "ca.pem", "clients.pem", "upstream-ca.pem", "login.pem"] {
        put(name, &certificate.pem());
    }
    for name in ["tls.key", "gw.key", "client.key", "gateway.pem"] {
        put(name, &key.serialize_pem());
    }
    put("keys.json", KEY_SET);
    put("hs_secret.txt", &"0123456789abcdef".repeat(4));
    std::fs::create_dir(folder.path().join("routes")).unwrap();
    put("routes/more.yaml", "routes: [{name: more, path: /more, upstream: orders, allow: public}]");
    folder
}

/// A file in which most keys can be put.
fn base() -> Value {
    json!({
        "listen": [{"address": "127.0.0.1:0", "name": "public"}],
        "issuers": {"login": {"issuer": "https://login.example.com", "audiences": ["orders-api"]}},
        "upstreams": {"orders": {"url": "http://127.0.0.1:9000"}},
        "routes": [
            {"name": "orders", "path": "/rest/{tenant}/{id}", "upstream": "orders", "allow": [{"any_scope": ["a"]}]},
        ],
    })
}

/// What a key needs beside it, or can't have.
fn suit(path: &str, file: &mut Value) {
    let mut set = |pointer: &str, key: &str, value: Value| file.pointer_mut(pointer).unwrap()[key] = value;
    match path {
        "listen.*.request_from" => set("/listen/0", "mode", json!("forward_auth")),
        "listen.*.tls.client_certificate" => {
            set("/listen/0/tls", "client_ca", json!("clients.pem"));
        }
        "issuers.*.introspection.bearer_token" => {
            let asked = json!({"endpoint": "https://login.example.com/i", "auth": "bearer", "bearer_token": "${T}"});
            set("/issuers/login", "introspection", asked);
        }
        "issuers.*.introspection.private_key" => {
            let asked = json!({
                "endpoint": "https://login.example.com/i",
                "client_id": "gateway",
                "auth": "private_key_jwt",
                "private_key": "gateway.pem",
            });
            set("/issuers/login", "introspection", asked);
        }
        "issuers.*.introspection.certificate" => set("/issuers/login/introspection", "key", json!("gw.key")),
        "issuers.*.introspection.key" => set("/issuers/login/introspection", "certificate", json!("gw.crt")),
        "upstreams.*.tls.certificate" => set("/upstreams/orders/tls", "key", json!("client.key")),
        "upstreams.*.tls.key" => set("/upstreams/orders/tls", "certificate", json!("client.crt")),
        _ => {}
    }
    if path.starts_with("issuers.*.userinfo") {
        set("/issuers/login", "audiences", json!("any"));
    }
    if path.starts_with("upstreams.*.tls") {
        set("/upstreams/orders", "url", json!("https://orders.example.com"));
    }
    let token = "/upstreams/orders/token";
    if path == "upstreams.*.token.username" || path == "upstreams.*.token.password" {
        set(token, "grant", json!("password"));
        set(token, "username", json!("u"));
        set(token, "password", json!("p"));
    }
    if path.starts_with("upstreams.*.token.assertion")
        || matches!(path, "upstreams.*.token.private_key" | "upstreams.*.token.algorithm")
    {
        set(token, "grant", json!("jwt_bearer"));
        set(token, "private_key", json!("gateway.pem"));
        if !path.contains("assertion") {
            set(token, "assertion", json!({"iss": "gateway"}));
        }
    }
    if let Some(place) = path.strip_prefix("routes.*.token_from.*.") {
        let places = file.pointer_mut("/routes/0/token_from").unwrap();
        let value = places[0][place].clone();
        *places = json!([{place: value}]);
    }
    let mut leave = |pointer: &str, key: &str| {
        file.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key);
    };
    match path {
        "upstreams.*.endpoints" => leave("/upstreams/orders", "url"),
        "routes.*.paths" => leave("/routes/0", "path"),
        "routes.*.respond" | "routes.*.redirect" => leave("/routes/0", "upstream"),
        _ if path.starts_with("routes.*.respond.") || path.starts_with("routes.*.redirect.") => {
            leave("/routes/0", "upstream");
        }
        _ => {}
    }
}

/// The file with this key, and the same without it.
fn with_and_without(key: &Key, value: Value) -> (Value, Value) {
    let mut file = base();
    let place = reach(&mut file, key.path);
    let (parent, name) = place;
    let mut with = file.clone();
    with.pointer_mut(&parent).unwrap()[&name] = value;
    suit(key.path, &mut with);
    let mut without = with.clone();
    without.pointer_mut(&parent).unwrap().as_object_mut().unwrap().remove(&name);
    (with, without)
}

/// Puts examples where something is missing on the way to a key. Where the key is then, and its name.
fn reach(file: &mut Value, path: &str) -> (String, String) {
    let mut pointer = String::new();
    let mut so_far = String::new();
    let (way, name) = path.rsplit_once('.').unwrap_or(("", path));
    for part in way.split('.').filter(|part| !part.is_empty()) {
        let here = file.pointer_mut(&pointer).unwrap();
        let step = match (part, &*here) {
            ("*", Value::Array(_)) => "0".to_owned(),
            ("*", Value::Object(entries)) => match entries.keys().next() {
                // A map that stands where a list of maps can.
                Some(_) if so_far == "routes.*.rate_limit" => String::new(),
                Some(first) => first.clone(),
                None => panic!("{path}: {so_far} has no example"),
            },
            _ => part.to_owned(),
        };
        so_far = if so_far.is_empty() { part.to_owned() } else { format!("{so_far}.{part}") };
        if step.is_empty() {
            continue;
        }
        if let Some(item) = here.get_mut(0).filter(|item| item.is_string()) {
            *item = json!({});
        }
        if let Value::Object(entries) = here {
            if !entries.contains_key(&step) {
                let above = reference::all().find(|key| key.path == so_far).unwrap();
                let example = above.example_value().filter(Value::is_object).or_else(|| above.example_value());
                entries.insert(step.clone(), example.filter(|value| !value.is_string()).unwrap_or_else(|| json!({})));
            }
            let inner = entries.get_mut(&step).unwrap();
            if inner.is_string() || part == "*" && inner.is_array() {
                *inner = json!({});
            }
            if path.contains(".claims.*.") && part == "*" && so_far.ends_with("claims.*") {
                *inner = json!({});
            }
        }
        pointer = format!("{pointer}/{step}");
    }
    (pointer, name.to_owned())
}

fn load(file: &Value, folder: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let environment = |_: &str| Some("0123456789abcdef".repeat(4));
    let text = flow(file);
    load_text(&text, "f", folder, Interpolation::new(&environment, folder))
}

#[test]
fn every_key_is_told_of_and_no_other() {
    let mut told = reference::all().map(|key| key.path).collect::<Vec<_>>();
    let mut known = KEYS.to_vec();
    told.sort_unstable();
    known.sort_unstable();
    assert_eq!(told, known);
}

#[test]
fn every_example_is_accepted() {
    let folder = files();
    for key in reference::all() {
        let example = key.example_value().unwrap_or_else(|| panic!("{} has no example", key.path));
        let (file, _) = with_and_without(key, example);
        if let Err(found) = load(&file, folder.path()) {
            panic!("the example of {} in {file}: {}", key.path, found[0]);
        }
    }
}

/// A file with the default written out comes to the same as one without the key.
#[test]
fn every_default_is_what_the_compiler_takes() {
    let folder = files();
    for key in reference::all() {
        let Some(default) = key.default_value() else { continue };
        let (with, without) = with_and_without(key, default);
        let [with, without] = [with, without].map(|file| match load(&file, folder.path()) {
            Ok(loaded) => format!("{:#?}", loaded.policy),
            Err(found) => panic!("the default of {} in {file}: {}", key.path, found[0]),
        });
        assert_eq!(with, without, "{}", key.path);
    }
}

/// What the reference calls required is missed by the reader.
#[test]
fn every_required_key_is_missed() {
    let folder = files();
    for key in reference::all().filter(|key| matches!(key.absent, reference::Absent::Required)) {
        let (_, without) = with_and_without(key, key.example_value().unwrap());
        assert!(load(&without, folder.path()).is_err(), "{} may be left out", key.path);
    }
}

#[test]
fn sentences_are_whole() {
    for key in reference::all() {
        let good =
            key.doc.ends_with(['.', '`']) && key.doc.starts_with(|c: char| c.is_uppercase() || "`2345".contains(c));
        assert!(good && !key.doc.contains("  "), "{}: {}", key.path, key.doc);
    }
}
