//! What a file comes to.

use std::time::Duration;

use hyper::Method;

use super::*;
use crate::{
    identity::IdentitySource,
    policy::{Access, Condition},
    token::issuer::{Audiences, KeyFile, KeySource},
};

fn policy(text: &str) -> Policy {
    load_str(text, "gateway.yaml").unwrap_or_else(|found| panic!("{found:#?}")).policy
}

#[test]
fn defaults_are_those_of_the_contract() {
    let policy = policy(VALID);
    assert_eq!(policy.listen.len(), 1);
    assert_eq!(policy.listen[0].address.to_string(), "127.0.0.1:8080");
    assert_eq!(&*policy.listen[0].name, "127.0.0.1:8080");
    assert_eq!(policy.admin.unwrap().to_string(), "127.0.0.1:9901");
    assert!(policy.server.workers >= 1);
    assert_eq!(policy.server.max_header_bytes, 128 * 1024);
    assert_eq!(policy.server.max_token_bytes, 64 * 1024);
    assert_eq!(policy.server.max_connections, None);
    let seconds = Duration::from_secs;
    assert_eq!(policy.server.header_timeout, seconds(10));
    assert_eq!(policy.server.body_timeout, seconds(30));
    assert_eq!(policy.server.idle_timeout, seconds(75));
    assert_eq!(policy.server.ready_timeout, seconds(30));
    assert_eq!(policy.server.drain_delay, seconds(0));
    assert_eq!(policy.server.drain_timeout, seconds(30));
    assert_eq!(&*policy.realm, "bearward");
    assert_eq!(policy.logging, LoggingSettings { level: "info".into(), format: None, access: true });

    let issuer = &policy.issuers[0];
    assert_eq!(issuer.audiences, Audiences::OneOf(vec!["api".into()]));
    assert_eq!(issuer.jwt.keys, KeySource::Discovery);
    assert_eq!(issuer.jwt.algorithms.len(), 9);
    assert_eq!(issuer.jwt.types, ["at+jwt", "jwt"]);
    assert_eq!(issuer.jwt.require_claims, ["exp"]);
    assert_eq!(issuer.jwt.clock_skew, seconds(30));
    assert_eq!(issuer.jwt.max_token_age, None);
    assert_eq!(issuer.jwt.refresh, seconds(600));
    assert_eq!(issuer.jwt.stale_keys, seconds(86_400));
    assert_eq!(issuer.http_timeout, seconds(5));
    assert!(!issuer.allow_http && !issuer.jwt.string_dates);

    let upstream = &policy.upstreams[0];
    assert_eq!((&*upstream.endpoint.host, upstream.endpoint.port, upstream.endpoint.tls), ("127.0.0.1", 9000, false));
    assert_eq!(upstream.endpoint.base_path, "");
    assert_eq!(upstream.connect_timeout, seconds(2));
    assert_eq!(upstream.response_timeout, Some(seconds(60)));
    assert_eq!(upstream.idle_timeout, seconds(60));

    let route = &policy.routes[0];
    assert_eq!(route.issuers, [0]);
    assert_eq!((route.timeout, route.max_body_bytes), (None, None));
    assert!(route.declared_methods.contains(&Method::POST));
    assert!(route.methods.contains(&Method::HEAD) && !route.methods.contains(&Method::POST));
    let Access::Rules(rules) = &route.allow else { panic!("rules") };
    assert_eq!(rules[0].conditions, [Condition::Scopes(vec!["orders:read".into()])]);
    assert!(route.identity.forward_authorization);
    assert_eq!(route.identity.headers.len(), 5);
}

#[test]
fn the_example_can_be_run() {
    let text = include_str!("../../../gateway.yaml");
    let loaded = load_str(text, "gateway.yaml").unwrap_or_else(|found| panic!("{}", found[0]));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.policy.routes.len(), 5);
}

#[test]
fn what_comes_out_of_variables_is_read_as_plain() {
    let environment = |name: &str| match name {
        "N" => Some("3".to_owned()),
        "FLAG" => Some("true".to_owned()),
        "ADMIN" => Some("off".to_owned()),
        "LIST" => Some("[a, b]".to_owned()),
        _ => None,
    };
    let text = format!(
        "server: {{workers: \"${{N}}\", max_connections: \"${{N}}\"}}\nadmin: ${{ADMIN}}\nlogging: {{access: \"${{FLAG}}\"}}\n{}",
        VALID.replace("[api]", "[\"${LIST}\"]")
    );
    let policy = load_text(&text, "gateway.yaml", Path::new(""), Interpolation::new(&environment, Path::new("")))
        .unwrap()
        .policy;
    assert_eq!((policy.server.workers, policy.server.max_connections, policy.admin), (3, Some(3), None));
    // A variable can't bring structure in.
    assert_eq!(policy.issuers[0].audiences, Audiences::OneOf(vec!["[a, b]".into()]));
}

