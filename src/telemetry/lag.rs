//! What `facemill monitor` sees from outside: how far each stage is behind, whoever reads its partitions or nobody.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use opentelemetry::{KeyValue, metrics::Meter};

use super::metrics::Counter;

/// Values of labels, by name.
type Labels = Vec<(&'static str, String)>;

/// A metric of the monitor.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// Its name in OpenTelemetry.
    pub name: &'static str,
    /// Whether it only grows; otherwise it is what is so at the moment.
    pub is_counter: bool,
    /// By the Unified Code for Units of Measure; "" for none.
    pub unit: &'static str,
    /// What tells its series apart.
    pub labels: &'static [&'static str],
    /// What it counts, in one sentence without a full stop.
    pub description: &'static str,
    /// Its series at the moment.
    read: fn(&LagMetrics) -> Vec<(Labels, f64)>,
}

const PARTITION: &[&str] = &["stage", "topic", "partition"];
const LOG: &[&str] = &["topic", "partition"];

/// Every metric of the monitor.
pub const LAG_METRICS: &[Declared] = &[
    Declared {
        name: "facemill.lag.records",
        is_counter: false,
        unit: "{record}",
        labels: PARTITION,
        description: "Records that the stage has not settled, by the position that its group has committed",
        read: |of| of.partitions(|partition| Some(partition.lag as f64)),
    },
    Declared {
        name: "facemill.lag.age",
        is_counter: false,
        unit: "s",
        labels: PARTITION,
        description: "Age of the oldest record that the stage has not settled: since it was appended, or due in a retry \
                      topic; 0 where there is none, absent where the record does not tell",
        read: |of| of.partitions(|partition| partition.age),
    },
    Declared {
        name: "facemill.retention.used",
        is_counter: false,
        unit: "1",
        labels: PARTITION,
        description: "Share that the records not settled have used of what the topic keeps, by time or by bytes (an \
                      estimate from the mean size of records that were read), whichever is more; at 1 they are deleted",
        read: |of| of.partitions(|partition| partition.retention_used),
    },
    Declared {
        name: "facemill.records.lost",
        is_counter: true,
        unit: "{record}",
        labels: PARTITION,
        description: "Records that were deleted before the stage had settled them, since the monitor started",
        read: |of| of.state().lost.iter().map(|(place, lost)| (place.labels(), *lost as f64)).collect(),
    },
    Declared {
        name: "facemill.group.position",
        is_counter: false,
        unit: "{record}",
        labels: PARTITION,
        description: "Where the stage goes on: what its group has committed, or the start of the log",
        read: |of| of.partitions(|partition| Some(partition.position as f64)),
    },
    Declared {
        name: "facemill.log.start",
        is_counter: false,
        unit: "{record}",
        labels: LOG,
        description: "Offset of the oldest record in the topic",
        read: |of| of.logs(|log| log.start),
    },
    Declared {
        name: "facemill.log.end",
        is_counter: false,
        unit: "{record}",
        labels: LOG,
        description: "Offset of the next record that comes into the topic",
        read: |of| of.logs(|log| log.end),
    },
    Declared {
        name: "facemill.group.members",
        is_counter: false,
        unit: "{member}",
        labels: &["stage", "topic"],
        description: "Members of the consumer group that reads the topic",
        read: |of| {
            let members = |topic: &TopicLag| Some((topic.labels(), topic.members? as f64));
            of.state().topics.iter().filter_map(members).collect()
        },
    },
    Declared {
        name: "facemill.deadline.timestamp",
        is_counter: false,
        unit: "s",
        labels: &[],
        description: "When all URLs shall be done (monitor.deadline), as seconds since 1970; absent without a deadline",
        read: |of| of.deadline.map(|deadline| (Labels::new(), deadline)).into_iter().collect(),
    },
    Declared {
        name: "facemill.expected.rate",
        is_counter: false,
        // Per second; a unit that says so would be part of the name.
        unit: "",
        labels: &[],
        description: "URLs a second that are expected (kafka.expected_rate); absent when it is 0",
        read: |of| of.expected_rate.map(|rate| (Labels::new(), rate)).into_iter().collect(),
    },
    Declared {
        name: "facemill.monitor.last_success.timestamp",
        is_counter: false,
        unit: "s",
        labels: &[],
        description: "When the last look began in which all topics and groups were seen, as seconds since 1970",
        read: |of| of.state().last_success.map(|at| (Labels::new(), at)).into_iter().collect(),
    },
    Declared {
        name: "facemill.monitor.errors",
        is_counter: true,
        unit: "{error}",
        labels: &[],
        description: "What could not be seen, each time that it could not: a topic, a group, or any broker",
        read: |of| vec![(Labels::new(), of.errors.get() as f64)],
    },
];

