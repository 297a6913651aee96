//! `facemill local`: all three stages in one process over in-memory logs.

use std::{collections::HashSet, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    AppError, build_detect, build_fetch, build_preprocess, fetch_options, frame_format, lane_limits, pipeline,
    retry_policy, threads,
};
use crate::{
    adapters::{
        annotate::Annotate,
        http::HttpAdapter,
        memory::{self, LogSize},
        onnx::YunetSession,
    },
    config::Settings,
    domain::{FrameFormat, Message, Model, Pipeline, Reason, Timestamp},
    runner::{
        Gate, Next, Outlets, Runner, Work,
        ports::{Publish, ResultStore, Source},
    },
    stages::{
        Stage,
        detect::Detect,
        fetch::{Fetch, FetchOptions},
        preprocess::Preprocess,
    },
    telemetry::{StageMetrics, Timings, Tracer},
};

/// URLs of one partition that fetch has begun, at least: so many that those of one slow host, a twentieth of all, leave
/// room for the others for a while. Each takes 4 KB.
const FETCH_RUNNING: usize = 2048;

/// All three stages in one process over in-memory logs: `facemill local`.
pub struct Local {
    /// The job that results are stored under.
    pub job: String,
    /// Stored failures with these reasons are worked on again.
    pub redo: HashSet<Reason>,
    /// Where results go.
    pub store: Arc<dyn ResultStore>,
    /// Where annotated pictures go, if anywhere.
    pub annotate: Option<PathBuf>,
    /// What happened so far.
    pub metrics: Arc<StageMetrics>,
}

/// The stages of one process, built and ready.
pub struct Stages {
    fetch: Fetch<HttpAdapter>,
    preprocess: Preprocess,
    detect: Detect<YunetSession>,
    model: Model,
    pipeline: Pipeline,
}

impl Stages {
    /// Loads the model and sets up clients and decoders.
    ///
    /// # Errors
    /// When one of them cannot be had; the message says what to do.
    pub fn build(settings: &Settings) -> Result<Self, AppError> {
        let frame_format = frame_format(settings, FrameFormat::Rgb8);
        let (detect, model) = build_detect(settings, &Timings::default())?;
        let options = fetch_options(settings);
        // There is no other place for URLs of a host that rests: a short trouble is waited for.
        let patience = options.patience.max(options.breaker.rest + Duration::from_secs(1));
        let options = FetchOptions { patience, ..options };
        Ok(Stages {
            fetch: build_fetch(options, Arc::default())?,
            preprocess: build_preprocess(settings, frame_format, &Arc::default())?,
            detect,
            pipeline: pipeline(settings, &model, frame_format),
            model,
        })
    }
}

