//! What a reload keeps, and what it must not.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::*;
use crate::support::{
    http::Request,
    issuer::Mood,
    redis::Redis,
    upstream::{After, respond},
};

const VERIFIED: &str = "bearward_verifications_total{algorithm=\"ES256\",issuer=\"main\",result=\"ok\"}";

#[test]
fn what_did_not_change_keeps_its_state() {
    let scene = Scene::new();
    let token = scene.issuer.token().build();
    assert_eq!(scene.get_with("/closed/x", &token).status, 200);
    let (fetches, connections) = (scene.issuer.fetches(), scene.upstream.connections());
    for version in ["two", "three", "four"] {
        scene.reload_with(&(head(&scene.issuer, &scene.upstream) + &routes(version)));
        assert_eq!(scene.version(), version);
        assert_eq!(scene.get_with("/closed/x", &token).status, 200);
    }
    assert_eq!(scene.metric(VERIFIED), 1.0, "the token is remembered");
    assert_eq!(scene.issuer.fetches(), fetches, "the keys are");
    // A connection may be another worker's.
    assert!(scene.upstream.connections() <= connections + 1, "connections are");
    assert_eq!(scene.metric("bearward_requests_total{method=\"GET\",route=\"closed\",status=\"200\"}"), 4.0);
    scene.binary.signal("TERM");
}

/// Nobody is let off by a change to something else: neither an endpoint that rests, nor who has called too often.
#[test]
fn rests_and_counts_survive_a_change_elsewhere() {
    let limited = |version: &str, rate: &str| {
        let limit = format!("allow: public, rate_limit: {{rate: {rate}, per: route}}}}\n");
        routes(version).replacen("allow: public}\n", &limit, 1)
    };
    let resting = |text: &str| text.replace("\"}\nroutes", "\", eject: {failures: 1, for: 1h}}\nroutes");
    let scene = Scene::with(|text, _| resting(&text.replace(&routes("one"), &limited("one", "1/h"))));
    scene.upstream.answer_with(503, "", b"");
    assert_eq!((scene.get("/open/x").status, scene.get("/version").status), (503, 200));
    scene.upstream.answer_with(200, "", b"");

    let text = head(&scene.issuer, &scene.upstream) + &limited("two", "1/h");
    let reloaded = scene.reload_with(&resting(&text).replace("eject:", "connect_timeout: 3s, eject:"));
    assert_eq!(reloaded["changed"], "upstreams: ~echo, routes: ~version");
    assert_eq!((scene.get("/open/x").status, scene.get("/version").status), (503, 429));
    assert_eq!(scene.upstream.requests().len(), 1, "it rests");
    let healthy = format!("bearward_upstream_healthy{{endpoint=\"{}\",upstream=\"echo\"}}", scene.upstream.address);
    assert_eq!(scene.metric(&healthy), 0.0);

    // Another limit begins anew, and so does an endpoint at another address.
    let text = head(&scene.issuer, &scene.upstream) + &limited("three", "2/h");
    let moved = Upstream::start();
    scene.reload_with(&resting(&text).replace(&scene.upstream.url(), &moved.url()));
    assert_eq!((scene.get("/open/x").status, scene.version()), (200, "three".to_owned()));
    assert_eq!(moved.requests().len(), 1);
}

#[test]
fn what_was_counted_stays_counted() {
    let scene = Scene::with(|text, _| {
        let limit = "rate_limit: {rate: 2/h, burst: 2, per: ip}";
        format!("{text}- {{name: limited, path: /limited, upstream: echo, allow: public, {limit}}}\n")
    });
    let statuses = [scene.get("/limited").status, scene.get("/limited").status, scene.get("/limited").status];
    assert_eq!(statuses, [200, 200, 429]);
    scene.reload_with(&scene.text().replace("\"one\"", "\"two\""));
    assert_eq!((scene.version().as_str(), scene.get("/limited").status), ("two", 429));
    // Another limit begins anew.
    scene.reload_with(&scene.text().replace("burst: 2", "burst: 1"));
    assert_eq!([scene.get("/limited").status, scene.get("/limited").status], [200, 429]);
}

