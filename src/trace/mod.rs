//! Spans of the requests whose trace is sampled, and their way to a collector (OpenTelemetry, OTLP).
//!
//! A request that isn't sampled has an empty [`Span`]: nothing is allocated, read from a clock or locked for it.

mod collector;
mod exporter;
mod otlp;
mod request;
mod resource;
mod span;

use std::sync::Arc;

pub(crate) use self::request::known_method;
pub use self::{
    exporter::Exporter,
    request::Beside,
    span::{Kind, Parent, Span, Value},
};
use crate::headers::{SampledShare, TraceContext};

/// `tracing:` at work.
#[derive(Debug)]
pub struct Tracing {
    share: SampledShare,
    exporter: Option<Arc<Exporter>>,
}

impl Tracing {
    /// Samples this share of the traces begun here, and sends spans there; None: nowhere.
    pub fn new(share: SampledShare, exporter: Option<Arc<Exporter>>) -> Tracing {
        Tracing { share, exporter }
    }

    /// Of the traces begun here.
    pub fn share(&self) -> SampledShare {
        self.share
    }

    /// Begins a request's own span; an empty one where its trace isn't sampled, or nobody wants spans.
    pub fn begin(&self, context: &TraceContext) -> Span {
        match &self.exporter {
            Some(exporter) if context.is_sampled() => Span::of_request(context, exporter),
            _ => Span::none(),
        }
    }

    /// Begins to send, unless that was done. In a runtime of tokio.
    pub fn maintain(&self) {
        if let Some(exporter) = &self.exporter {
            exporter.maintain();
        }
    }

    /// Sends what waits, and returns when that is done or has failed.
    pub async fn flush(&self) {
        if let Some(exporter) = &self.exporter {
            exporter.flush().await;
        }
    }
}

#[cfg(test)]
mod tests;
