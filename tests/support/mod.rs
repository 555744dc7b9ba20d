//! What the whole-gateway tests are made of: an issuer, an upstream, a raw client and the gateway itself, all on
//! loopback, all on port 0. Everything blocks: a test reads from top to bottom.

pub(crate) mod authorization_server;
pub(crate) mod binary;
pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod challenge;
pub(crate) mod collector;
pub(crate) mod corpus;
pub(crate) mod demo;
pub(crate) mod gateway;
pub(crate) mod h2;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod json_schema;
pub(crate) mod keys;
pub(crate) mod modern;
pub(crate) mod peers;
pub(crate) mod proofs;
pub(crate) mod protobuf;
pub(crate) mod proxies;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod relay;
pub(crate) mod servers;
pub(crate) mod strict;
pub(crate) mod tls_front;
pub(crate) mod token;
pub(crate) mod token_endpoint;
pub(crate) mod upstream;

use std::{
    io::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// No step of a test takes longer, on the slowest machine. A bound, never a measurement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again until the answer is yes.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Says that a test, or a part of it, is left out; in CI none may be.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("BEARWARD_REQUIRE_ALL_TESTS").is_none(), "{why}");
    // Not eprintln!, which the test runner keeps to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// A port on which nobody listens and that nobody else gets: connections to it are refused.
pub(crate) struct ClosedPort {
    socket: socket2::Socket,
    /// Where it is.
    pub(crate) address: SocketAddr,
}

impl ClosedPort {
    pub(crate) fn reserve() -> ClosedPort {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        ClosedPort { socket, address }
    }

    /// Begins to listen there.
    pub(crate) fn open(self) -> std::net::TcpListener {
        self.socket.listen(1024).unwrap();
        self.socket.into()
    }
}
