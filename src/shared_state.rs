//! What replicas share: what `state.redis` says.

use crate::token::secret::Secret;

/// Where a Redis or Valkey server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RedisSettings {
    /// rediss: TLS, the server's certificate verified.
    pub tls: bool,
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Who asks; None: the server's default user.
    pub username: Option<String>,
    /// None: no authentication.
    pub password: Option<Secret>,
    /// The database's number.
    pub database: u32,
}
