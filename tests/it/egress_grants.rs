//! What token endpoints are asked, to the byte: each grant, each way to say who asks, and the four systems that the
//! examples are about. And a caller's token exchanged, for each caller.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::egress::sidecar;
use crate::support::{
    authorization_server::{AuthorizationServer, field},
    eventually,
    gateway::Gateway,
    http::Request,
    token_endpoint::TokenEndpoint,
    upstream::Upstream,
};

/// What the endpoint is asked by a sidecar with these keys.
fn question(token: &str) -> Request {
    let endpoint = TokenEndpoint::start();
    let api = endpoint.api();
    let gateway = Gateway::start(&sidecar(&api, &endpoint.url(), token));
    assert_eq!(gateway.get("/").status, 200, "{token}");
    let question = endpoint.questions().remove(0);
    assert_eq!((question.method.as_str(), question.target.as_str()), ("POST", "/token"));
    assert_eq!(question.fields.get("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(question.fields.get("accept"), Some("application/json"));
    question
}

fn text(question: &Request) -> String {
    String::from_utf8(question.body.clone()).unwrap()
}

#[test]
fn each_grant_has_its_form() {
    for (token, form) in [
        (
            "grant: client_credentials, client_id: app, client_secret: s3cret",
            "grant_type=client_credentials&client_id=app&client_secret=s3cret",
        ),
        (
            "grant: client_credentials, client_id: \"a&b\", client_secret: \"x=y z+é\", scopes: [one, \"two:x\"], audience: \"https://api.example/\"",
            "grant_type=client_credentials&scope=one+two%3Ax&audience=https%3A%2F%2Fapi.example%2F&client_id=a%26b&client_secret=x%3Dy+z%2B%C3%A9",
        ),
        (
            "grant: client_credentials, client_id: a, client_secret: b, scopes: [one, two], scope_separator: \",\"",
            "grant_type=client_credentials&scope=one%2Ctwo&client_id=a&client_secret=b",
        ),
        (
            "grant: password, client_id: a, client_secret: b, username: joe@example.com, password: \"p w\", scopes: [api]",
            "grant_type=password&username=joe%40example.com&password=p+w&scope=api&client_id=a&client_secret=b",
        ),
    ] {
        let question = question(token);
        assert_eq!((text(&question).as_str(), question.fields.get("authorization")), (form, None));
    }
}

#[test]
fn names_and_secrets_are_form_encoded_inside_basic() {
    for (client, pair) in [
        ("client_id: app, client_secret: s3cret", "app:s3cret"),
        ("client_id: \"a:b\", client_secret: \"50%+é\"", "a%3Ab:50%25%2B%C3%A9"),
    ] {
        let question = question(&format!("grant: client_credentials, auth: basic, {client}"));
        let expected = format!("Basic {}", BASE64_STANDARD.encode(pair));
        assert_eq!(question.fields.get("authorization"), Some(expected.as_str()));
        assert_eq!(text(&question), "grant_type=client_credentials");
    }
}

fn claims(jwt: &str) -> [Value; 2] {
    let part = |part: &str| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let mut parts = jwt.split('.');
    [part(parts.next().unwrap()), part(parts.next().unwrap())]
}

/// As Docebo describes it: RS256, `iss` the client, `sub` a user, `aud` the platform's host.
#[test]
fn a_jwt_bearer_assertion_is_signed_and_says_what_it_is_told() {
    let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    let question = question(&format!(
        "grant: jwt_bearer, private_key: {}, algorithm: RS256, scopes: [api], assertion: {{iss: my-client, sub: joe, aud: lms.example.com, ttl: 5m}}",
        key.display()
    ));
    let assertion = field(&question.body, "assertion").unwrap();
    assert_eq!(
        text(&question),
        format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}&scope=api")
    );
    let [header, said] = claims(&assertion);
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT"}));
    assert_eq!(
        (&said["iss"], &said["sub"], &said["aud"]),
        (&json!("my-client"), &json!("joe"), &json!("lms.example.com"))
    );
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 300);
    assert!((said["iat"].as_i64().unwrap() - crate::support::token::now()).abs() < 60);
    assert!(said["jti"].as_str().unwrap().len() > 16);
    let mut options = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    options.set_audience(&["lms.example.com"]);
    let public = jsonwebtoken::DecodingKey::from_rsa_pem(pair.public_key_pem().as_bytes()).unwrap();
    jsonwebtoken::decode::<Value>(&assertion, &public, &options).unwrap();
}

