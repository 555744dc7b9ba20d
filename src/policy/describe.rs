//! Conditions in words: what is asked for, what was got, what would have to be.

use serde_json::Value;

use super::{
    condition::{ClaimTest, Condition},
    facts::Facts,
};
use crate::{
    moment,
    token::{kind::TokenKind, principal::Principal},
};

/// One condition, asked about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionReport {
    /// What it asks for, in words: `campaigns:read`, `role editor or owner`.
    pub asks: String,
    /// Whether it is met.
    pub holds: bool,
    /// What the token has there; None where that can't be said in a word.
    pub got: Option<String>,
    /// What a token would be that meets it, after `a token`: `with role editor`.
    pub wish: String,
}

impl Condition {
    /// What it asks for: `a and b`, `a or b`, `role r`.
    pub fn describe(&self) -> String {
        match self {
            Condition::Scopes(all) => listed(all, "and"),
            Condition::AnyScope(any) => listed(any, "or"),
            Condition::Roles(all) => format!("{} {}", number("role", all.len()), listed(all, "and")),
            Condition::AnyRole(any) => format!("role {}", listed(any, "or")),
            Condition::Issuers(any) => format!("issuer {}", listed(any, "or")),
            Condition::Audiences(any) => format!("audience {}", listed(any, "or")),
            Condition::TokenKind(TokenKind::User) => "a user's token".to_owned(),
            Condition::TokenKind(TokenKind::Client) => "a client's own token".to_owned(),
            // Values may have come from a file and stay unsaid.
            Condition::Claim(path, ClaimTest::OneOf(_)) => format!("claim {path} of a value that it names"),
            Condition::Claim(path, ClaimTest::Matches(_)) => format!("claim {path} that matches"),
            Condition::Claim(path, ClaimTest::Present(true)) => format!("claim {path}"),
            Condition::Claim(path, ClaimTest::Present(false)) => format!("no claim {path}"),
            Condition::Acr(any) => format!("acr {}", listed(any, "or")),
            Condition::When(expression) => match expression.shown() {
                Some(text) => format!("`{}`", text.split_whitespace().collect::<Vec<_>>().join(" ")),
                None => "an expression that isn't shown".to_owned(),
            },
            Condition::MaxAge(limit) => format!("an authentication of the last {} s", limit.as_secs()),
        }
    }

    /// Asks it, and tells in words.
    pub fn report(&self, facts: &Facts<'_>) -> ConditionReport {
        let asks = match self {
            Condition::Claim(path, ClaimTest::OneOf(texts)) => {
                let values = texts.iter().map(|text| text.shown(facts)).collect::<Vec<_>>();
                format!("claim {path} equal to {}", listed(&values, "or"))
            }
            Condition::Scopes(_) | Condition::AnyScope(_) => format!("scope {}", self.describe()),
            _ => self.describe(),
        };
        ConditionReport { wish: self.wish(&asks, facts), asks, holds: self.holds(facts), got: self.got(facts) }
    }

    fn got(&self, facts: &Facts<'_>) -> Option<String> {
        let principal = facts.principal;
        match self {
            Condition::Scopes(_) | Condition::AnyScope(_) => Some(or_none(principal.scopes())),
            Condition::Roles(_) | Condition::AnyRole(_) => Some(or_none(principal.roles())),
            Condition::Issuers(_) => Some(principal.issuer().to_string()),
            Condition::Audiences(_) => Some(audiences(principal)),
            Condition::TokenKind(_) => Some(match principal.kind() {
                TokenKind::User => "a user's".to_owned(),
                TokenKind::Client => "a client's own".to_owned(),
            }),
            Condition::Claim(path, _) => {
                let found = path.find(principal.claims());
                let texts = found.iter().map(ToString::to_string).collect::<Vec<_>>();
                Some(if texts.is_empty() { "no such claim".to_owned() } else { texts.join(", ") })
            }
            Condition::Acr(_) => Some(match principal.claims().get("acr") {
                None | Some(Value::Null) => "no acr".to_owned(),
                Some(Value::String(acr)) => acr.clone(),
                Some(other) => other.to_string(),
            }),
            Condition::When(expression) => Some(match expression.evaluate(facts) {
                Ok(value) => value.to_string(),
                Err(fault) => format!("no value: {fault}"),
            }),
            Condition::MaxAge(_) => Some(match principal.claims().get("auth_time") {
                None | Some(Value::Null) => "no auth_time".to_owned(),
                Some(time) => moment::of(time)
                    .and_then(|then| moment::in_words(then, facts.now))
                    .unwrap_or_else(|| "an auth_time that is no date".to_owned()),
            }),
        }
    }

    /// `asks`: what it asks for of this request.
    fn wish(&self, asks: &str, facts: &Facts<'_>) -> String {
        let missing = |wanted: &[std::sync::Arc<str>], held: &[String]| {
            let missing = wanted.iter().filter(|wanted| !held.iter().any(|held| **held == ***wanted));
            missing.cloned().collect::<Vec<_>>()
        };
        let principal = facts.principal;
        match self {
            Condition::Scopes(all) => {
                let missing = missing(all, principal.scopes());
                format!("with {} {}", number("scope", missing.len()), listed(&missing, "and"))
            }
            Condition::Roles(all) => {
                let missing = missing(all, principal.roles());
                format!("with {} {}", number("role", missing.len()), listed(&missing, "and"))
            }
            Condition::Audiences(any) => format!("with {} in its `aud`", listed(any, "or")),
            Condition::Issuers(any) => format!("of issuer {}", listed(any, "or")),
            Condition::TokenKind(TokenKind::User) => "that speaks for a user".to_owned(),
            Condition::TokenKind(TokenKind::Client) => "that is a client's own".to_owned(),
            Condition::Claim(path, ClaimTest::Present(false)) => format!("without claim {path}"),
            Condition::MaxAge(limit) => {
                format!("whose user authenticated in the last {}", moment::length(limit.as_secs()))
            }
            Condition::When(_) => format!("for which {asks} is true"),
            Condition::AnyScope(_) | Condition::AnyRole(_) | Condition::Acr(_) | Condition::Claim(..) => {
                format!("with {asks}")
            }
        }
    }
}

/// What is in `aud`, in words.
pub(crate) fn audiences(principal: &Principal) -> String {
    match principal.claims().get("aud") {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(several)) => {
            let texts = several.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned));
            or_none(&texts.collect::<Vec<_>>())
        }
        Some(other) => other.to_string(),
    }
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn number(what: &str, number: usize) -> String {
    if number == 1 { what.to_owned() } else { format!("{what}s") }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn listed<T: AsRef<str>>(words: &[T], last: &str) -> String {
    let words = words.iter().map(AsRef::as_ref).collect::<Vec<_>>();
    match words.split_last() {
        None => String::new(),
        Some((word, [])) => (*word).to_owned(),
        Some((word, before)) => format!("{} {last} {word}", before.join(", ")),
    }
}
