//! Rules that let nobody in, whatever the token, or nobody whose token looks as one would think.

use super::{Analysis, PathOf};
use crate::{
    config::{
        diagnostic::Finding,
        file::{Allow, Rule as WrittenRule},
        reader::At,
    },
    policy::{Access, ClaimTest, Condition, Rule},
    token::claims::ClaimPath,
};

pub(super) fn warnings(analysis: &Analysis<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut last = None;
    for path in analysis.paths() {
        // Once a route, by its first path.
        if last.replace(path.index) != Some(path.index) {
            found.extend(unmet(analysis, &path));
        }
    }
    found
}

fn unmet(analysis: &Analysis<'_>, path: &PathOf<'_>) -> Vec<Finding> {
    let written = analysis.file.routes.get(path.index).and_then(|route| route.allow.as_ref());
    let (Access::Rules(rules), Some(Allow::Rules(places))) = (&path.route.allow, written) else { return Vec::new() };
    let mut found = Vec::new();
    for (rule, place) in rules.iter().zip(places) {
        let taken = rule.methods.intersection(&path.route.methods);
        let Some(request) = analysis.request_to(path, Some(&taken)) else { continue };
        if let Some(why) = contradiction(rule) {
            found.push(place.at.warning(format!("this rule lets nobody in to {request}: {why}")));
        } else if let Some(scope) = scope_with_comma(place) {
            let message =
                format!("this rule doesn't let in {request} with `\"scope\": \"{scope}\"`: a text is split at commas");
            found.push(place.at.warning(message).hint("if several scopes are meant, write each as an item of its own"));
        }
    }
    found
}

/// Two conditions of which one at most holds.
fn contradiction(rule: &Rule) -> Option<String> {
    for (path, test) in rule.conditions.iter().filter_map(claim) {
        let name = path.to_string();
        let asked = |wanted: fn(&Condition) -> bool| rule.conditions.iter().any(wanted);
        let key = match &*name {
            "acr" if asked(|condition| matches!(condition, Condition::Acr(_))) => "`acr`",
            "auth_time" if asked(|condition| matches!(condition, Condition::MaxAge(_))) => "`max_age`",
            "aud" if asked(|condition| matches!(condition, Condition::Audiences(_))) => "`audiences`",
            _ => continue,
        };
        match test {
            ClaimTest::Present(false) => return Some(format!("no token is without `{name}` and meets {key}")),
            ClaimTest::OneOf(texts) if name == "acr" => {
                let classes = rule.conditions.iter().find_map(|condition| match condition {
                    Condition::Acr(classes) => Some(classes),
                    _ => None,
                })?;
                let literals = texts.iter().map(|text| text.literal()).collect::<Option<Vec<_>>>()?;
                if !literals.iter().any(|literal| classes.iter().any(|class| **class == **literal)) {
                    return Some("what `acr` and `claims` ask of the claim have no value in common".to_owned());
                }
            }
            _ => {}
        }
    }
    None
}

fn claim(condition: &Condition) -> Option<(&ClaimPath, &ClaimTest)> {
    match condition {
        Condition::Claim(path, test) => Some((path, test)),
        _ => None,
    }
}

/// A scope that is asked for and is never one where a token's scopes are a text.
fn scope_with_comma(written: &WrittenRule) -> Option<&str> {
    let has_comma = |scope: &&At<String>| scope.value.contains(',') && !scope.foreign;
    let one = written.scopes.as_ref().and_then(|all| all.value.iter().find(has_comma));
    let any = written.any_scope.as_ref().map(|any| &any.value);
    let any = any.filter(|any| any.iter().all(|scope| has_comma(&scope))).and_then(|any| any.first());
    one.or(any).map(|scope| scope.value.as_str())
}
