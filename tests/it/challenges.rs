//! The whole table of refusals: status, challenge read strictly, and what stands beside it.

use serde_json::json;

use crate::support::{
    gateway::{Gateway, configuration_of},
    issuer::Issuer,
    keys::Key,
    raw::Response,
    token::{Token, now},
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: closed, path: /closed, methods: [GET, POST], upstream: echo, allow: authenticated}
  - {name: scoped, path: /scoped, upstream: echo, allow: [{scopes: [orders:read, orders:all]}]}
  - {name: roled, path: /roled, upstream: echo, allow: [{any_role: [editor]}]}
  - {name: claimed, path: /claimed, upstream: echo, allow: [{claims: {tenant: acme}}]}
  - {name: audienced, path: /audienced, upstream: echo, allow: [{audiences: [other]}]}
  - {name: kinded, path: /kinded, upstream: echo, allow: [{token_kind: client}]}
  - {name: stepped, path: /stepped, upstream: echo, allow: [{acr: [gold, silver], max_age: 5m}]}
"#;

struct Scene {
    issuer: Issuer,
    _upstream: Upstream,
    gateway: Gateway,
}

fn scene() -> Scene {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let issuers = format!("  main: {{issuer: \"{}\", audiences: [api]}}\n", issuer.url());
    let yaml = configuration_of(&issuers, &upstream.url(), ROUTES);
    let yaml = yaml.replace("server: {", "errors: {realm: 'a \"realm\\, x=1'}\nserver: {max_token_bytes: 4KiB, ");
    let gateway = Gateway::start(&yaml);
    Scene { issuer, _upstream: upstream, gateway }
}

/// What the parameters beside `realm` and `error_description` are, in order of their names.
fn parameters(response: &Response) -> Option<String> {
    let challenge = response.challenge()?;
    assert_eq!(challenge.scheme, "Bearer");
    assert_eq!(challenge.get("realm"), Some("a \"realm\\, x=1"));
    let description = challenge.get("error_description");
    assert_eq!(description.is_some(), challenge.error().is_some());
    if let Some(description) = description {
        assert!(description.len() > 10 && !description.contains(['"', '\\', '.']), "{description}");
        assert_eq!(response.json()["detail"], json!(description));
    }
    let others = challenge.params.iter().filter(|(name, _)| !matches!(name.as_str(), "realm" | "error_description"));
    Some(others.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
}

#[test]
fn every_refusal_says_what_the_table_has() {
    let scene = scene();
    let token =
        |change: &dyn Fn(Token) -> Token| format!("Authorization: Bearer {}\r\n", change(scene.issuer.token()).build());
    let good = token(&|token| token);
    let stranger = Key::es256("k1");
    let invalid = Some("error=invalid_token");
    let long = "Authorization: Bearer ".to_owned() + &"a".repeat(5000) + "\r\n";
    for (case, target, fields, status, expected) in [
        ("no credential", "/closed", String::new(), 401, Some("")),
        ("another scheme", "/closed", "Authorization: Basic dTpw\r\n".to_owned(), 401, Some("")),
        ("two", "/closed", format!("{good}{good}"), 400, Some("error=invalid_request")),
        ("nothing after", "/closed", "Authorization: Bearer  \r\n".to_owned(), 400, Some("error=invalid_request")),
        ("spaces in it", "/closed", "Authorization: Bearer a b\r\n".to_owned(), 400, Some("error=invalid_request")),
        ("no b64token", "/closed", "Authorization: Bearer a,b\r\n".to_owned(), 400, Some("error=invalid_request")),
        ("over-long", "/closed", long, 401, invalid),
        ("no JWT", "/closed", "Authorization: Bearer abc\r\n".to_owned(), 401, invalid),
        ("signature", "/closed", token(&|token| token.signed_by(&stranger)), 401, invalid),
        ("key", "/closed", token(&|token| token.kid("k9")), 401, invalid),
        ("algorithm", "/closed", token(&|token| token.alg("none")), 401, invalid),
        ("typ", "/closed", token(&|token| token.header("typ", json!("dpop+jwt"))), 401, invalid),
        ("crit", "/closed", token(&|token| token.header("crit", json!(["x"])).header("x", json!(1))), 401, invalid),
        ("iss", "/closed", token(&|token| token.claim("iss", json!("https://else.example"))), 401, invalid),
        ("aud", "/closed", token(&|token| token.aud("elsewhere")), 401, invalid),
        ("expired", "/closed", token(&|token| token.exp_in(-600)), 401, invalid),
        ("nbf", "/closed", token(&|token| token.claim("nbf", json!(now() + 600))), 401, invalid),
        ("iat", "/closed", token(&|token| token.claim("iat", json!(now() + 600))), 401, invalid),
        ("no exp", "/closed", token(&|token| token.without("exp")), 401, invalid),
        ("cnf", "/closed", token(&|token| token.claim("cnf", json!({"jkt": "x"}))), 401, invalid),
        ("scope", "/scoped", good.clone(), 403, Some("error=insufficient_scope scope=orders:read orders:all")),
        ("role", "/roled", good.clone(), 403, Some("error=insufficient_scope")),
        ("claim", "/claimed", good.clone(), 403, Some("error=insufficient_scope")),
        ("audience", "/audienced", good.clone(), 403, Some("error=insufficient_scope")),
        ("token kind", "/kinded", good.clone(), 403, Some("error=insufficient_scope")),
        (
            "step-up",
            "/stepped",
            good.clone(),
            401,
            Some("acr_values=gold silver error=insufficient_user_authentication max_age=300"),
        ),
        ("no route", "/nothing", good.clone(), 404, None),
        ("path", "/a%2fb", good.clone(), 400, None),
    ] {
        for method in ["GET", "HEAD"] {
            let response = scene.gateway.call(method, target, &fields);
            assert_eq!(response.status, status, "{case}");
            if method == "HEAD" {
                assert!(response.body.is_empty() && response.challenge().is_some() == expected.is_some(), "{case}");
                continue;
            }
            assert_eq!(parameters(&response).as_deref(), expected, "{case}");
            assert_eq!(response.fields.get("content-type"), Some("application/problem+json"), "{case}");
            assert_eq!(response.json()["status"], json!(status), "{case}");
            assert!(response.json()["request_id"].is_string() && response.json()["title"].is_string(), "{case}");
            assert_eq!(response.fields.get("cache-control"), Some("no-store"), "{case}");
        }
    }
    let response = scene.gateway.call("DELETE", "/closed", &good);
    assert_eq!((response.status, parameters(&response)), (405, None));
    assert_eq!(response.fields.get("allow"), Some("GET, HEAD, POST"));
}

#[test]
fn keys_that_cannot_be_had_are_nobodys_fault() {
    let upstream = Upstream::start();
    let (lost, token) = Issuer::gone(&Key::es256("k1"));
    let issuers = format!("  lost: {{issuer: \"http://{}\", audiences: [api]}}\n", lost.address);
    let routes = "  - {name: closed, path: /closed, upstream: echo, allow: authenticated}\n";
    let gateway = Gateway::start_unready(&configuration_of(&issuers, &upstream.url(), routes));
    let response = gateway.get_with("/closed", &token.build());
    assert_eq!((response.status, response.challenge()), (503, None));
    assert!(response.fields.get("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    let detail = response.json()["detail"].as_str().unwrap().to_owned();
    assert!(!detail.contains("127.0.0.1") && !detail.contains(&lost.address.port().to_string()), "{detail}");
}
