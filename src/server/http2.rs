//! A connection that speaks HTTP/2 (RFC 9113): by hyper, which is kept from being worn out.

mod answer;
mod follow;
mod frames;
mod goodbye;
mod request;

use std::{
    convert::Infallible,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper::{
    Request, Response, Version,
    body::Incoming,
    header::{CONNECTION, TRANSFER_ENCODING, UPGRADE},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::TokioTimer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, sleep_until},
};

use self::{
    answer::{Answer, Turn, Turns},
    frames::Watched,
    goodbye::Handover,
};
use super::{
    Arrival, Asked, Handler,
    connection::First,
    drain::{Phase, Phases},
    framing::{Limits, head::MAX_FIELDS},
};
use crate::body::Arriving;

const MAX_STREAMS: u32 = 128;
/// What a client may send before it is read: of one request, and of all together. Both bound a connection's memory.
const STREAM_WINDOW: u32 = 256 * 1024;
///
/// The library ends a connection on which so many small DATA frames wait to be read that what each is short of 256 bytes
/// comes to half of its window: with this one some 8,500, as gRPC's client streams make them where an upstream pauses.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What is taken from an upstream before the client reads it, for each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// What a field counts for beside its name and value (RFC 9113, section 6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// Requests that were reset and wait for being noticed, and streams that broke the protocol.
const MAX_RESETS: usize = 128;
/// While requests are under way, a client that is silent for so long is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long a client has to end a connection that was said to be over.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves a connection until it ends, is idle for too long, or until its last answer once draining has begun. One that fails
/// is said goodbye to.
pub(super) async fn serve<H: Handler, S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    first: First,
    arrival: Arrival,
    handler: H,
    limits: Limits,
    phases: Phases,
) {
    let handover = Handover::new();
    let ended = serve_until_its_end(stream, first, arrival, handler, limits, phases, handover.clone()).await;
    if let (Err(_), Some(rest)) = (ended, handover.take()) {
        rest.say_goodbye().await;
    }
}

async fn serve_until_its_end<H: Handler, S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    first: First,
    arrival: Arrival,
    handler: H,
    limits: Limits,
    mut phases: Phases,
    handover: Handover<S>,
) -> hyper::Result<()> {
    let streams = Streams::default();
    let watched = Watched::new(stream, first, limits.header_timeout, streams.answered.clone(), handover);
    let turns = Turns::default();
    let (begun, asked) = (streams.clone(), turns.clone());
    let executor = answer::Streams { last: turns, limit: limits.idle_timeout };
    let service =
        service_fn(move |request| exchange(&handler, &arrival, (begun.begin(), asked.begin()), limits, request));
    // More than is let in: so much of it is refused here, with a body, a line of log and metrics.
    let largest = limits.max_header_bytes.saturating_mul(2).saturating_add(MAX_FIELDS * FIELD_OVERHEAD);
    let mut connection = pin!(
        http2::Builder::new(executor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(largest).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            .keep_alive_interval(ASK_AFTER)
            .keep_alive_timeout(ANSWER_WITHIN)
            .serve_connection(watched, service)
    );
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = phases.reached(Phase::Draining) => {}
        () = streams.idle_for(limits.idle_timeout) => {}
    }
    // GOAWAY, twice, with a PING between: what is on its way is served (RFC 9113, section 6.8).
    connection.as_mut().graceful_shutdown();
    let over = async {
        sleep(GOODBYE).await;
        streams.idle_for(GOODBYE).await;
    };
    // A client that doesn't answer the PING isn't waited for once it has all its answers.
    tokio::select! {
        biased;
        ended = connection => ended,
        () = over => Ok(()),
    }
}

/// The requests of a connection.
#[derive(Clone)]
struct Streams {
    open: Arc<Mutex<Open>>,
    answered: Arc<AtomicU64>,
}

struct Open {
    streams: usize,
    last_end: Instant,
}

/// A request whose answer isn't at its end.
struct InFlight(Streams);

impl Default for Streams {
    fn default() -> Streams {
        let open = Open { streams: 0, last_end: Instant::now() };
        Streams { open: Arc::new(Mutex::new(open)), answered: Arc::default() }
    }
}

impl Streams {
    fn begin(&self) -> InFlight {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).streams += 1;
        InFlight(self.clone())
    }

    /// Ends once there was no request for so long.
    async fn idle_for(&self, limit: Duration) {
        loop {
            let until = {
                let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                let since = if open.streams == 0 { open.last_end } else { Instant::now() };
                since + limit
            };
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.streams = open.streams.saturating_sub(1);
        open.last_end = Instant::now();
    }
}

/// One request. What HTTP/1.1 would be refused for is refused here, too.
fn exchange<H: Handler>(
    handler: &H,
    arrival: &Arrival,
    (in_flight, turn): (InFlight, Turn),
    limits: Limits,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer>, Infallible>> + Send + use<H> {
    let handler = handler.clone();
    let fault = request::conform(&mut request, limits.max_header_bytes).err();
    let arrival = Arrival { fault, body_fault: Default::default(), ..arrival.clone() };
    let asked = Asked::new(request.map(|body| Arriving::new(body, Version::HTTP_2)), arrival);
    async move {
        // In a box: the HTTP library moves the future of a request several times before it runs.
        let mut response = Box::pin(handler.handle(asked)).await;
        in_flight.0.answered.fetch_add(1, Ordering::Relaxed);
        for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
            response.headers_mut().remove(name);
        }
        Ok(response.map(|body| Answer::new(body, turn, in_flight)))
    }
}
