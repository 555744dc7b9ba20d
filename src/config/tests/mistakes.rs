//! What people get wrong: one mistake is one error, and the hint says what to do.

use super::*;

/// A good file after the replacement of `from`; the one error that comes of it, and its hint.
fn mistake(from: &str, to: &str) -> (String, String) {
    assert!(VALID.contains(from), "{from}");
    only(&VALID.replacen(from, to, 1))
}

fn only(text: &str) -> (String, String) {
    let found = load_str(text, "f").unwrap_err();
    assert_eq!(found.len(), 1, "{text}\n{found:#?}");
    (found[0].message.clone(), found[0].hint.clone().unwrap_or_default())
}

#[test]
fn one_mistake_is_one_error_with_a_hint() {
    let list = "  - issuer: https://a.example\n    audiences: [api]";
    let cases = [
        ("audiences: [api]", "audience: [api]", "did you mean `audiences`?"),
        ("    allow:", "    alow:", "did you mean `allow`?"),
        ("routes:", "rotues:", "did you mean `routes`?"),
        ("  main:\n    issuer: https://auth.example.org\n    audiences: [api]", list, "without a dash"),
        ("    upstream: orders", "    upstream: 127.0.0.1:9000", "`http://127.0.0.1:9000`"),
        ("    path: /orders/{id}", "    paths: [/orders/{id}]", "quote it"),
        ("    path: /orders", "   path: /orders", "same column"),
        ("- name: orders", "- name:orders", "space after it"),
        (
            "\n      - methods: [GET]\n        scopes: [orders:read]",
            " [authenticated]",
            "`allow: authenticated` stands",
        ),
    ];
    for (from, to, hint) in cases {
        let (message, found) = mistake(from, to);
        assert!(found.contains(hint), "{to}: {message}: {found}");
    }
    let (message, hint) = only("routes:\n  orders: {path: /a}\n");
    assert!(message.contains("a list is expected") && hint.contains("dash"), "{message}: {hint}");
}

#[test]
fn an_assertion_is_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("gateway.pem");
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let text = |listen: &str, identity: &str, route: &str| {
        let assertion = format!("private_key: {}, issuer: \"https://gateway.example\"{identity}", key.display());
        format!(
            "listen: [{listen}]\nissuers: {{a: {{issuer: \"https://a.example\", audiences: [api]}}}}\n\
             identity: {{assertion: {{{assertion}}}}}\nupstreams: {{orders: {{url: \"http://127.0.0.1:1\"}}}}\n\
             routes:\n  - {{name: shop, path: /shop, upstream: orders, allow: authenticated}}\n  \
             - {{path: /partner, allow: authenticated, {route}}}\n"
        )
    };
    let (proxy, asked) =
        ("\"127.0.0.1:1\"", "{name: d, address: \"127.0.0.1:2\", mode: forward_auth, request_from: self}");
    let both = &format!("{proxy}, {asked}");
    let in_place = "upstream: \"http://127.0.0.1:2\"";
    for (listen, route) in [
        (proxy, format!("name: orders, {in_place}")),
        (proxy, "name: orders, upstream: \"unix:/run/b.sock\"".to_owned()),
        (both, "name: orders, listeners: [d]".to_owned()),
        (both, "name: orders, listeners: [d], respond: {status: 204}".to_owned()),
    ] {
        let (message, hint) = only(&text(listen, "", &route));
        assert!(message.contains("have the `aud` of the upstream at f:4:"), "{route}: {message}");
        assert!(hint.contains("audience"), "{hint}");
    }
    for (listen, identity, route) in [
        (proxy, "", format!("name: partner, {in_place}")),
        (proxy, "", "name: orders, upstream: orders".to_owned()),
        (proxy, "", "name: orders, respond: {status: 204}".to_owned()),
        (proxy, ", audience: all", format!("name: orders, {in_place}")),
        (proxy, "", format!("name: orders, {in_place}, identity: {{assertion: {{audience: partner}}}}")),
    ] {
        let text = text(listen, identity, &route);
        load_str(&text, "f").unwrap_or_else(|found| panic!("{text}\n{found:#?}"));
    }
}

#[test]
fn a_tab_is_shown_where_it_is() {
    let text = VALID.replace("    path:", "\tpath:");
    let found = load_str(&text, "f").unwrap_err();
    let line = text.lines().position(|line| line.starts_with('\t')).unwrap() + 1;
    assert_eq!((found.len(), found[0].line, found[0].column), (1, line, 1), "{found:#?}");
    assert!(found[0].hint.as_ref().unwrap().contains("never with tabs"));
}

#[test]
fn a_file_that_is_not_there_says_what_to_do() {
    let found = load(Path::new("/nowhere/gateway.yaml"), &|_| None).unwrap_err();
    assert!(found[0].hint.as_ref().unwrap().contains("--config"));
}

#[test]
fn addresses_that_the_system_would_not_give_are_refused() {
    let overlapping =
        ["\"127.0.0.1:80\", \"0.0.0.0:80\"", "\"[::]:80\", \"0.0.0.0:80\"", "\"0.0.0.0:9901\"", "\"[::]:9901\""];
    for listen in overlapping {
        assert!(load_str(&format!("listen: [{listen}]\nroutes: []"), "f").is_err(), "{listen}");
    }
    for listen in [
        "\"127.0.0.1:80\", \"127.0.0.2:80\", \"[::1]:80\"",
        "\"0.0.0.0:0\", \"0.0.0.0:0\"",
        "\"0.0.0.0:80\", \"[::1]:80\"",
    ] {
        assert!(load_str(&format!("listen: [{listen}]\nroutes: []"), "f").is_ok(), "{listen}");
    }
}

#[test]
fn a_file_that_repeats_itself_is_read_in_time() {
    let route = |n: usize| format!("- {{name: r{n}, path: /a, upstream: \"http://h\", allow: authenticated}}\n");
    let routes = (0..12_000).map(route).collect::<String>();
    assert_eq!(
        load_str(&format!("issuers: {{a: {{issuer: \"https://a\", audiences: [a]}}}}\nroutes:\n{routes}"), "f")
            .unwrap_err()
            .len(),
        201
    );
    let issuers = (0..2000).map(|n| format!("  i{n}: {{issuer: \"https://a\", audiences: [a]}}\n")).collect::<String>();
    let routes = routes.lines().take(500).enumerate().map(|(n, line)| line.replace("/a,", &format!("/a{n},")) + "\n");
    let text = format!("issuers:\n{issuers}routes:\n{}", routes.collect::<String>());
    assert_eq!(load_str(&text, "f").unwrap_err().len(), 201);
}

/// What the documents show can be loaded.
#[test]
fn configurations_in_documents_are_good() {
    let documents = [
        ("README.md", include_str!("../../../README.md")),
        ("docs/observability.md", include_str!("../../../docs/observability.md")),
        ("ARCHITECTURE.md", include_str!("../../../ARCHITECTURE.md")),
        ("SECURITY.md", include_str!("../../../SECURITY.md")),
    ];
    let mut loaded = 0;
    for (name, text) in documents {
        for block in text.split("```yaml\n").skip(1) {
            let (yaml, _) = block.split_once("\n```").unwrap();
            let found = load_str(yaml, name).unwrap_or_else(|found| panic!("{}", found[0]));
            assert_eq!(found.warnings, [], "{name}");
            loaded += 1;
        }
    }
    assert!(loaded > 0);
}
