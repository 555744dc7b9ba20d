//! Rules that let nobody in whom another rule of the route doesn't.

use std::sync::Arc;

use super::{Analysis, PathOf};
use crate::{
    config::{diagnostic::Finding, file::Allow},
    method::MethodSet,
    policy::{Access, Condition, Rule},
};

/// Rules of a route that are compared.
const MOST_RULES: usize = 100;

pub(super) fn warnings(analysis: &Analysis<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut last = None;
    for path in analysis.paths() {
        // Once a route, by its first path.
        if last.replace(path.index) != Some(path.index) {
            found.extend(redundant(analysis, &path));
        }
    }
    found
}

fn redundant(analysis: &Analysis<'_>, path: &PathOf<'_>) -> Vec<Finding> {
    let written = analysis.file.routes.get(path.index).and_then(|route| route.allow.as_ref());
    let (Access::Rules(rules), Some(Allow::Rules(places))) = (&path.route.allow, written) else { return Vec::new() };
    let mut found = Vec::new();
    for (index, (rule, place)) in rules.iter().zip(places).enumerate().take(MOST_RULES) {
        let wider = rules.iter().enumerate().take(MOST_RULES).find(|(other, wider)| {
            // Of two that are the same, the second is one too many.
            *other != index
                && covers(wider, rule, &path.route.methods)
                && (*other < index || !covers(rule, wider, &path.route.methods))
        });
        let Some(other) = wider.and_then(|(other, _)| places.get(other)) else { continue };
        let taken = rule.methods.intersection(&path.route.methods);
        let Some(request) = analysis.request_to(path, Some(&taken)) else { continue };
        let message = format!(
            "this rule changes nothing: whom it lets in to {request}, the rule at {} lets in, too",
            analysis.source.place(other.at.span)
        );
        found.push(
            place.at.warning(message).hint("one rule that holds is enough: leave it out, or ask for more in the other"),
        );
    }
    found
}

/// Whether whatever the second lets in, the first does too.
fn covers(wider: &Rule, narrower: &Rule, route: &MethodSet) -> bool {
    let methods = narrower.methods.intersection(route);
    wider.methods.intersection(&methods) == methods
        && wider.conditions.iter().all(|wanted| narrower.conditions.iter().any(|given| follows(wanted, given)))
}

/// Whether the first condition is met wherever the second is.
fn follows(wanted: &Condition, given: &Condition) -> bool {
    let all_in = |few: &[Arc<str>], many: &[Arc<str>]| few.iter().all(|one| many.contains(one));
    match (wanted, given) {
        (Condition::Scopes(wanted), Condition::Scopes(given)) | (Condition::Roles(wanted), Condition::Roles(given)) => {
            all_in(wanted, given)
        }
        (Condition::AnyScope(wanted), Condition::Scopes(given))
        | (Condition::AnyRole(wanted), Condition::Roles(given)) => wanted.iter().any(|one| given.contains(one)),
        (Condition::AnyScope(wanted), Condition::AnyScope(given))
        | (Condition::AnyRole(wanted), Condition::AnyRole(given))
        | (Condition::Issuers(wanted), Condition::Issuers(given))
        | (Condition::Audiences(wanted), Condition::Audiences(given))
        | (Condition::Acr(wanted), Condition::Acr(given)) => all_in(given, wanted),
        (Condition::MaxAge(wanted), Condition::MaxAge(given)) => given <= wanted,
        // Of what isn't known here.
        (Condition::Unknown, _) => false,
        (wanted, given) => wanted == given,
    }
}
