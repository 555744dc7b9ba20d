//! `mode: forward_auth`: a question over HTTP. 200 with the fields that are to go on, or the refusal as the client is to
//! see it.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use hyper::{
    Method, Response, StatusCode,
    body::Body as _,
    header::{CACHE_CONTROL, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue},
};
use tokio::time::timeout;

use super::{
    describe::{self, Described},
    go_on::GoOn,
    peer,
    verdict::{self, Verdict},
};
use crate::{
    body::{Arriving, Body},
    cors,
    exchange::Exchange,
    gateway,
    observe::Observer,
    refusal::Refusal,
    server::{Arrival, Asked, RequestFrom},
    snapshot::Snapshot,
    token::credential::asks_by_dpop,
};

/// The status that a 403 stands for.
const X_AUTH_STATUS: HeaderName = HeaderName::from_static("x-auth-status");
/// As much of a check's body is read, and forgotten, so that its connection lives on.
const MOST_BODY: u64 = 64 * 1024;
const BODY_PATIENCE: Duration = Duration::from_secs(2);

/// Answers a check.
pub(super) async fn answer(
    observer: Arc<Observer>,
    snapshot: Arc<Snapshot>,
    from: RequestFrom,
    Asked { head: check, body, arrival }: Asked,
) -> Response<Body> {
    let (head_only, expects) = (check.method == Method::HEAD, check.headers.contains_key(EXPECT));
    let described = described(&snapshot, from, &check, &arrival);
    // Of what can't be read, or mustn't, the check itself is told in the log.
    let (described, unread) = match described {
        Ok(described) => (described, None),
        Err(refusal) => (Described { head: check, arrival, body_bytes: None }, Some(refusal)),
    };
    let mut exchange = Exchange::begin(observer, snapshot.clone(), &described.head, &described.arrival);
    let decided = match unread {
        None => verdict::decide(&snapshot, &mut exchange, &described).await.and_then(as_response),
        Some(refusal) => Err(refusal),
    };
    let is_dpop = asks_by_dpop(&described.head.headers);
    let mut response = decided.unwrap_or_else(|refusal| gateway::refuse(&mut exchange, &refusal, is_dpop, head_only));
    gateway::write_on_all_answers(&exchange, cors::origin(&described.head.headers), response.headers_mut());
    if from == RequestFrom::XOriginal {
        say_for_nginx(&mut response);
    }
    if !expects {
        forget(body).await;
    }
    exchange.answer_with(response)
}

fn described(
    snapshot: &Snapshot,
    from: RequestFrom,
    check: &hyper::http::request::Parts,
    arrival: &Arrival,
) -> Result<Described, Refusal> {
    if let Some(fault) = &arrival.fault {
        return Err(fault.clone());
    }
    peer::check(snapshot, arrival)?;
    describe::from_fields(from, check, arrival)
}

/// A 2xx lets the request through, so an answer of the gateway's own can't be given as one.
fn as_response(verdict: Verdict) -> Result<Response<Body>, Refusal> {
    match verdict {
        Verdict::GoOn(go_on) if go_on.has_aliases() => Err(describe::forbidden_name()),
        Verdict::GoOn(go_on) => Ok(yes(&go_on)),
        Verdict::Answer(answer) if answer.status().is_success() => Err(Refusal::NoRoute),
        Verdict::Answer(answer) => Ok(answer),
    }
}

/// Every field that the gateway has a say in, one without a value empty: the proxy that copies it overwrites what its client
/// has sent.
fn yes(go_on: &GoOn) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, values) in go_on.fields() {
        headers.remove(name);
        for value in &values {
            headers.append(name, value.clone());
        }
        if !headers.contains_key(name) {
            headers.insert(name, HeaderValue::from_static(""));
        }
    }
    response
}

/// nginx knows 2xx, 401 and 403 as answers of an `auth_request`, and makes a 500 of any other.
fn say_for_nginx(response: &mut Response<Body>) {
    let status = response.status();
    if !status.is_success() && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        response.headers_mut().insert(X_AUTH_STATUS, HeaderValue::from(status.as_u16()));
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
}

/// Reads a small body to its end: nothing depends on it.
async fn forget(mut body: Arriving) {
    if body.is_end_stream() || body.size_hint().lower() > MOST_BODY {
        return;
    }
    let reading = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, |data| data.len() as u64);
            if read > MOST_BODY {
                break;
            }
        }
    };
    // What takes longer isn't waited for: the connection ends with the answer.
    let _ = timeout(BODY_PATIENCE, reading).await;
}
