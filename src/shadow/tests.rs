//! A shadow beside a snapshot, without sockets: nothing here may need any.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::header::AUTHORIZATION;
use serde_json::json;

use super::*;
use crate::{
    config::{self, Policy},
    decision::decide,
    headers,
    limit::Counted,
    snapshot::LongLived,
};

const ISSUERS: &str =
    "issuers: {i: {issuer: \"https://i.example\", audiences: [api], jwt: {jwks_uri: \"http://127.0.0.1:1/keys\"}}}\n";
const UPSTREAM: &str = "http://127.0.0.1:1";

fn policy(listen: &str, routes: &str) -> Policy {
    let text = format!("listen: [{listen}]\n{ISSUERS}routes:\n{routes}");
    config::load_str(&text, "f").unwrap_or_else(|wrong| panic!("{wrong:?}\n{text}")).policy
}

fn route(name: &str, path: &str, more: &str) -> String {
    format!("  - {{name: {name}, path: \"{path}\", upstream: \"{UPSTREAM}\", {more}}}\n")
}

struct Scene {
    policy: Policy,
    long_lived: LongLived,
    snapshot: Arc<Snapshot>,
    shadow: Arc<Shadow>,
    observer: Arc<Observer>,
}

impl Scene {
    fn new(policy: Policy, shadow_policy: &Policy) -> Scene {
        let observer = Observer::silent();
        let long_lived = LongLived::new(observer.clone(), 1);
        let (snapshot, _) = Snapshot::assemble(&policy, &long_lived).unwrap();
        let shadow = Shadow::new("shadow.yaml", &observer);
        let scene = Scene { policy, long_lived, snapshot: Arc::new(snapshot), shadow, observer };
        scene.go_by(shadow_policy);
        scene
    }

    fn go_by(&self, policy: &Policy) {
        let own = self.long_lived.beside();
        let (bystander, _) = Bystander::assemble(policy, (&self.policy, &self.snapshot), &own).unwrap();
        self.shadow.go_by(bystander, "0123456789ab".into());
    }

    /// A request at the listener of this index, decided as the policy in force does.
    async fn ask(&self, listener: usize, path: &str, token: Option<&str>) -> (Decided, Option<Arc<ShadowSays>>) {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        let mut copied = Copied {
            listener,
            method: Method::GET,
            uri: path.parse().unwrap(),
            host: None,
            scheme: "http",
            path: Arc::new(CanonicalPath::parse(path).unwrap()),
            request_id: headers::request_id(&headers),
            headers,
            client_ip: "192.0.2.7".parse().unwrap(),
            trusted_peer: false,
            certificate: None,
            snapshot: self.snapshot.clone(),
            decided: Decided::preflight(0),
        };
        let decided = decide(&self.snapshot, &copied.view(listener), &mut Counted::default()).await;
        copied.decided = Decided::of(&decided);
        (copied.decided, self.shadow.compare(copied))
    }

    fn told(&self, member: &str) -> Value {
        self.shadow.to_json()[member].clone()
    }
}

/// Of the issuer, good in all but its signature, which no key is there for.
fn token(number: usize) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": "https://i.example", "aud": "api", "sub": format!("s{number}"), "exp": crate::token::now() + 600});
    format!("{}.{}.{}", part(json!({"alg": "ES256", "kid": "k"})), part(claims), URL_SAFE_NO_PAD.encode([7; 64]))
}

#[test]
fn what_counts_as_a_difference() {
    let says = |route: &str, allowed, reason| ShadowSays { route: route.into(), allowed, reason };
    for (one, other, is_different) in [
        (("a", true, "ok"), ("a", true, "ok"), false),
        (("a", true, "ok"), ("a", true, "public"), false),
        (("a", true, "ok"), ("b", true, "ok"), true),
        (("a", true, "ok"), ("a", false, "scope"), true),
        (("a", false, "expired"), ("a", false, "expired"), false),
        (("a", false, "expired"), ("a", false, "scope"), true),
        (("", false, "no_route"), ("a", false, "no_credential"), true),
    ] {
        let [one, other] = [one, other].map(|(route, allowed, reason)| says(route, allowed, reason));
        assert_eq!(differ(&one, &other), is_different, "{one:?} {other:?}");
        assert_eq!(differ(&other, &one), is_different, "{other:?} {one:?}");
    }
}

#[tokio::test]
async fn listeners_go_by_name_then_by_address_then_to_the_main_one() {
    let in_force = policy(
        "{address: \"127.0.0.1:1\", name: one}, {address: \"127.0.0.1:2\", name: two}, {address: \"127.0.0.1:3\", name: three}",
        &route("r", "/", "allow: public"),
    );
    let routes: String =
        ["main", "second", "one"].map(|name| route(name, "/", &format!("listeners: [{name}], allow: public"))).concat();
    let shadow = policy(
        "{address: \"127.0.0.1:9\", name: main}, {address: \"127.0.0.1:2\", name: second}, {address: \"127.0.0.1:8\", name: one}",
        &routes,
    );
    let scene = Scene::new(in_force, &shadow);
    for (listener, name) in [(0, "one"), (1, "second"), (2, "main")] {
        let (_, says) = scene.ask(listener, "/", None).await;
        assert_eq!(&*says.unwrap().route, name);
    }
}

