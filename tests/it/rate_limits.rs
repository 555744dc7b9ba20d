//! Rate limits: whose requests are counted together, and what a client is told.

use crate::support::{
    gateway::{Gateway, configuration},
    issuer::Issuer,
    keys::Key,
    raw::Response,
    upstream::Upstream,
};

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

/// `more`: what a route says beside its name, path and upstream.
fn start(more: &str) -> Scene {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k")), Upstream::start());
    let routes = format!("  - {{name: api, path: \"/**\", upstream: echo, {more}}}\n");
    let yaml = configuration(&issuer, &upstream, &routes)
        .replace("server: {workers: 2}", "server: {workers: 2, trusted_proxies: [127.0.0.1]}");
    let gateway = Gateway::start(&yaml);
    Scene { issuer, upstream, gateway }
}

impl Scene {
    /// A request with a token of this client and subject.
    fn call_as(&self, client: &str, subject: &str, tenant: Option<&str>) -> Response {
        let mut token = self.issuer.token().sub(subject).claim("client_id", client.into());
        if let Some(tenant) = tenant {
            token = token.claim("tenant", tenant.into());
        }
        self.gateway.get_with("/", &token.build())
    }

    fn call_from(&self, ip: &str) -> Response {
        self.gateway.call("GET", "/", &format!("X-Forwarded-For: {ip}\r\n"))
    }
}

#[track_caller]
fn statuses(responses: impl IntoIterator<Item = Response>) -> Vec<u16> {
    responses.into_iter().map(|response| response.status).collect()
}

/// Not more seconds than that; how many fewer depends on how fast the machine is.
#[track_caller]
fn assert_soon(seconds: &str, most: u64) {
    let seconds: u64 = seconds.parse().unwrap();
    assert!(seconds > 0 && seconds <= most, "{seconds}");
}

#[track_caller]
fn assert_left(field: &str, name: &str, left: u64, most_seconds: u64) {
    let seconds = field.strip_prefix(&format!("\"{name}\";r={left};t=")).unwrap_or_else(|| panic!("{field}"));
    assert_soon(seconds, most_seconds);
}

#[test]
fn a_client_is_told_what_is_left_and_when_to_come_again() {
    let scene = start("allow: authenticated, rate_limit: {rate: 2/h, burst: 3}");
    scene.upstream.answer_with(200, "RateLimit: \"theirs\";r=9\r\n", b"hello");
    let field = |response: &Response, name: &str| response.fields.all(name).collect::<Vec<_>>().join("|");
    for left in [2, 1, 0] {
        let response = scene.call_as("app", "alice", None);
        assert_eq!(response.status, 200);
        assert_eq!(field(&response, "ratelimit-policy"), "\"client\";q=2;w=3600");
        assert_left(&field(&response, "ratelimit"), "client", left, 1800 * (3 - left));
        assert_eq!(response.fields.get("retry-after"), None);
    }
    let refused = scene.call_as("app", "alice", None);
    assert_eq!((refused.status, refused.json()["status"].as_u64()), (429, Some(429)));
    assert_soon(&field(&refused, "retry-after"), 1800);
    assert_eq!(field(&refused, "ratelimit-policy"), "\"client\";q=2;w=3600");
    assert_left(&field(&refused, "ratelimit"), "client", 0, 5400);
    assert_eq!(refused.fields.get("www-authenticate"), None);
    assert_eq!(scene.upstream.requests().len(), 3);
    assert_eq!(scene.gateway.metric("bearward_rate_limited_total{route=\"api\"}"), 1.0);
    let decisions = "bearward_decisions_total{issuer=\"main\",outcome=\"deny\",reason=\"rate_limit\",route=\"api\"}";
    assert_eq!(scene.gateway.metric(decisions), 1.0);
}

#[test]
fn requests_are_counted_by_client_subject_or_claim() {
    for (per, same, other) in [
        ("client", [("app", "alice", None), ("app", "bob", Some("b"))], ("web", "alice", None)),
        ("subject", [("app", "alice", None), ("web", "alice", Some("b"))], ("app", "bob", None)),
        ("claims.tenant", [("app", "alice", Some("a")), ("web", "bob", Some("a"))], ("app", "alice", Some("b"))),
    ] {
        let scene = start(&format!("allow: authenticated, rate_limit: {{rate: 1/h, per: {per}}}"));
        let (one, two) = (same[0], same[1]);
        let calls = [one, two, other, one].map(|(client, subject, tenant)| scene.call_as(client, subject, tenant));
        assert_eq!(statuses(calls), [200, 429, 200, 429], "{per}");
    }
}

