//! What rules can ask of a token and of the request, besides scopes and roles.

use serde_json::json;

use crate::support::{
    gateway::{Gateway, configuration_of},
    issuer::Issuer,
    keys::Key,
    raw::Response,
    token::{Token, now},
    upstream::Upstream,
};

/// Two issuers, an upstream and the gateway between them.
struct Scene {
    main: Issuer,
    other: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl Scene {
    fn new(routes: &str) -> Scene {
        let [main, other] = ["k1", "k2"].map(|kid| Issuer::start(&Key::es256(kid)));
        let upstream = Upstream::start();
        let issuers = format!(
            "  main: {{issuer: \"{}\", audiences: [api]}}\n  other: {{issuer: \"{}\", audiences: [api]}}\n",
            main.url(),
            other.url()
        );
        let gateway = Gateway::start(&configuration_of(&issuers, &upstream.url(), routes));
        Scene { main, other, upstream, gateway }
    }

    fn token(&self) -> Token {
        self.main.token()
    }

    /// 401 with an RFC 9470 challenge, counted under this reason, and nothing at the upstream.
    #[track_caller]
    fn steps_up(&self, reason: &str, token: &Token, acr_values: Option<&str>, max_age: Option<&str>) {
        let series = format!(
            "bearward_decisions_total{{issuer=\"main\",outcome=\"deny\",reason=\"{reason}\",route=\"step-up\"}}"
        );
        let before = self.gateway.metric(&series);
        let response = self.ask("/step-up", token, "");
        assert_eq!(response.status, 401, "{}", response.text());
        let challenge = response.challenge().unwrap();
        assert_eq!(challenge.error(), Some("insufficient_user_authentication"));
        assert_eq!((challenge.get("acr_values"), challenge.get("max_age")), (acr_values, max_age));
        assert_eq!(challenge.get("scope"), None);
        assert_eq!(response.fields.get("cache-control"), Some("no-store"));
        assert_eq!(self.upstream.bytes(), 0);
        assert_eq!(self.gateway.metric(&series), before + 1.0, "{series}");
    }

    #[track_caller]
    fn lets_in(&self, target: &str, token: &Token, fields: &str) {
        let response = self.ask(target, token, fields);
        assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{target} {fields:?}");
    }

    /// 403 without a scope to ask for, counted under this reason, and nothing at the upstream.
    #[track_caller]
    fn forbids(&self, route: &str, reason: &str, target: &str, token: &Token, fields: &str) {
        let series = format!(
            "bearward_decisions_total{{issuer=\"{}\",outcome=\"deny\",reason=\"{reason}\",route=\"{route}\"}}",
            if reason == "issuer" { "other" } else { "main" }
        );
        let before = self.gateway.metric(&series);
        self.upstream.forget();
        let response = self.ask(target, token, fields);
        assert_eq!(response.status, 403, "{target} {fields:?}: {}", response.text());
        let challenge = response.challenge().unwrap();
        assert_eq!((challenge.error(), challenge.get("scope")), (Some("insufficient_scope"), None), "{target}");
        assert_eq!(response.fields.get("cache-control"), Some("no-store"));
        assert_eq!(self.upstream.bytes(), 0, "{target} {fields:?}");
        assert_eq!(self.gateway.metric(&series), before + 1.0, "{series}");
    }

    fn ask(&self, target: &str, token: &Token, fields: &str) -> Response {
        self.gateway.call("GET", target, &format!("Authorization: Bearer {}\r\n{fields}", token.build()))
    }
}

const ROUTES: &str = r#"
  - name: tenants
    paths: ["/tenants/{tenant}/**", "/t/{tenant}"]
    upstream: echo
    allow: [{claims: {tenant: "{path.tenant}"}}]
  - {name: query, path: /query, upstream: echo, allow: [{claims: {tenant: "t-{query.tenant}"}}]}
  - {name: header, path: /header, upstream: echo, allow: [{claims: {tenant: "{header.X-Tenant}"}}]}
  - {name: named, path: /named, upstream: echo, allow: [{claims: {sub: "{header.X-Auth-Subject}"}}]}
  - {name: host, path: /host, upstream: echo, allow: [{claims: {site: "{host}"}}]}
  - {name: issuer, path: /issuer, upstream: echo, allow: [{issuers: [main]}]}
  - {name: audience, path: /audience, upstream: echo, allow: [{audiences: [orders, carts]}]}
  - {name: people, path: /people, upstream: echo, allow: [{token_kind: user}]}
  - {name: machines, path: /machines, upstream: echo, allow: [{token_kind: client}]}
  - name: when
    path: /when/{tenant}
    upstream: echo
    allow:
      - when: >
          claims.plan in ["pro", "team"] && request.method != "DELETE" && path.tenant == claims.tenant
          && (!has(query.debug) || "admin" in token.roles) && request.scheme == "http"
          && !("x-auth-subject" in headers)
  - {name: forwarded, path: /forwarded, upstream: echo, allow: [{when: 'headers["x-tenant"] == claims.tenant'}]}
  - name: forms
    path: /forms
    upstream: echo
    allow:
      - claims: {plan: [pro, team], level: 3, beta: true, email: {matches: "@example\\.com$"}, banned: {present: false}}
"#;

#[test]
fn a_tenant_in_the_path_is_the_tokens_own() {
    let scene = Scene::new(ROUTES);
    let acme = scene.token().claim("tenant", json!("acme"));
    let several = scene.token().claim("tenant", json!(["x", "acme"]));
    for target in ["/tenants/acme", "/tenants/acme/", "/tenants/%61cme/x", "/t/acme", "/x/../t/acme"] {
        scene.lets_in(target, &acme, "");
        scene.lets_in(target, &several, "");
    }
    scene.lets_in("/t/a%20b", &scene.token().claim("tenant", json!("a b")), "");
    scene.lets_in("/t/7", &scene.token().claim("tenant", json!(7)), "");
    scene.lets_in("/t/a;b", &scene.token().claim("tenant", json!(["a;b", "a"])), "");
    for target in ["/tenants/other", "/t/other", "/t/ACME", "/t/acme%20", "/tenants/other/acme"] {
        scene.forbids("tenants", "claim", target, &acme, "");
    }
    scene.forbids("tenants", "claim", "/t/acme", &scene.token(), "");
    scene.forbids("tenants", "claim", "/t/a%2520b", &scene.token().claim("tenant", json!("a b")), "");
}

/// Where a server behind may read another tenant in the path, that tenant must be the token's too.
#[test]
fn a_tenant_is_the_tokens_own_in_every_reading() {
    let scene = Scene::new(ROUTES);
    for (target, tenant) in [("/t/a;b", "a;b"), ("/t/%2541", "%41"), ("/tenants/a;x/b", "a;x")] {
        let response = scene.ask(target, &scene.token().claim("tenant", json!(tenant)), "");
        assert_eq!(response.status, 400, "{target}");
    }
    assert_eq!(scene.upstream.bytes(), 0);
}

#[test]
fn a_value_that_is_absent_or_doubled_equals_nothing() {
    let scene = Scene::new(ROUTES);
    let acme = scene.token().claim("tenant", json!("t-acme"));
    scene.lets_in("/query?tenant=acme", &acme, "");
    scene.lets_in("/query?x=1&tenant=%61cme&y=tenant", &acme, "");
    for query in [
        "",
        "?",
        "?tenant",
        "?tenant=other",
        "?tenant=acme&tenant=other",
        "?tenant=acme&tenant=acme",
        "?tenant=acme&Tenant=other",
        "?tenant=acme&tenant[]=other",
        "?tenant=acme&tenant%5B0%5D=other",
        "?tenant=acme&TENANT[x]=other",
        "?tenant=acme;tenant=other",
        "?TENANT=acme",
        "?tenant[]=acme",
    ] {
        scene.forbids("query", "claim", &format!("/query{query}"), &acme, "");
    }

    let acme = scene.token().claim("tenant", json!("acme"));
    scene.lets_in("/header", &acme, "X-Tenant: acme\r\n");
    for fields in [
        "",
        "X-Tenant: other\r\n",
        "X-Tenant: acme\r\nX-Tenant: acme\r\n",
        "X-Tenant: acme\r\nx_tenant: other\r\n",
        "X_Tenant: acme\r\n",
        "X-Tenant: acme\r\nConnection: x-tenant\r\n",
    ] {
        scene.forbids("header", "claim", "/header", &acme, fields);
    }
    // What no client may send isn't there for rules either.
    scene.forbids("named", "claim", "/named", &scene.token(), "X-Auth-Subject: u1\r\n");
}

#[test]
fn the_host_is_the_requests() {
    let scene = Scene::new(ROUTES);
    let token = scene.token().claim("site", json!("api.example"));
    let ask = |host: &str| {
        let mut client = scene.gateway.client();
        let credential = token.build();
        client.send(format!("GET /host HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {credential}\r\n\r\n"));
        client.receive().status
    };
    assert_eq!(["api.example", "API.example.:8080", "api.example.org"].map(ask), [200, 200, 403]);
}

#[test]
fn a_stronger_or_fresher_authentication_is_asked_for() {
    let scene = Scene::new(
        r#"
  - name: step-up
    path: /step-up
    upstream: echo
    allow: [{roles: [staff], acr: ["urn:mace:silver", gold], max_age: 5m}, {scopes: [a, b], max_age: 1h}]
"#,
    );
    let staff = scene.token().roles(&["staff"]).claim("acr", json!("gold")).claim("auth_time", json!(now() - 10));
    let wanted = (Some("urn:mace:silver gold"), Some("300"));
    for acr in [json!("bronze"), json!(["gold"]), json!(null)] {
        scene.steps_up("acr", &staff.clone().claim("acr", acr), wanted.0, wanted.1);
    }
    scene.steps_up("acr", &staff.clone().without("acr").without("auth_time"), wanted.0, wanted.1);
    for auth_time in [json!(now() - 400), json!(now() * 1000), json!(null)] {
        scene.steps_up("max_age", &staff.clone().claim("auth_time", auth_time), wanted.0, wanted.1);
    }
    let reader = scene.token().scope("a b");
    scene.steps_up("max_age", &reader, None, Some("3600"));
    // With something else missing, another authentication would be of no help.
    let response = scene.ask("/step-up", &scene.token().claim("auth_time", json!(now())), "");
    assert_eq!(response.challenge().unwrap().error(), Some("insufficient_scope"));
    scene.forbids("step-up", "role", "/step-up", &staff.clone().roles(&[]).without("auth_time"), "");
    scene.lets_in("/step-up", &staff, "");
    scene.lets_in("/step-up", &reader.claim("auth_time", json!(now() - 400)), "");
}

#[test]
fn a_users_token_is_told_from_a_clients_own() {
    let scene = Scene::new(ROUTES);
    let user = scene.token();
    scene.lets_in("/people", &user, "");
    scene.forbids("machines", "token_kind", "/machines", &user, "");
    for client in [scene.token().sub("c1"), scene.token().without("sub")] {
        scene.lets_in("/machines", &client, "");
        scene.forbids("people", "token_kind", "/people", &client, "");
    }
}

#[test]
fn an_expression_is_true_or_the_request_is_refused() {
    let scene = Scene::new(ROUTES);
    let good = scene.token().claim("plan", json!("pro")).claim("tenant", json!("acme"));
    scene.lets_in("/when/acme", &good, "");
    scene.lets_in("/when/acme", &good, "X-Auth-Subject: somebody\r\n");
    scene.lets_in("/when/acme?debug=1", &good.clone().roles(&["admin"]), "");
    for (target, token) in [
        // Given twice isn't absent: the upstream may read either.
        ("/when/acme?debug=1&debug=2", good.clone()),
        ("/when/acme", scene.token().claim("tenant", json!("acme"))),
        ("/when/acme", good.clone().claim("plan", json!("free"))),
        ("/when/acme", good.clone().claim("plan", json!(["pro"]))),
        ("/when/other", good.clone()),
        ("/when/acme?debug=1", good.clone()),
        // Another server may find it there.
        ("/when/acme?debug=1&debug=2", good.clone()),
        ("/when/acme?Debug=1", good.clone()),
        ("/when/acme?debug[]=1", good.clone()),
    ] {
        scene.forbids("when", "condition", target, &token, "");
    }
    let response = scene.ask("/when/acme;x", &good.clone().claim("tenant", json!("acme;x")), "");
    assert_eq!(response.status, 400, "another reading names another tenant");
    scene.lets_in("/forwarded", &good, "X-Tenant: acme\r\n");
    for fields in ["", "X-Tenant: acme\r\nX_Tenant: other\r\n", "X-Tenant: acme\r\nConnection: x-tenant\r\n"] {
        scene.forbids("forwarded", "condition", "/forwarded", &good, fields);
    }
}

#[test]
fn issuers_audiences_and_the_forms_of_claims() {
    let scene = Scene::new(ROUTES);
    scene.lets_in("/issuer", &scene.token(), "");
    scene.forbids("issuer", "issuer", "/issuer", &scene.other.token(), "");

    scene.lets_in("/audience", &scene.token().claim("aud", json!(["api", "carts"])), "");
    scene.forbids("audience", "audience", "/audience", &scene.token(), "");

    let good = scene
        .token()
        .claim("plan", json!("team"))
        .claim("level", json!(3))
        .claim("beta", json!(true))
        .claim("email", json!("me@example.com"));
    scene.lets_in("/forms", &good, "");
    scene.lets_in("/forms", &good.clone().claim("banned", json!(null)), "");
    for (claim, value) in [
        ("plan", json!("free")),
        ("level", json!(4)),
        ("beta", json!(false)),
        ("email", json!("me@example.com.evil")),
        ("banned", json!(false)),
    ] {
        scene.forbids("forms", "claim", "/forms", &good.clone().claim(claim, value), "");
    }
    scene.forbids("forms", "claim", "/forms", &good.without("plan"), "");
}
