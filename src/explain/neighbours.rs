//! Routes that nearly fit a request, and why each isn't the one.

use std::cmp::Reverse;

use super::{hosts, methods};
use crate::{
    rehearsal::{Answer, Question},
    route::{PathTemplate, RouteSettings, Segment},
    snapshot::Snapshot,
};

/// More would hide what matters.
const MOST: usize = 5;

/// The nearest first.
pub(super) fn of(snapshot: &Snapshot, question: &Question, answer: &Answer) -> Vec<(String, String)> {
    let Some(path) = &answer.path else { return Vec::new() };
    let (path, host) = (path.as_str(), question.host());
    let ask = Asked {
        path,
        host: host.as_deref(),
        question,
        snapshot,
        chosen: answer.route(snapshot).map(|route| &route.settings),
    };
    let others = snapshot.routes.iter().enumerate().filter(|(index, _)| answer.decision.route != Some(*index));
    let mut found =
        others.filter_map(|(_, route)| Some((ask.miss(&route.settings)?, &route.settings))).collect::<Vec<_>>();
    found.sort_by_key(|(miss, _)| miss.rank());
    let found = found.into_iter().take(MOST);
    found.map(|(miss, route)| (route.name.to_string(), miss.words(route, snapshot))).collect()
}

struct Asked<'a> {
    path: &'a str,
    host: Option<&'a str>,
    question: &'a Question,
    snapshot: &'a Snapshot,
    /// The route that was found.
    chosen: Option<&'a RouteSettings>,
}

/// What is between a route and a request.
#[derive(Debug, PartialEq, Eq)]
enum Miss {
    /// It takes other methods.
    Method,
    /// It is bound to other listeners.
    Listener,
    /// It is for other hosts.
    Host,
    /// It would take the request if there were no other: the path of it that fits.
    LessSpecific(String),
    /// No route has the path, and this one's is alike: so many segments, from the left.
    Path(usize),
}

impl Asked<'_> {
    fn miss(&self, route: &RouteSettings) -> Option<Miss> {
        let Some(template) = route.paths.iter().find(|template| template.params_in(self.path).is_some()) else {
            return self.is_alike(route);
        };
        let is_on = route.listeners.as_ref().is_none_or(|own| own.contains(&self.question.comes_in_at(self.snapshot)));
        let is_for =
            route.hosts.is_empty() || self.host.is_some_and(|host| route.hosts.iter().any(|own| own.fits(host)));
        match (is_on, is_for, route.methods.contains(self.question.method())) {
            (true, true, true) => Some(Miss::LessSpecific(template.to_string())),
            (true, true, false) => Some(Miss::Method),
            (false, true, _) => Some(Miss::Listener),
            (true, false, _) => Some(Miss::Host),
            (false, false, _) => None,
        }
    }

    fn is_alike(&self, route: &RouteSettings) -> Option<Miss> {
        if self.chosen.is_some() || self.snapshot.routes.len() > 10_000 {
            return None;
        }
        let likeness = route.paths.iter().map(|template| likeness(template, self.path)).max()?;
        (likeness > 0).then_some(Miss::Path(likeness))
    }
}

/// How many segments fit from the left, one that is nearly so included.
fn likeness(template: &PathTemplate, path: &str) -> usize {
    let asked = path.split('/').skip(1);
    let fits = |(segment, asked): &(&Segment, &str)| match segment {
        Segment::Literal(literal) => strsim::damerau_levenshtein(literal, asked) <= 2.min(literal.len() / 3),
        Segment::Param(_) => !asked.is_empty(),
    };
    let fitting = template.segments().iter().zip(asked).take_while(fits).collect::<Vec<_>>();
    if fitting.iter().any(|(segment, _)| matches!(segment, Segment::Literal(_))) { fitting.len() } else { 0 }
}

impl Miss {
    fn rank(&self) -> (u8, Reverse<usize>) {
        match self {
            Miss::Method => (0, Reverse(0)),
            Miss::Listener => (1, Reverse(0)),
            Miss::Host => (2, Reverse(0)),
            Miss::LessSpecific(template) => (3, Reverse(template.len())),
            Miss::Path(likeness) => (4, Reverse(*likeness)),
        }
    }

    fn words(&self, route: &RouteSettings, snapshot: &Snapshot) -> String {
        match self {
            Miss::Method => format!("takes {} alone", methods(&route.methods)),
            Miss::Listener => {
                let names = route.listeners.iter().flatten().filter_map(|listener| snapshot.listeners.get(*listener));
                let names = names.map(ToString::to_string).collect::<Vec<_>>();
                format!("is bound to listener {}", crate::policy::listed(&names, "and"))
            }
            Miss::Host => format!("is for {}", hosts(route).unwrap_or_else(|| "any host".to_owned())),
            Miss::LessSpecific(template) => match hosts(route) {
                Some(hosts) => format!("is less specific: {template} on {hosts}"),
                None => format!("is less specific: {template} on any host"),
            },
            Miss::Path(_) => {
                let paths = route.paths.iter().map(ToString::to_string).collect::<Vec<_>>();
                format!("has another path: {}", crate::policy::listed(&paths, "or"))
            }
        }
    }
}
