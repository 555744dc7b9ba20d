//! What operators watch: one struct per event, metric and log line together. Handles are bound at load, so that no
//! request looks a metric up by its labels' text.

mod access_log;
mod config;
mod gone;
mod handles;
mod line;
mod log;
mod metrics;
mod process;
mod query;
mod sink;

use std::{
    collections::HashMap,
    env,
    io::{self, IsTerminal},
    net::IpAddr,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::Dispatch;
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload};

pub(crate) use self::line::civil_date;
pub(crate) use self::line::{push_json, rfc_3339};
pub(crate) use self::query::token_parameter;
pub use self::{
    config::{ConfigReloaded, NewConfig},
    handles::{
        EgressMetrics, EndpointHealth, IntrospectionMetrics, IssuerMetrics, ListenerMetrics, RevocationMetrics,
        RouteMetrics, SharedStateMetrics, TokenCacheMetrics, TokenCacheReport, Trouble, UpstreamMetrics,
    },
    log::parse_level,
    sink::LogBuffer,
};
use self::{
    gone::Bound,
    handles::{HealthState, KeysState},
    line::with_line,
    log::{LineLayer, Look},
    metrics::Metrics,
    sink::{Background, Sink, lock},
};
use crate::token::credential::Fingerprint;

/// `logging:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingSettings {
    /// A level or RUST_LOG syntax.
    pub level: String,
    /// json, text; None: by whether stdout is a terminal.
    pub format: Option<LogFormat>,
    /// One line per request.
    pub access: bool,
}

/// `tracing:`
#[derive(Clone, Debug, PartialEq)]
pub struct TracingSettings {
    /// Where spans go, an OTLP endpoint; None: nowhere.
    pub otlp: Option<String>,
    /// The share of traces begun here, from 0 to 1.
    pub sample: f64,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The metrics of the process and the sink of its log. One for the process, held by Arc.
#[derive(Debug)]
pub struct Observer {
    metrics: Metrics,
    sink: Arc<Sink>,
    look: Arc<Look>,
    level: Mutex<String>,
    /// Once it is installed.
    filter: OnceLock<reload::Handle<EnvFilter, Registry>>,
    access: AtomicBool,
    /// By name: an issuer keeps its state over a reload, and is forgotten when no snapshot has it any more.
    issuers: Mutex<HashMap<String, Weak<KeysState>>>,
    /// By upstream and endpoint: forgotten when no snapshot has them any more.
    endpoints: Mutex<HashMap<(String, String), Weak<HealthState>>>,
    /// What else is named by the configuration.
    bound: Bound,
    /// When certificates end, in Unix seconds, by file.
    certificates: Mutex<HashMap<String, i64>>,
}

/// A query as it may be shown: without the values of parameters that hold tokens; `own`: more of them (`token_parameter`).
pub(crate) fn without_tokens(query: &str, own: &[Box<str>]) -> String {
    const LONGEST: usize = 8 << 10;
    let mut shown = String::new();
    query::push_query(&mut shown, query, own, LONGEST, line::Within::Message);
    shown
}

impl Observer {
    /// One that counts and logs to stdout, by a thread of its own. `install_log` makes the events of `tracing` go there
    /// too.
    ///
    /// # Errors
    /// A level that can't be read, or no thread to be had, in words for the operator.
    pub fn new(settings: &LoggingSettings) -> Result<Arc<Observer>, String> {
        let terminal = io::stdout().is_terminal();
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let look = Arc::new(Look::new(terminal, terminal && !no_colour));
        parse_level(&settings.level)?;
        let sink = Sink::Background(Background::start(io::stdout(), look.clone())?);
        Ok(Observer::with_sink(sink, look, settings))
    }

    /// One that counts, and logs nowhere.
    pub fn silent() -> Arc<Observer> {
        let settings = LoggingSettings { level: "off".to_owned(), format: None, access: false };
        Observer::with_sink(Sink::Nowhere, Arc::new(Look::new(false, false)), &settings)
    }

    /// One that counts and logs to memory, for tests. JSON unless the settings say otherwise.
    ///
    /// # Errors
    /// A level that can't be read.
    pub fn to_buffer(settings: &LoggingSettings) -> Result<(Arc<Observer>, LogBuffer), String> {
        parse_level(&settings.level)?;
        let (look, buffer) = (Arc::new(Look::new(false, false)), LogBuffer::default());
        Ok((Observer::with_sink(Sink::Buffer(buffer.clone()), look, settings), buffer))
    }

