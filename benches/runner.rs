//! The runner alone: records of 1 KB from a topic, through a stage that does nothing, to committed positions.
//!
//! `runner BROKERS TOPIC RECORDS` reads a topic of real brokers that is there and empty, after it has filled it, and
//! prints as JSON what a record cost: processor time of this whole process, librdkafka's threads included, and time
//! on the clock. The filling is not counted. One thread runs the runner, as for a process with one core.

use std::{
    collections::HashSet,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use facemill::{
    adapters::kafka::{ConsumerGroup, KafkaOptions, KafkaProducer, Secret},
    domain::{Facts, Failure, ImageId, Message, Model, Pipeline, Record, ResultRow, Settled, StageName, Timestamp},
    runner::{
        Gate, LaneLimits, Next, Outlets, RetryPolicy, Runner, Work,
        ports::{PortError, Publish, ResultStore},
    },
    stages::{Effect, Stage},
    telemetry::Tracer,
};
use futures_util::{StreamExt, stream};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Bytes of a record's value.
const VALUE_BYTES: usize = 1024;

struct Nothing;

impl Stage for Nothing {
    const NAME: StageName = StageName::Preprocess;

    async fn process(&self, message: &Message) -> Result<Effect, Failure> {
        Ok(Effect::HandOver(Box::new(message.clone())))
    }
}

/// Takes everything, and says when all of it has come.
struct Sink {
    left: AtomicUsize,
    all: CancellationToken,
}

#[async_trait]
impl Publish for Sink {
    fn name(&self) -> &str {
        "nowhere"
    }

    async fn publish(&self, _: &Record) -> Result<(), PortError> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.all.cancel();
        }
        Ok(())
    }
}

#[async_trait]
impl ResultStore for Sink {
    async fn settled(&self, _: &ImageId) -> Result<Option<Settled>, PortError> {
        Ok(None)
    }

    async fn write(&self, _: &ResultRow) -> Result<(), PortError> {
        Ok(())
    }

    async fn join(&self, _: &str, _: &ImageId) -> Result<(), PortError> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [brokers, topic, records] = args.as_slice() else {
        return Err("usage: runner BROKERS TOPIC RECORDS".into());
    };
    let records: usize = records.parse()?;
    let properties = vec![("bootstrap.servers".to_owned(), Secret(brokers.clone()))];
    let options = KafkaOptions { properties };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill(&options, topic, records))?;

    let group = ConsumerGroup {
        group: format!("{topic}.bench"),
        topic: topic.clone(),
        patience: Duration::from_secs(10),
        start_timeout: Duration::from_secs(10),
    };
    let all = CancellationToken::new();
    let sink = Arc::new(Sink { left: AtomicUsize::new(records), all: all.clone() });
    let (cpu, clock) = (cpu_time(), Instant::now());
    let (source, positions, membership) = group.join(&options, Arc::default(), Arc::default())?;
    let runner = Runner {
        work: Work {
            stage: Nothing,
            topic: topic.clone(),
            next: Next::Topic(Arc::clone(&sink) as Arc<dyn Publish>),
            store: sink,
            outlets: Outlets::default(),
            redo: HashSet::new(),
            turns: Semaphore::new(Semaphore::MAX_PERMITS),
            gate: Gate::open(),
            retry: RetryPolicy { attempts: 1, base: Duration::ZERO, cap: Duration::ZERO },
            default_job: "bench".to_owned(),
            model: Model { name: "none".to_owned(), sha256: String::new() },
            pipeline: Pipeline { version: "0".into(), fingerprint: "0".into(), epoch: Timestamp::from_micros(0) },
            metrics: Arc::default(),
            health: Arc::default(),
            tracer: Tracer::default(),
        },
        source,
        commit: Arc::new(positions),
        limits: LaneLimits {
            records: 8192,
            running: 128,
            bytes: 32 << 20,
            all_bytes: 128 << 20,
            age: Duration::from_secs(600),
        },
        drain: Duration::from_secs(10),
    };
    runtime.block_on(runner.run(all))?;
    let (cpu, clock) = (cpu_time() - cpu, clock.elapsed());
    membership.left();
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / records as f64;
    println!("{}", serde_json::json!({ "records": records, "cpu_us": each(cpu), "clock_us": each(clock) }));
    Ok(())
}

async fn fill(options: &KafkaOptions, topic: &str, records: usize) -> Result<(), Box<dyn Error>> {
    let producer = KafkaProducer::new(options, Arc::default(), Arc::default())?;
    let topic = producer.topic(topic, Duration::from_secs(10))?;
    let record = |number: usize| {
        let facts = Facts::submitted(&format!("http://a.example/{number}"), "bench", Timestamp::now());
        Message { facts, body: vec![7; VALUE_BYTES].into() }.encode()
    };
    let published = stream::iter(0..records)
        .map(|number| {
            let topic = &topic;
            async move { topic.publish(&record(number)).await }
        })
        .buffer_unordered(10_000);
    let errors: Vec<PortError> = published.filter_map(|result| async { result.err() }).collect().await;
    errors.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
}

/// Of all threads of this process, in user and kernel.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
