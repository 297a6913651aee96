use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    counts::{Counter, Counters},
    meter::{Find, Labels, Meter, Read, Timings},
    metrics::{
        CQL_ERRORS, CQL_REQUEST_DURATION, DECODE_DURATION, DECODERS_REPLACED, DNS_LOOKUP_DURATION, DNS_LOOKUPS,
        INFERENCE_DURATION, KAFKA_BROKERS_UP, KAFKA_COMMIT_AGE, KAFKA_COMMIT_ERRORS, KAFKA_COMMITS, KAFKA_LAG,
        KAFKA_QUEUE_LATENCY, KAFKA_QUEUE_MESSAGES, KAFKA_QUEUE_SIZE, KAFKA_REBALANCES, KAFKA_REQUEST_LATENCY,
    },
};

/// What a Kafka client counts.
#[derive(Debug, Default)]
pub struct KafkaMetrics {
    /// Changes of an assignment.
    pub rebalances: Counter,
    /// Commits of positions that the brokers took.
    pub commits: Counter,
    /// Commits that failed; the next one has their positions too.
    pub commit_errors: Counter,
    state: Mutex<KafkaState>,
}

#[derive(Debug, Default)]
struct KafkaState {
    client: ClientState,
    lags: BTreeMap<i32, u64>,
    /// Positions that wait to be committed, by partition, and since when.
    waiting: BTreeMap<i32, (i64, Instant)>,
}

/// What a Kafka client says of itself every few seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ClientState {
    /// Brokers that it is connected to.
    pub brokers_up: usize,
    /// Records that it holds.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From a request to its answer.
    pub requests: Quantiles,
    /// Until a request was sent.
    pub queue: Quantiles,
}

/// Half of the times were no longer than the median, 99 of 100 no longer than the other.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quantiles {
    /// 0.5
    pub median: Duration,
    /// 0.99
    pub p99: Duration,
}

impl KafkaMetrics {
    /// Counts of a consumer, exported.
    pub fn of_consumer(meter: &Meter, stage: &'static str, topic: &str) -> Arc<Self> {
        let metrics = Self::of_client(meter, "consumer", topic);
        let labels: Labels = vec![("stage", stage.to_owned()), ("topic", topic.to_owned())];
        meter.counter(&KAFKA_REBALANCES, &metrics, &labels, |of| &of.rebalances);
        meter.counter(&KAFKA_COMMITS, &metrics, &labels, |of| &of.commits);
        meter.counter(&KAFKA_COMMIT_ERRORS, &metrics, &labels, |of| &of.commit_errors);
        meter.number(&KAFKA_COMMIT_AGE, &metrics, &labels, |of| {
            of.state().waiting.values().map(|(_, since)| since.elapsed().as_secs_f64()).fold(0.0, f64::max)
        });
        let observed = Arc::clone(&metrics);
        meter.observe(&KAFKA_LAG, move || {
            let labelled = |(partition, lag): (&i32, &u64)| {
                let partition = [("partition", partition.to_string())];
                (labels.iter().cloned().chain(partition).collect(), *lag as f64)
            };
            observed.state().lags.iter().map(labelled).collect()
        });
        metrics
    }

    /// Counts of a producer, exported.
    pub fn of_producer(meter: &Meter) -> Arc<Self> {
        Self::of_client(meter, "producer", "")
    }

