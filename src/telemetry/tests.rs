use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{metrics::ALL, *};

struct World {
    exporter: Exporter,
    health: Arc<Health>,
    stage: Arc<StageMetrics>,
    consumer: Arc<KafkaMetrics>,
    cql: Arc<CqlMetrics>,
    dns: Arc<DnsMetrics>,
    decoders: Arc<DecoderMetrics>,
    inference: Timings,
    lag: Arc<LagMetrics>,
}

const URLS: &str = "facemill.urls";

impl World {
    fn new() -> Self {
        let health = Arc::<Health>::default();
        let exporter = Exporter::new(&health).unwrap();
        let meter = exporter.meter();
        KafkaMetrics::of_producer(&meter);
        World {
            stage: StageMetrics::exported(&meter, "fetch", URLS),
            consumer: KafkaMetrics::of_consumer(&meter, "fetch", URLS),
            cql: CqlMetrics::exported(&meter),
            dns: DnsMetrics::exported(&meter),
            decoders: DecoderMetrics::exported(&meter),
            inference: inference_timings(&meter),
            lag: LagMetrics::exported(&meter, Some(1e9), Some(3307.0)),
            exporter,
            health,
        }
    }

    /// Something of everything.
    fn work(&self) {
        let second = Duration::from_secs(1);
        self.health.waits("write the result", "no node answers");
        let stage = &self.stage;
        stage.attempts.record(second);
        stage.records.record(second);
        stage.postponed.add(["rate_limited"], 1);
        stage.retries.add(["rate_limited"], 1);
        stage.row_written(None);
        stage.row_written(Some("not_an_image"));
        let fill = [("records", 0.5), ("bytes", 0.25), ("all_bytes", 0.125), ("age", 0.0)];
        let lane = LaneState { partition: 7, records: 3, is_paused: true, fill, ..LaneState::default() };
        stage.set_lanes(vec![lane]);
        self.consumer.set_lag(7, 42);
        self.cql.took(CqlOperation::Write, second);
        self.cql.failed(CqlOperation::Write, "timeout");
        [&self.dns.found, &self.dns.not_found, &self.dns.failed].iter().for_each(|lookups| lookups.record(second));
        self.decoders.durations.record(second);
        self.inference.record(second);
        self.lag.set(vec![TopicLag {
            topic: URLS.to_owned(),
            stage: Some("fetch"),
            members: Some(1),
            logs: [(7, LogLag::default())].into(),
            partitions: [(7, PartitionLag { age: Some(1.0), retention_used: Some(0.5), ..PartitionLag::default() })]
                .into(),
        }]);
        self.lag.succeeded(1e9);
    }

