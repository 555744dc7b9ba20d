//! One endpoint is asked: on a connection from the pool or a new one, within its time limits.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use http_body::Body as _;
use hyper::{Request, Response};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use super::{
    Upstream,
    alarm::Alarm,
    answer::{Answer, Unanswered},
    connection::{Connection, Sent},
    dress::dress,
    endpoint::{Endpoint, Entry, Seat},
    exchange::{BROKEN, Reached, Stopped, Try, UNSENDABLE, is_over},
    expectation::hold_back,
    pool::Lease,
    retry::is_idempotent,
};
use crate::{
    body::{Kept, RequestBody, Upload},
    observe::UpstreamAttempt,
    refusal::{Refusal, UpstreamFault},
    trace::{Kind, Span, known_method},
};

/// How sending a request on a connection ended without an answer.
enum Failed {
    /// Nothing of it was written: it may be sent again whatever it is.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended before a byte of an answer.
    Silent(Option<Box<Spare>>),
    /// The upstream says that it has done nothing of it (RFC 9113, section 8.7).
    Unprocessed(Option<Box<Spare>>),
    /// Out of time, or the upstream's answer was no good.
    Refused(Refusal, Option<Box<Spare>>),
    /// It can't be sent at all.
    Unsendable,
}

/// A request once more, where it may be sent again.
pub(super) struct Spare {
    request: Box<Request<RequestBody>>,
    /// Its body, if it has one.
    kept: Option<Kept>,
}

/// What was opened, and its place among `max_connections` where it doesn't keep that itself.
struct Opened {
    connection: Connection,
    slot: Option<OwnedSemaphorePermit>,
}

impl Upstream {
    /// A connection that had idled may turn out to be closed: then the request goes out once more, on a new one, if
    /// none of it was written, or if it may be repeated (RFC 9110, section 9.2.2) and is at hand.
    pub(super) async fn ask(
        &self,
        seat: Seat,
        endpoint: &Arc<Endpoint>,
        request: Box<Request<RequestBody>>,
        this_try: &mut Try,
    ) -> Result<Reached, Stopped> {
        let worker = this_try.worker;
        let (kept, slot) = match endpoint.entry(worker, this_try.asked.is_some()).await? {
            Entry::Place(connection) => (Some(connection), None),
            Entry::Slot(slot) => (endpoint.idle(worker), slot),
        };
        let Some(connection) = kept else {
            return Box::pin(self.ask_anew(seat, endpoint, request, slot, this_try)).await;
        };
        let mut lease = Lease::new(connection, seat, worker, slot);
        let again = match self.attempt(endpoint, &mut lease, request, true, this_try).await {
            Ok((response, spare)) => return Ok(Reached { lease, response, spare }),
            Err(Failed::Unsent(request)) => request,
            Err(Failed::Silent(Some(spare))) if is_idempotent(spare.request.method()) => {
                spare.whole().ok_or(Stopped::Failed(BROKEN, None))?
            }
            Err(failed) => return Err(failed.into_stopped()),
        };
        let seat = Seat::new(endpoint.clone());
        let slot = match lease.into_slot() {
            // A shared connection that has ended gives its slot back as soon as it is looked for.
            None => match endpoint.entry(worker, this_try.asked.is_some()).await? {
                Entry::Place(connection) => {
                    return Box::pin(self.ask_on(connection, None, seat, endpoint, again, this_try)).await;
                }
                Entry::Slot(slot) => slot,
            },
            slot => slot,
        };
        Box::pin(self.ask_anew(seat, endpoint, again, slot, this_try)).await
    }

    async fn ask_anew(
        &self,
        seat: Seat,
        endpoint: &Endpoint,
        request: Box<Request<RequestBody>>,
        slot: Option<OwnedSemaphorePermit>,
        this_try: &mut Try,
    ) -> Result<Reached, Stopped> {
        let Opened { connection, slot } = match self.connect(endpoint, slot, this_try).await {
            Ok(opened) => opened,
            Err(refusal @ Refusal::Upstream(_)) => return Err(Stopped::Unbegun(request, refusal)),
            Err(refusal) => return Err(refusal.into()),
        };
        self.ask_on(connection, slot, seat, endpoint, request, this_try).await
    }

