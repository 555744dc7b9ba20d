//! The configuration: text -> tree -> what was written -> a policy that is ready to run.

mod diagnostic;
mod interpolation;
mod redact;
mod units;
mod yaml;

use std::{net::SocketAddr, sync::Arc};

use crate::{
    identity::IdentityPlan,
    observe::LoggingSettings,
    route::RouteSettings,
    server::{ListenSettings, ServerSettings},
    token::issuer::IssuerSettings,
    upstream::UpstreamSettings,
};

/// A whole configuration, compiled: nothing in it needs looking up or parsing again.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Never empty.
    pub listen: Vec<ListenSettings>,
    /// None: `admin: off`.
    pub admin: Option<SocketAddr>,
    /// Limits and timeouts.
    pub server: ServerSettings,
    /// In the file's order.
    pub issuers: Vec<IssuerSettings>,
    /// Named ones in the file's order, then those that routes have in place.
    pub upstreams: Vec<UpstreamSettings>,
    /// In the file's order.
    pub routes: Vec<RouteSettings>,
    /// `identity:`, for the names that it reserves even where no route uses it.
    pub identity: IdentityPlan,
    /// `errors.realm`
    pub realm: Arc<str>,
    /// `logging:`
    pub logging: LoggingSettings,
}
