//! Conventions of the source, held by reading it: who may name what, and what nobody may write.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// The code of a file without its tests and comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let tests = text.find("#[cfg(test)]\n#[allow").or_else(|| text.find("\nmod tests {")).unwrap_or(text.len());
    text[..tests].lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
}

#[test]
fn only_their_rooms_name_these() {
    let allowed: &[(&str, &[&str])] = &[
        ("serde_saphyr", &["src/config/yaml"]),
        ("jsonwebtoken", &["src/demo/", "src/cli/token/sign.rs"]),
        ("hyper::client", &["src/upstream/", "src/fetch"]),
        ("hyper::server", &["src/server/", "src/admin/", "src/demo/"]),
        ("prometheus::", &["src/observe/"]),
        ("clap::", &["src/cli/"]),
        ("prost::", &["src/trace/otlp.rs", "src/decide/"]),
    ];
    for (file, text) in all_sources().iter().filter(|(file, _)| !file.ends_with("tests.rs")) {
        for (name, rooms) in allowed {
            let named = code(text).any(|line| line.contains(name));
            assert!(!named || rooms.iter().any(|room| file.starts_with(room)), "{file} names {name}");
        }
    }
}

#[test]
fn rooms_know_only_what_is_below_them() {
    let forbidden: &[(&str, &[&str])] = &[
        ("src/server/", &["crate::gateway", "crate::decision", "crate::snapshot"]),
        ("src/token/", &["crate::gateway", "crate::route", "crate::upstream", "crate::policy", "crate::server"]),
        ("src/policy/", &["crate::gateway", "crate::upstream", "crate::server", "crate::config"]),
        ("src/observe/", &["crate::gateway", "crate::upstream", "crate::server", "crate::config", "crate::decision"]),
        ("src/gateway", &["crate::decide", "crate::admin"]),
        // What only decides has no way to send a request on.
        ("src/decide/", &["crate::upstream", "crate::config", "crate::admin", "crate::fetch"]),
        ("src/config/", &["crate::gateway", "crate::fetch", "crate::admin", "tokio::net"]),
        ("src/trace/", &["crate::gateway", "crate::snapshot", "crate::decision", "crate::token", "crate::config"]),
        ("src/upstream/", &["crate::gateway", "crate::token", "crate::config", "crate::respond"]),
        ("src/shadow", &["crate::upstream", "crate::egress", "crate::fetch", "crate::outgoing", "crate::logout"]),
        ("src/confidential", &["crate::admin", "crate::config", "crate::explain", "crate::snapshot"]),
        ("src/path", &["crate::route", "crate::gateway", "crate::token"]),
    ];
    for (file, text) in all_sources().iter().filter(|(file, _)| !file.ends_with("tests.rs")) {
        for (room, names) in forbidden.iter().filter(|(room, _)| file.starts_with(room)) {
            let named = names.iter().find(|name| code(text).any(|line| line.contains(*name)));
            assert!(named.is_none(), "{file} of {room} names {named:?}");
        }
    }
}

#[test]
fn permits_and_principals_are_made_at_one_place() {
    for (file, text) in all_sources() {
        let makes = |pattern: &str| code(&text).any(|line| line.contains(pattern));
        assert!(!makes("Permit {") || file == "src/decision.rs", "{file} makes a Permit");
        assert!(!makes("Principal {") || file.starts_with("src/token/"), "{file} makes a Principal");
    }
}

#[test]
fn nothing_unfinished_is_left() {
    for (file, text) in all_sources() {
        for word in ["todo!(", "unimplemented!(", "for now", "FIXME", "XXX", "HACK"] {
            assert!(!text.contains(word), "{file} has {word}");
        }
    }
}
