//! Tokens in the query, in a cookie, in a header of their own: taken from there, and seen by nobody behind.

use crate::support::{
    gateway::{Gateway, configuration},
    http::Request,
    issuer::Issuer,
    keys::Key,
    raw::Response,
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: any, path: "/any/**", upstream: echo, allow: authenticated, token_from: [header, {query: access_token}, {cookie: session}, {header: X-Api-Token}]}
  - {name: query, path: /query, upstream: echo, allow: authenticated, token_from: {query: access_token}}
  - {name: optional, path: /optional, upstream: echo, allow: optional, token_from: [{header: X-Api-Token}, {query: t}]}
  - {name: hidden, path: /hidden, upstream: echo, allow: authenticated, token_from: {cookie: session}, identity: {authorization: remove}}
  - {name: dry, path: /dry, upstream: echo, allow: authenticated, enforce: false, token_from: {query: access_token}}
  - {name: ruled, path: /ruled, upstream: echo, token_from: {query: access_token}, allow: [{claims: {sub: "{query.user}"}}]}
  - {name: own, path: /own, respond: {body: hello}, allow: authenticated, token_from: {query: access_token}}
  - {name: plain, path: /plain, upstream: echo, allow: authenticated}
"#;

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl Scene {
    fn new() -> Scene {
        let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
        Scene { issuer, upstream, gateway }
    }

    /// The answer and what the upstream got.
    #[track_caller]
    fn passes(&self, method: &str, target: &str, fields: &str) -> (Response, Request) {
        let response = self.gateway.call(method, target, fields);
        assert_eq!(response.status, 200, "{target} {fields}: {}", response.text());
        (response, self.upstream.last_request())
    }

    #[track_caller]
    fn refuses(&self, method: &str, target: &str, fields: &str, status: u16, error: Option<&str>) {
        let before = self.upstream.requests().len();
        let response = self.gateway.call(method, target, fields);
        let challenge = response.challenge().expect("a challenge");
        assert_eq!((response.status, challenge.error()), (status, error), "{target} {fields}");
        assert_eq!(self.upstream.requests().len(), before);
    }
}

#[test]
fn the_upstream_gets_the_token_as_a_bearer_and_nowhere_else() {
    let scene = Scene::new();
    let token = scene.issuer.token().build();
    let bearer = format!("Bearer {token}");
    for (target, fields, sent) in [
        (format!("/any/x?a=%2f&access_token={token}&&b"), String::new(), "/any/x?a=%2f&&b"),
        (format!("/any/x?access_token={token}"), String::new(), "/any/x"),
        (format!("/any/y?%61ccess_token={}", token.replace('.', "%2E")), String::new(), "/any/y"),
        ("/any/x?a".to_owned(), format!("Cookie: a=b; session={token}; c=d\r\n"), "/any/x?a"),
        ("/any/x".to_owned(), format!("X-Api-Token: {token}\r\nCookie: a=b; c=d\r\n"), "/any/x"),
        ("/any/x".to_owned(), format!("Authorization: bearer {token}\r\nX_Api-Token-: \r\n"), "/any/x"),
    ] {
        let (response, request) = scene.passes("GET", &target, &fields);
        assert_eq!(request.target, sent);
        assert_eq!(request.fields.get("authorization"), Some(&*bearer));
        assert_eq!(request.fields.get("x-auth-subject"), Some("u1"));
        assert_eq!(request.fields.get("x-api-token"), None);
        let head = String::from_utf8_lossy(&request.head).into_owned();
        assert_eq!(head.matches(&token).count(), 1, "{head}");
        assert!(!head.to_lowercase().contains("api-token"), "{head}");
        if fields.contains("a=b") {
            assert_eq!(request.fields.get("cookie"), Some("a=b; c=d"));
        }
        let is_private = response.fields.get("cache-control") == Some("private");
        assert_eq!(is_private, !fields.starts_with("Authorization"), "{target} {fields}");
    }
}

