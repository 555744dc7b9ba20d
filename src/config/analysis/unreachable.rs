//! Paths to which no request comes.

use std::collections::HashMap;

use super::{Analysis, Request, request::sample_path};
use crate::{
    config::{diagnostic::Finding, reader::At},
    server::ListenMode,
    token::notice::Channel,
};

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

/// The places where issuers tell of their sessions: no route is asked about what comes there.
pub(super) fn places_of_notices(analysis: &Analysis<'_>) -> Vec<Finding> {
    let telling = analysis.file.issuers.iter().flat_map(|issuer| {
        let channels = Channel::of(issuer.logout);
        channels.map(move |channel| (channel.place(&issuer.name.value), (channel, issuer)))
    });
    let places: HashMap<String, _> = telling.collect();
    if places.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for path in analysis.paths().filter(|path| !path.template.takes_rest()) {
        let Some((channel, issuer)) = places.get(&path.template.to_string()) else { continue };
        let listeners = analysis.policy.listen.iter().enumerate();
        // Where only decisions are given, nobody tells.
        if !listeners.filter(|(index, _)| path.route.is_at(*index)).all(|(_, listen)| listen.mode == ListenMode::Proxy)
        {
            continue;
        }
        let key = match channel {
            Channel::BackChannel => "logout.back_channel",
            Channel::Events => "logout.events",
        };
        let message = format!(
            "no request comes to this path: {} goes to the place where issuer {} tells of its sessions (`{key}`)",
            path.request(""),
            issuer.name.shown()
        );
        found.push(path.warning(message).hint(format!("leave it out, or `{key}` of that issuer")));
    }
    found
}
