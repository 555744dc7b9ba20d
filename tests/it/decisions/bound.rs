//! Tokens that are bound to a key, and assertions, where another proxy has the request: what is proved is proved of that
//! request, and what is said of the caller is the proxy's to send on.

use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};

use super::{PLACES, Scene, bearer, ext_authz::Check};
use crate::support::{
    challenge::Challenge,
    keys::Key,
    proofs::{Proof, thumbprint},
    raw::Response,
};

const ROUTES: &str = r#"
  - {name: closed, path: /closed, upstream: echo, allow: authenticated, protected_resource: {resource: "https://api.example/closed"}}
  - {name: alone, path: /alone, upstream: echo, allow: authenticated, identity: {authorization: remove}}
  - {name: open, path: /open, upstream: echo, allow: public}
"#;
/// The listener that Envoy asks, and how answers to it are told apart from the others'.
const ENVOY: usize = 4;

/// What was said of a request: its status, the challenges, and a field.
struct Said {
    status: u16,
    challenges: Vec<Challenge>,
    fields: Vec<(String, String)>,
}

impl Said {
    fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice");
        first
    }
}

/// Asks in the way of this listener: those of `PLACES`, or Envoy's.
fn ask(scene: &Scene, place: usize, method: &str, target: &str, fields: &str) -> Said {
    if place < PLACES.len() {
        let Response { status, fields, .. } = scene.ask(place, method, target, fields);
        let challenges = fields.all("www-authenticate").map(Challenge::parse).collect();
        return Said { status, challenges, fields: fields.0 };
    }
    let told = scene.envoy(&Check::new(method, target, fields));
    let fields = told.set.iter().map(|(name, value, _)| (name.clone(), value.clone())).collect::<Vec<_>>();
    let challenges = fields.iter().filter(|(name, _)| name == "www-authenticate");
    let challenges = challenges.map(|(_, value)| Challenge::parse(value)).collect();
    let status = told.denied.map_or(200, |status| if status == 0 { 200 } else { u16::try_from(status).unwrap() });
    Said { status, challenges, fields }
}

fn ways() -> impl Iterator<Item = usize> {
    (0..PLACES.len()).chain([ENVOY])
}

fn by_dpop(token: &str, proof: &str) -> String {
    format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n")
}

#[test]
fn a_proof_is_of_the_request_that_is_asked_about() {
    let scene = Scene::start("", ROUTES);
    let (key, thief) = (Key::es256("client"), Key::es256("thief"));
    let token = scene.issuer.token().claim("cnf", json!({"jkt": thumbprint(&key)})).build();
    let address = "http://api.example/closed";
    for place in ways() {
        let good = Proof::new(&key, "GET", address, &token).build();
        let said = ask(&scene, place, "GET", "/closed?a=b", &by_dpop(&token, &good));
        assert_eq!(said.status, 200, "{place}");
        let again = ask(&scene, place, "GET", "/closed", &by_dpop(&token, &good));
        assert_eq!((again.status, again.challenges[0].error()), (401, Some("invalid_dpop_proof")), "{place}");
        // Whichever listener has seen it.
        let elsewhere = ask(&scene, (place + 1) % PLACES.len(), "GET", "/closed", &by_dpop(&token, &good));
        assert_eq!(elsewhere.status, 401, "{place}");
        for (proof, error) in [
            (Proof::new(&thief, "GET", address, &token), "invalid_token"),
            (Proof::new(&key, "POST", address, &token), "invalid_dpop_proof"),
            (Proof::new(&key, "GET", "http://api.example/check", &token), "invalid_dpop_proof"),
            (Proof::new(&key, "GET", "http://bearward/check", &token), "invalid_dpop_proof"),
            (Proof::new(&key, "GET", "https://api.example/closed", &token), "invalid_dpop_proof"),
        ] {
            let refused = ask(&scene, place, "GET", "/closed", &by_dpop(&token, &proof.build()));
            assert_eq!((refused.status, refused.challenges[0].error()), (401, Some(error)), "{place}");
            let named = refused.challenges[0].get("resource_metadata");
            assert_eq!(named, Some("https://api.example/.well-known/oauth-protected-resource/closed"), "{place}");
        }
        assert_eq!(ask(&scene, place, "GET", "/closed", &bearer(&token)).status, 401, "{place}");
    }
    assert!(scene.upstream.requests().is_empty());
}

