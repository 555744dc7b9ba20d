//! Tokens of the gateway's own for an upstream (`upstreams.*.token`): got at a token endpoint, renewed ahead of time by
//! one request at a time, shared by all workers; or, where a caller's token is exchanged, one for each caller.
//!
//! What they are sent to, and what comes of that, is `upstream::credentials`' affair.

mod access_token;
mod callers;
mod question;
mod slot;
mod source;
mod trouble;

use std::time::Duration;

use crate::{
    signer::{Assertion, Signer},
    token::secret::Secret,
};

pub use source::{Fault, Lent, TokenSource};

/// How a token for an upstream is got (RFC 6749, section 4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EgressSettings {
    /// The token endpoint; https, or loopback.
    pub endpoint: String,
    /// What is given for it.
    pub grant: Grant,
    /// Who asks; None where the grant itself says it.
    pub client: Option<Client>,
    /// How the client says who it is.
    pub auth: ClientAuth,
    /// What the token is to be good for; empty: what the endpoint gives by itself.
    pub scopes: Vec<String>,
    /// Between scopes in the request.
    pub scope_separator: ScopeSeparator,
    /// Whom the token is to be for.
    pub audience: Option<String>,
    /// So long before its end a token is renewed.
    pub expiry_margin: Duration,
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// `client_id`
    pub id: String,
    /// `client_secret`
    pub secret: Secret,
}

/// What is exchanged for a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Grant {
    /// The client's own credentials (RFC 6749, section 4.4).
    ClientCredentials,
    /// A user's (RFC 6749, section 4.3).
    Password {
        /// Whose.
        username: String,
        /// Sent to the endpoint alone.
        password: Secret,
    },
    /// A JWT signed here (RFC 7523, section 2.1).
    JwtBearer {
        /// What signs it.
        key: Signer,
        /// What it says.
        assertion: Assertion,
    },
    /// The caller's own token, each for one of its own (RFC 8693).
    TokenExchange,
}

/// RFC 6749, section 2.3.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// In the `Authorization` header.
    Basic,
    /// In the body.
    #[default]
    Post,
}

/// Between scopes: the standard has a space, some servers want a comma.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScopeSeparator {
    /// RFC 6749, section 3.3.
    #[default]
    Space,
    /// As some servers want it.
    Comma,
}
