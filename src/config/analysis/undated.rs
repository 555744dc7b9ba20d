//! Issuers that tell of logouts (`issuers.*.logout`) and may not say when a token was issued.

use super::Analysis;
use crate::config::diagnostic::Finding;

/// Where a token has no `iat`, a logout of its user ends the later ones as well.
pub(super) fn logouts(analysis: &Analysis<'_>) -> Vec<Finding> {
    let telling = analysis.file.issuers.iter().filter(|issuer| issuer.logout.is_wanted());
    let warnings = telling.filter_map(|issuer| {
        let message = if issuer.userinfo.is_some() {
            "`userinfo` doesn't say when a token was issued: a logout refuses the user's later tokens, too, for a month"
        } else if issuer.introspection.is_some() {
            "where introspection answers have no `iat`, a logout refuses the user's later tokens, too, for a month"
        } else {
            return None;
        };
        Some(issuer.name.warning(message).hint(
            "what a logout refuses can be lifted at the admin listener: see docs/revocation.md; or leave `logout` out",
        ))
    });
    warnings.collect()
}
