//! Spans were sent to a collector, or not.

use prometheus::IntCounter;

use super::metrics::Metrics;

/// The metrics of spans, bound.
#[derive(Clone, Debug)]
pub struct SpanMetrics {
    ok: IntCounter,
    error: IntCounter,
    dropped: IntCounter,
}

impl SpanMetrics {
    pub(super) fn new(metrics: &Metrics) -> SpanMetrics {
        let bound = |result| metrics.spans.with_label_values(&[result]);
        SpanMetrics { ok: bound("ok"), error: bound("error"), dropped: bound("dropped") }
    }

    /// Counts spans that there was no room for.
    pub fn dropped(&self, spans: usize) {
        add(&self.dropped, spans);
    }
}

/// A message with spans was sent. Metric, and a log line where that fails.
#[derive(Debug)]
pub struct SpansSent<'e> {
    /// In the message.
    pub spans: usize,
    /// How many of them the collector didn't take, or why it took none.
    pub result: Result<usize, &'e str>,
}

impl SpansSent<'_> {
    /// Counts it. `is_news`: whether the message before went otherwise; the same trouble again is told at debug.
    pub fn record(&self, metrics: &SpanMetrics, is_news: bool) {
        let spans = self.spans;
        match self.result {
            Ok(rejected) => {
                add(&metrics.ok, spans.saturating_sub(rejected));
                add(&metrics.error, rejected);
                if is_news {
                    tracing::info!(spans, "the collector takes spans again");
                }
                if rejected > 0 {
                    tracing::debug!(spans, rejected, "the collector doesn't take all spans");
                }
            }
            Err(error) => {
                add(&metrics.error, spans);
                if is_news {
                    tracing::warn!(spans, error, "spans could not be sent");
                } else {
                    tracing::debug!(spans, error, "spans could not be sent");
                }
            }
        }
    }
}

fn add(counter: &IntCounter, spans: usize) {
    counter.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
}
