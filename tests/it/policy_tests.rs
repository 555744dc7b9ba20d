//! `bearward test` as its users run it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use crate::support::{binary::Binary, eventually};

const CONFIG: &str = r#"
issuers:
  digitaleo: {issuer: "https://auth.example.com", audiences: [campaigns-api]}
routes:
  - name: campaigns
    path: /rest/campaigns/**
    upstream: http://127.0.0.1:9
    allow:
      - {methods: [GET], scopes: [campaigns:read]}
      - {methods: [DELETE], roles: [owner]}
  - {name: health, path: /health, upstream: "http://127.0.0.1:9", allow: public}
"#;

const TESTS: &str = r#"
config: gateway.yaml
tests:
  - name: readers list campaigns
    request: GET https://api.example.com/rest/campaigns       # or {method:, url:, headers: {…}}
    token: {issuer: digitaleo, claims: {sub: u1, scope: "campaigns:read"}}   # iss, aud, exp are filled in so that the token is good, unless given
    expect: {decision: allow, route: campaigns, upstream_headers: {X-Auth-Subject: u1}}
  - name: nobody deletes
    request: DELETE https://api.example.com/rest/campaigns/7
    token: none
    expect: {status: 401}
"#;

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let folder = Files(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| folder.write(name, text));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// `bearward test` in this folder.
    fn test(&self, arguments: &[&str]) -> Output {
        Binary::command().arg("test").args(arguments).current_dir(self.0.path()).output().unwrap()
    }

    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32) -> (String, String) {
        let output = self.test(arguments);
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
        (out, err)
    }
}

#[test]
fn tests_that_pass() {
    let files = Files::new(&[("gateway.yaml", CONFIG), ("gateway.test.yaml", TESTS)]);
    let (out, err) = files.ends(&["gateway.test.yaml"], 0);
    assert_eq!(err, "");
    assert_eq!(
        out,
        "gateway.test.yaml (gateway.yaml)
  ok      readers list campaigns
  ok      nobody deletes

2 passed
gateway.yaml: 1 of 2 routes and 1 of 3 rules were reached
  no test reaches route health
  no test is let in by rule 2 of route campaigns: DELETE needs role owner
  no token has role owner
"
    );
}

#[test]
fn a_test_that_fails_says_what_came_of_it() {
    let tests = TESTS.replace("status: 401", "status: 204, reason: ok, route: campains").replace("u1}}", "u2}}");
    let files = Files::new(&[("gateway.yaml", CONFIG), ("gateway.test.yaml", &tests)]);
    let (out, _) = files.ends(&["gateway.test.yaml", "--junit", "results.xml"], 1);
    for part in [
        "\n  FAILED  readers list campaigns\n  FAILED  nobody deletes\n",
        "FAILED: readers list campaigns (gateway.test.yaml:4)\n  GET https://api.example.com/rest/campaigns\n",
        "  upstream header x-auth-subject: expected u2, got u1\n",
        "  status: expected 204, got 401\n  route: expected campains (no route is called so; did you mean `campaigns`?), got campaigns\n  reason: expected ok, got no_credential\n",
        "\n0 passed, 2 failed\n",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let results = fs::read_to_string(files.path("results.xml")).unwrap();
    for part in ["tests=\"2\"", "failures=\"2\"", "<testcase name=\"nobody deletes\"", "status: expected 204, got 401"]
    {
        assert!(results.contains(part), "{part}: {results}");
    }
}

#[test]
fn exit_codes() {
    let files = Files::new(&[
        ("gateway.yaml", CONFIG),
        ("good.test.yaml", TESTS),
        ("failing.test.yaml", &TESTS.replace("401", "200")),
        ("misspelt.test.yaml", &TESTS.replace("expect", "expects")),
        ("strange.test.yaml", &TESTS.replace("issuer: digitaleo", "issuer: digitalo")),
        ("nameless.test.yaml", &TESTS.replace("config: gateway.yaml", "")),
        ("lost.test.yaml", &TESTS.replace("config: gateway.yaml", "config: nowhere.yaml")),
        ("broken.yaml", "rotues: []"),
    ]);
    files.ends(&["good.test.yaml", "good.test.yaml"], 0);
    files.ends(&["good.test.yaml", "failing.test.yaml"], 1);
    let (_, err) = files.ends(&["misspelt.test.yaml", "failing.test.yaml"], 2);
    assert!(err.contains("did you mean `expect`?"), "{err}");
    let (out, err) = files.ends(&["strange.test.yaml", "--junit", "results.xml"], 2);
    assert!(err.contains("there is no issuer `digitalo`") && err.contains("did you mean `digitaleo`?"), "{err}");
    assert!(out.contains("0 passed, 1 file can't be read"), "{out}");
    assert!(fs::read_to_string(files.path("results.xml")).unwrap().contains("errors=\"1\""));
    files.ends(&["nowhere.test.yaml"], 2);
    files.ends(&[], 2);
    files.ends(&["lost.test.yaml"], 78);
    // A file's own `config` counts; `--config` is for those that have none.
    files.ends(&["good.test.yaml", "--config", "broken.yaml"], 0);
    files.ends(&["nameless.test.yaml"], 0);
    let (_, err) = files.ends(&["nameless.test.yaml", "--config", "broken.yaml"], 78);
    assert!(err.contains("unknown key `rotues`"), "{err}");
    files.ends(&["good.test.yaml", "--junit", "nowhere/results.xml"], 2);
}

#[test]
fn secrets_are_not_needed() {
    let config = format!("admin: {{address: \"${{ADMIN_ADDRESS}}\"}}\n{CONFIG}")
        .replace("https://auth.example.com", "${ISSUER}");
    let files = Files::new(&[("gateway.yaml", &config), ("gateway.test.yaml", TESTS)]);
    let (_, err) = files.ends(&["gateway.test.yaml"], 0);
    assert!(err.contains("warning: placeholders stand for ${ADMIN_ADDRESS}, ${ISSUER}"), "{err}");
}

#[test]
fn many_tests_in_a_moment() {
    let mut tests = "config: gateway.yaml\ntests:\n".to_owned();
    for number in 0..3000 {
        tests += &format!(
            "  - {{name: t{number}, request: GET /rest/campaigns/{number}, token: {{issuer: digitaleo, claims: {{sub: u{number}, scope: \"campaigns:read\"}}}}, expect: {{decision: allow}}}}\n"
        );
    }
    let files = Files::new(&[("gateway.yaml", CONFIG), ("gateway.test.yaml", &tests)]);
    let (out, _) = files.ends(&["gateway.test.yaml"], 0);
    assert!(out.contains("\n3000 passed\n"));
}

#[test]
fn watching() {
    let files = Files::new(&[("gateway.yaml", CONFIG), ("gateway.test.yaml", TESTS)]);
    let [config, tests] = ["gateway.yaml", "gateway.test.yaml"].map(|name| files.path(name).display().to_string());
    let mut binary = Binary::spawn(&["test", "--watch", &tests]);
    let runs = |what: &str, number: usize, text: &str| {
        eventually(what, || {
            binary.stdout().matches("\nwatching ").count() == number
                && binary.stdout().rsplit("\nchanged: ").next().is_some_and(|last| last.contains(text))
        });
    };
    runs("the first run", 1, "\n2 passed\n");
    files.write("gateway.test.yaml", &TESTS.replace("401", "403"));
    runs("a test that fails", 2, "\n1 passed, 1 failed\n");
    // As editors save that never leave a file half-written.
    files.write("new", TESTS);
    fs::rename(files.path("new"), Path::new(&tests)).unwrap();
    runs("a test that is mended", 3, "\n2 passed\n");
    files.write("gateway.yaml", "rout");
    runs("a configuration half-way", 4, "\n0 passed, 1 file can't run\n");
    files.write("gateway.test.yaml", "");
    runs("tests half-way", 5, "\n0 passed, 1 file can't be read\n");
    files.write("gateway.test.yaml", TESTS);
    runs("tests whose configuration is broken", 6, "\n0 passed, 1 file can't run\n");
    fs::remove_file(Path::new(&config)).unwrap();
    runs("a configuration that is gone", 7, "\n0 passed, 1 file can't run\n");
    files.write("gateway.yaml", CONFIG);
    runs("all is well", 8, "\n2 passed\n");
    assert!(binary.is_running());
    // Not SIGINT: who runs tests in the background may have it ignored, and that is inherited.
    binary.signal("TERM");
    binary.wait();
}

const PLACES: &str = r#"
listen: [{address: "127.0.0.1:1", name: check, mode: forward_auth, request_from: self}, {address: "127.0.0.1:2", name: public}]
issuers:
  a: {issuer: "https://a.example", audiences: [api], jwt: {secret: "0123456789abcdef0123456789abcdef", require_claims: [exp, iat, nbf, tenant]}}
routes:
  - {name: own, path: /own, upstream: "http://127.0.0.1:9", listeners: [public], allow: authenticated, token_from: {header: X-Api-Token}}
"#;

/// Tests are asked as clients ask: where these come in, with the token where the route takes it.
#[test]
fn tokens_listeners_and_claims_as_a_client_has_them() {
    let tests = r#"
config: gateway.yaml
tests:
  - {name: sent in its own header, request: GET /own, token: {raw: nonsense}, expect: {status: 401, reason: malformed}}
  - {name: dates that are required, request: GET /own, token: {issuer: a, claims: {tenant: acme}}, expect: {decision: allow}}
  - {name: no other way in, request: "CONNECT api.example:443", expect: {status: 405, reason: method}}
"#;
    let files = Files::new(&[("gateway.yaml", PLACES), ("t.test.yaml", tests)]);
    files.ends(&["t.test.yaml"], 0);
    files.write("t.test.yaml", &tests.replace("claims: {tenant: acme}", "claims: {sub: u1}"));
    let (out, _) = files.ends(&["t.test.yaml"], 1);
    assert!(out.contains("give a value for tenant: a requires it"), "{out}");
}

#[test]
fn a_route_that_is_not_there_is_named() {
    let tests = "config: gateway.yaml\ntests: [{name: t, request: GET /health, token: none, expect: {route: helth}}]\n";
    let files = Files::new(&[("gateway.yaml", CONFIG), ("t.test.yaml", tests)]);
    let (out, _) = files.ends(&["t.test.yaml"], 1);
    assert!(out.contains("helth (no route is called so; did you mean `health`?)"), "{out}");
    // No token is no secret.
    files.write("t.test.yaml", &tests.replace("token: none", "token: none, tokn: x"));
    let (_, err) = files.ends(&["t.test.yaml"], 2);
    assert!(err.contains("token: none"), "{err}");
}
