//! `facemill monitor`: looks at all topics and consumer groups of the pipeline, whoever works or stands still.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    AppError, Topics,
    lag::{Losses, Retention, TopicFacts, partition_lag},
    served::Served,
};
use crate::{
    adapters::kafka::{KafkaError, KafkaOptions, Oldest, Survey, TopicLook, Watched, admin::Admin},
    config::Settings,
    domain::{StageName, Timestamp},
    telemetry::{Exporter, Health, LagMetrics, LogLag, TopicLag},
};

/// How long it may take to see all topics and groups; it takes milliseconds.
const LOOK: Duration = Duration::from_secs(10);

/// How long it may take to read the oldest records of all partitions; of those that have not come, the next look gets
/// some more.
const READ: Duration = Duration::from_secs(10);

/// Between two looks at what there are for topics, and what they keep.
const REFRESH: Duration = Duration::from_secs(300);

/// A look that takes longer hangs: nobody shows a sign of life for it any more.
const HANGS: Duration = Duration::from_secs(120);

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(5);

/// What `/readyz` says is waited for.
const SIGHT: &str = "see all topics and groups";

/// Sees how far behind each stage is, from outside: a stage that stands still does not say so itself.
pub struct Monitor {
    /// The checked settings.
    pub settings: Settings,
    /// How to reach the brokers.
    pub kafka: KafkaOptions,
    /// What the process waits for.
    pub health: Arc<Health>,
}

/// What one look has seen.
#[derive(Debug, Default)]
pub struct Report {
    /// Each topic, in the order in which a URL meets them.
    pub topics: Vec<TopicLag>,
    /// What could not be seen, and what to do about it.
    pub errors: Vec<String>,
}

impl Monitor {
    /// Looks again and again until `stop`, and exports what it sees. Brokers that do not answer are no reason to end.
    ///
    /// # Errors
    /// When the configuration for Kafka is wrong or the port cannot be had.
    pub async fn run(self, exporter: Exporter, stop: CancellationToken) -> Result<(), AppError> {
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let settings = &self.settings;
        let rate = Some(settings.kafka.expected_rate).filter(|rate| *rate > 0.0);
        let deadline = settings.monitor.deadline().map(seconds);
        let metrics = LagMetrics::exported(&exporter.meter(), deadline, rate);
        let health = Arc::clone(&self.health);
        health.waits(SIGHT, "the first look is under way");
        let served = Served::start(settings, Arc::clone(&health), exporter).await?;

        let interval = settings.monitor.interval;
        let mut lookout = Lookout::new(self)?;
        let mut told = Vec::new();
        let life = health.life("monitor");
        while !stop.is_cancelled() {
            let (began, at) = (Instant::now(), SystemTime::now());
            let task = spawn_look(lookout, stop.clone());
            let (back, looked) = wait_for(task, &health).await?;
            lookout = back;
            if stop.is_cancelled() {
                break;
            }
            let errors = match looked {
                Ok(Report { topics, errors }) => {
                    metrics.set(topics);
                    errors
                }
                Err(error) => {
                    metrics.clear();
                    vec![error.to_string()]
                }
            };
            metrics.errors.add(errors.len() as u64);
            if errors.is_empty() {
                metrics.succeeded(seconds(at));
                health.goes_on(SIGHT);
            } else {
                health.waits(SIGHT, &errors.join("; "));
            }
            tell(&mut told, errors);
            let next = began + interval;
            while Instant::now() < next && !stop.is_cancelled() {
                health.beat("monitor");
                let pause = next.saturating_duration_since(Instant::now()).min(BEAT);
                tokio::select! { () = tokio::time::sleep(pause) => {} () = stop.cancelled() => {} }
            }
        }
        drop(life);
        served.end().await
    }

    /// Looks once.
    ///
    /// # Errors
    /// When the configuration for Kafka is wrong, or no broker answers.
    pub async fn once(self, stop: CancellationToken) -> Result<Report, AppError> {
        let (_, looked) = spawn_look(Lookout::new(self)?, stop).await?;
        Ok(looked?)
    }
}

type Looked = (Lookout, Result<Report, KafkaError>);

fn spawn_look(mut lookout: Lookout, stop: CancellationToken) -> JoinHandle<Looked> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let looked = lookout.look(&runtime, &stop);
        (lookout, looked)
    })
}

/// Shows life while the look does.
async fn wait_for(mut task: JoinHandle<Looked>, health: &Health) -> Result<Looked, AppError> {
    let began = Instant::now();
    loop {
        if began.elapsed() < HANGS {
            health.beat("monitor");
        }
        tokio::select! {
            looked = &mut task => return Ok(looked?),
            () = tokio::time::sleep(BEAT) => {}
        }
    }
}

/// Logs errors when they come, not as long as they stay.
fn tell(told: &mut Vec<String>, errors: Vec<String>) {
    for error in errors.iter().filter(|error| !told.contains(error)) {
        tracing::warn!(error, "the monitor does not see everything");
    }
    if errors.is_empty() && !told.is_empty() {
        tracing::info!("the monitor sees everything again");
    }
    *told = errors;
}

/// Looks, and remembers what the next look needs.
struct Lookout {
    settings: Settings,
    kafka: KafkaOptions,
    survey: Survey,
    oldest: Oldest,
    losses: Losses,
    /// Topics in which URLs wait for a delay that is not configured any more: nobody reads them.
    abandoned: Vec<String>,
    /// Of those topics that may be seen.
    retentions: BTreeMap<String, Retention>,
    refreshed: Option<Instant>,
}

/// A topic, and who reads it.
struct Read {
    stage: Option<StageName>,
    watched: Watched,
}