#[tokio::test]
async fn limits_are_counted_once_and_what_they_refuse_is_not_compared() {
    let routes = |limit: &str| route("r", "/", &format!("allow: public, rate_limit: {{rate: {limit}, per: ip}}"));
    let scene = Scene::new(policy("\"127.0.0.1:1\"", &routes("3/h")), &policy("\"127.0.0.1:1\"", &routes("1/h")));
    let mut reasons = Vec::new();
    for _ in 0..5 {
        let (decided, says) = scene.ask(0, "/", None).await;
        assert_eq!(says, None);
        reasons.push(decided.reason);
    }
    assert_eq!(reasons, ["public", "public", "public", "rate_limit", "rate_limit"]);
    assert_eq!(scene.told("compared"), 3);
}

#[tokio::test]
async fn who_waits_for_the_network_is_bounded_and_the_rest_is_counted() {
    let in_force = policy("\"127.0.0.1:1\"", &route("r", "/", "allow: public"));
    let scene = Scene::new(in_force, &policy("\"127.0.0.1:1\"", &route("r", "/", "allow: authenticated")));
    // Nobody maintains the issuer's keys here, so that whoever asks for them waits.
    for number in 0..MOST_WAITING + 10 {
        let (decided, says) = scene.ask(0, "/", Some(&token(number))).await;
        assert_eq!((decided.allowed, says), (true, None));
    }
    assert_eq!((scene.told("compared"), scene.told("skipped")), (json!(0), json!(10)));
    assert!(scene.observer.render_metrics().contains("\nbearward_shadow_skipped_total 10\n"));
    let (_, says) = scene.ask(0, "/", None).await;
    assert_eq!(says.unwrap().reason, "no_credential", "what needs no network goes on");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_later_is_told_with_its_reason() {
    let in_force = policy("\"127.0.0.1:1\"", &route("r", "/", "allow: public"));
    let scene = Scene::new(in_force, &policy("\"127.0.0.1:1\"", &route("r", "/", "allow: authenticated")));
    let token = token(1);
    scene.ask(0, "/", Some(&token)).await;
    while scene.told("compared") == 0 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let told = scene.shadow.to_json();
    let difference = &told["differences"][0];
    assert_eq!(difference["shadow_reason"], "keys_unavailable");
    assert_eq!((&difference["outcome"], &difference["shadow_outcome"]), (&json!("allow"), &json!("deny")));
    assert!(!token.split('.').any(|part| told.to_string().contains(part)));
}

#[tokio::test]
async fn another_policy_begins_anew() {
    let in_force = policy("\"127.0.0.1:1\"", &route("r", "/", "allow: public"));
    let scene = Scene::new(in_force, &policy("\"127.0.0.1:1\"", &route("r", "/", "allow: authenticated")));
    scene.ask(0, "/", None).await;
    assert_eq!((scene.told("compared"), scene.told("different")), (json!(1), json!(1)));
    scene.go_by(&policy("\"127.0.0.1:1\"", &route("other", "/", "allow: public")));
    let told = scene.shadow.to_json();
    assert_eq!((&told["compared"], &told["different"], &told["differences"]), (&json!(0), &json!(0), &json!([])));
    let (_, says) = scene.ask(0, "/", None).await;
    assert_eq!(&*says.unwrap().route, "other");
}

#[tokio::test]
async fn what_is_the_same_is_shared_and_what_is_not_is_told_apart() {
    let policy = policy("\"127.0.0.1:1\"", &route("r", "/", "allow: authenticated"));
    let scene = Scene::new(policy.clone(), &policy);
    let own = scene.long_lived.beside();
    let (same, stores) = scene.snapshot.assemble_beside(&policy, &own).unwrap();
    assert!(Arc::ptr_eq(&same.issuers[0], &scene.snapshot.issuers[0]) && stores.is_empty());
    let mut other = policy.clone();
    other.issuers[0].jwt.max_token_age = Some(std::time::Duration::from_secs(1));
    let (other, stores) = scene.snapshot.assemble_beside(&other, &own).unwrap();
    assert!(!Arc::ptr_eq(&other.issuers[0], &scene.snapshot.issuers[0]) && stores.is_empty());
    assert!(Arc::ptr_eq(&other.issuers[0].keys, &scene.snapshot.issuers[0].keys), "the same source of keys");
    assert!(!Arc::ptr_eq(&other.upstreams[0], &scene.snapshot.upstreams[0]) && other.shadow.is_none());
}

#[test]
fn its_token_parameters_are_known_to_the_log() {
    let open = policy("\"127.0.0.1:0\"", &route("p", "/p/**", "allow: public"));
    let own = "allow: authenticated, token_from: [{query: shadow-key}]";
    let scene = Scene::new(open.clone(), &policy("\"127.0.0.1:0\"", &route("p", "/p/**", own)));
    assert_eq!(*scene.shadow.token_parameters().unwrap(), [Box::<str>::from("shadowkey")]);
    scene.go_by(&open);
    assert!(scene.shadow.token_parameters().unwrap().is_empty());
}
