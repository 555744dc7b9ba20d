//! All metrics: their names, labels and buckets, in one place. docs/observability.md tells operators what each means,
//! and a test holds that it knows them all.

use prometheus::{
    Error, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
    core::{Collector, Desc, MetricVec, MetricVecBuilder},
};

use super::gone::{self, Removable, Remove};

/// Seconds of a whole exchange.
const EXCHANGE: [f64; 18] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds spent here: mostly microseconds, and whatever a fetch of keys takes.
const OVERHEAD: [f64; 18] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    5.0, 10.0,
];
/// Seconds of a signature check.
const VERIFICATION: [f64; 12] =
    [0.00001, 0.00002, 0.00003, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05];

/// Every metric of the gateway, in a registry of its own.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    names: Vec<String>,
    pub(super) removable: Removable,
    pub(super) requests: IntCounterVec,
    pub(super) request_seconds: HistogramVec,
    pub(super) overhead_seconds: HistogramVec,
    pub(super) decisions: IntCounterVec,
    pub(super) token_cache_requests: IntCounterVec,
    pub(super) token_cache_entries: IntGauge,
    pub(super) token_cache_bytes: IntGauge,
    pub(super) verifications: IntCounterVec,
    pub(super) verification_seconds: Histogram,
    pub(super) jwks_fetches: IntCounterVec,
    pub(super) jwks_age: GaugeVec,
    pub(super) jwks_keys: IntGaugeVec,
    pub(super) introspections: IntCounterVec,
    pub(super) introspection_seconds: HistogramVec,
    pub(super) rate_limited: IntCounterVec,
    pub(super) revocations: IntGaugeVec,
    pub(super) egress_tokens: IntCounterVec,
    /// Without a label, and without a sample where nothing is shared.
    pub(super) state_up: IntGaugeVec,
    pub(super) upstream_requests: IntCounterVec,
    pub(super) upstream_seconds: HistogramVec,
    pub(super) upstream_healthy: IntGaugeVec,
    pub(super) upstream_connections: IntGaugeVec,
    pub(super) shadow_decisions: IntCounterVec,
    /// Without a label, and without a sample where there is no shadow.
    pub(super) shadow_skipped: IntCounterVec,
    pub(super) connections: IntGaugeVec,
    /// Without a sample where no spans are sent.
    pub(super) spans: IntCounterVec,
    pub(super) certificate_expiry: IntGaugeVec,
    pub(super) config_info: IntGaugeVec,
    pub(super) config_reloads: IntCounterVec,
    pub(super) config_last_reload_success: IntGauge,
    pub(super) log_lines_dropped: IntCounter,
    pub(super) build_info: IntGaugeVec,
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut registry = Registering { registry: Registry::new(), names: Vec::new(), removable: Vec::new() };
        let r = &mut registry;
        #[expect(
            clippy::expect_used,
            reason = "names and labels are constants, so every test that makes one proves it"
        )]
        Metrics::register(r).expect("the metrics' names are valid and different")
    }

    fn register(r: &mut Registering) -> Result<Metrics, Error> {
        Ok(Metrics {
            requests: r.counters("requests_total", "Requests that are over.", &["route", "method", "status"])?,
            request_seconds: r.histograms(
                "request_duration_seconds",
                "From a request's head to its answer's last byte.",
                &["route"],
                &EXCHANGE,
            )?,
            overhead_seconds: r.histograms(
                "overhead_seconds",
                "The part of a request's duration that was spent here, without the upstream's.",
                &["route"],
                &OVERHEAD,
            )?,
            decisions: r.counters(
                "decisions_total",
                "Requests by what was decided and why.",
                &["route", "issuer", "outcome", "reason"],
            )?,
            token_cache_requests: r.counters(
                "token_cache_requests_total",
                "Tokens that were looked for among those verified.",
                &["result"],
            )?,
            token_cache_entries: r.int_gauge("token_cache_entries", "Verified tokens that are remembered.")?,
            token_cache_bytes: r.int_gauge("token_cache_bytes", "Memory that they take.")?,
            verifications: r.counters(
                "verifications_total",
                "Tokens whose signature and claims were verified or refused.",
                &["issuer", "algorithm", "result"],
            )?,
            verification_seconds: r.histogram(
                "verification_seconds",
                "Time of a token's verification, fetches of keys apart.",
                &VERIFICATION,
            )?,
            jwks_fetches: r.counters("jwks_fetches_total", "Fetches of an issuer's keys.", &["issuer", "result"])?,
            jwks_age: r.gauges("jwks_age_seconds", "Since an issuer's keys were last fetched well.", &["issuer"])?,
            jwks_keys: r.int_gauges("jwks_keys", "Usable keys of an issuer.", &["issuer"])?,
            introspections: r.counters(
                "introspections_total",
                "Questions to an issuer about a token, by whether an answer came that can be used.",
                &["issuer", "result"],
            )?,
            introspection_seconds: r.histograms(
                "introspection_seconds",
                "From the question to the issuer's answer, or to the failure.",
                &["issuer"],
                &EXCHANGE,
            )?,
            state_up: r.int_gauges("state_up", "Whether Redis, where what replicas share is kept, answers.", &[])?,
            rate_limited: r.counters(
                "rate_limited_total",
                "Requests that a limit of their route refused.",
                &["route"],
            )?,
            revocations: r.int_gauges(
                "revocations",
                "Revocations that are held, by who asked for them.",
                &["source"],
            )?,
            egress_tokens: r.counters(
                "egress_tokens_total",
                "Tokens to call an upstream with, by whether the token endpoint gave one.",
                &["upstream", "result"],
            )?,
            upstream_requests: r.counters(
                "upstream_requests_total",
                "Attempts at an upstream, by whether an answer came.",
                &["upstream", "endpoint", "result"],
            )?,
            upstream_seconds: r.histograms(
                "upstream_seconds",
                "From an attempt's begin to the head of the upstream's answer, or to the failure.",
                &["upstream"],
                &EXCHANGE,
            )?,
            upstream_healthy: r.int_gauges(
                "upstream_healthy",
                "1 for an endpoint that is asked, 0 for one that isn't well or rests.",
                &["upstream", "endpoint"],
            )?,
            upstream_connections: r.int_gauges(
                "upstream_connections",
                "Connections to an upstream, in use or idle in the pool.",
                &["upstream", "state"],
            )?,
            shadow_decisions: r.counters(
                "shadow_decisions_total",
                "Requests that a shadow decided, too, by what was decided and what the shadow says.",
                &["route", "outcome", "shadow_outcome"],
            )?,
            shadow_skipped: r.counters(
                "shadow_skipped_total",
                "Requests that a shadow didn't decide, since too many of its questions were under way.",
                &[],
            )?,
            connections: r.int_gauges("connections", "Open connections from clients.", &["listener"])?,
            spans: r.counters(
                "spans_total",
                "Spans of sampled requests, by whether the collector took them.",
                &["result"],
            )?,
            certificate_expiry: r.int_gauges(
                "certificate_expiry_seconds",
                "Until the first certificate in a file of a listener's, or in one that the gateway shows to others, \
                 expires; negative once it has.",
                &["file"],
            )?,
            config_info: r.int_gauges("config_info", "1 for the configuration that is in force.", &["hash"])?,
            config_reloads: r.counters(
                "config_reloads_total",
                "How often the configuration was read again, by what came of it.",
                &["result"],
            )?,
            config_last_reload_success: r.int_gauge(
                "config_last_reload_success",
                "Whether the configuration could be used when it was read last: 1 or 0.",
            )?,
            log_lines_dropped: r.counter(
                "log_lines_dropped_total",
                "Lines of log that were lost because whoever reads them is too slow.",
            )?,
            build_info: r.int_gauges("build_info", "1 for the version that runs.", &["version"])?,
            names: std::mem::take(&mut r.names),
            removable: Removable::new(std::mem::take(&mut r.removable)),
            registry: r.registry.clone(),
        })
    }

    /// All metrics as `name{label,label}`, with those that have no sample yet.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The Prometheus text format, version 0.0.4.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be rendered");
        }
        text
    }
}