    fn series(&self) -> BTreeMap<String, f64> {
        let text = self.exporter.text().unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(key, value)| (key.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// The one series of this name with all of these labels.
    fn value(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let series = self.series();
        let is_wanted =
            |key: &&String| key.split('{').next() == Some(name) && labels.iter().all(|label| key.contains(label));
        let mut found = series.keys().filter(is_wanted);
        let key = found.next()?;
        assert!(found.next().is_none(), "several of {name} with {labels:?}");
        series.get(key).copied()
    }
}

#[test]
fn what_happens_is_counted_under_stage_and_topic() {
    let world = World::new();
    assert_eq!(world.value("facemill_outcomes_total", &["status=\"detected\""]), Some(0.0), "from the start");
    world.work();
    for (name, labels, expected) in [
        ("facemill_outcomes_total", ["status=\"detected\"", "reason=\"\""].as_slice(), 1.0),
        ("facemill_outcomes_total", &["status=\"failed\"", "reason=\"not_an_image\""], 1.0),
        ("facemill_records_postponed_total", &["reason=\"rate_limited\""], 1.0),
        ("facemill_lane_records", &["partition=\"7\""], 3.0),
        ("facemill_lane_fill_ratio", &["partition=\"7\"", "bound=\"records\""], 0.5),
        ("facemill_paused_partitions", &[], 1.0),
        ("facemill_attempt_duration_seconds_sum", &[], 1.0),
        ("facemill_attempt_duration_seconds_bucket", &["le=\"0.5\""], 0.0),
        ("facemill_attempt_duration_seconds_bucket", &["le=\"2.5\""], 1.0),
        ("facemill_kafka_lag", &["partition=\"7\""], 42.0),
    ] {
        let all: Vec<&str> = labels.iter().copied().chain(["stage=\"fetch\"", "topic=\"facemill.urls\""]).collect();
        assert_eq!(world.value(name, &all), Some(expected), "{name} {labels:?}: {:#?}", world.series());
    }
    assert_eq!(world.value("facemill_cql_errors_total", &["operation=\"write\"", "error=\"timeout\""]), Some(1.0));
    assert_eq!(world.value("facemill_dns_lookups_total", &["result=\"failed\""]), Some(1.0));
    assert_eq!(world.value("facemill_waiting", &["what=\"write the result\""]), Some(1.0));
    world.stage.row_written(None);
    assert_eq!(world.value("facemill_outcomes_total", &["status=\"detected\""]), Some(2.0));
}

#[test]
fn a_partition_that_another_member_has_is_not_shown_any_more() {
    let world = World::new();
    world.work();
    world.consumer.forget(7);
    world.stage.set_lanes(Vec::new());
    assert_eq!(world.value("facemill_kafka_lag", &[]), None);
    assert_eq!(world.value("facemill_lane_records", &[]), None);
    assert_eq!(world.value("facemill_paused_partitions", &[]), Some(0.0));
}

#[test]
fn stages_of_one_process_are_told_apart() {
    let world = World::new();
    let meter = world.exporter.meter();
    let other = StageMetrics::exported(&meter, "detect", "facemill.frames");
    other.received.add(5);
    other.attempts.record(Duration::from_secs(1));
    assert_eq!(world.value("facemill_records_received_total", &["stage=\"detect\""]), Some(5.0));
    assert_eq!(world.value("facemill_records_received_total", &["stage=\"fetch\""]), Some(0.0));
    assert_eq!(world.value("facemill_attempt_duration_seconds_count", &["stage=\"detect\""]), Some(1.0));
}

#[test]
fn a_topic_may_have_thousands_of_partitions() {
    let world = World::new();
    let lanes = (0..3000).map(|partition| LaneState { partition, records: 1, ..LaneState::default() });
    world.stage.set_lanes(lanes.collect());
    assert_eq!(world.value("facemill_lane_records", &["partition=\"2999\""]), Some(1.0));
}

/// Those that other parts of the program export, and that are tested there.
const ELSEWHERE: &[&str] = &["facemill.fetch.hosts", "facemill.fetch.waiting_urls", "facemill.log_events_dropped"];

#[test]
fn what_is_declared_is_exported_under_that_name_with_those_labels_and_nothing_else() {
    let world = World::new();
    world.work();
    let mut exported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for key in world.series().keys() {
        let (name, labels) = key.split_once('{').map_or((key.as_str(), ""), |(name, rest)| (name, rest));
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let names =
            labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name);
        let names = names.filter(|name| *name != "le").map(str::to_owned);
        exported.entry(histogram.unwrap_or(name).to_owned()).or_default().extend(names);
    }
    let declared = ALL.iter().flat_map(|(_, metrics)| *metrics).filter(|metric| !ELSEWHERE.contains(&metric.name));
    for metric in declared {
        let labels = exported.remove(&metric.prometheus_name());
        let expected: BTreeSet<String> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        assert_eq!(labels, Some(expected), "{}", metric.name);
    }
    assert!(exported.is_empty(), "not declared: {:?}", exported.keys());
}

#[test]
fn a_position_waits_from_when_it_is_stored_until_it_is_committed_or_another_member_has_its_partition() {
    let world = World::new();
    let consumer = &world.consumer;
    let age = || world.value("facemill_kafka_commit_age_seconds", &[]).unwrap();
    assert!(age() == 0.0);
    consumer.position_stored(1, 10);
    consumer.position_stored(2, 5);
    std::thread::sleep(Duration::from_millis(20));
    consumer.position_stored(1, 12);
    assert!(age() >= 0.02);
    consumer.committed(&[(1, 12)]);
    assert!(age() >= 0.02, "another partition still waits");
    consumer.forget(2);
    assert!(age() == 0.0);
    consumer.position_stored(1, 15);
    let asked = consumer.waiting();
    std::thread::sleep(Duration::from_millis(500));
    consumer.position_stored(1, 20);
    consumer.committed(&asked);
    assert!(age() > 0.0 && age() < 0.5, "what came after the commit was asked for has waited since then");
    assert_eq!(world.value("facemill_kafka_commits_total", &[]), Some(2.0));
}
