//! `allow` on a route: the rules.

use std::{sync::Arc, time::Duration};

use hyper::Method;

use super::Compiler;
use crate::{
    config::{
        diagnostic::Span,
        file::{ClaimTest as WrittenTest, ConfigFile, Route, Rule as WrittenRule},
        keys,
        reader::At,
        scalar,
    },
    method::MethodSet,
    policy::{Access, ClaimTest, Condition, Expression, Pattern, Remedy, RequestText, Rule},
    route::PathTemplate,
    token::claims::ClaimPath,
};

/// The route that rules are of. What is None was wrong.
pub(super) struct RulesOf<'c> {
    pub(super) written: &'c Route,
    pub(super) file: &'c ConfigFile,
    pub(super) paths: Option<&'c [PathTemplate]>,
    /// Indices of the issuers whose tokens it takes.
    pub(super) issuers: Option<&'c [usize]>,
}

impl Compiler<'_> {
    /// The rules, and the methods that they take together.
    pub(super) fn rules(
        &mut self,
        written: &[WrittenRule],
        declared: Option<&MethodSet>,
        route: &RulesOf<'_>,
    ) -> Option<(Access, MethodSet)> {
        let mut rules = Vec::new();
        for rule in written {
            let methods = self.methods(rule.methods.as_deref());
            for method in rule.methods.iter().flatten() {
                let Ok(known) = Method::from_bytes(method.value.as_bytes()) else { continue };
                if declared.is_some_and(|declared| !declared.contains(&known)) {
                    let declared_as = route.written.methods.as_deref();
                    let place = declared_as.and_then(<[_]>::first).map(|at| self.source.place(at.span));
                    self.findings.push(
                        method
                            .error(format!(
                                "the route doesn't take {}, so this rule never holds for it",
                                method.shown()
                            ))
                            .hint_if(place.map(|place| format!("the route's `methods` are at {place}"))),
                    );
                }
            }
            let conditions = self.conditions(rule, route);
            rules.push(methods.zip(conditions).map(|(methods, conditions)| Rule { methods, conditions }));
        }
        let rules = rules.into_iter().collect::<Option<Vec<_>>>()?;
        let methods = rules.iter().fold(MethodSet::NONE, |all, rule| all.union(&rule.methods));
        (!rules.is_empty()).then_some((Access::Rules(rules), methods))
    }

    fn conditions(&mut self, rule: &WrittenRule, route: &RulesOf<'_>) -> Option<Vec<Condition>> {
        let issuers = rule.issuers.as_ref().map(|list| self.rule_issuers(list, route).map(Condition::Issuers));
        let audiences = rule.audiences.as_ref().map(|list| Some(Condition::Audiences(texts(list))));
        let scopes = rule.scopes.as_ref().map(|list| self.scopes(list).map(Condition::Scopes));
        let any_scope = rule.any_scope.as_ref().map(|list| self.scopes(list).map(Condition::AnyScope));
        let roles = rule.roles.as_ref().map(|list| Some(Condition::Roles(texts(list))));
        let any_role = rule.any_role.as_ref().map(|list| Some(Condition::AnyRole(texts(list))));
        let mut conditions =
            [issuers, audiences, scopes, any_scope, roles, any_role].into_iter().flatten().collect::<Vec<_>>();
        conditions.extend(rule.token_kind.map(|kind| Some(Condition::TokenKind(kind))));
        for (claim, test) in &rule.claims {
            let path = ClaimPath::parse(&claim.value).map_err(|words| self.findings.push(claim.error_about(&words)));
            let test = self.claim_test(test, route);
            conditions.push(path.ok().zip(test).map(|(path, test)| Condition::Claim(path, test)));
        }
        conditions.extend(rule.acr.as_ref().map(|list| self.acr(list).map(Condition::Acr)));
        conditions.extend(rule.max_age.as_ref().map(|age| self.max_age(age).map(Condition::MaxAge)));
        conditions.extend(rule.when.as_ref().map(|when| self.when(when, route).map(Condition::When)));
        conditions.into_iter().collect()
    }

    /// What a challenge can carry, separated by spaces.
    fn acr(&mut self, written: &At<Vec<At<String>>>) -> Option<Vec<Arc<str>>> {
        let mut good = true;
        for class in &written.value {
            if !class.value.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~')) {
                good = false;
                let hint = class.value.contains(' ').then(|| "write each value as an item of its own".to_owned());
                self.findings.push(class.error(format!("{} is not a value of `acr`", class.shown())).hint_if(hint));
            }
        }
        good.then(|| texts(written))
    }

    fn max_age(&mut self, written: &At<Duration>) -> Option<Duration> {
        if written.value.subsec_nanos() != 0 {
            return self.fail(written.error("a challenge names whole seconds").hint("`1s` or more"));
        }
        Some(written.value)
    }

    fn when(&mut self, written: &At<String>, route: &RulesOf<'_>) -> Option<Expression> {
        let mistakes = match Expression::parse(&written.value, route.paths?) {
            Ok(expression) if written.foreign => return Some(expression.hidden()),
            Ok(expression) => return Some(expression),
            Err(mistakes) => mistakes,
        };
        if written.foreign {
            return self.fail(written.error_about(""));
        }
        for mistake in mistakes {
            let part = scalar::place(self.source.written(written.span), &written.value, mistake.span);
            let start = written.span.start;
            let span = part.map_or(written.span, |part| Span { start: start + part.start, end: start + part.end });
            let hint = match mistake.remedy {
                Remedy::None => None,
                Remedy::Hint(hint) => Some(hint),
                Remedy::OneOf { name, known } => {
                    Some(match keys::nearest_of(&name, known.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("there are: {}", known.join(", ")),
                    })
                }
            };
            self.findings.push(At { span, ..written.clone() }.error(mistake.message).hint_if(hint));
        }
        None
    }

    fn rule_issuers(&mut self, written: &At<Vec<At<String>>>, route: &RulesOf<'_>) -> Option<Vec<Arc<str>>> {
        let names = route.file.issuers.iter().map(|issuer| &issuer.name).collect::<Vec<_>>();
        let mut good = true;
        for name in &written.value {
            match self.resolve("issuer", name, &names) {
                Some(index) if route.issuers.is_some_and(|taken| !taken.contains(&index)) => {
                    let place = route.written.issuers.as_ref().map(|list| self.source.place(list.span));
                    let message = format!("the route takes no tokens of {}, so this never holds for it", name.shown());
                    let hint = place.map(|place| format!("the route's `issuers` are at {place}"));
                    self.findings.push(name.error(message).hint_if(hint));
                    good = false;
                }
                found => good &= found.is_some(),
            }
        }
        good.then(|| texts(written))
    }

    fn claim_test(&mut self, written: &WrittenTest, route: &RulesOf<'_>) -> Option<ClaimTest> {
        match written {
            WrittenTest::Present(present) => Some(ClaimTest::Present(*present)),
            WrittenTest::Matches(pattern) => match Pattern::parse(&pattern.value) {
                Ok(read) => Some(ClaimTest::Matches(read)),
                Err(words) => self.fail(pattern.error_about(&format!("not a regular expression: {words}"))),
            },
            WrittenTest::OneOf(values) => {
                let paths = route.paths?;
                let texts = values.iter().map(|value| match RequestText::parse(&value.value, paths) {
                    Ok(text) if value.foreign => Some(text.hidden()),
                    Ok(text) => Some(text),
                    Err(words) => self.fail(value.error_about(&words)),
                });
                let texts = texts.collect::<Vec<_>>();
                texts.into_iter().collect::<Option<Vec<_>>>().map(ClaimTest::OneOf)
            }
        }
    }

    pub(super) fn scopes(&mut self, written: &At<Vec<At<String>>>) -> Option<Vec<Arc<str>>> {
        let mut good = true;
        for scope in &written.value {
            // RFC 6749, section 3.3: scope-token.
            let is_token = |byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~');
            if !scope.value.bytes().all(is_token) {
                good = false;
                let finding = scope.error(format!("{} is not a scope", scope.shown()));
                let hint =
                    scope.value.contains([' ', ',']).then(|| "write each scope as an item of its own".to_owned());
                self.findings.push(finding.hint_if(hint));
            }
        }
        good.then(|| texts(written))
    }
}

fn texts(list: &At<Vec<At<String>>>) -> Vec<Arc<str>> {
    list.value.iter().map(|text| Arc::from(text.value.as_str())).collect()
}
