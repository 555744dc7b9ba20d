//! Asking an issuer about a token (RFC 7662; OpenID Connect Core 1.0, section 5.3): one question for all who wait, and
//! answers remembered as facts of the issuer that gave them.
//!
//! An answer that says nothing clear is no answer: it lets nobody in, and it isn't held against the token either.

mod answer;
mod client;
mod endpoint;
mod signed;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use hyper::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};
use serde_json::{Map, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use zeroize::Zeroizing;

pub use self::client::{ClientAuth, ClientSettings};
use self::{
    answer::{Broken, Judgment},
    endpoint::Discovered,
};
use super::{
    Asking,
    cache::{TokenCache, TokenName},
    client_certificate::ClientCertificate,
    credential::{Credential, Fingerprint},
    issuer::{Issuer, IssuerSettings},
    json, now,
    pattern::Pattern,
    principal::Principal,
    revocation::TokenId,
};
use crate::{
    fetch::{self, FetchRules, Fetched, Trust},
    observe::{Introspected, IntrospectionMetrics, Observer},
    refusal::TokenFault,
    single_flight::SingleFlight,
};

/// Of an answer or a metadata document.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// When it is worth to ask again: after a failure, and where too many ask.
pub(in crate::token) const AFTER_FAILURE: Duration = Duration::from_secs(5);
const WHEN_BUSY: Duration = Duration::from_secs(1);
/// Questions at the same time that no request waits for: besides `max_concurrent`, and never more than that.
const MOST_BESIDE: usize = 16;

/// `issuers.*.introspection` or `issuers.*.userinfo`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IntrospectionSettings {
    /// What is asked.
    pub way: Way,
    /// None: the issuer's metadata say it.
    pub endpoint: Option<String>,
    /// What the issuer's opaque tokens look like. None: anything.
    pub tokens: Option<Pattern>,
    /// A question takes no longer.
    pub timeout: Duration,
    /// How long a good token is remembered, never past its end; 0: every request asks for itself.
    pub cache_ttl: Duration,
    /// How long a bad one is remembered.
    pub negative_ttl: Duration,
    /// Questions at the same time.
    pub max_concurrent: usize,
    /// What the gateway shows to a server that asks for a certificate.
    pub certificate: Option<ClientCertificate>,
}

/// Which of an issuer's endpoints is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Introspection: the answer says whether the token is active.
    Introspection(ClientSettings),
    /// Userinfo, with the token itself: it is good if there is an answer.
    Userinfo,
}

/// What an issuer says of a token.
#[derive(Clone, Debug)]
pub(in crate::token) enum Said {
    /// It is its own, and good.
    Good(Arc<Principal>),
    /// It is its own, and no good.
    Bad(TokenFault),
    /// It isn't active, or not its own.
    Inactive,
    /// It can't be asked, or what it says can't be used.
    Unavailable {
        /// When it is worth to ask again.
        retry_after: Duration,
    },
}

/// Where what was said comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::token) enum Source {
    /// It was remembered.
    Memory,
    /// Another request had just asked.
    Wait,
    /// It was asked for.
    Question,
}

/// How a request comes to an answer.
enum Turn {
    Known(Said),
    Answer(watch::Receiver<Option<Said>>, Source),
    /// `max_concurrent` questions are under way.
    Busy,
}

const UNAVAILABLE: Said = Said::Unavailable { retry_after: AFTER_FAILURE };

/// One issuer's endpoint at work. Shared by all workers; no lock is held while something is waited for.
#[derive(Debug)]
pub(in crate::token) struct Introspector {
    /// As the log calls its issuer.
    name: Arc<str>,
    issuer: Option<String>,
    settings: IntrospectionSettings,
    rules: FetchRules,
    metadata_rules: FetchRules,
    discovered: ArcSwapOption<Discovered>,
    discovery: Arc<SingleFlight<Result<Arc<Discovered>, String>>>,
    permits: Arc<Semaphore>,
    permits_beside: Arc<Semaphore>,
    /// Questions that wait for their answer.
    questions: Mutex<HashMap<TokenName, watch::Receiver<Option<Said>>>>,
    is_failing: AtomicBool,
    metrics: IntrospectionMetrics,
}

