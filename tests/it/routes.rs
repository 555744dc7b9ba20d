//! What a route does with the requests that it lets in.

use crate::support::{
    gateway::{Gateway, configuration_of},
    upstream::Upstream,
};

/// A gateway with public routes to an upstream of this base path.
fn public(upstream: &Upstream, base: &str, routes: &str) -> Gateway {
    Gateway::start(&configuration_of("  {}\n", &format!("{}{base}", upstream.url()), routes))
}

#[test]
fn the_path_that_goes_upstream_can_be_another() {
    let upstream = Upstream::start();
    let gateway = public(
        &upstream,
        "/base",
        r#"
  - {name: strip, path: "/rest/**", upstream: echo, allow: public, strip_prefix: /rest}
  - {name: write, paths: ["/old/{id}", "/older/{kind}/{id}/**"], upstream: echo, allow: public, rewrite: "/v2/{id}"}
"#,
    );
    for (path, sent) in [
        ("/rest", "/base/"),
        ("/rest/a/b/?c=/rest/d", "/base/a/b/?c=/rest/d"),
        ("/%72est/a%2bb", "/base/a%2Bb"),
        ("/x/../rest/y", "/base/y"),
        ("/rest/a;v=1", "/base/a;v=1"),
        ("/old/7", "/base/v2/7"),
        ("/old/a%2520b?q", "/base/v2/a%2520b?q"),
        ("/older/x/%C3%A9/rest", "/base/v2/%C3%A9"),
    ] {
        assert_eq!(gateway.get(path).status, 200, "{path}");
        assert_eq!(upstream.last_request().target, sent, "{path}");
    }
    upstream.forget();
    for path in
        ["/rest//evil.example", "/rest/..;/rest/secret", "/rest/%252e%252e/rest/secret", "/old/..", "/old/.%2e;"]
    {
        let status = gateway.get(path).status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    assert_eq!(upstream.requests().len(), 0);
}
