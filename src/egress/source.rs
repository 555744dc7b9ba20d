//! Where an upstream's tokens come from: the token endpoint, and what is known of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{HeaderMap, StatusCode, header::HeaderValue, header::RETRY_AFTER};
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    EgressSettings, Grant,
    access_token::{AccessToken, Granted},
    callers::Callers,
    question,
    slot::Slot,
};
use crate::{
    fetch::{self, Call, FetchRules, Trust},
    observe::{EgressMetrics, EgressTokenAsked, Observer},
    token::{self, credential::Credential, json, secret::Secret},
};

/// A question takes no longer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Of an answer.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// Questions at the same time, where each caller has one.
const MOST_QUESTIONS: usize = 64;
/// The longest that an endpoint may tell to stay away.
const LONGEST_ABSENCE: Duration = Duration::from_secs(60);
/// What an endpoint may say is wrong (RFC 6749, section 5.2; RFC 8693, section 2.2.2). Nothing else of its words is told:
/// there may be a secret in them.
const ERRORS: [&str; 10] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "access_denied",
    "interaction_required",
    "temporarily_unavailable",
];

pub(super) const UNAVAILABLE: Fault = Fault::Unavailable { retry_after: Duration::from_secs(1) };

/// The tokens of one upstream. Shared by all workers.
#[derive(Debug)]
pub struct TokenSource {
    upstream: Arc<str>,
    settings: EgressSettings,
    rules: FetchRules,
    kept: Kept,
    permits: Arc<Semaphore>,
    is_failing: AtomicBool,
    metrics: EgressMetrics,
}

#[derive(Debug)]
enum Kept {
    /// The gateway's own, for all.
    Own(Arc<Slot>),
    /// A caller's, exchanged.
    PerCaller(Box<Callers>),
}

/// Why there is no token to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The endpoint can't be asked, or says that it can't answer.
    Unavailable {
        /// When it is worth to ask again.
        retry_after: Duration,
    },
    /// The endpoint gives none.
    Refused,
}

/// A token for one request.
#[derive(Debug)]
pub struct Lent {
    token: Arc<AccessToken>,
    slot: Arc<Slot>,
}

impl Lent {
    /// The value of `Authorization`.
    pub fn authorization(&self) -> HeaderValue {
        self.token.value.clone()
    }

    /// The upstream doesn't take it (401): nobody gets it any more. Whether it is worth to ask for another one at once.
    pub fn is_refused(&self) -> bool {
        self.slot.end(&self.token)
    }
}

/// Why a question brought no token.
struct Failure {
    fault: Fault,
    /// By the endpoint, with whatever.
    was_answered: bool,
    /// For the operator.
    why: String,
}

impl TokenSource {
    /// The source for the upstream of this name. Asks for nothing yet.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(
        upstream: &Arc<str>,
        settings: &EgressSettings,
        observer: &Observer,
    ) -> Result<Arc<TokenSource>, String> {
        let kept = match settings.grant {
            Grant::TokenExchange => Kept::PerCaller(Box::new(Callers::new()?)),
            Grant::ClientCredentials | Grant::Password { .. } | Grant::JwtBearer { .. } => Kept::Own(Slot::new()),
        };
        let rules = FetchRules {
            timeout: TIMEOUT,
            allow_http: false,
            max_body_bytes: MAX_ANSWER_BYTES,
            trust: Arc::new(Trust::default()),
        };
        Ok(Arc::new(TokenSource {
            upstream: upstream.clone(),
            settings: settings.clone(),
            rules,
            kept,
            permits: Arc::new(Semaphore::new(MOST_QUESTIONS)),
            is_failing: AtomicBool::new(false),
            metrics: observer.egress(upstream),
        }))
    }

    /// A token to send for this caller. None where the caller's own would be exchanged and there is none: the request
    /// then goes on as nobody's.
    ///
    /// # Errors
    /// There is none to be had now.
    pub async fn token(self: &Arc<TokenSource>, caller: Option<&Credential>) -> Result<Option<Lent>, Fault> {
        let (token, slot) = match (&self.kept, caller) {
            (Kept::Own(slot), _) => (slot.token(self, None).await?, slot.clone()),
            (Kept::PerCaller(callers), Some(caller)) => callers.token(self, caller).await?,
            (Kept::PerCaller(_), None) => return Ok(None),
        };
        Ok(Some(Lent { token, slot }))
    }

    /// None while too many questions are under way.
    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Asks once: with the refresh token where there is one, and where that is of no use by the grant itself. Counts it.
    pub(super) async fn obtain(&self, subject: Option<&Secret>, refresh: Option<Secret>) -> Result<Granted, Fault> {
        let result = match refresh {
            None => self.by_grant(subject).await,
            Some(refresh) => match self.by_refresh(refresh).await {
                Err(failure) if failure.was_answered => self.by_grant(subject).await,
                other => other,
            },
        };
        let is_news = self.is_failing.swap(result.is_err(), Ordering::Relaxed) != result.is_err();
        EgressTokenAsked {
            upstream: &self.upstream,
            result: result.as_ref().map(|granted| granted.lifetime).map_err(|failure| failure.why.as_str()),
        }
        .record(&self.metrics, is_news);
        result.map_err(|failure| failure.fault)
    }

    async fn by_grant(&self, subject: Option<&Secret>) -> Result<Granted, Failure> {
        self.ask(question::grant(&self.settings, subject, token::now())).await
    }

    async fn by_refresh(&self, refresh: Secret) -> Result<Granted, Failure> {
        let mut granted = self.ask(question::refresh(&self.settings, &refresh)).await?;
        // It stays good where the answer has no other (RFC 6749, section 6).
        granted.refresh.get_or_insert(refresh);
        Ok(granted)
    }

    async fn ask(&self, question: Result<Call, &'static str>) -> Result<Granted, Failure> {
        let refused = |why: String| Failure { fault: Fault::Refused, was_answered: true, why };
        let question = question.map_err(|why| refused(why.to_owned()))?;
        let asked_at = Instant::now();
        let answer = fetch::call(&self.settings.endpoint, question, &self.rules).await.map_err(|error| {
            let fault =
                if error.was_answered { Fault::Refused } else { Fault::Unavailable { retry_after: Duration::ZERO } };
            Failure { fault, was_answered: error.was_answered, why: error.to_string() }
        })?;
        match answer.status {
            StatusCode::OK => Granted::read(&answer.body, asked_at, self.settings.expiry_margin)
                .map_err(|why| refused(format!("the token endpoint's answer can't be used: {why}"))),
            status => {
                let why = format!("the token endpoint answers {}{}", status.as_u16(), said(&answer.body));
                let is_busy = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
                let fault = if is_busy { unavailable(&answer.headers) } else { Fault::Refused };
                Err(Failure { fault, was_answered: true, why })
            }
        }
    }
}

fn unavailable(headers: &HeaderMap) -> Fault {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Fault::Unavailable { retry_after: Duration::from_secs(seconds.unwrap_or(0)).min(LONGEST_ABSENCE) }
}

/// ` (invalid_client)`, if the answer says one of the words that there are.
fn said(answer: &[u8]) -> String {
    let members = json::parse_object(answer).unwrap_or_default();
    let error = members.get("error").and_then(Value::as_str);
    let known = error.and_then(|error| ERRORS.into_iter().find(|known| *known == error));
    known.map_or_else(String::new, |known| format!(" ({known})"))
}
