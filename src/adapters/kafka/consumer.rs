use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rdkafka::{
    Offset as NativeOffset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError as Native,
    message::Message,
    types::RDKafkaErrorCode,
};
use tokio::sync::mpsc;

use super::{
    context::{Assignment, GroupContext, RIGHTS, Watch},
    error::{KafkaError, config_error, is_denied, port_error, unanswered},
    options::{KafkaOptions, client_config},
    record::{appended_at, record_of},
};
use crate::{
    runner::ports::{Commit, Delivery, Event, Generation, Offset, Partition, PortError, Source},
    telemetry::{Health, KafkaMetrics},
};

/// Batches of events on their way to the runner. They add to its lanes, so there are few.
const BATCHES: usize = 4;

/// Records that are handed over together if they are there already: waking the runner for each would cost more than
/// all that it does.
const BATCH: usize = 64;

/// A batch with more bytes than this is not waited for any longer.
const BATCH_BYTES: usize = 1 << 20;

/// How long one poll waits for something to happen.
const POLL: Duration = Duration::from_millis(100);

/// How long a synchronous commit may take before it counts as failed; it is made again.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// On these the promise hangs that no record is passed over: a configuration that says otherwise is refused.
const FIXED: &[(&str, &str)] =
    &[("enable.auto.offset.store", "false"), ("enable.auto.commit", "true"), ("auto.offset.reset", "earliest")];

/// How records are read, where the configuration does not say otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    ("auto.commit.interval.ms", "1000"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("check.crcs", "true"),
    ("session.timeout.ms", "45000"),
    ("fetch.wait.max.ms", "100"),
    // A full read-ahead is looked at again this soon. With the default, a second, a consumer reads 16 MiB a second.
    ("fetch.queue.backoff.ms", "10"),
    // What is read ahead, in memory. A record may be larger: it then comes alone.
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "16777216"),
    ("max.partition.fetch.bytes", "2097152"),
    ("message.max.bytes", "11534336"),
];

/// Membership in a consumer group that reads one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerGroup {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// How long a rebalance waits for work under way at most; longer than the runner's own deadline.
    pub patience: Duration,
    /// How long to wait for the brokers at the start.
    pub start_timeout: Duration,
}

impl ConsumerGroup {
    /// Joins the group.
    ///
    /// # Errors
    /// When the configuration is wrong, no broker answers, or the topic is not there or not for us.
    pub fn join(
        &self,
        options: &KafkaOptions,
        health: Arc<Health>,
        metrics: Arc<KafkaMetrics>,
    ) -> Result<(KafkaSource, KafkaPositions, Membership), KafkaError> {
        let mut config = client_config(options, DEFAULTS);
        config.set("group.id", &self.group);
        for (name, value) in FIXED {
            if options.get(name).is_some_and(|asked| asked != *value) {
                return Err(KafkaError::Config(format!("{name} must stay {value}, or records would be passed over")));
            }
            config.set(*name, *value);
        }
        let (events, receiver) = mpsc::channel(BATCHES);
        let assignment = Arc::<Assignment>::default();
        let context = GroupContext {
            watch: Watch { health, metrics },
            group: self.group.clone(),
            topic: self.topic.clone(),
            assignment: Arc::clone(&assignment),
            events: events.clone(),
            patience: self.patience,
        };
        let consumer: Arc<BaseConsumer<GroupContext>> =
            Arc::new(config.create_with_context(context).map_err(|error| config_error(&error))?);
        check_topic(consumer.client(), options, &self.topic, self.start_timeout)?;
        consumer.subscribe(&[&self.topic]).map_err(|error| config_error(&error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let poller = Poller { consumer: Arc::clone(&consumer), assignment: Arc::clone(&assignment), events };
        let thread = thread::Builder::new().name(self.group.clone()).spawn({
            let stop = Arc::clone(&stop);
            move || poller.run(&stop)
        })?;
        let batch = Vec::new().into_iter();
        let source =
            KafkaSource { events: receiver, batch, consumer: Arc::clone(&consumer), topic: self.topic.clone(), stop };
        let positions = KafkaPositions { consumer, assignment, topic: self.topic.clone() };
        Ok((source, positions, Membership(thread)))
    }
}

/// What the brokers tell of a topic, and of themselves.
pub(super) struct Described {
    /// Every partition, and whether it has a leader.
    pub(super) partitions: Vec<(Partition, bool)>,
    /// All brokers that are up, by number.
    pub(super) brokers: Vec<i32>,
}

/// Whether the topic is there and may be read.
pub(super) fn check_topic<C: rdkafka::ClientContext>(
    client: &rdkafka::client::Client<C>,
    options: &KafkaOptions,
    topic: &str,
    timeout: Duration,
) -> Result<Described, KafkaError> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let metadata =
            client.fetch_metadata(Some(topic), left.clamp(Duration::from_millis(100), Duration::from_secs(5)));
        let (cause, is_of_topic) = match metadata {
            Ok(metadata) => match metadata.topics().first().map(|found| (found.error(), found.partitions())) {
                Some((None, found)) => {
                    let partitions = found.iter().map(|partition| (partition.id(), partition.leader() >= 0)).collect();
                    let brokers = metadata.brokers().iter().map(|broker| broker.id()).collect();
                    return Ok(Described { partitions, brokers });
                }
                Some((Some(error), _)) => (RDKafkaErrorCode::from(error), true),
                None => (RDKafkaErrorCode::Fail, true),
            },
            Err(error) => (error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail), false),
        };
        match cause {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                return Err(KafkaError::NoTopic(topic.to_owned()));
            }
            denied if is_denied(denied) => {
                return Err(KafkaError::Denied { topic: topic.to_owned(), cause: denied.to_string() });
            }
            cause if left.is_zero() && is_of_topic => return Err(unanswered(topic, None, cause.to_string())),
            cause if left.is_zero() => {
                let brokers = options.get("bootstrap.servers").unwrap_or_default().to_owned();
                return Err(KafkaError::Unreachable { brokers, cause: cause.to_string() });
            }
            // A cluster that is just electing leaders, or a network that is just coming up.
            _ => thread::sleep(POLL),
        }
    }
}

