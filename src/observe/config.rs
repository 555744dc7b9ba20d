//! The configuration was read again.

use super::Observer;

/// A reload has ended. Metrics and log line.
#[derive(Debug)]
pub struct ConfigReloaded<'e> {
    /// The hash of the configuration that was in force.
    pub before: &'e str,
    /// What is in force now and what of it is new, or why nothing has changed.
    pub result: Result<NewConfig<'e>, &'e str>,
}

/// What a reload has brought.
#[derive(Debug)]
pub struct NewConfig<'e> {
    /// The hash of the configuration that is in force from now on.
    pub hash: &'e str,
    /// In words.
    pub changed: &'e str,
}

impl ConfigReloaded<'_> {
    /// Counts and logs it.
    pub fn record(&self, observer: &Observer) {
        let before = self.before;
        let metrics = &observer.metrics;
        let result = if self.result.is_ok() { "ok" } else { "error" };
        metrics.config_reloads.with_label_values(&[result]).inc();
        metrics.config_last_reload_success.set(i64::from(self.result.is_ok()));
        match &self.result {
            Ok(NewConfig { hash, changed }) => {
                observer.config_in_force(hash);
                tracing::info!(hash, before, changed, "configuration reloaded");
            }
            Err(error) => {
                tracing::error!(hash = before, error, "the configuration can't be used; the one before stays in force");
            }
        }
    }
}
