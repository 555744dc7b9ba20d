//! A real authorization server and a real client, which know nothing of the gateway between them.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{binary::Binary, skipped, upstream::Upstream};

/// The folder of the script and its modules; None, said aloud, where they aren't installed.
fn folder() -> Option<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oauth");
    let has_node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    if has_node && folder.join("node_modules/oidc-provider").is_dir() {
        return Some(folder);
    }
    skipped("no server and client of DPoP were tried: it needs Node and `npm ci` in tests/oauth");
    None
}

#[test]
fn dpop_as_a_real_server_and_client_have_it() {
    let Some(folder) = folder() else { return };
    let mut peer = Command::new("node")
        .arg("peer.js")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut says = BufReader::new(peer.stdout.take().unwrap());
    let mut line = String::new();
    says.read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let (issuer, audience) = (told["issuer"].as_str().unwrap(), told["audience"].as_str().unwrap());
    let secret = told["secret"].as_str().unwrap();

    let upstream = Upstream::start();
    let routes = ["items", "nonced", "scoped", "opaque"].map(|name| {
        let (issuer, rule) = match name {
            "nonced" => ("nonced", "authenticated"),
            "scoped" => ("plain", "[{scopes: [\"items:read\"]}]"),
            "opaque" => ("asked", "authenticated"),
            _ => ("plain", "authenticated"),
        };
        format!("  - {{name: {name}, path: \"/{name}/**\", upstream: api, issuers: [{issuer}], allow: {rule}}}\n")
    });
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.yaml");
    let yaml = format!(
        "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\"}}\nserver: {{workers: 2}}\n\
         logging: {{level: info, access: false}}\nissuers:\n\
         \u{20} plain: {{issuer: \"{issuer}\", audiences: [\"{audience}\"], sender_constraint: dpop}}\n\
         \u{20} nonced: {{issuer: \"{issuer}\", audiences: [\"{audience}\"], dpop: {{nonce: true}}}}\n\
         \u{20} asked: {{issuer: \"{issuer}\", audiences: [\"{audience}\"], introspection: \
         {{client_id: client, client_secret: \"{secret}\", auth: post}}}}\n\
         upstreams: {{api: {{url: \"{}\"}}}}\nroutes:\n{}",
        upstream.url(),
        routes.concat()
    );
    fs::write(&config, yaml).unwrap();
    let gateway = Binary::run(&config);
    let mut stdin = peer.stdin.take().unwrap();
    writeln!(stdin, "http://{}", gateway.address()).unwrap();
    // The server has notices of its own.
    let said = says.lines().map(Result::unwrap).collect::<Vec<_>>();
    let status = peer.wait().unwrap();
    assert!(status.success() && said.last().is_some_and(|line| line == "all is well"), "{status} {said:?}");
    assert!(
        upstream.requests().iter().all(|request| request.fields.get("authorization").unwrap().starts_with("DPoP "))
    );
}
