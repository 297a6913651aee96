use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::oneshot,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    lane::{Lane, LaneLimits},
    ports::{Commit, Delivery, Event, Generation, Offset, Partition, PortError, Source},
    step::Done,
    work::Work,
};
use crate::{domain::StageName, stages::Stage};

/// How often lanes are looked at for what only time changes: ages and deadlines.
const TICK: Duration = Duration::from_millis(100);

/// Events that are taken in a row, if they are there, before completions have their turn.
const EVENTS: usize = 64;

/// Runs one stage over one source until the source ends or a stop is asked for.
pub struct Runner<S, I> {
    /// What happens to each record.
    pub work: Work<S>,
    /// Where the records come from.
    pub source: I,
    /// Where the positions go.
    pub commit: Arc<dyn Commit>,
    /// The bounds of each partition.
    pub limits: LaneLimits,
    /// How long work under way may take to finish after a stop or a revocation. Shorter than the
    /// group's session time-out and the pod's termination grace period.
    pub drain: Duration,
}

/// Why a runner gave up.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// A foreign system is beyond waiting for.
    #[error("{stage} stopped: {error}")]
    Port {
        /// The stage.
        stage: StageName,
        /// What the system said.
        error: PortError,
    },
    /// A fault in the runner itself; the record is not settled and comes again.
    #[error("{stage} stopped by a fault of facemill's own, please report it: {error}")]
    Fault {
        /// The stage.
        stage: StageName,
        /// The panic.
        error: JoinError,
    },
}

/// A record's task has ended.
struct Completion {
    partition: Partition,
    generation: Generation,
    offset: Offset,
    bytes: usize,
    took: Duration,
    result: Result<Done, PortError>,
}

/// Partitions that the group wants back.
struct Draining {
    partitions: Vec<Partition>,
    deadline: Instant,
    drained: oneshot::Sender<()>,
}

/// What the driver keeps while it runs.
struct Driver<S, I> {
    work: Arc<Work<S>>,
    source: I,
    commit: Arc<dyn Commit>,
    limits: LaneLimits,
    drain: Duration,
    lanes: BTreeMap<Partition, Lane>,
    draining: Vec<Draining>,
    tasks: JoinSet<Completion>,
    /// Lanes to look at again: something happened to them.
    touched: BTreeSet<Partition>,
    /// Whether the source has more to say.
    ended: bool,
    /// Set by a stop: when work under way is abandoned.
    deadline: Option<Instant>,
}

impl<S: Stage, I: Source> Runner<S, I> {
    /// Runs until the source ends, or until `stop`: then takes nothing new, drains, commits and returns.
    ///
    /// # Errors
    /// When a foreign system is beyond waiting for. Nothing unfinished is ever committed.
    pub async fn run(self, stop: CancellationToken) -> Result<(), RunnerError> {
        self.into_driver().run(stop).await
    }

    fn into_driver(self) -> Driver<S, I> {
        Driver {
            work: Arc::new(self.work),
            source: self.source,
            commit: self.commit,
            limits: self.limits,
            drain: self.drain,
            lanes: BTreeMap::new(),
            draining: Vec::new(),
            tasks: JoinSet::new(),
            touched: BTreeSet::new(),
            ended: false,
            deadline: None,
        }
    }
}

impl<S: Stage, I: Source> Driver<S, I> {
    async fn run(&mut self, stop: CancellationToken) -> Result<(), RunnerError> {
        let (work, topic) = (Arc::clone(&self.work), self.work.topic.clone());
        let _life = work.health.life(&topic);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_finished() {
            tokio::select! {
                // Completions first: they make room and move positions.
                biased;
                Some(completion) = self.tasks.join_next() => {
                    self.complete(completion)?;
                    while let Some(completion) = self.tasks.try_join_next() {
                        self.complete(completion)?;
                    }
                }
                () = stop.cancelled(), if self.deadline.is_none() => self.stop_intake(),
                _ = tick.tick() => {
                    self.touched.extend(self.lanes.keys());
                    self.work.health.beat(&self.work.topic);
                    self.show_lanes();
                }
                // Last: a source that always has something would let nothing below it have its turn.
                event = self.source.next(), if !self.ended => {
                    self.handle(event.map_err(port_error::<S>)?);
                    self.take_what_is_there()?;
                }
            }
            let all_bytes = self.all_bytes();
            while let Some(partition) = self.touched.pop_first() {
                self.store_position(partition)?;
                self.balance(partition, all_bytes);
            }
            self.finish_drains().await;
        }
        // Work that outlived the deadline is abandoned here: its records are not settled and come again.
        self.lanes.clear();
        self.commit.commit().await.map_err(port_error::<S>)
    }

