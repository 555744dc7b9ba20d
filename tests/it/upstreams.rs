//! Upstreams of several servers: balance, health, rest and retries, with faults on purpose.

use std::{
    io::Write as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::support::{
    ClosedPort,
    binary::Binary,
    eventually,
    gateway::Gateway,
    issuer::Issuer,
    keys::Key,
    raw::Client,
    upstream::{After, Upstream, respond},
};

/// A gateway whose one public route leads to these servers; `more`: further keys of the upstream.
fn start(endpoints: &[String], more: &str) -> Gateway {
    Gateway::start_unready(&configuration(endpoints, more))
}

fn configuration(endpoints: &[String], more: &str) -> String {
    format!(
        "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\"}}\nlogging: {{level: error, access: false}}\n\
         server: {{workers: 2}}\nissuers: {{}}\nupstreams: {{api: {{endpoints: {endpoints:?}{more}}}}}\n\
         routes: [{{name: open, path: \"/**\", upstream: api, allow: public}}]\n"
    )
}

fn requests_to(upstream: &Upstream) -> usize {
    upstream.requests().iter().filter(|request| request.target != "/healthz").count()
}

fn healthy(gateway: &Gateway, upstream: &Upstream) -> bool {
    let series = format!("bearward_upstream_healthy{{endpoint=\"{}\",upstream=\"api\"}}", upstream.address);
    gateway.metric(&series) == 1.0
}

#[test]
fn requests_are_spread() {
    for (balance, exactly) in [("round_robin", true), ("least_request", false), ("random", false)] {
        let (one, two) = (Upstream::start(), Upstream::start());
        let gateway = start(&[one.url(), two.url()], &format!(", balance: {balance}"));
        for _ in 0..40 {
            assert_eq!(gateway.get("/").status, 200);
        }
        let counts = (requests_to(&one), requests_to(&two));
        assert_eq!(counts.0 + counts.1, 40);
        assert!(if exactly { counts.0 == 20 } else { counts.0 > 0 && counts.1 > 0 }, "{balance}: {counts:?}");
    }
}

#[test]
fn a_subject_stays_with_its_endpoint() {
    let (issuer, upstreams) = (Issuer::start(&Key::es256("k")), [Upstream::start(), Upstream::start()]);
    let yaml = configuration(&[upstreams[0].url(), upstreams[1].url()], ", balance: hash")
        .replace("issuers: {}", &format!("issuers: {{main: {{issuer: \"{}\", audiences: [api]}}}}", issuer.url()))
        .replace("allow: public", "allow: authenticated");
    let gateway = Gateway::start(&yaml);
    let mut used = [false, false];
    for subject in 0..20 {
        upstreams.iter().for_each(Upstream::forget);
        for _ in 0..5 {
            let token = issuer.token().sub(&format!("user-{subject}")).build();
            assert_eq!(gateway.get_with("/", &token).status, 200);
        }
        let counts = (requests_to(&upstreams[0]), requests_to(&upstreams[1]));
        assert!(counts == (5, 0) || counts == (0, 5), "{counts:?}");
        used[usize::from(counts.0 == 0)] = true;
    }
    assert_eq!(used, [true, true]);
}

/// One of two is killed under load: what was in flight there may fail, nothing else does.
#[test]
fn a_killed_endpoint_costs_no_more_than_what_is_in_flight() {
    const CLIENTS: usize = 16;
    let (victim, other) = (Upstream::start(), Upstream::start());
    let gateway = start(&[victim.url(), other.url()], "");
    let (killing, killed, over) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    let (answered, after) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let call = || {
        let mut failures = 0;
        let mut client = gateway.client();
        while !over.load(Ordering::SeqCst) {
            let began_after = killed.load(Ordering::SeqCst);
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let status = client.receive().status;
            if status != 200 {
                assert_eq!(status, 502);
                assert!(!began_after, "it wasn't in flight");
                assert!(killing.load(Ordering::SeqCst), "nothing was killed yet");
                failures += 1;
            }
            answered.fetch_add(1, Ordering::SeqCst);
            after.fetch_add(usize::from(began_after), Ordering::SeqCst);
        }
        failures
    };
    let failures: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(call)).collect();
        eventually("there is load", || answered.load(Ordering::SeqCst) > 500);
        killing.store(true, Ordering::SeqCst);
        victim.kill();
        killed.store(true, Ordering::SeqCst);
        eventually("there is load afterwards", || after.load(Ordering::SeqCst) > 500);
        over.store(true, Ordering::SeqCst);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(failures <= CLIENTS, "{failures}");
    eventually("it rests", || !healthy(&gateway, &victim));
    assert!(healthy(&gateway, &other));
}

