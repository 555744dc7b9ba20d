#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use hyper::HeaderMap;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    decision::rehearsal::Presented,
    observe::Observer,
    rehearsal::{Question, rehearse},
    snapshot::{LongLived, Snapshot},
};

fn wanted() -> Wanted {
    Wanted {
        issuer: Some("https://login.example".to_owned()),
        audiences: vec!["api".to_owned()],
        upstream: Some("http://127.0.0.1:9000".to_owned()),
        hosts: true,
    }
}

fn of(document: &str, wanted: &Wanted) -> Result<Made, Vec<Diagnostic>> {
    openapi_from("api.yaml", document.as_bytes(), wanted)
}

/// The output without its first lines.
#[track_caller]
fn routes(document: &str) -> String {
    let made = of(document, &wanted()).unwrap_or_else(|wrong| panic!("{document}\n{}", wrong[0]));
    made.text.split_once("\nroutes:\n").unwrap().1.to_owned()
}

#[track_caller]
fn refused(document: &str, wanted: &Wanted) -> String {
    match of(document, wanted) {
        Ok(made) => panic!("{document}\n{}", made.text),
        Err(wrong) => wrong.iter().map(ToString::to_string).collect(),
    }
}

/// A document with these paths, and schemes of each kind.
fn with_paths(version: &str, paths: &str) -> String {
    format!(
        "openapi: {version}
components:
  securitySchemes:
    oauth: {{type: oauth2, flows: {{clientCredentials: {{tokenUrl: 'https://auth.example/token', scopes: {{}}}}}}}}
    bearer: {{type: http, scheme: bearer}}
    basic: {{type: http, scheme: basic}}
    key: {{type: apiKey, in: query, name: k}}
    authorization: {{type: apiKey, in: header, name: Authorization}}
    tls: {{type: mutualTLS}}
    far: {{$ref: 'other.yaml#/x'}}
    near: {{$ref: '#/components/securitySchemes/oauth'}}
    circle: {{$ref: '#/components/securitySchemes/circle'}}
paths:
{paths}"
    )
}

struct Gateway {
    snapshot: Snapshot,
    runtime: tokio::runtime::Runtime,
}

impl Gateway {
    #[track_caller]
    fn of(made: &str) -> Gateway {
        let policy = config::load_str(made, "gateway.yaml").unwrap().policy;
        let (snapshot, _) = Snapshot::assemble(&policy, &LongLived::new(Observer::silent(), 1)).unwrap();
        Gateway { snapshot, runtime: tokio::runtime::Builder::new_current_thread().build().unwrap() }
    }

    /// The status for a token with these scopes; None: without one.
    fn status(&self, method: &str, url: &str, scopes: Option<&BTreeSet<&str>>) -> u16 {
        self.status_with(method, url, scopes.map(|scopes| json!({"sub": "u1", "scope": scopes})))
    }

    fn status_with(&self, method: &str, url: &str, claims: Option<Value>) -> u16 {
        let question = Question::new(method, url, HeaderMap::new()).unwrap();
        let claims: Option<Map<String, Value>> = claims.map(|claims| claims.as_object().unwrap().clone());
        let presented = match &claims {
            Some(claims) => Presented::Assumed { issuer: &self.snapshot.issuers[0], claims },
            None => Presented::Sent { may_fetch: false },
        };
        self.runtime.block_on(rehearse(&self.snapshot, &question, presented)).status()
    }
}

/// What an operation asks for, by a reading of the document that isn't ours.
enum Asked {
    Nothing,
    /// All scopes of one of these.
    OneOf(Vec<BTreeSet<String>>),
}

fn asked(document: &Value, operation: &Value) -> Asked {
    let Some(security) = operation.get("security").or(document.get("security")) else {
        return Asked::OneOf(vec![BTreeSet::new()]);
    };
    let alternatives = security.as_array().unwrap();
    if alternatives.is_empty() || alternatives.contains(&json!({})) {
        return Asked::Nothing;
    }
    let scopes = |alternative: &Value| {
        let mut all = BTreeSet::new();
        for (scheme, scopes) in alternative.as_object().unwrap() {
            let kind = document["components"]["securitySchemes"][scheme]["type"].as_str().unwrap();
            if !matches!(kind, "oauth2" | "openIdConnect") {
                return None;
            }
            all.extend(scopes.as_array().unwrap().iter().map(|scope| scope.as_str().unwrap().to_owned()));
        }
        Some(all)
    };
    Asked::OneOf(alternatives.iter().filter_map(scopes).collect())
}

