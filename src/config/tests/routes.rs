//! What the author of a route is told about what it does with its requests.

use super::*;

/// What is wrong with routes of these lines, each `{…}` completed by a name, an upstream and `allow`.
fn of_routes(routes: &[&str]) -> Vec<String> {
    let lines =
        routes.iter().enumerate().map(|(place, route)| format!("  - {{name: r{place}, allow: public, {route}}}\n"));
    messages(&format!("upstreams:\n  u: {{url: \"http://127.0.0.1:1\"}}\nroutes:\n{}", lines.collect::<String>()))
}

#[test]
fn paths_that_go_upstream() {
    let good = [
        "upstream: u, path: \"/rest/**\", strip_prefix: /rest",
        "upstream: u, paths: [\"/a/{x}\", \"/b/{x}/**\"], rewrite: \"/v2/{x}\"",
    ];
    assert_eq!(of_routes(&good), [""; 0]);
    let bad = [
        "upstream: u, path: \"/a/**\", strip_prefix: /a, rewrite: /b",
        "upstream: u, paths: [\"/b/c\", \"/bc\"], strip_prefix: /b",
        "upstream: u, path: \"/d/{x}\", rewrite: \"/{y}\"",
        "upstream: u, path: /e, strip_prefix: e",
    ];
    assert_eq!(
        of_routes(&bad),
        [
            "error: `rewrite` beside `strip_prefix` (at gateway.yaml:4:73)",
            "error: the route's path `/bc` does not begin with `/b`",
            "error: the route's path `/d/{x}` has no parameter `y`",
            "error: the path `e` does not begin with a slash: write `/e`",
        ]
    );
}

#[test]
fn headers_that_are_set_and_removed() {
    let good = "upstream: u, path: /, headers: {request: {set: {X-Env: prod, X-Forwarded-Prefix: /a}, remove: [Cookie]}, \
                response: {set: {Cache-Control: private}}}";
    assert_eq!(of_routes(&[good]), [""; 0]);
    let bad = [
        "upstream: u, path: /a, identity: {headers: {X-Tenant: claims.t}}",
        "upstream: u, path: /b, headers: {request: {set: {x_tenant: a, X.Auth-Subject: b}, remove: [X-Auth-Roles]}}",
        "upstream: u, path: /c, headers: {request: {set: {Authorization: a, Host: b}, remove: [via, x-forwarded_for]}}",
        "upstream: u, path: /d, headers: {response: {set: {Content-Length: 1, X-A: 1, x_a: 2}, remove: [Transfer_Encoding, x-a]}}",
        "upstream: u, path: /e, headers: {response: {set: {X B: 1, X-C: \"a\\r\\nX-D: 1\", X-E: \u{e9}, \"_\": a}}}",
    ];
    assert_eq!(
        of_routes(&bad),
        [
            "error: `x_tenant` can't be set or removed here",
            "error: `X.Auth-Subject` can't be set or removed here",
            "error: `X-Auth-Roles` can't be set or removed here",
            "error: `Authorization` can't be set or removed here",
            "error: `Host` can't be set or removed here",
            "error: `via` can't be set or removed here",
            "error: `x-forwarded_for` can't be set or removed here",
            "error: `Content-Length` is about the connection or the body's length",
            "error: `x_a` is the same header as the one at gateway.yaml:7:100",
            "error: `Transfer_Encoding` is about the connection or the body's length",
            "error: `x-a` is set, too, at gateway.yaml:7:100",
            "error: `X B` is not a header's name",
            "error: a header can't hold this text",
            "error: a header can't hold this text",
            "error: `_` is not a header's name",
        ]
    );
}

#[test]
fn answers_in_the_place_of_an_upstream() {
    let good = [
        "upstream: u, path: /a",
        "path: /b, respond: {}",
        "path: /c, respond: {status: 404, body: gone, headers: {Content-Type: text/html}}",
        "path: \"/d/{x}/**\", redirect: {to: \"https://new.example/{x}/**\"}",
        "path: /e, redirect: {to: /a, status: 303}",
    ];
    assert_eq!(of_routes(&good), [""; 0]);
    let bad = [
        "upstream: u, path: /a, respond: {}",
        "path: /b, respond: {}, redirect: {to: /a}",
        "path: /c",
        "path: /d, respond: {status: 101}",
        "path: /e, respond: {status: 204, body: a}",
        "path: /f, respond: {headers: {Transfer-Encoding: chunked}}",
        "path: /g, redirect: {status: 304, to: /a}",
        "path: /h, redirect: {status: 301}",
        "path: /i, redirect: {to: \"https://{host}/\"}",
        "path: \"/j/**\", redirect: {to: /a}, strip_prefix: /j",
        "path: /k, respond: {}, headers: {request: {remove: [X-A]}, response: {remove: [X-B]}}",
    ];
    assert_eq!(
        of_routes(&bad),
        [
            "error: `respond` beside `upstream` (at gateway.yaml:4:41)",
            "error: `redirect` beside `respond` (at gateway.yaml:5:41)",
            "error: `upstream` is missing in routes[2]",
            "error: the status of an answer is a number from 200 to 599",
            "error: an answer with status 204 has no body",
            "error: `Transfer-Encoding` is about the connection or the body's length",
            "error: the status of a redirect is 301, 302, 303, 307 or 308",
            "error: `to` is missing in routes[7].redirect",
            "error: `https://{host}`: a redirect's host is written out, without parameters, user and password",
            "error: with `redirect` nothing goes upstream that this could change",
            "error: with `respond` nothing goes upstream that this could change",
        ]
    );
}

