//! Whatever a listener that only decides lets through, the gateway would have sent on, with the same words about its
//! caller; and what it refuses besides, it refuses for what it alone can't change.

use std::{cell::RefCell, collections::BTreeMap};

use bearward::config;
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::json;

use super::{
    PLACES,
    ext_authz::{self, Check},
    meant,
};
use crate::{
    agreement::{Asked, ISSUER, asked, routes, tokens},
    support::{
        gateway::Gateway,
        http::Request,
        keys::Key,
        raw::{Client, Response},
        upstream::Upstream,
    },
};

const IDENTITY: [&str; 5] = ["x-auth-subject", "x-auth-client", "x-auth-scopes", "x-auth-roles", "x-auth-issuer"];

struct Scene {
    upstream: Upstream,
    key: Key,
    /// How often it came out in which way.
    seen: RefCell<BTreeMap<&'static str, usize>>,
}

impl Scene {
    fn configuration(&self, routes: &str) -> String {
        let keys = json!({"keys": [self.key.jwk()]});
        let listeners = PLACES.map(|place| {
            format!("  - {{address: \"127.0.0.1:0\", name: {place}, mode: forward_auth, request_from: {place}}}\n")
        });
        format!(
            "listen:\n  - 127.0.0.1:0\n{}  - {{address: \"127.0.0.1:0\", mode: ext_authz}}\nadmin: {{address: \"127.0.0.1:0\"}}\n\
             logging: {{level: error, access: false}}\nserver: {{workers: 1}}\n\
             issuers: {{main: {{issuer: \"{ISSUER}\", audiences: [api], jwt: {{jwks: {keys}}}}}}}\n\
             upstreams: {{echo: {{url: \"{}\"}}}}\nroutes:\n{routes}",
            listeners.concat(),
            self.upstream.url()
        )
    }

    fn compare(&self, gateway: &Gateway, asked: &Asked, token: Option<&str>) {
        let mut fields = asked.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
        if let Some(token) = token {
            fields += &super::bearer(token);
        }
        let before = self.upstream.requests().len();
        let sent = send(gateway, 0, asked.method, &asked.target, &fields);
        let arrived = self.upstream.requests().get(before).cloned();
        for (number, place) in PLACES.iter().enumerate() {
            let description = match *place {
                "x_forwarded" => format!(
                    "X-Forwarded-Method: {}\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: api.example\r\nX-Forwarded-Uri: {}\r\n",
                    asked.method, asked.target
                ),
                "x_original" => format!(
                    "X-Original-Method: {}\r\nX-Original-URL: http://api.example{}\r\n",
                    asked.method, asked.target
                ),
                _ => String::new(),
            };
            let (method, target) = if *place == "self" { (asked.method, asked.target.as_str()) } else { ("GET", "/") };
            let answer = send(gateway, number + 1, method, target, &format!("{description}{fields}"));
            let why = || format!("{asked:?} at {place}: {} by the proxy, {}", sent.status, meant(&answer));
            let word = match (&arrived, answer.status) {
                (Some(arrived), 200) => {
                    for name in IDENTITY {
                        let said = answer.fields.get(name).unwrap_or_else(|| panic!("{name}: {}", why()));
                        assert_eq!(said, arrived.fields.get(name).unwrap_or_default(), "{name}: {}", why());
                    }
                    let said: Vec<_> = answer.fields.all("authorization").filter(|said| !said.is_empty()).collect();
                    assert_eq!(said, arrived.fields.all("authorization").collect::<Vec<_>>(), "{}", why());
                    "both let it through"
                }
                (Some(_), _) => {
                    assert!(is_changed(asked), "{}", why());
                    assert_eq!(meant(&answer), 400, "{}", why());
                    "refused for what it can't change"
                }
                // A preflight, which the gateway answers itself where it forwards, is decided as any request.
                (None, _) if sent.status == 204 => "a preflight",
                (None, _) if is_changed(asked) => {
                    assert!(meant(&answer) >= 400, "{}", why());
                    "both refuse it, if for other reasons"
                }
                (None, _) => {
                    assert_eq!(meant(&answer), sent.status, "{}", why());
                    "both refuse it"
                }
            };
            *self.seen.borrow_mut().entry(word).or_default() += 1;
        }
        self.compare_with_envoy(gateway, asked, &fields, &sent, arrived.as_ref());
    }

    fn compare_with_envoy(
        &self,
        gateway: &Gateway,
        asked: &Asked,
        fields: &str,
        sent: &Response,
        arrived: Option<&Request>,
    ) {
        let check = Check::new(asked.method, &asked.target, fields);
        let told = ext_authz::ask(gateway.address_of(PLACES.len() + 1), &check);
        let why = || format!("{asked:?} by Envoy: {} by the proxy, {told:?}", sent.status);
        let word = match (arrived, told.denied) {
            (Some(arrived), None) => {
                let goes_on = told.applied(&check.fields);
                let of = |name: &str| {
                    goes_on
                        .iter()
                        .filter(|(other, _)| other == name)
                        .map(|(_, value)| value.as_str())
                        .collect::<Vec<_>>()
                };
                for name in IDENTITY.into_iter().chain(["authorization"]) {
                    assert_eq!(of(name), arrived.fields.all(name).collect::<Vec<_>>(), "{name}: {}", why());
                }
                let spoofed = goes_on.iter().find(|(_, value)| ["root", "owner"].contains(&value.as_str()));
                assert!(spoofed.is_none_or(|(name, _)| name == "x-auth-roles"), "{spoofed:?}: {}", why());
                "Envoy lets it through, too"
            }
            (Some(_), Some(status)) => {
                assert!(status == 400 && has_dots(asked), "{}", why());
                "refused for what it can't change"
            }
            (None, Some(status)) if has_dots(asked) => {
                assert!(status >= 400, "{}", why());
                "both refuse it, if for other reasons"
            }
            (None, denied) => {
                assert_eq!(denied, Some(sent.status.into()), "{}", why());
                "Envoy refuses it, too"
            }
        };
        *self.seen.borrow_mut().entry(word).or_default() += 1;
    }
}

/// Whether it has what the gateway would change on its way.
fn is_changed(asked: &Asked) -> bool {
    has_dots(asked) || asked.fields.iter().any(|(name, _)| name.contains('_') && *name != "X_Tenant")
}

fn has_dots(asked: &Asked) -> bool {
    asked.target.split(['/', '?']).any(|part| matches!(part, "." | ".." | "%2e%2e"))
}

fn send(gateway: &Gateway, listener: usize, method: &str, target: &str, fields: &str) -> Response {
    let mut client = Client::connect(gateway.address_of(listener));
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: api.example\r\n{fields}Connection: close\r\n\r\n"));
    client.try_receive(method).unwrap().expect("an answer")
}

#[test]
fn nothing_is_let_through_that_would_not_be_sent_on() {
    let key = Key::es256("k1");
    let tokens = tokens(&key);
    let scene = Scene { upstream: Upstream::start(), key, seen: RefCell::default() };
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
        for asked in &requests {
            scene.compare(&gateway, asked, asked.token.map(|(index, _)| tokens[index].as_str()));
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let seen = scene.seen.into_inner();
    for word in [
        "both let it through",
        "Envoy lets it through, too",
        "Envoy refuses it, too",
        "refused for what it can't change",
        "both refuse it",
    ] {
        assert!(seen.get(word).is_some_and(|count| *count >= 20), "{word}: {seen:?}");
    }
}