    fn of_client(meter: &Meter, client: &str, topic: &str) -> Arc<Self> {
        let metrics = Arc::<KafkaMetrics>::default();
        let labels: Labels = vec![("client", client.to_owned()), ("topic", topic.to_owned())];
        meter.number(&KAFKA_BROKERS_UP, &metrics, &labels, |of| of.client().brokers_up as f64);
        meter.number(&KAFKA_QUEUE_MESSAGES, &metrics, &labels, |of| of.client().messages as f64);
        meter.number(&KAFKA_QUEUE_SIZE, &metrics, &labels, |of| of.client().bytes as f64);
        let quantiles: [(_, Read<ClientState, Quantiles>); 2] =
            [(&KAFKA_REQUEST_LATENCY, |client| client.requests), (&KAFKA_QUEUE_LATENCY, |client| client.queue)];
        for (metric, read) in quantiles {
            let (observed, labels) = (Arc::clone(&metrics), labels.clone());
            meter.observe(metric, move || {
                let Quantiles { median, p99 } = read(&observed.client());
                let labelled = |(quantile, time): (&str, Duration)| {
                    let quantile = [("quantile", quantile.to_owned())];
                    (labels.iter().cloned().chain(quantile).collect(), time.as_secs_f64())
                };
                [("0.5", median), ("0.99", p99)].into_iter().map(labelled).collect()
            });
        }
        metrics
    }

    /// Notes what the client says of itself.
    pub fn set_client(&self, client: ClientState) {
        self.state().client = client;
    }

    /// What the client said of itself last.
    pub fn client(&self) -> ClientState {
        self.state().client
    }

    /// Notes how many records of a partition are behind the committed position.
    pub fn set_lag(&self, partition: i32, lag: u64) {
        self.state().lags.insert(partition, lag);
    }

    /// Forgets a partition that is another member's now.
    pub fn forget(&self, partition: i32) {
        let mut state = self.state();
        state.lags.remove(&partition);
        state.waiting.remove(&partition);
    }

    /// This position waits to be committed.
    pub fn position_stored(&self, partition: i32, position: i64) {
        self.state().waiting.entry(partition).or_insert_with(|| (position, Instant::now())).0 = position;
    }

    /// Positions that wait to be committed, by partition.
    pub fn waiting(&self) -> Vec<(i32, i64)> {
        self.state().waiting.iter().map(|(partition, (position, _))| (*partition, *position)).collect()
    }

