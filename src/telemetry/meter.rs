use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{self, AsyncInstrument},
};

use super::{
    counts::{Counter, Counters},
    metric::{Kind, Metric},
};

/// Values of labels, by name.
pub type Labels = Vec<(&'static str, String)>;

/// Reads a value of its owner.
pub(super) type Read<T, R> = fn(&T) -> R;

/// Finds a counter in its owner.
pub(super) type Find<T> = fn(&T) -> &Counter;

/// Exports metrics: each by its declaration, and a way to its values at the moment when somebody asks.
#[derive(Debug, Clone)]
pub struct Meter(pub(super) metrics::Meter);

impl Meter {
    /// Exports what `read` returns: the labels of each series, and its value. A series that is returned no more is
    /// exported no more.
    pub fn observe<R>(&self, metric: &Metric, read: R)
    where
        R: Fn() -> Vec<(Labels, f64)> + Send + Sync + 'static,
    {
        let Metric { name, unit, description, .. } = *metric;
        let callback = move |observer: &dyn AsyncInstrument<f64>| {
            read().into_iter().for_each(|(labels, value)| observer.observe(value, &key_values(labels)));
        };
        // The meter keeps what it is told to call.
        if metric.kind == Kind::Counter {
            let counter = self.0.f64_observable_counter(name);
            counter.with_unit(unit).with_description(description).with_callback(callback).build();
        } else {
            let gauge = self.0.f64_observable_gauge(name);
            gauge.with_unit(unit).with_description(description).with_callback(callback).build();
        }
    }

    /// Exports one number of `owner`.
    pub(super) fn number<T: Send + Sync + 'static>(
        &self,
        metric: &Metric,
        owner: &Arc<T>,
        labels: &Labels,
        read: Read<T, f64>,
    ) {
        let (owner, labels) = (Arc::clone(owner), labels.clone());
        self.observe(metric, move || vec![(labels.clone(), read(&owner))]);
    }

    /// Exports one counter of `owner`.
    pub(super) fn counter<T: Send + Sync + 'static>(
        &self,
        metric: &Metric,
        owner: &Arc<T>,
        labels: &Labels,
        find: Find<T>,
    ) {
        let (owner, labels) = (Arc::clone(owner), labels.clone());
        self.observe(metric, move || vec![(labels.clone(), find(&owner).get() as f64)]);
    }

    /// Exports counters of `owner` under the metric's last labels.
    pub(super) fn counters<T: Send + Sync + 'static, const N: usize>(
        &self,
        metric: &Metric,
        owner: &Arc<T>,
        labels: &Labels,
        read: fn(&T) -> &Counters<N>,
    ) {
        let (owner, labels) = (Arc::clone(owner), labels.clone());
        let names = metric.labels.get(labels.len()..).unwrap_or_default();
        self.observe(metric, move || {
            let labelled = |(values, count): ([&'static str; N], u64)| {
                let own = names.iter().zip(values).map(|(name, value)| (*name, value.to_owned()));
                (labels.iter().cloned().chain(own).collect(), count as f64)
            };
            read(&owner).all().into_iter().map(labelled).collect()
        });
    }

    /// A histogram; what is exported of it begins with the first value.
    pub(super) fn timings(&self, metric: &Metric, labels: Labels) -> Timings {
        let bounds = match metric.kind {
            Kind::Histogram(bounds) => bounds.to_vec(),
            Kind::Counter | Kind::Gauge => Vec::new(),
        };
        let histogram = self
            .0
            .f64_histogram(metric.name)
            .with_unit(metric.unit)
            .with_description(metric.description)
            .with_boundaries(bounds)
            .build();
        Timings(Some((histogram, key_values(labels))))
    }
}

fn key_values(labels: Labels) -> Vec<KeyValue> {
    labels.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect()
}

/// How long something took, each time. By default nobody wants to know.
#[derive(Debug, Clone, Default)]
pub struct Timings(Option<(metrics::Histogram<f64>, Vec<KeyValue>)>);

impl Timings {
    /// Notes one time.
    pub fn record(&self, took: Duration) {
        if let Some((histogram, labels)) = &self.0 {
            histogram.record(took.as_secs_f64(), labels);
        }
    }
}
