//! What becomes of a record that does not simply succeed.

use std::sync::{Mutex, MutexGuard};

use super::{super::ports::Publish, *};
use crate::{
    domain::{Headers, Settled},
    runner::outlets::Later,
};

/// What the outside saw, in order.
#[derive(Default)]
pub(super) struct World {
    seen: Mutex<Vec<Seen>>,
    stored: Mutex<Option<Settled>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    Published(&'static str, Record),
    Written(Box<ResultRow>),
}

impl World {
    pub(super) fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap()
    }

    pub(super) fn rows(&self) -> Vec<ResultRow> {
        let row = |seen: &Seen| if let Seen::Written(row) = seen { Some((**row).clone()) } else { None };
        self.seen().iter().filter_map(row).collect()
    }

    pub(super) fn records(&self, topic: &str) -> Vec<Record> {
        let record = |seen: &Seen| match seen {
            Seen::Published(name, record) if *name == topic => Some(record.clone()),
            _ => None,
        };
        self.seen().iter().filter_map(record).collect()
    }
}

#[async_trait]
impl ResultStore for World {
    async fn settled(&self, _: &ImageId) -> Result<Option<Settled>, PortError> {
        Ok(self.stored.lock().unwrap().clone())
    }

    async fn write(&self, row: &ResultRow) -> Result<(), PortError> {
        self.seen().push(Seen::Written(Box::new(row.clone())));
        Ok(())
    }

    async fn join(&self, _: &str, _: &ImageId) -> Result<(), PortError> {
        Ok(())
    }
}

struct Topic {
    name: &'static str,
    /// Larger values are refused.
    limit: usize,
    world: Arc<World>,
}

#[async_trait]
impl Publish for Topic {
    fn name(&self) -> &str {
        self.name
    }

    async fn publish(&self, record: &Record) -> Result<(), PortError> {
        if record.value.len() > self.limit {
            return Err(PortError::TooLarge(format!("'{}' takes {} bytes", self.name, self.limit)));
        }
        self.world.seen().push(Seen::Published(self.name, record.clone()));
        Ok(())
    }
}

/// Does the same with every message.
pub(super) struct Always(pub(super) fn(&Message) -> Result<Effect, Failure>);

impl Stage for Always {
    const NAME: StageName = StageName::Fetch;

    async fn process(&self, message: &Message) -> Result<Effect, Failure> {
        (self.0)(message)
    }
}

/// As a later stage.
pub(super) struct Then(pub(super) Always);

impl Stage for Then {
    const NAME: StageName = StageName::Detect;

    async fn process(&self, message: &Message) -> Result<Effect, Failure> {
        self.0.process(message).await
    }
}

pub(super) fn work<S>(stage: S, world: &Arc<World>) -> Work<S> {
    let topic = |name, limit| Arc::new(Topic { name, limit, world: Arc::clone(world) }) as Arc<dyn Publish>;
    Work {
        stage,
        topic: "urls".into(),
        next: Next::Topic(topic("images", 100)),
        store: Arc::clone(world) as Arc<dyn ResultStore>,
        outlets: Outlets {
            results: Some(topic("results", 10_000)),
            later: vec![Later { delay: std::time::Duration::from_secs(60), topic: topic("later", 10_000) }],
            dead_letters: Some(topic("dlq", 200_000)),
        },
        redo: HashSet::from([Reason::ReadTimeout]),
        turns: Semaphore::new(9),
        gate: Gate::open(),
        retry: RetryPolicy { attempts: 1, base: std::time::Duration::ZERO, cap: std::time::Duration::ZERO },
        default_job: "job".into(),
        model: Model { name: "m".into(), sha256: String::new() },
        pipeline: Pipeline { version: "0".into(), fingerprint: "f".into(), epoch: Timestamp::from_micros(0) },
        metrics: Arc::default(),
        health: Arc::default(),
        tracer: Tracer::default(),
    }
}

pub(super) fn delivery(value: &[u8]) -> Delivery {
    let record = Record { key: None, headers: Headers::default(), value: value.to_vec().into() };
    Delivery { partition: 3, offset: 42, generation: 1, appended_at: Some(Timestamp::from_micros(7)), record }
}

pub(super) const URL: &[u8] = b"http://a.example/1";

/// A row of this epoch.
fn settled(fingerprint: &str, reason: Option<Reason>) -> Option<Settled> {
    let fingerprint = fingerprint.to_owned();
    Some(Settled { reason, epoch: Timestamp::from_micros(0), fingerprint, write_timestamp: 1_000_002 })
}

