//! The decision about a described request.

use hyper::Response;

use super::{check_unchanged, describe::Described, go_on::GoOn};
use crate::{
    body::Body, exchange::Exchange, gateway, outgoing, refusal::Refusal, route::Destination, server::ListenMode,
    snapshot::Snapshot,
};

/// What comes of a request that isn't refused.
pub(super) enum Verdict {
    /// It may go on.
    GoOn(Box<GoOn>),
    /// Its route gives an answer of the gateway's own: it is to go nowhere.
    Answer(Response<Body>),
}

/// Decides, as the gateway does for what it forwards. The permit is given up here: nothing leaves with it.
///
/// # Errors
/// Whatever speaks against it.
pub(super) async fn decide(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    Described { head, arrival, body_bytes }: &Described,
) -> Result<Verdict, Refusal> {
    let mode = snapshot.mode(arrival.listener);
    check_unchanged(snapshot, mode, head.uri.path(), &head.headers)?;
    let path = gateway::canonical(exchange, head)?;
    // Who asks over HTTP would take these answers for a yes.
    if mode == ListenMode::ExtAuthz {
        if let Some(answer) = gateway::own_document(snapshot, exchange, head, &path, arrival) {
            return answer.map(Verdict::Answer);
        }
        if let Some(answer) = gateway::preflight(snapshot, exchange, head, &path, arrival) {
            return Ok(Verdict::Answer(answer));
        }
    }
    let permit = gateway::decide(snapshot, exchange, head, &path, arrival).await?;
    let Some(route) = snapshot.routes.get(permit.route()) else { return Err(Refusal::NoRoute) };
    if route.settings.max_body_bytes.is_some_and(|most| body_bytes.is_some_and(|bytes| bytes > most)) {
        return Err(Refusal::BodyTooLarge);
    }
    match &route.settings.destination {
        Destination::Answer(answer) => {
            gateway::answer_here(exchange, route, answer, permit, &head.method).map(Verdict::Answer)
        }
        Destination::Upstream(_) | Destination::Decision => {
            // What the gateway couldn't send on isn't let through elsewhere.
            outgoing::target(&path, route, &head.uri)?;
            Ok(Verdict::GoOn(Box::new(GoOn::new(snapshot, exchange, route, permit, head)?)))
        }
    }
}
