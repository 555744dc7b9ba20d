//! An open connection to an upstream, in HTTP/1.1 or HTTP/2, as those see it who use it.

use std::{
    future::{Future as _, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::{Request, Response, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::{Duration, Instant},
};

use super::{
    addresses::{Addresses, Origin},
    alarm::Alarm,
    alone::Alone,
    answer::{Answer, Unanswered},
    connect::Stream,
    counted::Counted,
    wire::Fault,
};
use crate::{
    body::{BrokenOff, RequestBody},
    refusal::UpstreamFault,
};

/// Requests at a time on one HTTP/2 connection; fewer where the upstream says so.
const MOST_STREAMS: usize = 100;
/// What an upstream may send before it is read: of one answer, and of all on a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
///
/// The windows of all streams together are the limit; that of the connection is far above. The library ends a connection on
/// which so many small DATA frames wait to be read that what each is short of 256 bytes comes to half of its window, and here
/// that would end the requests of clients who have nothing to do with it: one that asks for a stream of small messages and takes
/// none of them has up to 52,000 waiting.
const CONNECTION_WINDOW: u32 = 128 * 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
const MAX_HEADER_LIST: u32 = 256 * 1024;
/// While requests are under way, an upstream that is silent for so long is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

pub(super) type Sent = Result<Response<Answer>, Unanswered>;

type Task = http2::Connection<TokioIo<Counted>, RequestBody, TokioExecutor>;

/// A connection for one request at a time, or a place on one for many.
pub(super) enum Connection {
    /// HTTP/1.1.
    Alone(Alone),
    /// HTTP/2.
    Stream(Place),
}

/// A place on a shared connection; free again with its end.
pub(super) struct Place(Arc<Shared>);

/// An HTTP/2 connection.
pub(super) struct Shared {
    sender: http2::SendRequest<RequestBody>,
    /// Its task, which knows how many requests the upstream takes; None once it is over.
    task: Arc<Mutex<Option<Pin<Box<Task>>>>>,
    heard: Heard,
    /// Whether the upstream has said what it takes, or was waited for long enough.
    is_told: AtomicBool,
    origin: Origin,
    streams: AtomicUsize,
    /// Told when a place is free again, where somebody may wait for one.
    freed: Option<Arc<Notify>>,
    /// Milliseconds from `begin` to when it was last given a request.
    last_used: AtomicU64,
    begin: Instant,
    /// Its place among `max_connections`.
    _slot: Option<OwnedSemaphorePermit>,
}

/// How many bytes a connection has brought, ever: tells an upstream that said nothing from one that broke off.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Ear>);

#[derive(Default)]
struct Ear {
    bytes: AtomicU64,
    /// Whether it brought anything, or ended.
    was_read: AtomicBool,
    first: Notify,
}

impl Connection {
    /// Speaks HTTP/1.1 on this stream.
    pub(super) fn http1(stream: Stream, origin: Origin) -> Connection {
        Connection::Alone(Alone::new(stream, origin))
    }

    /// Whether requests have to look as HTTP/2's do.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Connection::Stream(_))
    }

    /// What its answers are waited for with, to be given back once the answer is there.
    pub(super) fn take_alarm(&mut self) -> Alarm {
        match self {
            Connection::Alone(alone) => std::mem::take(alone.alarm()),
            Connection::Stream(_) => Alarm::default(),
        }
    }

    pub(super) fn give_alarm(&mut self, alarm: Alarm) {
        if let Connection::Alone(alone) = self {
            *alone.alarm() = alarm;
        }
    }

    pub(super) fn is_ready(&mut self) -> bool {
        match self {
            Connection::Alone(alone) => alone.is_ready(),
            Connection::Stream(_) => false,
        }
    }

    pub(super) fn is_closed(&mut self) -> bool {
        match self {
            Connection::Alone(alone) => alone.is_closed(),
            Connection::Stream(place) => place.0.sender.is_closed(),
        }
    }

    /// Whether it leads where the endpoint's name does.
    pub(super) fn is_current(&self, addresses: &Addresses) -> bool {
        match self {
            Connection::Alone(alone) => alone.is_current(addresses),
            Connection::Stream(place) => place.0.origin.is_current(addresses),
        }
    }

    /// Whether it is there for the next request once the one before is through.
    pub(super) async fn ready(&mut self) -> bool {
        match self {
            Connection::Alone(alone) => alone.ready().await,
            Connection::Stream(_) => false,
        }
    }

    /// Whether it hands such a request back where no answer comes.
    pub(super) fn hands_back(&self, request: &Request<RequestBody>) -> bool {
        matches!(self, Connection::Alone(alone) if alone.hands_back(request))
    }

    pub(super) async fn send(&mut self, request: Box<Request<RequestBody>>) -> Sent {
        match self {
            Connection::Alone(alone) => alone.send(request).await,
            Connection::Stream(place) => {
                let sent = place.0.sender.clone().try_send_request(*request).await;
                sent.map(|response| response.map(Answer::Apart)).map_err(Unanswered::from)
            }
        }
    }

    /// The next frame of an answer that came on it.
    pub(super) fn poll_frame(
        &mut self,
        answer: &mut Answer,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match (answer, self) {
            (Answer::Apart(incoming), _) => Pin::new(incoming).poll_frame(cx).map_err(BrokenOff::from),
            (Answer::Here(rest), Connection::Alone(alone)) => alone.poll_frame(rest, cx),
            (Answer::Here(_), Connection::Stream(_)) => Poll::Ready(Some(Err(Fault::Ended.into()))),
        }
    }

    /// What it has brought of its own answers; on a shared connection that can't be told.
    pub(super) fn heard(&self) -> u64 {
        match self {
            Connection::Alone(alone) => alone.heard(),
            Connection::Stream(_) => 0,
        }
    }
}

impl Shared {
    /// Speaks HTTP/2 on this stream. Until the upstream has said how many requests it takes, it is given one.
    pub(super) async fn http2(
        stream: Stream,
        origin: Origin,
        slot: Option<OwnedSemaphorePermit>,
        freed: Option<Arc<Notify>>,
    ) -> Result<Arc<Shared>, UpstreamFault> {
        let heard = Heard::default();
        let (sender, task) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_max_send_streams(MOST_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEADER_LIST)
            .keep_alive_interval(ASK_AFTER)
            .keep_alive_timeout(ANSWER_WITHIN)
            .handshake(TokioIo::new(Counted { stream, heard: heard.clone() }))
            .await
            .map_err(|_| UpstreamFault::Broken)?;
        let task = Arc::new(Mutex::new(Some(Box::pin(task))));
        tokio::spawn(drive(task.clone()));
        Ok(Arc::new(Shared {
            sender,
            task,
            heard,
            is_told: AtomicBool::new(false),
            origin,
            streams: AtomicUsize::new(0),
            freed,
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

    /// How many requests at a time the upstream takes on it. The task's lock is held by nobody else of this worker, and
    /// never across an await.
    fn limit(&self) -> usize {
        if !self.is_told.load(Ordering::Relaxed) {
            return 1;
        }
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.as_ref().map_or(0, |task| task.current_max_send_streams()).min(MOST_STREAMS)
    }

    /// Its upstream has said what it takes, or isn't waited for any more.
    pub(super) fn set_told(&self) {
        self.is_told.store(true, Ordering::Relaxed);
    }

    pub(super) fn heard(&self) -> &Heard {
        &self.heard
    }

    pub(super) fn is_current(&self, addresses: &Addresses) -> bool {
        self.origin.is_current(addresses)
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
        if let Some(freed) = &self.0.freed {
            freed.notify_one();
        }
    }
}

/// Its errors reach whoever waits for an answer.
async fn drive(task: Arc<Mutex<Option<Pin<Box<Task>>>>>) {
    poll_fn(|cx| {
        let mut held = task.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = held.as_mut() else { return Poll::Ready(()) };
        if running.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let over = held.take();
        drop(held);
        drop(over);
        Poll::Ready(())
    })
    .await;
}

impl Heard {
    /// Notes what was read; nothing is the end.
    pub(super) fn add(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if !self.0.was_read.load(Ordering::Relaxed) {
            self.0.was_read.store(true, Ordering::Relaxed);
            self.0.first.notify_waiters();
        }
    }

    /// Waits for the first bytes, or the end. Who is woken runs after whoever read them has taken them in.
    pub(super) async fn first(&self) {
        let mut first = pin!(self.0.first.notified());
        first.as_mut().enable();
        if !self.0.was_read.load(Ordering::Relaxed) {
            first.await;
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }
}
