//! Servers of the Model Context Protocol behind the gateway, found and called by a client of other people's making.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{gateway::Gateway, skipped};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp");

/// Whether there is Node, and what `npm ci` in `tests/mcp` brings; said aloud where there isn't.
fn is_there() -> bool {
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let has_packages = Path::new(FOLDER).join("node_modules/@modelcontextprotocol/sdk").exists();
    let is_there = has_packages && node.is_ok_and(|status| status.success());
    if !is_there {
        skipped("no client of MCP was tried: it needs Node and `npm ci` in tests/mcp");
    }
    is_there
}

fn gateway(issuer: &str, server: &str) -> Gateway {
    Gateway::start(&format!(
        r#"
listen: ["127.0.0.1:0"]
admin: {{address: "127.0.0.1:0"}}
logging: {{level: error, access: false}}
issuers:
  main: {{issuer: "{issuer}", audiences: ["https://mcp.example.com/mcp", "https://mcp.example.com/quiet"]}}
upstreams:
  mcp: {{url: "{server}"}}
identity: {{authorization: remove}}
routes:
  - name: mcp
    path: /mcp
    upstream: mcp
    allow: [{{scopes: [mcp:tools], audiences: ["https://mcp.example.com/mcp"]}}]
    protected_resource: {{resource: "https://mcp.example.com/mcp", scopes_supported: [mcp:tools]}}
  - name: quiet
    path: /quiet
    upstream: mcp
    allow: [{{scopes: [mcp:tools], audiences: ["https://mcp.example.com/quiet"]}}]
    protected_resource: {{resource: "https://mcp.example.com/quiet"}}
"#
    ))
}

#[test]
fn a_client_finds_its_own_way_from_the_challenge_to_a_tool() {
    if !is_there() {
        return;
    }
    let mut command = Command::new("node");
    command.arg("session.js").current_dir(FOLDER);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Connections of tests go to this machine.
    for variable in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap_or_default();
    let (issuer, server) = (told["issuer"].as_str(), told["server"].as_str());
    if let (Some(issuer), Some(server)) = (issuer, server) {
        let gateway = gateway(issuer, server);
        writeln!(child.stdin.take().unwrap(), "http://{}", gateway.address).unwrap();
        output.read_to_string(&mut line).unwrap();
    }
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert!(child.wait().unwrap().success() && line.ends_with("done\n"), "{line}{complaint}");
}