#[test]
fn pages_of_other_origins() {
    let good = [
        "upstream: u, path: /a, cors: {origins: [\"*\"], headers: [\"*\"]}",
        "upstream: u, path: /b, cors: {origins: [\"https://a.example\", \"http://localhost:3000\", \"capacitor://localhost\"], \
         methods: [GET], credentials: true, max_age: 0s}",
    ];
    assert_eq!(of_routes(&good), [""; 0]);
    let bad = [
        "upstream: u, path: /a, cors: {}",
        "upstream: u, path: /b, cors: {origins: []}",
        "upstream: u, path: /c, cors: {origins: [\"*\"], headers: [\"*\"], credentials: true}",
        "upstream: u, path: /d, cors: {origins: [\"*\", \"https://a.example\"]}",
        "upstream: u, path: /e, cors: {origins: [\"https://*.a.example\", \"https://a.example/\", a.example, \"null\"]}",
        "upstream: u, path: /f, cors: {origins: [\"https://A.example\", \"https://a.example:443\", \"https://u@a.example\"]}",
        "upstream: u, path: /g, cors: {origins: [\"https://a.example\"], methods: [get], headers: [\"a b\"]}",
        "upstream: u, path: /h, cors: {origins: [\"https://a.example\"]}, headers: {response: {set: {access-control-allow-origin: \"*\"}}}",
    ];
    assert_eq!(
        of_routes(&bad),
        [
            "error: `origins` is missing in routes[0].cors",
            "error: an empty list",
            "error: `*` beside `credentials: true`: any page could act as the user",
            "error: `*` beside `credentials: true`: any page could act as the user",
            "error: `*` beside other origins: every origin is allowed then",
            "error: `https://*.a.example` is not the origin of a page",
            "error: `https://a.example/` is not the origin of a page",
            "error: `a.example` is not the origin of a page",
            "error: `null` is not the origin of a page",
            "error: `https://A.example` is not the origin of a page",
            "error: `https://a.example:443` is not the origin of a page",
            "error: `https://***@a.example` is not the origin of a page",
            "error: `get` is not a method that anyone sends",
            "error: `a b` is not a header's name",
            "error: `access-control-allow-origin` is said by `cors`",
        ]
    );
}

#[test]
fn paths_before_an_upstream_that_ignores_case() {
    let file = |path: &str, more: &str| {
        messages(&format!(
            "upstreams:\n  u: {{url: \"http://127.0.0.1:1\", paths: case_insensitive}}\n  \
             v: {{url: \"http://127.0.0.1:2\", paths: exact}}\n\
             routes:\n  - {{name: a, path: \"{path}\", allow: public, {more}}}\n  \
             - {{name: b, path: /b, allow: public, upstream: u}}\n  - {{name: c, path: /c, allow: public, upstream: v}}\n"
        ))
    };
    for (path, more) in [
        ("/admin/{Id}/**", "upstream: u"),
        ("/caf%C3%A9", "upstream: u"),
        ("/Admin", "upstream: v"),
        ("/admin", "respond: {status: 404}"),
    ] {
        assert_eq!(file(path, more), [""; 0], "{path}");
    }
    for (path, more) in
        [("/Admin/**", "upstream: u"), ("/caf%C3%89", "upstream: u"), ("/Admin/**", "respond: {status: 404}")]
    {
        let expected = format!("error: `{path}` has capital letters, before an upstream that ignores case");
        assert_eq!(file(path, more), [expected]);
    }
    let word = messages("upstreams:\n  u: {url: \"http://127.0.0.1:1\", paths: any_case}\nroutes: []\n");
    assert_eq!(word[0], "error: `any_case` is not `exact` or `case_insensitive`");
}
