//! Whom assertions are for (`identity.assertion`), where nobody says it.

use super::Compiler;
use crate::{
    config::file::{ConfigFile, Mode, Route},
    route::{Destination, RouteSettings},
};

impl Compiler<'_> {
    /// A route without one of `upstreams` gives its own name to who verifies. Where that is an upstream's key, too, the
    /// one could present at the other what it was sent.
    pub(super) fn find_shared_audiences(&mut self, file: &ConfigFile, routes: &[Option<RouteSettings>]) {
        for (written, route) in file.routes.iter().zip(routes) {
            let Some(route) = route.as_ref().filter(|route| gives_its_name(written, route, file)) else { continue };
            let Some(name) = &written.name else { continue };
            let Some(upstream) = file.upstreams.iter().find(|upstream| *upstream.name.value == *route.name) else {
                continue;
            };
            let message = format!(
                "the assertions of route {} have the `aud` of the upstream at {}: they would be good there as well",
                name.shown(),
                self.source.place(upstream.name.span)
            );
            let hint = "give the route another name, or an audience of its own: `identity: {assertion: {audience: …}}`";
            self.findings.push(name.error(message).hint(hint));
        }
    }
}

/// Whether assertions are signed for it, and have its name as their audience.
fn gives_its_name(written: &Route, route: &RouteSettings, file: &ConfigFile) -> bool {
    let has_no_key = match route.destination {
        Destination::Upstream(index) => index >= file.upstreams.len(),
        Destination::Answer(_) => written.listeners_in(file).any(|listener| listener.mode != Mode::Proxy),
        Destination::Decision => true,
    };
    has_no_key && route.identity.assertion.as_ref().is_some_and(|plan| plan.audience.is_none())
}
