//! Keys in files that change, and key sets that outlive a restart.

use std::{fs, os::unix::fs::symlink, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::{
    binary::Binary,
    eventually,
    gateway::{Gateway, configuration, configuration_of},
    issuer::{Issuer, Mood},
    keys::Key,
    token::Token,
    upstream::Upstream,
};

const ROUTES: &str = "  - {name: closed, path: /closed, upstream: echo, allow: authenticated}\n";
const URL: &str = "https://issuer.example";

fn jwks(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// RFC 8410, section 4.
fn pem(key: &Key) -> String {
    let info = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], &key.public_bytes()].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(info))
}

fn with_keys(jwt: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let issuers = format!("  main: {{issuer: \"{URL}\", audiences: [api], jwt: {{{jwt}}}}}\n");
    let gateway = Gateway::start(&configuration_of(&issuers, &upstream.url(), ROUTES));
    (upstream, gateway)
}

#[track_caller]
fn becomes(gateway: &Gateway, what: &str, token: &str, status: u16) {
    eventually(what, || gateway.get_with("/closed", token).status == status);
}

fn degraded(gateway: &Gateway) -> bool {
    let ready = gateway.admin("/readyz");
    assert_eq!(ready.status, 200);
    ready.json()["degraded"].as_array().is_some_and(|issuers| !issuers.is_empty())
}

#[test]
fn a_key_file_is_read_again_however_it_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let keys = [Key::es256("k0"), Key::eddsa("k1"), Key::es256("k2"), Key::es256("k3")];
    let tokens = keys.each_ref().map(|key| Token::new(URL, key).build());
    for (version, key) in [("..1", &keys[0]), ("..2", &keys[3])] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("keys.json"), jwks(&[key])).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/keys.json", at("keys.json")).unwrap();
    let (_upstream, gateway) = with_keys(&format!("jwks_file: {}", at("keys.json").display()));
    assert_eq!(gateway.get_with("/closed", &tokens[0]).status, 200);
    let only = |now: usize| {
        becomes(&gateway, "the new key is there", &tokens[now], 200);
        for (index, token) in tokens.iter().enumerate().filter(|(index, _)| *index != now) {
            let response = gateway.get_with("/closed", token);
            assert_eq!(
                (response.status, response.challenge().unwrap().error()),
                (401, Some("invalid_token")),
                "{index}"
            );
        }
    };

    // Through the link, in place.
    fs::write(at("keys.json"), jwks(&[&keys[1]])).unwrap();
    only(1);
    // As a ConfigMap is replaced.
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    only(3);
    // By rename.
    fs::write(at("new"), jwks(&[&keys[2]])).unwrap();
    fs::rename(at("new"), at("keys.json")).unwrap();
    only(2);
    assert!(!degraded(&gateway));
}

#[test]
fn a_bad_save_keeps_the_keys_at_hand_and_shows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let tokens = [&old, &new].map(|key| Token::new(URL, key).build());
    fs::write(&file, jwks(&[&old])).unwrap();
    let (_upstream, gateway) = with_keys(&format!("jwks_file: {}", file.display()));
    let failed = || gateway.metric("bearward_jwks_fetches_total{issuer=\"main\",result=\"error\"}");
    let good = jwks(&[&new]);
    for (turn, bad) in ["", "{}", r#"{"keys":[]}"#, &good[..good.len() / 2]].into_iter().enumerate() {
        fs::write(&file, bad).unwrap();
        eventually("the bad save is counted", || failed() > turn as f64);
        assert!(degraded(&gateway), "{bad}");
        assert_eq!(gateway.get_with("/closed", &tokens[0]).status, 200, "{bad}");
        assert_eq!(gateway.get_with("/closed", &tokens[1]).status, 401, "{bad}");
    }
    fs::remove_file(&file).unwrap();
    eventually("the loss is counted", || failed() > 4.0);
    assert_eq!(gateway.get_with("/closed", &tokens[0]).status, 200);
    fs::write(&file, good).unwrap();
    becomes(&gateway, "the good save is taken", &tokens[1], 200);
    assert_eq!(gateway.get_with("/closed", &tokens[0]).status, 401);
    assert!(!degraded(&gateway));
    assert_eq!(gateway.metric("bearward_jwks_keys{issuer=\"main\"}"), 1.0);
}

