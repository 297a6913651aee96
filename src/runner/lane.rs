use std::{collections::VecDeque, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    ports::{Delivery, Generation, Offset, Partition},
    watermark::Watermark,
};
use crate::telemetry::LaneState;

/// How much of one partition may be under way at once.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneLimits {
    /// Records between the committed position and the newest one.
    pub records: usize,
    /// Records worked on at once.
    pub running: usize,
    /// Bytes of unfinished records.
    pub bytes: usize,
    /// Bytes of unfinished records of all partitions together.
    pub all_bytes: usize,
    /// Age of the oldest unfinished record: a lane that waits longer for one takes no new ones.
    pub age: Duration,
}

/// One partition under one assignment.
pub(super) struct Lane {
    pub(super) generation: Generation,
    watermark: Watermark,
    /// Ends when the assignment does: work under it then stops before it has an effect.
    pub(super) live: CancellationToken,
    /// Whether the source was asked to pause.
    pub(super) paused: bool,
    /// Whether new records are taken: not once the partition is wanted back.
    open: bool,
    /// Records that are registered but not begun: their turn has not come, or they came in spite of a pause.
    waiting: VecDeque<Delivery>,
    running: usize,
    /// Of the records waiting and running.
    bytes: usize,
    /// Whether the position moved since it was last stored.
    moved: bool,
    /// Whether an offset came again: a broker that lost the end of its log numbers new records like the lost ones.
    went_back: bool,
}

impl Lane {
    pub(super) fn new(generation: Generation) -> Self {
        Lane {
            generation,
            watermark: Watermark::default(),
            live: CancellationToken::new(),
            paused: false,
            open: true,
            waiting: VecDeque::new(),
            running: 0,
            bytes: 0,
            moved: false,
            went_back: false,
        }
    }

    /// Takes a record in, unless it has no place here; it is registered before anything else happens to it.
    pub(super) fn receive(&mut self, delivery: Delivery) -> bool {
        if !self.open {
            return false;
        }
        let is_new = self.watermark.register(delivery.offset);
        if is_new {
            self.bytes += delivery.record.size();
            self.waiting.push_back(delivery);
        } else if !self.went_back {
            self.went_back = true;
            let Delivery { partition, offset, .. } = delivery;
            tracing::warn!(partition, offset, "the log went back to an offset that was read before; it is passed over");
        }
        is_new
    }

    /// The next record to begin.
    pub(super) fn begin(&mut self, limits: &LaneLimits) -> Option<Delivery> {
        if self.running >= limits.running {
            return None;
        }
        let delivery = self.waiting.pop_front()?;
        self.running += 1;
        Some(delivery)
    }

    /// Takes note that a record's effect is durable.
    pub(super) fn settle(&mut self, offset: Offset, bytes: usize) {
        self.running = self.running.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.moved |= self.watermark.finish(offset);
    }

    /// The position, if it moved since it was last asked for.
    pub(super) fn take_moved_position(&mut self) -> Option<Offset> {
        std::mem::take(&mut self.moved).then(|| self.watermark.position()).flatten()
    }

    /// Takes no more records and forgets those not begun; they stay below no position.
    pub(super) fn close(&mut self) {
        self.open = false;
        self.waiting.clear();
    }

    /// Whether nothing of this partition is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }

    /// Bytes of the unfinished records.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is full, so that the source should pause; `all_bytes` are those of all lanes.
    pub(super) fn full(&self, limits: &LaneLimits, all_bytes: usize) -> Option<&'static str> {
        let full = [
            ("records", self.watermark.span() >= limits.records),
            ("bytes", self.bytes >= limits.bytes),
            ("all_bytes", all_bytes >= limits.all_bytes),
            ("age", self.is_too_old(limits)),
        ];
        full.into_iter().find_map(|(bound, is_full)| is_full.then_some(bound))
    }

    /// Whether the source may resume. Half the limits, since every pause throws away what a Kafka
    /// consumer has fetched ahead.
    pub(super) fn has_room(&self, limits: &LaneLimits, all_bytes: usize) -> bool {
        all_bytes <= limits.all_bytes / 2
            && self.watermark.span() <= limits.records / 2
            && self.bytes <= limits.bytes / 2
            && !self.is_too_old(limits)
    }

    fn is_too_old(&self, limits: &LaneLimits) -> bool {
        self.age() > limits.age
    }

    /// Of the oldest unfinished record.
    fn age(&self) -> Duration {
        self.watermark.oldest().map(|since| since.elapsed()).unwrap_or_default()
    }

    /// What is under way, for people; `all_bytes` are those of all lanes.
    pub(super) fn state(&self, partition: Partition, limits: &LaneLimits, all_bytes: usize) -> LaneState {
        let (records, age) = (self.watermark.span(), self.age());
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        let of_age = age.as_secs_f64() / limits.age.as_secs_f64().max(f64::MIN_POSITIVE);
        let fill = [
            ("records", share(records, limits.records)),
            ("bytes", share(self.bytes, limits.bytes)),
            ("all_bytes", share(all_bytes, limits.all_bytes)),
            ("age", of_age),
        ];
        let (running, bytes, is_paused) = (self.running, self.bytes, self.paused);
        LaneState { partition, records, running, bytes, age, fill, is_paused }
    }
}

/// Work of a lane that is dropped has no effect any more.
impl Drop for Lane {
    fn drop(&mut self) {
        self.live.cancel();
    }
}
