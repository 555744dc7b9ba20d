//! What is said of a request is what happens to it: random configurations and requests, asked of live traffic, of
//! `POST /explain` and of `bearward test`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
};

use bearward::config;
use proptest::{
    prelude::*,
    sample::{select, subsequence},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};

use crate::support::{
    binary::Binary, gateway::Gateway, http::Request, keys::Key, raw::exchange, token::Token, upstream::Upstream,
};

pub(super) const ISSUER: &str = "https://issuer.example";

fn one(of: &[&'static str]) -> impl Strategy<Value = &'static str> + use<> {
    select(of.to_vec())
}

fn route(index: usize) -> impl Strategy<Value = String> {
    let destination = prop_oneof![
        8 => one(&["upstream: echo", "upstream: echo, strip_prefix: /a"]),
        1 => Just("respond: {status: 418, body: tea}"),
        1 => Just("redirect: {to: /b, status: 307}"),
    ];
    let path = one(&["/a", "/a/{id}", "/a/{id}/c", "/a/**", "/b", "/{x}/b", "/**"]);
    let hosts = one(&["", "", ", hosts: [api.example]", ", hosts: [\"*.example\"]"]);
    let methods = one(&["", "", ", methods: [GET]", ", methods: [GET, POST]"]);
    let rule = one(&[
        "{scopes: [read]}",
        "{methods: [GET], scopes: [read]}",
        "{methods: [POST], any_role: [editor, owner]}",
        "{scopes: [read, write], issuers: [main]}",
        "{token_kind: client}",
        "{claims: {tenant: \"{query.tenant}\"}}",
        "{claims: {tenant: \"{header.X-Tenant}\"}}",
        "{claims: {tenant: {present: false}}, max_age: 5m}",
        "{acr: [gold], any_scope: [read, write]}",
    ]);
    let rules = prop::collection::vec(rule, 1..4).prop_map(|rules| format!("[{}]", rules.join(", ")));
    let word = one(&["public", "optional", "authenticated"]).prop_map(str::to_owned);
    let allow = prop_oneof![2 => word, 3 => rules];
    let token_from = one(&[
        "",
        "",
        ", token_from: {query: t}",
        ", token_from: {cookie: session}",
        ", token_from: [{header: X-Api-Token}, header]",
    ]);
    let rest = subsequence(
        vec![
            ", enforce: false",
            ", identity: {authorization: remove}",
            ", headers: {request: {set: {X-Env: prod}, remove: [X-Debug]}}",
            ", cors: {origins: [\"https://app.example\"], methods: [GET, POST]}",
            ", max_body_bytes: 1KiB",
        ],
        0..3,
    );
    (destination, path, hosts, methods, allow, token_from, rest).prop_map(
        move |(destination, path, hosts, methods, allow, token_from, rest)| {
            let rest = rest.concat();
            format!(
                "  - {{name: r{index}, path: \"{path}\", {destination}{hosts}{methods}, allow: {allow}{token_from}{rest}}}\n"
            )
        },
    )
}

pub(super) fn routes() -> impl Strategy<Value = String> {
    (route(0), route(1), route(2), route(3)).prop_map(|(a, b, c, d)| [a, b, c, d].concat())
}

/// A request as it is written on the wire, and which of the tokens goes along.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) fields: Vec<(&'static str, &'static str)>,
    /// `Authorization`, or where the route takes it.
    pub(super) token: Option<(usize, bool)>,
}

pub(super) fn asked() -> impl Strategy<Value = Asked> {
    let method = one(&["GET", "GET", "POST", "HEAD", "DELETE", "OPTIONS", "TRACE", "PURGE"]);
    let path = one(&[
        "/a",
        "/a/",
        "/a/1",
        "/a/1/c",
        "/a/x/y/z",
        "/b",
        "/q/b",
        "/",
        "/c",
        "/a/../b",
        "/a//1",
        "/a/%31",
        "/a;v=1/1",
        "/a/%2e%2e/b",
        "/A",
        "/a%2Fb",
        "/a/%",
        "//b",
        "/a/\u{e9}",
    ]);
    let query = one(&["", "", "?tenant=acme", "?tenant=acme&tenant=x", "?Tenant=acme", "?t=x", "?x=%41&"]);
    let fields = subsequence(
        vec![
            ("X-Tenant", "acme"),
            ("X_Tenant", "acme"),
            ("X-Auth-Subject", "root"),
            ("X_Auth-Roles", "owner"),
            ("X-Debug", "1"),
            ("Origin", "https://app.example"),
            ("Access-Control-Request-Method", "GET"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Cookie", "a=b"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("Accept", "*/*"),
            ("Authorization", "Basic YTpi"),
        ],
        0..5,
    );
    let token = prop_oneof![1 => Just(None), 5 => (0..TOKENS, any::<bool>()).prop_map(Some)];
    (method, path, query, fields, token).prop_map(|(method, path, query, fields, token)| Asked {
        method,
        target: format!("{path}{query}"),
        fields,
        token,
    })
}

pub(super) const TOKENS: usize = 9;

pub(super) fn tokens(key: &Key) -> [String; TOKENS] {
    let token = || Token::new(ISSUER, key);
    [
        token().scope("read").build(),
        token().scope("read write").claim("tenant", json!("acme")).build(),
        token().roles(&["editor"]).claim("tenant", json!(["acme", "x"])).build(),
        token().sub("service-account-x").claim("acr", json!("gold")).scope("write").build(),
        token().exp_in(-60).build(),
        token().aud("account").build(),
        token().kid("nobody").scope("read").build(),
        token().signed_by(&Key::es256("k1")).build(),
        "opaque".to_owned(),
    ]
}

/// Decisions that the gateway has counted, by their labels.
fn decisions(gateway: &Gateway) -> BTreeMap<String, u64> {
    let text = gateway.admin("/metrics").text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("bearward_decisions_total{")?.split_once("} "));
    lines.map(|(labels, count)| (labels.to_owned(), count.trim().parse().unwrap())).collect()
}

fn label<'l>(labels: &'l str, name: &str) -> &'l str {
    let start = labels.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
    &labels[start..start + labels[start..].find('"').unwrap()]
}

/// What the upstream got, as far as it can be foretold, by names in lower case.
fn foretold(seen: &Request) -> BTreeMap<String, String> {
    const NEW: [&str; 6] =
        ["authorization", "x-request-id", "traceparent", "connection", "content-length", "transfer-encoding"];
    let mut fields = BTreeMap::<String, String>::new();
    for (name, value) in &seen.fields.0 {
        let name = name.to_ascii_lowercase();
        if !NEW.contains(&&*name) {
            fields.entry(name).and_modify(|before| *before = format!("{before}, {value}")).or_insert(value.clone());
        }
    }
    fields
}

struct Scene {
    upstream: Upstream,
    key: Key,
    tokens: [String; TOKENS],
    folder: tempfile::TempDir,
    /// Statuses of answers.
    seen: RefCell<BTreeSet<u16>>,
}

impl Scene {
    fn configuration(&self, routes: &str) -> String {
        let keys = json!({"keys": [self.key.jwk()]});
        format!(
            "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\"}}\nlogging: {{level: error, access: false}}\n\
             server: {{workers: 1}}\nissuers: {{main: {{issuer: \"{ISSUER}\", audiences: [api], jwt: {{jwks: {keys}}}}}}}\n\
             upstreams: {{echo: {{url: \"{}\"}}}}\nroutes:\n{routes}",
            self.upstream.url()
        )
    }

    /// Asks both, holds the answers against each other, and returns a policy test that says the same.
    fn compare(&self, gateway: &Gateway, routes: &str, number: usize, asked: &Asked) -> Value {
        let mut fields =
            asked.fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<Vec<_>>();
        let token = asked.token.map(|(index, is_own)| (self.tokens[index].as_str(), is_own));
        let mut wire = asked.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
        if let Some((token, false)) = token {
            wire += &format!("Authorization: Bearer {token}\r\n");
            let value = match fields.iter().position(|(name, _)| name == "Authorization") {
                Some(at) => json!([fields.remove(at).1, format!("Bearer {token}")]),
                None => json!(format!("Bearer {token}")),
            };
            fields.push(("Authorization".to_owned(), value));
        }
        let url = format!("http://{}{}", gateway.address, asked.target);
        let headers = Value::Object(fields.into_iter().collect());
        let own = token.filter(|(_, is_own)| *is_own).map(|(token, _)| token);
        let explain = json!({"method": asked.method, "url": url, "headers": headers, "token": own}).to_string();
        let explained = gateway.ask_admin("/explain", &explain);

        // Where the route takes the token, as somebody who has read its configuration would send it.
        let mut target = asked.target.clone();
        if let Some(token) = own {
            let route = explained["route"].as_str().unwrap_or_default();
            let written = routes.lines().find(|line| line.contains(&format!("name: {route},"))).unwrap_or_default();
            if written.contains("allow: public") {
                wire += &format!("Authorization: Bearer {token}\r\n");
            } else if written.contains("{query: t}") {
                target += &format!("{}t={token}", if target.contains('?') { "&" } else { "?" });
            } else if written.contains("{cookie: session}") {
                wire += &format!("Cookie: session={token}\r\n");
            } else {
                wire += &format!("Authorization: Bearer {token}\r\n");
            }
        }
        let (before, seen) = (decisions(gateway), self.upstream.requests().len());
        let answered = exchange(gateway.address, asked.method, &target, &wire);
        let after = decisions(gateway);
        let grown = after.iter().find(|(labels, count)| before.get(*labels) != Some(*count)).map(|(labels, _)| labels);
        let why = || format!("{asked:?}\n{wire}\n{explained:#}\n{grown:?} {}", answered.status);
        self.seen.borrow_mut().insert(answered.status);
        assert_eq!(explained["status"], json!(answered.status), "{}", why());
        if let Some(labels) = grown {
            assert_eq!(explained["reason"], json!(label(labels, "reason")), "{}", why());
            assert_eq!(explained["route"].as_str().unwrap_or_default(), label(labels, "route"), "{}", why());
        }
        let (requests, mut expected) = (self.upstream.requests(), BTreeMap::new());
        assert!(requests.len() <= seen + 1);
        assert_eq!(requests.len() > seen, !explained["upstream"].is_null(), "{}", why());
        if let Some(got) = requests.get(seen) {
            let sent = explained["upstream_headers"].as_object().unwrap();
            let foreseen =
                |(name, value): (&String, &Value)| (name.to_ascii_lowercase(), value.as_str().unwrap().to_owned());
            let all = sent.iter().map(foreseen).collect::<BTreeMap<_, _>>();
            // What might be a token on some route isn't shown.
            let target = |text: &str| text.replace("t=…", "t=x");
            let told = explained["upstream"]["target"].as_str().unwrap();
            assert_eq!(target(told), target(&got.target), "{}", why());
            assert_eq!(all.contains_key("authorization"), got.fields.get("authorization").is_some(), "{}", why());
            expected = foretold(got);
            let foreseen = all
                .into_iter()
                .filter(|(name, value)| name != "authorization" && !value.starts_with('(') && name != "content-length");
            assert_eq!(foreseen.collect::<BTreeMap<_, _>>(), expected, "{}", why());
        }
        let mut expect = json!({
            "decision": explained["decision"], "status": answered.status, "reason": explained["reason"],
        });
        if let Some(route) = explained["route"].as_str() {
            expect["route"] = json!(route);
        }
        if !expected.is_empty() {
            expect["upstream_headers"] = json!(expected);
        }
        let token = own.map_or(json!("none"), |token| json!({"raw": token}));
        json!({
            "name": format!("{number}"), "request": {"method": asked.method, "url": url, "headers": headers},
            "token": token, "expect": expect,
        })
    }
}

#[test]
fn live_traffic_explain_and_test_decide_alike() {
    let key = Key::es256("k1");
    let tokens = tokens(&key);
    let scene = Scene {
        upstream: Upstream::start(),
        key,
        tokens,
        folder: tempfile::tempdir().unwrap(),
        seen: RefCell::default(),
    };
    // The same cases each time.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let config = Config { cases: 24, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let cases = (routes(), prop::collection::vec(asked(), 24));
    let result = runner.run(&cases, |(routes, requests)| {
        let yaml = scene.configuration(&routes);
        // Routes that contradict each other are no configuration.
        let usable = config::load_str(&yaml, "gateway.yaml").is_ok();
        prop_assume!(usable);
        let gateway = Gateway::start(&yaml);
        let asked = requests.iter().enumerate();
        let tests = asked.map(|(number, asked)| scene.compare(&gateway, &routes, number, asked)).collect::<Vec<_>>();
        fs::write(scene.folder.path().join("gateway.yaml"), &yaml).unwrap();
        let file = json!({"config": "gateway.yaml", "tests": tests}).to_string();
        fs::write(scene.folder.path().join("gateway.test.yaml"), file).unwrap();
        let mut command = Binary::command();
        let output = command.args(["test", "gateway.test.yaml"]).current_dir(scene.folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = said.find("FAILED").map_or("", |at| &said[at..]);
        prop_assert!(output.status.success(), "{failed}{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let seen = scene.seen.into_inner();
    for status in [200, 307, 400, 401, 403, 404, 405, 418] {
        assert!(seen.contains(&status), "nothing was answered with {status}: {seen:?}");
    }
}
