//! Roles that a client's users have at other clients.

use super::Analysis;
use crate::{
    config::diagnostic::Finding,
    policy::{Access, Condition},
    route::RouteSettings,
};

/// Issuers whose roles are those of all clients (`resource_access.*.roles`), where a route's rules ask for roles.
pub(super) fn warnings(analysis: &Analysis<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, issuer) in analysis.file.issuers.iter().enumerate() {
        let places = issuer.claims.roles.iter().flat_map(|list| &list.value);
        let Some(place) =
            places.filter(|place| !place.foreign).find(|place| place.value.split('.').any(|part| part == "*"))
        else {
            continue;
        };
        let takes = |route: &RouteSettings| route.issuers.contains(&index) && asks_for_roles(&route.allow);
        let mut paths = analysis.paths().filter(|path| takes(path.route));
        let request = paths.find_map(|path| analysis.request_to(&path, None).map(|request| request.to_string()));
        let Some(request) = request else { continue };
        let message = format!(
            "{} unites the roles of all clients: for {request} the role that a user has at any other application counts",
            place.shown(),
        );
        let client = place.value.replacen('*', "<client>", 1);
        let hint = format!("name the client whose roles are meant: `{client}`");
        found.push(place.warning(message).hint(hint));
    }
    found
}

fn asks_for_roles(access: &Access) -> bool {
    let Access::Rules(rules) = access else { return false };
    let mut conditions = rules.iter().flat_map(|rule| &rule.conditions);
    conditions.any(|condition| matches!(condition, Condition::Roles(_) | Condition::AnyRole(_)))
}