impl Introspector {
    /// None for an issuer that isn't asked about tokens. `name`: what the log is to call it.
    pub(in crate::token) fn new(
        settings: &IssuerSettings,
        name: Arc<str>,
        observer: &Observer,
    ) -> Option<Arc<Introspector>> {
        let own = settings.introspection.clone()?;
        let extra = settings.tls_ca.iter().flat_map(|roots| roots.certificates()).cloned();
        let identity = own.certificate.as_ref().map(|certificate| certificate.ready().clone());
        let trust = Arc::new(Trust::with(extra).showing(identity));
        let rules = |timeout| FetchRules {
            timeout,
            allow_http: settings.allow_http,
            max_body_bytes: MAX_ANSWER_BYTES,
            trust: trust.clone(),
        };
        Some(Arc::new(Introspector {
            name,
            issuer: settings.issuer.clone(),
            rules: rules(own.timeout),
            metadata_rules: rules(settings.http_timeout),
            discovered: ArcSwapOption::empty(),
            discovery: Arc::default(),
            permits: Arc::new(Semaphore::new(own.max_concurrent)),
            permits_beside: Arc::new(Semaphore::new(own.max_concurrent.min(MOST_BESIDE))),
            questions: Mutex::default(),
            is_failing: AtomicBool::new(false),
            metrics: observer.introspection(&settings.name),
            settings: own,
        }))
    }

    /// Whether an opaque token looks like one of the issuer's.
    pub(in crate::token) fn fits(&self, token: &str) -> bool {
        self.settings.tokens.as_ref().is_none_or(|pattern| pattern.fits(token))
    }

    /// Whether the last question failed.
    pub(in crate::token) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// What `issuer`, whose introspector this is, says of a token: as remembered, as it says to another request that
    /// waits for its answer, or asked now. With `cache_ttl: 0s` each request has a question of its own, so that no
    /// answer is older than the request.
    pub(in crate::token) async fn ask(
        self: &Arc<Self>,
        issuer: &Arc<Issuer>,
        credential: &Credential,
        name: TokenName,
        cache: &Arc<TokenCache>,
    ) -> (Said, Source) {
        let mut turn = match cache.said(&name, issuer, now()) {
            Some(said) => Turn::Known(said),
            None => self.turn(issuer, credential, name, cache, None),
        };
        // Nobody waits for who asks beside: it can, until there is room.
        if let (Turn::Busy, Asking::Beside) = (&turn, cache.asking())
            && let Ok(permit) = self.permits_beside.clone().acquire_owned().await
        {
            turn = self.turn(issuer, credential, name, cache, Some(permit));
        }
        let (mut answer, source) = match turn {
            Turn::Known(said) => return (said, Source::Memory),
            Turn::Busy => return (Said::Unavailable { retry_after: WHEN_BUSY }, Source::Question),
            Turn::Answer(answer, source) => (answer, source),
        };
        // It ends without an answer only where the worker that asked has ended.
        let said = answer.wait_for(Option::is_some).await.ok().and_then(|said| said.clone());
        (said.unwrap_or(UNAVAILABLE), source)
    }