#[test]
fn who_has_no_such_claim_is_counted_by_address() {
    let scene = start("allow: optional, rate_limit: {rate: 1/h, per: claims.tenant}");
    assert_eq!(scene.call_as("app", "alice", None).status, 200);
    assert_eq!(scene.call_as("web", "bob", None).status, 429);
    assert_eq!(scene.gateway.get("/").status, 429);
    assert_eq!(scene.call_from("192.0.2.1").status, 200);
    assert_eq!(scene.call_as("app", "alice", Some("a")).status, 200);
}

#[test]
fn addresses_and_routes_are_counted_before_the_credential_is_looked_at() {
    for per in ["ip", "route"] {
        let scene = start(&format!("allow: authenticated, rate_limit: {{rate: 1/h, burst: 2, per: {per}}}"));
        let bad = || scene.gateway.get_with("/", "not.a.token");
        let responses = [bad(), scene.gateway.get("/"), bad(), scene.call_as("app", "alice", None)];
        assert!(responses[..2].iter().all(|response| response.fields.get("ratelimit").is_some()));
        assert_eq!(statuses(responses), [401, 401, 429, 429], "{per}");
        assert_eq!(scene.call_from("192.0.2.1").status, if per == "ip" { 401 } else { 429 });
    }
}

#[test]
fn what_was_refused_is_not_counted_by_client() {
    let scene = start("allow: [{scopes: [write]}], rate_limit: {rate: 1/h}");
    assert_eq!(statuses((0..3).map(|_| scene.call_as("app", "alice", None))), [403; 3]);
    let good = || scene.gateway.get_with("/", &scene.issuer.token().scope("write").build());
    assert_eq!(statuses([good(), good()]), [200, 429]);
}

#[test]
fn an_ipv6_customer_is_one_however_many_addresses_it_has() {
    let scene = start("allow: public, rate_limit: {rate: 1/h}");
    let calls = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2", "192.0.2.1"];
    assert_eq!(statuses(calls.map(|ip| scene.call_from(ip))), [200, 429, 200, 200, 200, 429]);
}

#[test]
fn several_limits_hold_together() {
    let limits = "[{rate: 3/h, per: route}, {rate: 1/h, per: subject}, {rate: 60/m, per: ip}]";
    let scene = start(&format!("allow: authenticated, rate_limit: {limits}"));
    let first = scene.call_as("app", "alice", None);
    assert_eq!(
        first.fields.get("ratelimit-policy"),
        Some("\"route\";q=3;w=3600, \"ip\";q=60;w=60, \"subject\";q=1;w=3600")
    );
    assert_eq!(first.fields.get("ratelimit"), Some("\"route\";r=2;t=1200, \"ip\";r=59;t=1, \"subject\";r=0;t=3600"));
    let second = scene.call_as("app", "alice", None);
    assert_eq!(second.status, 429);
    assert_soon(second.fields.get("retry-after").unwrap(), 3600);
    assert_eq!(scene.call_as("app", "bob", None).status, 200);
    let third = scene.call_as("app", "carol", None);
    assert_eq!(third.status, 429);
    assert_soon(third.fields.get("retry-after").unwrap(), 1200);
    assert_left(third.fields.get("ratelimit").unwrap(), "route", 0, 3600);
}

#[test]
fn a_dry_run_is_limited_all_the_same() {
    let scene = start("allow: [{scopes: [write]}], enforce: false, rate_limit: {rate: 1/h}");
    assert_eq!(scene.call_as("app", "alice", None).status, 200);
    assert_eq!(scene.call_as("app", "alice", None).status, 429);
    assert_eq!(statuses([scene.gateway.get("/"), scene.gateway.get("/")]), [200, 429], "nobody: by address");
}

#[test]
fn an_answer_of_the_gateways_own_is_limited() {
    let issuer = Issuer::start(&Key::es256("k"));
    let yaml = configuration(&issuer, &Upstream::start(), "").replace(
        "routes:\n",
        "routes: [{name: own, path: /own, respond: {body: hi}, allow: public, rate_limit: {rate: 1/h, per: route}}]\n",
    );
    let gateway = Gateway::start(&yaml);
    assert_eq!(statuses([gateway.get("/own"), gateway.call("HEAD", "/own", "")]), [200, 429]);
}

#[test]
fn questions_count_nothing() {
    let scene = start("allow: authenticated, rate_limit: [{rate: 1/h}, {rate: 1/h, per: ip}]");
    let token = scene.issuer.token().build();
    for _ in 0..5 {
        let question = format!("{{\"method\": \"GET\", \"url\": \"/\", \"token\": \"{token}\"}}");
        scene.gateway.ask_admin("/explain", &question);
    }
    assert_eq!(scene.gateway.get_with("/", &token).status, 200);
}
