//! What is legal in a policy and probably not meant. Each warning names a request that shows it.
//!
//! One look-up a path finds what surrounds a route, so that ten thousand routes take a second, not a pair each.

mod clear_text;
mod decisions;
mod host_ranks;
mod memory;
mod redundant_rules;
mod request;
mod shared_roles;
mod surroundings;
mod undated;
mod unmet_rules;
mod unprovable;
mod unreachable;

pub(super) use self::request::{Request, request_to};
use super::{
    Policy,
    diagnostic::{Finding, Findings},
    file::ConfigFile,
    reader::At,
    source::Sources,
};
use crate::{
    method::MethodSet,
    policy::Access,
    route::{Destination, Found, PathTemplate, RouteSettings, RouteTable},
};

/// Warnings of one kind: who has more has them for the same reason.
const MOST_OF_A_KIND: usize = 20;

/// Warns of what it finds in a policy that compiled.
pub(super) fn look(policy: &Policy, file: &ConfigFile, source: &Sources, findings: &mut Findings) {
    let Ok(table) = RouteTable::new(&policy.routes) else { return };
    let analysis = Analysis { policy, file, source, table };
    type Kind = fn(&Analysis<'_>) -> Vec<Finding>;
    let kinds: &[Kind] = &[
        surroundings::weaker_inside,
        surroundings::open_below,
        surroundings::hidden_values,
        unreachable::paths,
        unreachable::places_of_notices,
        host_ranks::open_on_a_lower_rank,
        redundant_rules::warnings,
        unmet_rules::warnings,
        shared_roles::warnings,
        clear_text::warnings,
        memory::warnings,
        decisions::nobody_may_ask,
        decisions::one_address,
        decisions::without_effect,
        decisions::nobody_listens,
        undated::logouts,
        unprovable::certificates,
        unprovable::proofs,
    ];
    for warnings in kinds {
        for warning in warnings(&analysis).into_iter().take(MOST_OF_A_KIND) {
            findings.push(warning);
        }
    }
}

struct Analysis<'a> {
    policy: &'a Policy,
    file: &'a ConfigFile,
    source: &'a Sources,
    table: RouteTable,
}

/// One of a route's paths, with where it is written.
struct PathOf<'a> {
    index: usize,
    route: &'a RouteSettings,
    template: &'a PathTemplate,
    written: &'a At<String>,
}

impl<'a> Analysis<'a> {
    /// All paths of all routes, but of those with a value that isn't ours to show.
    fn paths(&self) -> impl Iterator<Item = PathOf<'_>> {
        let routes = self.policy.routes.iter().zip(&self.file.routes).enumerate();
        routes.filter(|(_, (_, written))| request::may_be_shown(written)).flat_map(|(index, (route, written))| {
            let places = route.paths.iter().zip(written.paths.iter().flatten());
            places.map(move |(template, written)| PathOf { index, route, template, written })
        })
    }

    /// The route that takes a request.
    fn taken_by(&self, request: &Request<'_>) -> Option<(usize, &'a RouteSettings)> {
        match self.table.find(request.listener, request.host.as_deref(), &request.path, request.method) {
            Found::Route { index, .. } => Some((index, self.policy.routes.get(index)?)),
            _ => None,
        }
    }

    /// A request that comes to this path and, if given, is of one of these methods.
    fn request_to<'p>(&self, path: &'p PathOf<'p>, methods: Option<&'p MethodSet>) -> Option<Request<'p>> {
        let mut request = path.request("");
        if let Some(method) = methods.and_then(|methods| methods.named().next()) {
            request.method = method;
        }
        let below: &[_] = if path.template.takes_rest() { &["", "/7", "/x/7"] } else { &[""] };
        below.iter().find_map(|below| {
            let request = Request { path: request::sample_path(path.template, below), ..request.clone() };
            self.taken_by(&request).is_some_and(|(index, _)| index == path.index).then_some(request)
        })
    }

    /// A route as a message names it.
    fn named(&self, index: usize) -> String {
        let name = self.file.routes.get(index).and_then(|route| route.name.as_ref());
        name.map_or_else(String::new, At::shown)
    }
}

impl<'a> PathOf<'a> {
    /// A request that this path takes, unless another route is more specific. `below`: what is added to the path.
    fn request(&self, below: &str) -> Request<'a> {
        Request::new(self.route, self.template, below)
    }

    fn warning(&self, message: String) -> Finding {
        self.written.warning(message)
    }
}

/// How much is asked of who comes: more is stricter.
fn strictness(access: &Access) -> u8 {
    match access {
        Access::Public => 0,
        Access::Optional => 1,
        Access::Authenticated => 2,
        Access::Rules(_) => 3,
    }
}

/// What is asked, after "it needs".
fn needed(access: &Access) -> &'static str {
    match access {
        Access::Public => "no token",
        Access::Optional => "no token, but takes a good one",
        Access::Authenticated => "any good token",
        Access::Rules(_) => "a token that its rules let in",
    }
}

/// Whether the gateway answers itself: then there is nothing behind the route to protect.
fn answers_itself(route: &RouteSettings) -> bool {
    matches!(route.destination, Destination::Answer(_))
}