/// What the monitor saw last.
#[derive(Debug, Default)]
pub struct LagMetrics {
    /// What could not be seen.
    pub errors: Counter,
    deadline: Option<f64>,
    expected_rate: Option<f64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    topics: Vec<TopicLag>,
    /// Stays when the rest is not known any more: what was lost is lost.
    lost: BTreeMap<Place, u64>,
    last_success: Option<f64>,
}

/// One topic as the monitor saw it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopicLag {
    /// The topic.
    pub topic: String,
    /// The stage that reads it, if one does.
    pub stage: Option<&'static str>,
    /// Members of its group, if they could be seen.
    pub members: Option<u64>,
    /// The log of each partition.
    pub logs: BTreeMap<i32, LogLag>,
    /// How far the stage is in each partition.
    pub partitions: BTreeMap<i32, PartitionLag>,
}

/// The log of one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LogLag {
    /// Offset of the oldest record.
    pub start: u64,
    /// Offset of the next record.
    pub end: u64,
}

/// How far a stage is in one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PartitionLag {
    /// Offset at which it goes on.
    pub position: u64,
    /// Records not settled.
    pub lag: u64,
    /// Age of the oldest in seconds, if it is known.
    pub age: Option<f64>,
    /// Share of the retention that they have used, if it is known.
    pub retention_used: Option<f64>,
    /// Records that were lost since the last look.
    pub lost: u64,
}

/// A partition that a stage reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    stage: &'static str,
    topic: String,
    partition: i32,
}

impl Place {
    fn labels(&self) -> Labels {
        let Place { stage, topic, partition } = self;
        vec![("stage", (*stage).to_owned()), ("topic", topic.clone()), ("partition", partition.to_string())]
    }
}

impl TopicLag {
    fn labels(&self) -> Labels {
        let stage = self.stage.map(|stage| ("stage", stage.to_owned()));
        stage.into_iter().chain([("topic", self.topic.clone())]).collect()
    }
}

impl LagMetrics {
    /// With a deadline, as seconds since 1970, and the URLs a second that are expected, where there are any.
    pub fn new(deadline: Option<f64>, expected_rate: Option<f64>) -> Self {
        LagMetrics { deadline, expected_rate, ..LagMetrics::default() }
    }

    /// Notes what was seen, in place of all that was seen before. What was lost is added to what had been lost.
    pub fn set(&self, topics: Vec<TopicLag>) {
        let mut state = self.state();
        for topic in &topics {
            let Some(stage) = topic.stage else { continue };
            for (partition, seen) in &topic.partitions {
                let place = Place { stage, topic: topic.topic.clone(), partition: *partition };
                *state.lost.entry(place).or_default() += seen.lost;
            }
        }
        state.topics = topics;
    }

    /// Forgets what was seen: after a look that failed nobody knows whether it is so still.
    pub fn clear(&self) {
        self.state().topics.clear();
    }

    /// Notes that everything was seen in a look that began then, as seconds since 1970.
    pub fn succeeded(&self, began: f64) {
        self.state().last_success = Some(began);
    }

    /// Has the meter export all of it.
    pub fn observe(self: &Arc<Self>, meter: &Meter) {
        for Declared { name, is_counter, unit, description, read, .. } in LAG_METRICS.iter().copied() {
            let this = Arc::clone(self);
            let callback = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<f64>| {
                for (labels, value) in read(&this) {
                    let labels: Vec<_> = labels.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect();
                    observer.observe(value, &labels);
                }
            };
            // The meter keeps what it is told to call.
            if is_counter {
                let counter = meter.f64_observable_counter(name).with_unit(unit).with_description(description);
                counter.with_callback(callback).build();
            } else {
                let gauge = meter.f64_observable_gauge(name).with_unit(unit).with_description(description);
                gauge.with_callback(callback).build();
            }
        }
    }

    fn partitions(&self, read: fn(&PartitionLag) -> Option<f64>) -> Vec<(Labels, f64)> {
        let of = |topic: &TopicLag| {
            let labelled = |(partition, lag): (&i32, &PartitionLag)| {
                let place = Place { stage: topic.stage?, topic: topic.topic.clone(), partition: *partition };
                Some((place.labels(), read(lag)?))
            };
            topic.partitions.iter().filter_map(labelled).collect::<Vec<_>>()
        };
        self.state().topics.iter().flat_map(of).collect()
    }

