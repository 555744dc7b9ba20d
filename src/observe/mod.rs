//! What operators watch: one struct per event, metric and log line together. Handles are bound at load, so that no
//! request looks a metric up by its labels' text.

mod access_log;
mod certificates;
mod config;
mod egress;
mod gone;
mod handles;
mod keys;
mod line;
mod log;
mod metrics;
mod notices;
mod process;
mod query;
mod request;
mod shadow;
mod sink;
mod spans;
mod tokens;
mod upstream;

use std::{
    collections::HashMap,
    env,
    io::{self, IsTerminal},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tracing::Dispatch;
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload};

pub(crate) use self::line::civil_date;
pub(crate) use self::line::{push_json, rfc_3339};
pub(crate) use self::query::{Own, path_without_tokens, token_parameter};
pub use self::{
    certificates::CertificateLoaded,
    config::{ConfigReloaded, NewConfig},
    egress::EgressTokenAsked,
    handles::{
        EgressMetrics, EndpointHealth, IntrospectionMetrics, IssuerMetrics, ListenerMetrics, RevocationMetrics,
        RouteMetrics, SharedStateMetrics, TokenCacheMetrics, TokenCacheReport, Trouble, UpstreamMetrics,
    },
    keys::{KeysFetched, KeysRestored},
    log::parse_level,
    notices::NoticeReceived,
    request::RequestFinished,
    shadow::{ShadowCompared, ShadowDiffers, ShadowMetrics, ShadowReloaded, ShadowSays},
    sink::LogBuffer,
    spans::{SpanMetrics, SpansSent},
    tokens::{Introspected, Verified},
    upstream::{EndpointChange, UpstreamAttempt},
};
use self::{
    certificates::Certificates,
    gone::Bound,
    handles::{HealthState, KeysState},
    line::with_line,
    log::{LineLayer, Look},
    metrics::Metrics,
    sink::{Background, Sink, lock},
};

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
    /// The share of traces begun here that are sampled, from 0 to 1.
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
    certificates: Certificates,
}

/// A query as it may be shown: without the values of parameters that hold tokens; `own`: more of them (`token_parameter`).
pub(crate) fn without_tokens(query: &str, own: Own<'_>) -> String {
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
        let metrics = Metrics::new();
        let dropped = metrics.log_lines_dropped.clone();
        let sink = Sink::Background(Background::start(io::stdout(), look.clone(), dropped)?);
        Ok(Observer::with_sink(metrics, sink, look, settings))
    }

    /// One that counts, and logs nowhere.
    pub fn silent() -> Arc<Observer> {
        let settings = LoggingSettings { level: "off".to_owned(), format: None, access: false };
        Observer::with_sink(Metrics::new(), Sink::Nowhere, Arc::new(Look::new(false, false)), &settings)
    }

    /// One that counts and logs to memory, for tests. JSON unless the settings say otherwise.
    ///
    /// # Errors
    /// A level that can't be read.
    pub fn to_buffer(settings: &LoggingSettings) -> Result<(Arc<Observer>, LogBuffer), String> {
        parse_level(&settings.level)?;
        let (look, buffer) = (Arc::new(Look::new(false, false)), LogBuffer::default());
        Ok((Observer::with_sink(Metrics::new(), Sink::Buffer(buffer.clone()), look, settings), buffer))
    }

    fn with_sink(metrics: Metrics, sink: Sink, look: Arc<Look>, settings: &LoggingSettings) -> Arc<Observer> {
        look.set(settings.format);
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Arc::new(Observer {
            metrics,
            sink: Arc::new(sink),
            look,
            level: Mutex::new(settings.level.clone()),
            filter: OnceLock::new(),
            access: AtomicBool::new(settings.access),
            issuers: Mutex::default(),
            endpoints: Mutex::default(),
            bound: Bound::default(),
            certificates: Certificates::default(),
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

    /// Binds the metrics of spans; there are none before.
    pub fn spans(&self) -> SpanMetrics {
        SpanMetrics::new(&self.metrics)
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

    /// Binds the metrics of a shadow; there are none before.
    pub fn shadow(&self) -> ShadowMetrics {
        ShadowMetrics(self.metrics.shadow_skipped.with_label_values::<&str>(&[]))
    }

    /// Binds a listener's metrics.
    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        ListenerMetrics(self.metrics.connections.with_label_values(&[listener]))
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

    fn log_request(&self, request: &RequestFinished<'_>) {
        if self.access.load(Ordering::Relaxed) {
            with_line(|line| {
                access_log::push_request(line, request, self.look.style(), SystemTime::now());
                self.sink.push(line);
            });
        }
    }
}

#[cfg(test)]
mod tests;
