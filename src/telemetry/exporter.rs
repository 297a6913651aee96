use std::sync::{Arc, atomic::Ordering};

use opentelemetry::{KeyValue, metrics::MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

use super::{
    health::Health,
    metrics::{Counter, DnsMetrics, KafkaMetrics, Metrics},
};

/// Why metrics cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("a fault of facemill's own, please report it: metrics: {0}")]
pub struct ExporterError(String);

/// Everything that a process counts, as the text that Prometheus reads.
///
/// The counts themselves are plain atomics; they are read when somebody asks.
pub struct Exporter {
    registry: Registry,
    /// Holds the instruments.
    provider: SdkMeterProvider,
}

/// The counts of one stage, or of one of its clients, under the labels `stage` and `topic`.
pub struct Observed<T> {
    /// The stage.
    pub stage: &'static str,
    /// The topic that it reads.
    pub topic: String,
    /// The counts.
    pub counts: Arc<T>,
}

impl<T> Clone for Observed<T> {
    fn clone(&self) -> Self {
        Observed { stage: self.stage, topic: self.topic.clone(), counts: Arc::clone(&self.counts) }
    }
}

impl<T> Observed<T> {
    fn labels(&self) -> [KeyValue; 2] {
        [KeyValue::new("stage", self.stage), KeyValue::new("topic", self.topic.clone())]
    }
}

/// Name, unit by the Unified Code for Units of Measure, meaning and place of a count.
type Declared<T> = (&'static str, &'static str, &'static str, fn(&T) -> &Counter);

const STAGE_COUNTS: &[Declared<Metrics>] = &[
    ("facemill.urls.detected", "{url}", "URLs whose row was written as detected", |counts| &counts.detected),
    ("facemill.urls.failed", "{url}", "URLs whose row was written as failed", |counts| &counts.failed),
    ("facemill.urls.skipped", "{url}", "URLs that had a row already", |counts| &counts.skipped),
    ("facemill.handed.over", "{record}", "Records that the next topic has taken", |counts| &counts.handed_over),
    ("facemill.urls.postponed", "{url}", "URLs put off to a retry topic", |counts| &counts.postponed),
    ("facemill.dead.letters", "{record}", "Records set aside for a person", |counts| &counts.dead_letters),
    ("facemill.faces", "{face}", "Faces in the rows written", |counts| &counts.faces),
    ("facemill.fetched", "By", "Bytes of fetched bodies", |counts| &counts.fetched_bytes),
    ("facemill.retries", "{attempt}", "Attempts that failed and were made again at once", |counts| &counts.retries),
    ("facemill.pauses", "{pause}", "Times that a partition was paused for want of room", |counts| &counts.pauses),
];

const KAFKA_COUNTS: &[Declared<KafkaMetrics>] = &[
    ("facemill.kafka.rebalances", "{rebalance}", "Changes of the assignment", |counts| &counts.rebalances),
    ("facemill.kafka.commits", "{commit}", "Commits of positions", |counts| &counts.commits),
    ("facemill.kafka.commit.errors", "{commit}", "Commits that failed", |counts| &counts.commit_errors),
];

impl Exporter {
    /// Exports these counts, and what is waited for.
    ///
    /// # Errors
    /// When two metrics share a name.
    pub fn new(
        stages: &[Observed<Metrics>],
        kafka: &[Observed<KafkaMetrics>],
        dns: Arc<DnsMetrics>,
        health: Arc<Health>,
    ) -> Result<Self, ExporterError> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone()).without_target_info().build();
        let reader = reader.map_err(|error| ExporterError(error.to_string()))?;
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        let meter = provider.meter("facemill");
        observe(&meter, STAGE_COUNTS, stages);
        observe(&meter, KAFKA_COUNTS, kafka);
        meter
            .u64_observable_counter("facemill.dns.lookups")
            .with_unit("{lookup}")
            .with_description(
                "Host names that were needed, by what became of it; those that were known were not looked up",
            )
            .with_callback(move |observer| {
                let results = [
                    ("found", &dns.found),
                    ("not_found", &dns.not_found),
                    ("failed", &dns.failed),
                    ("known", &dns.known),
                ];
                for (result, count) in results {
                    observer.observe(count.get(), &[KeyValue::new("result", result)]);
                }
            })
            .build();
        meter
            .u64_observable_gauge("facemill.waiting")
            .with_description("1 for each thing that the process cannot do and waits for, as /readyz names it")
            .with_callback(move |observer| {
                for (what, _) in health.waiting() {
                    observer.observe(1, &[KeyValue::new("what", what)]);
                }
            })
            .build();
        let clients = kafka.to_vec();
        meter
            .u64_observable_gauge("facemill.kafka.lag")
            .with_unit("{record}")
            .with_description("Records behind the committed position, by partition")
            .with_callback(move |observer| {
                for client in &clients {
                    for ((topic, partition), lag) in client.counts.lags() {
                        let partition = KeyValue::new("partition", i64::from(partition));
                        let labels = [KeyValue::new("stage", client.stage), KeyValue::new("topic", topic), partition];
                        observer.observe(lag, &labels);
                    }
                }
            })
            .build();
        let clients = kafka.to_vec();
        meter
            .u64_observable_gauge("facemill.kafka.producer.queue")
            .with_unit("By")
            .with_description("Bytes that the brokers have not acknowledged")
            .with_callback(move |observer| {
                clients.iter().for_each(|client| {
                    observer.observe(client.counts.producer_queue_bytes.load(Ordering::Relaxed), &client.labels());
                });
            })
            .build();
        Ok(Exporter { registry, provider })
    }

    /// What exports more.
    pub fn meter(&self) -> opentelemetry::metrics::Meter {
        self.provider.meter("facemill")
    }

    /// The counts as they are now, in Prometheus' text format.
    ///
    /// # Errors
    /// When they cannot be written as text.
    pub fn text(&self) -> Result<String, ExporterError> {
        let encoder = TextEncoder::new();
        encoder.encode_to_string(&self.registry.gather()).map_err(|error| ExporterError(error.to_string()))
    }
}

