//! Where questions go: as configured, or as the issuer's metadata say.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Introspector;
use crate::{single_flight::Look, token::discovery};

/// How long a discovered endpoint is taken for the right one.
const DISCOVERED_FOR: Duration = Duration::from_secs(600);

/// What an issuer's metadata said.
#[derive(Debug)]
pub(super) struct Discovered {
    uri: String,
    at: Instant,
}

/// Where a question goes.
pub(super) enum Endpoint {
    Configured(String),
    Discovered(Arc<Discovered>),
}

impl Endpoint {
    pub(super) fn uri(&self) -> &str {
        match self {
            Endpoint::Configured(uri) => uri,
            Endpoint::Discovered(found) => &found.uri,
        }
    }
}

impl Introspector {
    /// Where the question goes: as configured, or as the issuer's metadata say, which are asked for once for all who wait.
    pub(super) async fn endpoint(self: &Arc<Self>) -> Result<Endpoint, String> {
        if let Some(endpoint) = &self.settings.endpoint {
            return Ok(Endpoint::Configured(endpoint.clone()));
        }
        if let Some(found) = self.discovered() {
            return Ok(Endpoint::Discovered(found));
        }
        let issuer = self.issuer.clone().ok_or("neither an endpoint nor an issuer to discover it from")?;
        let found = self.discovery.ask(|| match self.discovered() {
            Some(found) => Look::There(Ok(found)),
            None => Look::Begin(self.clone().discover(issuer)),
        });
        found
            .await
            .unwrap_or_else(|| Err("the worker that asked for the metadata has ended".to_owned()))
            .map(Endpoint::Discovered)
    }

    fn discovered(&self) -> Option<Arc<Discovered>> {
        self.discovered.load_full().filter(|found| found.at.elapsed() < DISCOVERED_FOR)
    }

    async fn discover(self: Arc<Self>, issuer: String) -> Result<Arc<Discovered>, String> {
        let uri = discovery::find(&issuer, self.settings.way.metadata_member(), &self.metadata_rules).await?;
        let found = Arc::new(Discovered { uri, at: Instant::now() });
        self.discovered.store(Some(found.clone()));
        Ok(found)
    }

    /// It may have moved. What somebody has found since stays.
    pub(super) fn forget(&self, endpoint: &Endpoint) {
        if let Endpoint::Discovered(found) = endpoint {
            self.discovered.compare_and_swap(found, None);
        }
    }
}