    fn with_sink(sink: Sink, look: Arc<Look>, settings: &LoggingSettings) -> Arc<Observer> {
        look.set(settings.format);
        Arc::new(Observer {
            metrics: Metrics::new(),
            sink: Arc::new(sink),
            look,
            level: Mutex::new(settings.level.clone()),
            filter: OnceLock::new(),
            access: AtomicBool::new(settings.access),
            issuers: Mutex::default(),
            endpoints: Mutex::default(),
            bound: Bound::default(),
            certificates: Mutex::default(),
        })
    }

    /// Sends the events of `tracing` to this log, from all threads. Once a process.
    ///
    /// # Errors
    /// Somebody has done so before.
    pub fn install_log(&self) -> Result<(), String> {
        tracing::dispatcher::set_global_default(self.dispatch()?).map_err(|error| error.to_string())
    }

    /// What takes events of `tracing` to this log; for tests, which can't share a global one.
    ///
    /// # Errors
    /// A level that can't be read.
    pub fn dispatch(&self) -> Result<Dispatch, String> {
        let lines = LineLayer { sink: self.sink.clone(), look: self.look.clone() };
        let (filter, handle) = reload::Layer::new(parse_level(&lock(&self.level))?);
        // The first one is the process's own, which `log_by` changes.
        let _ = self.filter.set(handle);
        Ok(Dispatch::new(tracing_subscriber::registry().with(filter).with(lines)))
    }

    /// Logs by other settings from now on.
    ///
    /// # Errors
    /// A level that can't be read: nothing changes then.
    pub fn log_by(&self, settings: &LoggingSettings) -> Result<(), String> {
        let filter = parse_level(&settings.level)?;
        let mut level = lock(&self.level);
        if *level != settings.level {
            settings.level.clone_into(&mut level);
            if let Some(handle) = self.filter.get() {
                handle.reload(filter).map_err(|error| error.to_string())?;
            }
        }
        self.look.set(settings.format);
        self.access.store(settings.access, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until all lines so far are written, two seconds at most. For the end of the process.
    pub fn flush(&self) {
        self.sink.flush();
    }

    /// Binds a route's metrics; "" for requests that no route takes.
    pub fn route(&self, route: &str) -> RouteMetrics {
        RouteMetrics::new(&self.metrics, self.bound.hold(&[("route", route)]), route)
    }

    /// Binds an issuer's metrics, by its key in the configuration.
    pub fn issuer(&self, issuer: &str) -> IssuerMetrics {
        IssuerMetrics::new(&self.metrics, self.keys(issuer))
    }

    fn keys(&self, issuer: &str) -> Arc<KeysState> {
        let mut issuers = lock(&self.issuers);
        let known = issuers.get(issuer).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let keys = Arc::new(KeysState::new(&self.metrics, issuer));
            issuers.insert(issuer.to_owned(), Arc::downgrade(&keys));
            keys
        })
    }

    /// Binds the metrics of questions to an issuer about tokens.
    pub fn introspection(&self, issuer: &str) -> IntrospectionMetrics {
        IntrospectionMetrics::new(&self.metrics, self.keys(issuer))
    }

    /// Binds the metrics of the tokens that an upstream is called with.
    pub fn egress(&self, upstream: &str) -> EgressMetrics {
        EgressMetrics::new(&self.metrics, upstream)
    }

    /// Binds the token cache's metrics.
    pub fn token_cache(&self) -> TokenCacheMetrics {
        TokenCacheMetrics::new(&self.metrics)
    }

    /// Binds the revocations' metrics.
    pub fn revocations(&self) -> RevocationMetrics {
        RevocationMetrics(self.metrics.revocations.clone())
    }

    /// Binds the metrics of what replicas share; there are none before.
    pub fn shared_state(&self) -> SharedStateMetrics {
        SharedStateMetrics(self.metrics.state_up.with_label_values::<&str>(&[]))
    }

