//! What Envoy is told, in its own messages.

use hyper::{
    HeaderMap, Response, StatusCode,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, VARY},
    http::request,
};

use super::{
    go_on::GoOn,
    messages::{
        APPEND, CheckResponse, DeniedHttpResponse, HeaderChange, HeaderLine, HttpStatus, OVERWRITE, OkHttpResponse,
        Status, Told,
    },
};
use crate::{body::Body, cors, exchange::Exchange, snapshot::Snapshot};

/// Of google.rpc.Code.
const OK: i32 = 0;
const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;

/// Of the forwarding fields, those that Envoy has written or cleaned by the time it asks.
const OF_ENVOY: [&str; 3] = ["x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-proto"];

/// A yes: fields to set, and others to take away: those of ours without a value, what resembles one, and what says where a
/// request came from, unless a trusted proxy before Envoy says it.
pub(super) fn yes(snapshot: &Snapshot, go_on: &GoOn, exchange: &Exchange, head: &request::Parts) -> CheckResponse {
    let mut told = OkHttpResponse::default();
    for (name, values) in go_on.fields() {
        if values.iter().next().is_none() {
            told.headers_to_remove.push(name.to_string());
        } else {
            // What Envoy shows needn't be what it has, lines joined by a comma: equal or not, it is set.
            told.headers.extend(changes(name, values.iter()));
        }
    }
    let is_forbidden = |name: &&HeaderName| {
        let forbidden = snapshot.reserved.forbids(name.as_str(), exchange.trusted_peer());
        forbidden && !go_on.has(name) && !OF_ENVOY.contains(&name.as_str())
    };
    told.headers_to_remove.extend(head.headers.keys().filter(is_forbidden).map(HeaderName::to_string));

    let (mut on_answer, mut private) = (HeaderMap::new(), None);
    if let Some(route) = exchange.route() {
        let settings = &route.settings;
        on_answer.extend(settings.headers.response.set.iter().cloned());
        if go_on.is_private() {
            // Beside what the upstream says of caching.
            private = Some(change(&CACHE_CONTROL, &HeaderValue::from_static("private"), APPEND));
            told.query_parameters_to_remove = settings.token_from.query_names().map(str::to_owned).collect();
        }
    }
    write_on_all_answers(exchange, head, &mut on_answer);
    let names = on_answer.keys();
    told.response_headers_to_add = names.flat_map(|name| changes(name, on_answer.get_all(name).iter())).collect();
    told.response_headers_to_add.extend(private);
    CheckResponse { status: Some(Status { code: OK }), http_response: Some(Told::Ok(told)) }
}

/// A no, with the answer that Envoy's client gets: a refusal, or one of the gateway's own.
pub(super) fn no(response: Response<Body>) -> CheckResponse {
    let (mut head, body) = response.into_parts();
    // Envoy's own affair.
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(CONNECTION);
    let names = head.headers.keys();
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: head.status.as_u16().into() }),
        headers: names.flat_map(|name| changes(name, head.headers.get_all(name).iter())).collect(),
        // All that the gateway says itself is text.
        body: String::from_utf8_lossy(&body.at_hand()).into_owned(),
    };
    let code = if head.status == StatusCode::UNAUTHORIZED { UNAUTHENTICATED } else { PERMISSION_DENIED };
    CheckResponse { status: Some(Status { code }), http_response: Some(Told::Denied(denied)) }
}

/// What is left of the route's limits, and which pages may read the answer.
pub(super) fn write_on_all_answers(exchange: &Exchange, head: &request::Parts, headers: &mut HeaderMap) {
    let Some(route) = exchange.route() else { return };
    route.limits.write(exchange.counts(), headers);
    if let Some(cors) = &route.settings.cors {
        cors.write(cors::origin(&head.headers), headers);
    }
}

/// The first line of a field takes the place of what there is, save where that would lose what is to be kept.
fn changes<'h>(
    name: &'h HeaderName,
    values: impl Iterator<Item = &'h HeaderValue>,
) -> impl Iterator<Item = HeaderChange> {
    values
        .enumerate()
        .map(move |(place, value)| change(name, value, if place == 0 && *name != VARY { OVERWRITE } else { APPEND }))
}

fn change(name: &HeaderName, value: &HeaderValue, append_action: i32) -> HeaderChange {
    let (value, raw_value) = match value.to_str() {
        Ok(text) => (text.to_owned(), Vec::new()),
        Err(_) => (String::new(), value.as_bytes().to_vec()),
    };
    let header = HeaderLine { key: name.to_string(), value, raw_value };
    HeaderChange { header: Some(header), append_action, keep_empty_value: true }
}
