//! One request and the head of its answer: a connection from the pool or a new one, tries and time limits.

use std::pin::pin;

use http_body::Body as _;
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::Incoming,
    client::conn::TrySendError,
    header::{CONNECTION, CONTENT_LENGTH, HeaderValue, UPGRADE},
};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Answered, Tunnel, Upstream, announces_body, cleaned,
    connect::{Counted, connect},
    pool::{Connection, Heard, Lease},
    upgrade,
};
use crate::{
    body::{Body, RequestBody, Upload},
    headers::remove_hop_by_hop,
    observe::UpstreamAttempt,
    refusal::{Refusal, UpstreamFault},
};

type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// How a try ended without an answer.
enum Failed {
    /// Nothing of it was written: it may be sent again whatever it is.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended before a byte of an answer.
    Silent,
    /// Out of time, or the upstream's answer was no good: final.
    Refused(Refusal),
}

impl Upstream {
    /// A connection that had idled may turn out to be closed: then the request goes out once more, on a new one, if
    /// none of it was written, or if it may be repeated (RFC 9110, section 9.2.2) and had no body.
    pub(super) async fn exchange(
        &self,
        worker: usize,
        request: Request<RequestBody>,
        attempts: &mut u32,
    ) -> Result<Answered, Refusal> {
        let deadline = request.body().deadline();
        let upload = request.body().upload();
        let slot = self.slot().await?;
        let Some(idle) = self.idle(worker) else {
            return self.exchange_anew(worker, request, slot, attempts, deadline).await;
        };
        let mut lease = Lease::new(idle, self.pool.clone(), worker, slot);
        let spare = is_repeatable(&request).then(|| copy(&request));
        let asked = request.headers().get(UPGRADE).cloned();
        let failed = match self.attempt(&mut lease, request, attempts, deadline).await {
            Ok(response) => return self.answer(lease, response, asked.as_ref(), &upload, deadline),
            Err(failed) => failed,
        };
        let again = match (failed, spare) {
            (Failed::Unsent(request), _) => *request,
            (Failed::Silent, Some(request)) => request,
            (Failed::Silent, None) => return Err(Refusal::Upstream(UpstreamFault::Broken)),
            (Failed::Refused(refusal), _) => return Err(refusal),
        };
        self.exchange_anew(worker, again, lease.into_slot(), attempts, deadline).await
    }

    async fn exchange_anew(
        &self,
        worker: usize,
        request: Request<RequestBody>,
        slot: Option<OwnedSemaphorePermit>,
        attempts: &mut u32,
        deadline: Option<Instant>,
    ) -> Result<Answered, Refusal> {
        let upload = request.body().upload();
        let asked = request.headers().get(UPGRADE).cloned();
        let connection = self.connect_twice(attempts, &upload, deadline).await?;
        let mut lease = Lease::new(connection, self.pool.clone(), worker, slot);
        match self.attempt(&mut lease, request, attempts, deadline).await {
            Ok(response) => self.answer(lease, response, asked.as_ref(), &upload, deadline),
            Err(Failed::Unsent(_) | Failed::Silent) => Err(Refusal::Upstream(UpstreamFault::Broken)),
            Err(Failed::Refused(refusal)) => Err(refusal),
        }
    }

    fn idle(&self, worker: usize) -> Option<Connection> {
        if self.slots.is_some() { self.pool.take_any(worker) } else { self.pool.take(worker) }
    }

