//! Chromium, driven by the programs of `tests/console`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::skipped;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/console");
const CHROMIUM: &str = "/usr/bin/chromium";

/// Whether there is a browser, Node, and what `npm ci` in `tests/console` brings; said aloud where there isn't.
pub(crate) fn is_there() -> bool {
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let lacking = [
        (Path::new(CHROMIUM).exists(), "Chromium"),
        (node.is_ok_and(|status| status.success()), "Node"),
        (Path::new(FOLDER).join("node_modules/playwright-core").exists(), "`npm ci` in tests/console"),
        (Path::new(FOLDER).join("node_modules/axe-core").exists(), "`npm ci` in tests/console"),
    ];
    let lacking = lacking.into_iter().find(|(is_there, _)| !is_there);
    if let Some((_, what)) = lacking {
        skipped(&format!("the console wasn't tried in a browser: it needs {what}"));
    }
    lacking.is_none()
}

/// Runs a file of `tests/console`, which learns this.
#[track_caller]
pub(crate) fn test(file: &str, started: &Value) {
    let mut command = Command::new("node");
    command.args(["--test", file]).current_dir(FOLDER).stdin(Stdio::null());
    command.env("BEARWARD_CONSOLE", started.to_string()).env("BEARWARD_CHROMIUM", CHROMIUM);
    // Times are shown by the browser's clock.
    command.env("TZ", "UTC");
    // Connections of tests go to this machine.
    for variable in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    let output = command.output().unwrap();
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{told}");
    // A runner that found no test would have succeeded, too.
    assert!(!told.contains("\n# tests 0\n") && told.contains("\n# fail 0\n"), "{told}");
}
