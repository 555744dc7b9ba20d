//! What is legal and probably not meant: what the author is told, and that a good file is told nothing.

use hyper::{HeaderMap, Method};

use super::*;
use crate::{
    decision::rehearsal::Presented,
    observe::Observer,
    rehearsal::{Question, rehearse},
    snapshot::{LongLived, Snapshot},
};

const HEAD: &str = "\
issuers:
  a: {issuer: \"https://a.example\", audiences: [api]}
upstreams:
  u: {url: \"http://127.0.0.1:1\"}
routes:
";

macro_rules! told {
    ($($name:ident: $routes:expr, $behave:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            let text = format!("{HEAD}  {}", $routes);
            insta::with_settings!({ description => &text, omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(concat!("analysis_", stringify!($name)), shown(&text));
            });
            assert_eq!(behaviour(&text).await, $behave);
        })*
    };
}

/// What becomes of the requests that the warnings of a file name, sent without a token: `GET /x: 200 route`.
async fn behaviour(text: &str) -> Vec<String> {
    let loaded = load_str(text, "gateway.yaml").unwrap();
    let snapshot = Snapshot::assemble(&loaded.policy, &LongLived::new(Observer::silent(), 1)).unwrap().0;
    let mut all = Vec::new();
    for warning in &loaded.warnings {
        let request = warning.message.split('`').find(|part| is_request(part)).unwrap_or_else(|| panic!("{warning:?}"));
        let (method, place) = request.split_once(' ').unwrap();
        let host = if place.starts_with('/') { "other.example" } else { "" };
        let question = Question::new(method, &format!("https://{host}{place}"), HeaderMap::new()).unwrap();
        let answer = rehearse(&snapshot, &question, Presented::Sent { may_fetch: false }).await;
        let route = answer.route(&snapshot).map_or("", |route| &route.settings.name);
        all.push(format!("{request}: {} {route}", answer.status()));
    }
    all
}

fn is_request(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(method, rest)| {
        Method::from_bytes(method.as_bytes()).is_ok_and(|method| method.as_str() == method.as_str().to_uppercase())
            && rest.contains('/')
    })
}

