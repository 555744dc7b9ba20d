//! Tokens that come in over plain HTTP from other machines.

use super::{Analysis, strictness};
use crate::{config::diagnostic::Finding, server::ListenMode};

/// Listeners without TLS off loopback whose routes take tokens, where no trusted proxy is named before which TLS could end.
pub(super) fn warnings(analysis: &Analysis<'_>) -> Vec<Finding> {
    if !analysis.file.server.trusted_proxies.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let listeners = analysis.policy.listen.iter().zip(analysis.file.listen.iter().flatten());
    for (index, (listener, written)) in listeners.enumerate() {
        let is_local = listener.address.socket().is_none_or(|address| address.ip().is_loopback());
        // A listener that only decides is asked by a proxy, and which is said in `trusted_proxies`.
        if is_local || listener.tls.is_some() || listener.mode != ListenMode::Proxy || written.address.foreign {
            continue;
        }
        let mut takes_tokens = analysis.paths().filter(|path| {
            strictness(&path.route.allow) > 0 && path.route.listeners.as_ref().is_none_or(|own| own.contains(&index))
        });
        let request = takes_tokens.find_map(|path| analysis.request_to(&path, None).map(|request| request.to_string()));
        let Some(request) = request else { continue };
        let message = format!("the token of {request} comes in clear text here");
        found.push(written.address.warning(message).hint(
            "if TLS ends before it, name who ends it in `server.trusted_proxies`; else listen on loopback, or with `tls`",
        ));
    }
    found
}