#[test]
fn an_assertion_with_nothing_said_is_the_clients_for_the_endpoint_and_each_is_used_once() {
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, pem).unwrap();
    let endpoint = TokenEndpoint::start();
    let api = endpoint.api();
    let token = format!(
        "grant: jwt_bearer, client_id: app, client_secret: s3cret, auth: basic, private_key: {}, assertion: {{}}",
        key.display()
    );
    let gateway = Gateway::start(&sidecar(&api, &endpoint.url(), &token));
    assert_eq!(gateway.get("/").status, 200);
    endpoint.revoke_all();
    assert_eq!(gateway.get("/").status, 200);
    let said: Vec<_> = endpoint
        .questions()
        .iter()
        .map(|question| {
            assert_eq!(
                question.fields.get("authorization"),
                Some(&*format!("Basic {}", BASE64_STANDARD.encode("app:s3cret")))
            );
            let [header, said] = claims(&field(&question.body, "assertion").unwrap());
            assert_eq!(header["alg"], "EdDSA");
            said
        })
        .collect();
    assert_eq!(said.len(), 2);
    assert_eq!((&said[0]["iss"], &said[0]["sub"]), (&json!("app"), &json!("app")));
    assert_eq!(said[0]["aud"], json!(endpoint.url()));
    assert_eq!(said[0]["exp"].as_i64().unwrap() - said[0]["iat"].as_i64().unwrap(), 60);
    assert_ne!(said[0]["jti"], said[1]["jti"]);
}

/// As their own documentation shows the calls; the order of a form's fields means nothing.
#[test]
fn the_four_systems_are_asked_as_they_say() {
    for (system, token, fields) in [
        (
            "Digitaleo",
            "grant: client_credentials, client_id: 51612c780b4dbaea8f81995beccbcfec08969d0e, client_secret: p280edbd76d510c41990cbe5e6108c7e",
            vec![
                ("grant_type", "client_credentials"),
                ("client_id", "51612c780b4dbaea8f81995beccbcfec08969d0e"),
                ("client_secret", "p280edbd76d510c41990cbe5e6108c7e"),
            ],
        ),
        (
            "Degreed",
            "grant: client_credentials, client_id: abcd, client_secret: efgh, scopes: [\"content:read\", \"users:read\"], scope_separator: \",\"",
            vec![
                ("grant_type", "client_credentials"),
                ("client_id", "abcd"),
                ("client_secret", "efgh"),
                ("scope", "content:read,users:read"),
            ],
        ),
        (
            "CERN",
            "grant: client_credentials, client_id: my-client-id, client_secret: 00000000-0000-0000-0000-000000000000, audience: the-target-api",
            vec![
                ("grant_type", "client_credentials"),
                ("client_id", "my-client-id"),
                ("client_secret", "00000000-0000-0000-0000-000000000000"),
                ("audience", "the-target-api"),
            ],
        ),
        (
            "Docebo",
            "grant: password, client_id: my-client, client_secret: ed8c18b099c1f9b8714aaef87001fa3de3a7183d, username: joe, password: secret, scopes: [api]",
            vec![
                ("grant_type", "password"),
                ("client_id", "my-client"),
                ("client_secret", "ed8c18b099c1f9b8714aaef87001fa3de3a7183d"),
                ("scope", "api"),
                ("username", "joe"),
                ("password", "secret"),
            ],
        ),
    ] {
        let question = question(token);
        for (name, value) in &fields {
            assert_eq!(field(&question.body, name).as_deref(), Some(*value), "{system}: {name}");
        }
        assert_eq!(text(&question).split('&').count(), fields.len(), "{system}: {}", text(&question));
        assert_eq!(question.fields.get("authorization"), None, "{system}");
    }
}

/// Degreed gives refresh tokens that are of no use, and says so late.
#[test]
fn a_refresh_token_that_is_never_of_use_costs_no_request() {
    let endpoint = TokenEndpoint::start();
    let api = endpoint.api();
    endpoint.gives(json!({"token_type": "bearer", "expires_in": 2, "refresh_token": ""}));
    endpoint.refuse_grant("refresh_token");
    let token = "grant: client_credentials, client_id: abcd, client_secret: efgh, expiry_margin: 1s";
    let gateway = Gateway::start(&sidecar(&api, &endpoint.url(), token));
    eventually("it was renewed twice", || {
        assert_eq!(gateway.get("/").status, 200);
        endpoint.asked() >= 5
    });
    let grants: Vec<_> =
        endpoint.questions().iter().take(5).map(|question| field(&question.body, "grant_type").unwrap()).collect();
    let (own, refresh) = ("client_credentials", "refresh_token");
    assert_eq!(grants, [own, refresh, own, refresh, own]);
}