#[test]
fn a_hanging_endpoint_costs_its_timeout_and_rests() {
    let (hangs, good) = (Upstream::start(), Upstream::start());
    hangs.answer_never();
    let more = ", balance: round_robin, response_timeout: 700ms, eject: {failures: 3, for: 1h}";
    let gateway = start(&[hangs.url(), good.url()], more);
    let statuses: Vec<u16> = (0..30).map(|_| gateway.get("/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 504).count(), 3);
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 27);
    assert!(!healthy(&gateway, &hangs));
}

#[test]
fn an_endpoint_comes_back_after_its_rest() {
    let (flaky, good) = (Upstream::start(), Upstream::start());
    flaky.answer_with(503, "", b"");
    let more = ", balance: round_robin, eject: {failures: 2, for: 100ms}";
    let gateway = start(&[flaky.url(), good.url()], more);
    eventually("it rests", || {
        gateway.get("/");
        !healthy(&gateway, &flaky)
    });
    flaky.answer_with(200, "", b"");
    eventually("it is back", || gateway.get("/").status == 200 && healthy(&gateway, &flaky));
    let before = requests_to(&flaky);
    (0..4).for_each(|_| assert_eq!(gateway.get("/").status, 200));
    assert_eq!(requests_to(&flaky), before + 2);
}

/// It answers well and breaks off in the middle: that counts, too.
#[test]
fn an_endpoint_that_breaks_off_its_answers_rests() {
    let (broken, other) = (Upstream::start(), Upstream::start());
    broken.answer(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
        Ok(After::Close)
    });
    let gateway = start(&[broken.url(), other.url()], ", balance: round_robin, eject: {failures: 3, for: 1h}");
    for _ in 0..40 {
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.receive();
    }
    assert_eq!((requests_to(&broken), requests_to(&other)), (3, 37));
    assert!(!healthy(&gateway, &broken));
}

/// One caller asks for what fails at all of them: another one's requests go on.
#[test]
fn what_one_caller_asks_for_takes_not_all_endpoints_away() {
    let upstreams = [Upstream::start(), Upstream::start()];
    for upstream in &upstreams {
        upstream.answer(|request, stream| {
            let status = if request.target == "/bad" { 503 } else { 200 };
            respond(stream, status, "", b"hello")
        });
    }
    let gateway = start(&[upstreams[0].url(), upstreams[1].url()], ", eject: {failures: 3, for: 1h}");
    for _ in 0..30 {
        assert_eq!(gateway.get("/bad").status, 503);
    }
    assert_eq!(upstreams.iter().map(requests_to).sum::<usize>(), 30, "they were asked");
    for _ in 0..10 {
        assert_eq!(gateway.get("/bad").status, 503);
        assert_eq!(gateway.get("/good").status, 200);
    }
    // One to which nobody can connect is left alone.
    upstreams.iter().for_each(Upstream::kill);
    eventually("nobody is asked any more", || gateway.get("/good").status == 503);
}

#[test]
fn active_checks_take_endpoints_out_and_bring_them_back() {
    let endpoints = [Upstream::start(), Upstream::start()];
    let more = ", health: {path: /healthz, interval: 20ms, healthy: 2, unhealthy: 2}";
    let gateway = start(&[endpoints[0].url(), endpoints[1].url()], more);
    let ill = |upstream: &Upstream| {
        upstream.answer(|request, stream| {
            let status = if request.target == "/healthz" { 500 } else { 200 };
            respond(stream, status, "", b"")
        });
    };
    ill(&endpoints[0]);
    eventually("one isn't well", || !healthy(&gateway, &endpoints[0]));
    let before = requests_to(&endpoints[0]);
    (0..10).for_each(|_| assert_eq!(gateway.get("/").status, 200));
    assert_eq!((requests_to(&endpoints[0]), requests_to(&endpoints[1])), (before, 10 - before));

    ill(&endpoints[1]);
    eventually("none is well", || !healthy(&gateway, &endpoints[1]));
    let nobody = gateway.get("/");
    assert_eq!((nobody.status, nobody.json()["status"].as_u64()), (503, Some(503)));

    endpoints[0].answer_with(204, "", b"");
    eventually("it is well again", || healthy(&gateway, &endpoints[0]));
    assert_eq!(gateway.get("/").status, 204);
    let checks = endpoints[0].requests().into_iter().find(|request| request.target == "/healthz").unwrap();
    assert_eq!(checks.fields.get("host"), Some(endpoints[0].address.to_string().as_str()));
}

