//! The decision about a described request.

use hyper::Response;

use super::{check_unchanged, describe::Described, go_on::GoOn};
use crate::{
    body::Body, exchange::Exchange, gateway, outgoing, refusal::Refusal, route::Destination, snapshot::Snapshot,
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
    Described { head, arrival }: &Described,
) -> Result<Verdict, Refusal> {
    check_unchanged(snapshot, snapshot.mode(arrival.listener), head.uri.path(), &head.headers)?;
    let path = gateway::canonical(exchange, head)?;
    let permit = gateway::decide(snapshot, exchange, head, &path, arrival).await?;
    let Some(route) = snapshot.routes.get(permit.route()) else { return Err(Refusal::NoRoute) };
    match &route.settings.destination {
        Destination::Answer(answer) => {
            gateway::answer_here(exchange, route, answer, permit, &head.method).map(Verdict::Answer)
        }
        Destination::Upstream(_) | Destination::Decision => {
            // What the gateway couldn't send on isn't let through elsewhere.
            outgoing::target(&path, route, &head.uri)?;
            Ok(Verdict::GoOn(Box::new(GoOn::new(snapshot, exchange, route, permit, head))))
        }
    }
}
