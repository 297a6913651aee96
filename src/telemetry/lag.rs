//! What `facemill monitor` sees from outside: how far each stage is behind, whoever reads its partitions or nobody.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    counts::Counter,
    meter::{Labels, Meter},
    metric::Metric,
    metrics::{
        DEADLINE, EXPECTED_RATE, GROUP_MEMBERS, GROUP_POSITION, LAG_AGE, LAG_RECORDS, LOG_END, LOG_START,
        MONITOR_ERRORS, MONITOR_LAST_SUCCESS, RECORDS_LOST, RETENTION_USED,
    },
};

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

fn single(value: Option<f64>) -> Vec<(Labels, f64)> {
    value.map(|value| (Labels::new(), value)).into_iter().collect()
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
    /// Exported, with a deadline, as seconds since 1970, and the URLs a second that are expected, where there are any.
    pub fn exported(meter: &Meter, deadline: Option<f64>, expected_rate: Option<f64>) -> Arc<Self> {
        let metrics = Arc::new(LagMetrics { deadline, expected_rate, ..LagMetrics::default() });
        let observe = |metric: &Metric, read: fn(&LagMetrics) -> Vec<(Labels, f64)>| {
            let observed = Arc::clone(&metrics);
            meter.observe(metric, move || read(&observed));
        };
        observe(&LAG_RECORDS, |of| of.partitions(|partition| Some(partition.lag as f64)));
        observe(&LAG_AGE, |of| of.partitions(|partition| partition.age));
        observe(&RETENTION_USED, |of| of.partitions(|partition| partition.retention_used));
        observe(&RECORDS_LOST, |of| {
            of.state().lost.iter().map(|(place, lost)| (place.labels(), *lost as f64)).collect()
        });
        observe(&GROUP_POSITION, |of| of.partitions(|partition| Some(partition.position as f64)));
        observe(&LOG_START, |of| of.logs(|log| log.start));
        observe(&LOG_END, |of| of.logs(|log| log.end));
        observe(&GROUP_MEMBERS, |of| {
            let members = |topic: &TopicLag| Some((topic.labels(), topic.members? as f64));
            of.state().topics.iter().filter_map(members).collect()
        });
        observe(&DEADLINE, |of| single(of.deadline));
        observe(&EXPECTED_RATE, |of| single(of.expected_rate));
        observe(&MONITOR_LAST_SUCCESS, |of| single(of.state().last_success));
        observe(&MONITOR_ERRORS, |of| vec![(Labels::new(), of.errors.get() as f64)]);
        metrics
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

    fn exported(deadline: Option<f64>, expected_rate: Option<f64>) -> (Exporter, Arc<LagMetrics>) {
        let exporter = Exporter::new(&Arc::<Health>::default()).unwrap();
        let metrics = LagMetrics::exported(&exporter.meter(), deadline, expected_rate);
        (exporter, metrics)
    }

    /// The lines of these metrics.
    fn lines(exporter: &Exporter) -> Vec<String> {
        let text = exporter.text().unwrap();
        let is_own = |line: &&str| !line.starts_with(['#', 'p']) && !line.starts_with("facemill_build_info");
        text.lines().filter(is_own).map(str::to_owned).collect()
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
        let (exporter, metrics) = exported(Some(1_800_000_000.0), Some(3307.0));
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
        let (exporter, metrics) = exported(None, None);
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