#[test]
fn there_is_exactly_one_token_or_a_reason() {
    let scene = Scene::new();
    let token = scene.issuer.token().build();
    let (header, cookie) = (format!("Authorization: Bearer {token}\r\n"), format!("Cookie: session={token}\r\n"));
    let own = format!("X-Api-Token: {token}\r\n");
    let query = format!("/any/x?access_token={token}");
    let invalid = Some("invalid_request");
    for (target, fields) in [
        (query.clone(), header.clone()),
        (query.clone(), cookie.clone()),
        (query.clone(), own.clone()),
        ("/any/x".to_owned(), format!("{header}{cookie}")),
        ("/any/x".to_owned(), format!("{own}{cookie}")),
        ("/any/x".to_owned(), format!("{own}{own}")),
        ("/any/x".to_owned(), format!("{own}x_api_token: {token}\r\n")),
        ("/any/x".to_owned(), format!("{cookie}{cookie}")),
        (format!("{query}&access_token={token}"), String::new()),
        (format!("{query}&Access_Token={token}"), String::new()),
        (format!("{query}%20"), String::new()),
        ("/any/x?access_token=".to_owned(), String::new()),
        ("/any/x".to_owned(), "Cookie: session=\r\n".to_owned()),
        ("/any/x".to_owned(), format!("X-Api-Token: Bearer {token}\r\n")),
    ] {
        scene.refuses("GET", &target, &fields, 400, invalid);
    }
    scene.refuses("GET", "/any/x", "", 401, None);
    scene.refuses("GET", "/any/x", "Authorization: Basic dTpw\r\n", 401, None);
    let forged = scene.issuer.token().signed_by(&Key::es256("k1")).build();
    scene.refuses("GET", &format!("/any/x?access_token={forged}"), "", 401, Some("invalid_token"));
    // A place that isn't one of the route's is none.
    scene.refuses("GET", &format!("/plain?access_token={token}"), "", 401, None);
    scene.refuses("GET", "/query", &header, 401, None);
    let (_, request) = scene.passes("GET", &format!("/plain?access_token={token}"), &header);
    assert!(request.target.contains(&token), "what isn't a token here passes as it came");
}

#[test]
fn a_cookie_needs_a_request_of_its_own_site() {
    let scene = Scene::new();
    let cookie = format!("Cookie: session={}\r\n", scene.issuer.token().build());
    for method in ["GET", "HEAD", "OPTIONS"] {
        scene.passes(method, "/hidden", &format!("{cookie}Sec-Fetch-Site: cross-site\r\n"));
    }
    let host = scene.gateway.address;
    for fields in [
        "Sec-Fetch-Site: same-origin\r\n".to_owned(),
        "Sec-Fetch-Site: same-site\r\n".to_owned(),
        "Sec-Fetch-Site: none\r\n".to_owned(),
    ] {
        let (_, request) = scene.passes("POST", "/hidden", &format!("{cookie}{fields}"));
        assert_eq!((request.fields.get("authorization"), request.fields.get("cookie")), (None, None));
        assert_eq!(request.fields.get("x-auth-subject"), Some("u1"));
    }
    for fields in ["", "Sec-Fetch-Site: cross-site\r\n", "Origin: https://evil.example\r\n", "Origin: null\r\n"] {
        scene.refuses("POST", "/hidden", &format!("{cookie}{fields}"), 401, None);
        scene.refuses("DELETE", "/hidden", &format!("{cookie}{fields}"), 401, None);
    }
    let mut client = scene.gateway.client();
    client.send(format!(
        "POST /hidden HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{cookie}Content-Length: 0\r\n\r\n"
    ));
    assert_eq!(client.receive().status, 200);
}

#[test]
fn nothing_that_was_not_verified_goes_on() {
    let scene = Scene::new();
    let token = scene.issuer.token().build();
    // Nobody: what isn't a credential on this route, and what an upstream might take for one, is gone.
    for (target, fields) in [
        ("/optional?a=1".to_owned(), format!("Authorization: Bearer {token}\r\n")),
        ("/optional?a=1".to_owned(), "Authorization: Basic dTpw\r\n".to_owned()),
        ("/optional?a=1".to_owned(), format!("x_api_token: {token}\r\n")),
        (format!("/optional?a=1&T={token}"), String::new()),
        (format!("/optional?t[]={token}&a=1"), String::new()),
    ] {
        let (_, request) = scene.passes("GET", &target, &fields);
        assert_eq!(request.target, "/optional?a=1");
        assert!(!String::from_utf8_lossy(&request.head).contains(&token), "{target} {fields}");
        assert_eq!((request.fields.get("authorization"), request.fields.get("x-auth-subject")), (None, None));
    }
    let forged = scene.issuer.token().signed_by(&Key::es256("k1")).build();
    let (_, request) = scene.passes("GET", &format!("/dry?access_token={forged}&b"), "Authorization: Bearer x\r\n");
    assert_eq!((request.target.as_str(), request.fields.get("authorization")), ("/dry?b", None));
}

#[test]
fn rules_read_the_rest_of_the_query_and_answers_are_private() {
    let scene = Scene::new();
    let token = scene.issuer.token().build();
    scene.passes("GET", &format!("/ruled?access_token={token}&user=u1"), "");
    scene.refuses("GET", &format!("/ruled?access_token={token}&user=u2"), "", 403, Some("insufficient_scope"));
    let response = scene.gateway.get(&format!("/own?access_token={token}"));
    assert_eq!((response.status, response.fields.get("cache-control")), (200, Some("private")));
    scene.upstream.answer_with(200, "Cache-Control: public, max-age=60\r\n", b"");
    let (response, _) = scene.passes("GET", &format!("/query?access_token={token}"), "");
    assert_eq!(response.fields.all("cache-control").collect::<Vec<_>>(), ["max-age=60, private"]);
}
