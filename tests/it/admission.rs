//! Who is let in, who isn't, and what each is told.

use serde_json::json;

use crate::support::{
    gateway::{Gateway, configuration, configuration_of},
    issuer::Issuer,
    keys::Key,
    raw::Response,
    token::{Token, encode, forged, now},
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - name: things
    path: "/things/{id}"
    upstream: echo
    allow:
      - methods: [GET]
        scopes: ["things:read"]
      - methods: [POST]
        scopes: ["things:write"]
        any_role: [editor, owner]
      - methods: [PUT]
        any_scope: ["things:write", "things:admin"]
        roles: [editor, owner]
  - {name: any, path: "/any/**", upstream: echo, allow: authenticated}
  - {name: open, path: "/open/**", upstream: echo, allow: public}
  - {name: closed, path: /open/closed, upstream: echo, allow: authenticated}
  - {name: hosted, path: "/hosted/**", hosts: [api.example.com, "*.example.org"], upstream: echo, allow: public}
"#;

/// An issuer, an upstream and the gateway between them.
struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl Scene {
    fn new(key: &Key) -> Scene {
        let (issuer, upstream) = (Issuer::start(key), Upstream::start());
        let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
        Scene { issuer, upstream, gateway }
    }

    /// The token opens `/any/x`.
    #[track_caller]
    fn accepts(&self, case: &str, token: &str) {
        let response = self.gateway.get_with("/any/x", token);
        assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{case}");
    }

    /// The token is `invalid_token`, for a reason in which these words are, and nothing reaches the upstream.
    #[track_caller]
    fn refuses(&self, case: &str, words: &str, token: &str) {
        self.upstream.forget();
        let response = self.gateway.get_with("/any/x", token);
        refused(case, &response, 401, Some("invalid_token"));
        let challenge = response.challenge().unwrap();
        let description = challenge.get("error_description").unwrap_or_default();
        assert!(description.contains(words), "{case}: {description:?}");
        assert_eq!(self.upstream.bytes(), 0, "{case}");
    }
}

/// A refusal with all that belongs to it.
#[track_caller]
fn refused(case: &str, response: &Response, status: u16, error: Option<&str>) {
    assert_eq!(response.status, status, "{case}: {}", response.text());
    let challenge = response.challenge().unwrap_or_else(|| panic!("{case}: no challenge"));
    assert_eq!((challenge.scheme.as_str(), challenge.get("realm")), ("Bearer", Some("bearward")), "{case}");
    assert_eq!(challenge.error(), error, "{case}");
    if status != 400 {
        assert_eq!(response.fields.get("cache-control"), Some("no-store"), "{case}");
    }
    problem(case, response);
}

/// RFC 9457.
#[track_caller]
fn problem(case: &str, response: &Response) {
    assert_eq!(response.fields.get("content-type"), Some("application/problem+json"), "{case}");
    let problem = response.json();
    assert_eq!(problem["status"], json!(response.status), "{case}");
    for member in ["type", "title", "detail", "request_id"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{case}: {member} in {problem}");
    }
}

#[test]
fn tokens_of_every_algorithm_open_their_route() {
    for key in [Key::rs256("k1"), Key::es256("k1"), Key::eddsa("k1")] {
        let scene = Scene::new(&key);
        scene.accepts(key.alg(), &scene.issuer.token().build());
        let mut forged = scene.issuer.token().build().into_bytes();
        let dots: Vec<usize> = (0..forged.len()).filter(|at| forged[*at] == b'.').collect();
        for at in [dots[0] + 10, dots[1] + 10] {
            let was = forged[at];
            forged[at] = if was == b'A' { b'B' } else { b'A' };
            let response = scene.gateway.get_with("/any/x", std::str::from_utf8(&forged).unwrap());
            refused(key.alg(), &response, 401, Some("invalid_token"));
            forged[at] = was;
        }
    }
}

#[test]
fn keys_come_from_discovery_a_uri_a_file_or_the_configuration() {
    let key = Key::es256("k1");
    let (issuer, upstream) = (Issuer::start(&key), Upstream::start());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    std::fs::write(&file, issuer.jwks()).unwrap();
    let (uri, file, jwks) = (issuer.jwks_uri(), file.display(), issuer.jwks());
    for source in [
        "{}".to_owned(),
        "{discovery: true}".to_owned(),
        format!("{{jwks_uri: \"{uri}\"}}"),
        format!("{{jwks_file: \"{file}\"}}"),
        format!("{{jwks: {jwks}}}"),
    ] {
        let issuers = format!("  main:\n    issuer: \"{}\"\n    audiences: [api]\n    jwt: {source}\n", issuer.url());
        let gateway = Gateway::start(&configuration_of(&issuers, &upstream.url(), ROUTES));
        assert_eq!(gateway.get_with("/any/x", &issuer.token().build()).status, 200, "{source}");
        let forged = issuer.token().signed_by(&Key::es256("k1")).build();
        assert_eq!(gateway.get_with("/any/x", &forged).status, 401, "{source}");
    }
}

#[test]
fn a_token_is_refused_for_what_is_wrong_with_it() {
    let key = Key::es256("k1");
    let scene = Scene::new(&key);
    let token = || scene.issuer.token();

    scene.accepts("as it should be", &token().build());
    scene.accepts("one of several audiences", &token().claim("aud", json!(["other", "api"])).build());
    scene.accepts("over within the skew", &token().exp_in(-5).build());
    scene.accepts("soon valid within the skew", &token().claim("nbf", json!(now() + 5)).build());
    scene.accepts("typ JWT", &token().header("typ", json!("JWT")).build());
    scene.accepts("typ with its media type", &token().header("typ", json!("application/AT+JWT")).build());
    scene.accepts("no typ", &token().without_header("typ").build());
    scene.accepts("no kid", &token().without_header("kid").build());
    scene.accepts("50,000 characters", &token().claim("padding", json!("x".repeat(37_000))).build());

    scene.refuses("over", "expired", &token().exp_in(-600).build());
    scene.refuses("no exp", "lacks a claim", &token().without("exp").build());
    scene.refuses("exp as a string", "", &token().claim("exp", json!((now() + 300).to_string())).build());
    scene.refuses("not yet valid", "not valid yet", &token().claim("nbf", json!(now() + 600)).build());
    scene.refuses("issued in the future", "future", &token().claim("iat", json!(now() + 600)).build());
    scene.refuses("another audience", "audience", &token().aud("elsewhere").build());
    scene.refuses("an audience of which ours is a part", "audience", &token().aud("api2").build());
    scene.refuses("no audience", "audience", &token().without("aud").build());
    scene.refuses("an audience that is an object", "", &token().claim("aud", json!({"api": true})).build());
    scene.refuses("another issuer", "issuer", &token().claim("iss", json!("https://elsewhere.example")).build());
    scene.refuses(
        "issuer with a slash",
        "issuer",
        &token().claim("iss", json!(format!("{}/", scene.issuer.url()))).build(),
    );
    scene.refuses("no issuer", "", &token().without("iss").build());
    scene.refuses("another typ", "type", &token().header("typ", json!("dpop+jwt")).build());
    scene.refuses("crit", "critical", &token().header("crit", json!(["x"])).header("x", json!(1)).build());
    scene.refuses("bound to a key", "bound", &token().claim("cnf", json!({"jkt": "x"})).build());
    scene.refuses("bound to a certificate", "bound", &token().claim("cnf", json!({"x5t#S256": "x"})).build());
    scene.refuses("an unknown kid", "key", &token().kid("k2").build());
    scene.refuses("a kid with a path", "key", &token().kid("../../etc/passwd").build());
    scene.refuses("another key", "signature", &token().signed_by(&Key::es256("k1")).build());
    scene.refuses("another algorithm's key", "", &token().signed_by(&Key::eddsa("k1")).build());
}

#[test]
fn a_token_has_one_text() {
    let key = Key::es256("k1");
    let scene = Scene::new(&key);
    let good = scene.issuer.token().build();
    let claims = format!(r#"{{"iss":"{}","sub":"u1","aud":"api","exp":{}}}"#, scene.issuer.url(), now() + 300);
    let header = r#"{"alg":"ES256","kid":"k1"}"#;
    scene.accepts("the texts as they should be", &forged(header, &claims, &key));

    let duplicate = claims.replacen('{', r#"{"sub":"admin","#, 1);
    for (case, token) in [
        ("padding", format!("{good}=")),
        ("more padding", format!("{good}==")),
        ("a duplicate claim", forged(header, &duplicate, &key)),
        ("a duplicate header member", forged(r#"{"alg":"ES256","alg":"none","kid":"k1"}"#, &claims, &key)),
        ("claims that are an array", forged(header, "[]", &key)),
        ("a header that is a string", forged(r#""ES256""#, &claims, &key)),
        ("claims cut short", forged(header, &claims[..claims.len() - 1], &key)),
        ("something after the claims", forged(header, &format!("{claims}{claims}"), &key)),
        ("two parts", good.rsplit_once('.').unwrap().0.to_owned()),
        ("four parts", format!("{good}.x")),
        ("five parts", format!("{good}.x.x")),
        ("no signature", format!("{}.", good.rsplit_once('.').unwrap().0)),
        ("a dot before", format!(".{good}")),
        ("not a JWT", "sesame".to_owned()),
    ] {
        scene.refuses(case, "", &token);
    }
}

#[test]
fn algorithms_are_the_issuers_choice_never_the_tokens() {
    let key = Key::rs256("k1");
    let scene = Scene::new(&key);
    let token = || scene.issuer.token();
    for none in ["none", "None", "NONE", "nOnE", "", " none", "none\u{0}"] {
        scene.refuses(&format!("{none:?} without a signature"), "", &token().alg(none).with_signature(b""));
        scene.refuses(&format!("{none:?} with a signature"), "", &token().alg(none).build());
    }
    let public = key.public_bytes();
    let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", encode(&public));
    let jwk = key.jwk();
    for (case, secret) in [
        ("the key's DER", public.clone()),
        ("the key's PEM", pem.into_bytes()),
        ("the JWK", jwk.to_string().into_bytes()),
        ("the modulus", jwk["n"].as_str().unwrap().as_bytes().to_vec()),
        ("nothing", Vec::new()),
    ] {
        scene.refuses(case, "", &token().alg("HS256").with_hmac(&secret));
        scene.refuses(case, "", &token().with_hmac(&secret));
    }
    for other in ["RS512", "PS256", "ES256", "EdDSA", "rs256", "RS256 "] {
        scene.refuses(other, "", &token().alg(other).build());
    }
    let own = Key::es256("mine");
    let embedded = token().signed_by(&own).alg("ES256").kid("mine").header("jwk", own.jwk()).build();
    scene.refuses("its own key in its header", "", &embedded);
    let stranger = Issuer::start(&own);
    let pointed = token().signed_by(&own).alg("ES256").kid("mine").header("jku", json!(stranger.jwks_uri())).build();
    scene.refuses("its own key set by URL", "", &pointed);
    assert_eq!(stranger.fetches(), 0);
}

#[test]
fn one_issuers_key_is_no_good_for_anothers_tokens() {
    let (key_a, key_b) = (Key::es256("same"), Key::es256("same"));
    let (a, b, upstream) = (Issuer::start(&key_a), Issuer::start(&key_b), Upstream::start());
    let issuers = format!(
        "  a: {{issuer: \"{}\", audiences: [api]}}\n  b: {{issuer: \"{}\", audiences: [api]}}\n",
        a.url(),
        b.url()
    );
    let routes = "
  - {name: both, path: /both, upstream: echo, allow: authenticated}
  - {name: only-a, path: /a, issuers: [a], upstream: echo, allow: authenticated}
";
    let gateway = Gateway::start(&configuration_of(&issuers, &upstream.url(), routes));
    for (name, issuer) in [("a", &a), ("b", &b)] {
        assert_eq!(gateway.get_with("/both", &issuer.token().build()).status, 200, "{name}");
        assert_eq!(upstream.last_request().fields.get("x-auth-issuer"), Some(name));
    }
    assert_eq!(gateway.get_with("/a", &a.token().build()).status, 200);
    upstream.forget();
    for (case, path, token) in [
        ("a's token by b's key", "/both", Token::new(a.url(), &key_b)),
        ("b's token by a's key", "/both", Token::new(b.url(), &key_a)),
        ("a token of an issuer that the route doesn't take", "/a", b.token()),
        ("a's name on b's token", "/a", b.token().claim("iss", json!(a.url()))),
    ] {
        refused(case, &gateway.get_with(path, &token.build()), 401, Some("invalid_token"));
    }
    assert_eq!(upstream.bytes(), 0);
}

#[test]
fn there_is_exactly_one_credential_or_a_reason() {
    let scene = Scene::new(&Key::es256("k1"));
    let token = scene.issuer.token().build();
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let response = scene.gateway.call("GET", "/any/x", &format!("Authorization: {scheme} {token}\r\n"));
        assert_eq!(response.status, 200, "{scheme}");
        let sent = scene.upstream.last_request();
        assert_eq!(sent.fields.all("authorization").collect::<Vec<_>>(), [format!("Bearer {token}")]);
    }
    scene.upstream.forget();
    for (fields, status, error) in [
        (String::new(), 401, None),
        ("Authorization: Basic dTpw\r\n".to_owned(), 401, None),
        ("Authorization: Basic\r\n".to_owned(), 401, None),
        (format!("Authorization: Bearers {token}\r\n"), 401, None),
        (format!("Proxy-Authorization: Bearer {token}\r\n"), 401, None),
        (format!("Cookie: access_token={token}\r\n"), 401, None),
        ("Authorization: Bearer\r\n".to_owned(), 400, Some("invalid_request")),
        ("Authorization: Bearer   \r\n".to_owned(), 400, Some("invalid_request")),
        (format!("Authorization: Bearer {token} {token}\r\n"), 400, Some("invalid_request")),
        (format!("Authorization: Bearer {token}, Bearer {token}\r\n"), 400, Some("invalid_request")),
        (format!("Authorization: Bearer \"{token}\"\r\n"), 400, Some("invalid_request")),
        (format!("Authorization: Bearer {token};\r\n"), 400, Some("invalid_request")),
        (format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"), 400, Some("invalid_request")),
        (format!("Authorization: Basic dTpw\r\nAuthorization: Bearer {token}\r\n"), 400, Some("invalid_request")),
        (format!("Authorization: Bearer {token}\r\nauthorization:\r\n"), 400, Some("invalid_request")),
    ] {
        refused(&fields, &scene.gateway.call("GET", "/any/x", &fields), status, error);
    }
    refused("in the query", &scene.gateway.get(&format!("/any/x?access_token={token}")), 401, None);
    assert_eq!(scene.upstream.bytes(), 0);
}

#[test]
fn rules_say_what_is_missing() {
    let scene = Scene::new(&Key::es256("k1"));
    let call = |method: &str, token: &Token| {
        scene.gateway.call(method, "/things/7", &format!("Authorization: Bearer {}\r\n", token.build()))
    };
    let token = || scene.issuer.token();
    for (method, good) in [
        ("GET", token().scope("things:read")),
        ("HEAD", token().scope("a things:read b")),
        ("GET", token().claim("scp", json!(["things:read"]))),
        ("POST", token().scope("things:write").roles(&["owner"])),
        ("PUT", token().scope("things:admin").roles(&["editor", "owner"])),
    ] {
        assert_eq!(call(method, &good).status, 200, "{method}");
    }
    scene.upstream.forget();
    for (method, bad, scope) in [
        ("GET", token(), Some("things:read")),
        ("GET", token().scope("things:write"), Some("things:read")),
        ("GET", token().scope("things:read2 Things:read things"), Some("things:read")),
        ("POST", token().roles(&["editor"]), Some("things:write")),
        ("POST", token().scope("things:write").roles(&["reader"]), None),
        ("POST", token().scope("things:write").claim("roles", json!("owners")), None),
        ("PUT", token().scope("things:write").roles(&["editor"]), None),
    ] {
        let response = call(method, &bad);
        refused(method, &response, 403, Some("insufficient_scope"));
        assert_eq!(response.challenge().unwrap().get("scope"), scope, "{method}");
    }
    assert_eq!(scene.upstream.bytes(), 0);
}

#[test]
fn nothing_but_what_a_route_says_is_served() {
    let scene = Scene::new(&Key::es256("k1"));
    let not_found = scene.gateway.get("/elsewhere");
    assert_eq!((not_found.status, not_found.challenge()), (404, None));
    problem("404", &not_found);

    let other_method = scene.gateway.call("DELETE", "/things/7", "");
    assert_eq!((other_method.status, other_method.challenge()), (405, None));
    let mut allow: Vec<_> = other_method.fields.get("allow").unwrap().split(", ").collect();
    allow.sort_unstable();
    assert_eq!(allow, ["GET", "HEAD", "POST", "PUT"]);
    problem("405", &other_method);

    for (method, target) in [("CONNECT", "example.com:443"), ("TRACE", "/open/x"), ("TRACE", "/elsewhere")] {
        let mut client = scene.gateway.client();
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: example.com:443\r\n\r\n"));
        assert_eq!(client.receive().status, 405, "{method} {target}");
    }
    assert_eq!(scene.gateway.get("/things").status, 404);
    assert_eq!(scene.gateway.get("/things/7/parts").status, 404);
    refused("the most specific route wins", &scene.gateway.get("/open/closed"), 401, None);

    let head = scene.gateway.call("HEAD", "/any/x", "");
    assert_eq!((head.status, head.body.len()), (401, 0));
    assert!(head.challenge().is_some());
    assert_eq!(scene.upstream.bytes(), 0);
}

#[test]
fn a_public_route_does_not_look_at_the_credential() {
    let scene = Scene::new(&Key::es256("k1"));
    assert_eq!(scene.gateway.get("/open/x").status, 200);
    for credential in ["Bearer rubbish", "Basic dTpw"] {
        let response = scene.gateway.call("GET", "/open/x", &format!("Authorization: {credential}\r\n"));
        assert_eq!(response.status, 200, "{credential}");
        let sent = scene.upstream.last_request();
        assert_eq!(sent.fields.get("authorization"), Some(credential));
        assert_eq!(sent.fields.0.iter().find(|(name, _)| name.to_lowercase().starts_with("x-auth-")), None);
    }
}

#[test]
fn hosts_are_part_of_a_route() {
    let scene = Scene::new(&Key::es256("k1"));
    for (host, status) in [
        ("api.example.com", 200),
        ("API.example.com:8080", 200),
        ("api.example.com.", 200),
        ("a.example.org", 200),
        ("example.org", 404),
        ("api.example.com.evil.example", 404),
        ("evilexample.org", 404),
    ] {
        let mut client = scene.gateway.client();
        client.send(format!("GET /hosted/x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.receive().status, status, "{host}");
    }
}