    fn is_finished(&self) -> bool {
        let idle = self.tasks.is_empty();
        match self.deadline {
            Some(deadline) => idle || Instant::now() >= deadline,
            None => self.ended && idle && self.lanes.values().all(Lane::is_idle),
        }
    }

    /// Bytes of the unfinished records of all partitions.
    fn all_bytes(&self) -> usize {
        self.lanes.values().map(Lane::bytes).sum()
    }

    /// Shows what is under way to those who watch.
    fn show_lanes(&self) {
        let metrics = &self.work.metrics;
        let all_bytes = self.all_bytes();
        let states = self.lanes.iter().map(|(partition, lane)| lane.state(*partition, &self.limits, all_bytes));
        metrics.set_lanes(states.collect());
        metrics.held_back.store(!self.work.gate.is_open(), Ordering::Relaxed);
    }

    fn stop_intake(&mut self) {
        self.deadline = Some(Instant::now() + self.drain);
        for (partition, lane) in &mut self.lanes {
            lane.close();
            self.source.pause(*partition);
        }
    }

    /// Takes events that need no waiting, so that lanes are looked at once for all of them.
    fn take_what_is_there(&mut self) -> Result<(), RunnerError> {
        for _ in 0..EVENTS {
            if self.ended {
                break;
            }
            let Some(event) = self.source.next().now_or_never() else { break };
            self.handle(event.map_err(port_error::<S>)?);
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Assigned(partition, generation) => self.assign(partition, generation),
            Event::Revoked { partitions, drained } => self.revoke(partitions, drained),
            // Dropping a lane ends its work without a commit.
            Event::Lost(partitions) => partitions.iter().for_each(|partition| drop(self.lanes.remove(partition))),
            Event::Delivery(delivery) => self.receive(delivery),
            Event::End => self.ended = true,
        }
    }

    fn assign(&mut self, partition: Partition, generation: Generation) {
        let mut lane = Lane::new(generation);
        if self.deadline.is_some() {
            lane.close();
            self.source.pause(partition);
        }
        self.lanes.insert(partition, lane);
    }

    fn revoke(&mut self, partitions: Vec<Partition>, drained: oneshot::Sender<()>) {
        for partition in &partitions {
            if let Some(lane) = self.lanes.get_mut(partition) {
                lane.close();
            }
        }
        self.draining.push(Draining { partitions, deadline: Instant::now() + self.drain, drained });
    }

    /// A record of an assignment that is over is dropped: whoever has the partition now gets it again.
    fn receive(&mut self, delivery: Delivery) {
        if let Some(lane) = self.lanes.get_mut(&delivery.partition)
            && lane.generation == delivery.generation
        {
            self.touched.insert(delivery.partition);
            let bytes = delivery.record.size() as u64;
            if lane.receive(delivery) {
                self.work.metrics.received.add(1);
                self.work.metrics.received_bytes.add(bytes);
            }
        }
    }

    /// A completion under an assignment that is over moves nothing.
    fn complete(&mut self, completion: Result<Completion, JoinError>) -> Result<(), RunnerError> {
        let completion = completion.map_err(|error| RunnerError::Fault { stage: S::NAME, error })?;
        let done = completion.result.map_err(port_error::<S>)?;
        if let Some(lane) = self.lanes.get_mut(&completion.partition)
            && lane.generation == completion.generation
            && matches!(done, Done::Settled)
        {
            self.touched.insert(completion.partition);
            lane.settle(completion.offset, completion.bytes);
            self.work.metrics.settled.add(1);
            self.work.metrics.records.record(completion.took);
        }
        Ok(())
    }

    fn store_position(&mut self, partition: Partition) -> Result<(), RunnerError> {
        let Some(lane) = self.lanes.get_mut(&partition) else { return Ok(()) };
        let Some(position) = lane.take_moved_position() else { return Ok(()) };
        match self.commit.store(partition, lane.generation, position) {
            // Most likely no longer ours: whoever has the partition now starts further back.
            Err(PortError::Unavailable(error)) => {
                tracing::warn!(stage = %S::NAME, partition, position, %error, "cannot store the position");
                Ok(())
            }
            stored => stored.map_err(port_error::<S>),
        }
    }

    /// Gives back the partitions whose work is settled, or whose time is up.
    async fn finish_drains(&mut self) {
        let lanes = &self.lanes;
        let now = Instant::now();
        let is_over = |draining: &mut Draining| {
            now >= draining.deadline || draining.partitions.iter().all(|p| lanes.get(p).is_none_or(Lane::is_idle))
        };
        let over: Vec<Draining> = self.draining.extract_if(.., is_over).collect();
        for Draining { partitions, drained, .. } in over {
            if let Err(error) = self.commit.commit().await {
                tracing::warn!(stage = %S::NAME, ?partitions, %error, "cannot commit before giving partitions back");
            }
            for partition in partitions {
                self.lanes.remove(&partition);
            }
            // The source may have given up waiting; the partitions are gone all the same.
            let _ = drained.send(());
        }
    }

