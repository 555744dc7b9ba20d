//! Requests to an upstream that is called with a token of the gateway's own (`upstreams.*.token`): the token is written
//! last, and where the upstream doesn't take it, the request is tried once more with another one.

use std::sync::Arc;

use hyper::{Request, StatusCode, header::AUTHORIZATION};
use tokio::time::{Instant, timeout_at};

use super::{
    Upstream,
    answered::{Answered, discard},
    attempt::Spare,
    exchange::Try,
};
use crate::{
    body::RequestBody,
    decision::Permit,
    egress::{Fault, Lent, TokenSource},
    refusal::{Refusal, UpstreamFault},
};

impl Upstream {
    /// Sends the request with a token of `source`. What the caller sent as `Authorization` goes no further.
    pub(super) async fn exchange_with_token(
        &self,
        source: &Arc<TokenSource>,
        permit: &Permit,
        mut request: Box<Request<RequestBody>>,
        this_try: &mut Try,
    ) -> Result<Answered, Refusal> {
        let deadline = this_try.deadline;
        let Some(lent) = lend(source, permit, deadline, &mut request).await? else {
            return self.exchange(request, this_try).await;
        };
        let spare = Spare::of(&mut request);
        let answered = self.exchange(request, this_try).await?;
        if answered.response.status() != StatusCode::UNAUTHORIZED || !lent.is_refused() {
            return Ok(answered);
        }
        let Some(mut again) = spare.and_then(|spare| spare.whole()) else { return Ok(answered) };
        discard(answered.response);
        lend(source, permit, deadline, &mut again).await?;
        *this_try = this_try.anew(&again);
        self.exchange(again, this_try).await
    }
}

/// Writes the token in the place of whatever is there. None where there is none to write.
async fn lend(
    source: &Arc<TokenSource>,
    permit: &Permit,
    deadline: Option<Instant>,
    request: &mut Request<RequestBody>,
) -> Result<Option<Lent>, Refusal> {
    request.headers_mut().remove(AUTHORIZATION);
    let token = source.token(permit.credential());
    let token = match deadline {
        None => token.await,
        Some(deadline) => timeout_at(deadline, token).await.map_err(|_| Refusal::Upstream(UpstreamFault::TimedOut))?,
    };
    let lent = token.map_err(|fault| {
        Refusal::Upstream(match fault {
            Fault::Unavailable { retry_after } => UpstreamFault::TokenUnavailable { retry_after },
            Fault::Refused => UpstreamFault::TokenRefused,
        })
    })?;
    if let Some(lent) = &lent {
        request.headers_mut().insert(AUTHORIZATION, lent.authorization());
    }
    Ok(lent)
}
