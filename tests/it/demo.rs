//! The demo's lines do what they say.

use std::process::Command;

use crate::support::{
    binary::Binary,
    demo::{Demo, has_curl},
};

#[test]
fn every_line_of_the_demo_gives_its_status() {
    if !has_curl("the demo's lines weren't run") {
        return;
    }
    let demo = Demo::start();
    let lines: Vec<&str> = demo.printed.lines().filter(|line| line.contains("curl ")).collect();
    assert!(lines.len() >= 30, "{}", demo.printed);
    for line in lines {
        assert!(line.starts_with("curl "), "{line}");
        let (_, status) = line.rsplit_once(" # ").unwrap_or_else(|| panic!("no status: {line}"));
        let output = Command::new("sh").args(["-c", line]).env("no_proxy", "*").output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}\n{answer}");
        assert!(!answer.contains("\"x_auth_subject\""), "{answer}");
    }
    let file = demo.folder.join("gateway.yaml");
    let check = Binary::command().args(["check", "--deny-warnings", "--config"]).arg(file).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
    assert_eq!(demo.interrupt(), Some(0));
}
