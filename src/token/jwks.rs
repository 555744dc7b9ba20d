//! Key sets: discovery, fetch, refresh, unknown kid.

use std::sync::Arc;

use super::issuer::IssuerSettings;
use crate::observe::Observer;

/// One issuer's keys at work. Readers never lock; all fetches are made by tasks on the control runtime.
#[derive(Debug)]
pub struct KeyStore {}

impl KeyStore {
    /// A store for this source. Local sources (file, inline) are complete at once; remote ones are empty until
    /// `KeyStore::maintain` runs.
    ///
    /// # Errors
    /// A local set that isn't a JWKS or has no usable key, in words for the configuration's author.
    pub fn new(_settings: &IssuerSettings, _observer: Arc<Observer>) -> Result<Arc<KeyStore>, String> {
        todo!()
    }

    /// Fetches at start, refreshes in the background and answers requests for unknown kids. To be spawned on the
    /// control runtime; ends when no snapshot holds the store any more. Returns at once for local sources.
    pub async fn maintain(self: Arc<Self>) {
        todo!()
    }

    /// Whether usable keys are at hand (`/readyz`).
    pub fn is_ready(&self) -> bool {
        todo!()
    }

    /// Whether the last fetch failed (`degraded` in `/readyz`).
    pub fn is_degraded(&self) -> bool {
        todo!()
    }
}
