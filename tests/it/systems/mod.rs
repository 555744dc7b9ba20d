//! The four systems of deploy/examples: each one's document is acted out, with its own lines of curl, against the demo's
//! issuer, before the demo's gateway and before the one of the example.
//!
//! In the lines, the host is `$HOST`, and quotation marks are those that a shell takes.

mod attacks;
mod cern;
mod crowds;
mod degreed;
mod digitaleo;
mod docebo;
mod sidecars;

use std::path::Path;

use crate::support::{
    binary::Binary,
    demo::{Answer, Demo},
    gateway::Gateway,
};

/// The demo, and the gateway of an example in front of the same servers.
struct Stage {
    demo: Demo,
    example: Gateway,
    _state: tempfile::TempDir,
}

impl Stage {
    #[track_caller]
    fn set(system: &str) -> Stage {
        let (demo, state) = (Demo::start(), tempfile::tempdir().unwrap());
        let yaml = example(system, &demo.issuer, &demo.echo, state.path(), &demo.folder);
        Stage { demo, example: Gateway::start(&yaml), _state: state }
    }

    /// The base URLs of both gateways.
    fn hosts(&self) -> [String; 2] {
        [self.demo.gateway.clone(), format!("http://{}", self.example.address)]
    }

    /// Runs a document's line before this host.
    #[track_caller]
    fn act(&self, host: &str, line: &str, variables: &[(&str, &str)]) -> Answer {
        self.demo.sh(line, &[variables, &[("HOST", host)]].concat())
    }
}

#[test]
fn check_has_nothing_to_say_of_the_examples() {
    let folders =
        ["docebo", "digitaleo", "degreed", "cern"].map(|system| [system.to_owned(), format!("{system}/sidecar")]);
    for folder in folders.as_flattened() {
        let file = format!("{}/deploy/examples/{folder}/gateway.yaml", env!("CARGO_MANIFEST_DIR"));
        let arguments = ["check", "--without-secrets", "--deny-warnings", "--config", &file];
        let output = Binary::command().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// An example's configuration, before these servers; what a client of Docebo's has is in `folder`.
fn example(system: &str, issuer: &str, api: &str, state: &Path, folder: &Path) -> String {
    let realm = if system == "cern" { "auth/realms/cern" } else { system };
    let (own_issuer, public_key) = (format!("{issuer}/{realm}"), folder.join("docebo-client.public.pem"));
    let keys = format!("{own_issuer}/jwks");
    let variables = [
        ("LISTEN", "127.0.0.1:0"),
        ("ADMIN", "127.0.0.1:0"),
        ("AUTH_URL", issuer),
        ("ISSUER", &own_issuer),
        ("KEYS_URL", &keys),
        ("API_URL", api),
        ("PLATFORM_URL", api),
        ("GATEWAY_ID", "gateway"),
        ("GATEWAY_SECRET", "gateway-secret"),
        ("CLIENT_ID", "My-Client-Name"),
        ("CLIENT_PUBLIC_KEY", public_key.to_str().unwrap()),
        ("STATE_DIR", state.to_str().unwrap()),
    ];
    with_variables(Path::new(system), &variables)
}

/// The configuration in this folder of the examples, its variables set so, and quiet.
#[track_caller]
fn with_variables(folder: &Path, variables: &[(&str, &str)]) -> String {
    shipped(&Path::new("examples").join(folder).join("gateway.yaml"), variables)
}

/// The configuration in this file of `deploy/`, its variables set so, and quiet.
#[track_caller]
pub(crate) fn shipped(file: &Path, variables: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    let mut yaml = std::fs::read_to_string(path).unwrap();
    for (variable, value) in variables {
        for end in ["}", ":-"] {
            while let Some(begin) = yaml.find(&format!("${{{variable}{end}")) {
                let length = yaml[begin..].find('}').unwrap() + 1;
                yaml.replace_range(begin..begin + length, value);
            }
        }
    }
    assert!(!yaml.contains("${"), "a variable is left: {yaml}");
    yaml + "\nlogging: {level: error, access: false}\n"
}
