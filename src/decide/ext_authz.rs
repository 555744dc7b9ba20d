//! `mode: ext_authz`: Envoy's question over gRPC, `envoy.service.auth.v3.Authorization/Check`. Envoy is told a yes with what
//! to change, or a no with the answer to its client; anything that can't be decided is a no.

use std::{sync::Arc, time::Duration};

use hyper::{Method, Response, StatusCode, http::request};

use super::{
    describe::{self, Described},
    grpc, peer, told,
    verdict::{self, Verdict},
};
use crate::{
    body::{Arriving, Body},
    cors,
    exchange::Exchange,
    gateway,
    observe::Observer,
    refusal::Refusal,
    respond,
    server::{Arrival, Asked},
    snapshot::Snapshot,
    token::credential::asks_by_dpop,
};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Of a message, beside the head that it tells of: what Envoy says of itself, and a body that it may send along and that
/// nobody looks at.
const BESIDE_HEAD: usize = 1 << 20;

/// Answers a call.
pub(super) async fn answer(
    observer: Arc<Observer>,
    snapshot: Arc<Snapshot>,
    Asked { head: call, body, arrival }: Asked,
) -> Response<Body> {
    let deadline = grpc::deadline(&call.headers).unwrap_or(Duration::MAX);
    let answering = answer_in_time(observer, snapshot, call, body, arrival);
    // Whoever asked has stopped waiting by then.
    tokio::time::timeout(deadline, answering).await.unwrap_or_else(|_| grpc::fault(&Refusal::BodyTooSlow))
}

async fn answer_in_time(
    observer: Arc<Observer>,
    snapshot: Arc<Snapshot>,
    call: request::Parts,
    body: Arriving,
    arrival: Arrival,
) -> Response<Body> {
    let is_call = arrival.fault.is_none() && grpc::is_call(&call);
    let asked = if is_call { asked(&snapshot, &call, body, &arrival).await } else { Err(Unasked::NoCall) };
    // Of what can't be read, or mustn't, the call itself is told in the log.
    let (described, unread) = match asked {
        Ok(described) => (described, None),
        Err(unasked) => (Described { head: call, arrival, body_bytes: None }, Some(unasked)),
    };
    let mut exchange = Exchange::begin(observer, snapshot.clone(), &described.head, &described.arrival);
    let decided = match unread {
        None => verdict::decide(&snapshot, &mut exchange, &described).await,
        Some(Unasked::Refused(refusal)) => Err(refusal),
        Some(Unasked::Fault(refusal)) => {
            exchange.refused(&refusal);
            return exchange.answer_as(refusal.status(), grpc::fault(&refusal));
        }
        Some(Unasked::NoCall) => return no_call(&snapshot, exchange, &described),
    };
    let refused = match decided {
        Ok(Verdict::GoOn(go_on)) => {
            let yes = told::yes(&snapshot, &go_on, &exchange, &described.head);
            return exchange.answer_as(StatusCode::OK, grpc::reply(&yes));
        }
        Ok(Verdict::Answer(answer)) => Ok(answer),
        Err(refusal) => Err(refusal),
    };
    let is_head = described.head.method == Method::HEAD;
    let is_dpop = asks_by_dpop(&described.head.headers);
    let mut response = refused.unwrap_or_else(|refusal| gateway::refuse(&mut exchange, &refusal, is_dpop, is_head));
    gateway::write_on_all_answers(&exchange, cors::origin(&described.head.headers), response.headers_mut());
    let status = response.status();
    exchange.answer_as(status, grpc::reply(&told::no(response)))
}

/// Why there is nothing to decide.
enum Unasked {
    /// It isn't gRPC.
    NoCall,
    /// The call isn't one of the method, or not in order.
    Fault(Refusal),
    /// What is described isn't a request, or who describes it isn't trusted: the answer is a no.
    Refused(Refusal),
}

/// What a call asks about.
async fn asked(
    snapshot: &Snapshot,
    call: &request::Parts,
    body: Arriving,
    arrival: &Arrival,
) -> Result<Described, Unasked> {
    if call.uri.path() != CHECK {
        return Err(Unasked::Fault(Refusal::NoRoute));
    }
    // Before anything of it is read.
    peer::check(snapshot, arrival).map_err(Unasked::Refused)?;
    let most = snapshot.max_header_bytes.saturating_mul(2).saturating_add(BESIDE_HEAD);
    let check = grpc::message(&call.headers, body, most, snapshot.body_timeout).await.map_err(Unasked::Fault)?;
    describe::from_message(check, arrival).map_err(Unasked::Refused)
}

/// The answer to who doesn't speak gRPC, in plain HTTP.
fn no_call(
    snapshot: &Snapshot,
    mut exchange: Box<Exchange>,
    Described { head, arrival, .. }: &Described,
) -> Response<Body> {
    let head_only = head.method == Method::HEAD;
    let id = exchange.request_id().as_str();
    let (refusal, response) = match &arrival.fault {
        Some(fault) => (fault.clone(), respond::refuse(fault, &snapshot.realm, id, head_only)),
        None => {
            let refusal = Refusal::Header("this listener takes calls of gRPC alone");
            let response = respond::problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal.detail(), Some(id), head_only);
            (refusal, response)
        }
    };
    exchange.refused(&refusal);
    exchange.answer_with(response)
}
