use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::ports::{Delivery, Event, Generation, Partition, PortError, Source};

/// A source whose records are held until the time that each names ([`crate::domain::Record::not_before`]).
///
/// A partition whose next record is not due is paused, so that what waits stays in the log and not here; the few
/// records that were on their way are held. Other partitions and the group are served meanwhile. Records of a partition
/// come in their order: one that is not due holds back those behind it, which are due later anyway.
pub struct Delayed<I> {
    source: I,
    /// No record is held for longer, whatever it says: it may be foreign, or of a machine whose clock is wrong.
    longest: Duration,
    /// Under which each partition is assigned.
    generations: BTreeMap<Partition, Generation>,
    held: BTreeMap<Partition, Held>,
    /// Partitions that the runner wants paused.
    paused: BTreeSet<Partition>,
}

/// What is held of one partition.
struct Held {
    due: Instant,
    deliveries: VecDeque<Delivery>,
}

impl<I: Source> Delayed<I> {
    /// Around a source whose records wait no longer than `longest`: zero for those that are not meant to wait.
    pub fn new(source: I, longest: Duration) -> Self {
        let (generations, held, paused) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Delayed { source, longest, generations, held, paused }
    }

    /// Pauses and what is held end with the assignment.
    fn forget(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.generations.remove(partition);
            self.held.remove(partition);
            self.paused.remove(partition);
        }
    }

    /// The next held record that is due.
    fn due(&mut self, now: Instant) -> Option<Delivery> {
        let due = |(partition, held): (&Partition, &Held)| {
            (held.due <= now && !self.paused.contains(partition)).then_some(*partition)
        };
        let partition = self.held.iter().find_map(due)?;
        let held = self.held.get_mut(&partition)?;
        let delivery = held.deliveries.pop_front();
        match held.deliveries.front() {
            Some(next) => held.due = due_at(next, self.longest),
            None => {
                self.held.remove(&partition);
                self.source.resume(partition);
            }
        }
        delivery
    }

    /// Holds the record if it is not due, or if others before it are held.
    fn hold(&mut self, delivery: Delivery) -> Option<Delivery> {
        let partition = delivery.partition;
        // The runner drops what is of an assignment that is over; this one must not wait for it.
        if self.generations.get(&partition) != Some(&delivery.generation) {
            return Some(delivery);
        }
        if let Some(held) = self.held.get_mut(&partition) {
            held.deliveries.push_back(delivery);
            return None;
        }
        let due = due_at(&delivery, self.longest);
        if due <= Instant::now() {
            return Some(delivery);
        }
        self.source.pause(partition);
        self.held.insert(partition, Held { due, deliveries: VecDeque::from([delivery]) });
        None
    }
}

fn due_at(delivery: &Delivery, longest: Duration) -> Instant {
    let left = delivery.record.not_before().map(|time| time.time_left()).unwrap_or_default();
    Instant::now() + left.min(longest)
}

#[async_trait]
impl<I: Source> Source for Delayed<I> {
    async fn next(&mut self) -> Result<Event, PortError> {
        loop {
            if let Some(delivery) = self.due(Instant::now()) {
                return Ok(Event::Delivery(delivery));
            }
            let waiting = self.held.iter().filter(|(partition, _)| !self.paused.contains(partition));
            let soonest = waiting.map(|(_, held)| held.due).min();
            let event = tokio::select! {
                event = self.source.next() => event?,
                () = sleep_until(soonest.unwrap_or_else(Instant::now)), if soonest.is_some() => continue,
            };
            match event {
                Event::Delivery(delivery) => match self.hold(delivery) {
                    Some(delivery) => return Ok(Event::Delivery(delivery)),
                    None => continue,
                },
                // What is held of an assignment that is over comes again to whoever has the partition then.
                Event::Assigned(partition, generation) => {
                    self.forget(&[partition]);
                    self.generations.insert(partition, generation);
                }
                Event::Revoked { ref partitions, .. } | Event::Lost(ref partitions) => self.forget(partitions),
                Event::End if !self.held.is_empty() => continue,
                Event::End => {}
            }
            return Ok(event);
        }
    }

    fn pause(&mut self, partition: Partition) {
        self.paused.insert(partition);
        self.source.pause(partition);
    }

