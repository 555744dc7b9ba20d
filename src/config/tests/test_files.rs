//! Files of policy tests: what is read of them, and what is said of their mistakes.

use hyper::{StatusCode, header::HOST};
use serde_json::json;

use super::*;
use crate::config::test_file::read_text;

fn read(text: &str) -> Result<TestFile, Vec<Diagnostic>> {
    let environment = |name: &str| (name == "CONFIG").then(|| "from-environment.yaml".to_owned());
    let folder = Path::new("/nowhere");
    read_text(text.to_owned(), "g.test.yaml".to_owned(), folder, Interpolation::new(&environment, folder))
}

fn one(test: &str) -> WrittenTest {
    let text = format!("tests:\n- {{name: a, {test}}}");
    read(&text).unwrap_or_else(|wrong| panic!("{test}: {wrong:#?}")).tests.remove(0)
}

fn wrong(text: &str) -> String {
    let diagnostics = read(text).unwrap_err();
    diagnostics.iter().map(|diagnostic| diagnostic.render(false)).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_written_is_read() {
    let file = read(
        r#"
config: gateway.yaml
tests:
  - name: readers list campaigns
    request: GET https://api.example.com/rest/campaigns
    token: {issuer: digitaleo, claims: {sub: u1, scope: "campaigns:read"}}
    expect: {decision: allow, route: campaigns, upstream_headers: {X-Auth-Subject: u1, X-No: {present: false}}}
  - name: nobody deletes
    request: {method: DELETE, url: /rest/campaigns/7, headers: {Host: api.example.com, X-A: [b, c]}}
    token: none
    expect: {status: 401}
"#,
    )
    .unwrap();
    assert_eq!(file.config.as_deref(), Some(Path::new("/nowhere/gateway.yaml")));
    let [first, second] = file.tests.as_slice() else { panic!("{file:#?}") };
    assert_eq!((&*first.name, first.line, second.line), ("readers list campaigns", 4, 8));
    assert_eq!((first.request.method.as_str(), &*first.request.url), ("GET", "https://api.example.com/rest/campaigns"));
    let WrittenToken::Of { issuer, claims, moments, .. } = &first.token else { panic!("{:?}", first.token) };
    assert_eq!((&**issuer, moments.len()), ("digitaleo", 0));
    assert_eq!(json!(claims), json!({"sub": "u1", "scope": "campaigns:read"}));
    assert_eq!((first.expect.allow, first.expect.route.as_deref()), (Some(true), Some("campaigns")));
    assert_eq!(first.expect.upstream_headers[0].1, ExpectedHeader::Value("u1".to_owned()));
    assert_eq!(first.expect.upstream_headers[1].1, ExpectedHeader::Present(false));
    assert_eq!(second.request.headers.get(HOST).unwrap(), "api.example.com");
    assert_eq!(second.request.headers.get_all("x-a").iter().count(), 2);
    assert!(matches!(second.token, WrittenToken::None));
    assert_eq!(second.expect.status, Some(StatusCode::UNAUTHORIZED));
}

#[test]
fn claims_keep_their_kind() {
    let test =
        one("request: GET /, token: {issuer: a, claims: {n: 1, b: true, z: null, t: \"1\", l: [x, 2], o: {k: v}, \
                    exp: now-5m, nbf: now, iat: 17, auth_time: now+1h, other: now-5m}}, expect: {status: 200}");
    let WrittenToken::Of { claims, moments, .. } = test.token else { panic!("{:?}", test.token) };
    assert_eq!(
        json!(claims),
        json!({"n": 1, "b": true, "z": null, "t": "1", "l": ["x", 2], "o": {"k": "v"}, "iat": 17, "other": "now-5m"})
    );
    let moments = moments.iter().map(|(name, seconds)| (name.as_str(), *seconds)).collect::<Vec<_>>();
    assert_eq!(moments, [("exp", -300), ("nbf", 0), ("auth_time", 3600)]);
}

#[test]
fn what_is_left_out_has_a_default() {
    let test = one("request: GET /, expect: {reason: no_route}");
    assert!(matches!(test.token, WrittenToken::None));
    assert!(test.request.client_ip.is_none() && test.request.listener.is_none());
    let test =
        one("request: GET /, client_ip: \"2001:db8::1\", listener: public, token: {raw: x.y}, expect: {rule: 2}");
    assert_eq!(test.request.client_ip, "2001:db8::1".parse().ok());
    assert_eq!(test.request.listener.unwrap().0, "public");
    assert!(matches!(test.token, WrittenToken::Raw(raw) if raw == "x.y"));
    assert_eq!(read("tests: [{name: a, request: GET /, expect: {rule: 1}}]").unwrap().config, None);
    let file = read("config: ${CONFIG}\ntests: [{name: a, request: GET /, expect: {rule: 1}}]").unwrap();
    assert_eq!(file.config.as_deref(), Some(Path::new("/nowhere/from-environment.yaml")));
}

#[test]
fn mistakes() {
    let text = r#"
confg: gateway.yaml
tests:
  - nam: a
    request: /orders
    token: nobody
    expect: {}
  - request: {method: "G T", headers: {"X A": b, X-B: [], X-C:}}
    token: {issuer: a, claims: {exp: now-5}, raw: x}
    expect: {decision: yes, status: 2000, reason: skope, rule: 0, upstream_headers: {X-A: {absent: true}}}
  - name: c
    client_ip: here
    request: [GET, /]
    token: {claims: {sub: a}}
    expect: {dicision: allow}
  - just a text
"#;
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("test_files", wrong(text));
    });
    for (text, message) in [
        ("", "the file is empty"),
        ("# a comment\n---\n", "the file is empty"),
        ("tests: []", "an empty list"),
        ("config: a", "`tests` is missing"),
        ("[a]", "a map"),
        ("tests:\n- {name: \"${NO}\", request: GET /, expect: {rule: 1}}", "`NO` is not set"),
        ("tests: [{name: a, request: GET /}]", "`expect` is missing"),
    ] {
        assert!(wrong(text).contains(message), "{text}: {}", wrong(text));
    }
    assert!(read_tests(Path::new("/nowhere/a.test.yaml"), &|_| None).unwrap_err()[0].message.contains("can't read"));
}