told! {
    weaker_inside: "\
  - {name: api, path: /api/**, upstream: u, allow: [{roles: [admin]}]}
  - {name: health, path: /api/health, methods: [GET], upstream: u, allow: public}
  - {name: help, path: \"/api/help/{page}\", upstream: u, allow: authenticated}
  - {name: order, path: \"/orders/{id}\", upstream: u, allow: [{methods: [GET], scopes: [read]}]}
  - {name: export, path: /orders/export, methods: [GET], upstream: u, allow: optional}
", ["GET /api/health: 200 health", "GET /api/help/7: 401 help", "GET /orders/export: 200 export"];
    open_below: "\
  - {name: files, path: /files/**, upstream: u, allow: public}
  - {name: private, path: /files/private, upstream: u, allow: [{scopes: [files]}]}
", ["GET /files/private/x: 200 files"];
    hidden_values: "\
  - {name: members, path: \"/teams/{team}/members\", upstream: u, allow: [{claims: {team: \"{path.team}\"}}]}
  - {name: demo, path: /teams/demo/**, methods: [GET], upstream: u, allow: public}
", ["GET /teams/demo/members: 200 demo"];
    lower_host_rank: "\
  - {name: site, path: /**, upstream: u, allow: public}
  - {name: api, hosts: [\"*.api.example\"], path: /orders, upstream: u, allow: authenticated}
", ["GET a.api.example/x: 200 site", "GET a.api.example/orders/x: 200 site"];
    redundant_rules: "\
  - name: orders
    path: /orders/{id}
    upstream: u
    allow:
      - {methods: [GET], scopes: [read]}
      - {methods: [GET], scopes: [read, list], roles: [staff]}
      - {methods: [GET, POST], any_scope: [write, admin]}
      - {methods: [POST], scopes: [admin]}
      - {methods: [GET], scopes: [read]}
      - {methods: [PUT], max_age: 1h}
      - {methods: [PUT], max_age: 5m, acr: [gold]}
", ["GET /orders/7: 401 orders", "POST /orders/7: 401 orders", "GET /orders/7: 401 orders", "PUT /orders/7: 401 orders"];
    unmet_rules: "\
  - name: orders
    path: /orders/{id}
    upstream: u
    allow:
      - {methods: [GET], claims: {acr: {present: false}}, acr: [gold]}
      - {methods: [PUT], claims: {acr: silver}, acr: [gold, platinum]}
      - {methods: [DELETE], claims: {auth_time: {present: false}}, max_age: 5m}
      - {methods: [POST], scopes: [\"read,write\"]}
      - {methods: [PATCH], claims: {acr: [silver, gold]}, acr: [gold]}
", ["GET /orders/7: 401 orders", "PUT /orders/7: 401 orders", "DELETE /orders/7: 401 orders", "POST /orders/7: 401 orders"];
    unreachable: "\
  - {name: all, path: /a/**, upstream: u, allow: [{scopes: [all]}]}
  - {name: one, path: /a, upstream: u, allow: [{scopes: [one]}]}
  - {name: below, path: \"/a/{x}/**\", upstream: u, allow: [{scopes: [below]}]}
", ["GET /a/7: 401 below"];
}

/// At the places where issuers tell of their sessions.
#[tokio::test]
async fn places_of_notices() {
    let text = |listen: &str, routes: &str| {
        format!(
            "listen: [{listen}]\nissuers:\n  a: {{issuer: \"https://a.example\", audiences: [api], logout: {{back_channel: true, events: true}}}}\n  \
             b.c: {{issuer: \"https://b.example\", audiences: [api], logout: {{back_channel: true}}}}\n\
             upstreams: {{u: {{url: \"http://127.0.0.1:1\"}}}}\nroutes:\n{routes}"
        )
    };
    let (proxy, asked) = (
        "{name: p, address: \"127.0.0.1:1\"}",
        "{name: d, address: \"127.0.0.1:2\", mode: forward_auth, request_from: self}",
    );
    let hidden = "  - {name: logout, paths: [/.well-known/bearward/logout/a/, /mine], methods: [POST], upstream: u, allow: public}
  - {name: events, path: /.well-known/bearward/events/a, hosts: [\"*.example\"], upstream: u, allow: public}
  - {name: encoded, path: \"/%2Ewell-known/bearward/logout/b%2ec\", upstream: u, allow: authenticated}
";
    insta::assert_snapshot!(shown(&text(proxy, hidden)));
    assert_eq!(
        behaviour(&text(proxy, hidden)).await,
        [
            "POST /.well-known/bearward/logout/a: 200 ",
            "GET a.example/.well-known/bearward/events/a: 405 ",
            "GET /.well-known/bearward/logout/b.c: 405 "
        ]
    );
    for good in [
        "/.well-known/bearward/events/b.c",
        "/.well-known/bearward/logout/A",
        "/.well-known/bearward/logout/a/**",
        "/.well-known/bearward/logout/a/more",
        "/.well-known/bearward/logout",
        "\"/.well-known/bearward/{x}/a\"",
        "/**",
    ] {
        let route = format!("  - {{name: r, path: {good}, upstream: u, allow: [{{scopes: [a]}}]}}\n");
        assert_eq!(messages(&text(proxy, &route)), Vec::<String>::new(), "{good}");
    }
    let at = |listeners: &str| {
        let place = "/.well-known/bearward/logout/a";
        format!("  - {{name: r, path: {place}, listeners: {listeners}, upstream: u, allow: [{{scopes: [a]}}]}}\n")
    };
    let both = format!("{proxy}, {asked}");
    assert_eq!(messages(&text(&both, &at("[p]"))).len(), 1);
    assert_eq!(messages(&text(&both, &at("[p, d]"))), Vec::<String>::new(), "it is asked about there");
    let decided = text(&both, &at("[d]")).replace("upstream: u, ", "");
    assert_eq!(messages(&decided), ["warning: no route leads to this upstream"]);
}

#[test]
fn known_risks() {
    let text = r#"
issuers:
  b: {issuer: "http://b.example", audiences: any, allow_http: true}
upstreams:
  plain: {url: "http://10.0.0.1:1"}
routes:
  - {name: r, path: "/r/{x}", hosts: [api.example], upstream: plain, allow: [{methods: [PUT], scopes: [r]}], enforce: false}
"#;
    insta::assert_snapshot!(shown(text));
}

/// What came from a variable or a file isn't shown in a request either.
#[test]
fn nothing_foreign_is_shown() {
    let text = format!(
        "{HEAD}{}",
        r#"
  - {name: api, path: "/${HOST}/**", upstream: u, allow: [{scopes: [a]}]}
  - {name: in, path: "/${HOST}/in", upstream: u, allow: public}
  - {name: host, path: /h/**, hosts: ["${HOST}"], upstream: u, enforce: false, allow: [{scopes: ["${HOST},b"], claims: {acr: {present: false}}, acr: [a]}]}
  - {name: site, path: /**, upstream: u, allow: public}
"#
        .trim_start_matches('\n')
    );
    let told = shown(&text);
    assert!(!told.contains("swordfish"), "{told}");
}

#[test]
fn roles_of_all_clients() {
    let text = r#"
issuers:
  a: {issuer: "https://a.example", audiences: [api], claims: {roles: [roles, resource_access.*.roles]}}
  b: {issuer: "https://b.example", audiences: [api], claims: {roles: [resource_access.*.roles]}}
routes:
  - {name: r, path: /r, upstream: "http://127.0.0.1:1", issuers: [a], allow: [{methods: [PUT], any_role: [admin]}]}
  - {name: s, path: /s, upstream: "http://127.0.0.1:1", issuers: [b], allow: [{scopes: [x]}]}
"#;
    insta::assert_snapshot!(shown(text));
}

#[test]
fn bindings_that_no_request_can_prove() {
    let text = |constraint: &str, more: &str| {
        format!(
            "{more}issuers: {{a: {{issuer: \"https://a.example\", audiences: [api], sender_constraint: {constraint}}}}}\n\
             routes: [{{name: r, path: /r, upstream: \"http://127.0.0.1:1\", token_from: [{{query: t}}], allow: authenticated}}]\n"
        )
    };
    let told = shown(&text("mtls", ""));
    assert!(told.contains("no client is asked for a certificate"), "{told}");
    let told = shown(&text("mtls", "server: {trusted_proxies: [10.0.0.0/8]}\n"));
    assert!(!told.contains("certificate"), "{told}");
    let told = shown(&text("dpop", ""));
    assert!(told.contains("which only `Authorization` takes"), "{told}");
    let told = shown(&text("dpop", "").replace("[{query: t}]", "[header, {query: t}]"));
    assert!(!told.contains("DPoP"), "{told}");
}

#[test]
fn logouts_that_end_what_comes_later() {
    let text = |issuer: &str| {
        format!(
            "issuers: {{a: {{issuer: \"https://a.example\", audiences: any, {issuer}}}}}\n\
             routes: [{{name: r, path: /r, upstream: \"http://127.0.0.1:1\", allow: authenticated}}]\n"
        )
    };
    let userinfo = "userinfo: {endpoint: \"https://a.example/userinfo\"}";
    let introspection =
        "introspection: {endpoint: \"https://a.example/introspect\", client_id: g, client_secret: hunter22hunter22}";
    for (issuer, told) in [
        (format!("{userinfo}, logout: {{back_channel: true}}"), "`userinfo` doesn't say when"),
        (format!("{userinfo}, logout: {{events: true}}"), "`userinfo` doesn't say when"),
        (format!("{introspection}, logout: {{events: true}}"), "introspection answers have no `iat`"),
        (format!("{introspection}, jwt: {{}}, logout: {{back_channel: true}}"), "introspection answers have no `iat`"),
    ] {
        assert!(shown(&text(&issuer)).contains(told), "{issuer}: {}", shown(&text(&issuer)));
    }
    for issuer in [userinfo, introspection, "logout: {back_channel: true, events: true}"] {
        assert!(!shown(&text(issuer)).contains("a month"), "{issuer}");
    }
}

#[test]
fn tokens_in_clear_text() {
    let text = |listen: &str, more: &str| {
        format!("listen: [\"{listen}\"]\n{more}{HEAD}  - {{name: r, path: /r, upstream: u, allow: authenticated}}\n")
    };
    insta::assert_snapshot!(shown(&text("0.0.0.0:8080", "")));
    assert_eq!(shown(&text("127.0.0.1:8080", "")), "");
    assert_eq!(shown(&text("[::1]:8080", "")), "");
    assert_eq!(shown(&text("0.0.0.0:8080", "server: {trusted_proxies: [10.0.0.0/8]}\n")), "");
}

#[test]
fn a_token_of_the_gateways_own_in_clear_text() {
    let text = |url: &str| {
        format!(
            "upstreams: {{u: {{url: \"{url}\", token: {{endpoint: \"https://a.example\", grant: client_credentials, client_id: a, client_secret: b}}}}}}\n\
             routes: [{{name: r, path: /r, upstream: u, allow: public}}]\n"
        )
    };
    let told = messages(&text("http://10.0.0.1:9000"));
    assert!(matches!(told.as_slice(), [one] if one.contains("tokens go to this upstream over plain http")), "{told:?}");
    for url in ["https://10.0.0.1", "http://127.0.0.1:9000", "unix:/run/api.sock"] {
        assert_eq!(messages(&text(url)), Vec::<String>::new(), "{url}");
    }
}

#[test]
fn metadata_that_nobody_serves() {
    let text = |listen: &str| {
        format!(
            "listen: [{listen}]\nissuers: {{a: {{issuer: \"https://a.example\", audiences: [api]}}}}\n\
             routes: [{{name: r, path: /r, allow: authenticated, respond: {{status: 410}}, protected_resource: {{resource: \"https://api.example/r\"}}}}]\n"
        )
    };
    let asked = "{address: \"127.0.0.1:1\", mode: forward_auth, request_from: self}";
    let told = messages(&text(asked));
    assert!(matches!(told.as_slice(), [one] if one.contains("a document that is nowhere")), "{told:?}");
    assert_eq!(messages(&text(&format!("{asked}, \"127.0.0.1:2\""))), Vec::<String>::new());
    assert_eq!(messages(&text("{address: \"127.0.0.1:1\", mode: ext_authz}")), Vec::<String>::new());
}

#[test]
fn listeners_that_only_decide() {
    let text = |listen: &str, more: &str, route: &str| {
        format!("listen: [{listen}]\n{more}issuers: {{}}\nroutes: [{{name: r, path: /r, allow: public{route}}}]\n")
    };
    let asked = |address: &str| format!("{{address: \"{address}\", mode: forward_auth, request_from: self}}");
    let trusted = "server: {trusted_proxies: [10.0.0.0/8]}\n";
    let (local, open) = (asked("127.0.0.1:1"), asked("0.0.0.0:1"));
    let limit = ", rate_limit: {rate: 1/s, per: ip}";
    let issuers = "{a: {issuer: \"https://a.example\", audiences: [api]}}";
    insta::assert_snapshot!(
        [
            shown(&text(&open, "", "")),
            shown(&text(&local, "", limit)),
            shown(&text(&local, "", ", revokes: token").replace("public", "authenticated").replace("{}", issuers)),
            shown(&text(&local, "", ", respond: {status: 204}")),
        ]
        .join("\n")
    );
    let both = format!("{local}, \"127.0.0.1:2\"");
    let telling = issuers.replace("[api]", "[api], logout: {events: true}");
    let route = ", issuers: [a]";
    let nobody_listens = messages(&text(&local, "", route).replace("public", "authenticated").replace("{}", &telling));
    assert_eq!(
        nobody_listens,
        ["warning: no listener takes what this issuer tells of its sessions: no token is ended by it"]
    );
    let answered = text(&both, "", ", issuers: [a], respond: {status: 204}").replace("public", "authenticated");
    assert_eq!(messages(&answered.replace("{}", &telling)), Vec::<String>::new());
    for good in [
        text(&local, "", ""),
        text(&asked("unix:/a.sock"), "", ""),
        text(&open, trusted, limit),
        text(&both, "", ", respond: {status: 204}"),
        text(&local, "", ", respond: {status: 410}"),
    ] {
        assert_eq!(messages(&good), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn a_good_file_is_told_nothing() {
    let routes = r#"
  - {name: site, path: /**, upstream: u, allow: public}
  - {name: ready, path: /ready, upstream: u, methods: [GET], allow: public}
  - {name: orders, path: "/orders/{id}/**", upstream: u, allow: [{methods: [GET], scopes: [read]}, {methods: [GET], roles: [admin]}, {methods: [PUT], scopes: [read, write]}]}
  - {name: export, path: /orders/export/**, upstream: u, allow: [{scopes: [export]}]}
  - {name: old, path: "/orders/{id}/old", redirect: {to: "/orders/{id}"}, allow: public}
  - {name: a, path: "/x/{a}", upstream: u, methods: [GET], allow: [{scopes: [read]}]}
  - {name: b, path: "/x/{b}/**", upstream: u, methods: [PUT], allow: [{scopes: [read]}]}
"#;
    let told = messages(&format!("{HEAD}{}", routes.trim_start_matches('\n')));
    assert!(told.is_empty(), "{told:#?}");
    assert_eq!(messages(include_str!("../../../gateway.yaml")), Vec::<String>::new());
}

/// Ten thousand routes inside of each other, beside each other and with many rules take no pair each.
#[test]
fn many_routes_are_looked_at_once_each() {
    let mut text = HEAD.to_owned();
    for index in 0..10_000 {
        let access = ["public", "authenticated", "[{scopes: [a]}]"][index % 3];
        let path = match index % 4 {
            0 => format!("/a/{{x}}/c{index}"),
            1 => format!("/a/b{index}/**"),
            2 => format!("/a/{{x}}/c{index}/{{y}}/d"),
            _ => format!("/c{index}"),
        };
        text.push_str(&format!("  - {{name: r{index}, path: \"{path}\", upstream: u, allow: {access}}}\n"));
    }
    let findings = messages(&text);
    assert!(findings.len() < 200, "{}", findings.len());
}
