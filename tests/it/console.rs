//! The console at the admin listener: as files, and in a real browser.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{
    binary::Binary, browser, gateway::Gateway, issuer::Issuer, keys::Key, raw::exchange, token::Token,
    upstream::Upstream,
};

const TOKEN: &str = "an-admin-token-of-some-length";

/// A gateway whose page is open, with a file to change, and one that wants a token.
struct Scene {
    issuer: Issuer,
    key: Key,
    config: PathBuf,
    open: Binary,
    locked: Gateway,
    _upstream: Upstream,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn start() -> Scene {
        let key = Key::es256("k1");
        let (issuer, upstream) = (Issuer::start(&key), Upstream::start());
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("gateway.yaml");
        fs::write(&config, configuration(&issuer, &upstream)).unwrap();
        let locked = Gateway::start(&format!(
            "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\", token: {TOKEN}}}\n\
             logging: {{level: error, access: false}}\nissuers: {{}}\n\
             routes: [{{name: behind-the-door, path: /x, respond: {{status: 204}}, allow: public}}]\n"
        ));
        let open = Binary::run(&config);
        Scene { issuer, key, config, open, locked, _upstream: upstream, _folder: folder }
    }

    /// What the browser's tests are told.
    fn told(&self) -> Value {
        let reader = Token::new(self.issuer.url(), &self.key).sub("reader-1").scope("items:read").build();
        json!({
            "admin": format!("http://{}", self.open.admin()),
            "public": format!("http://{}", self.open.address()),
            "config": self.config,
            "reader": reader,
            "subject": "reader-1",
            "locked": {"admin": format!("http://{}", self.locked.admin), "token": TOKEN},
        })
    }
}

fn configuration(issuer: &Issuer, upstream: &Upstream) -> String {
    format!(
        "listen: [{{name: public, address: \"127.0.0.1:0\"}}]\nadmin: {{address: \"127.0.0.1:0\"}}\n\
         logging: {{level: info, access: false}}\nserver: {{workers: 1}}\n\
         issuers:\n  main: {{issuer: \"{0}\", audiences: [api], http_timeout: 30s}}\n\
         upstreams:\n  echo: {{url: \"{1}\"}}\n  other: {{url: \"{1}\"}}\n\
         routes:\n\
         \x20 - name: items\n\
         \x20   path: \"/items/{{id}}\"\n\
         \x20   upstream: echo\n\
         \x20   allow: [{{methods: [GET], scopes: [\"items:read\"]}}, {{methods: [PUT], any_role: [editor]}}]\n\
         \x20 - {{name: hosted, hosts: [api.example.com], path: \"/rest/**\", upstream: other, allow: authenticated}}\n\
         \x20 - {{name: open, path: /public, upstream: echo, allow: public}}\n",
        issuer.url(),
        upstream.url()
    )
}

#[test]
fn a_gateway_at_work_in_a_browser() {
    if browser::is_there() {
        browser::test("console.test.js", &Scene::start().told());
    }
}

#[test]
fn gateways_of_any_size_and_names_in_a_browser() {
    if browser::is_there() {
        browser::test("made_up.test.js", &Scene::start().told());
    }
}

#[test]
fn without_the_admin_token_there_is_a_shell_and_no_data() {
    let gateway = Gateway::start(&format!(
        "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\", token: {TOKEN}}}\n\
         logging: {{level: error, access: false}}\nissuers: {{}}\n\
         routes: [{{name: behind-the-door, path: /x, respond: {{status: 204}}, allow: public}}]\n"
    ));
    let page = gateway.admin("/");
    assert_eq!((page.status, page.fields.get("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(!page.text().contains("behind-the-door") && page.text().contains("door-token"), "{}", page.text());
    for path in ["/status", "/routes", "/revocations"] {
        assert_eq!(gateway.admin(path).status, 401, "{path}");
        let shown = exchange(gateway.admin, "GET", path, &format!("Authorization: Bearer {TOKEN}\r\n"));
        assert_eq!(shown.status, 200, "{path}");
    }
    let foreign = exchange(gateway.admin, "GET", "/", "Origin: http://evil.example\r\n");
    assert_eq!(foreign.status, 403);
}
