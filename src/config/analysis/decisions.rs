//! Listeners that only decide: whom they listen to, and what a route asks for that only who forwards can do.

use super::Analysis;
use crate::{
    config::{
        diagnostic::Finding,
        file::{Listener, Route},
    },
    limit::LimitKey,
    route::{Destination, RouteSettings},
    server::{ListenMode, ListenSettings},
};

/// Listeners off loopback that everybody would be refused at.
pub(super) fn nobody_may_ask(analysis: &Analysis<'_>) -> Vec<Finding> {
    if !analysis.file.server.trusted_proxies.is_empty() {
        return Vec::new();
    }
    let off_loopback = deciding(analysis).filter(|(_, listener, written)| {
        listener.address.socket().is_some_and(|address| !address.ip().is_loopback()) && !written.address.foreign
    });
    let warning = |(_, _, written): (usize, &ListenSettings, &Listener)| {
        let message = "whoever asks for a decision here from another machine is refused: no proxy is trusted";
        written.address.warning(message).hint("name the proxy in `server.trusted_proxies`")
    };
    off_loopback.map(warning).collect()
}

/// Limits by address where all requests come from one.
pub(super) fn one_address(analysis: &Analysis<'_>) -> Vec<Finding> {
    if !analysis.file.server.trusted_proxies.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (route, written) in routes(analysis) {
        let per = written.rate_limits.iter().zip(&route.rate_limits).find(|(_, limit)| limit.per == LimitKey::Ip);
        let Some(at) = per.and_then(|(written, _)| written.per.as_ref()) else { continue };
        let is_asked = |index: usize, listener: &ListenSettings| {
            takes(route, index) && matches!(listener.mode, ListenMode::ForwardAuth(_))
        };
        if let Some((_, _, listener)) =
            deciding(analysis).find(|(index, listener, _)| is_asked(*index, listener)).filter(|_| !at.foreign)
        {
            let place = analysis.source.place(listener.address.span);
            let message = format!("at the listener at {place}, all requests come from the proxy's address");
            found.push(
                at.warning(message).hint("name the proxy in `server.trusted_proxies`: then X-Forwarded-For tells"),
            );
        }
    }
    found
}

/// Keys that say what is done with an answer, on routes of which no listener ever has one.
pub(super) fn without_effect(analysis: &Analysis<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (route, written) in routes(analysis) {
        let modes = || {
            let listeners = analysis.policy.listen.iter().enumerate();
            listeners.filter(|(index, _)| takes(route, *index)).map(|(_, listener)| listener.mode)
        };
        if modes().all(|mode| mode != ListenMode::Proxy)
            && let Some(at) = &written.revokes
        {
            let message = "no listener of this route sees the answer to a logout: no token is ended by it";
            found.push(at.warning(message).hint("bind the route to a listener with `mode: proxy`"));
        }
        if modes().all(|mode| matches!(mode, ListenMode::ForwardAuth(_)))
            && let Destination::Answer(answer) = &route.destination
            && answer.fixed_status().is_some_and(|status| status.is_success())
            && let Some(respond) = &written.respond
        {
            let message =
                "where only decisions are given, this answer would let the request through: it is refused with 404";
            found.push(
                respond
                    .at
                    .warning(message)
                    .hint("leave `respond` out to let it through, or give a status that is no 2xx"),
            );
        }
    }
    found
}

/// Issuers that are to tell of sessions, where nobody listens.
pub(super) fn nobody_listens(analysis: &Analysis<'_>) -> Vec<Finding> {
    if analysis.policy.listen.iter().any(|listener| listener.mode == ListenMode::Proxy) {
        return Vec::new();
    }
    let telling = analysis.file.issuers.iter().filter(|issuer| issuer.logout.is_wanted());
    telling
        .map(|issuer| {
            let message = "no listener takes what this issuer tells of its sessions: no token is ended by it";
            issuer.name.warning(message).hint("add a listener with `mode: proxy`")
        })
        .collect()
}

/// The listeners that only decide, by their index.
fn deciding<'a>(analysis: &'a Analysis<'_>) -> impl Iterator<Item = (usize, &'a ListenSettings, &'a Listener)> {
    let listeners = analysis.policy.listen.iter().zip(analysis.file.listen.iter().flatten()).enumerate();
    let listeners = listeners.map(|(index, (listener, written))| (index, listener, written));
    listeners.filter(|(_, listener, _)| listener.mode != ListenMode::Proxy)
}

fn routes<'a>(analysis: &'a Analysis<'_>) -> impl Iterator<Item = (&'a RouteSettings, &'a Route)> {
    analysis.policy.routes.iter().zip(&analysis.file.routes)
}

fn takes(route: &RouteSettings, listener: usize) -> bool {
    route.listeners.as_ref().is_none_or(|own| own.contains(&listener))
}
