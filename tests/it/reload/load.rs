//! Many reloads while many clients ask.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::*;
use crate::support::{
    h2::{Connection, Outcome},
    http::Request,
    token::Token,
    upstream::{After, respond},
};

const RELOADS: usize = 50;
const CLIENTS: usize = 6;

/// Streams and tunnels at their targets, `hello` anywhere else.
fn answer_all_kinds(upstream: &Upstream, stop: &'static AtomicBool) {
    upstream.answer(move |request: &Request, stream: &mut TcpStream| match request.target.as_str() {
        "/open/events" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            while !stop.load(Ordering::SeqCst) {
                stream.write_all(b"8\r\ndata: x\n\r\n")?;
                thread::sleep(std::time::Duration::from_millis(20));
            }
            stream.write_all(b"0\r\n\r\n")?;
            Ok(After::KeepAlive)
        }
        "/closed/chat" => {
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
            let mut buffer = [0; 4096];
            loop {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(After::Close);
                }
                stream.write_all(&buffer[..count])?;
            }
        }
        _ => respond(stream, 200, "", b"hello"),
    });
}

/// In turn another route, another upstream setting, another issuer setting, and all as it was.
fn variant(scene: &Scene, turn: usize) -> String {
    let begin = head(&scene.issuer, &scene.upstream);
    let begin = match turn % 4 {
        0 => begin,
        1 => begin.replace("echo: {", "echo: {idle_timeout: 50s, "),
        2 => begin.replace("audiences: [api]", "audiences: [api], jwt: {clock_skew: 31s}"),
        _ => begin.replace("audiences: [api]", "audiences: [api], jwt: {refresh: 9m}"),
    };
    begin + &routes(&format!("v{turn}"))
}

#[test]
fn fifty_reloads_fail_no_request_and_drop_no_connection() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let scene = Scene::new();
    answer_all_kinds(&scene.upstream, &STOP);
    let (address, asked) = (scene.address(), AtomicUsize::new(0));

    let mut events = Client::connect(address);
    events.send("GET /open/events HTTP/1.1\r\nHost: a\r\n\r\n");
    events.receive_until(b"data: x\n");
    let mut tunnel = Client::connect(address);
    let ask = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let token = scene.issuer.token().build();
    tunnel.send(format!("GET /closed/chat HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{ask}\r\n"));
    assert_eq!(tunnel.receive().status, 101);

    thread::scope(|scope| {
        let asked = &asked;
        for number in 0..CLIENTS {
            let tokens = scene.issuer.token().sub(&format!("u{number}"));
            scope.spawn(move || keep_asking(address, &tokens, asked, &STOP));
        }
        let tokens = scene.issuer.token().sub("h2");
        scope.spawn(move || keep_asking_over_http2(address, &tokens, asked, &STOP));
        let scene = &scene;
        let reloads = scope.spawn(move || {
            for turn in 0..RELOADS {
                let told = scene.reload_with(&variant(scene, turn));
                assert_eq!(told["ok"], true);
                assert_eq!(scene.version(), format!("v{turn}"));
            }
        });
        // Whatever comes of it, the others are told to end.
        let reloaded = reloads.join();
        tunnel.send("still there");
        tunnel.receive_until(b"still there");
        events.receive_until(b"data: x\n");
        STOP.store(true, Ordering::SeqCst);
        reloaded.unwrap();
    });
    events.receive_until(b"0\r\n\r\n");
    assert!(scene.reloads("ok") >= RELOADS as f64 && scene.reloads("error") == 0.0);
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked > 10 * RELOADS, "only {asked} requests were under way");
}

/// On one connection, which is never to end.
fn keep_asking(address: SocketAddr, tokens: &Token, asked: &AtomicUsize, stop: &AtomicBool) {
    let mut client = Client::connect(address);
    let mut turn = 0;
    while !stop.load(Ordering::SeqCst) {
        // Now a token that is remembered, now one that isn't.
        let token = if turn % 2 == 0 { tokens.build() } else { tokens.clone().claim("jti", turn.into()).build() };
        client.send(format!("GET /closed/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
        let answer = client.receive();
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        client.send("POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.receive().status, 200);
        turn += 1;
        asked.fetch_add(2, Ordering::SeqCst);
    }
}

fn keep_asking_over_http2(address: SocketAddr, tokens: &Token, asked: &AtomicUsize, stop: &AtomicBool) {
    let mut connection = Connection::connect(address);
    let authorization = format!("Bearer {}", tokens.build());
    for stream in (1..).step_by(2) {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let outcome = connection.get(stream, "/closed/x", &[("authorization", &authorization)]);
        assert_eq!(outcome, Outcome::Answer { status: 200, body: b"hello".to_vec() });
        asked.fetch_add(1, Ordering::SeqCst);
    }
}
