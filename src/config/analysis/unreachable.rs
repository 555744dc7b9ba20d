//! Paths to which no request comes.

use super::{Analysis, Request, request::sample_path};
use crate::config::{diagnostic::Finding, reader::At};

/// `/a/**` beside `/a` and `/a/{x}/**`: all that it would take is taken by more specific paths.
pub(super) fn paths(analysis: &Analysis<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for path in analysis.paths().filter(|path| path.template.takes_rest()) {
        let mut takers = Vec::new();
        for below in ["/7", "", "/7/7"] {
            let request = Request { path: sample_path(path.template, below), ..path.request("") };
            let places = analysis.table.fitting(request.listener, request.host.as_deref(), &request.path, 1);
            let routes = places.into_iter().flatten().map(|(index, _)| index).collect::<Vec<_>>();
            if !routes.contains(&path.index) {
                takers.push((request, routes));
            }
        }
        let [(request, routes), _, _] = &*takers else { continue };
        let named = routes.first().and_then(|index| analysis.file.routes.get(*index)?.name.as_ref());
        let message = format!(
            "no request comes to this path: {request} goes to route {}, which is more specific",
            named.map_or_else(String::new, At::shown)
        );
        found.push(path.warning(message).hint("leave it out, or one of the paths below it"));
    }
    found
}
