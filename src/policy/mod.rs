//! Rules: compiled to flat lists of conditions, evaluated afresh for each request.

mod condition;
mod describe;
mod expression;
mod facts;
mod text;

use std::sync::Arc;

pub(crate) use self::describe::{audiences, listed};
pub use self::{
    condition::{ClaimTest, Condition, Pattern},
    describe::ConditionReport,
    expression::{Expression, Fault, Mistake, Remedy},
    facts::Facts,
    text::RequestText,
};
use crate::{
    method::MethodSet,
    refusal::{RuleFault, StepUp},
};

/// Who is let in by a route.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody; the credential isn't looked at.
    Public,
    /// Everybody; a token that is sent must be good.
    Optional,
    /// Whoever has a good token.
    Authenticated,
    /// Whoever has a good token that at least one rule lets in. Never empty.
    Rules(Vec<Rule>),
}

/// One rule: lets a request in if it holds in all that it says.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The methods that it is for.
    pub methods: MethodSet,
    /// What it asks for besides, in the order in which they are asked.
    pub conditions: Vec<Condition>,
}

/// What one rule says of a request. It lets the request in if it takes the method and each condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// Whether the rule is for the request's method.
    pub takes_method: bool,
    /// `Rule::conditions`, asked.
    pub conditions: Vec<ConditionReport>,
}

impl RuleReport {
    /// Whether the rule lets the request in.
    pub fn admits(&self) -> bool {
        self.takes_method && self.conditions.iter().all(|condition| condition.holds)
    }
}

impl Access {
    /// Whether the rules let this request in.
    ///
    /// # Errors
    /// What the closest rule misses: the one with the fewest conditions unmet, then the first in the file. A scope is
    /// named before anything else, another authentication only if nothing else is missing. Where no rule takes the method (the route's methods say so before), it is `Role`.
    pub fn judge(&self, facts: &Facts<'_>) -> Result<(), RuleFault> {
        let Access::Rules(rules) = self else { return Ok(()) };
        let candidates = || rules.iter().filter(|rule| rule.methods.contains(facts.method));
        if candidates().any(|rule| rule.holds(facts)) {
            return Ok(());
        }
        let closest = candidates().min_by_key(|rule| rule.unmet(facts).count());
        Err(closest.map_or(RuleFault::Role, |rule| rule.fault(facts)))
    }

    /// What every rule says of this request.
    pub fn report(&self, facts: &Facts<'_>) -> Vec<RuleReport> {
        let Access::Rules(rules) = self else { return Vec::new() };
        let report = |rule: &Rule| RuleReport {
            takes_method: rule.methods.contains(facts.method),
            conditions: rule.conditions.iter().map(|condition| condition.report(facts)).collect(),
        };
        rules.iter().map(report).collect()
    }

    /// Whether a rule asks for a header of the request.
    pub fn reads_headers(&self) -> bool {
        let Access::Rules(rules) = self else { return false };
        rules.iter().flat_map(|rule| &rule.conditions).any(Condition::reads_headers)
    }
}

