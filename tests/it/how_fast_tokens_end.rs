//! How long a token is still let in after it was ended, each way, printed for docs/revocation.md:
//! `cargo test --test it how_fast -- --ignored --nocapture`.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    authorization_server::AuthorizationServer,
    gateway::{Gateway, configuration_of},
    issuer::Issuer,
    keys::Key,
    raw::Client,
    redis::Redis,
    token::{Token, now},
    upstream::Upstream,
};

const ROUTES: &str = "
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
  - {name: logout, path: /logout, methods: [POST], upstream: echo, allow: authenticated, revokes: token}
";

/// Prints what the runs came to.
fn tell(what: &str, mut runs: Vec<(Duration, Duration)>) {
    runs.sort_by_key(|(_, until)| *until);
    let (median, worst) = (runs[runs.len() / 2].1, runs[runs.len() - 1].1);
    let mut took = runs.iter().map(|(took, _)| *took).collect::<Vec<_>>();
    took.sort();
    eprintln!(
        "{what}: {} runs; answered after {:.1?} (median); then until the first 401: {median:.1?} (median), {worst:.1?} (worst)",
        runs.len(),
        took[took.len() / 2]
    );
}

/// Asks again and again, on one connection, until the token isn't let in. How often it was.
fn until_refused(client: &mut Client, token: &str) -> usize {
    for let_in in 0.. {
        client.send(format!("GET /closed HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n"));
        match client.receive().status {
            200 => {}
            401 => return let_in,
            status => panic!("{status}"),
        }
    }
    unreachable!()
}

fn post(address: std::net::SocketAddr, path: &str, fields: &str, body: &str) -> u16 {
    let mut client = Client::connect(address);
    let length = body.len();
    client.send(format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ));
    client.receive().status
}

/// Runs `end` for token after token, and looks at `at` until each is refused.
fn measure(what: &str, count: usize, at: &Gateway, token: impl Fn(usize) -> Token, end: impl Fn(usize, &str) -> u16) {
    let (mut client, mut let_in) = (at.client(), 0);
    let runs = (0..count).map(|run| {
        let token = token(run).build();
        assert_eq!(at.get_with("/closed", &token).status, 200);
        let began = Instant::now();
        let status = end(run, &token);
        assert!((200..300).contains(&status), "{status}");
        let answered = Instant::now();
        let_in += until_refused(&mut client, &token);
        (answered - began, answered.elapsed())
    });
    tell(what, runs.collect());
    eprintln!("  let in meanwhile: {let_in}");
}

#[test]
#[ignore = "it measures, and says so"]
fn how_fast_tokens_end() {
    let (issuer, upstream, redis) = (Issuer::start(&Key::es256("k1")), Upstream::start(), Redis::start());
    let folder = tempfile::tempdir().unwrap();
    let main = format!(
        "  main: {{issuer: \"{}\", audiences: [api], logout: {{back_channel: true, events: true}}}}\n",
        issuer.url()
    );
    let yaml = |name: &str| {
        let redis = redis.as_ref().map_or_else(String::new, |redis| format!("redis: \"{}\", ", redis.url()));
        let dir = folder.path().join(name);
        format!("state: {{{redis}dir: \"{}\"}}\n{}", dir.display(), configuration_of(&main, &upstream.url(), ROUTES))
    };
    let (one, other) = (Gateway::start(&yaml("one")), Gateway::start(&yaml("other")));
    let token = |run: usize| issuer.token().sub(&format!("u{run}")).claim("sid", json!(format!("s{run}")));
    let logout = |run: usize| {
        let token = token(run).header("typ", json!("logout+jwt")).claim("jti", json!(format!("n{run}")));
        let token = token.claim("events", json!({"http://schemas.openid.net/event/backchannel-logout": {}}));
        let body = format!("logout_token={}", token.build());
        post(
            one.address,
            "/.well-known/bearward/logout/main",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            &body,
        )
    };
    let event = |run: usize| {
        let token =
            token(run).header("typ", json!("secevent+jwt")).without("exp").claim("jti", json!(format!("e{run}")));
        let subject = json!({"format": "iss_sub", "iss": issuer.url(), "sub": format!("u{run}")});
        let events = json!({"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}});
        let token = token.claim("sub_id", subject).claim("events", events);
        post(
            one.address,
            "/.well-known/bearward/events/main",
            "Content-Type: application/secevent+jwt\r\n",
            &token.build(),
        )
    };
    let admin = |run: usize| {
        post(one.admin, "/revocations", "", &json!({"subject": format!("u{run}"), "issuer": "main"}).to_string())
    };
    let route = |token: &str| post(one.address, "/logout", &format!("Authorization: Bearer {token}\r\n"), "");
    for (name, at, from) in [("here", &one, 0), ("on another replica", &other, 1000)] {
        if redis.is_none() && from > 0 {
            continue;
        }
        measure(&format!("back-channel logout, {name}"), 60, at, |run| token(from + run), |run, _| logout(from + run));
        measure(
            &format!("security event, {name}"),
            60,
            at,
            |run| token(from + 100 + run),
            |run, _| event(from + 100 + run),
        );
        measure(
            &format!("admin listener, {name}"),
            60,
            at,
            |run| token(from + 200 + run),
            |run, _| admin(from + 200 + run),
        );
        measure(&format!("revokes: token, {name}"), 60, at, |run| token(from + 300 + run), |_, token| route(token));
    }

    let server = AuthorizationServer::start();
    let asked = format!(
        "  a: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s, cache_ttl: 2s}}}}\n",
        server.introspection()
    );
    let gateway = Gateway::start(&configuration_of(&asked, &upstream.url(), ROUTES));
    let mut client = gateway.client();
    let runs = (0..10).map(|run| {
        let token = format!("opaque{run}");
        server.active(&token, json!({"sub": "joe", "exp": now() + 1000}));
        assert_eq!(gateway.get_with("/closed", &token).status, 200);
        let began = Instant::now();
        server.forget(&token);
        until_refused(&mut client, &token);
        (Duration::ZERO, began.elapsed())
    });
    tell("inactive at its issuer, with cache_ttl: 2s", runs.collect());

    let file = folder.path().join("keys.json");
    let keys = |kid: &str| json!({"keys": [Key::es256(kid).jwk()]}).to_string();
    let signer = Key::es256("k1");
    let good = json!({"keys": [signer.jwk()]}).to_string();
    fs::write(&file, &good).unwrap();
    let of_file = format!(
        "  f: {{issuer: \"https://f.example\", audiences: [api], jwt: {{jwks_file: \"{}\"}}}}\n",
        file.display()
    );
    let gateway = Gateway::start(&configuration_of(&of_file, &upstream.url(), ROUTES));
    let mut client = gateway.client();
    let runs = (0..20).map(|run| {
        let token = Token::new("https://f.example", &signer).claim("jti", json!(run)).build();
        while gateway.get_with("/closed", &token).status != 200 {}
        let began = Instant::now();
        fs::write(&file, keys("k2")).unwrap();
        until_refused(&mut client, &token);
        let took = began.elapsed();
        fs::write(&file, &good).unwrap();
        (Duration::ZERO, took)
    });
    tell("a key that is taken out of jwks_file", runs.collect());
}
