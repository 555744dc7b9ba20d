//! Protected resource metadata (RFC 9728): what `routes.*.protected_resource` says.

use serde_json::{Map, Value, json};

use crate::{
    path::CanonicalPath,
    token::{
        issuer::{IssuerSettings, SenderConstraint},
        place::{TokenPlace, TokenPlaces},
        proof::algorithm_names,
    },
    well_known::without_slash,
};

/// Where metadata begins; a resource's own path follows (RFC 9728, section 3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What is told to clients about a route's API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProtectedResource {
    /// The API's identifier (RFC 9728, section 1.2): https, or loopback; without a fragment.
    pub resource: String,
    /// The scopes that its tokens may have; empty: not told.
    pub scopes_supported: Vec<String>,
    /// Of the identifier; lower-case, without port and final dot.
    host: String,
    /// Where the document is: a canonical path, without a slash at its end.
    place: String,
    /// The same as a URL, for challenges.
    metadata: String,
}

impl ProtectedResource {
    /// An API with this identifier, an absolute http or https URL.
    ///
    /// # Errors
    /// What is wrong with it, in words for the configuration's author that hold nothing of it.
    pub fn new(resource: &str, scopes_supported: Vec<String>) -> Result<ProtectedResource, &'static str> {
        const FORM: &str = "a resource's identifier is an https URL (RFC 9728, section 1.2)";
        let stands_for_itself = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if !resource.bytes().all(stands_for_itself) {
            return Err("a resource's identifier goes into a header: percent-encode what isn't plain in a URL");
        }
        let (scheme, rest) = resource.split_once("://").ok_or(FORM)?;
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = path_and_query.split_at(path_and_query.find('?').unwrap_or(path_and_query.len()));
        // Section 3.1: a slash that ends the host is no path.
        let path = if path == "/" { "" } else { path };
        let canonical = CanonicalPath::parse(&format!("{WELL_KNOWN}{path}")).map_err(|refusal| refusal.detail())?;
        if !canonical.as_str().starts_with(WELL_KNOWN) || !canonical.readings().is_empty() {
            return Err("the path of this identifier can't be asked for: servers would read it in more than one way");
        }
        Ok(ProtectedResource {
            host: host(authority).ok_or(FORM)?,
            place: without_slash(canonical.as_str()).to_owned(),
            metadata: format!("{scheme}://{authority}{WELL_KNOWN}{path}{query}"),
            resource: resource.to_owned(),
            scopes_supported,
        })
    }

    /// The host of the identifier: lower-case, without port and final dot.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The canonical path at which the document is, without a slash at its end.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The document's URL, for the parameter `resource_metadata` of challenges (RFC 9728, section 5.1).
    pub fn metadata_url(&self) -> &str {
        &self.metadata
    }

    /// The document (RFC 9728, section 2) for a route that takes tokens of these issuers at these places.
    pub fn document<'i>(
        &self,
        issuers: impl Iterator<Item = &'i IssuerSettings> + Clone,
        token_from: &TokenPlaces,
    ) -> Value {
        let demand = |constraint| issuers.clone().filter(move |issuer| issuer.sender.constraint == Some(constraint));
        let mut document = Map::new();
        let mut tell = |name: &str, value: Value| document.insert(name.to_owned(), value);
        tell("resource", json!(self.resource));
        let servers = issuers.clone().filter_map(|issuer| issuer.issuer.as_deref()).collect::<Vec<_>>();
        if !servers.is_empty() {
            tell("authorization_servers", json!(servers));
        }
        if !self.scopes_supported.is_empty() {
            tell("scopes_supported", json!(self.scopes_supported));
        }
        tell("bearer_methods_supported", token_from.iter().filter_map(bearer_method).collect());
        if demand(SenderConstraint::Mtls).next().is_some() {
            tell("tls_client_certificate_bound_access_tokens", json!(true));
        }
        // Where one issuer's tokens do without a proof, not every client needs one.
        if issuers.clone().next().is_some() && demand(SenderConstraint::Dpop).count() == issuers.clone().count() {
            tell("dpop_bound_access_tokens_required", json!(true));
        }
        let takes_proofs = token_from.iter().any(|place| *place == TokenPlace::Authorization);
        if takes_proofs && issuers.clone().any(|issuer| issuer.sender.dpop_offered) {
            tell("dpop_signing_alg_values_supported", json!(algorithm_names(issuers)));
        }
        Value::Object(document)
    }
}

/// RFC 6750, sections 2.1 and 2.3. A cookie and a header of another name are no method of it.
fn bearer_method(place: &TokenPlace) -> Option<&'static str> {
    match place {
        TokenPlace::Authorization => Some("header"),
        TokenPlace::Query(name) if name == "access_token" => Some("query"),
        TokenPlace::Query(_) | TokenPlace::Cookie(_) | TokenPlace::Header(_) => None,
    }
}

fn host(authority: &str) -> Option<String> {
    let end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let host = authority.get(..end)?.trim_end_matches('.');
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn where_metadata_is() {
        for (resource, host, place, url) in [
            ("https://api.example", "api.example", "", "https://api.example{}"),
            ("https://api.example/", "api.example", "", "https://api.example{}"),
            ("https://api.example/rest", "api.example", "/rest", "https://api.example{}/rest"),
            ("https://api.example/rest/", "api.example", "/rest", "https://api.example{}/rest/"),
            ("https://API.Example.:8443/a/b", "api.example", "/a/b", "https://API.Example.:8443{}/a/b"),
            ("https://api.example?tenant=1", "api.example", "", "https://api.example{}?tenant=1"),
            ("https://api.example/x?y", "api.example", "/x", "https://api.example{}/x?y"),
            ("http://[::1]:8080/mcp", "[::1]", "/mcp", "http://[::1]:8080{}/mcp"),
            ("https://api.example/%7Ea", "api.example", "/~a", "https://api.example{}/%7Ea"),
        ] {
            let made = ProtectedResource::new(resource, Vec::new()).unwrap();
            assert_eq!(made.host(), host, "{resource}");
            assert_eq!(made.place(), format!("{WELL_KNOWN}{place}"), "{resource}");
            assert_eq!(made.metadata_url(), url.replace("{}", WELL_KNOWN), "{resource}");
        }
    }

    #[test]
    fn what_cannot_be_asked_for_or_named_in_a_header() {
        for resource in [
            "",
            "api.example",
            "https://",
            "https://:80",
            "https://api.example/a\"b",
            "https://api.example/a\\b",
            "https://api.example/a b",
            "https://api.example/é",
            "https://api.example/a\r\nX: y",
            "https://api.example/a%2Fb",
            "https://api.example/a;b",
            "https://api.example/a//b",
            "https://api.example//a",
            "https://api.example/a%2561",
            "https://api.example/../../x",
            "https://api.example/..",
            "https://api.example/a%",
        ] {
            assert!(ProtectedResource::new(resource, Vec::new()).is_err(), "{resource}");
        }
    }
}