    fn turn(
        self: &Arc<Self>,
        issuer: &Arc<Issuer>,
        credential: &Credential,
        name: TokenName,
        cache: &Arc<TokenCache>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Turn {
        let is_shared = !self.settings.cache_ttl.is_zero();
        let mut questions = self.questions();
        // Once more, under the lock: an answer is remembered before its question is taken away.
        if let Some(said) = cache.said(&name, issuer, now()) {
            return Turn::Known(said);
        }
        if let Some(answer) = questions.get(&name) {
            return Turn::Answer(answer.clone(), Source::Wait);
        }
        let permits = match cache.asking() {
            Asking::InForce => &self.permits,
            Asking::Beside => &self.permits_beside,
        };
        let Some(permit) = permit.or_else(|| permits.clone().try_acquire_owned().ok()) else { return Turn::Busy };
        let (tell, answer) = watch::channel(None);
        if is_shared {
            questions.insert(name, answer.clone());
        }
        let question = Question {
            introspector: self.clone(),
            issuer: issuer.clone(),
            token: Zeroizing::new(credential.expose().to_owned()),
            fingerprint: credential.fingerprint(),
            name,
            cache: cache.clone(),
            _permit: permit,
        };
        // A task of its own: others may wait for it when who asked first has gone.
        tokio::spawn(async move {
            let said = question.ask().await;
            drop(question);
            tell.send_replace(Some(said));
        });
        Turn::Answer(answer, Source::Question)
    }

    fn questions(&self) -> MutexGuard<'_, HashMap<TokenName, watch::Receiver<Option<Said>>>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks once, and neither counts nor remembers anything.
    ///
    /// # Errors
    /// There is no answer that can be used; in words for the operator.
    pub(in crate::token) async fn judged(
        self: &Arc<Self>,
        issuer: &Arc<Issuer>,
        token: &str,
        fingerprint: Fingerprint,
    ) -> Result<Said, String> {
        let Some(members) = self.answer(issuer, token).await? else { return Ok(Said::Inactive) };
        let members = answer::bound_as(token, members);
        match answer::judge(&issuer.settings, &self.settings.way, &members, now()) {
            Ok(Judgment::Good(expires_at)) => {
                let id = TokenId::of(token);
                Ok(Said::Good(Arc::new(Principal::of(issuer, Arc::new(members), expires_at, fingerprint, id))))
            }
            Ok(Judgment::Bad(TokenFault::Inactive)) => Ok(Said::Inactive),
            Ok(Judgment::Bad(fault)) => Ok(Said::Bad(fault)),
            Err(Broken(why)) => Err(why.to_owned()),
        }
    }

    /// The members of the issuer's answer; None: it says no.
    async fn answer(self: &Arc<Self>, issuer: &Arc<Issuer>, token: &str) -> Result<Option<Map<String, Value>>, String> {
        let endpoint = self.endpoint().await?;
        let answer = self.answer_of(endpoint.uri(), issuer, token).await;
        if answer.is_err() {
            self.forget(&endpoint);
        }
        answer
    }

    async fn answer_of(
        &self,
        endpoint: &str,
        issuer: &Arc<Issuer>,
        token: &str,
    ) -> Result<Option<Map<String, Value>>, String> {
        let asked_at = now();
        let audience = self.issuer.as_deref().unwrap_or(endpoint);
        let question = client::question(&self.settings.way, token, audience, asked_at)?;
        let fetched = fetch::call(endpoint, question, &self.rules).await.map_err(|error| error.to_string())?;
        match (&self.settings.way, fetched.status) {
            (Way::Introspection(client), StatusCode::OK) if client.signed => {
                let text = signed_text(&fetched)?;
                let id = client.id.as_deref().unwrap_or_default();
                Ok(Some(signed::members(issuer, id, text, asked_at).await?))
            }
            (_, StatusCode::OK) => match json::parse_object(&fetched.body) {
                Ok(members) => Ok(Some(members)),
                // Where, not what: the answer is about somebody.
                Err(error) => Err(format!("the answer isn't a JSON object, from column {}", error.column())),
            },
            (Way::Userinfo, status) if is_no(status, &fetched.headers) => Ok(None),
            (_, status) => Err(format!("the answer has status {}", status.as_u16())),
        }
    }
}

impl Way {
    /// As the configuration calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Way::Introspection(_) => "introspection",
            Way::Userinfo => "userinfo",
        }
    }

    /// What an issuer's metadata call it (RFC 8414, section 2; OpenID Connect Discovery 1.0, section 3).
    fn metadata_member(&self) -> &'static str {
        match self {
            Way::Introspection(_) => "introspection_endpoint",
            Way::Userinfo => "userinfo_endpoint",
        }
    }
}

/// A question about a token, under way.
struct Question {
    introspector: Arc<Introspector>,
    issuer: Arc<Issuer>,
    token: Zeroizing<String>,
    fingerprint: Fingerprint,
    name: TokenName,
    cache: Arc<TokenCache>,
    _permit: OwnedSemaphorePermit,
}

impl Question {
    /// Asks, judges the answer and remembers what it comes to.
    async fn ask(&self) -> Said {
        let began = Instant::now();
        let own = &self.introspector;
        let result = own.judged(&self.issuer, &self.token, self.fingerprint).await;
        let is_news = own.is_failing.swap(result.is_err(), Ordering::Relaxed) != result.is_err();
        Introspected {
            issuer: &own.name,
            result: result.as_ref().map(|_| ()).map_err(String::as_str),
            took: began.elapsed(),
        }
        .record(&own.metrics, is_news);
        let Ok(said) = result else { return UNAVAILABLE };
        self.cache.keep_said(self.name, &self.issuer, &own.settings, &said, now());
        said
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.introspector.questions().remove(&self.name);
    }
}

fn signed_text(fetched: &Fetched) -> Result<&str, &'static str> {
    let kind = fetched.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/token-introspection+jwt") {
        return Err("the answer isn't signed");
    }
    let text = std::str::from_utf8(&fetched.body).map_err(|_| "the answer isn't a signed one")?;
    Ok(text.trim())
}

/// Whether a userinfo endpoint says that the token is no good (RFC 6750, section 3.1). A 400 or 403 without a challenge
/// may be about something else: too many requests, a firewall.
fn is_no(status: StatusCode, headers: &HeaderMap) -> bool {
    let has_challenge = || {
        headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .any(|value| value.as_bytes().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer")))
    };
    match status {
        StatusCode::UNAUTHORIZED => true,
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN => has_challenge(),
        _ => false,
    }
}
