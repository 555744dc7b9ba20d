//! A logout (`revokes: token`): the token that the upstream has ended ends here, before anybody sees the answer.

use std::{future::Future, sync::Arc};

use crate::{
    refusal::{Refusal, UpstreamFault},
    token::{principal::Principal, revocation::Revocations},
    upstream,
};

/// Waits for the upstream's answer, and ends the token where it is a 2xx. Goes on to the end if the client goes away and
/// this future with it: the upstream may have ended the token by then.
pub(crate) async fn see_through(
    forwarding: impl Future<Output = upstream::Exchange> + Send + 'static,
    principal: Arc<Principal>,
    revocations: Arc<Revocations>,
) -> upstream::Exchange {
    let logout = tokio::spawn(async move {
        let mut outcome = forwarding.await;
        if outcome.answer.as_ref().is_ok_and(|answer| answer.status().is_success())
            && let Err(refusal) = end_token(&revocations, &principal).await
        {
            outcome.answer = Err(refusal);
        }
        outcome
    });
    let is_over = |_| upstream::Exchange {
        answer: Err(Refusal::Upstream(UpstreamFault::Unavailable)),
        attempts: 0,
        tunnel: None,
    };
    logout.await.unwrap_or_else(is_over)
}

async fn end_token(revocations: &Arc<Revocations>, principal: &Principal) -> Result<(), Refusal> {
    revocations.end_token(principal).await.map_err(|why| {
        tracing::error!(token = %principal.fingerprint(), %why, "a token could not be ended after its logout");
        Refusal::Upstream(UpstreamFault::TokenNotEnded)
    })
}