#[test]
fn a_route_replaces_identity_key_by_key() {
    let text = format!(
        "identity: {{headers: {{X-Who: subject}}, authorization: remove}}\n{VALID}    identity: {{headers: {{X-T: claims.t, X-E: {{value: p}}}}}}\n"
    );
    let route = &policy(&text).routes[0];
    assert!(!route.identity.forward_authorization);
    let names = route.identity.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["x-t", "x-e"]);
    assert!(matches!(route.identity.headers[1].1, IdentitySource::Literal(_)));
}

#[test]
fn upstreams_in_place_and_body_limits() {
    let text = "server: {max_body_bytes: 1MiB}\nroutes:\n- {name: a, path: /a, upstream: \"https://h/b/\", allow: public}\n\
                - {name: b, path: /b, upstream: \"http://h:1\", allow: public, max_body_bytes: none}\n";
    let policy = policy(text);
    assert_eq!(policy.upstreams.len(), 2);
    assert_eq!(&*policy.upstreams[0].name, "a");
    let endpoint = &policy.upstreams[0].endpoint;
    assert_eq!((endpoint.tls, endpoint.port, &*endpoint.base_path), (true, 443, "/b"));
    assert_eq!(policy.routes[0].max_body_bytes, Some(1 << 20));
    assert_eq!(policy.routes[1].max_body_bytes, None);
    assert_eq!(policy.routes[1].upstream(), Some(1));
}

#[test]
fn keys_in_place_and_in_a_file() {
    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.json"), KEYS).unwrap();
    let with = |jwt: &str| {
        let text = VALID.replace("    audiences: [api]\n", &format!("    audiences: [api]\n    jwt: {jwt}\n"));
        load_text(&text, "gateway.yaml", folder.path(), Interpolation::new(&|_| None, folder.path()))
    };
    let keys = |jwt: &str| with(jwt).unwrap().policy.issuers[0].jwt.keys.clone();
    let KeySource::File(KeyFile { path, text }) = keys("{jwks_file: keys.json}") else { panic!("a file") };
    assert_eq!((path, &*text), (folder.path().join("keys.json"), KEYS));
    let KeySource::Inline(text) = keys(&format!("{{jwks: {KEYS}}}")) else { panic!("in place") };
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        serde_json::from_str::<serde_json::Value>(KEYS).unwrap()
    );
    assert_eq!(keys("{}"), KeySource::Discovery);
    for bad in [
        "{jwks: {keys: []}}",
        "{jwks: {}}",
        "{jwks_file: none.json}",
        "{jwks_file: .}",
        "{discovery: false}",
        "{discovery: true, jwks_file: keys.json}",
        "{jwks_file: keys.json, jwks_uri: \"https://h\"}",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
    std::fs::write(folder.path().join("keys.json"), "{\"keys\": 7}").unwrap();
    assert!(with("{jwks_file: keys.json}").is_err());
}

#[test]
fn what_is_unwise_is_said() {
    let text = VALID.replace("[api]", "any").replace("127.0.0.1:9000", "orders:9000").replace(
        "    issuer: https://auth.example.org",
        "    issuer: http://auth.example.org\n    allow_http: true\n    jwt: {require_claims: []}",
    );
    assert_eq!(
        messages(&text),
        [
            "warning: keys are fetched over plain http",
            "warning: whoever is between here and this issuer can change its keys, as for `GET /orders/7` with a token of their own",
            "warning: a token without `exp` is good for ever",
            "warning: a token that this issuer made for any other API is accepted here, as for `GET /orders/7` with `aud: another-api`",
            "warning: tokens go to this upstream over plain http, as that of `GET /orders/7`",
        ]
    );
    assert_eq!(messages(VALID), [] as [&str; 0]);
    let removed = VALID.replace("127.0.0.1:9000", "orders:9000") + "    identity: {authorization: remove}\n";
    assert_eq!(messages(&removed), [] as [&str; 0]);
}

/// Where a placeholder stands for a value of a rule, the rule lets nobody in: never more than the real one.
#[test]
fn a_rule_with_a_placeholder_is_never_weaker() {
    for rule in [
        "{scopes: [a], token_kind: \"${X}\"}",
        "{scopes: [a], max_age: \"${X}\"}",
        "{scopes: [a], when: \"${X}\"}",
        "{scopes: [a], when: '!(claims.t == \"${X}\")'}",
        "{scopes: [a], claims: {t: {present: \"${X}\"}}}",
        "{scopes: [a], claims: {t: {matches: \"${X}\"}}}",
    ] {
        let text = VALID.replace("- methods: [GET]\n        scopes: [orders:read]", &format!("- {rule}"));
        let none = |_: &str| None;
        let interpolation = Interpolation::new(&none, Path::new("/nowhere")).with_placeholders();
        let loaded = load_text(&text, "gateway.yaml", Path::new("/nowhere"), interpolation).unwrap();
        let Access::Rules(rules) = &loaded.policy.routes[0].allow else { panic!("{rule}") };
        assert!(rules[0].conditions.contains(&Condition::Unknown), "{rule}: {:?}", rules[0].conditions);
    }
}
