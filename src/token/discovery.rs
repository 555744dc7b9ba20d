//! An issuer's metadata: OpenID Connect Discovery 1.0, section 4, then RFC 8414, section 3.

use super::json;
use crate::fetch::{self, FetchRules, get_json};

/// Finds out where an issuer has something: `jwks_uri`, `introspection_endpoint`…
///
/// # Errors
/// Neither document is to be had, or names this issuer and such a member; in words for the operator.
pub(in crate::token) async fn find(issuer: &str, member: &str, rules: &FetchRules) -> Result<String, String> {
    let mut problems = Vec::new();
    for url in metadata_urls(issuer)? {
        match read(&url, issuer, member, rules).await {
            Ok(uri) => return Ok(uri),
            Err(problem) => problems.push(problem),
        }
    }
    Err(format!("discovery failed: {}", problems.join("; ")))
}

async fn read(url: &str, issuer: &str, member: &str, rules: &FetchRules) -> Result<String, String> {
    let answer = get_json(url, rules).await.map_err(|error| error.to_string())?;
    let place = fetch::shown(url);
    let metadata = json::parse_object(&answer.body).map_err(|error| format!("{place}: {error}"))?;
    let text = |name: &str| metadata.get(name).and_then(|value| value.as_str());
    if text("issuer") != Some(issuer) {
        return Err(format!("{place}: its `issuer` isn't the one that was asked for"));
    }
    text(member).map(str::to_owned).ok_or_else(|| format!("{place}: it has no `{member}`"))
}

/// Both places, in the order in which they are asked.
fn metadata_urls(issuer: &str) -> Result<[String; 2], String> {
    let not_a_url = || "discovery failed: the issuer isn't an http or https URL without query".to_owned();
    let (scheme, rest) = issuer.split_once("://").ok_or_else(not_a_url)?;
    if !matches!(scheme, "http" | "https") || rest.contains(['?', '#', '@']) {
        return Err(not_a_url());
    }
    let rest = rest.trim_end_matches('/');
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    Ok([
        format!("{scheme}://{rest}/.well-known/openid-configuration"),
        format!("{scheme}://{authority}/.well-known/oauth-authorization-server{path}"),
    ])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn where_metadata_is() {
        for (issuer, expected) in [
            (
                "https://a.example/realms/x",
                [
                    "https://a.example/realms/x/.well-known/openid-configuration",
                    "https://a.example/.well-known/oauth-authorization-server/realms/x",
                ],
            ),
            (
                "https://a.example:8443/",
                [
                    "https://a.example:8443/.well-known/openid-configuration",
                    "https://a.example:8443/.well-known/oauth-authorization-server",
                ],
            ),
        ] {
            assert_eq!(metadata_urls(issuer).unwrap(), expected);
        }
        for issuer in ["", "cern", "file:///etc/passwd", "https://a/?x=", "https://a/#x", "https://u:p@a/"] {
            assert!(metadata_urls(issuer).is_err(), "{issuer}");
        }
    }
}
