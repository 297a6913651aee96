//! `facemill run`: stages as members of consumer groups on Kafka.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    AppError, Topics, backlog::Backlog, build_detect, build_fetch, build_preprocess, fetch_options, frame_format,
    lane_limits, pipeline, retry_policy, served::Served, threads,
};
use crate::{
    adapters::http::HttpAdapter,
    adapters::kafka::{ConsumerGroup, KafkaOptions, KafkaProducer, Membership, admin::Admin, check_limit},
    config::Settings,
    domain::{FrameFormat, Model, Pipeline, Reason, StageName},
    runner::{
        Delayed, Gate, Later, Next, Outlets, Runner, RunnerError, Step, Work,
        ports::{Publish, ResultStore},
    },
    stages::{
        Stage,
        fetch::{Fetch, FetchOptions, HostCensus},
    },
    telemetry::{
        DecoderMetrics, DnsMetrics, Exporter, Health, KafkaMetrics, Meter, StageMetrics, Traces, inference_timings,
        metrics,
    },
};

/// What a rebalance waits longer than the runner's own deadline, which then decides.
const PATIENCE: Duration = Duration::from_secs(5);

/// Messages that a stage may hold for each of its threads. Most of them wait until brokers or database have what was
/// made of them: with fewer, the time that those take would bound the stage, and not its own work.
const TURNS: usize = 32;

/// Some of the stages in one process, over Kafka.
pub struct Cluster<'a> {
    /// The checked settings.
    pub settings: &'a Settings,
    /// Which stages.
    pub stages: Vec<StageName>,
    /// Whether neighbouring ones hand over in memory instead of through a topic.
    pub fuse: bool,
    /// How to reach the brokers.
    pub kafka: KafkaOptions,
    /// Where results go.
    pub store: Arc<dyn ResultStore>,
    /// What the process waits for.
    pub health: Arc<Health>,
    /// What it says of itself.
    pub exporter: Exporter,
    /// What it says of its records.
    pub traces: &'a Traces,
}

impl Cluster<'_> {
    /// Joins the groups and works until `stop`; then finishes what is under way, commits, and leaves the groups.
    ///
    /// # Errors
    /// When something is missing at the start, or a stage gave up. Nothing unfinished is ever committed.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AppError> {
        self.check_sizes().await?;
        let mut running = Running::new(&self)?;
        running.start(self.stages.clone())?;
        let Running { mut runners, memberships, fetching, gate, .. } = running;

        let served = Served::start(self.settings, Arc::clone(&self.health), self.exporter.clone()).await?;
        let mut tasks = JoinSet::new();
        for run in runners.drain(..) {
            tasks.spawn(run(stop.clone()));
        }
        // A task of its own, which ends with the stages that ask for the gate.
        if self.hands_over(StageName::Fetch)
            && let Some(backlog) = Backlog::new(self.settings, &self.kafka, fetching).await?
        {
            tokio::spawn(backlog.watch(gate));
        }
        // The first stage that gives up stops the others, which finish what they have.
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.map_err(AppError::from).and_then(|ended| ended.map_err(AppError::from));
            if ended.is_err() && result.is_ok() {
                result = ended;
                stop.cancel();
            }
        }
        // So that their partitions are others' at once.
        let leave = tokio::task::spawn_blocking(|| memberships.into_iter().for_each(Membership::left));
        leave.await?;
        served.end().await?;
        result
    }
}

impl Cluster<'_> {
    /// Refuses topics whose limit does not go with our sizes.
    async fn check_sizes(&self) -> Result<(), AppError> {
        let topics = Topics(self.settings);
        let mut outputs: BTreeSet<_> = self.stages.iter().flat_map(|stage| topics.outputs(*stage)).collect();
        if self.fuse {
            outputs.retain(|output| !self.stages.iter().any(|fed| topics.input(*fed) == *output));
        }
        let admin = Admin::connect(&self.kafka, self.settings.kafka.start_timeout);
        let cluster = match admin {
            Ok(admin) => admin.visible_cluster(&outputs).await,
            Err(error) => Err(error),
        };
        match cluster {
            Ok(cluster) => {
                for (name, topic) in cluster.topics.iter().filter(|(name, _)| outputs.contains(*name)) {
                    let limit = topic.limit("max.message.bytes");
                    limit.map_or(Ok(()), |limit| check_limit(&self.kafka, name, limit))?;
                }
            }
            // Brokers that do not answer are waited for by those who need them; a user who may not see what a topic
            // allows may write to it all the same.
            Err(error) => tracing::debug!(%error, "what the topics allow is not known"),
        }
        Ok(())
    }

    /// Whether this process has the stage, and it hands over through a topic.
    fn hands_over(&self, stage: StageName) -> bool {
        self.stages.contains(&stage) && !(self.fuse && stage == StageName::Fetch)
    }
}

