//! One request and the head of its answer: a connection from the pool or a new one, tries and time limits.

use std::{error::Error as _, pin::pin, sync::atomic::Ordering};

use http_body::Body as _;
use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE},
    http::uri::Scheme,
};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Answered, Tunnel, Upstream, announces_body, cleaned, connect,
    connection::{Connection, Sent, Shared},
    expectation::hold_back,
    frame_for_http1,
    pool::Lease,
    upgrade,
};
use crate::{
    body::{Body, Held, OwesBody, RequestBody, Upload},
    headers::remove_hop_by_hop,
    observe::UpstreamAttempt,
    refusal::{Refusal, UpstreamFault},
};

/// How a try ended without an answer.
enum Failed {
    /// Nothing of it was written: it may be sent again whatever it is.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended before a byte of an answer. The request once more, if all of it is at hand.
    Silent(Option<Box<Request<RequestBody>>>),
    /// The upstream says that it has done nothing of it (RFC 9113, section 8.7). The same.
    Unprocessed(Option<Box<Request<RequestBody>>>),
    /// Out of time, or the upstream's answer was no good: final.
    Refused(Refusal),
}

/// How an exchange ended without an answer.
enum Stopped {
    /// It begins anew: nothing was done.
    Again(Box<Request<RequestBody>>),
    Finally(Refusal),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Stopped {
        Stopped::Finally(refusal)
    }
}

const BROKEN: Stopped = Stopped::Finally(Refusal::Upstream(UpstreamFault::Broken));

/// How often a request is begun that an upstream refuses to work on.
const MOST_BEGINNINGS: usize = 3;

/// What was opened, and its place among `max_connections` where it doesn't keep that itself.
struct Opened {
    connection: Connection,
    slot: Option<OwnedSemaphorePermit>,
}

/// What came of sending a request.
struct Try<'t> {
    worker: usize,
    attempts: &'t mut u32,
    deadline: Option<Instant>,
    upload: Upload,
    /// The protocols that the client asks to be switched to; HTTP/1.1 alone can be.
    asked: Option<HeaderValue>,
    /// Set where the body waits for the upstream's word.
    held: Option<Held>,
}

impl Upstream {
    /// One that the upstream refuses without having done anything is sent again, whatever it is, if all of it is at hand.
    pub(super) async fn exchange(
        &self,
        worker: usize,
        mut request: Request<RequestBody>,
        attempts: &mut u32,
    ) -> Result<Answered, Refusal> {
        let mut this_try = Try {
            worker,
            attempts,
            deadline: request.body().deadline(),
            upload: request.body().upload(),
            asked: request.headers().get(UPGRADE).cloned(),
            held: None,
        };
        for _ in 0..MOST_BEGINNINGS {
            request = match self.exchange_once(request, &mut this_try).await {
                Ok(answered) => return Ok(answered),
                Err(Stopped::Finally(refusal)) => return Err(refusal),
                Err(Stopped::Again(request)) => *request,
            };
        }
        Err(Refusal::Upstream(UpstreamFault::Broken))
    }

    /// A connection that had idled may turn out to be closed: then the request goes out once more, on a new one, if
    /// none of it was written, or if it may be repeated (RFC 9110, section 9.2.2) and had no body.
    async fn exchange_once(&self, request: Request<RequestBody>, this_try: &mut Try<'_>) -> Result<Answered, Stopped> {
        let worker = this_try.worker;
        let place = if this_try.asked.is_none() { self.pool.place(worker) } else { None };
        let slot = if place.is_none() { self.slot().await? } else { None };
        let Some(connection) = place.or_else(|| self.idle(worker)) else {
            return self.exchange_anew(request, slot, this_try).await;
        };
        let mut lease = Lease::new(connection, self.pool.clone(), worker, slot);
        let again = match self.attempt(&mut lease, request, this_try).await {
            Ok(response) => return Ok(self.answer(lease, response, this_try)?),
            Err(Failed::Unsent(request)) => request,
            Err(Failed::Silent(Some(request))) if is_idempotent(request.method()) => request,
            Err(Failed::Unprocessed(Some(request))) => return Err(Stopped::Again(request)),
            Err(Failed::Silent(_) | Failed::Unprocessed(None)) => return Err(BROKEN),
            Err(Failed::Refused(refusal)) => return Err(refusal.into()),
        };
        let slot = match lease.into_slot() {
            None => {
                // A shared connection that has ended gives its slot back as soon as it is looked for.
                drop(self.pool.place(worker));
                self.slot().await?
            }
            slot => slot,
        };
        self.exchange_anew(*again, slot, this_try).await
    }

