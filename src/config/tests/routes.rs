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
