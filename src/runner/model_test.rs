//! The runner against a model world: random receiving, finishing, failing, revoking, losing, crashing and
//! redelivering, with the safety rules checked at every position it stores.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use proptest::prelude::*;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    Gate, LaneLimits, Later, Next, Outlets, RetryPolicy, Runner, RunnerError, Work,
    ports::{Commit, Delivery, Event, Generation, Offset, Partition, PortError, Publish, ResultStore, Source},
};
use crate::{
    domain::{Failure, ImageId, Message, Model, Pipeline, Reason, Record, ResultRow, Settled, StageName, Timestamp},
    stages::{Effect, Stage},
    telemetry::{StageMetrics, Tracer},
};

const PARTITIONS: Partition = 3;
const RECORDS: usize = 12;
const LIMITS: LaneLimits =
    LaneLimits { records: 5, running: 4, bytes: 1 << 20, all_bytes: 1 << 11, age: Duration::from_secs(60) };
/// Fewer than the records of all lanes, so that some wait for their turn.
const TURNS: usize = 8;
const DRAIN: Duration = Duration::from_secs(5);

/// Everything outside the runner: the log, the group, the store, and the stage's pending calls.
#[derive(Default)]
struct World {
    /// What each partition holds; offsets have gaps.
    log: BTreeMap<Partition, Vec<(Offset, String)>>,
    /// The next record to hand out, by index, and the assignment, of each partition that is ours.
    reading: BTreeMap<Partition, (usize, Generation)>,
    generations: Generation,
    paused: HashSet<Partition>,
    stored: BTreeMap<Partition, Offset>,
    committed: BTreeMap<Partition, Offset>,
    rows: HashMap<ImageId, ResultRow>,
    handed_over: HashSet<ImageId>,
    put_off: HashSet<ImageId>,
    /// Calls of the stage that wait for the test to say how they end.
    calls: Vec<(ImageId, oneshot::Sender<Answer>)>,
    /// How often the stage was called for a URL that had a row already.
    redone: usize,
    infrastructure_down: bool,
    most_calls: usize,
    most_calls_of_lane: usize,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    HandOver,
    Detect,
    Fail(Reason),
    Panic,
}

#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A runner over this world, and where its source's events are put in.
    pub(super) fn runner(&self) -> (Runner<Shared, Events>, mpsc::UnboundedSender<Event>) {
        let (events, receiver) = mpsc::unbounded_channel();
        let runner = Runner {
            work: Work {
                stage: self.clone(),
                topic: "urls".into(),
                next: Next::Topic(Arc::new(self.clone())),
                store: Arc::new(self.clone()),
                outlets: Outlets {
                    later: vec![Later { delay: Duration::from_secs(60), topic: Arc::new(Waiting(self.clone())) }],
                    ..Outlets::default()
                },
                redo: HashSet::new(),
                turns: Semaphore::new(TURNS),
                gate: Gate::open(),
                retry: RetryPolicy { attempts: 2, base: Duration::from_secs(1), cap: Duration::from_secs(1) },
                default_job: "job".into(),
                model: Model { name: "m".into(), sha256: String::new() },
                pipeline: Pipeline { version: "0".into(), fingerprint: "f".into(), epoch: Timestamp::from_micros(0) },
                metrics: Arc::new(StageMetrics::default()),
                health: Arc::default(),
                tracer: Tracer::default(),
            },
            source: Events { receiver, shared: self.clone() },
            commit: Arc::new(self.clone()),
            limits: LIMITS,
            drain: DRAIN,
        };
        (runner, events)
    }

    fn check_up(&self) -> Result<(), PortError> {
        if self.world().infrastructure_down { Err(PortError::Unavailable("down".into())) } else { Ok(()) }
    }
}

impl Stage for Shared {
    const NAME: StageName = StageName::Fetch;

    async fn process(&self, message: &Message) -> Result<Effect, Failure> {
        let (answer, asked) = oneshot::channel();
        {
            let mut world = self.world();
            let id = message.facts.image_id;
            world.redone += usize::from(world.rows.contains_key(&id));
            world.calls.push((id, answer));
            world.calls.retain(|(_, call)| !call.is_closed());
            // Not asserted here: the runner takes a panic of the stage for an outcome.
            world.most_calls = world.most_calls.max(world.calls.len());
            let of_lane =
                |partition: &Partition| world.calls.iter().filter(|(id, _)| world.is_in(*partition, id)).count();
            let most = (0..PARTITIONS).map(|partition| of_lane(&partition)).max().unwrap_or(0);
            world.most_calls_of_lane = world.most_calls_of_lane.max(most);
        }
        match asked.await.unwrap() {
            Answer::HandOver => Ok(Effect::HandOver(Box::new(message.clone()))),
            Answer::Detect => Ok(Effect::Detected(vec![])),
            Answer::Fail(reason) => Err(Failure::new(reason, "")),
            Answer::Panic => panic!("a stage that panics (this is a test)"),
        }
    }
}

