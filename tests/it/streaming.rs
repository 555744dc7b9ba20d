//! Bodies pass as they come, within their bounds; what breaks behind the gateway has its status.

use std::{io::Write, thread::sleep, time::Duration};

use crate::support::{
    ClosedPort,
    gateway::{Gateway, configuration, configuration_of},
    issuer::Issuer,
    keys::Key,
    raw::find,
    upstream::{After, Upstream},
};

const ROUTES: &str = r#"
  - {name: open, path: "/open/**", upstream: echo, allow: public}
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
  - {name: small, path: /small, upstream: echo, allow: public, max_body_bytes: 1KiB}
  - {name: short, path: /short, upstream: echo, allow: public, timeout: 1s}
"#;

struct Scene {
    _issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

fn scene() -> Scene {
    scene_with(|yaml| yaml)
}

fn scene_with(change: impl Fn(String) -> String) -> Scene {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&change(configuration(&issuer, &upstream, ROUTES)));
    Scene { _issuer: issuer, upstream, gateway }
}

const MEBIBYTE: usize = 1024 * 1024;

#[test]
fn a_chunked_upload_passes_as_it_comes() {
    let scene = scene();
    let mut client = scene.gateway.client();
    client.send("POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    scene.upstream.wait_for(b"first");
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(client.receive().status, 200);
    assert_eq!(scene.upstream.only_request().body, b"firstsecond");
}

#[test]
fn an_upload_with_a_length_passes_as_it_comes() {
    let scene = scene();
    let mut client = scene.gateway.client();
    client.send("POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nfirst");
    scene.upstream.wait_for(b"first");
    client.send("second");
    assert_eq!(client.receive().status, 200);
    let request = scene.upstream.only_request();
    assert_eq!(
        (request.body.as_slice(), request.fields.get("content-length")),
        (b"firstsecond".as_slice(), Some("11"))
    );
}

#[test]
fn server_sent_events_arrive_one_by_one() {
    let scene = scene();
    let events = scene.upstream.answer_chunks("Content-Type: text/event-stream\r\n");
    let mut client = scene.gateway.client();
    client.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        events.send(event.as_bytes().to_vec()).unwrap();
        client.receive_until(event.as_bytes());
    }
    drop(events);
    client.receive_until(b"0\r\n\r\n");
}

