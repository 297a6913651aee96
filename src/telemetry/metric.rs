//! What a metric is; `metrics.rs` declares all there are.

/// What facemill says of one metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in OpenTelemetry.
    pub name: &'static str,
    /// How its values go together.
    pub kind: Kind,
    /// By the Unified Code for Units of Measure; "" for none.
    pub unit: &'static str,
    /// What tells its series apart.
    pub labels: &'static [&'static str],
    /// What it counts, in one sentence without a full stop.
    pub description: &'static str,
}

/// How the values of a metric go together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// What is so at the moment.
    Gauge,
    /// How often values lay below these bounds.
    Histogram(&'static [f64]),
}

pub(super) const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    description: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, unit, labels, description }
}

pub(super) const fn gauge(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    description: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, labels, description }
}

pub(super) const fn seconds(
    name: &'static str,
    bounds: &'static [f64],
    labels: &'static [&'static str],
    description: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram(bounds), unit: "s", labels, description }
}

impl Metric {
    /// The name under which Prometheus has it.
    pub fn prometheus_name(&self) -> String {
        let unit = match (self.unit, self.kind) {
            ("s", _) => "_seconds",
            ("By", _) => "_bytes",
            ("1", Kind::Gauge) => "_ratio",
            _ => "",
        };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }
}