/// Makes metrics and keeps their names.
struct Registering {
    registry: Registry,
    names: Vec<String>,
    removable: Vec<Remove>,
}

impl Registering {
    fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.labelled(IntCounterVec::new(options(name, help), labels)?)
    }

    fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, Error> {
        self.labelled(GaugeVec::new(options(name, help), labels)?)
    }

    fn int_gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.labelled(IntGaugeVec::new(options(name, help), labels)?)
    }

    fn counter(&mut self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.keep(IntCounter::with_opts(options(name, help))?)
    }

    fn int_gauge(&mut self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.keep(IntGauge::with_opts(options(name, help))?)
    }

    fn histograms(&mut self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Result<HistogramVec, Error> {
        self.labelled(HistogramVec::new(HistogramOpts::from(options(name, help)).buckets(buckets.to_vec()), labels)?)
    }

    fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, Error> {
        self.keep(Histogram::with_opts(HistogramOpts::from(options(name, help)).buckets(buckets.to_vec()))?)
    }

    fn labelled<B: MetricVecBuilder>(&mut self, series: MetricVec<B>) -> Result<MetricVec<B>, Error>
    where
        MetricVec<B>: Clone + 'static,
    {
        self.removable.push(gone::from(&series));
        self.keep(series)
    }

    fn keep<M: Collector + Clone + 'static>(&mut self, metric: M) -> Result<M, Error> {
        self.names.extend(metric.desc().into_iter().map(named));
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

/// `name{label,label}`
fn named(desc: &Desc) -> String {
    match desc.variable_labels.as_slice() {
        [] => desc.fq_name.clone(),
        labels => format!("{}{{{}}}", desc.fq_name, labels.join(",")),
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("bearward")
}