/// An API before which callers' tokens are exchanged; both are asked about at this server.
fn exchanging(more: &str, routes: &str) -> (AuthorizationServer, TokenEndpoint, Upstream, Gateway) {
    let (server, endpoint) = (AuthorizationServer::start(), TokenEndpoint::start());
    let api = endpoint.api();
    let yaml = format!(
        "listen: [\"127.0.0.1:0\"]\n\
         admin: {{address: \"127.0.0.1:0\"}}\n\
         logging: {{level: error, access: false}}\n\
         server: {{workers: 2}}\n\
         issuers:\n  a: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: x}}}}\n\
         upstreams:\n  api: {{url: \"{}\", token: {{endpoint: \"{}\", grant: token_exchange{more}}}}}\n\
         routes:\n{routes}",
        server.introspection(),
        api.url(),
        endpoint.url(),
    );
    for caller in ["joe", "ann"] {
        server.active(caller, json!({"sub": caller}));
    }
    let gateway = Gateway::start(&yaml);
    (server, endpoint, api, gateway)
}

const CLOSED: &str = "  - {name: all, path: /**, upstream: api, allow: authenticated}\n";

#[test]
fn each_callers_token_is_exchanged_for_one_of_its_own() {
    let (_server, endpoint, api, gateway) =
        exchanging(", client_id: gw, client_secret: s3cret, audience: target, scopes: [read]", CLOSED);
    let sent = |caller: &str| {
        assert_eq!(gateway.get_with("/", caller).status, 200);
        api.last_request().fields.get("authorization").unwrap().to_owned()
    };
    assert_eq!((sent("joe"), sent("ann")), ("Bearer token-1".to_owned(), "Bearer token-2".to_owned()));
    assert_eq!((sent("joe"), sent("ann")), ("Bearer token-1".to_owned(), "Bearer token-2".to_owned()));
    let questions = endpoint.questions();
    assert_eq!(questions.len(), 2);
    assert_eq!(
        text(&questions[0]),
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=joe\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&scope=read&audience=target\
         &client_id=gw&client_secret=s3cret"
    );
    assert_eq!(field(&questions[1].body, "subject_token").as_deref(), Some("ann"));
    assert_eq!(gateway.get_with("/", "nobody").status, 401);
    assert_eq!(gateway.get("/").status, 401);
    assert_eq!(endpoint.asked(), 2, "a token that isn't good was exchanged");
}

#[test]
fn many_requests_of_one_caller_cause_one_exchange_and_a_refused_one_is_anothers_affair() {
    let (_server, endpoint, _api, gateway) = exchanging("", CLOSED);
    endpoint.hold(true);
    std::thread::scope(|scope| {
        for number in 0..40 {
            let (gateway, caller) = (&gateway, if number % 2 == 0 { "joe" } else { "ann" });
            scope.spawn(move || assert_eq!(gateway.get_with("/", caller).status, 200));
        }
        eventually("both are exchanged", || endpoint.most_at_once() == 2);
        endpoint.hold(false);
    });
    assert_eq!((endpoint.asked(), endpoint.most_at_once()), (2, 2));

    let (server, endpoint, _api, gateway) = exchanging("", CLOSED);
    assert_eq!(gateway.get_with("/", "joe").status, 200);
    server.active("bob", json!({"sub": "bob"}));
    endpoint.answer_instead(400, "", r#"{"error": "invalid_request"}"#);
    for _ in 0..20 {
        assert_eq!(gateway.get_with("/", "bob").status, 502);
        assert_eq!(gateway.get_with("/", "joe").status, 200, "one caller's trouble is another's");
    }
    assert!(endpoint.asked() < 12, "asked {} times", endpoint.asked());
}

#[test]
fn a_callers_refused_token_is_exchanged_anew() {
    let (_server, endpoint, api, gateway) = exchanging("", CLOSED);
    assert_eq!(gateway.get_with("/", "joe").status, 200);
    endpoint.revoke_all();
    assert_eq!(gateway.get_with("/", "joe").status, 200);
    assert_eq!(api.last_request().fields.get("authorization"), Some("Bearer token-2"));
}

/// Who needs no token and has none goes on as nobody.
#[test]
fn nobodys_token_is_exchanged_for_nothing() {
    let routes = "  - {name: all, path: /**, upstream: api, allow: optional}\n";
    let (_server, endpoint, api, gateway) = exchanging("", routes);
    assert_eq!(gateway.get("/").status, 401, "the API's own answer");
    assert_eq!(gateway.call("GET", "/", "Authorization: Basic dTpw\r\n").status, 401);
    assert!(api.requests().iter().all(|request| request.fields.get("authorization").is_none()));
    assert_eq!((api.requests().len(), endpoint.asked()), (2, 0));
    assert_eq!(gateway.get_with("/", "joe").status, 200);
}