    /// A place among `max_connections`, for the time of the exchange.
    async fn slot(&self) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        let Some(slots) = &self.slots else {
            return Ok(None);
        };
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            return Ok(Some(slot));
        }
        match timeout(self.settings.connect_timeout, slots.clone().acquire_owned()).await {
            Ok(Ok(slot)) => Ok(Some(slot)),
            _ => Err(Refusal::Upstream(UpstreamFault::Unavailable)),
        }
    }

    /// A connection that is refused is tried once more; one that takes too long isn't, it took its time.
    async fn connect_twice(
        &self,
        attempts: &mut u32,
        upload: &Upload,
        deadline: Option<Instant>,
    ) -> Result<Connection, Refusal> {
        let mut last = UpstreamFault::Broken;
        for _ in 0..2 {
            let begin = Instant::now();
            let until = begin + self.settings.connect_timeout;
            let until = deadline.map_or(until, |deadline| deadline.min(until));
            last = match timeout_at(until, self.connect()).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(fault)) => fault,
                Err(_) => UpstreamFault::TimedOut,
            };
            *attempts += 1;
            UpstreamAttempt { result: "error", took: begin.elapsed() }.record(self.pool.metrics());
            if last == UpstreamFault::TimedOut {
                break;
            }
        }
        Err(if is_over(deadline) { out_of_time(upload) } else { Refusal::Upstream(last) })
    }

    async fn connect(&self) -> Result<Connection, UpstreamFault> {
        let endpoint = &self.settings.endpoint;
        if endpoint.socket.is_some() || endpoint.tls && self.tls.is_none() {
            return Err(UpstreamFault::Unavailable);
        }
        let stream = connect(&endpoint.host, endpoint.port, self.tls.clone(), |_| true)
            .await
            .map_err(|_| UpstreamFault::Broken)?;
        let heard = Heard::default();
        let stream = TokioIo::new(Counted { stream, heard: heard.clone() });
        let (sender, task) = hyper::client::conn::http1::handshake(stream).await.map_err(|_| UpstreamFault::Broken)?;
        // Its errors reach whoever waits for the answer.
        tokio::spawn(task.with_upgrades());
        Ok(Connection { sender, heard })
    }

    /// Sends the request on this connection and waits for the answer's head.
    async fn attempt(
        &self,
        lease: &mut Lease,
        request: Request<RequestBody>,
        attempts: &mut u32,
        deadline: Option<Instant>,
    ) -> Result<Response<Incoming>, Failed> {
        let Some(connection) = lease.connection() else {
            return Err(Failed::Unsent(Box::new(request)));
        };
        *attempts += 1;
        let begin = Instant::now();
        let heard_before = connection.heard.bytes();
        let upload = request.body().upload();
        let sent = connection.sender.try_send_request(request);
        let head = self.head_in_time(sent, begin, &upload, deadline).await;
        let result = if matches!(head, Ok(Ok(_))) { "ok" } else { "error" };
        UpstreamAttempt { result, took: begin.elapsed() }.record(self.pool.metrics());
        head.map_err(Failed::Refused)?.map_err(|mut error| match error.take_message() {
            Some(request) => Failed::Unsent(Box::new(request)),
            None if connection.heard.bytes() == heard_before => Failed::Silent,
            None => Failed::Refused(Refusal::Upstream(UpstreamFault::Broken)),
        })
    }

    /// `response_timeout` counts from when the upstream had all that there was of the request: while the client is
    /// waited for, it doesn't run (its own limits do).
    async fn head_in_time(
        &self,
        sent: impl Future<Output = Sent>,
        begin: Instant,
        upload: &Upload,
        deadline: Option<Instant>,
    ) -> Result<Sent, Refusal> {
        let mut sent = pin!(sent);
        loop {
            let turn = upload.upstream_turn().unwrap_or(begin).max(begin);
            let response_by = self.settings.response_timeout.map(|limit| turn + limit);
            let Some(until) = earlier(response_by, deadline) else {
                return Ok(sent.await);
            };
            if let Ok(head) = timeout_at(until, sent.as_mut()).await {
                return Ok(head);
            }
            if is_over(deadline) {
                return Err(out_of_time(upload));
            }
            if upload.upstream_turn().is_none_or(|now| now <= turn) {
                return Err(Refusal::Upstream(UpstreamFault::TimedOut));
            }
        }
    }

    /// Ties the connection to the answer's body.
    fn answer(
        &self,
        lease: Lease,
        mut response: Response<Incoming>,
        asked: Option<&HeaderValue>,
        upload: &Upload,
        deadline: Option<Instant>,
    ) -> Result<Answered, Refusal> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return switched(lease, response, asked);
        }
        // On a connection that has seen an HTTP/1.0 answer hyper speaks HTTP/1.0, and drops bodies of unknown length.
        // Whoever answers before the body was there may not read it, and take it for the next request. And what follows
        // a head that speaks of a body that can't be would be taken for the next answer.
        let reusable = response.version() == Version::HTTP_11
            && upload.ended()
            && !(response.body().is_end_stream() && announces_body(response.headers()));
        cleaned(&mut response).map_err(Refusal::Upstream)?;
        let response = response.map(|incoming| {
            if incoming.is_end_stream() {
                if reusable {
                    lease.give_back();
                }
                return Body::Empty;
            }
            let at_end: Box<dyn FnOnce() + Send> = Box::new(move || {
                if reusable {
                    lease.give_back();
                }
            });
            Body::streamed(incoming, deadline, Some(at_end))
        });
        Ok(Answered { response, tunnel: None })
    }
}

/// The connection is no longer one for requests: it becomes a tunnel, or ends where nobody had asked for that.
fn switched(lease: Lease, mut response: Response<Incoming>, asked: Option<&HeaderValue>) -> Result<Answered, Refusal> {
    let Some(protocol) = upgrade::agreed(response.headers(), asked) else {
        return Err(Refusal::Upstream(UpstreamFault::Broken));
    };
    let tunnel = Tunnel::new(hyper::upgrade::on(&mut response), lease);
    let headers = response.headers_mut();
    remove_hop_by_hop(headers);
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
    Ok(Answered { response: response.map(|_| Body::Empty), tunnel: Some(tunnel) })
}

/// Whether it may be sent twice without harm: idempotent (RFC 9110, section 9.2.2), and all of it still at hand.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    let idempotent =
        matches!(*request.method(), Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS);
    idempotent && request.body().is_end_stream()
}

fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(request.body().again());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}

/// The route's time is over: whose fault that is depends on whether the request had arrived.
fn out_of_time(upload: &Upload) -> Refusal {
    if upload.ended() { Refusal::Upstream(UpstreamFault::TimedOut) } else { Refusal::UploadTimedOut }
}
