//! Every count that facemill keeps while it runs.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of one process, shared by all its stages.
#[derive(Debug, Default)]
pub struct Metrics {
    /// URLs whose row was written as detected.
    pub detected: Counter,
    /// URLs whose row was written as failed.
    pub failed: Counter,
    /// URLs that had a row already, so that no work was done.
    pub skipped: Counter,
    /// Records that the next topic has taken.
    pub handed_over: Counter,
    /// Faces in the rows written.
    pub faces: Counter,
    /// Bytes of fetched bodies.
    pub fetched_bytes: Counter,
    /// Attempts that failed and were tried again in the process.
    pub retries: Counter,
    /// URLs put off to a topic in which they wait for a later try.
    pub postponed: Counter,
    /// Records set aside for a person.
    pub dead_letters: Counter,
    /// Times that a partition was paused because its lane was full.
    pub pauses: Counter,
}

impl Metrics {
    /// URLs that reached a terminal row, in this run or before.
    pub fn settled(&self) -> u64 {
        self.detected.get() + self.failed.get() + self.skipped.get()
    }
}

/// What became of the look-ups of host names.
#[derive(Debug, Default)]
pub struct DnsMetrics {
    /// Names with addresses.
    pub found: Counter,
    /// Names that do not exist, or have no address.
    pub not_found: Counter,
    /// Look-ups without an answer, or with an error.
    pub failed: Counter,
    /// Answers that were known, or that somebody else was waiting for already: no look-up.
    pub known: Counter,
}

/// What the Kafka clients of one process count.
#[derive(Debug, Default)]
pub struct KafkaMetrics {
    /// Changes of an assignment.
    pub rebalances: Counter,
    /// Commits of positions that the brokers took.
    pub commits: Counter,
    /// Commits that failed; the next one has their positions too.
    pub commit_errors: Counter,
    /// Bytes that the producer holds and the brokers have not acknowledged.
    pub producer_queue_bytes: AtomicU64,
    lags: Mutex<BTreeMap<(String, i32), u64>>,
}

impl KafkaMetrics {
    /// Notes how many records of a partition are behind the committed position.
    pub fn set_lag(&self, topic: &str, partition: i32, lag: u64) {
        let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        lags.insert((topic.to_owned(), partition), lag);
    }

    /// Forgets partitions that are others' now.
    pub fn forget_lag(&self, topic: &str, partition: i32) {
        self.lags.lock().unwrap_or_else(PoisonError::into_inner).remove(&(topic.to_owned(), partition));
    }

    /// Records behind the committed position, by topic and partition.
    pub fn lags(&self) -> Vec<((String, i32), u64)> {
        let lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        lags.iter().map(|(key, lag)| (key.clone(), *lag)).collect()
    }
}
