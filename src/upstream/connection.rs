//! An open connection to an upstream, in HTTP/1.1 or HTTP/2, as those see it who use it; its task drives it.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Duration, Instant},
};

use super::connect::{Counted, Stream};
use crate::{body::RequestBody, refusal::UpstreamFault};

/// Requests at a time on one HTTP/2 connection; fewer where the upstream says so.
pub(super) const MOST_STREAMS: usize = 100;
/// What an upstream may send before it is read: of one answer, and of all on a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
const MAX_HEADER_LIST: u32 = 256 * 1024;
/// While requests are under way, an upstream that is silent for so long is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

pub(super) type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// A connection for one request at a time, or a place on one for many.
pub(super) enum Connection {
    /// HTTP/1.1.
    Alone(http1::SendRequest<RequestBody>, Heard),
    /// HTTP/2.
    Stream(Place),
}

/// A place on a shared connection; free again with its end.
pub(super) struct Place(Arc<Shared>);

/// An HTTP/2 connection.
pub(super) struct Shared {
    sender: http2::SendRequest<RequestBody>,
    streams: AtomicUsize,
    /// How many the upstream takes.
    limit: Arc<AtomicUsize>,
    /// Milliseconds from `begin` to when it was last given a request.
    last_used: AtomicU64,
    begin: Instant,
    /// Its place among `max_connections`.
    _slot: Option<OwnedSemaphorePermit>,
}

/// How many bytes a connection has brought, ever: tells an upstream that said nothing from one that broke off.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<AtomicU64>);

impl Connection {
    /// Speaks HTTP/1.1 on this stream.
    pub(super) async fn http1(stream: Stream) -> Result<Connection, UpstreamFault> {
        let heard = Heard::default();
        let stream = TokioIo::new(Counted { stream, heard: heard.clone() });
        let (sender, task) = http1::handshake(stream).await.map_err(|_| UpstreamFault::Broken)?;
        // Its errors reach whoever waits for the answer.
        tokio::spawn(task.with_upgrades());
        Ok(Connection::Alone(sender, heard))
    }

    /// Whether requests have to look as HTTP/2's do.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Connection::Stream(_))
    }

    pub(super) fn is_ready(&self) -> bool {
        match self {
            Connection::Alone(sender, _) => sender.is_ready(),
            Connection::Stream(_) => false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Connection::Alone(sender, _) => sender.is_closed(),
            Connection::Stream(place) => place.0.sender.is_closed(),
        }
    }

    /// Whether it is there for the next request once the one before is through.
    pub(super) async fn ready(&mut self) -> bool {
        match self {
            Connection::Alone(sender, _) => sender.ready().await.is_ok(),
            Connection::Stream(_) => false,
        }
    }

    pub(super) async fn send(&mut self, request: Request<RequestBody>) -> Sent {
        match self {
            Connection::Alone(sender, _) => sender.try_send_request(request).await,
            Connection::Stream(place) => place.0.sender.clone().try_send_request(request).await,
        }
    }

    /// What it has brought of its own answers; on a shared connection that can't be told.
    pub(super) fn heard(&self) -> u64 {
        match self {
            Connection::Alone(_, heard) => heard.bytes(),
            Connection::Stream(_) => 0,
        }
    }
}

impl Shared {
    /// Speaks HTTP/2 on this stream. The upstream is expected to take so many requests at a time, until it says how many.
    pub(super) async fn http2(
        stream: Stream,
        slot: Option<OwnedSemaphorePermit>,
        expected: usize,
    ) -> Result<Arc<Shared>, UpstreamFault> {
        let (sender, task) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_max_send_streams(expected)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEADER_LIST)
            .keep_alive_interval(ASK_AFTER)
            .keep_alive_timeout(ANSWER_WITHIN)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| UpstreamFault::Broken)?;
        let limit = Arc::new(AtomicUsize::new(expected));
        let told = limit.clone();
        tokio::spawn(async move {
            let mut task = pin!(task);
            poll_fn(|cx| {
                let polled = task.as_mut().poll(cx);
                told.store(task.current_max_send_streams(), Ordering::Relaxed);
                polled
            })
            .await
        });
        Ok(Arc::new(Shared {
            sender,
            streams: AtomicUsize::new(0),
            limit,
            last_used: AtomicU64::new(0),
            begin: Instant::now(),
            _slot: slot,
        }))
    }

    /// A place on it, if it has one. Called under the pool's lock.
    pub(super) fn place(self: &Arc<Shared>) -> Option<Connection> {
        if !self.sender.is_ready() || self.streams.load(Ordering::Relaxed) >= self.limit() {
            return None;
        }
        self.streams.fetch_add(1, Ordering::Relaxed);
        let used = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_used.store(used, Ordering::Relaxed);
        Some(Connection::Stream(Place(self.clone())))
    }

    /// How many requests at a time the upstream takes on it.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed).min(MOST_STREAMS)
    }

    /// Whether it may still be given requests: it is open, and didn't idle for too long.
    pub(super) fn is_fresh(&self, idle_timeout: Duration) -> bool {
        let last_used = self.begin + Duration::from_millis(self.last_used.load(Ordering::Relaxed));
        let in_use = self.streams.load(Ordering::Relaxed) > 0;
        !self.sender.is_closed() && (in_use || last_used.elapsed() < idle_timeout)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Heard {
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
