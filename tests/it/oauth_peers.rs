//! A real authorization server and a real client, which know nothing of the gateway between them.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{binary::Binary, skipped, upstream::Upstream};

/// The folder of the script and its modules; None, said aloud, where they aren't installed.
fn folder() -> Option<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oauth");
    let has_node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    if has_node && folder.join("node_modules/oidc-provider").is_dir() {
        return Some(folder);
    }
    skipped("no server and client of other people's were tried: it needs Node and `npm ci` in tests/oauth");
    None
}

/// A script of that folder, which speaks in lines.
struct Peer {
    process: Child,
    says: BufReader<ChildStdout>,
    /// Its first line.
    told: Value,
}

impl Peer {
    fn start(folder: &Path, script: &str) -> Peer {
        let mut command = Command::new("node");
        command.arg(script).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut says = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        says.read_line(&mut line).unwrap();
        Peer { process, says, told: serde_json::from_str(&line).unwrap() }
    }

    fn told(&self, name: &str) -> &str {
        self.told[name].as_str().unwrap()
    }

    /// Runs the gateway with this configuration, tells it where that is, and waits for what it makes of it.
    fn go_through(mut self, yaml: &str) -> Binary {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("gateway.yaml");
        fs::write(&config, yaml).unwrap();
        let gateway = Binary::run(&config);
        let mut stdin = self.process.stdin.take().unwrap();
        writeln!(stdin, "http://{}", gateway.address()).unwrap();
        // The server has notices of its own.
        let said = self.says.lines().map(Result::unwrap).collect::<Vec<_>>();
        let status = self.process.wait().unwrap();
        assert!(status.success() && said.last().is_some_and(|line| line == "all is well"), "{status} {said:?}");
        gateway
    }
}

#[test]
fn dpop_as_a_real_server_and_client_have_it() {
    let Some(folder) = folder() else { return };
    let peer = Peer::start(&folder, "peer.js");
    let (issuer, audience, secret) = (peer.told("issuer"), peer.told("audience"), peer.told("secret"));

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
    peer.go_through(&yaml);
    assert!(
        upstream.requests().iter().all(|request| request.fields.get("authorization").unwrap().starts_with("DPoP "))
    );
}

#[test]
fn a_logout_at_a_real_server_ends_what_it_gave_out() {
    let Some(folder) = folder() else { return };
    let (peer, upstream) = (Peer::start(&folder, "logout.js"), Upstream::start());
    let (issuer, audience) = (peer.told("issuer"), peer.told("audience"));
    let yaml = format!(
        "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\"}}\nserver: {{workers: 2}}\n\
         logging: {{level: info, access: false}}\nissuers:\n\
         \u{20} login: {{issuer: \"{issuer}\", audiences: [\"{audience}\", web], logout: {{back_channel: true}}}}\n\
         upstreams: {{api: {{url: \"{}\"}}}}\n\
         routes: [{{name: items, path: /items, upstream: api, allow: [{{audiences: [\"{audience}\"]}}]}}]\n",
        upstream.url()
    );
    let gateway = peer.go_through(&yaml);
    let line = gateway.line("a notice of an issuer was taken");
    assert_eq!(
        (&line["issuer"], &line["channel"], &line["told"], &line["subject"]),
        (&json!("login"), &json!("logout"), &json!("backchannel-logout"), &json!("joe"))
    );
}