/// Every operation of a document gets what the document says. Gives how many there are, and how many decisions were made.
fn decided_as_said(document: &Value, made: &str) -> (usize, usize) {
    let gateway = Gateway::of(made);
    let server = document["servers"][0]["url"].as_str().unwrap().trim_end_matches('/');
    let (mut operations, mut decisions) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.split('{').enumerate().map(|(place, part)| match place {
            0 => part.to_owned(),
            _ => format!("x7{}", part.split_once('}').unwrap().1),
        });
        let url = format!("{server}{}", path.collect::<String>());
        for method in ["get", "put", "post", "delete", "patch"] {
            let Some(operation) = item.get(method) else { continue };
            operations += 1;
            let method = method.to_uppercase();
            let mut check = |scopes: Option<&BTreeSet<&str>>, expected: u16| {
                decisions += 1;
                assert_eq!(gateway.status(&method, &url, scopes), expected, "{method} {url} with {scopes:?}");
            };
            let alternatives = match asked(document, operation) {
                Asked::Nothing => {
                    check(None, 200);
                    continue;
                }
                Asked::OneOf(alternatives) => alternatives,
            };
            let status = |scopes: &BTreeSet<&str>| {
                let holds = |wanted: &BTreeSet<String>| wanted.iter().all(|scope| scopes.contains(scope.as_str()));
                if alternatives.iter().any(holds) { 200 } else { 403 }
            };
            check(None, 401);
            let none = BTreeSet::new();
            check(Some(&none), status(&none));
            for wanted in &alternatives {
                let all = wanted.iter().map(String::as_str).collect::<BTreeSet<_>>();
                check(Some(&all), 200);
                for scope in &all {
                    let less = all.iter().filter(|other| *other != scope).copied().collect();
                    check(Some(&less), status(&less));
                }
            }
        }
    }
    (operations, decisions)
}

#[test]
fn operations_of_public_documents_are_decided_as_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/openapi");
    for (name, operations, least) in [
        ("petstore.yaml", 19, 60),
        ("xero-finance.yaml", 8, 20),
        ("xero-identity.yaml", 2, 4),
        ("xero_accounting.yaml", 235, 700),
        ("xero_assets.yaml", 6, 18),
        ("xero_files.yaml", 18, 50),
    ] {
        let path = folder.join(name);
        let document: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let made = openapi_file(&path, &wanted()).unwrap_or_else(|wrong| panic!("{}", wrong[0]));
        let (found, decisions) = decided_as_said(&document, &made.text);
        assert_eq!(found, operations, "{name}");
        assert!(decisions >= least, "{name}: {decisions} decisions");
        let warnings = config::load_str(&made.text, name).unwrap().warnings;
        assert!(warnings.is_empty(), "{name}: {warnings:#?}");
    }
}

#[test]
fn a_document_of_3_1() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/openapi/orders.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let made = of(&text, &Wanted { issuer: None, ..wanted() }).unwrap().text;
    insta::assert_snapshot!(made);
    let gateway = Gateway::of(&made);
    let [read, write, both, none] =
        [vec!["orders:read"], vec!["orders:write"], vec!["orders:read", "orders:write"], vec![]]
            .map(BTreeSet::from_iter);
    let at = |path: &str| format!("https://eu.example.com/orders/v2{path}");
    for (method, path, scopes, status) in [
        ("GET", "/orders", Some(&read), 200),
        ("HEAD", "/orders", Some(&read), 200),
        ("GET", "/orders", Some(&write), 403),
        ("GET", "/orders", None, 401),
        ("POST", "/orders", Some(&both), 200),
        ("POST", "/orders", Some(&write), 403),
        ("DELETE", "/orders", Some(&both), 405),
        ("PUT", "/orders/7", Some(&write), 200),
        ("PUT", "/orders/7", Some(&read), 403),
        ("DELETE", "/orders/7", Some(&both), 403),
        ("DELETE", "/orders/7", None, 401),
        ("GET", "/orders/7/receipt", Some(&read), 200),
        ("GET", "/orders/7/receipt", Some(&none), 403),
        ("GET", "/catalog/7", None, 200),
        ("PATCH", "/catalog/7", None, 401),
        ("PATCH", "/catalog/7", Some(&none), 403),
        ("PATCH", "/catalog/7", Some(&read), 200),
        ("GET", "/catalog", None, 200),
        ("GET", "/catalog", Some(&none), 200),
        ("POST", "/catalog", None, 405),
        ("GET", "/health", None, 404),
        ("GET", "/elsewhere", None, 401),
        ("GET", "/elsewhere", Some(&both), 403),
        ("GET", "/nowhere", Some(&both), 404),
    ] {
        assert_eq!(gateway.status(method, &at(path), scopes), status, "{method} {path} {scopes:?}");
    }
    assert_eq!(gateway.status("GET", "http://anywhere.example/health", None), 200);
    let clerk = |roles| Some(json!({"sub": "u1", "roles": roles}));
    assert_eq!(gateway.status_with("POST", &at("/orders"), clerk("clerk")), 200);
    assert_eq!(gateway.status_with("POST", &at("/orders"), clerk("guest")), 403);
}