    async fn ask_on(
        &self,
        connection: Connection,
        slot: Option<OwnedSemaphorePermit>,
        seat: Seat,
        endpoint: &Endpoint,
        request: Box<Request<RequestBody>>,
        this_try: &mut Try,
    ) -> Result<Reached, Stopped> {
        let mut lease = Lease::new(connection, seat, this_try.worker, slot);
        match self.attempt(endpoint, &mut lease, request, false, this_try).await {
            Ok((response, spare)) => Ok(Reached { lease, response, spare }),
            Err(failed) => Err(failed.into_stopped()),
        }
    }

    async fn connect(
        &self,
        endpoint: &Endpoint,
        mut slot: Option<OwnedSemaphorePermit>,
        this_try: &mut Try,
    ) -> Result<Opened, Refusal> {
        let mut span = self.step(endpoint, "connect", this_try);
        let begin = Instant::now();
        let until = begin + self.settings.connect_timeout;
        let until = this_try.deadline.map_or(until, |deadline| deadline.min(until));
        let http1_alone = this_try.asked.is_some();
        let connecting = endpoint.connect(this_try.worker, &mut slot, http1_alone);
        let fault = match timeout_at(until, connecting).await {
            Ok(Ok(connection)) => return Ok(Opened { connection, slot }),
            Ok(Err(fault)) => fault,
            Err(_) => UpstreamFault::TimedOut,
        };
        this_try.attempts += 1;
        UpstreamAttempt { result: "error", took: begin.elapsed() }.record(endpoint.pool.metrics());
        span.set("bearward.attempt", this_try.attempts);
        span.failed(fault.word());
        let is_over = is_over(this_try.deadline);
        Err(if is_over { out_of_time(&this_try.upload) } else { Refusal::Upstream(fault) })
    }