/// The thread that polls.
struct Poller {
    consumer: Arc<BaseConsumer<GroupContext>>,
    assignment: Arc<Assignment>,
    events: mpsc::Sender<Result<Vec<Event>, PortError>>,
}

impl Poller {
    fn run(self, stop: &AtomicBool) {
        if catch_unwind(AssertUnwindSafe(|| self.poll(stop))).is_err() {
            let fault = "a fault of facemill's own, please report it: the thread that polls Kafka panicked";
            // The runner stops by it. The consumer has a sender too, so that the channel does not close by itself.
            let _ = self.events.blocking_send(Err(PortError::Fatal(fault.to_owned())));
        }
        let Poller { consumer, events, .. } = self;
        // A rebalance during the end finds nobody to wait for.
        drop(events);
        // Dropped last, the consumer leaves the group: its partitions go to others at once.
        let patience = Instant::now() + COMMIT_TIMEOUT;
        while Arc::strong_count(&consumer) > 1 && Instant::now() < patience {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn poll(&self, stop: &AtomicBool) {
        let context = self.consumer.context();
        let _life = context.watch.health.life(&context.group);
        while !stop.load(Ordering::Relaxed) {
            context.beat();
            let batch = self.batch();
            if batch.as_ref().is_ok_and(Vec::is_empty) {
                continue;
            }
            context.watch.reads();
            if self.events.blocking_send(batch).is_err() {
                break;
            }
        }
    }

    /// Waits for a record, and takes those that are there behind it.
    ///
    /// A rebalance that comes in between is announced before this batch is. Its records then belong to a lane that is
    /// closed or gone: they are dropped there, and whoever has the partition next gets them again.
    fn batch(&self) -> Result<Vec<Event>, PortError> {
        let (mut batch, mut bytes, mut wait) = (Vec::new(), 0, POLL);
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let partition = message.partition();
                    // Of a partition that is not ours any more, where there is none.
                    if let Some(generation) = self.assignment.lock().get(&partition).copied() {
                        let record = record_of(&message);
                        bytes += record.size();
                        let (offset, appended_at) = (message.offset(), appended_at(&message));
                        batch.push(Event::Delivery(Delivery { partition, offset, generation, appended_at, record }));
                    }
                }
                Some(Err(error)) => self.judge(&error)?,
            }
            wait = Duration::ZERO;
        }
        Ok(batch)
    }

    /// Nearly every error of a consumer passes, and librdkafka goes on trying. A user who may not read is told so at
    /// the start; what is taken from a running one is waited for.
    fn judge(&self, error: &Native) -> Result<(), PortError> {
        match error.rdkafka_error_code() {
            Some(code) if is_denied(code) => {
                let text = format!(
                    "Kafka refuses to let us read ({code}): give this user the rights to the topic and the group \
                     (kafka-acls), or mend its password"
                );
                if !self.assignment.has_begun() {
                    return Err(PortError::Fatal(text));
                }
                tracing::warn!(error = text, "Kafka");
                self.consumer.context().watch.health.waits(RIGHTS, &text);
                Ok(())
            }
            _ => match port_error("reading from Kafka", error) {
                PortError::Fatal(text) => Err(PortError::Fatal(text)),
                PortError::Unavailable(text) | PortError::TooLarge(text) => {
                    tracing::warn!(error = text, "Kafka");
                    Ok(())
                }
            },
        }
    }
}

