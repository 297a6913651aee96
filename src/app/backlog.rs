//! Keeps fetch from running so far ahead of preprocess that the topic between them deletes what nobody has read.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{AppError, Topics};
use crate::{
    adapters::kafka::{KafkaError, KafkaOptions, Probe, admin::Admin},
    config::Settings,
    domain::StageName,
    telemetry::StageMetrics,
};

/// Between two looks. At 3,307 pictures of 100 KB a second 1.6 GB come meanwhile.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long one look may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The gate opens again when this share of the limit is left.
const OPEN_BELOW: f64 = 0.8;

/// Watches how many bytes of pictures wait for preprocess.
pub(super) struct Backlog {
    probe: Probe,
    topic: String,
    limit: u64,
    /// Of the runners that publish there.
    metrics: Vec<Arc<StageMetrics>>,
    /// What a picture is taken for before the first was fetched.
    expected_bytes: f64,
}

impl Backlog {
    /// Nothing, where there is no limit to keep.
    ///
    /// # Errors
    /// When the configuration for Kafka is wrong.
    pub(super) async fn new(
        settings: &Settings,
        kafka: &KafkaOptions,
        metrics: Vec<Arc<StageMetrics>>,
    ) -> Result<Option<Self>, AppError> {
        let names = Topics(settings);
        let topic = names.input(StageName::Preprocess);
        let Some(limit) = limit(settings, kafka, &topic).await else { return Ok(None) };
        let probe = Probe::new(kafka, &names.group(StageName::Preprocess, &topic), &topic, TIMEOUT)?;
        tracing::info!(topic, limit, "fetch holds back when more bytes than this wait for preprocess");
        let expected_bytes = settings.kafka.expected_image_bytes;
        Ok(Some(Backlog { probe, topic, limit, metrics, expected_bytes }))
    }

    /// Opens and closes the gate until nobody asks for it any more.
    pub(super) async fn watch(self, gate: watch::Sender<bool>) {
        let mut this = self;
        while !gate.is_closed() {
            let stop = CancellationToken::new();
            let mut looking = tokio::task::spawn_blocking({
                let stop = stop.clone();
                move || this.look(&stop)
            });
            let looked = tokio::select! {
                looked = &mut looking => looked,
                // The process's end waits for the thread, and must not wait for brokers that hang.
                () = gate.closed() => {
                    stop.cancel();
                    looking.await
                }
            };
            let (back, progress) = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::error!(%error, "the backlog is not watched any more");
                    gate.send_replace(true);
                    return;
                }
            };
            this = back;
            match progress {
                Ok(waiting) => this.decide(waiting, &gate),
                // Whoever asked has gone, and that it has no answer tells nobody anything.
                Err(_) if stop.is_cancelled() => return,
                // It stays as it is: without an answer nobody knows better.
                Err(error) => tracing::warn!(%error, "cannot tell how far preprocess is behind"),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    fn look(self, stop: &CancellationToken) -> (Self, Result<u64, KafkaError>) {
        let progress = self.probe.progress(Some(stop));
        let bytes = progress.map(|progress| (progress.lag as f64 * self.mean_bytes()) as u64);
        (self, bytes)
    }

    fn decide(&self, waiting: u64, gate: &watch::Sender<bool>) {
        let is_open = *gate.borrow();
        if let Some(open) = turn(is_open, waiting, self.limit) {
            tracing::info!(topic = self.topic, waiting, limit = self.limit, open, "bytes wait for preprocess");
            gate.send_replace(open);
        }
    }

    fn mean_bytes(&self) -> f64 {
        let sum = |count: fn(&StageMetrics) -> u64| self.metrics.iter().map(|metrics| count(metrics)).sum::<u64>();
        let (bytes, records) =
            (sum(|metrics| metrics.handed_over_bytes.get()), sum(|metrics| metrics.handed_over.get()));
        if records == 0 { self.expected_bytes } else { bytes as f64 / records as f64 }
    }
}

/// Whether the gate is to be opened or closed, if it is to change.
fn turn(is_open: bool, waiting: u64, limit: u64) -> Option<bool> {
    match is_open {
        true => (waiting > limit).then_some(false),
        false => (waiting as f64 <= limit as f64 * OPEN_BELOW).then_some(true),
    }
}

/// The setting, or half of what the topic keeps by its `retention.bytes`.
async fn limit(settings: &Settings, kafka: &KafkaOptions, topic: &str) -> Option<u64> {
    if settings.kafka.images_backlog_bytes > 0 {
        return Some(settings.kafka.images_backlog_bytes);
    }
    let admin = Admin::connect(kafka, TIMEOUT).ok()?;
    let cluster = match admin.cluster(&BTreeSet::from([topic.to_owned()])).await {
        Ok(cluster) => cluster,
        Err(error) => {
            tracing::warn!(%error, "set kafka.images_backlog_bytes: what the topic keeps cannot be seen");
            return None;
        }
    };
    let found = cluster.topics.get(topic)?;
    Some(found.limit("retention.bytes")?.saturating_mul(u64::try_from(found.partitions).ok()?) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::kafka::Secret;

    #[test]
    fn the_gate_closes_above_the_limit_and_opens_when_a_fifth_of_it_is_free() {
        assert_eq!(turn(true, 100, 100), None);
        assert_eq!(turn(true, 101, 100), Some(false));
        assert_eq!(turn(false, 90, 100), None, "or it would flap");
        assert_eq!(turn(false, 80, 100), Some(true));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_end_does_not_wait_for_brokers_that_do_not_answer() {
        let nobody = ("bootstrap.servers".to_owned(), Secret("127.0.0.1:1".to_owned()));
        let probe = Probe::new(&KafkaOptions { properties: vec![nobody] }, "group", "topic", TIMEOUT).unwrap();
        let backlog = Backlog { probe, topic: "topic".to_owned(), limit: 1, metrics: Vec::new(), expected_bytes: 1.0 };
        let (gate, asked_for) = watch::channel(true);
        let watching = tokio::spawn(backlog.watch(gate));
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(asked_for);
        tokio::time::timeout(TIMEOUT / 2, watching).await.expect("at once").unwrap();
    }
}
