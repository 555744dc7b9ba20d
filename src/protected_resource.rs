//! Protected resource metadata (RFC 9728): what `routes.*.protected_resource` says.

/// What is told to clients about a route's API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProtectedResource {
    /// The API's identifier (RFC 9728, section 1.2): https, or loopback; without a fragment.
    pub resource: String,
    /// The scopes that its tokens may have; empty: not told.
    pub scopes_supported: Vec<String>,
}