impl Rule {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        self.unmet(facts).next().is_none()
    }

    fn unmet(&self, facts: &Facts<'_>) -> impl Iterator<Item = &Condition> {
        self.conditions.iter().filter(|condition| !condition.holds(facts))
    }

    fn fault(&self, facts: &Facts<'_>) -> RuleFault {
        if self.unmet(facts).any(|condition| condition.scopes().is_some()) {
            return RuleFault::Scope(self.challenge());
        }
        // Another authentication is asked for only if it is all that is missing.
        match (self.unmet(facts).find(|condition| !condition.is_step_up()), self.unmet(facts).next()) {
            (Some(other), _) => other.fault(),
            (None, Some(missed)) => RuleFault::StepUp(StepUp::of(&self.conditions, missed)),
            (None, None) => RuleFault::Role,
        }
    }

    /// All scopes that the rule names, whether held or not: a client asks for a token with these.
    fn challenge(&self) -> Arc<str> {
        let mut scopes: Vec<&str> = Vec::new();
        for scope in self.conditions.iter().filter_map(Condition::scopes).flatten() {
            if !scopes.contains(&scope.as_ref()) {
                scopes.push(scope);
            }
        }
        scopes.join(" ").into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use hyper::{HeaderMap, Method};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{refusal::Missed, token::principal::Principal};

    /// What there is to know of `GET /`, asked of `api.example` by this principal.
    pub(in crate::policy) fn with_facts<T>(principal: &Principal, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        ask(&Facts {
            principal,
            method: &Method::GET,
            host: Some("api.example"),
            scheme: "https",
            client_ip: [192, 0, 2, 7].into(),
            path: "/",
            template: 0,
            params: &[],
            query: None,
            headers: &HeaderMap::new(),
            now: 1_700_000_000,
        })
    }

    fn judge(access: &Access, method: &Method, principal: &Principal) -> Result<(), RuleFault> {
        with_facts(principal, |facts| access.judge(&Facts { method, ..*facts }))
    }

    fn holds(condition: &Condition, principal: &Principal) -> bool {
        with_facts(principal, |facts| condition.holds(facts))
    }

    fn list(words: &str) -> Vec<Arc<str>> {
        words.split_whitespace().map(Arc::from).collect()
    }
    fn scopes(words: &str) -> Condition {
        Condition::Scopes(list(words))
    }
    fn any_scope(words: &str) -> Condition {
        Condition::AnyScope(list(words))
    }
    fn roles(words: &str) -> Condition {
        Condition::Roles(list(words))
    }
    fn any_role(words: &str) -> Condition {
        Condition::AnyRole(list(words))
    }
    fn principal(scopes: &str, roles: &str) -> Principal {
        let [scopes, roles] = [scopes, roles].map(|words| words.split_whitespace().collect::<Vec<_>>());
        Principal::for_test(&scopes, &roles)
    }
    fn rule(methods: &[Method], conditions: &[Condition]) -> Rule {
        let methods = if methods.is_empty() { MethodSet::ANY } else { MethodSet::of(methods.iter().cloned()) };
        Rule { methods, conditions: conditions.to_vec() }
    }
    fn scope_fault(challenge: &str) -> Result<(), RuleFault> {
        Err(RuleFault::Scope(challenge.into()))
    }

    #[test]
    fn conditions() {
        let cases = [
            (scopes("a"), "a b", "", true),
            (scopes("a b"), "b a", "", true),
            (scopes("a b"), "a", "", false),
            (scopes("a"), "", "a", false),
            (scopes("a"), "A", "", false),
            (scopes("a"), "ab aa a:b", "", false),
            (scopes("campaigns:read"), "campaigns", "", false),
            (any_scope("a b"), "b", "", true),
            (any_scope("a b"), "c", "a b", false),
            (any_scope("a"), "", "", false),
            (roles("a b"), "", "a b c", true),
            (roles("a b"), "a b", "a", false),
            (any_role("a b"), "", "b", true),
            (any_role("a b"), "a b", "", false),
            (scopes(""), "a", "a", false),
            (any_scope(""), "a", "a", false),
            (roles(""), "a", "a", false),
            (any_role(""), "a", "a", false),
        ];
        for (condition, scopes, roles, expected) in cases {
            assert_eq!(holds(&condition, &principal(scopes, roles)), expected, "{condition:?} {scopes} / {roles}");
        }
    }

    #[test]
    fn public_and_authenticated_ask_nothing() {
        for access in [Access::Public, Access::Optional, Access::Authenticated] {
            assert_eq!(judge(&access, &Method::DELETE, &principal("", "")), Ok(()));
        }
    }

    #[test]
    fn one_rule_that_holds_is_enough_and_only_for_its_methods() {
        let access = Access::Rules(vec![
            rule(&[Method::GET], &[scopes("read")]),
            rule(&[Method::POST], &[any_scope("write admin"), any_role("editor owner")]),
            rule(&[], &[roles("root")]),
        ]);
        let judge = |method: Method, scopes: &str, roles: &str| judge(&access, &method, &principal(scopes, roles));
        assert_eq!(judge(Method::GET, "read", ""), Ok(()));
        assert_eq!(judge(Method::HEAD, "read", ""), Ok(()));
        assert_eq!(judge(Method::POST, "read", ""), Err(RuleFault::Role));
        assert_eq!(judge(Method::POST, "admin", "owner"), Ok(()));
        assert_eq!(judge(Method::DELETE, "", "root"), Ok(()));
        assert_eq!(judge(Method::DELETE, "read write admin", "editor owner"), Err(RuleFault::Role));
        assert_eq!(judge(Method::GET, "write", "editor"), scope_fault("read"));
    }

    #[test]
    fn the_closest_rule_is_named() {
        let judge = |rules: &[Rule], scopes: &str, roles: &str| {
            judge(&Access::Rules(rules.to_vec()), &Method::GET, &principal(scopes, roles))
        };
        let both = rule(&[], &[scopes("a b"), any_scope("b c"), roles("r")]);
        let one = rule(&[], &[scopes("x y")]);
        assert_eq!(judge(&[both.clone(), one.clone()], "", ""), scope_fault("x y"));
        assert_eq!(judge(&[both.clone(), one.clone()], "a b", ""), Err(RuleFault::Role));
        assert_eq!(judge(&[one.clone(), both.clone()], "a b", ""), scope_fault("x y"));
        assert_eq!(judge(&[both.clone(), one.clone()], "a b x", "r"), Ok(()));
        assert_eq!(judge(std::slice::from_ref(&both), "", ""), scope_fault("a b c"));
        assert_eq!(judge(std::slice::from_ref(&both), "c", "r"), scope_fault("a b c"));
        // A rule for another method is no help, however close.
        let post = rule(&[Method::POST], &[scopes("post")]);
        assert_eq!(judge(&[post.clone(), both], "", ""), scope_fault("a b c"));
        assert_eq!(judge(&[post], "post", ""), Err(RuleFault::Role));
        assert_eq!(judge(&[], "a", "a"), Err(RuleFault::Role));
    }

    #[test]
    fn a_step_up_is_asked_for_only_if_it_is_all_that_is_missing() {
        let silver = Condition::Acr(list("silver gold"));
        let recent = Condition::MaxAge(std::time::Duration::from_secs(300));
        let rules = [rule(&[], &[scopes("a"), roles("r"), silver.clone(), recent.clone()])];
        let judged = |scopes: &str, roles: &str, claims: serde_json::Value| {
            let serde_json::Value::Object(claims) = claims else { panic!("claims") };
            judge(&Access::Rules(rules.to_vec()), &Method::GET, &principal(scopes, roles).with_claims(claims))
        };
        let wanted = |missed| {
            let max_age = Some(std::time::Duration::from_secs(300));
            Err(RuleFault::StepUp(StepUp { missed, acr_values: Some("silver gold".into()), max_age }))
        };
        let fresh = 1_700_000_000;
        assert_eq!(judged("a", "r", json!({"acr": "gold", "auth_time": fresh})), Ok(()));
        assert_eq!(judged("a", "r", json!({"acr": "bronze", "auth_time": fresh})), wanted(Missed::Acr));
        assert_eq!(judged("a", "r", json!({"acr": "gold", "auth_time": 0})), wanted(Missed::MaxAge));
        assert_eq!(judged("a", "r", json!({})), wanted(Missed::Acr));
        assert_eq!(judged("", "r", json!({})), scope_fault("a"));
        assert_eq!(judged("a", "", json!({"acr": "gold"})), Err(RuleFault::Role));
        // One condition unmet is closer than two, whatever it is about.
        let rules = [rule(&[], &[silver, recent.clone()]), rule(&[], &[recent])];
        let judged = judge(&Access::Rules(rules.to_vec()), &Method::GET, &principal("", ""));
        let max_age = Some(std::time::Duration::from_secs(300));
        assert_eq!(judged, Err(RuleFault::StepUp(StepUp { missed: Missed::MaxAge, acr_values: None, max_age })));
    }

    fn any_condition() -> impl Strategy<Value = Condition> {
        let words = prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3);
        (words, 0..4).prop_map(|(words, kind)| {
            let words = words.join(" ");
            match kind {
                0 => scopes(&words),
                1 => any_scope(&words),
                2 => roles(&words),
                _ => any_role(&words),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn yes_exactly_if_a_rule_for_the_method_holds_in_all(
            rules in prop::collection::vec((any::<bool>(), prop::collection::vec(any_condition(), 0..4)), 0..4),
            held in "[abc ]{0,5}", played in "[abc ]{0,5}",
        ) {
            let rules: Vec<_> = rules
                .into_iter()
                .map(|(get, conditions)| rule(&[if get { Method::GET } else { Method::PUT }], &conditions))
                .collect();
            let principal = principal(&held, &played);
            let expected = rules.iter().any(|rule| {
                rule.methods.contains(&Method::GET) && rule.conditions.iter().all(|condition| holds(condition, &principal))
            });
            prop_assert_eq!(judge(&Access::Rules(rules), &Method::GET, &principal).is_ok(), expected);
        }
    }
}
