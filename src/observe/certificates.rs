//! When certificates end: those that listeners show, and those that the gateway shows to others.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Observer, sink::lock};

/// When certificates end, in Unix seconds, by file.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    of_listeners: Mutex<HashMap<String, i64>>,
    of_clients: Mutex<HashMap<String, i64>>,
}

impl Observer {
    /// Notes when the certificate in a listener's file ends, in Unix seconds.
    pub fn certificate(&self, file: &str, expires_at: Option<i64>) {
        if let Some(expires_at) = expires_at {
            lock(&self.certificates.of_listeners).insert(file.to_owned(), expires_at);
        }
    }

    /// Forgets the listeners' certificates of all other files.
    pub fn certificates_are(&self, files: &[String]) {
        lock(&self.certificates.of_listeners).retain(|file, _| files.contains(file));
    }

    /// Notes the files of the certificates that the gateway shows to upstreams and issuers, and when each ends, in Unix
    /// seconds. Others are forgotten.
    pub fn client_certificates_are(&self, certificates: &[(String, i64)]) {
        *lock(&self.certificates.of_clients) = certificates.iter().cloned().collect();
    }

    pub(super) fn update_certificates(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let gauge = &self.metrics.certificate_expiry;
        gauge.reset();
        for certificates in [&self.certificates.of_listeners, &self.certificates.of_clients] {
            for (file, expires_at) in lock(certificates).iter() {
                gauge.with_label_values(&[file]).set(expires_at.saturating_sub(now));
            }
        }
    }
}

/// A listener's certificate has changed. Metric and log line.
#[derive(Debug)]
pub struct CertificateLoaded<'e> {
    /// As the configuration names it.
    pub file: &'e str,
    /// When it ends, in Unix seconds, or what is wrong with it: the one before stays then.
    pub result: Result<Option<i64>, String>,
}

impl CertificateLoaded<'_> {
    /// Notes and logs it.
    pub fn record(&self, observer: &Observer) {
        let file = self.file;
        match &self.result {
            Ok(expires_at) => {
                observer.certificate(file, *expires_at);
                tracing::info!(file, "certificate reloaded");
            }
            Err(error) => tracing::error!(file, error, "the changed certificate can't be used; the one before stays"),
        }
    }
}