#[async_trait]
impl Publish for Shared {
    fn name(&self) -> &str {
        "images"
    }

    async fn publish(&self, record: &Record) -> Result<(), PortError> {
        self.check_up()?;
        self.world().handed_over.insert(record.key.unwrap());
        Ok(())
    }
}

/// The topic of URLs that wait for a later try.
struct Waiting(Shared);

#[async_trait]
impl Publish for Waiting {
    fn name(&self) -> &str {
        "later"
    }

    async fn publish(&self, record: &Record) -> Result<(), PortError> {
        self.0.check_up()?;
        assert!(record.not_before().unwrap() > Timestamp::now());
        self.0.world().put_off.insert(record.key.unwrap());
        Ok(())
    }
}

#[async_trait]
impl ResultStore for Shared {
    async fn settled(&self, id: &ImageId) -> Result<Option<Settled>, PortError> {
        self.check_up()?;
        let world = self.world();
        Ok(world.rows.get(id).map(|row| Settled {
            reason: row.reason,
            epoch: row.pipeline.epoch,
            fingerprint: row.pipeline.fingerprint.clone(),
            write_timestamp: row.write_timestamp(),
        }))
    }

    async fn write(&self, row: &ResultRow) -> Result<(), PortError> {
        self.check_up()?;
        let mut world = self.world();
        let newer = world.rows.get(&row.image_id).is_none_or(|old| row.write_timestamp() >= old.write_timestamp());
        if newer {
            world.rows.insert(row.image_id, row.clone());
        }
        Ok(())
    }

    async fn join(&self, _: &str, _: &ImageId) -> Result<(), PortError> {
        self.check_up()
    }
}

#[async_trait]
impl Commit for Shared {
    fn store(&self, partition: Partition, generation: Generation, next: Offset) -> Result<(), PortError> {
        let mut world = self.world();
        if world.reading.get(&partition).is_none_or(|(_, current)| *current != generation) {
            return Err(PortError::Unavailable("not assigned".into()));
        }
        let unfinished = world.log[&partition]
            .iter()
            .filter(|(offset, _)| *offset < next)
            .find(|(_, url)| !world.is_done(&ImageId::of(url)));
        assert_eq!(unfinished, None, "position {next} of partition {partition} passes unfinished work");
        let before = world.stored.insert(partition, next);
        assert!(before.is_none_or(|before| before <= next), "a position moved back from {before:?} to {next}");
        Ok(())
    }

    async fn commit(&self) -> Result<(), PortError> {
        self.world().auto_commit();
        Ok(())
    }
}

impl World {
    fn is_done(&self, id: &ImageId) -> bool {
        self.rows.contains_key(id) || self.handed_over.contains(id) || self.put_off.contains(id)
    }

    fn is_in(&self, partition: Partition, id: &ImageId) -> bool {
        self.log[&partition].iter().any(|(_, url)| ImageId::of(url) == *id)
    }

    fn done_in(&self, partition: Partition) -> usize {
        self.log[&partition].iter().filter(|(_, url)| self.is_done(&ImageId::of(url))).count()
    }

    fn answer_all(&mut self, answer: Answer, which: impl Fn(&World, &ImageId) -> bool) {
        let calls = std::mem::take(&mut self.calls);
        let (chosen, others): (Vec<_>, Vec<_>) = calls.into_iter().partition(|(id, _)| which(self, id));
        self.calls = others;
        chosen.into_iter().for_each(|(_, call)| {
            let _ = call.send(answer);
        });
    }

    fn auto_commit(&mut self) {
        let stored = self.stored.clone();
        self.committed.extend(stored);
    }

    /// The group gives us the partition: reading starts at the committed position.
    fn assign(&mut self, partition: Partition) -> Event {
        let committed = self.committed.get(&partition).copied();
        match committed {
            Some(committed) => self.stored.insert(partition, committed),
            None => self.stored.remove(&partition),
        };
        let start = self.log[&partition].partition_point(|(offset, _)| committed.is_some_and(|next| *offset < next));
        self.generations += 1;
        self.reading.insert(partition, (start, self.generations));
        self.paused.remove(&partition);
        Event::Assigned(partition, self.generations)
    }