    async fn exchange_anew(
        &self,
        request: Request<RequestBody>,
        slot: Option<OwnedSemaphorePermit>,
        this_try: &mut Try<'_>,
    ) -> Result<Answered, Stopped> {
        let Opened { connection, slot } = self.connect_twice(slot, this_try).await?;
        let mut lease = Lease::new(connection, self.pool.clone(), this_try.worker, slot);
        match self.attempt(&mut lease, request, this_try).await {
            Ok(response) => Ok(self.answer(lease, response, this_try)?),
            Err(Failed::Unprocessed(Some(request))) => Err(Stopped::Again(request)),
            Err(Failed::Unsent(_) | Failed::Silent(_) | Failed::Unprocessed(None)) => Err(BROKEN),
            Err(Failed::Refused(refusal)) => Err(refusal.into()),
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
        mut slot: Option<OwnedSemaphorePermit>,
        this_try: &mut Try<'_>,
    ) -> Result<Opened, Refusal> {
        let mut last = UpstreamFault::Broken;
        for _ in 0..2 {
            let begin = Instant::now();
            let until = begin + self.settings.connect_timeout;
            let until = this_try.deadline.map_or(until, |deadline| deadline.min(until));
            last = match timeout_at(until, self.connect(&mut slot, this_try)).await {
                Ok(Ok(connection)) => return Ok(Opened { connection, slot }),
                Ok(Err(fault)) => fault,
                Err(_) => UpstreamFault::TimedOut,
            };
            *this_try.attempts += 1;
            UpstreamAttempt { result: "error", took: begin.elapsed() }.record(self.pool.metrics());
            if last == UpstreamFault::TimedOut {
                break;
            }
        }
        let is_over = is_over(this_try.deadline);
        Err(if is_over { out_of_time(&this_try.upload) } else { Refusal::Upstream(last) })
    }

    /// A shared connection takes the slot; while one is being opened, others wait for it instead of opening more.
    async fn connect(
        &self,
        slot: &mut Option<OwnedSemaphorePermit>,
        this_try: &Try<'_>,
    ) -> Result<Connection, UpstreamFault> {
        let endpoint = &self.settings.endpoint;
        if endpoint.tls && self.tls.is_none() {
            return Err(UpstreamFault::Unavailable);
        }
        let http1_alone = this_try.asked.is_some();
        let will_share = !http1_alone && self.speaks_http2.load(Ordering::Relaxed);
        let _turn = if will_share { self.pool.turn(this_try.worker).await } else { None };
        if will_share && let Some(place) = self.pool.place(this_try.worker) {
            return Ok(place);
        }
        let stream =
            connect::open(endpoint, self.tls.as_ref(), http1_alone).await.map_err(|_| UpstreamFault::Broken)?;
        let http2 = stream.has_agreed_on_http2().unwrap_or(self.settings.http2 && !http1_alone);
        if !http1_alone {
            self.speaks_http2.store(http2, Ordering::Relaxed);
        }
        if !http2 {
            return Connection::http1(stream).await;
        }
        let shared = Shared::http2(stream, slot.take(), self.pool.expected_streams(this_try.worker)).await?;
        self.pool.share(this_try.worker, shared).ok_or(UpstreamFault::Broken)
    }

    /// Sends the request on this connection and waits for the answer's head.
    async fn attempt(
        &self,
        lease: &mut Lease,
        mut request: Request<RequestBody>,
        this_try: &mut Try<'_>,
    ) -> Result<Response<Incoming>, Failed> {
        let Some(connection) = lease.connection() else {
            return Err(Failed::Unsent(Box::new(request)));
        };
        let spare = (connection.is_http2() || is_idempotent(request.method())) && request.body().is_end_stream();
        let spare = spare.then(|| Box::new(copy(&request)));
        if dress(&mut request, connection.is_http2(), self.settings.endpoint.tls).is_none() {
            return Err(Failed::Refused(Refusal::Path("the request cannot be sent on")));
        }
        this_try.held = if connection.is_http2() { None } else { hold_back(&mut request) };
        *this_try.attempts += 1;
        let begin = Instant::now();
        let heard_before = connection.heard();
        let sent = connection.send(request);
        let head = self.head_in_time(sent, begin, &this_try.upload, this_try.deadline).await;
        let result = if matches!(head, Ok(Ok(_))) { "ok" } else { "error" };
        UpstreamAttempt { result, took: begin.elapsed() }.record(self.pool.metrics());
        head.map_err(Failed::Refused)?.map_err(|mut error| match error.take_message() {
            Some(request) => Failed::Unsent(Box::new(request)),
            None if is_unprocessed(error.error()) => Failed::Unprocessed(spare),
            None if connection.heard() == heard_before => Failed::Silent(spare),
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
        this_try: &mut Try<'_>,
    ) -> Result<Answered, Refusal> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return switched(lease, response, this_try.asked.as_ref());
        }
        let deadline = this_try.deadline;
        // On a connection that has seen an HTTP/1.0 answer hyper speaks HTTP/1.0, and drops bodies of unknown length.
        // Whoever answers before the body was there may not read it, and take it for the next request. And what follows
        // a head that speaks of a body that can't be would be taken for the next answer.
        let reusable = response.version() == Version::HTTP_11
            && this_try.upload.ended()
            && !(response.body().is_end_stream() && announces_body(response.headers()));
        cleaned(&mut response).map_err(Refusal::Upstream)?;
        let unasked = this_try.held.take().and_then(Held::answered);
        if unasked.is_some() {
            response.extensions_mut().insert(OwesBody);
        }
        let response = response.map(|incoming| {
            if incoming.is_end_stream() {
                if reusable {
                    lease.give_back();
                }
                return Body::Empty;
            }
            let at_end: Box<dyn FnOnce() + Send> = Box::new(move || {
                drop(unasked);
                if reusable {
                    lease.give_back();
                }
            });
            Body::streamed(incoming, deadline, Some(at_end))
        });
        Ok(Answered { response, tunnel: None })
    }
}

/// Makes a request look as its connection's version wants it. HTTP/2 has an authority in the place of `Host`, and no
/// connection-specific fields (RFC 9113, sections 8.2.2 and 8.3.1). None where it can't be made to.
fn dress(request: &mut Request<RequestBody>, http2: bool, tls: bool) -> Option<()> {
    let is_http2 = request.version() == Version::HTTP_2;
    if http2 && !is_http2 {
        let host = request.headers_mut().remove(HOST)?;
        let target = request.uri().path_and_query().cloned()?;
        let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(target);
        *request.uri_mut() = uri.build().ok()?;
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(TRANSFER_ENCODING);
        request.headers_mut().remove(CONNECTION);
    } else if !http2 && is_http2 {
        let authority = request.uri().authority()?.as_str();
        let host = HeaderValue::from_str(authority).ok()?;
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = request.uri().path_and_query().cloned()?.into();
        *request.version_mut() = Version::HTTP_11;
        frame_for_http1(request);
    }
    Some(())
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

/// Whether such a request may be worked on twice without harm (RFC 9110, section 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
}

/// REFUSED_STREAM, or a GOAWAY that leaves the request out.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return false;
    };
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
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
