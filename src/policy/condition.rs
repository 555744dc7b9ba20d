//! What a rule can ask of a token.

use std::{sync::Arc, time::Duration};

use regex::Regex;
use serde_json::Value;

use super::{expression::Expression, facts::Facts, text::RequestText};
use crate::{
    refusal::{Missed, RuleFault, StepUp},
    token::{claims::ClaimPath, kind::TokenKind, principal::Principal},
};

/// One thing that a rule asks of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// One of these issuers, by their keys in the configuration.
    Issuers(Vec<Arc<str>>),
    /// One of these audiences, besides what the issuer asks for.
    Audiences(Vec<Arc<str>>),
    /// All of these scopes.
    Scopes(Vec<Arc<str>>),
    /// One of these scopes at least.
    AnyScope(Vec<Arc<str>>),
    /// All of these roles.
    Roles(Vec<Arc<str>>),
    /// One of these roles at least.
    AnyRole(Vec<Arc<str>>),
    /// That the token is a user's, or a client's own.
    TokenKind(TokenKind),
    /// A claim.
    Claim(ClaimPath, ClaimTest),
    /// One of these classes of authentication (RFC 9470).
    Acr(Vec<Arc<str>>),
    /// That the user authenticated at most so long ago (RFC 9470); whole seconds.
    MaxAge(Duration),
    /// That an expression over the token and the request is true.
    When(Expression),
}

/// What a claim must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimTest {
    /// Equal to one of these, or an array with such an element.
    OneOf(Vec<RequestText>),
    /// There, or not there.
    Present(bool),
    /// A text in which the pattern is found, or an array with such an element.
    Matches(Pattern),
}

/// A regular expression; takes time linear in the text, whatever it is.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, in words for the configuration's author.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        Regex::new(text).map(Pattern).map_err(|error| {
            let words = error.to_string();
            words.lines().last().map(|line| line.trim_start_matches("error: ").to_owned()).unwrap_or_default()
        })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl Condition {
    /// Whether it is met. One that asks for nothing is met by none.
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        let principal = facts.principal;
        match self {
            Condition::Issuers(wanted) => wanted.iter().any(|wanted| wanted == principal.issuer()),
            Condition::Audiences(wanted) => wanted.iter().any(|wanted| is_for(principal, wanted)),
            Condition::Scopes(wanted) => has_all(principal.scopes(), wanted),
            Condition::AnyScope(wanted) => has_any(principal.scopes(), wanted),
            Condition::Roles(wanted) => has_all(principal.roles(), wanted),
            Condition::AnyRole(wanted) => has_any(principal.roles(), wanted),
            Condition::TokenKind(wanted) => principal.kind() == *wanted,
            Condition::Claim(path, test) => test.holds(&path.find(principal.claims()), facts),
            Condition::Acr(wanted) => principal
                .claims()
                .get("acr")
                .is_some_and(|acr| scalar(acr, |acr| wanted.iter().any(|wanted| **wanted == *acr))),
            Condition::MaxAge(age) => is_recent(principal.claims().get("auth_time"), *age, facts.now),
            Condition::When(expression) => expression.holds(facts),
        }
    }

    /// What is said where it isn't met.
    pub(super) fn fault(&self) -> RuleFault {
        match self {
            Condition::Issuers(_) => RuleFault::Issuer,
            Condition::Audiences(_) => RuleFault::Audience,
            Condition::Scopes(wanted) | Condition::AnyScope(wanted) => RuleFault::Scope(wanted.join(" ").into()),
            Condition::Roles(_) | Condition::AnyRole(_) => RuleFault::Role,
            Condition::TokenKind(_) => RuleFault::TokenKind,
            Condition::Claim(..) => RuleFault::Claim,
            Condition::When(_) => RuleFault::Condition,
            Condition::Acr(_) | Condition::MaxAge(_) => RuleFault::StepUp(StepUp::of(std::slice::from_ref(self), self)),
        }
    }

    /// The scopes that it asks for; None if it is about something else.
    pub(super) fn scopes(&self) -> Option<&[Arc<str>]> {
        match self {
            Condition::Scopes(wanted) | Condition::AnyScope(wanted) => Some(wanted),
            _ => None,
        }
    }

    /// Whether it is about how the user authenticated.
    pub(super) fn is_step_up(&self) -> bool {
        matches!(self, Condition::Acr(_) | Condition::MaxAge(_))
    }

    /// Whether it asks for a header of the request.
    pub(super) fn reads_headers(&self) -> bool {
        match self {
            Condition::Claim(_, ClaimTest::OneOf(texts)) => texts.iter().any(RequestText::reads_headers),
            Condition::When(expression) => expression.reads_headers(),
            _ => false,
        }
    }
}

