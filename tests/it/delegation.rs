//! Who acts for whom (RFC 8693, section 4.1): in rules, of JWTs and of what an issuer says, and on the way to an upstream.

use serde_json::{Value, json};

use crate::support::{
    authorization_server::{AuthorizationServer, field},
    gateway::{Gateway, configuration_of},
    issuer::Issuer,
    keys::Key,
    token_endpoint::TokenEndpoint,
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: agent, path: /agent, upstream: echo, allow: [{claims: {act.sub: agent-7}}]}
  - {name: either, path: /either, upstream: echo, allow: [{claims: {act.sub: [agent-7, agent-8]}}]}
  - {name: chain, path: /chain, upstream: echo, allow: [{claims: {act.sub: agent-7, act.act.sub: agent-1}}]}
  - {name: nobody, path: /nobody, upstream: echo, allow: [{claims: {act: {present: false}}}]}
  - {name: cel, path: /cel, upstream: echo, allow: [{when: 'has(claims.act) && claims.act.sub == "agent-7" && !has(claims.act.act)'}]}
  - {name: told, path: /told, upstream: echo, allow: authenticated, identity: {headers: {X-Actor: claims.act.sub, X-Chain: claims.act}}}
  - {name: exchanged, path: /exchanged, upstream: far, allow: [{claims: {act.sub: agent-7}}]}
"#;

/// Whether each of the routes lets a token with this `act` in.
const CASES: [(&str, [bool; 5]); 9] = [
    // agent, either, chain, nobody, cel
    ("null", [false, false, false, true, false]),
    (r#"{"sub": "agent-7"}"#, [true, true, false, false, true]),
    (r#"{"sub": "agent-8"}"#, [false, true, false, false, false]),
    (r#"{"sub": "agent-7", "act": {"sub": "agent-1"}}"#, [true, true, true, false, false]),
    (r#"{"sub": "agent-1", "act": {"sub": "agent-7"}}"#, [false, false, false, false, false]),
    // Deeper down it was somebody's turn before, which proves nothing now.
    (r#"{"sub": "x", "act": {"sub": "agent-7", "act": {"sub": "agent-1"}}}"#, [false, false, false, false, false]),
    (r#""agent-7""#, [false, false, false, false, false]),
    (r#"{"sub": null, "act": {"sub": "agent-1"}}"#, [false, false, false, false, false]),
    ("{}", [false, false, false, false, false]),
];

#[test]
fn rules_ask_who_acts() {
    let (issuer, server, upstream) =
        (Issuer::start(&Key::es256("k1")), AuthorizationServer::start(), Upstream::start());
    let (endpoint, issuers) = (TokenEndpoint::start(), issuers(&issuer, &server));
    let gateway = gateway(&issuers, &upstream, &endpoint);
    for (place, (act, expected)) in CASES.iter().enumerate() {
        let act: Value = serde_json::from_str(act).unwrap();
        let token = if act.is_null() { issuer.token() } else { issuer.token().claim("act", act.clone()) };
        let opaque = format!("opaque{place}");
        server.active(&opaque, if act.is_null() { json!({"sub": "u1"}) } else { json!({"sub": "u1", "act": act}) });
        for token in [token.build(), opaque] {
            let let_in = ["/agent", "/either", "/chain", "/nobody", "/cel"]
                .map(|path| gateway.get_with(path, &token).status == 200);
            assert_eq!(let_in, *expected, "{act}");
        }
    }
}

#[test]
fn upstreams_are_told_who_acts() {
    let (issuer, server, upstream) =
        (Issuer::start(&Key::es256("k1")), AuthorizationServer::start(), Upstream::start());
    let (endpoint, issuers) = (TokenEndpoint::start(), issuers(&issuer, &server));
    let gateway = gateway(&issuers, &upstream, &endpoint);
    let act = json!({"act": {"sub": "agent-1"}, "sub": "agent-7"});
    let token = issuer.token().claim("act", act.clone()).build();
    assert_eq!(gateway.get_with("/told", &token).status, 200);
    let sent = upstream.last_request();
    assert_eq!(sent.fields.get("x-actor"), Some("agent-7"));
    let chain: Value = serde_json::from_str(sent.fields.get("x-chain").unwrap()).unwrap();
    assert_eq!(chain, act);
    // The whole token is exchanged, with what it says of who acts.
    assert_eq!(gateway.get_with("/exchanged", &token).status, 200);
    assert_eq!(field(&endpoint.questions()[0].body, "subject_token").as_deref(), Some(&*token));
    let nobody = issuer.token().build();
    assert_eq!(gateway.get_with("/exchanged", &nobody).status, 403);
    assert_eq!(endpoint.asked(), 1, "a token that the rules refuse is not exchanged");
}

fn issuers(issuer: &Issuer, server: &AuthorizationServer) -> String {
    format!(
        "  jwt: {{issuer: \"{}\", audiences: [api], http_timeout: 30s}}\n\
         \x20 opaque: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: x}}}}\n",
        issuer.url(),
        server.introspection()
    )
}

fn gateway(issuers: &str, upstream: &Upstream, endpoint: &TokenEndpoint) -> Gateway {
    let yaml = configuration_of(issuers, &upstream.url(), ROUTES);
    let far = format!(
        "  far: {{url: \"{}\", token: {{endpoint: \"{}\", grant: token_exchange}}}}\n",
        upstream.url(),
        endpoint.url()
    );
    Gateway::start(&yaml.replace("routes:\n", &format!("{far}routes:\n")))
}
