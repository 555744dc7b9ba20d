//! One accepted connection: a TLS handshake where the listener has TLS, then HTTP/1.1 or HTTP/2.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::BytesMut;
use rustls::ServerConfig;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Arrival, Handler,
    drain::{Phase, Phases},
    framing::Limits,
    front, http2,
    stall::Unstalled,
    transport::{Socket, Transport},
    worker::Open,
};

/// How long a connection may still ask when draining begins: a request may be on its way, and nobody repeats a POST. Each
/// answer is its connection's last.
pub(super) const LAST_REQUEST_GRACE: Duration = Duration::from_millis(500);
/// What an HTTP/2 client sends first (RFC 9113, section 3.4). No HTTP/1 request begins so.
pub(super) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What was read of a connection before its protocol was known.
#[derive(Debug)]
pub(super) struct First {
    pub(super) bytes: BytesMut,
    /// Since when the first head is waited for.
    pub(super) since: Instant,
}

/// Serves a connection until it ends, or until its last answer once draining has begun. `tls` is the listener's, if it has
/// one.
pub(super) async fn serve<H: Handler>(
    socket: Socket,
    open: Open,
    tls: Option<Arc<ServerConfig>>,
    arrival: Arrival,
    handler: H,
    limits: Limits,
    phases: Phases,
) {
    let socket = Unstalled::new(socket, limits.idle_timeout);
    let since = Instant::now();
    let deadline = since + limits.header_timeout;
    let Some(tls) = tls else {
        let mut stream = Transport::plain(socket, open);
        let first = First { bytes: first_bytes(&mut stream, deadline, phases.clone()).await, since };
        return if first.bytes.starts_with(HTTP2_PREFACE) {
            Box::pin(http2::serve(stream, first, arrival, handler, limits, phases)).await;
        } else {
            front::serve(stream, first, arrival, handler, limits, phases).await;
        };
    };
    let shake_hands = Box::pin(Transport::accept(socket, tls, open));
    let stream = match until_late(shake_hands, deadline, phases.clone()).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            // At this level: whoever scans the network could fill the log.
            tracing::debug!(client_ip = %arrival.peer, %error, "no TLS handshake");
            return;
        }
        None => return,
    };
    let first = First { bytes: BytesMut::new(), since: Instant::now() };
    let arrival = Arrival { scheme: "https", client_certificate: stream.client_certificate(), ..arrival };
    if stream.has_agreed_on_http2() {
        Box::pin(http2::serve(stream, first, arrival, handler, limits, phases)).await;
    } else {
        front::serve(stream, first, arrival, handler, limits, phases).await;
    }
}

/// The beginning of a connection in clear, as far as needed to tell HTTP/2 by prior knowledge (RFC 9113, section 3.3) from
/// HTTP/1. Less where it ends or takes too long: HTTP/1 knows what to say then.
async fn first_bytes(stream: &mut Transport, deadline: Instant, phases: Phases) -> BytesMut {
    let mut bytes = BytesMut::new();
    let read = async {
        while HTTP2_PREFACE.starts_with(&bytes) && bytes.len() < HTTP2_PREFACE.len() {
            if !matches!(stream.read_first(&mut bytes).await, Ok(1..)) {
                break;
            }
        }
    };
    until_late(read, deadline, phases).await;
    bytes
}

/// None where it isn't done by the deadline, nor shortly after draining has begun.
async fn until_late<F: Future>(work: F, deadline: Instant, mut phases: Phases) -> Option<F::Output> {
    let draining = async {
        phases.reached(Phase::Draining).await;
        sleep(LAST_REQUEST_GRACE).await;
    };
    tokio::select! {
        biased;
        done = timeout_at(deadline, work) => done.ok(),
        () = draining => None,
    }
}
