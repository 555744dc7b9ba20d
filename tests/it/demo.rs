//! The demo's lines do what they say.

use std::{io::Write, process::Command};

use crate::support::{binary::Binary, eventually};

#[test]
fn every_line_of_the_demo_gives_its_status() {
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var_os("BEARWARD_REQUIRE_ALL_TESTS").is_none(), "there is no curl on this machine");
        // Not eprintln!, which the test runner keeps to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no curl on this machine: the demo's lines weren't run");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut binary = Binary::spawn_with(&["demo", "--port", "0"], &[("TMPDIR", directory.path().to_str().unwrap())]);
    eventually("the demo introduces itself", || binary.stdout().contains("Ctrl-C ends it.") || !binary.is_running());
    let printed = binary.stdout();
    let lines: Vec<&str> = printed.lines().filter(|line| line.starts_with("curl ")).collect();
    assert!(lines.len() >= 6, "{}", binary.output());
    for line in lines {
        let (_, status) = line.rsplit_once(" # ").unwrap_or_else(|| panic!("no status: {line}"));
        let output = Command::new("sh").args(["-c", line]).env("no_proxy", "*").output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}\n{answer}");
        assert!(!answer.contains("\"x_auth_subject\""), "{answer}");
    }

    let file =
        printed.split_whitespace().find(|word| word.ends_with("gateway.yaml")).expect("the configuration's place");
    let check = Binary::command().args(["check", "--config", file]).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));

    binary.signal("INT");
    assert_eq!(binary.wait().code(), Some(0));
}