#[test]
fn security() {
    for (operation, part) in [
        ("{}", "    allow: authenticated"),
        ("{}", "# Note: GET: the document says nothing of security: any good token is let in.\n"),
        ("{security: []}", "    allow: public"),
        ("{security: [{}]}", "    allow: public"),
        ("{security: [{}, {key: []}]}", "    allow: public"),
        (
            "{security: [{key: []}, {}]}",
            "Note: GET: the document lets in by `key` (an API key, `k` in the query), too, which",
        ),
        ("{security: [{oauth: [a]}, {}]}", "    allow: optional"),
        ("{security: [{oauth: [a]}, {}]}", "nothing is asked of one but that it is good (`a`)"),
        ("{security: [{oauth: []}]}", "    allow: authenticated"),
        ("{security: [{bearer: []}]}", "    allow: authenticated"),
        ("{security: [{near: [a]}]}", "scopes: [a]"),
        ("{security: [{oauth: [a, b, a]}]}", "scopes: [a, b]\n"),
        (
            "{security: [{oauth: [a]}, {oauth: [b]}]}",
            "      - methods: [GET]\n        scopes: [a]\n      - methods: [GET]\n        scopes: [b]",
        ),
        ("{security: [{oauth: [a], near: [b]}]}", "scopes: [a, b]"),
        ("{security: [{oauth: [a, b]}, {oauth: [a]}]}", "      - methods: [GET]\n        scopes: [a]\n"),
        ("{security: [{oauth: [a, b]}, {oauth: [a]}]}", "alternatives that ask for more than another are left out"),
        ("{security: [{oauth: [a], key: []}]}", "scopes: [a]"),
        ("{security: [{oauth: [a], key: []}]}", "besides the token the document asks for `key`"),
        ("{security: [{key: []}]}", "when: \"false\" # nobody"),
        ("{security: [{authorization: []}]}", "the document says so by `type: http, scheme: bearer`"),
        ("{security: [{basic: []}]}", "when: \"false\" # nobody"),
        ("{security: [{tls: []}]}", "when: \"false\" # nobody"),
        ("{security: [{far: [a]}]}", "when: \"false\" # nobody"),
        ("{security: [{circle: [a]}]}", "when: \"false\" # nobody"),
        ("{security: [{unknown: [a]}]}", "`unknown`, which the document doesn't define"),
        ("{security: [{unknown: [a]}]}", "when: \"false\" # nobody"),
        ("{security: [{oauth: ['a b']}]}", "when: \"false\" # nobody"),
        ("{security: [{oauth: ['']}]}", "when: \"false\" # nobody"),
        ("{security: [{bearer: [a]}]}", "scopes: [a]"),
        ("{security: [{bearer: [a]}]}", "`a` are taken for scopes"),
    ] {
        let made = routes(&with_paths("3.0.3", &format!("  /x: {{get: {operation}}}")));
        let unbroken = made.replace("\n  #   ", " ").replace("\n  #  ", "");
        assert!(unbroken.contains(part), "{operation}: {part}\n{made}");
    }
    let made = routes(&with_paths("3.1.0", "  /x: {get: {security: [{bearer: [a]}]}}"));
    assert!(made.contains("roles: [a]"), "{made}");
    // The document's own, for operations that have none.
    let all = |own: &str| routes(&(with_paths("3.0.3", "  /x: {get: {}, put: {security: [{oauth: [w]}]}}\n") + own));
    assert!(all("security: [{oauth: [r]}]").contains("methods: [GET]\n        scopes: [r]"));
    assert!(all("security: []").contains("methods: [GET]\n    upstream: api\n    allow: public"));
    let many = (0..70).map(|n| format!("{{oauth: [s{n}]}}")).collect::<Vec<_>>().join(", ");
    assert!(
        routes(&with_paths("3.0.3", &format!("  /x: {{get: {{security: [{many}]}}}}"))).contains("when: \"false\"")
    );
}