pub(super) fn fail(reason: Reason) -> Result<Effect, Failure> {
    Err(Failure::new(reason, "as told"))
}

#[tokio::test]
async fn a_record_that_cannot_be_read_becomes_a_dead_letter_with_its_bytes_and_no_row() {
    for value in [b"\xff\xfe".as_slice(), b"{\"url\": 5}", &[b'x'; 70_000]] {
        let world = Arc::default();
        work(Always(|_| Ok(Effect::Detected(vec![]))), &world).carry(&delivery(value)).await.unwrap();
        let letters = world.records("dlq");
        assert_eq!((letters.len(), world.seen().len()), (1, 1));
        assert_eq!(letters[0].value, value);
        assert_eq!(letters[0].headers.get("__dlq.errors.topic").unwrap(), "urls");
        assert_eq!(letters[0].headers.get("__dlq.errors.partition").unwrap(), "3");
        assert_eq!(letters[0].headers.get("__dlq.errors.offset").unwrap(), "42");
    }
}

#[tokio::test]
async fn a_dead_letter_that_its_topic_does_not_take_is_cut_and_not_lost() {
    let world = Arc::default();
    let value = vec![0xff; 300_000];
    work(Always(|_| Ok(Effect::Detected(vec![]))), &world).carry(&delivery(&value)).await.unwrap();
    let letters = world.records("dlq");
    assert_eq!(letters[0].value.len(), SMALL_VALUE_BYTES);
    assert_eq!(letters[0].headers.get("__dlq.truncated").unwrap(), "300000");
}

#[tokio::test]
async fn a_permanent_failure_is_worked_on_again_where_the_record_asks_for_its_reason() {
    for (stored, asked, is_redone) in [
        (Some(Reason::NotAnImage), Some(Reason::NotAnImage), true),
        (Some(Reason::NotAnImage), Some(Reason::TlsFailed), false),
        (Some(Reason::NotAnImage), None, false),
        (None, Some(Reason::NotAnImage), false),
    ] {
        let world = Arc::<World>::default();
        *world.stored.lock().unwrap() = settled("f", stored);
        let record = asked.into_iter().fold(delivery(URL).record, Record::again);
        let work = work(Always(|_| fail(Reason::NotAnImage)), &world);
        work.carry(&Delivery { record, ..delivery(b"") }).await.unwrap();
        assert_eq!(world.rows().len(), usize::from(is_redone), "{stored:?}, {asked:?}");
    }
}

#[tokio::test]
async fn a_url_that_is_refused_its_turn_waits_until_it_has_it_and_uses_up_no_try() {
    let world = Arc::default();
    let work = work(Always(|_| fail(Reason::HostBusy)), &world);
    let mut record = delivery(URL).record;
    for _ in 0..5 {
        work.carry(&Delivery { record, ..delivery(b"") }).await.unwrap();
        record = world.records("later").pop().unwrap();
        assert_eq!(record.headers.get("attempts").unwrap(), "1");
        assert_eq!(record.headers.get("waits").unwrap(), "0");
    }
    assert_eq!((world.records("later").len(), world.rows().len()), (5, 0));
}

#[tokio::test]
async fn what_a_closing_stage_gives_back_has_no_outcome_and_is_not_settled() {
    let world = Arc::default();
    let done = work(Always(|_| Ok(Effect::Untouched)), &world).carry(&delivery(URL)).await.unwrap();
    assert_eq!((done, world.seen().len()), (Done::Abandoned, 0));
}

#[tokio::test]
async fn a_fault_of_our_own_is_both_a_row_and_a_dead_letter() {
    let world = Arc::default();
    work(Always(|_| fail(Reason::InternalError)), &world).carry(&delivery(URL)).await.unwrap();
    assert_eq!(world.records("dlq")[0].headers.get("__dlq.class").unwrap(), "internal_error");
    assert_eq!(world.rows()[0].reason, Some(Reason::InternalError));
}

#[tokio::test]
async fn what_the_next_topic_does_not_take_is_an_outcome_and_no_standstill() {
    let world = Arc::default();
    let large =
        |message: &Message| Ok(Effect::HandOver(Box::new(Message { body: vec![0; 101].into(), ..message.clone() })));
    work(Always(large), &world).carry(&delivery(URL)).await.unwrap();
    let rows = world.rows();
    assert_eq!(rows[0].reason, Some(Reason::BodyTooLarge));
    assert!(rows[0].detail.as_deref().unwrap().contains("'images' takes 100 bytes"));
}

