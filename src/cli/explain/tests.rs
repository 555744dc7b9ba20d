#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use clap::Parser;

use super::*;

const GATEWAY: &str = r#"
issuers:
  a: {issuer: "https://a.example", audiences: [api], jwt: {secret: "0123456789abcdef0123456789abcdef"}}
routes:
  - {name: x, path: /x, upstream: "http://127.0.0.1:9", allow: [{methods: [GET], scopes: [read]}]}
"#;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    asked: ExplainArguments,
}

fn run_with(gateway: &str, arguments: &[&str], stdin: &str) -> (u8, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    std::fs::write(&path, gateway).unwrap();
    let line = Line::try_parse_from([&["explain"], arguments].concat()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let streams: (&mut dyn Write, &mut dyn Write) = (&mut out, &mut err);
    let code = run(&path, &|_| None, &line.asked, (false, false), &mut stdin.as_bytes(), streams).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn json(arguments: &[&str], stdin: &str) -> (u8, Value) {
    let (code, out, err) = run_with(GATEWAY, arguments, stdin);
    assert_eq!(err, "");
    (code, serde_json::from_str(&out).unwrap())
}

#[test]
fn the_code_tells_the_decision_where_asked() {
    let claims = r#"{"scope": "read"}"#;
    for (arguments, code, decision, status, reason) in [
        (&["--url", "/x", "--json"][..], 0, "deny", 401, "no_credential"),
        (&["--url", "/x", "--json", "--exit-code"], 1, "deny", 401, "no_credential"),
        (&["--url", "/x", "--json", "--exit-code", "--issuer", "a", "--claims", claims], 0, "allow", 200, "ok"),
        (&["--url", "/x", "--json", "--exit-code", "--issuer", "a", "--claims", "{}"], 1, "deny", 403, "scope"),
        (&["--url", "/y", "--json", "--exit-code"], 1, "deny", 404, "no_route"),
        (&["--url", "/x", "--json", "--token", "nonsense"], 0, "deny", 401, "malformed"),
        (&["--url", "/x", "--json", "--token", "a b"], 0, "deny", 400, "invalid_request"),
        (&["--url", "/x", "--json", "--token-file", "-"], 0, "deny", 401, "malformed"),
        (&["--url", "/x", "--json", "--method", "POST"], 0, "deny", 405, "method"),
        (&["--url", "/x", "--json", "--header", "Authorization: Basic YTpi"], 0, "deny", 401, "no_credential"),
    ] {
        let (got, answer) = json(arguments, "Bearer abc\n");
        assert_eq!(got, code, "{arguments:?}");
        assert_eq!(
            (&answer["decision"], &answer["status"], &answer["reason"]),
            (&decision.into(), &status.into(), &reason.into())
        );
        for member in ["route", "token", "rules", "upstream_headers", "to_allow"] {
            assert!(answer.get(member).is_some(), "{member}");
        }
    }
}

#[test]
fn wrong_usage_says_what() {
    for (arguments, words) in [
        (&["--url", "x"][..], "neither an http address nor a path"),
        (&["--url", "/x", "--method", "G T"], "not a method"),
        (&["--url", "/x", "--claims", "[]", "--issuer", "a"], "not a JSON object"),
        (&["--url", "/x", "--claims", "{", "--issuer", "a"], "not a JSON object: EOF"),
        (&["--url", "/x", "--claims", "{}", "--issuer", "b"], "no issuer is called `b`; there are: a"),
        (&["--url", "/x", "--listener", "b"], "no listener is called `b`; there are: 127.0.0.1:8080"),
        (&["--url", "/x", "--header", "nonsense"], "not `NAME: VALUE`"),
        (&["--url", "/x", "--token-file", "/nowhere/at/all"], "can't read the token from /nowhere/at/all"),
    ] {
        let (code, out, err) = run_with(GATEWAY, arguments, "");
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.starts_with("error: ") && err.contains(words), "{arguments:?}: {err}");
    }
    for arguments in [
        &["explain", "--url", "/x", "--token", "a", "--claims", "{}", "--issuer", "a"][..],
        &["explain", "--url", "/x", "--claims", "{}"],
        &["explain", "--url", "/x", "--issuer", "a"],
        &["explain"],
    ] {
        assert!(Line::try_parse_from(arguments).is_err(), "{arguments:?}");
    }
}

#[test]
fn a_configuration_that_cannot_be_used() {
    let (code, out, err) = run_with("routes: [{name: x}]", &["--url", "/x"], "");
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(err.starts_with("error: "), "{err}");
}

#[test]
fn a_token_comes_bare() {
    for text in ["abc", " abc\n", "Bearer abc", "bearer  abc", "Authorization: Bearer abc\r\n"] {
        assert_eq!(bare(text), "abc");
    }
}

/// As a token with such claims would be.
#[test]
fn claims_that_could_be_read_in_two_ways_are_refused() {
    let arguments = ["--url", "/x", "--issuer", "a", "--claims", r#"{"scope": "none", "scope": "read"}"#];
    let (code, out, err) = run_with(GATEWAY, &arguments, "");
    assert_eq!((code, &*out), (2, ""));
    assert!(err.contains("`--claims` is not a JSON object"), "{err}");
}

#[test]
fn a_header_that_is_none_is_refused_without_its_value() {
    for header in ["Authorization: Bearer hunter2\n", "Authorization Bearer hunter2", "a b: hunter2"] {
        let (code, _, err) = run_with(GATEWAY, &["--url", "/x", "--header", header], "");
        assert!(code == 2 || header.ends_with('\n'), "{header:?} {code}");
        assert!(!err.contains("hunter2"), "{err}");
    }
}

#[test]
fn keys_that_are_not_asked_for_are_said_to_be() {
    let far = GATEWAY.replace(", jwt: {secret: \"0123456789abcdef0123456789abcdef\"}", "");
    // {"alg":"RS256"} and {"iss":"https://a.example","aud":"api","exp":9000000000}
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2EuZXhhbXBsZSIsImF1ZCI6ImFwaSIsImV4cCI6OTAwMDAwMDAwMH0.AAAA";
    let (_, out, _) = run_with(&far, &["--url", "/x", "--offline", "--token", token], "");
    assert!(out.contains("keys_unavailable") && out.contains("without `--offline`"), "{out}");
}