type RunnerResult = std::pin::Pin<Box<dyn Future<Output = Result<(), RunnerError>> + Send>>;
type Start = Box<dyn FnOnce(CancellationToken) -> RunnerResult + Send>;

/// The parts of a process, collected before any of them runs.
struct Running<'a> {
    cluster: &'a Cluster<'a>,
    producer: KafkaProducer,
    model: Model,
    pipeline: Pipeline,
    frame_format: FrameFormat,
    /// Closed while fetch is too far ahead.
    gate: watch::Sender<bool>,
    runners: Vec<Start>,
    memberships: Vec<Membership>,
    meter: Meter,
    /// The counts of fetch, if it is one of the stages: one for each topic.
    fetching: Vec<Arc<StageMetrics>>,
    /// Those that are published to, by name: each is looked at once.
    topics: BTreeMap<String, Arc<dyn Publish>>,
}

impl<'a> Running<'a> {
    fn new(cluster: &'a Cluster<'a>) -> Result<Self, AppError> {
        let settings = cluster.settings;
        let meter = cluster.exporter.meter();
        let metrics = KafkaMetrics::of_producer(&meter);
        let producer = KafkaProducer::new(&cluster.kafka, Arc::clone(&cluster.health), metrics)?;
        if settings.detect.model_sha256.is_empty() {
            return Err(AppError::UnknownModel);
        }
        let name = settings.detect.model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let model = Model { name, sha256: settings.detect.model_sha256.to_lowercase() };
        let frame_format = frame_format(settings, FrameFormat::Jpeg);
        Ok(Running {
            cluster,
            producer,
            pipeline: pipeline(settings, &model, frame_format),
            model,
            frame_format,
            gate: watch::Sender::new(true),
            runners: Vec::new(),
            memberships: Vec::new(),
            topics: BTreeMap::new(),
            meter,
            fetching: Vec::new(),
        })
    }

    /// Builds the stages from the last to the first, so that each finds the one it hands over to.
    fn start(&mut self, mut stages: Vec<StageName>) -> Result<(), AppError> {
        stages.sort();
        stages.dedup();
        let mut following: Option<Arc<dyn Step>> = None;
        for (index, stage) in stages.iter().enumerate().rev() {
            let is_fed = self.cluster.fuse && index > 0;
            following = self.add(*stage, following.take(), is_fed)?;
        }
        Ok(())
    }

    /// Adds one stage. One that is fed by the stage before it reads no topic of its own and is returned.
    fn add(
        &mut self,
        stage: StageName,
        following: Option<Arc<dyn Step>>,
        is_fed: bool,
    ) -> Result<Option<Arc<dyn Step>>, AppError> {
        let settings = self.cluster.settings;
        let topics = Topics(settings);
        let next = match (stage, following) {
            (_, Some(following)) => Next::Stage(following),
            (StageName::Fetch, None) => Next::Topic(self.topic(&topics.input(StageName::Preprocess))?),
            (StageName::Preprocess, None) => Next::Topic(self.topic(&topics.input(StageName::Detect))?),
            (StageName::Detect, None) => Next::Nothing,
        };
        match stage {
            StageName::Fetch => {
                let queue = settings.fetch.host_queue;
                let options = FetchOptions {
                    max_waiting: (queue > 0 && !settings.retry.later.is_empty()).then_some(queue),
                    // Nobody else is asked before they know whom to ask.
                    only_allowed_networks: !settings.fetch.has_contact(),
                    ..fetch_options(settings)
                };
                let fetch = Arc::new(build_fetch(options, DnsMetrics::exported(&self.meter))?);
                self.observe_hosts(&fetch);
                for (topic, delay) in topics.later() {
                    self.read(Arc::clone(&fetch), topic, next.clone(), Semaphore::MAX_PERMITS, delay)?;
                }
                self.read(fetch, topics.input(stage), next, Semaphore::MAX_PERMITS, Duration::ZERO)?;
                Ok(None)
            }
            StageName::Preprocess => {
                let metrics = DecoderMetrics::exported(&self.meter);
                let preprocess = build_preprocess(settings, self.frame_format, &metrics)?;
                self.place(
                    preprocess,
                    topics.input(stage),
                    next,
                    TURNS * threads(settings.preprocess.threads).get(),
                    is_fed,
                )
            }
            StageName::Detect => {
                let (detect, model) = build_detect(settings, &inference_timings(&self.meter))?;
                self.model.name = model.name;
                self.place(detect, topics.input(stage), next, TURNS * threads(settings.detect.threads).get(), is_fed)
            }
        }
    }