    /// Binds an upstream's metrics. `endpoint` is its authority.
    pub fn upstream(&self, upstream: &str, endpoint: &str) -> UpstreamMetrics {
        let held = [&[("upstream", upstream)][..], &[("upstream", upstream), ("endpoint", endpoint)]];
        UpstreamMetrics::new(&self.metrics, held.map(|labels| self.bound.hold(labels)), upstream, endpoint)
    }

    /// Binds the metric of an endpoint's health.
    pub fn endpoint_health(&self, upstream: &str, endpoint: &str) -> EndpointHealth {
        let mut endpoints = lock(&self.endpoints);
        let key = (upstream.to_owned(), endpoint.to_owned());
        if let Some(known) = endpoints.get(&key).and_then(Weak::upgrade) {
            return EndpointHealth(known);
        }
        let health = EndpointHealth::new(&self.metrics, upstream, endpoint);
        endpoints.insert(key, Arc::downgrade(&health.0));
        health
    }

    /// Binds a listener's metrics.
    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        ListenerMetrics(self.metrics.connections.with_label_values(&[listener]))
    }

    /// Notes when the certificate in this file ends, in Unix seconds.
    pub fn certificate(&self, file: &str, expires_at: Option<i64>) {
        if let Some(expires_at) = expires_at {
            lock(&self.certificates).insert(file.to_owned(), expires_at);
        }
    }

    /// Forgets the certificates of all other files.
    pub fn certificates_are(&self, files: &[String]) {
        lock(&self.certificates).retain(|file, _| {
            let is_there = files.contains(file);
            if !is_there {
                // An error says that it was never shown.
                let _ = self.metrics.certificate_expiry.remove_label_values(&[file]);
            }
            is_there
        });
    }

    /// Names the configuration that is in force from now on by its hash.
    pub fn config_in_force(&self, hash: &str) {
        self.metrics.config_info.reset();
        self.metrics.config_last_reload_success.set(1);
        for result in ["ok", "error"] {
            self.metrics.config_reloads.with_label_values(&[result]);
        }
        self.metrics.config_info.with_label_values(&[hash]).set(1);
    }

    /// All metrics in the Prometheus text format, version 0.0.4.
    pub fn render_metrics(&self) -> String {
        self.update_key_ages();
        self.update_certificates();
        self.forget_endpoints();
        self.bound.remove_gone(&self.metrics);
        let mut text = self.metrics.render();
        process::render(&mut text);
        text
    }

    /// All metrics as `name{label,label}`, also those without a sample so far.
    pub fn metric_names(&self) -> Vec<&str> {
        self.metrics.names().chain(process::METRICS.map(|(name, ..)| name)).collect()
    }

    fn update_key_ages(&self) {
        let metrics = &self.metrics;
        lock(&self.issuers).retain(|issuer, keys| {
            let keys = keys.upgrade();
            match &keys {
                Some(keys) => {
                    if let Some(age) = keys.age() {
                        metrics.jwks_age.with_label_values(&[issuer]).set(age.as_secs_f64());
                    }
                }
                None => {
                    metrics.removable.remove(&[("issuer".to_owned(), issuer.clone())]);
                }
            }
            keys.is_some()
        });
    }

    fn forget_endpoints(&self) {
        lock(&self.endpoints).retain(|(upstream, endpoint), health| {
            let is_used = health.strong_count() > 0;
            if !is_used {
                // Not there if another observer's snapshot removed it.
                let _ = self.metrics.upstream_healthy.remove_label_values(&[upstream, endpoint]);
            }
            is_used
        });
    }

    fn update_certificates(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        for (file, expires_at) in lock(&self.certificates).iter() {
            self.metrics.certificate_expiry.with_label_values(&[file]).set(expires_at.saturating_sub(now));
        }
    }

    fn log_request(&self, request: &RequestFinished<'_>) {
        if self.access.load(Ordering::Relaxed) {
            with_line(|line| {
                access_log::push_request(line, request, self.look.style(), SystemTime::now());
                self.sink.push(line);
            });
        }
    }
}

/// The `outcome` label and the log's `decision`.
fn outcome(allowed: bool) -> &'static str {
    if allowed { "allow" } else { "deny" }
}

/// A fetch of an issuer's keys has ended. Metric and log line (info for the first good one, warn for an error).
#[derive(Debug)]
pub struct KeysFetched<'e> {
    /// The issuer's key in the configuration.
    pub issuer: &'e str,
    /// How many usable keys there are, or what went wrong.
    pub result: Result<usize, &'e str>,
}

