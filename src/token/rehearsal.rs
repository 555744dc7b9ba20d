//! Verification for people who want to know why, and for tests of a policy: every step is asked, with the code that
//! judges live tokens. Nothing is counted or remembered, and nothing that comes of it lets a request in.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{
    cache::TokenCache,
    check::{Check, is_notice},
    credential::{Credential, Fingerprint},
    introspection::{AFTER_FAILURE, Said},
    issuer::{Audiences, Issuer},
    json,
    jwt::{self, Jwt},
    opaque,
    principal::Principal,
    proof::{self, Proofs, Thumbprint},
    revocation::{Revocations, TokenId},
    trial::{End, Fetch, Fetched, Trial},
};
use crate::{
    observe::Observer,
    refusal::{Refusal, TokenFault},
    request::RequestView,
    trace::Span,
};

pub use super::{
    check::Step,
    proof::{Binding, Proof},
};

/// How long claims are good that say nothing of it, in seconds.
const LIFETIME: i64 = 3600;

/// What came of it.
#[derive(Debug)]
pub struct Rehearsed {
    /// What live traffic would have been told.
    pub outcome: Result<(), Refusal>,
    /// Who the token was put to.
    pub issuer: Option<Arc<Issuer>>,
    /// What the header says; None for claims without a token, and where it can't be read.
    pub header: Option<Header>,
    /// Whether keys could be fetched for it.
    pub could_fetch: bool,
    /// The claims, good or not; empty where they can't be read.
    pub claims: Map<String, Value>,
    /// Every step, in the order in which faults are named. Empty where only the issuer can judge the token.
    pub steps: Vec<(Step, Answer)>,
    /// Whom it would speak for, good or not. None where that can't be said.
    pub claimed: Option<Assumed>,
    /// Whether the request comes from whom the token is bound to.
    pub proof: Proof,
}

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing speaks against the token.
    Held,
    /// This does.
    Failed(TokenFault),
    /// It couldn't be asked, or was beside the point: why.
    NotAsked(&'static str),
}

/// Whom claims would speak for that need not be true. Not a principal: it opens nothing.
#[derive(Debug)]
pub struct Assumed(Principal);

/// What a token's header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `alg`, whatever it is.
    pub algorithm: String,
    /// `typ`: lower-case, without `application/`; `jwt` where there is none.
    pub typ: String,
    /// `kid`
    pub kid: Option<String>,
}

impl Rehearsed {
    /// Whether it tells of something, and is no access token whatever else it says.
    pub fn is_notice(&self) -> bool {
        is_notice(&self.claims)
    }
}

impl Assumed {
    /// To be looked at.
    pub fn principal(&self) -> &Principal {
        &self.0
    }
}

/// Verifies a token against the issuers that a route takes, in the file's order. Keys that aren't at hand are fetched, and
/// issuers asked, by calls of their own, or not at all (`may_fetch`). `now` in Unix seconds.
pub async fn verify(
    credential: &Credential,
    issuers: &[Arc<Issuer>],
    revocations: &Revocations,
    may_fetch: bool,
    now: i64,
) -> Rehearsed {
    if !jwt::is_one(credential.expose()) {
        return ask(credential, &opaque::candidates(issuers, credential), revocations, may_fetch, now).await;
    }
    let Ok(jwt) = Jwt::parse(credential.expose()) else { return Rehearsed::malformed() };
    if let Some(issuer) = opaque::asked_about(&jwt, issuers) {
        return ask(credential, &[issuer], revocations, may_fetch, now).await;
    }
    let observer = Observer::silent();
    // Of no size: nothing is found in it, and nothing stays.
    let Ok(cache) = TokenCache::new(0, &observer) else { return Rehearsed::malformed() };
    let fetch = if may_fetch { Fetch::Apart } else { Fetch::Never };
    let name = cache.name(credential);
    let trial = Trial {
        credential,
        jwt: &jwt,
        issuers,
        name,
        looked_after: None,
        cache: &cache,
        revocations,
        fetch,
        now,
        span: Span::none().as_parent(),
    };
    let mut fetched = Fetched::default();
    let (issuer, outcome) = match trial.judge(&mut fetched).await {
        End::Found(_) => (None, Ok(())),
        End::Judged(issuer, result) => (Some(issuer), result.map(|_| ())),
        End::NotSigned(issuer, refusal) => {
            let candidates = opaque::candidates(issuers, credential);
            if opaque::may_be_one(&jwt, &refusal) && !candidates.is_empty() {
                return ask(credential, &candidates, revocations, may_fetch, now).await;
            }
            (issuer, Err(refusal))
        }
    };
    let check = match issuer {
        Some(issuer) => {
            let keys = fetched.keys_of(issuer).or_else(|| issuer.keys.at_hand());
            Check::by(issuer, keys, &jwt, now).minding(revocations)
        }
        None => Check::by_nobody(issuers, &jwt, now),
    };
    let (fingerprint, id) = (credential.fingerprint(), TokenId::of_signed(jwt.signed()));
    Rehearsed {
        outcome,
        issuer: issuer.cloned(),
        steps: Step::ALL.iter().map(|step| (*step, step.answer(&check))).collect(),
        claimed: issuer
            .map(|issuer| Assumed(Principal::of(issuer, jwt.shared_claims(), check.ends_at(), fingerprint, id))),
        header: Header::of(credential, &jwt),
        could_fetch: may_fetch,
        claims: jwt.claims().clone(),
        proof: Proof::NotAsked,
    }
}

