//! What an upstream's keys say beside where it is.

use std::{path::PathBuf, time::Duration};

/// How endpoints take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Balance {
    /// The less busy of two picked at random.
    #[default]
    LeastRequest,
    /// One after another.
    RoundRobin,
    /// Any.
    Random,
    /// By the token's subject: the same one for the same subject.
    Hash,
}

/// Active checks of each endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// GET of this target, in origin form.
    pub path: String,
    /// From one to the next.
    pub interval: Duration,
    /// One takes no longer.
    pub timeout: Duration,
    /// So many good ones in a row bring an endpoint back.
    pub healthy: u32,
    /// So many bad ones in a row take it out.
    pub unhealthy: u32,
}

/// A rest for an endpoint that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ejection {
    /// Failures in a row.
    pub failures: u32,
    /// How long it rests.
    pub rest: Duration,
}

/// Another attempt at a request that failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    /// The first one counted.
    pub attempts: u32,
    /// Where a connection failed before anything was sent.
    pub on_connect: bool,
    /// Statuses of answers, for requests that may be repeated.
    pub on_status: Vec<u16>,
    /// The share of requests that may be retries, in percent.
    pub budget_percent: u8,
}

/// What is special about an upstream's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// Who may vouch for its certificate; None: the machine's own trust store.
    pub authorities: Option<PemFile>,
    /// The name in its certificate; None: the URL's host.
    pub server_name: Option<String>,
    /// The gateway's own certificate for it, and its key.
    pub identity: Option<(PemFile, PemFile)>,
}

/// A file in PEM, read at load. Equal to another one if what is in it is equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PemFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it; may be a private key.
    pub text: String,
}

impl std::fmt::Debug for PemFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PemFile({})", self.path.display())
    }
}
