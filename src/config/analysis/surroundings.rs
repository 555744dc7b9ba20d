//! Routes and what is around them: the less specific paths that would take their requests.

use std::collections::HashMap;

use super::{
    Analysis, PathOf, answers_itself, needed,
    request::{SAMPLE, may_be_shown},
    strictness,
};
use crate::{
    config::diagnostic::Finding,
    policy::Access,
    route::{PathTemplate, Segment},
};

/// Paths around one that are looked at.
const MOST_AROUND: usize = 8;
/// Literals beside a parameter that are looked at.
const MOST_BESIDE: usize = 8;

/// A route that asks for less than what is around it. The catch-all `/**` is no surrounding: everything is in it.
pub(super) fn weaker_inside(analysis: &Analysis<'_>) -> Vec<Finding> {
    let weak = |path: &PathOf<'_>| strictness(&path.route.allow) < 3 && !answers_itself(path.route);
    analysis.paths().filter(weak).filter_map(|path| weaker_than_around(analysis, &path)).collect()
}

fn weaker_than_around(analysis: &Analysis<'_>, path: &PathOf<'_>) -> Option<Finding> {
    let request = path.request("");
    let (taken, _) = analysis.taken_by(&request)?;
    let around = analysis.table.fitting(request.listener, request.host.as_deref(), &request.path, MOST_AROUND);
    let (index, template) = around.into_iter().skip(1).find_map(|leaf| {
        leaf.into_iter().find(|(index, _)| {
            analysis.policy.routes.get(*index).is_some_and(|route| route.methods.contains(request.method))
        })
    })?;
    let outer = analysis.policy.routes.get(index)?;
    let outer_path = outer.paths.get(template)?;
    let is_shown = analysis.file.routes.get(index).is_some_and(may_be_shown);
    let is_catch_all = outer_path.segments().is_empty();
    if taken != path.index || !is_shown || is_catch_all || strictness(&path.route.allow) >= strictness(&outer.allow) {
        return None;
    }
    let message = format!(
        "{request} needs {}, while `{outer_path}` around it (route {}) needs {}",
        needed(&path.route.allow),
        analysis.named(index),
        needed(&outer.allow)
    );
    Some(path.warning(message).hint(
        "the most specific path decides alone: give it the rules of what is around it, if it isn't meant to be weaker",
    ))
}

/// A protected path below which everybody is let in, by a public route around it.
pub(super) fn open_below(analysis: &Analysis<'_>) -> Vec<Finding> {
    let is_protected = |path: &PathOf<'_>| {
        strictness(&path.route.allow) > 1 && !path.template.takes_rest() && !path.template.segments().is_empty()
    };
    let open = analysis.paths().filter(is_protected).filter_map(|path| {
        let below = path.request("/x");
        let (index, route) = analysis.taken_by(&below)?;
        if !matches!(route.allow, Access::Public) || answers_itself(route) {
            return None;
        }
        let message = format!(
            "{below} is open to everybody by route {}, and `{}` needs {}",
            analysis.named(index),
            path.template,
            needed(&path.route.allow)
        );
        Some(path.warning(message).hint("end this path with `/**` to protect what is below it, too"))
    });
    open.collect()
}

/// A value of a protected route's parameter for which a weaker route is more specific: `/a/{x}/c` beside `/a/b/**`.
pub(super) fn hidden_values(analysis: &Analysis<'_>) -> Vec<Finding> {
    let mut literals = HashMap::<String, Vec<&str>>::new();
    for path in analysis.paths() {
        for (place, segment) in path.template.segments().iter().enumerate() {
            if let Segment::Literal(literal) = segment {
                let beside = literals.entry(shape(path.template, place)).or_default();
                if beside.len() < MOST_BESIDE && !beside.contains(&literal.as_str()) {
                    beside.push(literal);
                }
            }
        }
    }
    let mut found = Vec::new();
    for path in analysis.paths().filter(|path| strictness(&path.route.allow) > 1) {
        let last = path.template.segments().len().saturating_sub(1);
        let params = path.template.segments().iter().enumerate();
        let params = params.filter(|(place, segment)| *place < last && matches!(segment, Segment::Param(_)));
        for (place, _) in params {
            let beside = literals.get(&shape(path.template, place)).into_iter().flatten();
            found.extend(beside.filter_map(|literal| hidden_value(analysis, &path, place, literal)).next());
        }
    }
    found
}

fn hidden_value(analysis: &Analysis<'_>, path: &PathOf<'_>, place: usize, literal: &str) -> Option<Finding> {
    let mut request = path.request("");
    let values = path.template.segments().iter().enumerate().map(|(at, segment)| match segment {
        Segment::Param(_) if at == place => literal,
        Segment::Param(_) => SAMPLE,
        Segment::Literal(own) => own,
    });
    request.path = values.flat_map(|value| ["/", value]).collect();
    let (index, route) = analysis.taken_by(&request)?;
    if index == path.index || strictness(&route.allow) >= strictness(&path.route.allow) || answers_itself(route) {
        return None;
    }
    let message = format!(
        "{request} doesn't come to this path: it goes to route {}, which needs {}",
        analysis.named(index),
        needed(&route.allow)
    );
    Some(path.warning(message).hint("a literal segment beats a parameter, from the left"))
}

/// The segments before a place, whatever the parameters are called.
fn shape(template: &PathTemplate, place: usize) -> String {
    let mut shape = String::new();
    for segment in template.segments().iter().take(place) {
        shape.push('/');
        shape.push_str(if let Segment::Literal(literal) = segment { literal } else { "{}" });
    }
    shape
}