impl Lookout {
    fn new(monitor: Monitor) -> Result<Self, AppError> {
        let Monitor { settings, kafka, .. } = monitor;
        let names = Topics(&settings);
        // One whom this user may describe.
        let group = names.group(StageName::Fetch, &names.input(StageName::Fetch));
        let survey = Survey::new(&kafka, &group, LOOK)?;
        Ok(Lookout {
            settings,
            kafka,
            survey,
            oldest: Oldest::default(),
            losses: Losses::default(),
            abandoned: Vec::new(),
            retentions: BTreeMap::new(),
            refreshed: None,
        })
    }

    fn look(&mut self, runtime: &Handle, stop: &CancellationToken) -> Result<Report, KafkaError> {
        let mut read = self.read();
        let mut looks = self.look_at(&read, stop)?;
        // Only now: brokers that do not answer cost the time of one look, not of two.
        if self.refreshed.is_none_or(|at| at.elapsed() > REFRESH) && !stop.is_cancelled() {
            runtime.block_on(self.refresh(&read));
            let mut new = self.read();
            new.retain(|new| !read.iter().any(|known| known.watched == new.watched));
            looks.extend(self.look_at(&new, stop)?);
            read.extend(new);
        }
        let mut report = Report::default();
        let until = Instant::now() + READ;
        for (read, look) in read.into_iter().zip(looks) {
            report.add(self, read, look, until, stop);
        }
        Ok(report)
    }

    fn look_at(&self, read: &[Read], stop: &CancellationToken) -> Result<Vec<TopicLook>, KafkaError> {
        let watched: Vec<_> = read.iter().map(|read| read.watched.clone()).collect();
        self.survey.look(&watched, Some(stop))
    }

    /// Every topic; those that nobody reads any more come last.
    fn read(&self) -> Vec<Read> {
        let names = Topics(&self.settings);
        let of = |stage, topic: String| {
            let group = Some(names.group(stage, &topic));
            Read { stage: Some(stage), watched: Watched { topic, group } }
        };
        let mut read: Vec<_> = [StageName::Fetch, StageName::Preprocess, StageName::Detect]
            .into_iter()
            .flat_map(|stage| names.inputs(stage).into_iter().map(move |topic| of(stage, topic)))
            .collect();
        let written = names.results().into_iter().chain([names.dead_letters()]);
        read.extend(written.map(|topic| Read { stage: None, watched: Watched { topic, group: None } }));
        read.extend(self.abandoned.iter().map(|topic| of(StageName::Fetch, topic.clone())));
        read
    }

    /// Looks which topics there are, and what they keep. What cannot be seen stays as it was.
    async fn refresh(&mut self, read: &[Read]) {
        let names: BTreeSet<_> = read.iter().map(|read| read.watched.topic.clone()).collect();
        let cluster = match Admin::connect(&self.kafka, LOOK) {
            Ok(admin) => admin.visible_cluster(&names).await,
            Err(error) => Err(error),
        };
        match cluster {
            Ok(cluster) => {
                let known =
                    cluster.topics.iter().filter(|(name, topic)| names.contains(*name) && !topic.config.is_empty());
                self.retentions = known.map(|(name, topic)| (name.clone(), Retention::of(topic))).collect();
                let abandoned = Topics(&self.settings).abandoned(cluster.topics.keys());
                self.abandoned = abandoned.into_iter().map(str::to_owned).collect();
                self.refreshed = Some(Instant::now());
                for topic in &cluster.hidden {
                    tracing::warn!(
                        topic,
                        "how much of its retention is used cannot be told: give this user DescribeConfigs on the topic \
                         (kafka-acls)"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "what the topics keep cannot be seen"),
        }
    }
}

impl Report {
    /// Adds one topic: reads the oldest records that it needs, and counts.
    fn add(&mut self, lookout: &mut Lookout, read: Read, look: TopicLook, until: Instant, stop: &CancellationToken) {
        let Lookout { settings, survey, oldest, losses, retentions, .. } = lookout;
        let Read { stage, watched: Watched { topic, .. } } = read;
        let TopicLook { logs, committed, members, errors } = look;
        let mut errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let seen: Vec<_> = committed
            .iter()
            .filter_map(|(partition, committed)| Some((*partition, *logs.get(partition)?, *committed)))
            .collect();
        let behind = seen.iter().filter(|(_, log, committed)| log.lag(*committed) > 0);
        let positions = behind.map(|(partition, log, committed)| (*partition, log.position(*committed))).collect();
        // One topic whose leader hangs leaves time for the others.
        let timeout = until.saturating_duration_since(Instant::now()).min(READ / 3);
        let (records, error) = oldest.read(survey, &topic, &positions, timeout, Some(stop));
        errors.extend(error.map(|error| error.to_string()));
        let facts = TopicFacts {
            delay: Topics(settings).delay(&topic),
            retention: retentions.get(&topic).copied(),
            mean_bytes: oldest.mean_bytes(&topic),
        };
        let now = Timestamp::now();
        let mut lag = TopicLag {
            stage: stage.map(StageName::as_str),
            members: members.map(|members| members as u64),
            logs: logs
                .iter()
                .map(|(partition, log)| (*partition, LogLag { start: offset(log.start), end: offset(log.end) }))
                .collect(),
            ..TopicLag::default()
        };
        for (partition, log, committed) in seen {
            let mut found = partition_lag(log, committed, records.get(&partition), facts, now);
            found.lost = losses.since_last(&topic, partition, log, committed);
            lag.partitions.insert(partition, found);
        }
        lag.topic = topic;
        for error in errors {
            if !self.errors.contains(&error) {
                self.errors.push(error);
            }
        }
        self.topics.push(lag);
    }
}

fn offset(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or_default()
}