impl ClaimTest {
    /// `found`: every value at the claim's path, none of them null.
    fn holds(&self, found: &[&Value], facts: &Facts<'_>) -> bool {
        match self {
            ClaimTest::Present(wanted) => found.is_empty() != *wanted,
            // The request isn't looked at for a claim that isn't there.
            ClaimTest::OneOf(_) if found.is_empty() => false,
            ClaimTest::OneOf(texts) => {
                texts.iter().filter_map(|text| text.resolve(facts)).any(|text| any_text(found, |value| value == text))
            }
            ClaimTest::Matches(pattern) => any_text(found, |value| pattern.0.is_match(value)),
        }
    }
}

/// Whether this holds for one of the values, or for an element of one that is an array. Numbers and booleans are their
/// JSON text; objects and arrays in arrays are nothing.
fn any_text(values: &[&Value], holds: impl Fn(&str) -> bool) -> bool {
    values.iter().any(|value| match value {
        Value::Array(elements) => elements.iter().any(|element| scalar(element, &holds)),
        value => scalar(value, &holds),
    })
}

fn scalar(value: &Value, holds: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => holds(text),
        Value::Number(number) => holds(&number.to_string()),
        Value::Bool(flag) => holds(if *flag { "true" } else { "false" }),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

impl StepUp {
    /// The authentication that these conditions ask for, of which one is missed.
    pub(super) fn of(conditions: &[Condition], missed: &Condition) -> StepUp {
        let acr_values = conditions.iter().find_map(|condition| match condition {
            Condition::Acr(wanted) => Some(wanted.join(" ").into()),
            _ => None,
        });
        let max_age = conditions.iter().find_map(|condition| match condition {
            Condition::MaxAge(age) => Some(*age),
            _ => None,
        });
        let missed = if matches!(missed, Condition::MaxAge(_)) { Missed::MaxAge } else { Missed::Acr };
        StepUp { missed, acr_values, max_age }
    }
}

/// How far a clock may be ahead that wrote `auth_time`. What is later isn't a time in seconds, or isn't true.
const AHEAD: i64 = 60;

fn is_recent(auth_time: Option<&Value>, age: Duration, now: i64) -> bool {
    let Some(Value::Number(number)) = auth_time else { return false };
    // A conversion from a float saturates; rounded down, the authentication is older.
    let then = number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds.floor() as i64));
    let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    then.is_some_and(|then| then <= now.saturating_add(AHEAD) && now.saturating_sub(then) <= age)
}