fn observe<T: Send + Sync + 'static>(
    meter: &opentelemetry::metrics::Meter,
    declared: &[Declared<T>],
    observed: &[Observed<T>],
) {
    for &(name, unit, description, count) in declared {
        let observed = observed.to_vec();
        meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                observed.iter().for_each(|of| observer.observe(count(&of.counts).get(), &of.labels()));
            })
            .build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_exported_with_stage_and_topic() {
        let metrics = Arc::new(Metrics::default());
        let kafka = Arc::new(KafkaMetrics::default());
        let topic = "facemill.urls".to_owned();
        let stages = [Observed { stage: "fetch", topic: topic.clone(), counts: Arc::clone(&metrics) }];
        let clients = [Observed { stage: "fetch", topic: topic.clone(), counts: Arc::clone(&kafka) }];
        let health = Arc::<Health>::default();
        let dns = Arc::<DnsMetrics>::default();
        let exporter = Exporter::new(&stages, &clients, Arc::clone(&dns), Arc::clone(&health)).unwrap();
        health.waits("write the result", "no node answers");
        metrics.detected.add(3);
        dns.failed.add(5);
        kafka.set_lag(&topic, 7, 42);
        let text = exporter.text().unwrap();
        let looked_up =
            |line: &str| line.starts_with("facemill_dns_lookups_total{") && line.contains("result=\"failed\"");
        assert!(text.lines().any(|line| looked_up(line) && line.ends_with(" 5")), "{text}");
        let has = |start: &str, end: &str| {
            text.lines().any(|line| {
                line.starts_with(start)
                    && line.contains("stage=\"fetch\"")
                    && line.contains("topic=\"facemill.urls\"")
                    && line.ends_with(end)
            })
        };
        assert!(has("facemill_urls_detected_total{", " 3"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("facemill_waiting{what=\"write the result\"")), "{text}");
        assert!(has("facemill_kafka_lag{", " 42") && text.contains("partition=\"7\""), "{text}");
        for (name, ..) in STAGE_COUNTS {
            assert!(text.contains(&name.replace('.', "_")), "{name}: {text}");
        }
        metrics.detected.add(2);
        assert!(
            exporter
                .text()
                .unwrap()
                .lines()
                .any(|line| line.starts_with("facemill_urls_detected") && line.ends_with(" 5"))
        );
    }
}