/// With one endpoint there is none to go to instead: it rests only if that is configured.
#[test]
fn a_sole_endpoint_rests_only_where_that_is_written() {
    let closed = ClosedPort::reserve();
    let url = format!("http://{}", closed.address);
    let by_default = start(std::slice::from_ref(&url), "");
    (0..20).for_each(|_| assert_eq!(by_default.get("/").status, 502));
    let written = start(&[url], ", eject: {failures: 4, for: 1h}");
    // Each is tried twice.
    let statuses: Vec<u16> = (0..4).map(|_| written.get("/").status).collect();
    assert_eq!(statuses, [502, 502, 503, 503]);
}

#[test]
fn statuses_are_retried_within_the_budget() {
    let bad = Upstream::start();
    bad.answer_with(503, "X-From: upstream\r\n", b"busy");
    let gateway = start(&[bad.url()], ", retry: {attempts: 3, on: [503], budget: 10%}");
    for _ in 0..100 {
        let answer = gateway.get("/");
        assert_eq!((answer.status, answer.fields.get("x-from")), (503, Some("upstream")));
    }
    let asked = requests_to(&bad);
    assert!((110..=120).contains(&asked), "{asked}");
    bad.forget();
    assert_eq!(gateway.call("POST", "/", "Content-Length: 0\r\n").status, 503);
    assert_eq!(requests_to(&bad), 1);
}

#[test]
fn a_body_that_was_kept_is_sent_again() {
    let (bad, good) = (Upstream::start(), Upstream::start());
    bad.answer_with(503, "", b"");
    let more = ", balance: round_robin, retry: {attempts: 2, on: [503]}";
    let gateway = start(&[bad.url(), good.url()], more);
    let mut client = Client::connect(gateway.address);
    for body in ["x".repeat(64 * 1024), String::from("small")] {
        bad.forget();
        good.forget();
        for _ in 0..2 {
            client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            assert_eq!(client.receive().status, 200);
        }
        for request in bad.requests().iter().chain(&good.requests()) {
            assert_eq!((request.body_length, request.body.as_slice()), (body.len() as u64, body.as_bytes()));
        }
        assert_eq!(good.requests().len(), 2);
    }
}

#[test]
fn log_and_metrics_name_the_endpoint() {
    let (bad, good) = (Upstream::start(), Upstream::start());
    bad.answer(|_, _| Ok(After::Close));
    let yaml = configuration(&[bad.url(), good.url()], ", balance: round_robin, retry: {on: [connect, 502]}")
        .replace("level: error, access: false", "level: info, access: true, format: json")
        .replace("workers: 2", "workers: 1");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.yaml");
    std::fs::write(&config, yaml).unwrap();
    let binary = Binary::run(&config);
    let mut client = Client::connect(binary.address());
    client.send("GET /here HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.receive().status, 200);
    let line = binary.line_where("the request", |line| line["path"] == "/here");
    assert_eq!(
        (&line["endpoint"], &line["attempts"], &line["upstream"]),
        (&good.address.to_string().into(), &2.into(), &"api".into())
    );
    let admin = binary.line_where("admin", |line| line["message"] == "listening" && line["listener"] == "admin");
    let admin = admin["address"].as_str().unwrap().parse().unwrap();
    let metrics = crate::support::raw::exchange(admin, "GET", "/metrics", "").text();
    for (upstream, result) in [(&bad, "error"), (&good, "ok")] {
        let address = upstream.address;
        let series = format!(
            "bearward_upstream_requests_total{{endpoint=\"{address}\",result=\"{result}\",upstream=\"api\"}} 1\n"
        );
        assert!(metrics.contains(&series), "{series} in {metrics}");
        assert!(metrics.contains(&format!("bearward_upstream_healthy{{endpoint=\"{address}\",upstream=\"api\"}} 1\n")));
    }
}
