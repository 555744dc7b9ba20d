//! Rate limits: what `routes.*.rate_limit` says.

use std::time::Duration;

use crate::token::claims::ClaimPath;

/// A limit on a route's requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// How many go on in the long run.
    pub rate: Rate,
    /// How many at once, after a rest.
    pub burst: u32,
    /// What is counted together.
    pub per: LimitKey,
}

/// Requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// At least one.
    pub requests: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// The client that the token was given to.
    Client,
    /// Whom the token speaks for.
    Subject,
    /// The value of a claim; where it is absent, the address.
    Claim(ClaimPath),
    /// The client's address, an IPv6 one by its /64. Counted before the credential is looked at.
    Ip,
    /// All of the route. Counted before the credential is looked at.
    Route,
}
