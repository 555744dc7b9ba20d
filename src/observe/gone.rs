//! Series of what isn't in the configuration any more: they go once nobody works with it, so that a gateway that is
//! reloaded often doesn't count for ever what is gone.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, Weak},
};

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};

use super::{metrics::Metrics, sink::lock};

/// Keeps series in the metrics, as long as it lives.
pub(super) type Held = Arc<()>;

/// Names and values of some of a series' labels.
type Labels = Vec<(String, String)>;

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Bound(Mutex<HashMap<Labels, Weak<()>>>);

impl Bound {
    /// Keeps all series with these labels. To be called before they are bound.
    pub(super) fn hold(&self, labels: &[(&str, &str)]) -> Held {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut bound = lock(&self.0);
        let weak = bound.entry(labels).or_default();
        weak.upgrade().unwrap_or_else(|| {
            let held = Held::default();
            *weak = Arc::downgrade(&held);
            held
        })
    }

    /// Removes the series that nobody holds.
    pub(super) fn remove_gone(&self, metrics: &Metrics) {
        lock(&self.0).retain(|labels, held| {
            let is_held = held.strong_count() > 0;
            if !is_held {
                metrics.removable.remove(labels);
            }
            is_held
        });
    }
}

/// Removes a metric's series that have these labels.
pub(super) type Remove = Box<dyn Fn(&[(String, String)]) + Send + Sync>;

/// All metrics that have labels.
pub(super) struct Removable(Vec<Remove>);

impl Removable {
    pub(super) fn new(all: Vec<Remove>) -> Removable {
        Removable(all)
    }

    /// Removes all series with these labels.
    pub(super) fn remove(&self, labels: &[(String, String)]) {
        self.0.iter().for_each(|remove| remove(labels));
    }
}

impl fmt::Debug for Removable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Removable(…)")
    }
}

pub(super) fn from<B: MetricVecBuilder>(series: &MetricVec<B>) -> Remove
where
    MetricVec<B>: Clone + 'static,
{
    let series = series.clone();
    Box::new(move |labels| remove_from(&series, labels))
}

fn remove_from<B: MetricVecBuilder>(series: &MetricVec<B>, labels: &[(String, String)]) {
    let has_all = |own: &HashMap<&str, &str>| {
        labels.iter().all(|(name, value)| own.get(name.as_str()).is_some_and(|own| own == value))
    };
    for family in series.collect() {
        for metric in family.get_metric() {
            let own: HashMap<&str, &str> =
                metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
            if has_all(&own) {
                // An error says that somebody else has removed it.
                let _ = series.remove(&own);
            }
        }
    }
}