impl KeysFetched<'_> {
    /// Counts and logs it.
    pub fn record(&self, metrics: &IssuerMetrics) {
        let issuer = self.issuer;
        match self.result {
            Ok(keys) => {
                metrics.fetches_ok.inc();
                metrics.keys.count.set(i64::try_from(keys).unwrap_or(i64::MAX));
                if metrics.keys.fetched() {
                    tracing::info!(issuer, keys, "keys fetched");
                } else {
                    tracing::debug!(issuer, keys, "keys fetched");
                }
            }
            Err(error) => {
                metrics.fetches_error.inc();
                metrics.keys.failed(error);
                tracing::warn!(issuer, error, "keys could not be fetched");
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

/// An issuer's keys can't be fetched, and those of an earlier run serve. Metric and log line (warn).
#[derive(Debug)]
pub struct KeysRestored<'e> {
    /// The issuer's key in the configuration.
    pub issuer: &'e str,
    /// How many usable keys there are.
    pub keys: usize,
    /// Since they were fetched.
    pub age: Duration,
}

impl KeysRestored<'_> {
    /// Sets count and age, and logs it.
    pub fn record(&self, metrics: &IssuerMetrics) {
        metrics.keys.count.set(i64::try_from(self.keys).unwrap_or(i64::MAX));
        metrics.keys.restored(self.age);
        let age_seconds = self.age.as_secs();
        tracing::warn!(issuer = self.issuer, keys = self.keys, age_seconds, "keys of an earlier run serve");
    }
}

/// A token's verification has ended (not: was found in a cache).
#[derive(Debug)]
pub struct Verified {
    /// RS256…, "" where the token doesn't say one that is known.
    pub algorithm: &'static str,
    /// "ok" or a reason.
    pub result: &'static str,
    /// Time spent, fetches apart.
    pub took: Duration,
}

impl Verified {
    /// Counts it.
    pub fn record(&self, metrics: &IssuerMetrics) {
        metrics.count_verification(self.algorithm, self.result);
        metrics.verification_seconds.observe(self.took.as_secs_f64());
    }
}

/// A question to an issuer about a token has ended. Metrics, and a log line where it failed.
#[derive(Debug)]
pub struct Introspected<'e> {
    /// The issuer's key in the configuration.
    pub issuer: &'e str,
    /// What went wrong. Holds nothing of the token or the answer.
    pub result: Result<(), &'e str>,
    /// Until the answer or the failure.
    pub took: Duration,
}

impl Introspected<'_> {
    /// Counts it. `is_news`: whether the question before went otherwise; the same trouble again is told at debug.
    pub fn record(&self, metrics: &IntrospectionMetrics, is_news: bool) {
        let issuer = self.issuer;
        metrics.seconds.observe(self.took.as_secs_f64());
        match self.result {
            Ok(()) => {
                metrics.ok.inc();
                if is_news {
                    tracing::info!(issuer, "tokens can be asked about again");
                }
            }
            Err(error) => {
                metrics.error.inc();
                metrics.issuer.troubled(error);
                if is_news {
                    tracing::warn!(issuer, error, "a token could not be asked about");
                } else {
                    tracing::debug!(issuer, error, "a token could not be asked about");
                }
            }
        }
    }
}

/// A token endpoint has given a token to call an upstream with, or none. Metric and log line.
#[derive(Debug)]
pub struct EgressTokenAsked<'e> {
    /// The upstream's key in the configuration.
    pub upstream: &'e str,
    /// How long the token is good, or what went wrong. Holds nothing of a token, a secret or the answer.
    pub result: Result<Duration, &'e str>,
}

impl EgressTokenAsked<'_> {
    /// Counts it. `is_news`: whether the time before it went otherwise; the same again is told at debug.
    pub fn record(&self, metrics: &EgressMetrics, is_news: bool) {
        let upstream = self.upstream;
        match self.result {
            Ok(lifetime) => {
                metrics.ok.inc();
                let expires_in = lifetime.as_secs();
                if is_news {
                    tracing::info!(upstream, expires_in, "there are tokens for the upstream again");
                } else {
                    tracing::debug!(upstream, expires_in, "a token for the upstream");
                }
            }
            Err(error) => {
                metrics.error.inc();
                if is_news {
                    tracing::warn!(upstream, error, "no token for the upstream");
                } else {
                    tracing::debug!(upstream, error, "no token for the upstream");
                }
            }
        }
    }
}

