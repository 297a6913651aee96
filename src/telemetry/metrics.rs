//! Every count that facemill keeps while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Faces in the rows written.
    pub faces: Counter,
    /// Bytes of fetched bodies.
    pub fetched_bytes: Counter,
    /// Attempts that failed and were tried again in the process.
    pub retries: Counter,
    /// Times that a partition was paused because its lane was full.
    pub pauses: Counter,
}

impl Metrics {
    /// URLs that reached a terminal row, in this run or before.
    pub fn settled(&self) -> u64 {
        self.detected.get() + self.failed.get() + self.skipped.get()
    }
}
