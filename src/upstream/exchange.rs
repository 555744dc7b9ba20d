//! One request and the head of its answer: which endpoints are asked for it, and how often.

use hyper::{
    Request, Response, StatusCode,
    header::{HeaderValue, UPGRADE},
    http::uri::PathAndQuery,
};
use tokio::time::Instant;

use super::{
    Upstream,
    answer::Answer,
    answered::{Answered, discard, is_failure},
    attempt::Spare,
    balance::{Chosen, Tried},
    endpoint::Endpoint,
    pool::Lease,
    standing::{Admission, Failing},
};
use crate::{
    body::{Held, RequestBody, Upload},
    refusal::{Refusal, UpstreamFault},
    trace::Parent,
};

/// How asking an endpoint ended without an answer.
pub(super) enum Stopped {
    /// No connection, so that nothing of it was sent.
    Unbegun(Box<Request<RequestBody>>, Refusal),
    /// The endpoint says that it has done nothing of it.
    Unprocessed(Box<Request<RequestBody>>),
    /// It may have been worked on.
    Failed(Refusal, Option<Box<Spare>>),
    /// Not the endpoint's fault.
    Finally(Refusal),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Stopped {
        Stopped::Finally(refusal)
    }
}

/// An endpoint has answered.
pub(super) struct Reached {
    pub(super) lease: Lease,
    pub(super) response: Response<Answer>,
    pub(super) spare: Option<Box<Spare>>,
}

pub(super) const BROKEN: Refusal = Refusal::Upstream(UpstreamFault::Broken);
const UNAVAILABLE: Refusal = Refusal::Upstream(UpstreamFault::Unavailable);
pub(super) const UNSENDABLE: Refusal = Refusal::Path("the request cannot be sent on");

/// How often a request is begun that endpoints refuse to work on.
const MOST_BEGINNINGS: usize = 3;

/// What is known of a request, and what came of sending it.
pub(super) struct Try {
    pub(super) worker: usize,
    pub(super) attempts: u32,
    /// The endpoint that was asked last.
    pub(super) endpoint: Option<usize>,
    pub(super) path: Option<PathAndQuery>,
    caller: Option<u64>,
    tried: Tried,
    /// Attempts as `retry` counts them: those that replace a connection that had idled too long aren't any.
    pub(super) rounds: u32,
    pub(super) deadline: Option<Instant>,
    pub(super) upload: Upload,
    /// The protocols that the client asks to be switched to; HTTP/1.1 alone can be.
    pub(super) asked: Option<HeaderValue>,
    /// Set where the body waits for the upstream's word.
    pub(super) held: Option<Held>,
    /// What attempts are steps of.
    pub(super) span: Parent,
}

impl Try {
    /// `caller`: whom the request speaks for, where that chooses the endpoint.
    pub(super) fn new(worker: usize, request: &Request<RequestBody>, caller: Option<u64>, span: Parent) -> Try {
        Try {
            worker,
            attempts: 0,
            endpoint: None,
            path: request.uri().path_and_query().cloned(),
            caller,
            tried: Tried::default(),
            rounds: 1,
            deadline: request.body().deadline(),
            upload: request.body().upload(),
            asked: request.headers().get(UPGRADE).cloned(),
            held: None,
            span,
        }
    }

    /// The same request once more, whatever was tried; what was done so far counts.
    pub(super) fn anew(&self, request: &Request<RequestBody>) -> Try {
        let new = Try::new(self.worker, request, self.caller, self.span.clone());
        Try { path: self.path.clone(), attempts: self.attempts, ..new }
    }
}

