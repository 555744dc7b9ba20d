//! A logout (`revokes: token`): the token that the upstream has ended ends here, before anybody sees the answer.

use std::{future::Future, sync::Arc};

use tokio::sync::Semaphore;

use crate::{
    refusal::{Refusal, UpstreamFault},
    server::Alive,
    token::{principal::Principal, revocation::Revocations},
    upstream,
};

/// Logouts that may go on without their clients, at a time: who leaves and comes again can't pile up more.
const MOST: usize = 256;

/// The logouts on their way. Shared by all workers; outlives every snapshot.
#[derive(Clone, Debug)]
pub struct Logouts(Arc<Semaphore>);

impl Default for Logouts {
    fn default() -> Logouts {
        Logouts(Arc::new(Semaphore::new(MOST)))
    }
}

impl Logouts {
    /// Waits for the upstream's answer, and ends the token where it is a 2xx. Goes on to the end if the client goes away
    /// and this future with it: the upstream may have ended the token by then. The end of the process waits for it. Where there
    /// are too many, it doesn't.
    ///
    /// # Errors
    /// The process ends meanwhile.
    pub(crate) async fn see_through(
        &self,
        forwarding: impl Future<Output = upstream::Exchange> + Send + 'static,
        principal: Arc<Principal>,
        revocations: Arc<Revocations>,
        alive: Alive,
    ) -> Result<upstream::Exchange, Refusal> {
        let logout = log_out(forwarding, principal, revocations);
        let Ok(place) = self.0.clone().try_acquire_owned() else { return Ok(logout.await) };
        let logout = tokio::spawn(async move {
            let outcome = logout.await;
            drop((place, alive));
            outcome
        });
        logout.await.map_err(|_| Refusal::Upstream(UpstreamFault::Unavailable))
    }
}

async fn log_out(
    forwarding: impl Future<Output = upstream::Exchange>,
    principal: Arc<Principal>,
    revocations: Arc<Revocations>,
) -> upstream::Exchange {
    let mut outcome = forwarding.await;
    if outcome.answer.as_ref().is_ok_and(|answer| answer.status().is_success())
        && let Err(refusal) = end_token(&revocations, &principal).await
    {
        outcome.answer = Err(refusal);
    }
    outcome
}

async fn end_token(revocations: &Arc<Revocations>, principal: &Principal) -> Result<(), Refusal> {
    revocations.end_token(principal).await.map_err(|why| {
        tracing::error!(token = %principal.fingerprint(), %why, "a token could not be ended after its logout");
        Refusal::Upstream(UpstreamFault::TokenNotEnded)
    })
}
