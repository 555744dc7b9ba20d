//! Identity headers: what a client may not send is removed, what a permit says is written.

use std::sync::Arc;

use hyper::{HeaderMap, header::{HeaderName, HeaderValue}};

use crate::token::{claims::ClaimPath, principal::Principal};

/// What an authorised request carries on to its upstream.
#[derive(Clone, Debug)]
pub struct IdentityPlan {
    /// Header and what it says.
    pub headers: Vec<(HeaderName, IdentitySource)>,
    /// Whether the token goes on as `Authorization: Bearer`.
    pub forward_authorization: bool,
}

/// What an identity header says.
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// `sub`, or what the issuer has in its place.
    Subject,
    /// The client's id.
    Client,
    /// Joined by spaces.
    Scopes,
    /// Joined by commas.
    Roles,
    /// The issuer's key in the configuration.
    Issuer,
    /// A claim; JSON for objects; absent: no header.
    Claim(ClaimPath),
    /// A literal.
    Literal(HeaderValue),
}

/// The names that no client may send, under any alias: compared in lower case, letters and digits alone.
#[derive(Clone, Debug)]
pub struct ReservedNames {}

impl ReservedNames {
    /// The default identity headers and these.
    pub fn new<'n>(_configured: impl IntoIterator<Item = &'n HeaderName>) -> ReservedNames {
        todo!()
    }

    /// Removes every field whose name equals a reserved one, alias or not. With `trusted_peer`, forwarding fields
    /// (`X-Forwarded-*`, `Forwarded`, `X-Real-IP`) under their own names stay.
    pub fn strip(&self, _headers: &mut HeaderMap, _trusted_peer: bool) {
        todo!()
    }
}

impl IdentityPlan {
    /// The default: the five headers, and the token forwarded.
    pub fn standard() -> IdentityPlan {
        todo!()
    }

    /// Writes the identity headers of this principal. Values are escaped: nothing in a token can add a header.
    pub fn write(&self, _principal: &Principal, _headers: &mut HeaderMap) {
        todo!()
    }
}

#[allow(dead_code)]
type Shared = Arc<IdentityPlan>;
