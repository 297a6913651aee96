//! A partitioned log in memory with bounded partitions: what Kafka is to `facemill run`, for `facemill local`.
//!
//! A partition keeps room for its records from the moment they are published until their position is
//! stored, so that what lies between two stages is bounded in records and bytes, and a full log makes
//! the publisher wait.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore};

use crate::{
    domain::{ImageId, Record},
    runner::ports::{Commit, Delivery, Event, Generation, Offset, Partition, PortError, Publish, Source},
};

/// The one assignment there ever is: all partitions, to the one consumer.
const GENERATION: Generation = 1;

/// How large a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSize {
    /// Partitions, at least one.
    pub partitions: usize,
    /// Records that one partition holds.
    pub records: usize,
    /// Bytes that one partition holds; a single larger record still finds room in an empty one.
    pub bytes: usize,
}

/// Makes a log: its publishing end, its consuming end, and where the consumer keeps its positions.
/// The log ends when the last clone of the publishing end is dropped.
pub fn log(size: &LogSize) -> (Publisher, Consumer, Positions) {
    let partitions = (0..size.partitions.max(1)).map(|_| Lot::new(size)).collect();
    let shared = Arc::new(Shared { partitions, arrived: Notify::new(), closed: Mutex::new(false) });
    let consumer = Consumer { shared: Arc::clone(&shared), assigned: 0, turn: 0, paused: Vec::new() };
    (Publisher(Arc::new(Close(Arc::clone(&shared)))), consumer, Positions(shared))
}

struct Shared {
    partitions: Vec<Lot>,
    arrived: Notify,
    closed: Mutex<bool>,
}

/// One partition and the room in it.
struct Lot {
    log: Mutex<Log>,
    records: Semaphore,
    kibibytes: Semaphore,
    all_kibibytes: u32,
}

#[derive(Default)]
struct Log {
    unread: VecDeque<Record>,
    /// Room taken by each record from the stored position on, in KiB.
    taken: VecDeque<u32>,
    next: Offset,
}