/// An attempt at an upstream has ended with a response head or without.
#[derive(Debug)]
pub struct UpstreamAttempt {
    /// "ok" (an answer came, whatever its status) or "error".
    pub result: &'static str,
    /// Until the head or the failure.
    pub took: Duration,
}

impl UpstreamAttempt {
    /// Counts it.
    pub fn record(&self, metrics: &UpstreamMetrics) {
        if self.result == "ok" { &metrics.ok } else { &metrics.error }.inc();
        metrics.seconds.observe(self.took.as_secs_f64());
    }
}

/// What has become of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointChange {
    /// Active checks find it well again.
    Well,
    /// They don't.
    Unwell,
    /// It isn't asked for a while.
    Rests {
        /// In a row.
        failures: u32,
        /// How long.
        rest: Duration,
    },
    /// A request after a rest went well.
    Returned,
}

impl EndpointChange {
    /// Sets the metric and logs it.
    pub fn record(self, health: &EndpointHealth, is_healthy: bool) {
        health.set(is_healthy);
        let HealthState { upstream, endpoint, .. } = &*health.0;
        match self {
            EndpointChange::Well => tracing::info!(%upstream, %endpoint, "an endpoint is well again"),
            EndpointChange::Unwell => tracing::warn!(%upstream, %endpoint, "an endpoint isn't well"),
            EndpointChange::Rests { failures, rest } => {
                let rest_seconds = rest.as_secs_f64();
                tracing::warn!(%upstream, %endpoint, failures, rest_seconds, "an endpoint rests after failures in a row");
            }
            EndpointChange::Returned => tracing::info!(%upstream, %endpoint, "an endpoint that rested answers again"),
        }
    }
}

/// One request is over: all of its answer was sent, or its client is gone. Metrics and the access log's line.
#[derive(Debug)]
pub struct RequestFinished<'e> {
    /// X-Request-Id.
    pub request_id: &'e str,
    /// Of traceparent: 32 hex digits.
    pub trace_id: &'e str,
    /// Who asked.
    pub client_ip: IpAddr,
    /// As sent; metrics call unknown ones OTHER.
    pub method: &'e str,
    /// Lower-case, without port.
    pub host: Option<&'e str>,
    /// Canonical, or as sent where it has no canonical form, with the query; token parameters' values left out by the log.
    pub path: &'e str,
    /// Without the question mark.
    pub query: Option<&'e str>,
    /// Besides those that are known anywhere: as `token_parameter` makes them.
    pub token_parameters: &'e [Box<str>],
    /// "" where none matched.
    pub route: &'e str,
    /// Of the answer.
    pub status: u16,
    /// From head to the answer's last byte.
    pub duration: Duration,
    /// The part that was spent here.
    pub overhead: Duration,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// Where it went, if it did.
    pub upstream: Option<&'e str>,
    /// Its authority.
    pub endpoint: Option<&'e str>,
    /// 0 where it went nowhere.
    pub attempts: u32,
    /// Whether the decision was a yes.
    pub allowed: bool,
    /// False where it was a no and the request went on all the same (`enforce: false`).
    pub enforced: bool,
    /// One of the contract's reasons.
    pub reason: &'static str,
    /// Whose token it was.
    pub issuer: Option<&'e str>,
    /// Of the token.
    pub subject: Option<&'e str>,
    /// Of the token.
    pub client: Option<&'e str>,
    /// Of the token.
    pub token: Option<Fingerprint>,
}

impl RequestFinished<'_> {
    /// Counts and logs it.
    pub fn record(&self, observer: &Observer, route: &RouteMetrics) {
        route.count_request(self.method, self.status);
        route.count_decision(self.issuer, self.allowed, self.reason);
        if self.reason == "rate_limit" {
            route.count_rate_limited();
        }
        route.request_seconds.observe(self.duration.as_secs_f64());
        route.overhead_seconds.observe(self.overhead.as_secs_f64());
        observer.log_request(self);
    }

    /// The `outcome` label and the log's `decision`.
    fn outcome(&self) -> &'static str {
        outcome(self.allowed)
    }
}

#[cfg(test)]
mod tests;