    fn delivery(&mut self, partition: Partition) -> Option<Event> {
        let (index, generation) = self.reading.get_mut(&partition)?;
        let (offset, url) = self.log[&partition].get(*index)?.clone();
        *index += 1;
        Some(delivery(partition, offset, *generation, url))
    }
}

fn delivery(partition: Partition, offset: Offset, generation: Generation, url: String) -> Event {
    let record = Message::submission(url, "job", Timestamp::from_micros(1_000_000));
    Event::Delivery(Delivery { partition, offset, generation, appended_at: None, record })
}

pub(super) struct Events {
    receiver: mpsc::UnboundedReceiver<Event>,
    shared: Shared,
}

#[async_trait]
impl Source for Events {
    async fn next(&mut self) -> Result<Event, PortError> {
        Ok(self.receiver.recv().await.unwrap_or(Event::End))
    }

    fn pause(&mut self, partition: Partition) {
        self.shared.world().paused.insert(partition);
    }

    fn resume(&mut self, partition: Partition) {
        self.shared.world().paused.remove(&partition);
    }
}

/// A running runner: one process of the group.
struct Process {
    events: mpsc::UnboundedSender<Event>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunnerError>>,
}

impl Process {
    fn start(shared: &Shared) -> Self {
        let (runner, events) = shared.runner();
        let stop = CancellationToken::new();
        let process = Process { events, task: tokio::spawn(runner.run(stop.clone())), stop };
        (0..PARTITIONS).for_each(|partition| process.send(shared.world().assign(partition)));
        process
    }

    fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// As `kill -9`: nothing more happens; what was stored and not committed is lost.
    async fn crash(self, shared: &Shared) {
        self.task.abort();
        let _ = self.task.await;
        let mut world = shared.world();
        world.calls.clear();
        world.reading.clear();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Receive(Partition),
    Answer(usize, Answer),
    StaleDelivery(Partition),
    Revoke(Partition),
    Lose(Partition),
    AutoCommit,
    Down(bool),
    Wait(u64),
    Crash,
    Stop,
}

fn any_step() -> impl Strategy<Value = Step> {
    let partition = 0..PARTITIONS;
    let answer = prop_oneof![
        5 => Just(Answer::HandOver),
        5 => Just(Answer::Detect),
        2 => Just(Answer::Fail(Reason::NotAnImage)),
        3 => Just(Answer::Fail(Reason::ReadTimeout)),
        1 => Just(Answer::Panic),
    ];
    prop_oneof![
        12 => partition.clone().prop_map(Step::Receive),
        12 => (0..8usize, answer).prop_map(|(call, answer)| Step::Answer(call, answer)),
        1 => partition.clone().prop_map(Step::StaleDelivery),
        1 => partition.clone().prop_map(Step::Revoke),
        1 => partition.prop_map(Step::Lose),
        2 => Just(Step::AutoCommit),
        1 => any::<bool>().prop_map(Step::Down),
        2 => (1..8_000u64).prop_map(Step::Wait),
        1 => Just(Step::Crash),
        1 => Just(Step::Stop),
    ]
}

async fn take(step: Step, process: Process, shared: &Shared) -> Process {
    match step {
        Step::Receive(partition) => {
            let event = shared.world().delivery(partition);
            event.into_iter().for_each(|event| process.send(event));
        }
        Step::Answer(call, answer) => {
            let mut world = shared.world();
            if !world.calls.is_empty() {
                let index = call % world.calls.len();
                let _ = world.calls.remove(index).1.send(answer);
            }
        }
        Step::StaleDelivery(partition) => {
            // A record far ahead, read under an assignment that is over: taking it in would let the
            // position jump over everything between.
            let generation = shared.world().reading.get(&partition).map_or(0, |(_, generation)| generation - 1);
            process.send(delivery(partition, 1_000_000, generation, "http://stale.example/".into()));
        }
        Step::Revoke(partition) => {
            let (drained, wait) = oneshot::channel();
            process.send(Event::Revoked { partitions: vec![partition], drained });
            // Answered at the deadline at the latest; the group moves on whatever the answer.
            let _ = tokio::time::timeout(DRAIN * 2, wait).await;
            shared.world().reading.remove(&partition);
            let done = shared.world().done_in(partition);
            shared.world().answer_all(Answer::Detect, |world, id| world.is_in(partition, id));
            sleep(Duration::from_millis(1)).await;
            assert_eq!(shared.world().done_in(partition), done, "an effect after the partition was given back");
            process.send(shared.world().assign(partition));
        }
        Step::Lose(partition) => {
            shared.world().reading.remove(&partition);
            process.send(Event::Lost(vec![partition]));
            sleep(Duration::from_millis(1)).await;
            process.send(shared.world().assign(partition));
        }
        Step::AutoCommit => shared.world().auto_commit(),
        Step::Down(down) => shared.world().infrastructure_down = down,
        Step::Wait(millis) => sleep(Duration::from_millis(millis)).await,
        Step::Crash => {
            process.crash(shared).await;
            return Process::start(shared);
        }
        Step::Stop => {
            process.stop.cancel();
            process.task.await.unwrap().unwrap();
            let mut world = shared.world();
            world.calls.clear();
            world.reading.clear();
            drop(world);
            return Process::start(shared);
        }
    }
    // Time only passes when nobody has anything left to do, so everything sent has its effect here.
    sleep(Duration::from_millis(1)).await;
    process
}

/// Everything is up and answers well from now on: the run must come to its end.
async fn finish(process: Process, shared: &Shared) {
    process.crash(shared).await;
    shared.world().infrastructure_down = false;
    let process = Process::start(shared);
    for _ in 0..RECORDS {
        for partition in 0..PARTITIONS {
            let mut world = shared.world();
            // More than the lane takes: the last ones come although the partition is about to be paused.
            let burst = if world.paused.contains(&partition) { 0 } else { LIMITS.records + 2 };
            (0..burst).filter_map(|_| world.delivery(partition)).for_each(|event| process.send(event));
        }
        // The calls of one burst, and of those that had to wait for their turn.
        for _ in 0..LIMITS.records {
            sleep(Duration::from_millis(1)).await;
            shared.world().answer_all(Answer::Detect, |_, _| true);
        }
        sleep(Duration::from_millis(200)).await;
    }
    drop(process.events);
    tokio::time::timeout(DRAIN, process.task).await.expect("the runner ends when its source does").unwrap().unwrap();
}

fn run(gaps: &[Offset], steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let shared = Shared::default();
        for partition in 0..PARTITIONS {
            let mut offset = 0;
            let records = (0..RECORDS).map(|index| {
                offset += gaps[(index + partition as usize) % gaps.len()];
                (offset, format!("http://a.example/{partition}/{index}"))
            });
            let records = records.collect();
            shared.world().log.insert(partition, records);
        }
        let mut process = Process::start(&shared);
        for step in steps {
            process = take(step, process, &shared).await;
            assert!(!process.task.is_finished(), "the runner gave up: {:?}", process.task.await);
        }
        finish(process, &shared).await;

        let world = shared.world();
        for (partition, log) in &world.log {
            assert!(log.iter().all(|(_, url)| world.is_done(&ImageId::of(url))), "a record was lost");
            assert_eq!(
                world.committed[partition],
                log.last().unwrap().0 + 1,
                "all of partition {partition} is committed"
            );
        }
        assert!(!world.rows.contains_key(&ImageId::of("http://stale.example/")), "a stale record was worked on");
        assert_eq!(world.redone, 0, "a URL with a row was worked on again");
        assert!(world.most_calls <= TURNS, "more calls at once than turns");
        assert!(world.most_calls_of_lane <= LIMITS.running, "more calls of a partition at once than may run");
    });
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_given_back_when_its_work_is_done_and_committed_and_not_before() {
    let shared = Shared::default();
    for partition in 0..PARTITIONS {
        shared.world().log.insert(partition, vec![(7, format!("http://a.example/{partition}"))]);
    }
    let process = Process::start(&shared);
    let delivery = shared.world().delivery(0).unwrap();
    process.send(delivery);
    sleep(Duration::from_millis(1)).await;
    let (drained, mut answer) = oneshot::channel();
    process.send(Event::Revoked { partitions: vec![0], drained });
    sleep(DRAIN / 2).await;
    assert!(answer.try_recv().is_err(), "its work is under way and has time");
    shared.world().answer_all(Answer::Detect, |_, _| true);
    sleep(Duration::from_millis(1)).await;
    answer.try_recv().expect("nothing is under way any more");
    assert_eq!(shared.world().committed.get(&0), Some(&8));
    process.crash(&shared).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_position_passes_unfinished_work_and_every_record_ends_in_one_outcome(
        gaps in prop::collection::vec(1..50i64, 4),
        steps in prop::collection::vec(any_step(), 0..120),
    ) {
        run(&gaps, steps);
    }
}