impl Local {
    /// Carries every line to its terminal row. Lines are taken as the pipeline has room for them.
    ///
    /// After `stop` no further line is taken; what is under way is brought to its end first.
    ///
    /// # Errors
    /// When a stage gave up; no row that was written is lost.
    pub async fn run(
        self,
        stages: Stages,
        settings: &Settings,
        lines: impl Iterator<Item = Vec<u8>> + Send + 'static,
        stop: CancellationToken,
    ) -> Result<(), AppError> {
        let local = &settings.local;
        let log = |records: usize, bytes: usize| {
            let per_partition = |all: usize| all.div_ceil(local.partitions);
            memory::log(&LogSize {
                partitions: local.partitions,
                records: per_partition(records),
                bytes: per_partition(bytes),
            })
        };
        let (urls, urls_source, urls_positions) = log(local.urls_records, usize::MAX / 2);
        let (images, images_source, images_positions) = log(usize::MAX / 2, local.images_bytes);
        let (frames, frames_source, frames_positions) = log(usize::MAX / 2, local.frames_bytes);

        // Only fetch stops on demand; the stages after it end when nothing more can come. If that takes too
        // long after a stop, they are halted, and what they leave comes again in the next run.
        let halt = CancellationToken::new();
        let Stages { fetch, preprocess, detect, model, pipeline } = stages;
        let builder = Builder { local: &self, settings, model, pipeline };
        let mut stages = JoinSet::new();
        let mut patience = std::pin::pin!(halt_after(stop.clone(), settings.runner.drain_timeout / 2, halt.clone()));
        // fetch bounds itself by bytes and by host: a turn held while a slow host is waited for would be
        // taken from all others.
        let unbounded = Semaphore::MAX_PERMITS;
        // What is fetched by then gets its row before the end, so that nothing above a URL that is given back is done again.
        let fetch = fetch.until(stop.clone());
        let mut fetch = builder.runner(fetch, urls_source, urls_positions, Next::Topic(Arc::new(images)), unbounded);
        // Most of these wait for their hosts, and there is no other place for them.
        fetch.limits.running = fetch.limits.running.max(FETCH_RUNNING);
        stages.spawn(fetch.run(stop.clone()));
        // One message under work on each thread, and one on its way in or out.
        let turns = 2 * threads(settings.preprocess.threads).get();
        let next = Next::Topic(Arc::new(frames));
        let preprocess = builder.runner(preprocess, images_source, images_positions, next, turns);
        stages.spawn(preprocess.run(halt.clone()));
        let turns = 2 * threads(settings.detect.threads).get();
        match &self.annotate {
            None => {
                stages.spawn(builder.runner(detect, frames_source, frames_positions, Next::Nothing, turns).run(halt))
            }
            Some(path) => {
                let annotate = Annotate::new(detect, path);
                let annotate = annotate.map_err(|error| AppError::Annotate { path: path.clone(), error })?;
                stages.spawn(builder.runner(annotate, frames_source, frames_positions, Next::Nothing, turns).run(halt))
            }
        };
        let feeder = feed(lines, urls, self.job.clone(), stop.clone());

        // The first stage that gives up ends the others: dropping their set aborts them.
        let mut result = Ok(());
        loop {
            let ended = tokio::select! {
                ended = stages.join_next() => ended,
                () = &mut patience => continue,
            };
            let Some(ended) = ended else { break };
            result = ended.map_err(AppError::from).and_then(|ended| ended.map_err(AppError::from));
            if result.is_err() {
                break;
            }
        }
        drop(stages);
        if result.is_ok() && !stop.is_cancelled() {
            // It has ended, or fetch would not have: a feeder that broke down is no end of the list.
            feeder.join().map_err(|_| AppError::Feeder)?;
        }
        stop.cancel();
        result
    }
}

/// Cancels `halt` when the stop is `patience` old; then never ends.
async fn halt_after(stop: CancellationToken, patience: Duration, halt: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(patience).await;
    halt.cancel();
    std::future::pending().await
}

/// What the runners of one process have in common.
struct Builder<'a> {
    local: &'a Local,
    settings: &'a Settings,
    model: Model,
    pipeline: Pipeline,
}

impl Builder<'_> {
    fn runner<S: Stage, I: Source>(
        &self,
        stage: S,
        source: I,
        positions: memory::Positions,
        next: Next,
        turns: usize,
    ) -> Runner<S, I> {
        Runner {
            work: Work {
                stage,
                topic: "local".to_owned(),
                next,
                store: Arc::clone(&self.local.store),
                outlets: Outlets::default(),
                redo: self.local.redo.clone(),
                turns: Semaphore::new(turns),
                gate: Gate::open(),
                retry: retry_policy(self.settings),
                default_job: self.local.job.clone(),
                model: self.model.clone(),
                pipeline: self.pipeline.clone(),
                metrics: Arc::clone(&self.local.metrics),
                health: Arc::default(),
                tracer: Tracer::default(),
            },
            source,
            commit: Arc::new(positions),
            limits: lane_limits(self.settings),
            drain: self.settings.runner.drain_timeout / 2,
        }
    }
}

/// Publishes the lines from a thread of its own, since reading them blocks, until they end or a stop.
fn feed(
    lines: impl Iterator<Item = Vec<u8>> + Send + 'static,
    urls: memory::Publisher,
    job: String,
    stop: CancellationToken,
) -> JoinHandle<()> {
    // One time of submission for the whole run: of a URL that stands in the list twice, the better outcome stays.
    let submitted_at = Timestamp::now();
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        for line in lines {
            let record = Message::submission(line, &job, submitted_at);
            if !matches!(runtime.block_on(stop.run_until_cancelled(urls.publish(&record))), Some(Ok(()))) {
                break;
            }
        }
    })
}
