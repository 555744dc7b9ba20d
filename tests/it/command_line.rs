//! Commands that answer and end: what goes where, and the exit codes.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use crate::support::binary::Binary;

fn bearward(arguments: &[&str], stdin: &str) -> Output {
    let mut command = Binary::command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that doesn't read closes its end.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn ends(arguments: &[&str], stdin: &str, code: i32) -> (String, String) {
    let output = bearward(arguments, stdin);
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
    (out, err)
}

#[test]
fn exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.yaml", "routes: [{name: a, path: /a, upstream: \"http://127.0.0.1:1\", allow: public}]");
    let unwise = file("unwise.yaml", "upstreams: {u: {url: \"http://127.0.0.1:1\"}}\nroutes: []");
    let bad = file("bad.yaml", "rotues: []");
    ends(&["check", "--config", &good], "", 0);
    ends(&["check", "--config", &unwise], "", 0);
    ends(&["check", "--config", &unwise, "--deny-warnings"], "", 1);
    ends(&["check", "--config", &bad], "", 1);
    ends(&["run", "--config", &bad], "", 78);
    let told = ends(&["check", "--config", &unwise, "--format", "json"], "", 0).0;
    assert!(told.contains(r#""severity":"warning""#), "{told}");
    ends(&["chekc"], "", 2);
    ends(&["check", "--formt", "json"], "", 2);
    ends(&["--help"], "", 0);
    ends(&["completions", "bash"], "", 0);
    ends(&["completions", "cmd.exe"], "", 2);
    ends(&["token", "decode", "opaque"], "", 1);
    ends(&["token", "sign", "--key", "/nowhere", "--claims", "{}"], "", 2);
}

#[test]
fn what_is_signed_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let arguments = ["token", "sign", "--key", key.to_str().unwrap(), "--kid", "a", "--claims", r#"{"sub": "u1"}"#];
    let (token, err) = ends(&arguments, "", 0);
    assert_eq!(err, "");
    let (out, _) = ends(&["token", "decode", "-"], &token, 0);
    for part in ["alg: \"ES256\"", "kid: \"a\"", "sub: \"u1\"", "UTC, in ", "not verified"] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn what_is_imported_passes() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.yaml");
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/openapi/petstore.yaml");
    let given = ["--issuer", "https://login.example.com", "--audience", "pets"];
    let import = |file: &str, given: &[&str], stdin: &str, code| {
        ends(&[&["import", "openapi", file], given].concat(), stdin, code)
    };
    let (made, err) = import(document, &given, "", 0);
    assert!(err.ends_with(" and it can't: read the lines with `Note:`\n"), "{err}");
    std::fs::write(&config, &made).unwrap();
    ends(&["check", "--config", config.to_str().unwrap(), "--deny-warnings"], "", 0);
    let (from_stdin, _) = import("-", &given, &std::fs::read_to_string(document).unwrap(), 0);
    // But for the document's name, at the top.
    let below = |made: &str| made.split_once("\nissuers:").unwrap().1.to_owned();
    assert_eq!(below(&from_stdin), below(&made));
    // Nothing goes out that isn't whole.
    let (made, err) = import(document, &given[..2], "", 2);
    assert!(made.is_empty() && err.contains("hint: `--audience NAME`"), "{err}");
    let (made, err) = import("-", &given, "swagger: '2.0'", 2);
    assert!(made.is_empty() && err.contains("this is Swagger 2.0") && err.contains("--> stdin:1:10"), "{err}");
    import("/nowhere/api.yaml", &given, "", 2);
    ends(&["import", "openapi"], "", 2);
}