#[tokio::test]
async fn the_event_of_a_row_comes_before_the_row() {
    let world = Arc::default();
    work(Always(|_| fail(Reason::NotAnImage)), &world).carry(&delivery(URL)).await.unwrap();
    let seen = world.seen();
    let [Seen::Published("results", event), Seen::Written(row)] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(serde_json::from_slice::<ResultRow>(&event.value).unwrap(), **row);
}

#[tokio::test]
async fn a_failure_that_may_pass_waits_in_a_topic_and_becomes_a_row_after_the_last_wait() {
    let world = Arc::default();
    let work = work(Always(|_| fail(Reason::ReadTimeout)), &world);
    work.carry(&delivery(URL)).await.unwrap();
    let [waiting] = &world.records("later")[..] else { panic!("{:?}", world.seen()) };
    assert!(world.rows().is_empty());
    assert!(waiting.not_before().unwrap() > Timestamp::now() + std::time::Duration::from_secs(50));
    assert_eq!(waiting.headers.get("reason").unwrap(), "read_timeout");
    work.carry(&Delivery { record: waiting.clone(), ..delivery(b"") }).await.unwrap();
    let rows = world.rows();
    assert_eq!((rows[0].reason, rows[0].attempts), (Some(Reason::ReadTimeout), 2));
    assert_eq!(rows[0].timestamps.submitted_at, Timestamp::from_micros(7), "the time of the first submission");
}

#[tokio::test]
async fn a_row_of_another_pipeline_is_outranked_and_one_of_the_same_is_left() {
    let world = Arc::<World>::default();
    let work = work(Always(|_| fail(Reason::NotAnImage)), &world);
    *world.stored.lock().unwrap() = settled("f", None);
    work.carry(&delivery(URL)).await.unwrap();
    assert!(world.seen().is_empty(), "it is done");
    *world.stored.lock().unwrap() = settled("f", Some(Reason::ReadTimeout));
    work.carry(&delivery(URL)).await.unwrap();
    assert_eq!(world.rows()[0].write_timestamp(), 1_000_001, "of the stored row's base: the rank decides");
    *world.stored.lock().unwrap() = settled("other", None);
    work.carry(&delivery(URL)).await.unwrap();
    assert!(world.rows()[1].write_timestamp() > 1_000_002);
}

#[tokio::test]
async fn a_row_of_a_later_epoch_is_left_by_an_older_pipeline() {
    let world = Arc::<World>::default();
    let work = work(Always(|_| fail(Reason::NotAnImage)), &world);
    for reason in [None, Some(Reason::ReadTimeout)] {
        let epoch = Timestamp::from_micros(1_000_000);
        let stored = Settled { reason, epoch, fingerprint: "other".to_owned(), write_timestamp: 1_000_002 };
        *world.stored.lock().unwrap() = Some(stored);
        work.carry(&delivery(URL)).await.unwrap();
    }
    assert!(world.seen().is_empty(), "{:?}", world.seen());
}

#[tokio::test]
async fn a_stage_fed_in_memory_ends_the_record_of_the_first_one() {
    let world = Arc::default();
    let second = work(Then(Always(|_| Ok(Effect::Detected(vec![])))), &world);
    let first = work(Always(|message| Ok(Effect::HandOver(Box::new(message.clone())))), &world);
    let first = Work { next: Next::Stage(Arc::new(second)), ..first };
    first.carry(&delivery(URL)).await.unwrap();
    let rows = world.rows();
    assert_eq!((rows.len(), world.records("images").len()), (1, 0));
    assert!(rows[0].timings.fetch_us.is_some() && rows[0].timings.detect_us.is_some());
}

#[tokio::test]
async fn a_dead_letter_of_a_stage_fed_in_memory_says_where_its_record_lies() {
    let world = Arc::default();
    let second = work(Then(Always(|_| fail(Reason::InternalError))), &world);
    let first = work(Always(|message| Ok(Effect::HandOver(Box::new(message.clone())))), &world);
    let first = Work { next: Next::Stage(Arc::new(second)), topic: "the first".to_owned(), ..first };
    first.carry(&delivery(URL)).await.unwrap();
    assert_eq!(world.records("dlq")[0].headers.get("__dlq.errors.topic").unwrap(), "the first");
}
