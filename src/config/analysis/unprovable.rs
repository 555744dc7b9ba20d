//! Issuers whose tokens must be bound to their sender where no request can show that it comes from there.

use super::Analysis;
use crate::{
    config::diagnostic::Finding,
    token::{issuer::SenderConstraint, place::TokenPlace},
};

/// `sender_constraint: mtls` without anybody to tell of a certificate.
pub(super) fn certificates(analysis: &Analysis<'_>) -> Vec<Finding> {
    let mut tls = analysis.policy.listen.iter().filter_map(|listen| listen.tls.as_ref());
    let asked_for = tls.any(|tls| tls.clients.is_some());
    if asked_for || !analysis.file.server.trusted_proxies.is_empty() {
        return Vec::new();
    }
    let issuers = analysis.policy.issuers.iter().zip(&analysis.file.issuers);
    let demanding = issuers.filter(|(issuer, _)| issuer.sender.constraint == Some(SenderConstraint::Mtls));
    let warnings = demanding.map(|(_, written)| {
        let message = "`sender_constraint: mtls`, and no client is asked for a certificate: every token is refused";
        written.name.warning(message).hint(
            "give a listener `tls` with `client_ca`, or name the proxy that passes `Client-Cert` on in `server.trusted_proxies`",
        )
    });
    warnings.collect()
}

/// `sender_constraint: dpop` on a route that doesn't look at `Authorization`.
pub(super) fn proofs(analysis: &Analysis<'_>) -> Vec<Finding> {
    let is_demanding = |issuer: &usize| {
        let issuer = analysis.policy.issuers.get(*issuer);
        issuer.is_some_and(|issuer| issuer.sender.constraint == Some(SenderConstraint::Dpop))
    };
    let mut found = Vec::new();
    for path in analysis.paths().filter(|path| path.route.paths.first() == Some(path.template)) {
        let looks = path.route.token_from.iter().any(|place| *place == TokenPlace::Authorization);
        if !looks && !path.route.issuers.is_empty() && path.route.issuers.iter().all(is_demanding) {
            let message = "tokens must come with a DPoP proof here, which only `Authorization` takes: all are refused";
            found.push(path.warning(message.to_owned()).hint("add `header` to `token_from`"));
        }
    }
    found
}