#[test]
fn pem_files_are_read_again_and_count_together() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["a.pem", "b.pem"].map(|name| folder.path().join(name));
    let keys = ["a", "b", "c"].map(Key::eddsa);
    let tokens = keys.each_ref().map(|key| Token::new(URL, key).without_header("kid").build());
    fs::write(&files[0], pem(&keys[0])).unwrap();
    fs::write(&files[1], pem(&keys[1])).unwrap();
    let (_upstream, gateway) = with_keys(&format!("public_keys: [{}, {}]", files[0].display(), files[1].display()));
    let statuses = || tokens.each_ref().map(|token| gateway.get_with("/closed", token).status);
    assert_eq!(statuses(), [200, 200, 401]);
    fs::write(&files[1], pem(&keys[2])).unwrap();
    becomes(&gateway, "the new key is there", &tokens[2], 200);
    assert_eq!(statuses(), [200, 401, 200]);
    // One bad file: the keys of all stay as they were.
    fs::write(&files[0], "-----BEGIN NOTHING-----").unwrap();
    eventually("it shows", || degraded(&gateway));
    assert_eq!(statuses(), [200, 401, 200]);
}

fn with_state(issuer: &Issuer, upstream: &Upstream, folder: &Path, jwt: &str) -> String {
    let yaml = configuration(issuer, upstream, ROUTES).replace("http_timeout: 30s", &format!("jwt: {{{jwt}}}"));
    format!("state: {{dir: \"{}\"}}\n{yaml}", folder.join("state").display())
}

fn kept_file(folder: &Path) -> std::path::PathBuf {
    let mut found = None;
    eventually("the keys are kept", || {
        let files = fs::read_dir(folder.join("state")).unwrap().map(|entry| entry.unwrap().path());
        found = files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "json"));
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn keys_outlive_a_restart_while_their_server_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let yaml = with_state(&issuer, &upstream, folder.path(), "");
    let (token, unknown) = (issuer.token().build(), issuer.token().kid("unknown").build());
    let gateway = Gateway::start(&yaml);
    assert_eq!(gateway.get_with("/closed", &token).status, 200);
    let file = kept_file(folder.path());
    drop(gateway);

    issuer.be(Mood::Status(500));
    let gateway = Gateway::start(&yaml);
    assert_eq!(gateway.get_with("/closed", &token).status, 200);
    assert_eq!(gateway.get_with("/closed", &unknown).status, 503);
    assert!(degraded(&gateway));
    drop(gateway);

    // Counted from when they were fetched.
    let mut document: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let good = document.clone();
    document["fetched_at"] = json!(document["fetched_at"].as_u64().unwrap() - 25 * 3600);
    let foreign = {
        let mut foreign = good.clone();
        foreign["issuer"] = json!("https://elsewhere.example");
        foreign
    };
    for bad in [document.to_string(), foreign.to_string(), good.to_string()[..200].to_owned(), String::new()] {
        fs::write(&file, &bad).unwrap();
        let gateway = Gateway::start_unready(&yaml);
        becomes(&gateway, "the server was asked", &token, 503);
        assert_eq!(gateway.admin("/readyz").status, 503, "{bad}");
    }
    // The server decides once it is back: its keys are taken, not those of an earlier run.
    fs::write(&file, good.to_string()).unwrap();
    issuer.be(Mood::Good);
    issuer.rotate(&Key::es256("k2"));
    let gateway = Gateway::start(&yaml);
    assert_eq!(gateway.get_with("/closed", &token).status, 401);
    assert_eq!(gateway.get_with("/closed", &issuer.token().build()).status, 200);
}

#[test]
fn what_is_kept_for_one_source_is_nothing_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let token = issuer.token().build();
    drop(Gateway::start(&with_state(&issuer, &upstream, folder.path(), "")));
    kept_file(folder.path());
    issuer.be(Mood::HangUp);
    let other_source = format!("jwks_uri: \"{}\"", issuer.jwks_uri());
    let gateway = Gateway::start_unready(&with_state(&issuer, &upstream, folder.path(), &other_source));
    becomes(&gateway, "the server was asked", &token, 503);
}

#[test]
fn a_kept_set_that_is_no_good_is_told_once() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let yaml = configuration(&issuer, &upstream, ROUTES).replace("level: error", "level: info");
    fs::write(&file, format!("{yaml}state: {{dir: state}}\n")).unwrap();
    let kept = || {
        let state = fs::read_dir(folder.path().join("state")).ok()?;
        let mut files = state.map(|entry| entry.unwrap().path());
        files.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("keys-")))
    };
    let mut binary = Binary::run(&file);
    eventually("the keys are kept", || kept().is_some());
    binary.signal("TERM");
    binary.wait();

    fs::write(kept().unwrap(), "{").unwrap();
    issuer.be(Mood::Status(500));
    let mut binary = Binary::run(&file);
    let told = |message: &str| binary.lines().iter().filter(|line| line["message"] == message).count();
    eventually("it was tried again", || told("keys could not be fetched") > 1);
    assert_eq!(told("kept keys are ignored"), 1);
    binary.signal("TERM");
    binary.wait();
}