    /// Begins what there is room for, and pauses or resumes the source; `all_bytes` are those of all lanes.
    fn balance(&mut self, partition: Partition, all_bytes: usize) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        // Behind the gate a record is not begun: it can be given back at once.
        let is_open = self.work.gate.is_open();
        while is_open && let Some(delivery) = lane.begin(&self.limits) {
            self.tasks.spawn(carry(Arc::clone(&self.work), delivery, lane.live.clone()));
        }
        if self.deadline.is_some() {
            return;
        }
        if let Some(full) = lane.full(&self.limits, all_bytes).filter(|_| !lane.paused) {
            lane.paused = true;
            self.source.pause(partition);
            self.work.metrics.pauses.add([full], 1);
        } else if lane.paused && lane.has_room(&self.limits, all_bytes) {
            lane.paused = false;
            self.source.resume(partition);
        }
    }
}

/// One record's task.
async fn carry<S: Stage>(work: Arc<Work<S>>, delivery: Delivery, live: CancellationToken) -> Completion {
    let Delivery { partition, offset, generation, .. } = delivery;
    let bytes = delivery.record.size();
    let began = Instant::now();
    let result = tokio::select! {
        // Asked first at every step: once the assignment is over, nothing more is written.
        biased;
        () = live.cancelled() => Ok(Done::Abandoned),
        result = work.carry(&delivery) => result,
    };
    Completion { partition, generation, offset, bytes, took: began.elapsed(), result }
}

fn port_error<S: Stage>(error: PortError) -> RunnerError {
    RunnerError::Port { stage: S::NAME, error }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{model_test::Shared, step::Gate},
        *,
    };
    use crate::domain::{Message, Timestamp};

    fn delivery(offset: Offset, generation: Generation) -> Event {
        let record = Message::submission("http://a.example/", "job", Timestamp::now());
        Event::Delivery(Delivery { partition: 0, offset, generation, appended_at: None, record })
    }

    #[tokio::test]
    async fn a_partition_that_is_wanted_back_begins_nothing_more() {
        let (runner, _events) = Shared::default().runner();
        let mut driver = runner.into_driver();
        driver.handle(Event::Assigned(0, 1));
        driver.handle(delivery(5, 1));
        let (drained, _answer) = oneshot::channel();
        driver.handle(Event::Revoked { partitions: vec![0], drained });
        driver.handle(delivery(6, 1));
        driver.balance(0, 0);
        assert!(driver.tasks.is_empty(), "what had not begun is the next owner's");
    }

    #[tokio::test]
    async fn behind_a_closed_gate_nothing_is_begun_and_a_partition_is_given_back_at_once() {
        let gate = tokio::sync::watch::Sender::new(false);
        for is_open in [false, true] {
            gate.send_replace(is_open);
            let (mut runner, _events) = Shared::default().runner();
            runner.work.gate = Gate::of(&gate);
            let mut driver = runner.into_driver();
            driver.handle(Event::Assigned(0, 1));
            driver.handle(delivery(5, 1));
            driver.balance(0, 0);
            assert_eq!(driver.tasks.len(), usize::from(is_open));
            let (drained, mut answer) = oneshot::channel();
            driver.handle(Event::Revoked { partitions: vec![0], drained });
            driver.finish_drains().await;
            assert_eq!(answer.try_recv().is_ok(), !is_open, "what has begun is waited for");
        }
    }

    #[tokio::test]
    async fn a_completion_under_an_assignment_that_is_over_moves_nothing() {
        let (runner, _events) = Shared::default().runner();
        let mut driver = runner.into_driver();
        driver.handle(Event::Assigned(0, 1));
        driver.handle(Event::Assigned(0, 2));
        driver.handle(delivery(5, 2));
        let completion = |generation| Completion {
            partition: 0,
            generation,
            offset: 5,
            bytes: 0,
            took: Duration::ZERO,
            result: Ok(Done::Settled),
        };
        driver.complete(Ok(completion(1))).unwrap();
        assert_eq!(driver.lanes.get_mut(&0).and_then(Lane::take_moved_position), None);
        driver.complete(Ok(completion(2))).unwrap();
        assert_eq!(driver.lanes.get_mut(&0).and_then(Lane::take_moved_position), Some(6));
    }
}