    fn resume(&mut self, partition: Partition) {
        self.paused.remove(&partition);
        if !self.held.contains_key(&partition) {
            self.source.resume(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use tokio::{
        sync::{mpsc, oneshot},
        time::timeout,
    };

    use super::*;
    use crate::domain::{Facts, Reason, Record, Timestamp};

    struct Scripted {
        events: mpsc::UnboundedReceiver<Event>,
        paused: Arc<Mutex<HashSet<Partition>>>,
    }

    #[async_trait]
    impl Source for Scripted {
        async fn next(&mut self) -> Result<Event, PortError> {
            Ok(self.events.recv().await.unwrap_or(Event::End))
        }

        fn pause(&mut self, partition: Partition) {
            self.paused.lock().unwrap().insert(partition);
        }

        fn resume(&mut self, partition: Partition) {
            self.paused.lock().unwrap().remove(&partition);
        }
    }

    struct World {
        send: mpsc::UnboundedSender<Event>,
        paused: Arc<Mutex<HashSet<Partition>>>,
        source: Delayed<Scripted>,
    }

    impl World {
        fn new() -> Self {
            let (send, events) = mpsc::unbounded_channel();
            let paused = Arc::<Mutex<HashSet<Partition>>>::default();
            let source = Delayed::new(Scripted { events, paused: Arc::clone(&paused) }, 5 * SOON);
            World { send, paused, source }
        }

        fn put(&self, partition: Partition, offset: i64, wait: Duration) {
            let facts = Facts::submitted("http://a.example/", "job", Timestamp::now());
            let record: Record = facts.resubmission(1, Timestamp::now() + wait, Reason::ReadTimeout);
            let delivery = Delivery { partition, offset, generation: 1, appended_at: None, record };
            self.send.send(Event::Delivery(delivery)).unwrap();
        }

        async fn assign(&mut self, partition: Partition, generation: Generation) {
            self.send.send(Event::Assigned(partition, generation)).unwrap();
            assert!(matches!(self.source.next().await, Ok(Event::Assigned(..))));
        }

        fn is_paused(&self, partition: Partition) -> bool {
            self.paused.lock().unwrap().contains(&partition)
        }

        async fn next(&mut self) -> Option<(Partition, i64)> {
            match timeout(Duration::from_millis(20), self.source.next()).await.ok()?.unwrap() {
                Event::Delivery(delivery) => Some((delivery.partition, delivery.offset)),
                other => panic!("no delivery: {other:?}"),
            }
        }
    }

    const SOON: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_record_waits_for_its_time_with_its_partition_paused_and_others_go_on() {
        let mut world = World::new();
        world.assign(0, 1).await;
        world.assign(1, 1).await;
        world.put(0, 5, SOON);
        world.put(0, 6, SOON);
        world.put(1, 7, Duration::ZERO);
        assert_eq!(world.next().await, Some((1, 7)));
        assert_eq!(world.next().await, None, "not due");
        assert!(world.is_paused(0) && !world.is_paused(1));
        tokio::time::sleep(SOON).await;
        assert_eq!(world.next().await, Some((0, 5)));
        assert_eq!(world.next().await, Some((0, 6)));
        assert!(!world.is_paused(0), "nothing is held any more");
    }

    #[tokio::test]
    async fn a_due_record_stays_behind_one_that_is_not() {
        let mut world = World::new();
        world.assign(0, 1).await;
        world.put(0, 5, SOON);
        world.put(0, 6, Duration::ZERO);
        assert_eq!(world.next().await, None);
        tokio::time::sleep(SOON).await;
        assert_eq!(world.next().await, Some((0, 5)));
        assert_eq!(world.next().await, Some((0, 6)));
    }

    #[tokio::test]
    async fn what_is_held_goes_with_its_assignment() {
        let mut world = World::new();
        for event in [Event::Lost(vec![0]), Event::Revoked { partitions: vec![0], drained: oneshot::channel().0 }] {
            world.assign(0, 1).await;
            world.put(0, 5, SOON);
            assert_eq!(world.next().await, None);
            world.send.send(event).unwrap();
            world.source.next().await.unwrap();
            tokio::time::sleep(SOON).await;
            assert_eq!(world.next().await, None, "it would be worked on under an assignment that is over");
        }
    }

    #[tokio::test]
    async fn a_pause_and_what_came_late_end_with_their_assignment() {
        let mut world = World::new();
        world.assign(0, 1).await;
        world.source.pause(0);
        world.send.send(Event::Lost(vec![0])).unwrap();
        world.source.next().await.unwrap();
        world.put(0, 5, SOON);
        assert_eq!(world.next().await, Some((0, 5)), "of no assignment: for the runner to drop");
        world.assign(0, 1).await;
        world.put(0, 5, SOON);
        assert_eq!(world.next().await, None, "not due");
        tokio::time::sleep(SOON).await;
        assert_eq!(world.next().await, Some((0, 5)), "nobody has asked for a pause under this assignment");
    }

    #[tokio::test]
    async fn nothing_waits_longer_than_its_topic_says() {
        let mut world = World::new();
        world.assign(0, 1).await;
        world.put(0, 5, Duration::from_secs(3600));
        assert_eq!(world.next().await, None);
        tokio::time::sleep(5 * SOON).await;
        assert_eq!(world.next().await, Some((0, 5)));
    }

    #[tokio::test]
    async fn the_runners_pause_outlives_the_wait() {
        let mut world = World::new();
        world.assign(0, 1).await;
        world.put(0, 5, SOON);
        world.put(0, 6, SOON);
        assert_eq!(world.next().await, None);
        world.source.pause(0);
        tokio::time::sleep(SOON).await;
        assert_eq!(world.next().await, None, "due, but the runner has no room");
        world.source.resume(0);
        assert_eq!(world.next().await, Some((0, 5)));
        world.source.pause(0);
        world.source.resume(0);
        assert!(world.is_paused(0), "one is still held");
        assert_eq!(world.next().await, Some((0, 6)));
        assert!(!world.is_paused(0));
    }
}