/// A consumer's thread. It ends when the source is dropped.
pub struct Membership(JoinHandle<()>);

impl Membership {
    /// Waits until the group is left. Blocks.
    pub fn left(self) {
        if self.0.join().is_err() {
            tracing::error!("a thread that polled Kafka panicked");
        }
    }
}

/// The records of the partitions that the group gives us.
pub struct KafkaSource {
    events: mpsc::Receiver<Result<Vec<Event>, PortError>>,
    /// What is left of the last batch.
    batch: std::vec::IntoIter<Event>,
    consumer: Arc<BaseConsumer<GroupContext>>,
    topic: String,
    stop: Arc<AtomicBool>,
}

impl KafkaSource {
    fn list(&self, partition: Partition) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        list
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn next(&mut self) -> Result<Event, PortError> {
        // A batch must not keep the thread from the tasks that its first records have begun: their lane would fill up
        // and be paused, and librdkafka would fetch again what it has read ahead.
        tokio::task::coop::consume_budget().await;
        loop {
            if let Some(event) = self.batch.next() {
                return Ok(event);
            }
            let ended = || Err(PortError::Fatal("the thread that polls Kafka has ended".to_owned()));
            let batch = self.events.recv().await.unwrap_or_else(ended)?;
            self.batch = batch.into_iter();
        }
    }

    fn pause(&mut self, partition: Partition) {
        if let Err(error) = self.consumer.pause(&self.list(partition)) {
            tracing::warn!(topic = self.topic, partition, %error, "cannot pause");
        }
    }

    fn resume(&mut self, partition: Partition) {
        if let Err(error) = self.consumer.resume(&self.list(partition)) {
            tracing::warn!(topic = self.topic, partition, %error, "cannot resume");
        }
    }
}

/// Commits what is stored. While the members of the group get their new assignment, the coordinator takes no commits
/// for a moment.
fn commit(consumer: &BaseConsumer<GroupContext>) -> Result<(), Native> {
    let give_up = Instant::now() + COMMIT_TIMEOUT / 2;
    let metrics = &consumer.context().watch.metrics;
    loop {
        let waiting = metrics.waiting();
        let committed = consumer.commit_consumer_state(CommitMode::Sync);
        match committed.as_ref().err().and_then(Native::rdkafka_error_code) {
            // Nothing was stored since the last commit.
            Some(RDKafkaErrorCode::NoOffset) => return Ok(()),
            None if committed.is_ok() => {
                metrics.committed(&waiting);
                return committed;
            }
            Some(RDKafkaErrorCode::RebalanceInProgress) if Instant::now() < give_up => thread::sleep(POLL),
            _ => {
                metrics.commit_errors.add(1);
                return committed;
            }
        }
    }
}

/// The group's committed offsets.
pub struct KafkaPositions {
    consumer: Arc<BaseConsumer<GroupContext>>,
    assignment: Arc<Assignment>,
    topic: String,
}

#[async_trait]
impl Commit for KafkaPositions {
    fn store(&self, partition: Partition, generation: Generation, next: Offset) -> Result<(), PortError> {
        // Held until it is stored, so that the assignment does not end in between.
        let assignment = self.assignment.lock();
        if assignment.get(&partition) != Some(&generation) {
            return Err(PortError::Unavailable("the partition is another member's now".to_owned()));
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, NativeOffset::Offset(next))
            .and_then(|()| self.consumer.store_offsets(&list))
            .map_err(|error| port_error("storing a position", &error))?;
        self.consumer.context().watch.metrics.position_stored(partition, next);
        Ok(())
    }

    async fn commit(&self) -> Result<(), PortError> {
        let consumer = Arc::clone(&self.consumer);
        let commit = tokio::task::spawn_blocking(move || commit(&consumer));
        match tokio::time::timeout(COMMIT_TIMEOUT, commit).await {
            Ok(Ok(committed)) => committed.map_err(|error| port_error("committing positions", &error)),
            Ok(Err(panic)) => Err(PortError::Fatal(panic.to_string())),
            Err(_) => Err(PortError::Unavailable("committing positions: no answer from Kafka".to_owned())),
        }
    }
}
