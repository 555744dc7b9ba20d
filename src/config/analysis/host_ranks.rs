//! Requests for a host that has routes of its own, which fall to a public route of any host.

use super::{
    Analysis, Request, answers_itself,
    request::{may_be_shown, sample_host, sample_path},
    strictness,
};
use crate::{config::diagnostic::Finding, policy::Access, route::HostPattern};

/// Hosts that are looked at.
const MOST_HOSTS: usize = 50;

/// Public routes of any host that take whatever is below their path, also for hosts with protected routes.
pub(super) fn open_on_a_lower_rank(analysis: &Analysis<'_>) -> Vec<Finding> {
    let mut hosts = Vec::<&HostPattern>::new();
    for (route, written) in analysis.policy.routes.iter().zip(&analysis.file.routes) {
        let is_shown = may_be_shown(written);
        for host in route.hosts.iter().filter(|_| is_shown && strictness(&route.allow) > 1) {
            if hosts.len() < MOST_HOSTS && !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    let open = analysis.paths().filter(|path| {
        let route = path.route;
        matches!(route.allow, Access::Public)
            && route.hosts.is_empty()
            && path.template.takes_rest()
            && !answers_itself(route)
    });
    let found = open.filter_map(|path| {
        let request = hosts.iter().find_map(|host| {
            let path_below = sample_path(path.template, "/x");
            let request = Request { host: Some(sample_host(host)), path: path_below, ..path.request("") };
            analysis.taken_by(&request).is_some_and(|(index, _)| index == path.index).then_some(request)
        })?;
        let message = format!("{request} is open to everybody: no route of its host fits, so this one takes it");
        Some(
            path.warning(message)
                .hint("give this route `hosts`, or that host a route that takes the rest of its paths"),
        )
    });
    found.collect()
}