#[test]
fn paths() {
    let secured = "{security: [{oauth: [r]}]}";
    for (path, part) in [
        ("/a", "path: /a\n"),
        ("/a/", "path: /a\n"),
        ("/", "path: /\n"),
        ("/a/{b}", "path: /a/{b}\n"),
        ("/A/{Bc}", "path: /A/{Bc}\n"),
        ("/a b/é", "path: \"/a%20b/%C3%A9\"\n"),
        ("/x:purge", "path: /x:purge\n"),
        ("/x%3Apurge", "path: /x:purge\n"),
        ("/a/{b.c}", "path: /a/{b_c}\n"),
        ("/a/{1}", "path: /a/{_1}\n"),
        ("/a/{}", "path: /a/{_}\n"),
        ("/a/{b}/{b}", "path: /a/{b}/{b_2}\n"),
        ("/a/{rest+}", "one segment; if any rest of a path is meant"),
        ("/a/{b}.json", "path: /a/{b}\n"),
        ("/a/{b}.json", r#"when: "path[\"b\"].matches(r\"^.+\\.json$\")""#),
        ("/a/{b}-{c}", "path: /a/{b_c}\n"),
        ("/a/b*", "path: /a/{segment}\n"),
    ] {
        let made = routes(&with_paths("3.0.3", &format!("  '{path}': {{get: {secured}}}")));
        assert!(made.contains(part), "{path}: {part}\n{made}");
    }
    for path in ["/a?b=c", "/a#b", "/a//b", "/a/../b", "/a%2fb", "/a/{b", "/a/b}", "/a/{{b}}", "/%zz/{b}.x", "/a%20{b}"]
    {
        let document = with_paths("3.0.3", &format!("  '{path}': {{get: {secured}}}"));
        assert!(refused(&document, &wanted()).contains("no path of the document"), "{path}");
        let document = with_paths("3.0.3", &format!("  '{path}': {{get: {secured}}}\n  /good: {{get: {secured}}}"));
        let made = of(&document, &wanted()).unwrap().text;
        assert!(made.contains(&format!("# Note: `GET {path}` isn't served: ")), "{made}");
    }
}

#[test]
fn a_part_of_a_segment() {
    let paths = "  '/a/{b}.json': {get: {security: [{oauth: [r]}, {oauth: [s]}]}, put: {security: []}, post: {}}";
    let made = of(&with_paths("3.0.3", paths), &wanted()).unwrap().text;
    let gateway = Gateway::of(&made);
    let [r, s, none] = [vec!["r"], vec!["s"], vec![]].map(BTreeSet::from_iter);
    for (method, path, scopes, status) in [
        ("GET", "/a/7.json", Some(&r), 200),
        ("GET", "/a/7.json", Some(&s), 200),
        ("GET", "/a/7.json", Some(&none), 403),
        ("GET", "/a/7.xml", Some(&r), 403),
        ("GET", "/a/.json", Some(&r), 403),
        ("GET", "/a/7_json", Some(&r), 403),
        ("PUT", "/a/7.json", None, 401),
        ("PUT", "/a/7.json", Some(&r), 403),
        ("POST", "/a/7.json", Some(&none), 200),
        ("POST", "/a/7", Some(&none), 403),
    ] {
        assert_eq!(gateway.status(method, path, scopes), status, "{method} {path} {scopes:?}\n{made}");
    }
}

#[test]
fn parts_of_segments_are_told_apart() {
    let paths = "  '/a/{b}': {get: {security: [{oauth: [r]}]}, put: {security: []}}
  '/a/{b}.{c}': {get: {security: [{oauth: [s]}, {oauth: [t]}]}, put: {security: [{oauth: [w]}]}}
  '/a/{x}-{y}': {get: {}}
  /a/b.c: {get: {security: []}}";
    let made = of(&with_paths("3.0.3", paths), &wanted()).unwrap().text;
    let gateway = Gateway::of(&made);
    let [r, s, t, w, none] = [vec!["r"], vec!["s"], vec!["t"], vec!["w"], vec![]].map(BTreeSet::from_iter);
    for (method, path, scopes, status) in [
        ("GET", "/a/7", Some(&r), 200),
        ("GET", "/a/7", Some(&s), 403),
        ("GET", "/a/7.x", Some(&r), 403),
        ("GET", "/a/7.x", Some(&s), 200),
        ("GET", "/a/7.x", Some(&t), 200),
        ("GET", "/a/7-x", Some(&none), 200),
        ("GET", "/a/7-x", None, 401),
        // Of two paths at the same time: of none.
        ("GET", "/a/7-x.y", Some(&none), 403),
        ("GET", "/a/7-x.y", Some(&s), 403),
        ("GET", "/a/b.c", None, 200),
        ("PUT", "/a/7.x", Some(&w), 200),
        // It is public, which no rule can say.
        ("PUT", "/a/7", None, 401),
        ("PUT", "/a/7", Some(&w), 403),
    ] {
        assert_eq!(gateway.status(method, path, scopes), status, "{method} {path} {scopes:?}\n{made}");
    }
    let many = (0..20).map(|n| format!("  '/a/{{b}}.{n}x': {{get: {{}}}}\n")).collect::<String>();
    let made = routes(&with_paths("3.0.3", &many));
    assert!(made.contains("more than 16 paths") && made.contains("when: \"false\""), "{made}");
}

#[test]
fn paths_that_are_the_same_to_a_route() {
    let document =
        |first: &str, second: &str| with_paths("3.0.3", &format!("  '/a/{{x}}': {first}\n  '/a/{{y}}/': {second}"));
    let operation = |scopes: &str| format!("{{security: [{{oauth: {scopes}}}]}}");
    let made = routes(&document(&format!("{{get: {}}}", operation("[r]")), &format!("{{put: {}}}", operation("[w]"))));
    assert_eq!(made.matches("- name").count(), 1, "{made}");
    assert!(
        made.contains("- methods: [GET]\n        scopes: [r]")
            && made.contains("- methods: [PUT]\n        scopes: [w]")
    );
    let made = routes(&document(&format!("{{get: {}}}", operation("[r]")), "{get: {security: []}}"));
    assert!(
        made.contains("scopes: [r]") && made.contains("what both ask for is needed") && !made.contains("public"),
        "{made}"
    );
    let made = routes(&document(&format!("{{get: {}}}", operation("[r]")), &format!("{{get: {}}}", operation("[s]"))));
    assert!(made.contains("scopes: [r, s]"), "{made}");
    let made = routes(&with_paths("3.0.3", "  /x: {get: {security: []}, head: {security: [{oauth: [h]}]}}"));
    assert!(made.contains("scopes: [h]") && made.contains("takes HEAD, too") && !made.contains("public"), "{made}");
    let made = routes(&with_paths("3.0.3", "  /x: {get: {security: []}, head: {security: []}}"));
    assert!(made.contains("methods: [GET, HEAD]\n    upstream: api\n    allow: public"), "{made}");
}

#[test]
fn nothing_falls_through_to_a_wider_path() {
    let paths = "  '/a/{x}': {get: {security: []}, put: {security: []}}
  /a/key: {get: {security: [{key: []}]}}
  /a/none: {}
  /a/trace: {trace: {security: []}}
  /a/far: {$ref: 'other.yaml'}
  /a/typo: {GET: {security: []}}";
    let gateway = Gateway::of(&of(&with_paths("3.0.3", paths), &wanted()).unwrap().text);
    assert_eq!(gateway.status("GET", "/a/7", None), 200);
    for path in ["/a/key", "/a/none", "/a/trace", "/a/far", "/a/typo"] {
        assert_eq!(gateway.status("GET", path, None), 401, "{path}");
        assert_eq!(gateway.status("GET", path, Some(&BTreeSet::new())), 403, "{path}");
        assert!(gateway.status("PUT", path, None) >= 400, "{path}");
    }
}

#[test]
fn servers() {
    let made = |servers: &str, wanted: &Wanted| {
        let document = with_paths("3.0.3", "  /x: {get: {security: [{oauth: [r]}]}}\n") + "servers: " + servers;
        of(&document, wanted).map(|made| made.text).unwrap_or_else(|wrong| wrong[0].to_string())
    };
    let of_document = Wanted { upstream: None, ..wanted() };
    for (servers, path, host, upstream) in [
        ("[{url: 'https://api.example/v1'}]", "/v1/x", Some("api.example"), Some("https://api.example")),
        ("[{url: 'https://API.example:8443/v1/'}]", "/v1/x", Some("api.example"), Some("\"https://API.example:8443\"")),
        ("[{url: '//api.example/v1'}]", "/v1/x", Some("api.example"), Some("https://api.example")),
        (
            "[{url: 'https://api.example'}, {url: 'https://b.example/w'}]",
            "/x",
            Some("api.example"),
            Some("https://api.example"),
        ),
        ("[{url: 'http://localhost:3000/v1'}]", "/v1/x", None, Some("http://localhost:3000")),
        ("[{url: 'http://[::1]:3000/v1'}]", "/v1/x", None, Some("\"http://[::1]:3000\"")),
        ("[{url: 'https://u:p@api.example/v1'}]", "/v1/x", Some("api.example"), Some("https://api.example")),
        (
            "[{url: 'https://{a}.example/{b}', variables: {a: {default: x}, b: {default: w}}}]",
            "/w/x",
            Some("x.example"),
            Some("https://x.example"),
        ),
        ("[{url: /v1}]", "/v1/x", None, None),
        ("[{url: v1/}]", "/v1/x", None, None),
        ("[{url: /}]", "/x", None, None),
        ("[{url: ''}]", "/x", None, None),
        ("[]", "/x", None, None),
        ("[{url: 'wss://api.example/v1'}]", "/v1/x", Some("api.example"), None),
        ("[{url: 'https://api example/v1'}]", "/v1/x", None, None),
    ] {
        let text = made(servers, &wanted());
        assert!(text.contains(&format!("    path: {path}\n")), "{servers}\n{text}");
        let hosts = host.map(|host| format!("    hosts: [{host}]\n"));
        assert_eq!(text.contains("    hosts: "), host.is_some(), "{servers}\n{text}");
        assert!(hosts.is_none_or(|hosts| text.contains(&hosts)), "{servers}\n{text}");
        assert!(!made(servers, &Wanted { hosts: false, ..wanted() }).contains("    hosts: "));
        let text = made(servers, &of_document);
        match upstream {
            Some(upstream) => assert!(
                text.replace('"', "").contains(&format!("    url: {}\n", upstream.replace('"', ""))),
                "{servers}\n{text}"
            ),
            None => assert!(text.contains("the document doesn't say where the API is"), "{servers}\n{text}"),
        }
    }
    for (servers, message) in [
        ("{}", "`servers` is a list"),
        ("[{}]", "a server without `url`"),
        ("[{url: 'https://{a}.example'}]", "`a` has no default"),
        ("[{url: 'https://{a.example'}]", "without its `}`"),
    ] {
        assert!(made(servers, &wanted()).contains(message), "{servers}");
    }
    let paths = "  /x:
    servers: [{url: 'https://b.example/b'}]
    get: {security: []}
    put: {security: [], servers: [{url: 'https://c.example/c'}]}
  /y: {get: {security: []}}
servers: [{url: 'https://a.example/a'}]";
    let text = of(&with_paths("3.0.3", paths), &of_document).unwrap().text;
    for part in [
        "hosts: [b.example]\n    path: /b/x\n    methods: [GET]\n    upstream: api\n",
        "hosts: [c.example]\n    path: /c/x\n    methods: [PUT]\n    upstream: api-2\n",
        "hosts: [a.example]\n    path: /a/y\n    methods: [GET]\n    upstream: api-3\n",
        "  api-3:\n    url: https://a.example\n",
        "or requests go round in a circle",
    ] {
        assert!(text.replace("\n#  ", "").contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("issuers:"), "{text}");
}

#[test]
fn issuers() {
    let schemes = |schemes: &str| {
        format!(
            "openapi: 3.1.0\ncomponents: {{securitySchemes: {schemes}}}\npaths:\n  /x: {{get: {{security: [{{a: [r]}}, {{b: [r]}}]}}}}"
        )
    };
    let found = Wanted { issuer: None, ..wanted() };
    let oidc =
        |url: &str| format!("{{type: openIdConnect, openIdConnectUrl: '{url}/.well-known/openid-configuration'}}");
    let one =
        of(&schemes(&format!("{{a: {}, b: {{type: oauth2}}}}", oidc("https://a.example/t"))), &found).unwrap().text;
    assert!(one.contains("  login:\n    issuer: https://a.example/t\n    audiences: [api]\n"), "{one}");
    assert_eq!(one.matches("scopes: [r]").count(), 1, "{one}");
    let two = schemes(&format!("{{a: {}, b: {}}}", oidc("https://a.example"), oidc("https://b.example")));
    let made = of(&two, &found).unwrap().text;
    assert!(
        made.contains("issuers: [a]\n        scopes: [r]") && made.contains("issuers: [b]\n        scopes: [r]"),
        "{made}"
    );
    let given = of(&two, &wanted()).unwrap().text;
    assert!(given.contains("issuer: https://login.example\n") && !given.contains("a.example"), "{given}");
    let both = two.replace("{a: [r]}, {b: [r]}", "{a: [r], b: [r]}");
    assert!(of(&both, &found).unwrap().text.contains("tokens of two issuers at the same time"));
    for url in ["http://a.example", "", "a", "https://a.example/?x"] {
        let wrong = refused(&schemes(&format!("{{a: {}, b: {{type: oauth2}}}}", oidc(url))), &found);
        assert!(wrong.contains("doesn't say who issues the tokens"), "{url}: {wrong}");
    }
}

#[test]
fn what_is_lacking_is_said_at_once() {
    let document = with_paths("3.0.3", "  /x: {get: {security: [{oauth: [r]}]}}");
    insta::assert_snapshot!(refused(&document, &Wanted::default()));
    let open = with_paths("3.0.3", "  /x: {get: {security: []}}");
    let made = of(&open, &Wanted { upstream: wanted().upstream, ..Wanted::default() }).unwrap().text;
    assert!(!made.contains("issuers:"), "{made}");
    assert!(of(&open, &wanted()).unwrap().text.contains("so that no issuer is written"));
    for (wrong, message) in [
        (Wanted { issuer: Some("login".to_owned()), ..wanted() }, "--> --issuer"),
        (Wanted { issuer: Some("http://login.example".to_owned()), ..wanted() }, "plain http"),
        (Wanted { audiences: vec![String::new()], ..wanted() }, "--> --audience"),
        (Wanted { upstream: Some("127.0.0.1:1".to_owned()), ..wanted() }, "--> --upstream"),
    ] {
        assert!(refused(&document, &wrong).contains(message), "{wrong:?}");
    }
}

#[test]
fn what_is_no_document() {
    for (document, message) in [
        ("a: 1", "this is no OpenAPI document"),
        ("[]", "this is no OpenAPI document"),
        ("text", "this is no OpenAPI document"),
        ("swagger: '2.0'\npaths: {}", "this is Swagger 2.0; OpenAPI 3.0 and 3.1 are read"),
        ("openapi: 3.2.0\npaths: {/a: {get: {}}}", "OpenAPI `3.2.0` isn't known here"),
        ("openapi: 3.10\npaths: {/a: {get: {}}}", "OpenAPI `3.10` isn't known here"),
        ("openapi: 3.0.0", "the document has no paths"),
        ("openapi: 3.0.0\npaths: {}", "the document has no paths"),
        ("openapi: 3.0.0\npaths: []", "the document has no paths"),
        ("openapi: 3.0.0\npaths: {x-a: 1}", "no path of the document can be a route's"),
        ("openapi: 3.0.0\npaths: {a: {get: {}}}", "the path `a` does not begin with a slash"),
        ("openapi: 3.0.0\npaths: {/a: []}", "what `/a` has is no map"),
        ("openapi: 3.0.0\npaths: {/a: {get: 1}}", "an operation is a map"),
        ("openapi: 3.0.0\npaths: {/a: {$ref: '#/b'}}", "`#/b` leads nowhere in this document"),
        ("openapi: 3.0.0\npaths: {/a: {$ref: '#/paths/~1a'}}", "`#/paths/~1a` leads nowhere"),
        ("openapi: 3.0.0\npaths: {/a: {get: {}, $ref: '#/b'}}\nb: {get: {}}", "`get` of `/a` is there twice"),
        ("openapi: 3.0.0\npaths: {/a: {get: {security: }}}", "`security` is a list of requirements"),
        ("openapi: 3.0.0\npaths: {/a: {get: {security: {}}}}", "`security` is a list of requirements"),
        ("openapi: 3.0.0\npaths: {/a: {get: {security: [a]}}}", "a requirement is a map"),
        ("openapi: 3.0.0\npaths: {/a: {get: {security: [{a: }]}}}", "what `a` asks for is a list"),
        ("openapi: 3.0.0\nsecurity: {}\npaths: {/a: {get: {}}}", "`security` is a list of requirements"),
        ("openapi: 3.0.0\ncomponents: {securitySchemes: []}\npaths: {/a: {get: {}}}", "`securitySchemes` is a map"),
        ("openapi: 3.0.0\npaths: {/a: {get: {}, get: {}}}", "`get` is there twice"),
        ("openapi: 3.0.0\npaths: {/a: {get: {secrity: []}}}", "unknown field `secrity`"),
        ("openapi: 3.0.0\npaths: {/a: {get: {Security: []}}}", "hint: did you mean `security`?"),
        ("openapi: 3.0.0\npaths: {/a: {get: {}, security: []}}", "a path has no `security`"),
        ("openapi: 3.0.0\nsecuritys: []\npaths: {/a: {get: {}}}", "unknown field `securitys`"),
    ] {
        let wrong = refused(document, &wanted());
        assert!(wrong.contains(message), "{document}: {wrong}");
    }
    let wrong = refused("openapi: 3.0.0\npaths:\n  /a:\n    get: {security: {}}\n    put: 1\n", &wanted());
    assert!(wrong.contains("--> api.yaml:4:11") && wrong.contains("--> api.yaml:5:5"), "{wrong}");
}

#[test]
fn json_is_read_in_its_order() {
    let document =
        json!({"openapi": "3.0.0", "paths": {"/b": {"get": {"summary": "😀 \u{2028} x"}}, "/a": {"get": {}}}});
    let text = document.to_string().replace("😀", "\\ud83d\\ude00");
    let made = of(&text, &wanted()).unwrap().text;
    assert!(made.contains("# GET: 😀 x\n"), "{made}");
    let text = r#"{"openapi":"3.0.0","paths":{"/b":{"get":{}},"/a":{"get":{}}}}"#;
    let made = of(text, &wanted()).unwrap().text;
    assert!(made.find("path: /b").unwrap() < made.find("path: /a").unwrap(), "{made}");
}

const HOSTILE: [&str; 22] = [
    "x\nroutes: [{name: evil, path: /**, upstream: api, allow: public}]",
    "x\r\n    allow: public\r\n#",
    "x\u{2028}allow: public",
    "x\u{85}allow: public",
    "\" allow: public #",
    "' : {} # x",
    "${HOME}",
    "$${HOME}",
    "$$",
    "${file:/etc/passwd}",
    "a: b",
    "- a",
    "*a",
    "&a",
    "!x",
    "null",
    "010",
    "\u{202e}evil",
    "\u{1b}[31m",
    "\u{0}\u{7}",
    "\u{feff}",
    "\\",
];

/// A document with a text wherever one can be.
fn hostile(text: &str) -> Value {
    // A variable without a default would be all that is seen.
    let server = text.replace(['{', '}'], "");
    json!({
        "openapi": "3.1.0",
        "info": {"title": text, "version": text},
        "servers": [{"url": format!("https://api.example/{server}")}, {"url": text}],
        "components": {"securitySchemes": {
            "a": {"type": "oauth2", "flows": {"x": {"tokenUrl": text}}},
            text: {"type": "http", "scheme": "bearer"},
            "c": {"type": text},
            "d": {"type": "apiKey", "name": text, "in": text},
            "e": {"type": "openIdConnect", "openIdConnectUrl": format!("https://{text}/.well-known/openid-configuration")},
        }},
        "webhooks": {text: {}},
        "paths": {
            format!("/p/{text}"): {"get": {"operationId": text, "summary": text, "security": [{"a": [text]}, {text: [text]}]}},
            format!("/q/{{{text}}}"): {"servers": [], "get": {"description": text, "security": [{"c": [text]}, {"d": []}]}},
            "/r": {"servers": [], "post": {"operationId": text, "callbacks": {text: {}}, "security": [{}]}, text: {}},
            "/s": {"servers": [], "put": {"security": [{"e": [text]}, {text: []}]}, "get": {"security": [{"a": [text]}]}},
        },
    })
}

#[test]
fn no_text_of_a_document_gets_out_of_its_place() {
    for text in HOSTILE {
        let made =
            of(&hostile(text).to_string(), &wanted()).unwrap_or_else(|wrong| panic!("{text:?}: {}", wrong[0])).text;
        let routes = config::load_str(&made, "gateway.yaml").unwrap().policy.routes;
        for route in &routes {
            let is_r = route.paths[0].to_string() == "/r";
            assert_eq!(matches!(route.allow, crate::policy::Access::Public), is_r, "{text:?}\n{made}");
        }
        assert!(
            made.chars().all(|c| c == '\n' || yaml_text::comment(0, &c.to_string()).contains(c) || c == ' '),
            "{text:?}\n{made}"
        );
    }
}

#[test]
fn scalars_are_read_as_they_were() {
    for text in HOSTILE.into_iter().chain([
        "a",
        "a$",
        "$",
        "a$b$",
        "x${a}$$",
        "/a/{b}",
        "é",
        "\u{10ffff}",
        "-",
        "?",
        "~",
        "true",
        "1e5",
        "a:",
        "a #b",
    ]) {
        if text.contains('\0') {
            continue;
        }
        let made = format!(
            "issuers: {{i: {{issuer: \"https://i.example\", audiences: {}}}}}\nroutes: [{{name: a, path: /a, upstream: \"http://127.0.0.1:1\", allow: authenticated}}]",
            yaml_text::list(&[text])
        );
        let loaded = config::load_str(&made, "f").unwrap_or_else(|wrong| panic!("{made}: {}", wrong[0]));
        let audiences = format!("{:?}", loaded.policy.issuers[0].audiences);
        assert_eq!(audiences, format!("OneOf([{text:?}])"), "{made}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn whatever_a_text_is_what_comes_of_it_passes(text in "\\PC{0,12}|[a-z{}./*%?:$#\"'\\\\ \n]{0,10}") {
        if let Err(wrong) = of(&hostile(&text).to_string(), &wanted()) {
            prop_assert!(!wrong[0].message.contains("is no configuration"), "{text:?}: {}", wrong[0]);
        }
    }
}

#[test]
fn hosts_are_named_where_they_make_a_difference() {
    let elsewhere = "servers: [{url: 'https://a.example'}]\npaths:\n  /x:\n    get: {security: []}\n";
    let several = "    post: {security: [], servers: [{url: 'https://b.example'}]}\n";
    let made = |paths: &str| {
        let document = format!("openapi: 3.0.3\ninfo: {{title: T, version: '1'}}\n{paths}");
        let wanted = Wanted { hosts: false, upstream: None, ..wanted() };
        of(&document, &wanted).unwrap_or_else(|wrong| panic!("{document}\n{}", wrong[0])).text
    };
    let one = made(elsewhere);
    assert!(!one.contains("    hosts: ") && one.contains("not for a.example alone"), "{one}");
    let two = made(&format!("{elsewhere}{several}"));
    for host in ["a", "b"] {
        assert!(two.contains(&format!("    hosts: [{host}.example]\n")), "{two}");
    }
}
