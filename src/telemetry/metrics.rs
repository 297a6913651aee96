//! Every metric that facemill exports: name, kind, unit, labels, meaning. `docs/metrics.md` is this file for people.
//!
//! Names and units follow OpenTelemetry's conventions; Prometheus sees dots as underscores, and unit and `_total` at
//! the end. No label has more values than there are partitions: never a URL, a host or an image.

#![allow(missing_docs, reason = "the constants say themselves what they are, to everybody")]

use super::metric::{Metric, counter, gauge, seconds};

/// The stage, and the topic that it reads.
const STAGE: &[&str] = &["stage", "topic"];
const STAGE_REASON: &[&str] = &["stage", "topic", "reason"];
const PARTITION: &[&str] = &["stage", "topic", "partition"];
/// Whoever reads the topic.
const LOG: &[&str] = &["topic", "partition"];
const CLIENT: &[&str] = &["client", "topic"];
const CLIENT_QUANTILE: &[&str] = &["client", "topic", "quantile"];

/// Bounds in seconds of what waits for the network: from a kept-alive connection nearby to a whole attempt.
const NETWORK: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];
/// Bounds in seconds of what a core does with one picture.
const KERNEL: &[f64] = &[0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

pub const RECORDS_RECEIVED: Metric =
    counter("facemill.records.received", "{record}", STAGE, "Records taken in from the topic");
pub const RECEIVED: Metric = counter("facemill.received", "By", STAGE, "Bytes of the records taken in");
pub const RECORDS_SETTLED: Metric = counter(
    "facemill.records.settled",
    "{record}",
    STAGE,
    "Records whose effect is durable: all that can be committed",
);
pub const RECORDS_HANDED_OVER: Metric =
    counter("facemill.records.handed_over", "{record}", STAGE, "Records that the next stage's topic has taken");
pub const RECORDS_FUSED: Metric = counter(
    "facemill.records.fused",
    "{record}",
    STAGE,
    "Records that the next stage took in the same process, without a topic between them",
);
pub const HANDED_OVER: Metric =
    counter("facemill.handed_over", "By", STAGE, "Bytes of the records that the next stage's topic has taken");
pub const FETCHED: Metric = counter("facemill.fetched", "By", STAGE, "Bytes of fetched pictures");
pub const RECORDS_SKIPPED: Metric = counter(
    "facemill.records.skipped",
    "{record}",
    STAGE,
    "URLs that had a row already which this pipeline would not change: no work was done",
);
pub const RECORDS_POSTPONED: Metric = counter(
    "facemill.records.postponed",
    "{record}",
    STAGE_REASON,
    "URLs put off to a retry topic, by the reason of the last failure",
);
pub const DEAD_LETTERS: Metric = counter(
    "facemill.dead_letters",
    "{record}",
    &["stage", "topic", "class"],
    "Records set aside for a person: that cannot be read, or over which facemill itself failed",
);
pub const OUTCOMES: Metric = counter(
    "facemill.outcomes",
    "{url}",
    &["stage", "topic", "status", "reason"],
    "Rows written, by status (detected, failed) and, of failed ones, reason (docs/outcomes.md)",
);
pub const FACES: Metric = counter("facemill.faces", "{face}", STAGE, "Faces in the rows written");
pub const RETRIES: Metric = counter(
    "facemill.retries",
    "{attempt}",
    STAGE_REASON,
    "Attempts that failed and were made again in the process, by reason",
);
pub const ATTEMPT_DURATION: Metric = seconds(
    "facemill.attempt.duration",
    NETWORK,
    STAGE,
    "Time of one attempt at the stage's work, waits for room included",
);
pub const RECORD_DURATION: Metric = seconds(
    "facemill.record.duration",
    NETWORK,
    STAGE,
    "Time from the begin of work on a record until its effect is durable",
);
pub const LANE_RECORDS: Metric = gauge(
    "facemill.lane.records",
    "{record}",
    PARTITION,
    "Records from the oldest unfinished one of the partition to the newest taken in",
);
pub const LANE_SIZE: Metric = gauge("facemill.lane.size", "By", PARTITION, "Bytes of the unfinished records");
pub const LANE_AGE: Metric =
    gauge("facemill.lane.age", "s", PARTITION, "Time since the oldest unfinished record was taken in");
pub const LANE_RUNNING: Metric = gauge("facemill.lane.running", "{record}", PARTITION, "Records being worked on");
pub const LANE_FILL: Metric = gauge(
    "facemill.lane.fill",
    "1",
    &["stage", "topic", "partition", "bound"],
    "Share in use of what a partition may have under way, by bound: records, bytes, age (runner.lane_*), and all_bytes of \
     all partitions together (runner.all_lanes_bytes). At 1 it pauses",
);
pub const PAUSES: Metric = counter(
    "facemill.pauses",
    "{pause}",
    &["stage", "topic", "cause"],
    "Times that a partition was paused for want of room, by what was full: records, bytes, all_bytes, age",
);
pub const PAUSED_PARTITIONS: Metric =
    gauge("facemill.paused_partitions", "{partition}", STAGE, "Partitions paused at the moment");
pub const HELD_BACK: Metric = gauge(
    "facemill.held_back",
    "",
    STAGE,
    "1 while the stage begins nothing new because the next one is too far behind (kafka.images_backlog_bytes)",
);

pub const WAITING: Metric = gauge(
    "facemill.waiting",
    "",
    &["what"],
    "1 for each thing that the process cannot do and waits for, as /readyz names it",
);
pub const BUILD_INFO: Metric = gauge("facemill.build_info", "", &["version"], "1, with the version as a label");
pub const LOG_EVENTS_DROPPED: Metric = counter(
    "facemill.log_events_dropped",
    "{event}",
    &["level"],
    "Lines that the log left out, because so many were alike",
);
pub const PROCESS_CPU: Metric =
    counter("process.cpu", "s", &[], "CPU time of the process and of the decoder processes that it has now");
pub const PROCESS_MEMORY: Metric =
    gauge("process.resident_memory", "By", &[], "Resident memory of the process and of its decoder processes");
pub const PROCESS_OPEN_FDS: Metric = gauge("process.open_fds", "{file}", &[], "Open files and sockets");
pub const PROCESS_MAX_FDS: Metric = gauge("process.max_fds", "{file}", &[], "Files and sockets that it may open");
pub const PROCESS_START_TIME: Metric =
    gauge("process.start_time", "s", &[], "When the process started, as seconds since 1970");

pub const KAFKA_REBALANCES: Metric =
    counter("facemill.kafka.rebalances", "{rebalance}", STAGE, "Changes of the partitions that the group gave us");
pub const KAFKA_COMMITS: Metric = counter("facemill.kafka.commits", "{commit}", STAGE, "Commits of positions");
pub const KAFKA_COMMIT_ERRORS: Metric = counter(
    "facemill.kafka.commit_errors",
    "{commit}",
    STAGE,
    "Commits that failed; the next one has their positions too",
);
pub const KAFKA_COMMIT_AGE: Metric = gauge(
    "facemill.kafka.commit_age",
    "s",
    STAGE,
    "For how long the oldest position to be committed has waited for it; 0 when all are committed",
);
pub const KAFKA_LAG: Metric = gauge(
    "facemill.kafka.lag",
    "{record}",
    PARTITION,
    "Records behind the committed position, as the member sees it that has the partition; `facemill monitor` has those \
     of every partition as facemill_lag_records",
);
pub const KAFKA_REQUEST_LATENCY: Metric = gauge(
    "facemill.kafka.request_latency",
    "s",
    CLIENT_QUANTILE,
    "Time from a request to its answer in the last seconds, of the slowest broker; a consumer's includes the time that \
     a broker waits for records",
);
pub const KAFKA_QUEUE_LATENCY: Metric = gauge(
    "facemill.kafka.queue_latency",
    "s",
    CLIENT_QUANTILE,
    "Time that requests waited in the client before they were sent, in the last seconds, to the slowest broker",
);
pub const KAFKA_QUEUE_MESSAGES: Metric = gauge(
    "facemill.kafka.queue_messages",
    "{record}",
    CLIENT,
    "Records in the client: of the producer those that no broker has acknowledged, of a consumer those fetched ahead",
);
pub const KAFKA_QUEUE_SIZE: Metric = gauge("facemill.kafka.queue_size", "By", CLIENT, "Their bytes");
pub const KAFKA_BROKERS_UP: Metric =
    gauge("facemill.kafka.brokers_up", "{broker}", CLIENT, "Brokers to which the client has a connection");

pub const CQL_REQUEST_DURATION: Metric = seconds(
    "facemill.cql.request.duration",
    NETWORK,
    &["operation"],
    "Time until the database has answered: read (a stored outcome), write (a row and its place in the job), join (a row \
     that was there into another job)",
);
pub const CQL_ERRORS: Metric = counter(
    "facemill.cql.errors",
    "{request}",
    &["operation", "error"],
    "Requests to the database that failed, by error: timeout, unavailable, overloaded, other; they are made again",
);

pub const DNS_LOOKUPS: Metric = counter(
    "facemill.dns.lookups",
    "{lookup}",
    &["result"],
    "Host names that were needed, by what became of it: found, not_found, failed, known (not looked up)",
);
pub const DNS_LOOKUP_DURATION: Metric = seconds(
    "facemill.dns.lookup.duration",
    NETWORK,
    &["result"],
    "Time of a look-up, by what became of it: found, not_found, failed",
);
pub const FETCH_HOSTS: Metric = gauge(
    "facemill.fetch.hosts",
    "{host}",
    &["state"],
    "Sites known at the moment, by state: working, resting (left alone after failures), tried (one URL tries whether it \
     works again)",
);
pub const FETCH_WAITING_URLS: Metric =
    gauge("facemill.fetch.waiting_urls", "{url}", &[], "URLs that wait for their turn with their site");

pub const DECODE_DURATION: Metric = seconds(
    "facemill.decode.duration",
    KERNEL,
    &[],
    "Time in which a decoder process answers for a picture; a failed one includes a self-test",
);
pub const DECODERS_REPLACED: Metric = counter(
    "facemill.decoders_replaced",
    "{process}",
    &["cause"],
    "Decoders that were replaced by new ones, by cause: ended (a crash, too much memory), timeout, self_test (did not decode a built-in picture), contradiction (failed on a picture, then decoded it or failed differently), internal_error",
);
pub const INFERENCE_DURATION: Metric =
    seconds("facemill.inference.duration", KERNEL, &[], "Time of one run of the face detection model");

pub const LAG_RECORDS: Metric = gauge(
    "facemill.lag.records",
    "{record}",
    PARTITION,
    "Records that the stage has not settled, by the position that its group has committed",
);
pub const LAG_AGE: Metric = gauge(
    "facemill.lag.age",
    "s",
    PARTITION,
    "Age of the oldest record that the stage has not settled: since it was appended, or due in a retry \
                      topic; 0 where there is none, absent where the record does not tell",
);
pub const RETENTION_USED: Metric = gauge(
    "facemill.retention.used",
    "1",
    PARTITION,
    "Share that the records not settled have used of what the topic keeps, by time or by bytes (an \
                      estimate from the mean size of records that were read), whichever is more; at 1 they are deleted",
);
pub const RECORDS_LOST: Metric = counter(
    "facemill.records.lost",
    "{record}",
    PARTITION,
    "Records that were deleted before the stage had settled them, since the monitor started",
);
pub const GROUP_POSITION: Metric = gauge(
    "facemill.group.position",
    "{record}",
    PARTITION,
    "Where the stage goes on: what its group has committed, or the start of the log",
);
pub const LOG_START: Metric = gauge("facemill.log.start", "{record}", LOG, "Offset of the oldest record in the topic");
pub const LOG_END: Metric =
    gauge("facemill.log.end", "{record}", LOG, "Offset of the next record that comes into the topic");
pub const GROUP_MEMBERS: Metric = gauge(
    "facemill.group.members",
    "{member}",
    &["stage", "topic"],
    "Members of the consumer group that reads the topic",
);
pub const DEADLINE: Metric = gauge(
    "facemill.deadline.timestamp",
    "s",
    &[],
    "When all URLs shall be done (monitor.deadline), as seconds since 1970; absent without a deadline",
);
pub const EXPECTED_RATE: Metric = gauge(
    "facemill.expected.rate",
    "",
    &[],
    "URLs a second that are expected (kafka.expected_rate); absent when it is 0",
);
pub const MONITOR_LAST_SUCCESS: Metric = gauge(
    "facemill.monitor.last_success.timestamp",
    "s",
    &[],
    "When the last look began in which all topics and groups were seen, as seconds since 1970; nothing before the first",
);
pub const MONITOR_ERRORS: Metric = counter(
    "facemill.monitor.errors",
    "{error}",
    &[],
    "What could not be seen, each time that it could not: a topic, a group, or any broker",
);

/// All of them, in the order in which a reader wants them.
pub const ALL: &[(&str, &[Metric])] = &[
    (
        "Each stage",
        &[
            RECORDS_RECEIVED,
            RECEIVED,
            RECORDS_SETTLED,
            RECORDS_HANDED_OVER,
            RECORDS_FUSED,
            HANDED_OVER,
            FETCHED,
            RECORDS_SKIPPED,
            RECORDS_POSTPONED,
            DEAD_LETTERS,
            OUTCOMES,
            FACES,
            RETRIES,
            ATTEMPT_DURATION,
            RECORD_DURATION,
            LANE_RECORDS,
            LANE_SIZE,
            LANE_AGE,
            LANE_RUNNING,
            LANE_FILL,
            PAUSES,
            PAUSED_PARTITIONS,
            HELD_BACK,
        ],
    ),
    ("fetch", &[DNS_LOOKUPS, DNS_LOOKUP_DURATION, FETCH_HOSTS, FETCH_WAITING_URLS]),
    ("preprocess", &[DECODE_DURATION, DECODERS_REPLACED]),
    ("detect", &[INFERENCE_DURATION]),
    (
        "Kafka clients",
        &[
            KAFKA_REBALANCES,
            KAFKA_COMMITS,
            KAFKA_COMMIT_ERRORS,
            KAFKA_COMMIT_AGE,
            KAFKA_LAG,
            KAFKA_REQUEST_LATENCY,
            KAFKA_QUEUE_LATENCY,
            KAFKA_QUEUE_MESSAGES,
            KAFKA_QUEUE_SIZE,
            KAFKA_BROKERS_UP,
        ],
    ),
    ("ScyllaDB or Cassandra", &[CQL_REQUEST_DURATION, CQL_ERRORS]),
    (
        "`facemill monitor`",
        &[
            LAG_RECORDS,
            LAG_AGE,
            RETENTION_USED,
            RECORDS_LOST,
            GROUP_POSITION,
            GROUP_MEMBERS,
            LOG_START,
            LOG_END,
            DEADLINE,
            EXPECTED_RATE,
            MONITOR_LAST_SUCCESS,
            MONITOR_ERRORS,
        ],
    ),
    (
        "Every process",
        &[
            BUILD_INFO,
            WAITING,
            LOG_EVENTS_DROPPED,
            PROCESS_CPU,
            PROCESS_MEMORY,
            PROCESS_OPEN_FDS,
            PROCESS_MAX_FDS,
            PROCESS_START_TIME,
        ],
    ),
];

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::telemetry::metric::Kind;

    /// `docs/metrics.md`.
    fn page() -> String {
        let mut page = String::from(INTRODUCTION);
        for (title, metrics) in ALL {
            let _ = write!(page, "\n## {title}\n\n| metric | kind | labels | what it is |\n|---|---|---|---|\n");
            for metric in *metrics {
                let kind = match metric.kind {
                    Kind::Counter => "counter",
                    Kind::Gauge => "gauge",
                    Kind::Histogram(_) => "histogram",
                };
                let labels = metric.labels.join(", ");
                let _ =
                    writeln!(page, "| `{}` | {kind} | {labels} | {} |", metric.prometheus_name(), metric.description);
            }
        }
        page
    }

    const INTRODUCTION: &str = "# Metrics

<!-- Generated from src/telemetry/metrics.rs by `make docs`: change that. -->

Every process of `facemill run` and `facemill monitor` answers `/metrics` (`http.listen`, port 9464) in Prometheus' text
format, and sends the same to an OpenTelemetry collector where `OTEL_EXPORTER_OTLP_ENDPOINT` names one (under their
names in OpenTelemetry: dots for underscores, without unit and `_total`).

`stage` is fetch, preprocess or detect, `topic` the one that it reads. No label ever has a URL, a host or an image.
";

    #[test]
    fn the_page_is_generated_from_this_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("FACEMILL_WRITE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == page(), "docs/metrics.md is out of date: run `make docs`");
    }

    /// <https://prometheus.io/docs/practices/naming/>, and OpenTelemetry's conventions for metrics.
    #[test]
    fn names_units_and_labels_follow_the_conventions() {
        let mut names: Vec<String> = Vec::new();
        for metric in ALL.iter().flat_map(|(_, metrics)| *metrics) {
            let name = metric.name;
            assert!(name.starts_with("facemill.") || name.starts_with("process."), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '.' || c == '_'), "{name}");
            assert!(!name.ends_with("total") && !name.ends_with("seconds") && !name.ends_with("bytes"), "{name}");
            assert!(["s", "By", "1", ""].contains(&metric.unit) || metric.unit.starts_with('{'), "{name}");
            assert!(!metric.description.ends_with('.') && metric.description.len() > 10, "{name}");
            let forbidden = |label: &&str| ["url", "host", "image", "image_id", "job", "instance"].contains(label);
            assert!(!metric.labels.iter().any(forbidden), "{name}");
            names.push(metric.prometheus_name());
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "a name stands twice");
    }
}