    /// These positions are committed. What was stored since then has not waited longer than that.
    pub fn committed(&self, positions: &[(i32, i64)]) {
        self.commits.add(1);
        let mut state = self.state();
        for (partition, committed) in positions {
            match state.waiting.get_mut(partition) {
                Some((stored, since)) if *stored > *committed => *since = Instant::now(),
                _ => drop(state.waiting.remove(partition)),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, KafkaState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be wrong with a request to the database.
const CQL_ERROR_KINDS: [&str; 4] = ["timeout", "unavailable", "overloaded", "other"];

/// What is asked of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CqlOperation {
    /// A stored outcome.
    Read,
    /// A row, and its place in the job.
    Write,
    /// A row that is there into another job.
    Join,
}

/// What the client of the database counts.
#[derive(Debug, Default)]
pub struct CqlMetrics {
    durations: [Timings; 3],
    errors: Counters<2>,
}

impl CqlOperation {
    const ALL: [CqlOperation; 3] = [CqlOperation::Read, CqlOperation::Write, CqlOperation::Join];

    fn as_str(self) -> &'static str {
        match self {
            CqlOperation::Read => "read",
            CqlOperation::Write => "write",
            CqlOperation::Join => "join",
        }
    }
}

impl CqlMetrics {
    /// Counts that are exported.
    pub fn exported(meter: &Meter) -> Arc<Self> {
        let timings = |operation: CqlOperation| {
            meter.timings(&CQL_REQUEST_DURATION, vec![("operation", operation.as_str().to_owned())])
        };
        let of = |operation: CqlOperation| CQL_ERROR_KINDS.map(|error| [operation.as_str(), error]);
        let errors: Vec<_> = CqlOperation::ALL.into_iter().flat_map(of).collect();
        let metrics = Arc::new(CqlMetrics { durations: CqlOperation::ALL.map(timings), errors: Counters::of(&errors) });
        meter.counters(&CQL_ERRORS, &metrics, &Labels::new(), |of| &of.errors);
        metrics
    }

    /// Notes how long the database took.
    pub fn took(&self, operation: CqlOperation, time: Duration) {
        let [read, write, join] = &self.durations;
        match operation {
            CqlOperation::Read => read.record(time),
            CqlOperation::Write => write.record(time),
            CqlOperation::Join => join.record(time),
        }
    }

    /// Notes that a request failed, by the kind of its error.
    pub fn failed(&self, operation: CqlOperation, error: &'static str) {
        self.errors.add([operation.as_str(), error], 1);
    }
}

/// What became of the look-ups of host names.
#[derive(Debug, Default)]
pub struct DnsMetrics {
    /// Names with addresses.
    pub found: LookupMetrics,
    /// Names that do not exist, or have no address.
    pub not_found: LookupMetrics,
    /// Look-ups without an answer, or with an error.
    pub failed: LookupMetrics,
    /// Answers that were known, or that somebody else was waiting for already: no look-up.
    pub known: Counter,
}

/// Look-ups of one kind.
#[derive(Debug, Default)]
pub struct LookupMetrics {
    count: Counter,
    duration: Timings,
}

impl LookupMetrics {
    /// Notes one.
    pub fn record(&self, took: Duration) {
        self.count.add(1);
        self.duration.record(took);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.count.get()
    }
}

impl DnsMetrics {
    /// Counts that are exported.
    pub fn exported(meter: &Meter) -> Arc<Self> {
        let lookups = |result: &str| LookupMetrics {
            count: Counter::default(),
            duration: meter.timings(&DNS_LOOKUP_DURATION, vec![("result", result.to_owned())]),
        };
        let metrics = Arc::new(DnsMetrics {
            found: lookups("found"),
            not_found: lookups("not_found"),
            failed: lookups("failed"),
            known: Counter::default(),
        });
        let results: [(&str, Find<DnsMetrics>); 4] = [
            ("found", |of| &of.found.count),
            ("not_found", |of| &of.not_found.count),
            ("failed", |of| &of.failed.count),
            ("known", |of| &of.known),
        ];
        for (result, read) in results {
            meter.counter(&DNS_LOOKUPS, &metrics, &vec![("result", result.to_owned())], read);
        }
        metrics
    }
}

/// The cause for which a decoder is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderReplaced {
    /// Its process ended, or answered what no decoder answers.
    Ended,
    /// It did not answer in time.
    Timeout,
    /// It did not decode a built-in picture.
    SelfTest,
    /// It failed on a picture, and did not say the same when asked again.
    Contradiction,
    /// It failed through no fault of the picture.
    InternalError,
}

impl DecoderReplaced {
    const ALL: [Self; 5] = [Self::Ended, Self::Timeout, Self::SelfTest, Self::Contradiction, Self::InternalError];

    /// The value of the label `cause`.
    fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Timeout => "timeout",
            Self::SelfTest => "self_test",
            Self::Contradiction => "contradiction",
            Self::InternalError => "internal_error",
        }
    }
}

/// What the decoders count.
#[derive(Debug, Default)]
pub struct DecoderMetrics {
    /// Time to answer for a picture.
    pub durations: Timings,
    replaced: Counters<1>,
}

impl DecoderMetrics {
    /// Counts that are exported.
    pub fn exported(meter: &Meter) -> Arc<Self> {
        let metrics = Arc::new(DecoderMetrics {
            durations: meter.timings(&DECODE_DURATION, Labels::new()),
            replaced: Counters::of(&DecoderReplaced::ALL.map(|cause| [cause.as_str()])),
        });
        meter.counters(&DECODERS_REPLACED, &metrics, &Labels::new(), |of| &of.replaced);
        metrics
    }

    /// Counts a decoder that was replaced.
    pub fn replaced(&self, cause: DecoderReplaced) {
        self.replaced.add([cause.as_str()], 1);
    }

    /// Returns the number of decoders replaced for this cause.
    pub fn replaced_by(&self, cause: DecoderReplaced) -> u64 {
        self.replaced.all().into_iter().filter(|(name, _)| *name == [cause.as_str()]).map(|(_, count)| count).sum()
    }
}

/// How long the model takes, exported.
pub fn inference_timings(meter: &Meter) -> Timings {
    meter.timings(&INFERENCE_DURATION, Labels::new())
}