    /// A stage that reads a topic, or is fed by the one before it.
    fn place<S: Stage>(
        &mut self,
        stage: S,
        topic: String,
        next: Next,
        turns: usize,
        is_fed: bool,
    ) -> Result<Option<Arc<dyn Step>>, AppError> {
        if is_fed {
            return Ok(Some(Arc::new(self.work(stage, topic, next, turns)?)));
        }
        self.read(stage, topic, next, turns, Duration::ZERO)?;
        Ok(None)
    }

    /// Joins the group that reads a topic.
    ///
    /// Its records are held for `longest` at most until they are due.
    fn read<S: Stage>(
        &mut self,
        stage: S,
        topic: String,
        next: Next,
        turns: usize,
        longest: Duration,
    ) -> Result<(), AppError> {
        let settings = self.cluster.settings;
        let drain = settings.runner.drain_timeout;
        let counts = KafkaMetrics::of_consumer(&self.meter, S::NAME.as_str(), &topic);
        let group = ConsumerGroup {
            group: Topics(settings).group(S::NAME, &topic),
            topic: topic.clone(),
            patience: drain + PATIENCE,
            start_timeout: settings.kafka.start_timeout,
        };
        let work = self.work(stage, topic.clone(), next, turns)?;
        let (source, positions, membership) =
            group.join(&self.cluster.kafka, Arc::clone(&self.cluster.health), counts)?;
        tracing::info!(stage = %S::NAME, topic, group = group.group, "joined");
        self.memberships.push(membership);
        let limits = lane_limits(settings);
        let source = Delayed::new(source, longest);
        let runner = Runner { work, source, commit: Arc::new(positions), limits, drain };
        self.runners.push(Box::new(move |stop| Box::pin(runner.run(stop))));
        Ok(())
    }

    /// How it stands with the hosts that are fetched from.
    fn observe_hosts(&self, fetch: &Arc<Fetch<HttpAdapter>>) {
        let counted = Arc::clone(fetch);
        self.meter.observe(&metrics::FETCH_HOSTS, move || {
            let HostCensus { working, resting, tried, .. } = counted.census();
            let labelled = |(state, hosts): (&str, usize)| (vec![("state", state.to_owned())], hosts as f64);
            [("working", working), ("resting", resting), ("tried", tried)].into_iter().map(labelled).collect()
        });
        let counted = Arc::clone(fetch);
        self.meter.observe(&metrics::FETCH_WAITING_URLS, move || vec![(Vec::new(), counted.census().waiting as f64)]);
    }

    fn work<S: Stage>(&mut self, stage: S, topic: String, next: Next, turns: usize) -> Result<Work<S>, AppError> {
        let settings = self.cluster.settings;
        let topics = Topics(settings);
        let mut later = Vec::new();
        if S::NAME == StageName::Fetch {
            for (name, delay) in topics.later() {
                later.push(Later { delay, topic: self.topic(&name)? });
            }
        }
        let outlets = Outlets {
            results: topics.results().map(|name| self.topic(&name)).transpose()?,
            later,
            dead_letters: Some(self.topic(&topics.dead_letters())?),
        };
        let tracer = self.cluster.traces.stage(S::NAME.as_str(), &topic, &topics.group(S::NAME, &topic));
        let metrics = StageMetrics::exported(&self.meter, S::NAME.as_str(), &topic);
        if S::NAME == StageName::Fetch {
            self.fetching.push(Arc::clone(&metrics));
        }
        Ok(Work {
            stage,
            topic,
            next,
            store: Arc::clone(&self.cluster.store),
            outlets,
            redo: Reason::ALL.iter().copied().filter(|reason| reason.is_transient()).collect::<HashSet<_>>(),
            turns: Semaphore::new(turns),
            // Only fetch runs ahead: what the other stages make is smaller, and made of what is in memory already.
            gate: if S::NAME == StageName::Fetch { Gate::of(&self.gate) } else { Gate::open() },
            retry: retry_policy(settings),
            default_job: settings.kafka.default_job.clone(),
            model: self.model.clone(),
            pipeline: self.pipeline.clone(),
            metrics,
            health: Arc::clone(&self.cluster.health),
            tracer,
        })
    }

    fn topic(&mut self, name: &str) -> Result<Arc<dyn Publish>, AppError> {
        if let Some(known) = self.topics.get(name) {
            return Ok(Arc::clone(known));
        }
        let topic: Arc<dyn Publish> = Arc::new(self.producer.topic(name, self.cluster.settings.kafka.start_timeout)?);
        self.topics.insert(name.to_owned(), Arc::clone(&topic));
        Ok(topic)
    }
}