#[test]
fn what_was_verified_under_other_settings_is_verified_anew() {
    let scene = Scene::new();
    let token = scene.issuer.token().build();
    assert_eq!(scene.get_with("/closed/x", &token).status, 200);
    scene.reload_with(&scene.text().replace("audiences: [api]", "audiences: [other]"));
    let refused = scene.get_with("/closed/x", &token);
    assert_eq!((refused.status, refused.challenge().unwrap().error()), (401, Some("invalid_token")));
    scene.reload_with(&scene.text().replace("audiences: [other]", "audiences: [api]"));
    assert_eq!(scene.get_with("/closed/x", &token).status, 200);
    // An issuer that is gone is nobody's any more.
    let text = scene.text().replace("issuers:\n  main:", "issuers:\n  other:");
    let other = Issuer::start(&Key::es256("k1"));
    scene.reload_with(&text.replace(scene.issuer.url(), other.url()));
    assert_eq!(scene.get_with("/closed/x", &token).status, 401);
    assert_eq!(scene.get_with("/closed/x", &other.token().build()).status, 200, "its keys are waited for");
}

#[test]
fn how_keys_are_fetched_can_change_while_their_server_is_down() {
    let scene = Scene::new();
    assert_eq!(scene.get_with("/closed/x", &scene.issuer.token().build()).status, 200);
    scene.issuer.be(Mood::Status(500));
    for setting in ["jwt: {refresh: 5m}", "jwt: {stale_keys: 1h}", "http_timeout: 1s"] {
        let text =
            head(&scene.issuer, &scene.upstream).replace("audiences: [api]", &format!("audiences: [api], {setting}"));
        scene.reload_with(&(text + &routes(setting.split(':').next().unwrap())));
        let fresh = scene.issuer.token().sub(setting).build();
        assert_eq!(scene.get_with("/closed/x", &fresh).status, 200, "{setting}");
    }
    let readiness = scene.readiness();
    assert_eq!((readiness.0, &readiness.1["degraded"][0]), (200, &"main".into()));
}

/// A new issuer without keys doesn't take the others' routes down, nor the gateway out of service.
#[test]
fn an_issuer_that_can_not_be_reached_is_its_own_trouble() {
    let scene = Scene::new();
    let (_closed, foreign) = Issuer::gone(&Key::es256("k1"));
    let text = scene.text();
    let url = format!("http://{}", _closed.address);
    let text = text.replace("issuers:\n", &format!("issuers:\n  gone: {{issuer: \"{url}\", audiences: [api]}}\n"));
    scene.reload_with(&text);
    assert_eq!(scene.readiness().0, 200);
    assert_eq!(scene.get_with("/closed/x", &foreign.build()).status, 503);
    assert_eq!(scene.get_with("/closed/x", &scene.issuer.token().build()).status, 200);
}