/// What these issuers say of a token that only its issuer can judge; they are asked as for live traffic, or not at all.
async fn ask(
    credential: &Credential,
    issuers: &[&Arc<Issuer>],
    revocations: &Revocations,
    may_fetch: bool,
    now: i64,
) -> Rehearsed {
    let mut rehearsed = Rehearsed::malformed();
    if !issuers.is_empty() {
        rehearsed.steps = Vec::new();
    }
    let mut unavailable = false;
    for issuer in issuers {
        let Some(introspector) = &issuer.introspector else { continue };
        rehearsed.issuer = Some((*issuer).clone());
        let said = match may_fetch {
            true => introspector.judged(issuer, credential.expose(), credential.fingerprint()).await,
            false => Err("it isn't asked".to_owned()),
        };
        rehearsed.outcome = match said {
            Ok(Said::Good(principal)) => {
                rehearsed.claims = principal.claims().clone();
                let has_ended = revocations.has_ended(&principal, now);
                rehearsed.claimed = Arc::into_inner(principal).map(Assumed);
                if has_ended { Err(Refusal::Token(TokenFault::Revoked)) } else { Ok(()) }
            }
            Ok(Said::Bad(fault)) => Err(Refusal::Token(fault)),
            Ok(Said::Inactive) => {
                rehearsed.outcome = Err(Refusal::Token(TokenFault::Inactive));
                continue;
            }
            Ok(Said::Unavailable { .. }) | Err(_) => {
                unavailable = true;
                continue;
            }
        };
        return rehearsed;
    }
    if unavailable {
        rehearsed.outcome = Err(Refusal::IntrospectionUnavailable { retry_after: AFTER_FAILURE });
    }
    rehearsed
}

/// Judges claims as this issuer's, on a route that takes tokens of these issuers. Nobody need have signed them: what is
/// asked of the header, the key and the signature isn't asked.
///
/// `iss`, `aud` and `exp` are filled in so that the claims are good, unless they are given; so are
/// `iat`, `nbf` and `cnf` where the issuer requires them. Who asks counts as whom the token is bound to. `null` is a claim that is absent. `now` in Unix seconds.
pub fn assume(
    claims: &Map<String, Value>,
    issuer: &Arc<Issuer>,
    issuers: &[Arc<Issuer>],
    revocations: &Revocations,
    now: i64,
) -> Rehearsed {
    let Ok(jwt) = Jwt::assumed(filled_in(claims, issuer, now)) else { return Rehearsed::malformed() };
    let is_taken = issuers.iter().any(|taken| taken.epoch == issuer.epoch);
    let is_its = match jwt.issuer() {
        Some(named) => issuer.settings.issuer.as_deref() == Some(named),
        None => !issuer.settings.takes_jwts || issuer.settings.takes_unnamed(),
    };
    let check = match is_taken && is_its {
        true => Check::by(issuer, None, &jwt, now).minding(revocations),
        false => Check::by_nobody(issuers, &jwt, now),
    };
    // What these claims tell of themselves, no header can mend.
    let is_asked = |step: Step| step.is_about_claims() || step == Step::Type && is_notice(jwt.claims());
    let steps = Step::ALL.iter().map(|step| match is_asked(*step) {
        true => (*step, step.answer(&check)),
        false => (*step, Answer::NotAsked("the claims are assumed, without a token")),
    });
    let steps = steps.collect::<Vec<_>>();
    let fault = steps.iter().find_map(|(_, answer)| answer.fault());
    let id = TokenId::of_signed(jwt.signed());
    Rehearsed {
        outcome: fault.map_or(Ok(()), |fault| Err(Refusal::Token(fault))),
        issuer: Some(issuer.clone()),
        claimed: Some(Assumed(Principal::of(issuer, jwt.shared_claims(), check.ends_at(), Fingerprint([0; 6]), id))),
        header: None,
        could_fetch: false,
        claims: jwt.claims().clone(),
        proof: match Binding::of(jwt.claims()) {
            Binding::Sender { .. } => Proof::TakenAsGiven,
            Binding::Nobody | Binding::Unsupported => Proof::NotAsked,
        },
        steps,
    }
}