    fn logs(&self, read: fn(&LogLag) -> u64) -> Vec<(Labels, f64)> {
        let of = |topic: &TopicLag| {
            let labelled = |(partition, log): (&i32, &LogLag)| {
                (vec![("topic", topic.topic.clone()), ("partition", partition.to_string())], read(log) as f64)
            };
            topic.logs.iter().map(labelled).collect::<Vec<_>>()
        };
        self.state().topics.iter().flat_map(of).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Exporter, Health};

    fn exported(metrics: &Arc<LagMetrics>) -> Exporter {
        let exporter = Exporter::new(&[], &[], Arc::default(), Arc::<Health>::default()).unwrap();
        metrics.observe(&exporter.meter());
        exporter
    }

    /// The lines of these metrics, without what OpenTelemetry says of the meter.
    fn lines(exporter: &Exporter) -> Vec<String> {
        let names: Vec<_> = LAG_METRICS.iter().map(|metric| metric.name.replace('.', "_")).collect();
        let text = exporter.text().unwrap();
        let own = text.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
        own.map(|line| line.replace(",otel_scope_name=\"facemill\"", "").replace("{otel_scope_name=\"facemill\"}", ""))
            .collect()
    }

    fn seen() -> Vec<TopicLag> {
        let lag = PartitionLag { position: 10, lag: 7, age: Some(3.5), retention_used: Some(0.25), lost: 2 };
        let unknown = PartitionLag { position: 4, lag: 1, ..PartitionLag::default() };
        let urls = TopicLag {
            topic: "facemill.urls".into(),
            stage: Some("fetch"),
            members: Some(2),
            logs: [(0, LogLag { start: 8, end: 17 })].into(),
            partitions: [(0, lag), (1, unknown)].into(),
        };
        let dlq = TopicLag {
            topic: "facemill.dlq".into(),
            logs: [(3, LogLag { start: 0, end: 5 })].into(),
            ..TopicLag::default()
        };
        vec![urls, dlq]
    }

    #[test]
    fn prometheus_sees_every_metric_under_its_name() {
        let metrics = Arc::new(LagMetrics::new(Some(1_800_000_000.0), Some(3307.0)));
        let exporter = exported(&metrics);
        metrics.set(seen());
        metrics.succeeded(1_700_000_000.0);
        metrics.errors.add(4);
        let expected = [
            "facemill_deadline_timestamp_seconds 1800000000",
            "facemill_expected_rate 3307",
            r#"facemill_group_members{stage="fetch",topic="facemill.urls"} 2"#,
            r#"facemill_group_position{partition="0",stage="fetch",topic="facemill.urls"} 10"#,
            r#"facemill_group_position{partition="1",stage="fetch",topic="facemill.urls"} 4"#,
            r#"facemill_lag_age_seconds{partition="0",stage="fetch",topic="facemill.urls"} 3.5"#,
            r#"facemill_lag_records{partition="0",stage="fetch",topic="facemill.urls"} 7"#,
            r#"facemill_lag_records{partition="1",stage="fetch",topic="facemill.urls"} 1"#,
            r#"facemill_log_end{partition="0",topic="facemill.urls"} 17"#,
            r#"facemill_log_end{partition="3",topic="facemill.dlq"} 5"#,
            r#"facemill_log_start{partition="0",topic="facemill.urls"} 8"#,
            r#"facemill_log_start{partition="3",topic="facemill.dlq"} 0"#,
            "facemill_monitor_errors_total 4",
            "facemill_monitor_last_success_timestamp_seconds 1700000000",
            r#"facemill_records_lost_total{partition="0",stage="fetch",topic="facemill.urls"} 2"#,
            r#"facemill_records_lost_total{partition="1",stage="fetch",topic="facemill.urls"} 0"#,
            r#"facemill_retention_used_ratio{partition="0",stage="fetch",topic="facemill.urls"} 0.25"#,
        ];
        let mut lines = lines(&exporter);
        lines.sort();
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_is_not_known_any_more_is_not_exported_and_what_was_lost_adds_up() {
        let metrics = Arc::new(LagMetrics::default());
        let exporter = exported(&metrics);
        metrics.set(seen());
        lines(&exporter);
        metrics.clear();
        metrics.errors.add(1);
        let lost = r#"facemill_records_lost_total{partition="0",stage="fetch",topic="facemill.urls"} 2"#;
        let none = lost.replace("partition=\"0\"", "partition=\"1\"").replace(" 2", " 0");
        assert_eq!(lines(&exporter), ["facemill_monitor_errors_total 1", lost, &none]);
        metrics.set(seen());
        assert!(lines(&exporter).contains(&lost.replace(" 2", " 4")));
    }
}