/// `aud` is a text or an array of them (RFC 7519, section 4.1.3).
fn is_for(principal: &Principal, audience: &str) -> bool {
    match principal.claims().get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

fn has(held: &[String], wanted: &str) -> bool {
    held.iter().any(|held| held == wanted)
}

fn has_all(held: &[String], wanted: &[Arc<str>]) -> bool {
    !wanted.is_empty() && wanted.iter().all(|wanted| has(held, wanted))
}

fn has_any(held: &[String], wanted: &[Arc<str>]) -> bool {
    wanted.iter().any(|wanted| has(held, wanted))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;
    use crate::policy::tests::with_facts;

    fn list(words: &str) -> Vec<Arc<str>> {
        words.split_whitespace().map(Arc::from).collect()
    }

    fn holds(condition: &Condition, claims: Value) -> bool {
        let Value::Object(claims) = claims else { panic!("claims") };
        let principal = Principal::for_test(&[], &[]).with_claims(claims);
        with_facts(&principal, |facts| condition.holds(facts))
    }

    #[test]
    fn issuers_and_audiences() {
        assert!(holds(&Condition::Issuers(list("other test")), json!({})));
        assert!(!holds(&Condition::Issuers(list("other tes testt")), json!({"iss": "other"})));
        for (aud, expected) in [
            (json!("a"), true),
            (json!(["x", "b"]), true),
            (json!("x"), false),
            (json!("a b"), false),
            (json!(["x", ["a"]]), false),
            (json!({"a": "a"}), false),
            (json!(null), false),
        ] {
            assert_eq!(holds(&Condition::Audiences(list("a b")), json!({"aud": aud})), expected, "{aud}");
        }
        assert!(!holds(&Condition::Audiences(list("a")), json!({})));
    }

    #[test]
    fn users_and_clients() {
        use TokenKind::{Client, User};

        for (wanted, held, expected) in
            [(User, User, true), (User, Client, false), (Client, User, false), (Client, Client, true)]
        {
            let principal = Principal::for_test(&[], &[]).with_kind(held);
            let met = with_facts(&principal, |facts| Condition::TokenKind(wanted).holds(facts));
            assert_eq!(met, expected, "{wanted:?} {held:?}");
        }
    }

    #[test]
    fn claims() {
        let one_of = |texts: &[&str]| {
            ClaimTest::OneOf(texts.iter().map(|text| RequestText::parse(text, &[]).unwrap()).collect())
        };
        let matches = |text: &str| ClaimTest::Matches(Pattern::parse(text).unwrap());
        let cases = [
            (one_of(&["acme"]), json!("acme"), true),
            (one_of(&["acme"]), json!("ACME"), false),
            (one_of(&["acme"]), json!("acme "), false),
            (one_of(&["x", "acme"]), json!("acme"), true),
            (one_of(&["acme"]), json!(["x", "acme"]), true),
            (one_of(&["acme"]), json!(["x", ["acme"]]), false),
            (one_of(&["acme"]), json!({"acme": "acme"}), false),
            (one_of(&["acme"]), json!(null), false),
            (one_of(&["null"]), json!(null), false),
            (one_of(&["7"]), json!(7), true),
            (one_of(&["7"]), json!("7"), true),
            (one_of(&["7"]), json!([1, 7]), true),
            (one_of(&["7"]), json!(7.5), false),
            (one_of(&["true"]), json!(true), true),
            (one_of(&["true"]), json!(false), false),
            (one_of(&["1"]), json!(true), false),
            (one_of(&["{host}"]), json!("api.example"), true),
            (one_of(&["{query.absent}"]), json!(""), false),
            (one_of(&["{query.absent}", "acme"]), json!("acme"), true),
            (one_of(&[]), json!("acme"), false),
            (ClaimTest::Present(true), json!("x"), true),
            (ClaimTest::Present(true), json!(false), true),
            (ClaimTest::Present(true), json!([]), true),
            (ClaimTest::Present(true), json!(null), false),
            (ClaimTest::Present(false), json!(null), true),
            (ClaimTest::Present(false), json!(""), false),
            (matches("@example\\.com$"), json!("me@example.com"), true),
            (matches("@example\\.com$"), json!("me@example.com.evil"), false),
            (matches("@example\\.com$"), json!("me@example.com\n"), false),
            (matches("^a"), json!(["b", "ab"]), true),
            (matches("^[0-9]+$"), json!(42), true),
            (matches(""), json!({"a": 1}), false),
            (matches(""), json!(null), false),
        ];
        for (test, value, expected) in cases {
            let condition = Condition::Claim(ClaimPath::parse("c.d").unwrap(), test);
            assert_eq!(holds(&condition, json!({"c": {"d": value}})), expected, "{condition:?} {value}");
        }
        let absent = |test| holds(&Condition::Claim(ClaimPath::parse("c").unwrap(), test), json!({"d": "acme"}));
        assert!(absent(ClaimTest::Present(false)));
        assert!(!absent(ClaimTest::Present(true)) && !absent(one_of(&["acme"])) && !absent(matches("")));
        let any_key = Condition::Claim(ClaimPath::parse("c.*.t").unwrap(), one_of(&["acme"]));
        assert!(holds(&any_key, json!({"c": {"a": {"t": "x"}, "b": {"t": ["acme"]}}})));
    }

    #[test]
    fn acr_is_one_text() {
        for (acr, expected) in [
            (json!("gold"), true),
            (json!("urn:mace:silver"), true),
            (json!("2"), true),
            (json!(2), true),
            (json!("Gold"), false),
            (json!("gold silver"), false),
            (json!(["gold"]), false),
            (json!({"gold": true}), false),
            (json!(null), false),
        ] {
            assert_eq!(holds(&Condition::Acr(list("urn:mace:silver gold 2")), json!({"acr": acr})), expected, "{acr}");
        }
        assert!(!holds(&Condition::Acr(list("gold")), json!({})));
    }

    #[test]
    fn max_age_counts_from_auth_time() {
        const NOW: i64 = 1_700_000_000;
        for (auth_time, expected) in [
            (json!(NOW), true),
            (json!(NOW - 300), true),
            (json!(NOW - 301), false),
            (json!(NOW as f64 - 299.5), true),
            (json!(NOW as f64 - 300.5), false),
            (json!(NOW + 60), true),
            (json!(NOW + 61), false),
            (json!(NOW * 1000), false),
            (json!(1e300), false),
            (json!(-1e300), false),
            (json!(u64::MAX), false),
            (json!(i64::MIN), false),
            (json!(NOW.to_string()), false),
            (json!([NOW]), false),
            (json!(null), false),
        ] {
            let condition = Condition::MaxAge(Duration::from_secs(300));
            assert_eq!(holds(&condition, json!({"auth_time": auth_time})), expected, "{auth_time}");
        }
        assert!(!holds(&Condition::MaxAge(Duration::from_secs(300)), json!({"iat": NOW})));
    }

    #[test]
    fn patterns_that_are_none_say_why_in_a_line() {
        for text in ["(", "[a", "a{2,1}", "(?=x)", "\\p{Nothing}", "(?:a{1000}){1000}"] {
            let words = Pattern::parse(text).unwrap_err();
            assert!(!words.is_empty() && !words.contains('\n'), "{text}: {words}");
        }
    }
}
