//! A connection that speaks HTTP/1: by hyper, behind the framing guard.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::{
    Request, Response, StatusCode, Version,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Handler,
    connection::{First, LAST_REQUEST_GRACE},
    drain::{Phase, Phases},
    framing::{
        Guard, Limits,
        exchange::{Exchanges, InFlight},
    },
};
use crate::{
    body::{Arriving, Body, BodyError, OwesBody},
    server::{Arrival, Asked},
};

/// A little more than the guard lets through, so that hyper never answers in its place.
const MAX_FIELDS: usize = 110;
const BUFFER_MARGIN: usize = 64 * 1024;

/// Serves a connection until it ends, or until its last answer once draining has begun.
pub(super) async fn serve<H: Handler, S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    first: First,
    arrival: Arrival,
    handler: H,
    limits: Limits,
    mut phases: Phases,
) {
    let exchanges = Exchanges::new();
    let guard = Guard::new(stream, first, limits, exchanges.clone());
    let asked = exchanges.clone();
    let service = service_fn(move |request| exchange(&handler, &arrival, &asked, request));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .half_close(false)
            .max_headers(MAX_FIELDS)
            .max_buf_size(limits.max_header_bytes.saturating_add(BUFFER_MARGIN))
            .serve_connection(guard, service)
            .with_upgrades()
    );
    // The connection first: what has arrived by now is answered.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = phases.reached(Phase::Draining) => {}
    }
    exchanges.close();
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(LAST_REQUEST_GRACE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// A body that notes when it is over.
struct Answer {
    body: Body,
    _in_flight: InFlight,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// One request: what the guard has noted of it goes to the handler with it.
fn exchange<H: Handler>(
    handler: &H,
    arrival: &Arrival,
    exchanges: &Exchanges,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer>, Infallible>> + Send + use<H> {
    let (noted, in_flight) = exchanges.begin();
    let exchanges = exchanges.clone();
    let handler = handler.clone();
    let body_fault = noted.body_fault.clone();
    let arrival = Arrival { fault: noted.fault, body_fault: noted.body_fault, ..arrival.clone() };
    let refused = arrival.fault.is_some();
    let asked = Asked::new(request.map(|body| Arriving::new(body, Version::HTTP_11)), arrival);
    async move {
        // In a box: the HTTP library moves the future of a request before it runs.
        let mut response = Box::pin(handler.handle(asked)).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            exchanges.switch();
            return Ok(response.map(|body| Answer { body, _in_flight: in_flight }));
        }
        let wants_none = response.body().is_own() || response.extensions().get::<OwesBody>().is_some();
        let unwanted_body = wants_none && exchanges.is_in_body();
        if refused || unwanted_body || body_fault.get().is_some() || exchanges.is_closing() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| Answer { body, _in_flight: in_flight }))
    }
}