#[test]
fn large_bodies_pass_both_ways() {
    let scene = scene();
    scene.upstream.answer(|_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 20 * MEBIBYTE)?;
        for _ in 0..20 {
            stream.write_all(&vec![b'd'; MEBIBYTE])?;
        }
        Ok(After::KeepAlive)
    });
    let mut client = scene.gateway.client();
    client.send(format!("POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 20 * MEBIBYTE));
    for _ in 0..20 {
        client.send(vec![b'u'; MEBIBYTE]);
    }
    let response = client.receive();
    assert_eq!((response.status, response.body.len(), response.complete), (200, 20 * MEBIBYTE, true));
    assert_eq!(scene.upstream.only_request().body_length, 20 * MEBIBYTE as u64);
}

#[test]
fn a_slow_reader_slows_its_writer() {
    let scene = scene();
    scene.upstream.answer_early();
    scene.upstream.answer(|_, _| {
        std::thread::park();
        Ok(After::Close)
    });
    let client = scene.gateway.client();
    let mut sender = client.sender();
    sender.set_write_timeout(Some(std::time::Duration::from_secs(3))).unwrap();
    write!(sender, "POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = [format!("{MEBIBYTE:x}\r\n").into_bytes(), vec![b'u'; MEBIBYTE], b"\r\n".to_vec()].concat();
    let taken = (0..200).take_while(|_| sender.write_all(&chunk).is_ok()).count();
    assert!(taken < 100, "{taken} MiB went into the gateway and nobody had read them");
}

#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let scene = scene();
    let mut client = scene.gateway.client();
    client.send(format!("POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 20 * MEBIBYTE));
    assert_eq!(client.receive().status, 401);

    let mut client = scene.gateway.client();
    client.send("POST /closed HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    let head = client.receive_head().unwrap().unwrap();
    assert_eq!(head.status, 401, "never 100 before the decision");

    let mut client = scene.gateway.client();
    client.send("POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd");
    assert_eq!(client.receive().status, 401);
    client.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.receive().status, 200, "a small body is drained and the connection serves on");
    assert_eq!(scene.upstream.requests().len(), 1);
}

#[test]
fn a_body_over_its_limit_is_413() {
    let scene = scene();
    let mut client = scene.gateway.client();
    client.send("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n");
    client.send(vec![b'u'; 1024]);
    assert_eq!(client.receive().status, 200);
    scene.upstream.forget();

    let mut client = scene.gateway.client();
    client.send("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n");
    assert_eq!(client.receive().status, 413);
    assert_eq!(scene.upstream.bytes(), 0, "a length over the limit is refused before anything goes upstream");

    let mut client = scene.gateway.client();
    client.send("POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n");
    client.send(vec![b'u'; 1025]);
    client.send("\r\n0\r\n\r\n");
    assert_eq!(client.receive().status, 413);
    assert_eq!(scene.upstream.requests().len(), 0, "what was cut short isn't passed on as whole");
}

#[test]
fn a_body_that_stops_is_408() {
    let scene = scene_with(|yaml| yaml.replace("workers: 2", "workers: 2, body_timeout: 1s"));
    for beginning in ["Content-Length: 9\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut client = scene.gateway.client();
        client.send(format!("POST /open/x HTTP/1.1\r\nHost: a\r\n{beginning}"));
        assert_eq!(client.receive().status, 408, "{beginning:?}");
        assert!(client.is_closed());
    }
    let mut client = scene.gateway.client();
    client.send("POST /short HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
    assert_eq!(client.receive().status, 408, "the route's time is over during the upload");
    assert_eq!(scene.upstream.requests().len(), 0);
}

#[test]
fn a_broken_upstream_is_502() {
    let scene = scene();
    for answer in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nbad header: x\r\n\r\n",
    ] {
        scene.upstream.answer_bytes(answer.as_bytes());
        let response = scene.gateway.get("/open/x");
        assert_eq!((response.status, response.challenge()), (502, None), "{answer:?}");
        let text = response.text();
        assert!(!text.contains(&scene.upstream.address.to_string()), "{text}");
    }
}

#[test]
fn an_upstream_that_refuses_connections_is_502() {
    let (issuer, port) = (Issuer::start(&Key::es256("k1")), ClosedPort::reserve());
    let issuers = format!("  main: {{issuer: \"{}\", audiences: [api]}}\n", issuer.url());
    let gateway = Gateway::start(&configuration_of(&issuers, &format!("http://{}", port.address), ROUTES));
    assert_eq!(gateway.get("/open/x").status, 502);
    let mut client = gateway.client();
    client.send("POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd");
    assert_eq!(client.receive().status, 502);
}

fn with_response_timeout(timeout: &str) -> Scene {
    scene_with(|yaml| {
        let url = yaml.lines().find(|line| line.starts_with("  echo:")).unwrap().to_owned();
        yaml.replace(&url, &url.replace('}', &format!(", response_timeout: {timeout}}}")))
    })
}

#[test]
fn an_upstream_that_is_too_slow_is_504() {
    let scene = with_response_timeout("1s");
    let until = scene.upstream.answer_when_told();
    assert_eq!(scene.gateway.get("/open/x").status, 504);
    assert_eq!(scene.gateway.get("/short").status, 504);
    drop(until);
}

#[test]
fn each_request_on_a_connection_has_its_own_time() {
    let scene = with_response_timeout("2s");
    let mut client = scene.gateway.client();
    let mut get = || {
        client.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
        client.receive().status
    };
    assert_eq!(get(), 200);
    // The time of the first ends while the second is under way, and long before the second's.
    sleep(Duration::from_millis(1200));
    scene.upstream.answer(|_, stream| {
        sleep(Duration::from_millis(1200));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").map(|()| After::KeepAlive)
    });
    assert_eq!(get(), 200);
    assert_eq!(scene.upstream.connections(), 1);
    let until = scene.upstream.answer_when_told();
    assert_eq!(get(), 504);
    drop(until);
}

#[test]
fn half_an_answer_does_not_look_whole() {
    let scene = scene();
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n",
    ] {
        scene.upstream.answer_bytes(answer.as_bytes());
        let mut client = scene.gateway.client();
        client.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
        // The head may be gone already: then the connection just ends.
        let response = client.try_receive("GET").ok().flatten();
        assert!(response.is_none_or(|response| !response.complete || response.status == 502), "{answer:?}");
    }
}

#[test]
fn a_connection_that_the_upstream_has_closed_costs_no_request() {
    let scene = scene();
    scene.upstream.answer_and_hang_up();
    for turn in 0..50 {
        assert_eq!(scene.gateway.get("/open/x").status, 200, "{turn}");
    }
}

#[test]
fn connections_are_kept_for_the_next_request() {
    let scene = scene();
    let mut client = scene.gateway.client();
    for _ in 0..20 {
        client.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.receive().status, 200);
    }
    assert_eq!(scene.upstream.requests().len(), 20);
    assert!(scene.upstream.connections() < 20, "{} connections", scene.upstream.connections());
}

#[test]
fn what_an_upstream_answers_arrives() {
    let scene = scene();
    scene.upstream.answer_with(
        404,
        "WWW-Authenticate: Own realm=\"upstream\"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: x-hop\r\nX-Hop: no\r\nX-Own: yes\r\n",
        b"theirs",
    );
    let response = scene.gateway.get("/open/x");
    assert_eq!((response.status, response.text().as_str()), (404, "theirs"));
    assert_eq!(response.challenge().unwrap().scheme, "Own");
    assert_eq!(response.fields.all("set-cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!((response.fields.get("x-own"), response.fields.get("x-hop")), (Some("yes"), None));

    scene.upstream.answer_with(204, "", b"");
    assert_eq!(scene.gateway.get("/open/x").status, 204);
    scene.upstream.answer_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    let head = scene.gateway.call("HEAD", "/open/x", "");
    assert_eq!((head.status, head.fields.get("content-length")), (200, Some("5")));
}

#[test]
fn a_client_that_goes_away_ends_the_upstream_request() {
    let scene = scene();
    let events = scene.upstream.answer_chunks("");
    let mut client = scene.gateway.client();
    client.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
    events.send(b"first".to_vec()).unwrap();
    client.receive_until(b"first");
    drop(client);
    crate::support::eventually("the upstream's connection ends", || {
        events.send(vec![b'x'; 64 * 1024]).is_err() || scene.upstream.open_connections() == 0
    });
}

#[test]
fn expect_continue_reaches_the_client_once_it_is_let_in() {
    let scene = scene();
    let mut client = scene.gateway.client();
    client.send("POST /open/x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    let interim = client.receive_head().unwrap().unwrap();
    assert_eq!(interim.status, 100);
    client.send("abcd");
    assert_eq!(client.receive().status, 200);
    assert_eq!(scene.upstream.only_request().body, b"abcd");
    assert_eq!(find(&scene.upstream.wire(), b"POST /open/x"), Some(0));
}
