use serde_json::json;

use super::*;

fn limit(requests: u32, seconds: u64, burst: u32, per: LimitKey) -> (RateLimit, Arc<Limiter>) {
    let limit = RateLimit { rate: Rate { requests, per: Duration::from_secs(seconds) }, burst, per };
    let limiter = Arc::new(Limiter::new("r", &limit));
    (limit, limiter)
}

fn claim(path: &str) -> LimitKey {
    LimitKey::Claim(ClaimPath::parse(path).unwrap())
}

fn written(limits: &RouteLimits, counted: &Counted) -> Vec<String> {
    let mut headers = HeaderMap::new();
    headers.append("ratelimit", HeaderValue::from_static("the upstream's"));
    headers.append("ratelimit", HeaderValue::from_static("and more"));
    limits.write(counted, &mut headers);
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[test]
fn fields_name_each_limit_once_and_those_that_were_counted_by() {
    let limits = RouteLimits::new([
        limit(100, 1, 200, LimitKey::Client),
        limit(5, 60, 5, LimitKey::Ip),
        limit(9, 3600, 9, LimitKey::Client),
        limit(1, 1, 1, claim("a\"b\\ä")),
    ]);
    let policy = "ratelimit-policy: \"ip\";q=5;w=60, \"client\";q=100;w=1, \"client-2\";q=9;w=3600, \"claims.a\\\"b\\\\?\";q=1;w=1";
    let mut counted = Counted::default();
    limits.count_early(HERE, &mut counted).unwrap();
    assert_eq!(written(&limits, &counted), [policy, "ratelimit: \"ip\";r=4;t=12"]);
    limits.count_late(HERE, None, &mut counted).unwrap();
    let left =
        "ratelimit: \"ip\";r=4;t=12, \"client\";r=199;t=1, \"client-2\";r=8;t=400, \"claims.a\\\"b\\\\?\";r=0;t=1";
    assert_eq!(written(&limits, &counted), [policy, left]);
    assert_eq!(written(&limits, &Counted::default()).len(), 2, "an upstream's own stay where nothing was counted");
}

#[test]
fn the_first_limit_that_is_exceeded_refuses_and_the_others_do_not_count() {
    let limits = RouteLimits::new([limit(1, 3600, 1, LimitKey::Route), limit(1, 3600, 5, LimitKey::Ip)]);
    limits.count_early(HERE, &mut Counted::default()).unwrap();
    for _ in 0..10 {
        let mut counted = Counted::default();
        let refused = limits.count_early(HERE, &mut counted).unwrap_err();
        let Refusal::RateLimited { retry_after } = refused else { panic!("{refused:?}") };
        assert!(retry_after <= Duration::from_secs(3600) && retry_after > Duration::from_secs(3500));
        assert_eq!(counted.0.len(), 1);
    }
    assert_eq!(limits.limits[1].limiter.take(Key::of_ip(HERE)).remaining, 3);
}

#[test]
fn whom_requests_are_counted_by() {
    let principal = |claims: serde_json::Value| {
        let Value::Object(claims) = claims else { panic!() };
        Principal::for_test(&[], &[]).with_claims(claims)
    };
    let key = |per: &LimitKey, claims| key_of(per, &principal(claims));
    let tenant = claim("tenant");
    assert_eq!(key(&tenant, json!({"tenant": "a"})), key(&tenant, json!({"tenant": "a", "other": 1})));
    let all = [
        json!({"tenant": "a"}),
        json!({"tenant": "b"}),
        json!({"tenant": "1"}),
        json!({"tenant": 1}),
        json!({"tenant": ["a"]}),
        json!({"tenant": ""}),
        json!({"tenant": {"a": 1}}),
    ];
    let mut keys: Vec<_> = all.into_iter().map(|claims| key(&tenant, claims).unwrap().0).collect();
    keys.push(key(&LimitKey::Subject, json!({})).unwrap().0);
    keys.sort_unstable();
    let count = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), count, "all different");
    for absent in [json!({}), json!({"tenant": null})] {
        assert_eq!(key(&tenant, absent), None);
    }
    assert_eq!(key(&LimitKey::Client, json!({})), None, "the token names no client");
}

#[test]
fn addresses_of_one_customer_are_one() {
    let key = |ip: &str| Key::of_ip(ip.parse().unwrap());
    assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
    assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
    assert_ne!(key("::"), Key::ROUTE);
}