impl Upstream {
    /// Asks one endpoint, and another one as far as `retry` says.
    pub(super) async fn exchange(
        &self,
        mut request: Box<Request<RequestBody>>,
        this_try: &mut Try,
    ) -> Result<Answered, Refusal> {
        self.budget.begun();
        let mut beginnings = 1;
        let mut chosen = self.choose(this_try.tried, this_try.caller).ok_or(UNAVAILABLE)?;
        loop {
            let Chosen { index, endpoint, admission, .. } = chosen;
            this_try.endpoint = Some(index);
            this_try.tried.add(index);
            self.address(endpoint, &mut request, this_try)?;
            let asked = self.ask(chosen.seat, endpoint, request, this_try).await;
            self.note(endpoint, admission, &asked, this_try);
            (chosen, request) = match asked {
                Ok(Reached { lease, response, spare }) => {
                    let spare = spare.filter(|_| self.is_retried(response.status()));
                    let answered = self.answer(lease, response, this_try)?;
                    let Some((next, again)) = self.once_more(spare, this_try) else { return Ok(answered) };
                    discard(answered.response);
                    (next, again)
                }
                Err(Stopped::Failed(refusal, spare)) => {
                    let spare = spare.filter(|_| self.is_retried(refusal.status()));
                    self.once_more(spare, this_try).ok_or(refusal)?
                }
                Err(Stopped::Unbegun(request, refusal)) => {
                    // Who took too long to connect isn't given as much time again.
                    let same = refusal == BROKEN;
                    let next = if self.settings.retry.on_connect { self.next(same, this_try) } else { None };
                    (next.ok_or(refusal)?, request)
                }
                Err(Stopped::Unprocessed(request)) if beginnings < MOST_BEGINNINGS => {
                    beginnings += 1;
                    (self.choose(this_try.tried, this_try.caller).ok_or(BROKEN)?, request)
                }
                Err(Stopped::Unprocessed(_)) => return Err(BROKEN),
                Err(Stopped::Finally(refusal)) => return Err(refusal),
            };
        }
    }

    /// The endpoint for another attempt, if there may be one: one that wasn't asked before, or `same` if there is no other.
    fn next(&self, same: bool, this_try: &mut Try) -> Option<Chosen<'_>> {
        if this_try.rounds >= self.settings.retry.attempts || is_over(this_try.deadline) {
            return None;
        }
        if !same && self.endpoints.len() == 1 || !self.budget.take() {
            return None;
        }
        let (tried, caller) = (this_try.tried, this_try.caller);
        let next = if same { self.choose(tried, caller) } else { self.choose_another(tried, caller) };
        this_try.rounds += u32::from(next.is_some());
        next
    }

    /// Another attempt at a request that may have been worked on.
    fn once_more(
        &self,
        spare: Option<Box<Spare>>,
        this_try: &mut Try,
    ) -> Option<(Chosen<'_>, Box<Request<RequestBody>>)> {
        let request = spare?.whole()?;
        Some((self.next(true, this_try)?, request))
    }

    fn is_retried(&self, status: StatusCode) -> bool {
        self.settings.retry.on_status.contains(&status.as_u16())
    }

    /// Tells the endpoint's standing, where the outcome says anything of it.
    fn note(&self, endpoint: &Endpoint, admission: Admission, asked: &Result<Reached, Stopped>, this_try: &Try) {
        let failing = match asked {
            // A protocol that nobody asked for is no answer.
            Ok(Reached { response, .. }) => match response.status().as_u16() {
                101 if this_try.asked.is_none() => Some(Failing::Answering),
                _ if is_failure(response.status()) => Some(Failing::Answering),
                // The end of the answer tells (`answer`); but who comes back from a rest does so by beginning one.
                _ if admission == Admission::Plain && !response.body().is_end_stream() => return,
                _ => None,
            },
            Err(Stopped::Unbegun(..)) => Some(Failing::Unreachable),
            Err(Stopped::Failed(Refusal::Upstream(_), _)) if !this_try.upload.broke_off() => Some(Failing::Answering),
            Err(Stopped::Failed(..) | Stopped::Unprocessed(_) | Stopped::Finally(_)) => return,
        };
        match failing {
            Some(failing) => endpoint.standing.failed(admission, self.settings.eject.as_ref(), failing),
            None => endpoint.standing.succeeded(admission),
        }
    }
}

pub(super) fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}