    /// Sends the request on this connection and waits for the answer's head. The request once more, too, where there
    /// may be a use for it.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        lease: &mut Lease,
        mut request: Box<Request<RequestBody>>,
        is_reused: bool,
        this_try: &mut Try,
    ) -> Result<(Response<Answer>, Option<Box<Spare>>), Failed> {
        let Some(connection) = lease.connection() else {
            return Err(Failed::Unsent(request));
        };
        let idempotent = is_idempotent(request.method());
        let by_status =
            idempotent && !self.settings.retry.on_status.is_empty() && this_try.rounds < self.settings.retry.attempts;
        // HTTP/2 alone tells that nothing was done of a request (`Unprocessed`): then it goes again, whatever it is.
        let is_repeatable = is_reused && idempotent && request.body().is_end_stream();
        let may_go_again = by_status || connection.is_http2() || is_repeatable && !connection.hands_back(&request);
        let mut spare = if may_go_again { Spare::of(&mut request) } else { None };
        this_try.upload = request.body().upload();
        if dress(&mut request, connection.is_http2(), endpoint.address.tls).is_none() {
            return Err(Failed::Unsendable);
        }
        this_try.held = hold_back(&mut request, connection.is_http2());
        this_try.attempts += 1;
        let mut span = self.step(endpoint, known_method(request.method().as_str()).unwrap_or("HTTP"), this_try);
        span.set("bearward.attempt", this_try.attempts);
        span.set("http.request.method", known_method(request.method().as_str()).unwrap_or("_OTHER"));
        span.sends(request.headers_mut());
        let begin = Instant::now();
        let heard_before = connection.heard();
        let mut alarm = connection.take_alarm();
        let head = {
            let sent = pin!(connection.send(request));
            self.head_in_time(sent, &mut alarm, begin, &this_try.upload, this_try.deadline).await
        };
        connection.give_alarm(alarm);
        let result = if matches!(head, Ok(Ok(_))) { "ok" } else { "error" };
        UpstreamAttempt { result, took: begin.elapsed() }.record(endpoint.pool.metrics());
        tell(span, &head);
        match head {
            Ok(Ok(response)) => Ok((response, spare.filter(|_| by_status))),
            Err(refusal) => Err(Failed::Refused(refusal, spare.filter(|_| by_status))),
            Ok(Err(Unanswered::Unsent(request))) => Err(Failed::Unsent(request)),
            Ok(Err(Unanswered::Wire(request))) if spare.is_none() && is_repeatable => {
                let again = Some(Box::new(Spare { request, kept: None }));
                let is_silent = connection.heard() == heard_before;
                Err(if is_silent { Failed::Silent(again) } else { Failed::Refused(BROKEN, None) })
            }
            Ok(Err(error)) => Err(match error {
                error if error.is_unprocessed() => Failed::Unprocessed(spare),
                error if error.is_reset() => Failed::Refused(BROKEN, spare.take().filter(|_| by_status)),
                _ if connection.heard() == heard_before => Failed::Silent(spare),
                _ => Failed::Refused(BROKEN, spare.take().filter(|_| by_status)),
            }),
        }
    }

    /// What an endpoint is asked, as a step of the request.
    fn step(&self, endpoint: &Endpoint, name: &'static str, this_try: &Try) -> Span {
        let mut span = this_try.span.child(name, Kind::Client);
        if span.is_recorded() {
            span.set("bearward.upstream", &self.settings.name);
            span.set("bearward.endpoint", endpoint.label.to_string());
            if endpoint.address.socket.is_none() {
                span.set("server.address", endpoint.address.host.clone());
                span.set("server.port", endpoint.address.port);
            }
        }
        span
    }

    /// `response_timeout` counts from when the upstream had all that there was of the request: while the client is
    /// waited for, it doesn't run (its own limits do).
    async fn head_in_time(
        &self,
        mut sent: Pin<&mut impl Future<Output = Sent>>,
        alarm: &mut Alarm,
        begin: Instant,
        upload: &Upload,
        deadline: Option<Instant>,
    ) -> Result<Sent, Refusal> {
        loop {
            let turn = upload.upstream_turn().unwrap_or(begin).max(begin);
            let response_by = self.settings.response_timeout.map(|limit| turn + limit);
            let Some(until) = earlier(response_by, deadline) else {
                return Ok(sent.await);
            };
            let head = poll_fn(|cx| match sent.as_mut().poll(cx) {
                Poll::Ready(head) => Poll::Ready(Some(head)),
                Poll::Pending => alarm.poll(until, cx).map(|()| None),
            });
            if let Some(head) = head.await {
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
}

impl Spare {
    /// None where the body can't be kept.
    pub(super) fn of(request: &mut Request<RequestBody>) -> Option<Box<Spare>> {
        let kept = match request.body().is_end_stream() {
            true => None,
            false => Some(request.body_mut().keep()?),
        };
        let mut copy = Request::new(request.body().emptied());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        Some(Box::new(Spare { request: Box::new(copy), kept }))
    }

    /// The request, if all of it is at hand.
    pub(super) fn whole(self) -> Option<Box<Request<RequestBody>>> {
        let Some(kept) = self.kept else { return Some(self.request) };
        let (head, body) = self.request.into_parts();
        Some(Box::new(Request::from_parts(head, body.refilled(&kept)?)))
    }
}

impl Failed {
    /// What it is where the connection isn't to be replaced.
    fn into_stopped(self) -> Stopped {
        match self {
            Failed::Unsent(request) => Stopped::Unbegun(request, BROKEN),
            Failed::Unprocessed(Some(spare)) => match spare.whole() {
                Some(request) => Stopped::Unprocessed(request),
                None => Stopped::Failed(BROKEN, None),
            },
            Failed::Unprocessed(None) => Stopped::Failed(BROKEN, None),
            // What isn't idempotent has a spare for `Unprocessed` alone.
            Failed::Silent(spare) => {
                Stopped::Failed(BROKEN, spare.filter(|spare| is_idempotent(spare.request.method())))
            }
            Failed::Refused(refusal, spare) => Stopped::Failed(refusal, spare),
            Failed::Unsendable => Stopped::Finally(UNSENDABLE),
        }
    }
}

/// Ends an attempt's step: an answer from 400 on is an error to who asked (OpenTelemetry's semantic conventions of HTTP clients).
fn tell(mut span: Span, head: &Result<Sent, Refusal>) {
    if !span.is_recorded() {
        return;
    }
    match head {
        Ok(Ok(response)) => {
            let status = response.status();
            span.set("http.response.status_code", status.as_u16());
            if status.is_client_error() || status.is_server_error() {
                span.failed(status.as_u16().to_string());
            }
        }
        Ok(Err(_)) => span.failed(UpstreamFault::Broken.word()),
        Err(Refusal::Upstream(fault)) => span.failed(fault.word()),
        Err(refusal) => span.failed(refusal.reason()),
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The route's time is over: whose fault that is depends on whether the request had arrived.
fn out_of_time(upload: &Upload) -> Refusal {
    if upload.ended() { Refusal::Upstream(UpstreamFault::TimedOut) } else { Refusal::UploadTimedOut }
}
