//! Listeners that decide and forward nothing: another proxy describes the request that it has, and is told what to do
//! with it. The decision is the one that the gateway's own traffic gets; what differs is where the request is read from
//! and how the answer is written.

mod describe;
mod ext_authz;
mod forward_auth;
mod go_on;
mod grpc;
mod messages;
mod peer;
mod told;
mod verdict;

use std::sync::Arc;

use hyper::{HeaderMap, Response};

use crate::{
    body::Body,
    gateway::Gateway,
    path::has_dot_segments,
    refusal::Refusal,
    server::{self, Asked, ListenMode},
    snapshot::Snapshot,
};

/// Serves every listener by its mode.
#[derive(Clone, Debug)]
pub struct ByMode(Arc<Gateway>);

impl ByMode {
    /// By the gateway's policy, whichever is in force.
    pub fn new(gateway: Arc<Gateway>) -> ByMode {
        ByMode(gateway)
    }
}

impl server::Handler for ByMode {
    async fn handle(&self, asked: Box<Asked>) -> Response<Body> {
        let snapshot = self.0.snapshot();
        match snapshot.mode(asked.arrival.listener) {
            ListenMode::Proxy => self.0.handle(snapshot, asked).await,
            ListenMode::ForwardAuth(from) => {
                Box::pin(forward_auth::answer(self.0.observer(), snapshot, from, *asked)).await
            }
            ListenMode::ExtAuthz => Box::pin(ext_authz::answer(self.0.observer(), snapshot, *asked)).await,
        }
    }
}

/// What is refused on a listener of this mode, however the decision goes, since a proxy sends on what it was given: a path
/// that would have to be changed, and fields that nobody would take away.
///
/// # Errors
/// `Refusal::Path`, `Refusal::Header`.
pub fn check_unchanged(snapshot: &Snapshot, mode: ListenMode, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    if mode != ListenMode::Proxy && has_dot_segments(path) {
        return Err(Refusal::Path("the path has dot segments, which would be sent on as they are"));
    }
    match mode {
        ListenMode::ForwardAuth(from) => describe::check_names(snapshot, from, headers),
        ListenMode::Proxy | ListenMode::ExtAuthz => Ok(()),
    }
}
