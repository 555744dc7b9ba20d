//! A configuration under test.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::coverage::{Coverage, Gaps};
use crate::{
    config::{self, Diagnostic, Environment, Policy, TestFile, WrittenTest, WrittenToken},
    cors,
    decision::rehearsal::Presented,
    observe::Observer,
    policy::Access,
    rehearsal::{self, Answer, Question},
    snapshot::{LongLived, Snapshot},
    token,
};

/// A configuration that tests are run against: put to work, but for its network.
#[derive(Debug)]
pub struct Subject {
    policy: Policy,
    snapshot: Snapshot,
    warnings: Vec<Diagnostic>,
    files: Vec<PathBuf>,
    coverage: Coverage,
}

/// A test that can be run.
#[derive(Debug)]
pub(super) struct Prepared {
    question: Question,
    is_preflight: bool,
    token: Token,
}

#[derive(Debug)]
enum Token {
    /// What the request carries, if it does.
    Sent,
    /// Claims of the issuer of this index, and those of them that are moments, in seconds from now.
    Assumed { issuer: usize, claims: Map<String, Value>, moments: Vec<(String, i64)> },
}

impl Subject {
    /// Reads a configuration; placeholders stand for secrets that aren't there.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path, environment: &Environment<'_>) -> Result<Subject, Vec<Diagnostic>> {
        let loaded = config::load_without_secrets(path, environment)?;
        let name = path.display().to_string();
        let (snapshot, _) = Snapshot::assemble(&loaded.policy, &LongLived::new(Observer::silent(), 1))
            .map_err(|why| vec![Diagnostic::about(&name, "", why, None)])?;
        let mut warnings = Vec::new();
        if !loaded.placeholders.is_empty() {
            let names = loaded.placeholders.iter().map(|name| format!("${{{name}}}")).collect::<Vec<_>>();
            let message = format!("placeholders stand for {}, which can't be had here", names.join(", "));
            warnings.push(Diagnostic::unwise(&name, "", message, None));
        }
        let coverage = Coverage::new(&loaded.policy);
        Ok(Subject { policy: loaded.policy, snapshot, warnings, files: loaded.files, coverage })
    }

    /// What is tested.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The policy at work.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What speaks for caution.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// What no test has reached.
    pub fn gaps(&self) -> Gaps {
        self.coverage.gaps(&self.policy)
    }

    /// Every file that it was read from.
    pub(super) fn files_read(&self) -> &[PathBuf] {
        &self.files
    }

    /// Looks up what a test names.
    ///
    /// # Errors
    /// What there isn't in this configuration.
    pub(super) fn prepare(&self, file: &TestFile, test: &WrittenTest) -> Result<Prepared, Box<Diagnostic>> {
        let request = &test.request;
        let about_request = |why| Box::new(file.error(&request.spot, why, None));
        let mut question =
            Question::new(request.method.as_str(), &request.url, request.headers.clone()).map_err(about_request)?;
        if let Some(address) = request.client_ip {
            question.peer = address;
        }
        if let Some((name, spot)) = &request.listener {
            let listeners = || self.policy.listen.iter();
            let found = listeners().position(|listener| *listener.name == **name);
            let names = || listeners().map(|listener| &*listener.name);
            let unknown = || {
                let hint = config::did_you_mean(name, names(), "the listeners are");
                Box::new(file.error(spot, format!("there is no listener `{name}`"), hint))
            };
            question.listener = Some(found.ok_or_else(unknown)?);
        }
        let token = match &test.token {
            WrittenToken::None => Token::Sent,
            WrittenToken::Raw(token) => {
                question.present(token).map_err(about_request)?;
                Token::Sent
            }
            WrittenToken::Of { issuer, spot, claims, moments } => {
                let found = self.policy.issuers.iter().position(|known| *known.name == **issuer);
                let names = self.policy.issuers.iter().map(|known| &*known.name);
                let issuer = found.ok_or_else(|| {
                    let hint = config::did_you_mean(issuer, names, "the issuers are");
                    Box::new(file.error(spot, format!("there is no issuer `{issuer}`"), hint))
                })?;
                Token::Assumed { issuer, claims: claims.clone(), moments: moments.clone() }
            }
        };
        let is_preflight = cors::asked_method(&request.method, &request.headers).is_some();
        Ok(Prepared { question, is_preflight, token })
    }

    /// Decides a test's request and notes what it reached.
    pub(super) async fn run(&mut self, test: &Prepared) -> Answer {
        let assumed = match &test.token {
            Token::Sent => None,
            Token::Assumed { issuer, claims, moments } => {
                let mut claims = claims.clone();
                let now = token::now();
                claims.extend(
                    moments.iter().map(|(name, from_now)| (name.clone(), json!(now.saturating_add(*from_now)))),
                );
                self.snapshot.issuers.get(*issuer).cloned().map(|issuer| (issuer, claims))
            }
        };
        let presented = match &assumed {
            Some((issuer, claims)) => Presented::Assumed { issuer, claims },
            None => Presented::Sent { may_fetch: false },
        };
        let answer = rehearsal::rehearse(&self.snapshot, &test.question, presented).await;
        if let Some((issuer, claims)) = &assumed {
            let places = &issuer.settings.claims;
            self.coverage.uses(places.scopes(claims), places.roles(claims));
        }
        self.note(&answer, test.is_preflight);
        answer
    }

    fn note(&mut self, answer: &Answer, is_preflight: bool) {
        let Some(index) = answer.decision.route else { return };
        self.coverage.matched(index);
        let Some(route) = self.policy.routes.get(index) else { return };
        // Whoever answers a preflight asks no rule.
        let is_asked = !(is_preflight && route.cors.is_some());
        let rule = answer.rule();
        if answer.is_allowed() && is_asked && (rule.is_some() || !matches!(route.allow, Access::Rules(_))) {
            self.coverage.let_in(index, rule);
        }
    }
}

impl Prepared {
    /// What is asked.
    pub(super) fn into_question(self) -> Question {
        self.question
    }
}
