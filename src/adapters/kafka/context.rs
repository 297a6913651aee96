use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    client::DefaultClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError as Native, KafkaResult},
    statistics::{Broker, Window},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    runner::ports::{Event, Generation, Partition, PortError},
    telemetry::{ClientState, Health, KafkaMetrics, Quantiles},
};

/// What is waited for while no broker can be reached.
const BROKERS: &str = "reach the Kafka brokers";

/// What is waited for while the brokers let us read no more.
pub(super) const RIGHTS: &str = "be allowed to read from Kafka";

/// The part that all clients share: errors and statistics.
pub(super) struct Watch {
    pub(super) health: Arc<Health>,
    pub(super) metrics: Arc<KafkaMetrics>,
}

/// Consumers and producers get one list of properties: what a client of this kind has no use for is no mistake.
fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    let is_of_other_kind = facility == "CONFWARN" && text.contains("will be ignored by this");
    let level = if is_of_other_kind { RDKafkaLogLevel::Debug } else { level };
    DefaultClientContext.log(level, facility, text);
}

impl Watch {
    /// Records came.
    pub(super) fn reads(&self) {
        self.health.goes_on(BROKERS);
        self.health.goes_on(RIGHTS);
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    /// Every five seconds.
    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().any(|broker| broker.state == "UP");
        if up {
            self.health.goes_on(BROKERS);
        }
        self.metrics.set_client(client_state(&statistics));
        for topic in statistics.topics.values() {
            // Partition -1 is librdkafka's own, of messages without one; of those that are others' now it keeps what it
            // knew last.
            for partition in topic.partitions.values().filter(|known| known.partition >= 0 && known.desired) {
                // Negative before the first commit.
                if let Ok(lag) = u64::try_from(partition.consumer_lag) {
                    self.metrics.set_lag(partition.partition, lag);
                }
            }
        }
    }

    fn error(&self, error: Native, reason: &str) {
        tracing::warn!(%error, reason, "Kafka");
        if error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::AllBrokersDown) {
            self.health.waits(BROKERS, reason);
        }
    }
}

fn client_state(statistics: &Statistics) -> ClientState {
    let up = || statistics.brokers.values().filter(|broker| broker.nodeid >= 0 && broker.state == "UP");
    let slowest = |window: fn(&Broker) -> &Option<Window>, quantile: fn(&Window) -> i64| {
        let micros = up().filter_map(|broker| window(broker).as_ref()).map(quantile).max().unwrap_or_default();
        Duration::from_micros(micros.max(0).unsigned_abs())
    };
    let quantiles = |window: fn(&Broker) -> &Option<Window>| Quantiles {
        median: slowest(window, |window| window.p50),
        p99: slowest(window, |window| window.p99),
    };
    let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
    let (mut messages, mut bytes) = (statistics.msg_cnt, statistics.msg_size);
    for partition in partitions {
        messages = messages.saturating_add(u64::try_from(partition.fetchq_cnt).unwrap_or(0));
        bytes = bytes.saturating_add(partition.fetchq_size);
    }
    let (requests, queue) = (quantiles(|broker| &broker.rtt), quantiles(|broker| &broker.outbuf_latency));
    ClientState { brokers_up: up().count(), messages, bytes, requests, queue }
}

/// Which assignment each partition of a consumer is under.
#[derive(Default)]
pub(super) struct Assignment {
    current: Mutex<HashMap<Partition, Generation>>,
    last: AtomicU64,
}

impl Assignment {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Partition, Generation>> {
        // Nothing panics while it holds this lock.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there ever was one.
    pub(super) fn has_begun(&self) -> bool {
        self.last.load(Ordering::Relaxed) > 0
    }

    fn begin(&self, partition: Partition) -> Generation {
        let generation = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().insert(partition, generation);
        generation
    }
}

/// A consumer's callbacks. They run on its polling thread.
pub(super) struct GroupContext {
    pub(super) watch: Watch,
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) assignment: Arc<Assignment>,
    pub(super) events: mpsc::Sender<Result<Vec<Event>, PortError>>,
    /// How long a rebalance waits for the runner to give partitions back. The runner has its own deadline; this
    /// one is for a runner that has ended or hangs.
    pub(super) patience: Duration,
}

impl GroupContext {
    /// The polling thread lives.
    pub(super) fn beat(&self) {
        self.watch.health.beat(&self.group);
    }

    fn send(&self, event: Event) {
        // Nobody listens any more when the process ends, and then it does not matter.
        let _ = self.events.blocking_send(Ok(vec![event]));
    }

    fn revoke(&self, partitions: Vec<Partition>) {
        let (drained, answer) = oneshot::channel();
        self.send(Event::Revoked { partitions: partitions.clone(), drained });
        // Until the runner has answered, it stores positions of these partitions and commits them.
        let deadline = std::time::Instant::now() + self.patience;
        let mut answer = answer;
        while std::time::Instant::now() < deadline {
            self.beat();
            match answer.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(5)),
                _ => break,
            }
        }
        self.end(&partitions);
    }

    fn end(&self, partitions: &[Partition]) {
        let mut assignment = self.assignment.lock();
        for partition in partitions {
            assignment.remove(partition);
            self.watch.metrics.forget(*partition);
        }
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn stats(&self, statistics: Statistics) {
        self.watch.stats(statistics);
    }

    fn error(&self, error: Native, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.watch.metrics.rebalances.add(1);
        match rebalance {
            // Known before the first record of it can come.
            Rebalance::Assign(list) => {
                for partition in partitions(list) {
                    let generation = self.assignment.begin(partition);
                    self.send(Event::Assigned(partition, generation));
                }
            }
            Rebalance::Revoke(list) => {
                let partitions: Vec<Partition> = partitions(list).collect();
                tracing::info!(?partitions, lost = consumer.assignment_lost(), "partitions taken back by the group");
                if consumer.assignment_lost() {
                    self.end(&partitions);
                    self.send(Event::Lost(partitions));
                } else {
                    self.revoke(partitions);
                }
            }
            // librdkafka then drops the whole assignment.
            Rebalance::Error(error) => {
                tracing::warn!(%error, "rebalance");
                let partitions: Vec<Partition> = self.assignment.lock().keys().copied().collect();
                self.end(&partitions);
                self.send(Event::Lost(partitions));
            }
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // librdkafka remembers a pause beyond the assignment under which it was asked for.
        if let Rebalance::Assign(list) = rebalance
            && let Err(error) = consumer.resume(list)
        {
            tracing::warn!(topic = self.topic, %error, "cannot resume");
        }
    }

    /// Of commits by the clock; those that somebody waits for have no other answer than that one.
    fn commit_callback(&self, result: KafkaResult<()>, list: &TopicPartitionList) {
        match result {
            Ok(()) => {
                let committed = list.elements().into_iter();
                let committed = committed.filter_map(|element| Some((element.partition(), element.offset().to_raw()?)));
                self.watch.metrics.committed(&committed.collect::<Vec<_>>());
            }
            Err(error) if error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::NoOffset) => {}
            Err(error) => {
                self.watch.metrics.commit_errors.add(1);
                tracing::warn!(%error, "cannot commit; the next commit has these positions too");
            }
        }
    }
}

fn partitions(list: &TopicPartitionList) -> impl Iterator<Item = Partition> {
    list.elements().into_iter().map(|element| element.partition()).collect::<Vec<_>>().into_iter()
}