#[test]
fn limits_times_and_the_log_are_taken_up() {
    let scene = Scene::new();
    let long = format!("X: {}\r\n", "x".repeat(8000));
    let status = || exchange(scene.address(), "GET", "/version", &long).status;
    let mut open = Client::connect(scene.address());
    open.send("GET /version HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((open.receive().status, status()), (200, 200));
    let text = scene.text();
    let changed = text
        .replace("workers: 2", "workers: 2, max_header_bytes: 4KiB, idle_timeout: 1s, max_connections: 2")
        .replace("level: info, access: false", "level: info, access: true");
    scene.reload_with(&changed);
    assert_eq!(status(), 431);
    exchange(scene.address(), "GET", "/version", "X-Request-Id: logged\r\n");
    scene.binary.line_where("of the access log", |line| line["request_id"] == "logged");
    // Two places, of which one is taken.
    let mut idle = Client::connect(scene.address());
    idle.send("GET /version HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.receive().status, 200);
    let mut waits = Client::connect(scene.address());
    waits.send("GET /version HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(waits.receive().status, 200, "once one has idled for too long");
    assert!(idle.is_closed());
    // A connection that was open keeps what it began with.
    open.send("GET /version HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(open.receive().status, 200);

    scene.reload_with(&text.replace("level: info", "level: error"));
    assert_eq!(status(), 200);
    let lines = scene.binary.lines().len();
    exchange(scene.address(), "GET", "/version", "X-Request-Id: unlogged\r\n");
    scene.reload_with(&text);
    scene
        .binary
        .line_where("again", |line| line["message"] == "configuration reloaded" && line["changed"] == "logging");
    assert!(scene.binary.lines()[lines..].iter().all(|line| line["request_id"] != "unlogged"));
}

#[test]
fn series_of_what_is_gone_go() {
    let scene = Scene::new();
    assert_eq!(scene.get("/open/x").status, 200);
    let shown = |what: &str| exchange(scene.binary.admin(), "GET", "/metrics", "").text().contains(what);
    eventually("it is counted", || shown("route=\"open\""));
    assert!(shown("upstream=\"echo\"") && shown("issuer=\"main\""));
    scene.reload_with(
        &(scene.text().split("issuers:").next().unwrap().to_owned()
            + "issuers: {}\nroutes: [{name: version, path: /version, respond: {status: 200}, allow: public}]\n"),
    );
    for what in ["route=\"open\"", "upstream=\"echo\"", "issuer=\"main\""] {
        eventually(&format!("{what} goes"), || !shown(what));
    }
    assert_eq!(scene.get("/version").status, 200);
    eventually("the others stay", || shown("route=\"version\""));
}

/// A tunnel holds the configuration that let it in; what that one told another server must not be missed at the new one.
#[test]
fn another_redis_is_told_all_that_ends_from_then_on() {
    let (Some(first), Some(second)) = (Redis::start(), Redis::start()) else { return };
    let scene = Scene::with(|text, _| format!("state: {{redis: \"{}\"}}\n{text}", first.url()));
    upgrade(&scene.upstream);
    let mut tunnel = Client::connect(scene.address());
    tunnel.send("GET /open/chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(tunnel.receive().status, 101);

    scene.reload_with(&scene.text().replace(&first.url(), &second.url()));
    let other = fs::canonicalize(scene.folder.path()).unwrap().join("other.yaml");
    fs::write(&other, scene.text()).unwrap();
    let other = Binary::run(&other);
    for round in 0..30 {
        let subject = format!("u{round}");
        let body = format!("{{\"subject\": \"{subject}\"}}");
        let mut admin = Client::connect(scene.binary.admin());
        let host = scene.binary.admin();
        admin.send(format!(
            "POST /revocations HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(admin.receive().status, 201);
        let fields = format!("Authorization: Bearer {}\r\n", scene.issuer.token().sub(&subject).build());
        eventually(&format!("{subject} is refused at the other replica"), || {
            exchange(other.address(), "GET", "/closed/x", &fields).status == 401
        });
    }
    tunnel.send("still there");
    tunnel.receive_until(b"still there");
    let held = |redis: &Redis| redis.ask::<usize>(&["HLEN", "{bearward:revocations}"]);
    assert_eq!(held(&first), 0, "and the other one isn't told any more");
    // Back again, while the first snapshot is still held.
    scene.reload_with(&scene.text().replace(&second.url(), &first.url()));
    eventually("the first one is told all", || held(&first) == 30);
}

/// Switches protocols at `/open/chat` and sends back what it gets; `hello` anywhere else.
fn upgrade(upstream: &Upstream) {
    upstream.answer(|request: &Request, stream: &mut TcpStream| {
        if request.target != "/open/chat" {
            return respond(stream, 200, "", b"hello");
        }
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..count])?;
        }
        Ok(After::Close)
    });
}
