//! Requests to an upstream that is called with a token of the gateway's own (`upstreams.*.token`): the token is written
//! last, and where the upstream doesn't take it, the request is tried once more with another one.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Limited};
use hyper::{Request, StatusCode, header::AUTHORIZATION, http::request};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Answered, Upstream, frame_for_http1};
use crate::{
    body::{Body, Recording, RequestBody},
    decision::Permit,
    egress::{Fault, Lent, TokenSource},
    refusal::{Refusal, UpstreamFault},
};

/// A body up to this is kept, so that it can be sent again.
const MOST_KEPT_BYTES: usize = 64 * 1024;
/// What is read of an answer that nobody gets, so that its connection serves on.
const MOST_DRAINED_BYTES: usize = 64 * 1024;
const DRAINED_WITHIN: Duration = Duration::from_millis(100);

impl Upstream {
    /// Sends the request with a token of `source`. What the caller sent as `Authorization` goes no further.
    pub(super) async fn exchange_with_token(
        &self,
        source: &Arc<TokenSource>,
        permit: &Permit,
        worker: usize,
        mut request: Request<RequestBody>,
        attempts: &mut u32,
    ) -> Result<Answered, Refusal> {
        let deadline = request.body().deadline();
        let Some(lent) = lend(source, permit, deadline, &mut request).await? else {
            return self.exchange(worker, request, attempts).await;
        };
        let (head, mut body) = request.into_parts();
        let spare = copy(&head);
        let recording = body.record(MOST_KEPT_BYTES);
        let answered = self.exchange(worker, Request::from_parts(head, body), attempts).await?;
        if answered.response.status() != StatusCode::UNAUTHORIZED || !lent.is_refused() {
            return Ok(answered);
        }
        let Some(mut again) = again(spare, recording) else { return Ok(answered) };
        drain(answered.response.into_body()).await;
        lend(source, permit, deadline, &mut again).await?;
        self.exchange(worker, again, attempts).await
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

fn copy(head: &request::Parts) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = head.method.clone();
    *copy.uri_mut() = head.uri.clone();
    *copy.version_mut() = head.version;
    *copy.headers_mut() = head.headers.clone();
    copy
}

/// The request once more, if all of its body is at hand.
fn again(head: Request<()>, recording: Recording) -> Option<Request<RequestBody>> {
    let body = recording.replay()?;
    let mut again = head.map(|()| body);
    frame_for_http1(&mut again);
    Some(again)
}

async fn drain(body: Body) {
    drop(timeout(DRAINED_WITHIN, Limited::new(body, MOST_DRAINED_BYTES).collect()).await);
}
