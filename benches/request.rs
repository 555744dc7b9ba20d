//! The whole path: one keep-alive client, the gateway with one worker, one upstream, all in this process. Prints wall
//! time a request for a public route and for one with a token, beside the same exchange without the gateway.
//!
//! `cargo bench --profile dist --bench request`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod scene;

use std::{net::SocketAddr, time::Instant};

use scene::{Client, Scene, request};

const WARM_UP: u32 = 2_000;
const COUNTED: u32 = 20_000;

fn main() {
    let scene = Scene::start();
    let direct = time(scene.upstream, "/open", "");
    let public = time(scene.gateway, "/open", "");
    let with_token = time(scene.gateway, "/closed/7", &scene.authorization("u1"));
    let [several, retried, limited] = ["/several", "/retried", "/limited"].map(|path| time(scene.gateway, path, ""));
    println!("without the gateway      {direct:7.1} µs a request");
    println!("public route             {public:7.1} µs a request");
    println!("to one of two endpoints  {several:7.1} µs a request");
    println!("retried after a status   {retried:7.1} µs a request");
    println!("limited by address       {limited:7.1} µs a request");
    println!("EdDSA token, two scopes  {with_token:7.1} µs a request");
}

/// Microseconds a request, one after the other.
fn time(address: SocketAddr, path: &str, fields: &str) -> f64 {
    let (mut client, request) = (Client::new(address), request(path, fields));
    let mut exchange = |count: u32| {
        for _ in 0..count {
            client.exchange(&request, "200");
        }
    };
    exchange(WARM_UP);
    let began = Instant::now();
    exchange(COUNTED);
    began.elapsed().as_secs_f64() * 1e6 / f64::from(COUNTED)
}