#[test]
fn what_goes_on_of_it() {
    let scene = Scene::start("", ROUTES);
    let key = Key::es256("client");
    let token = scene.issuer.token().claim("cnf", json!({"jkt": thumbprint(&key)})).build();
    let proof = |path: &str| Proof::new(&key, "GET", &format!("http://api.example{path}"), &token).build();
    for place in 0..PLACES.len() {
        let used = proof("/closed");
        let said = ask(&scene, place, "GET", "/closed", &by_dpop(&token, &used));
        assert_eq!(said.field("authorization"), Some(&*format!("DPoP {token}")), "{place}");
        assert_eq!(said.field("dpop"), Some(&*used), "{place}");
        let said = ask(&scene, place, "GET", "/alone", &by_dpop(&token, &proof("/alone")));
        assert_eq!((said.field("authorization"), said.field("dpop")), (Some(""), Some("")), "{place}");
    }
    let told = scene.envoy(&Check::new("GET", "/alone", &by_dpop(&token, &proof("/alone"))));
    assert!(["authorization", "dpop"].iter().all(|name| told.removed.contains(&(*name).to_owned())), "{told:?}");
    let check = Check::new("GET", "/closed", &by_dpop(&token, &proof("/closed")));
    let arrives = scene.envoy(&check).applied(&check.fields);
    for name in ["authorization", "dpop"] {
        let sent = check.fields.iter().find(|(field, _)| field == name);
        assert_eq!(arrives.iter().filter(|(field, _)| field == name).collect::<Vec<_>>(), [sent.unwrap()]);
    }
}

#[test]
fn a_nonce_is_handed_on() {
    let scene = Scene::start("", ROUTES);
    let yaml = scene.issuer.url();
    let gateway = crate::support::gateway::Gateway::start(&format!(
        "listen: [{{address: \"127.0.0.1:0\", mode: forward_auth, request_from: x_original}}, {{address: \"127.0.0.1:0\", mode: ext_authz}}]\n\
         admin: {{address: \"127.0.0.1:0\"}}\nlogging: {{level: error, access: false}}\n\
         issuers:\n  main: {{issuer: \"{yaml}\", audiences: [api], dpop: {{nonce: true}}}}\nroutes:\n  - {{name: closed, path: /closed, allow: authenticated}}\n"
    ));
    let key = Key::es256("client");
    let token = scene.issuer.token().claim("cnf", json!({"jkt": thumbprint(&key)})).build();
    let proof = || Proof::new(&key, "GET", "http://api.example/closed", &token);
    let described = "X-Original-Method: GET\r\nX-Original-URL: http://api.example/closed\r\n";
    let first = gateway.call("GET", "/", &format!("{described}{}", by_dpop(&token, &proof().build())));
    let challenge = Challenge::parse(first.fields.get("www-authenticate").unwrap());
    assert_eq!((first.status, challenge.error()), (401, Some("use_dpop_nonce")));
    let nonce = first.fields.get("dpop-nonce").unwrap();
    let check = |proof: &str| {
        super::ext_authz::ask(gateway.address_of(1), &Check::new("GET", "/closed", &by_dpop(&token, proof)))
    };
    let told = check(&proof().build());
    assert_eq!((told.denied, told.field("dpop-nonce")), (Some(401), Some(nonce)));
    // One is as good as the other, at either listener.
    let with_nonce = || proof().claim("nonce", json!(nonce)).build();
    assert_eq!(check(&with_nonce()).denied, None);
    let yes = gateway.call("GET", "/", &format!("{described}{}", by_dpop(&token, &with_nonce())));
    assert_eq!(yes.status, 200, "{}", yes.text());
}

#[test]
fn an_assertion_is_for_the_proxy_to_send_on() {
    let folder = tempfile::tempdir().unwrap();
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    std::fs::write(folder.path().join("gateway.pem"), pem).unwrap();
    let identity = format!(
        "identity: {{assertion: {{private_key: \"{}\", issuer: \"https://gateway.example\"}}}}\n",
        folder.path().join("gateway.pem").display()
    );
    let scene = Scene::start(&identity, ROUTES);
    let keys = crate::support::raw::exchange(
        scene.gateway.address_of(PLACES.len()),
        "GET",
        "/.well-known/bearward/jwks.json",
        "",
    );
    let keys: JwkSet = serde_json::from_value(keys.json()).unwrap();
    let mut rules = Validation::new(jsonwebtoken::Algorithm::EdDSA);
    rules.set_audience(&["echo"]);
    rules.set_issuer(&["https://gateway.example"]);
    let key = DecodingKey::from_jwk(&keys.keys[0]).unwrap();
    let token = scene.issuer.token().sub("u7").build();
    let heard = "X-Auth-Assertion: eyJhbGciOiJFZERTQSJ9.e30.AA\r\n";
    for place in ways() {
        let said = ask(&scene, place, "GET", "/closed", &format!("{}{heard}", bearer(&token)));
        assert_eq!(said.status, 200, "{place}");
        let signed = said.field("x-auth-assertion").unwrap();
        assert_eq!(jsonwebtoken::decode::<Value>(signed, &key, &rules).unwrap().claims["sub"], "u7", "{place}");
    }
    // Nobody is nobody: what the client sent is overwritten, or taken away.
    for place in 0..PLACES.len() {
        assert_eq!(ask(&scene, place, "GET", "/open", heard).field("x-auth-assertion"), Some(""), "{place}");
    }
    let told = scene.envoy(&Check::new("GET", "/open", &format!("{heard}X_Auth_Assertion: x\r\n")));
    assert!(["x-auth-assertion", "x_auth_assertion"].iter().all(|name| told.removed.contains(&(*name).to_owned())));
}