fn filled_in(claims: &Map<String, Value>, issuer: &Issuer, now: i64) -> Map<String, Value> {
    let settings = &issuer.settings;
    let mut filled = claims.clone();
    let mut add = |name: &str, value: Value| {
        filled.entry(name).or_insert(value);
    };
    add("iss", settings.issuer.as_deref().into());
    if let Audiences::OneOf(accepted) = &settings.audiences {
        add("aud", accepted.first().map(String::as_str).into());
    }
    add("exp", now.saturating_add(LIFETIME).into());
    let is_required = |name: &str| settings.jwt.require_claims.iter().any(|required| required == name);
    if settings.jwt.max_token_age.is_some() || is_required("iat") {
        add("iat", now.into());
    }
    if is_required("nbf") {
        add("nbf", now.into());
    }
    if let Some(constraint) = settings.sender.constraint {
        let thumbprint = Thumbprint::of(&[]).to_string();
        add("cnf", Map::from_iter([(constraint.member().to_owned(), thumbprint.into())]).into());
    }
    filled
}

impl Rehearsed {
    fn malformed() -> Rehearsed {
        let steps = Step::ALL.iter().map(|step| match step {
            Step::Dates => (*step, Answer::Failed(TokenFault::Malformed)),
            step => (*step, Answer::NotAsked("the token can't be read")),
        });
        let outcome = Err(Refusal::Token(TokenFault::Malformed));
        Rehearsed {
            outcome,
            issuer: None,
            header: None,
            could_fetch: false,
            claims: Map::new(),
            steps: steps.collect(),
            claimed: None,
            proof: Proof::NotAsked,
        }
    }

    /// Holds the request that carries the token against whom a good one is bound to. `now` in Unix seconds.
    pub fn prove(
        &mut self,
        credential: &Credential,
        issuers: &[Arc<Issuer>],
        proofs: &Proofs,
        view: &RequestView<'_>,
        now: i64,
    ) {
        let Some(claimed) = self.claimed.as_ref().filter(|_| self.outcome.is_ok()) else { return };
        self.proof = proof::rehearse(&claimed.0, credential, issuers, proofs, view, now);
        if let Proof::Refused(fault) = self.proof {
            self.outcome = Err(Refusal::Proof(fault));
            let binding = self.steps.iter_mut().filter(|(step, _)| *step == Step::Binding);
            binding.for_each(|(_, answer)| *answer = Answer::Failed(TokenFault::Binding));
        }
    }
}

impl Header {
    fn of(credential: &Credential, jwt: &Jwt<'_>) -> Option<Header> {
        let (typ, kid) = (jwt.typ().to_owned(), jwt.kid().map(str::to_owned));
        Some(Header { algorithm: algorithm_as_written(credential.expose())?, typ, kid })
    }
}

impl Answer {
    /// What speaks against the token.
    pub fn fault(self) -> Option<TokenFault> {
        match self {
            Answer::Failed(fault) => Some(fault),
            Answer::Held | Answer::NotAsked(_) => None,
        }
    }
}

fn algorithm_as_written(token: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    Some(json::parse_object(&header).ok()?.get("alg")?.as_str()?.to_owned())
}

impl Step {
    fn answer(self, check: &Check<'_>) -> Answer {
        if let Some(why) = check.cannot_ask(self) {
            return Answer::NotAsked(why);
        }
        self.fault(check).map_or(Answer::Held, Answer::Failed)
    }

    /// Whether claims alone can be asked this.
    fn is_about_claims(self) -> bool {
        !matches!(self, Step::Algorithm | Step::Type | Step::Critical | Step::Key | Step::Signature)
    }
}