impl Lot {
    fn new(size: &LogSize) -> Self {
        let all_kibibytes = u32::try_from(size.bytes.div_ceil(1024)).unwrap_or(u32::MAX / 2).max(1);
        Lot {
            log: Mutex::default(),
            records: Semaphore::new(size.records.clamp(1, Semaphore::MAX_PERMITS)),
            kibibytes: Semaphore::new(all_kibibytes as usize),
            all_kibibytes,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks, so a poisoned one is as good as any.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The publishing end of a log.
#[derive(Clone)]
pub struct Publisher(Arc<Close>);

/// Ends the log when the last publisher goes.
struct Close(Arc<Shared>);

impl Drop for Close {
    fn drop(&mut self) {
        *lock(&self.0.closed) = true;
        self.0.arrived.notify_one();
    }
}

#[async_trait]
impl Publish for Publisher {
    fn name(&self) -> &str {
        "memory"
    }

    async fn publish(&self, record: &Record) -> Result<(), PortError> {
        let shared = &self.0.0;
        let Some(lot) = shared.partitions.get(partition_of(record.key.as_ref(), shared.partitions.len())) else {
            return Err(PortError::Fatal("the in-memory log has no partitions".into()));
        };
        let kibibytes = u32::try_from(record.size().div_ceil(1024)).unwrap_or(u32::MAX).min(lot.all_kibibytes);
        let closed = |_| PortError::Fatal("the in-memory log is gone".into());
        let one = lot.records.acquire().await.map_err(closed)?;
        let room = lot.kibibytes.acquire_many(kibibytes).await.map_err(closed)?;
        // Both are given back when the position passes the record.
        one.forget();
        room.forget();
        {
            let mut log = lock(&lot.log);
            log.unread.push_back(record.clone());
            log.taken.push_back(kibibytes);
        }
        shared.arrived.notify_one();
        Ok(())
    }
}

fn partition_of(key: Option<&ImageId>, partitions: usize) -> usize {
    let number = key.map_or(0, |key| u128::from_be_bytes(*key.as_bytes()));
    usize::try_from(number % partitions.max(1) as u128).unwrap_or(0)
}

/// The consuming end of a log.
pub struct Consumer {
    shared: Arc<Shared>,
    /// Partitions announced so far.
    assigned: usize,
    /// The partition to look at next, so that each gets its turn.
    turn: usize,
    paused: Vec<Partition>,
}

impl Consumer {
    fn poll(&mut self) -> Option<Event> {
        let partitions = &self.shared.partitions;
        if self.assigned < partitions.len() {
            self.assigned += 1;
            return Some(Event::Assigned(number(self.assigned - 1), GENERATION));
        }
        // Read before the partitions are: what was published before the end is seen below.
        let closed = *lock(&self.shared.closed);
        let mut empty = true;
        for step in 0..partitions.len() {
            let index = (self.turn + step) % partitions.len();
            let Some(lot) = partitions.get(index) else { continue };
            let mut log = lock(&lot.log);
            if self.paused.contains(&number(index)) {
                empty &= log.unread.is_empty();
                continue;
            }
            if let Some(record) = log.unread.pop_front() {
                let offset = log.next;
                log.next += 1;
                self.turn = index + 1;
                return Some(Event::Delivery(Delivery {
                    partition: number(index),
                    offset,
                    generation: GENERATION,
                    appended_at: None,
                    record,
                }));
            }
        }
        (closed && empty).then_some(Event::End)
    }
}

fn number(index: usize) -> Partition {
    Partition::try_from(index).unwrap_or(Partition::MAX)
}

#[async_trait]
impl Source for Consumer {
    async fn next(&mut self) -> Result<Event, PortError> {
        loop {
            if let Some(event) = self.poll() {
                return Ok(event);
            }
            // A notice given since the poll is kept, so none is missed.
            let shared = Arc::clone(&self.shared);
            shared.arrived.notified().await;
        }
    }

    fn pause(&mut self, partition: Partition) {
        if !self.paused.contains(&partition) {
            self.paused.push(partition);
        }
    }

    fn resume(&mut self, partition: Partition) {
        self.paused.retain(|paused| *paused != partition);
    }
}

/// The positions of a log's consumer. Storing one makes room.
#[derive(Clone)]
pub struct Positions(Arc<Shared>);

#[async_trait]
impl Commit for Positions {
    fn store(&self, partition: Partition, _: Generation, next: Offset) -> Result<(), PortError> {
        let lot = usize::try_from(partition).ok().and_then(|index| self.0.partitions.get(index));
        let Some(lot) = lot else {
            return Err(PortError::Fatal(format!("the in-memory log has no partition {partition}")));
        };
        let mut log = lock(&lot.log);
        // Offsets here have no gaps: the first room still taken is that of the stored position.
        let kept = log.unread.len() + usize::try_from(log.next - next).unwrap_or(0);
        let passed = log.taken.len().saturating_sub(kept);
        let kibibytes: u32 = log.taken.drain(..passed).sum();
        lot.records.add_permits(passed);
        lot.kibibytes.add_permits(kibibytes as usize);
        Ok(())
    }

    /// Nothing outlives the process, so there is nothing to make durable.
    async fn commit(&self) -> Result<(), PortError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::domain::Headers;

    fn record(text: &str, size: usize) -> Record {
        Record { key: Some(ImageId::of(text)), headers: Headers::default(), value: vec![0; size].into() }
    }

    fn size(partitions: usize, records: usize, bytes: usize) -> LogSize {
        LogSize { partitions, records, bytes }
    }

    async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
        timeout(Duration::from_millis(20), future).await.ok()
    }

    async fn deliveries(consumer: &mut Consumer) -> Vec<Delivery> {
        let mut all = Vec::new();
        loop {
            match consumer.next().await.unwrap() {
                Event::Delivery(delivery) => all.push(delivery),
                Event::End => return all,
                _ => {}
            }
        }
    }

    #[tokio::test]
    async fn every_record_comes_once_in_the_order_of_its_partition_and_then_the_end() {
        let (publisher, mut consumer, _) = log(&size(3, 100, 1 << 20));
        for index in 0..60 {
            publisher.publish(&record(&index.to_string(), index)).await.unwrap();
        }
        drop(publisher);
        let all = deliveries(&mut consumer).await;
        assert_eq!(all.len(), 60);
        for partition in 0..3 {
            let of_it: Vec<_> = all.iter().filter(|delivery| delivery.partition == partition).collect();
            assert!(of_it.len() > 5, "keys spread");
            assert!(of_it.iter().enumerate().all(|(index, delivery)| delivery.offset == index as i64));
            assert!(of_it.is_sorted_by_key(|delivery| delivery.record.value.len()));
        }
    }

    #[tokio::test]
    async fn a_full_partition_makes_the_publisher_wait_until_a_position_passes() {
        let (publisher, mut consumer, positions) = log(&size(1, 2, 1 << 20));
        for text in ["a", "b"] {
            publisher.publish(&record(text, 1)).await.unwrap();
        }
        assert!(soon(publisher.publish(&record("c", 1))).await.is_none(), "no room for a third");
        for _ in 0..3 {
            consumer.next().await.unwrap();
        }
        assert!(soon(publisher.publish(&record("c", 1))).await.is_none(), "reading makes no room");
        positions.store(0, GENERATION, 1).unwrap();
        assert!(soon(publisher.publish(&record("c", 1))).await.is_some());
        assert!(soon(publisher.publish(&record("d", 1))).await.is_none());
        positions.store(0, GENERATION, 2).unwrap();
        positions.store(0, GENERATION, 2).unwrap();
        assert!(soon(publisher.publish(&record("d", 1))).await.is_some());
        assert!(soon(publisher.publish(&record("e", 1))).await.is_none(), "storing twice makes no room twice");
    }

    #[tokio::test]
    async fn bytes_are_bounded_too_and_an_oversized_record_takes_all_of_the_room() {
        let (publisher, _consumer, _) = log(&size(1, 100, 10 << 10));
        publisher.publish(&record("a", 8 << 10)).await.unwrap();
        assert!(soon(publisher.publish(&record("b", 8 << 10))).await.is_none());
        let (publisher, _consumer, _) = log(&size(1, 100, 10 << 10));
        assert!(soon(publisher.publish(&record("huge", 1 << 20))).await.is_some());
        assert!(soon(publisher.publish(&record("b", 0))).await.is_none());
    }

    #[tokio::test]
    async fn a_paused_partition_hands_out_nothing_and_holds_back_the_end() {
        let (publisher, mut consumer, _) = log(&size(1, 10, 1 << 20));
        publisher.publish(&record("a", 1)).await.unwrap();
        drop(publisher);
        assert!(matches!(consumer.next().await, Ok(Event::Assigned(0, _))));
        consumer.pause(0);
        assert!(soon(consumer.next()).await.is_none());
        consumer.resume(0);
        assert_eq!(deliveries(&mut consumer).await.len(), 1);
    }

    #[tokio::test]
    async fn an_abandoned_publish_takes_no_room() {
        let (publisher, _consumer, positions) = log(&size(1, 1, 1 << 20));
        publisher.publish(&record("a", 1)).await.unwrap();
        for _ in 0..5 {
            assert!(soon(publisher.publish(&record("b", 1))).await.is_none());
        }
        assert_eq!(lock(&positions.0.partitions[0].log).unread.len(), 1);
    }
}
