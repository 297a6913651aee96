//! The composition root: builds stages and adapters from the settings and hands them to the runner.

use std::{collections::HashSet, num::NonZero, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    adapters::{
        annotate::Annotate,
        http::{HttpAdapter, HttpBuildError},
        memory::{self, LogSize},
        onnx::{ModelSource, OnnxError, OnnxModel},
    },
    config::{FrameFormatSetting, Settings},
    domain::{FrameFormat, Message, Model, Pipeline, Reason, Timestamp},
    runner::{
        LaneLimits, RetryPolicy, Runner, RunnerError, Work,
        ports::{Publish, ResultStore, Source},
    },
    stages::{
        Stage,
        detect::{Detect, DetectOptions},
        fetch::{Fetch, FetchOptions, HostLimits, Rate},
        preprocess::{Preprocess, PreprocessError, PreprocessOptions},
    },
    telemetry::Metrics,
};

/// Raised whenever the same bytes and settings begin to give other faces.
const RESULT_REVISION: u32 = 1;

/// Why the pipeline does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No HTTP client.
    #[error(transparent)]
    Http(#[from] HttpBuildError),
    /// No picture decoder.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// No detector.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// No folder for annotated pictures.
    #[error("cannot make the folder {} for annotated pictures: {error}", .path.display())]
    Annotate {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A stage gave up.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// The thread that reads the URL lists ended in a panic.
    #[error("a fault of facemill's own, please report it: the reader of the URL lists panicked")]
    Feeder,
    /// A task ended in a panic.
    #[error("a fault of facemill's own, please report it: {0}")]
    Fault(#[from] tokio::task::JoinError),
}

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
    pub metrics: Arc<Metrics>,
}

/// The stages of one process, built and ready.
pub struct Stages {
    fetch: Fetch<HttpAdapter>,
    preprocess: Preprocess,
    detect: Detect<crate::adapters::onnx::YunetSession>,
    model: Model,
    pipeline: Pipeline,
}

impl Stages {
    /// Loads the model and sets up clients and decoders.
    ///
    /// # Errors
    /// When one of them cannot be had; the message says what to do.
    pub fn build(settings: &Settings) -> Result<Self, AppError> {
        let fetch_options = fetch_options(settings);
        let detect = &settings.detect;
        let source = ModelSource {
            runtime_library: detect.runtime_library.clone(),
            runtime_sha256: detect.runtime_library_sha256.clone(),
            model: detect.model.clone(),
            sha256: Some(detect.model_sha256.clone()).filter(|sum| !sum.is_empty()),
        };
        let OnnxModel { identity, sessions } = OnnxModel::load(&source, threads(detect.threads).get())?;
        let preprocess_options = PreprocessOptions {
            working_size: detect.working_size,
            max_pixels: settings.preprocess.max_pixels,
            max_side: settings.preprocess.max_side,
            decode_bytes: settings.preprocess.decode_budget_bytes as u64,
            threads: threads(settings.preprocess.threads),
            frame_format: match settings.preprocess.frame_format {
                FrameFormatSetting::Auto | FrameFormatSetting::Rgb8 => FrameFormat::Rgb8,
                FrameFormatSetting::Jpeg => FrameFormat::Jpeg,
            },
        };
        let detect_options = DetectOptions {
            working_size: detect.working_size,
            score_threshold: detect.score_threshold,
            nms_iou: detect.nms_iou,
            top_k: detect.top_k,
        };
        Ok(Stages {
            fetch: Fetch::new(HttpAdapter::new(&fetch_options)?, fetch_options),
            preprocess: Preprocess::new(preprocess_options)?,
            detect: Detect::new(sessions, detect_options),
            pipeline: pipeline(settings, &identity),
            model: identity,
        })
    }
}

/// A number of threads; 0 stands for one a core.
fn threads(setting: usize) -> NonZero<usize> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    NonZero::new(setting).unwrap_or(cores)
}

fn fetch_options(settings: &Settings) -> FetchOptions {
    let fetch = &settings.fetch;
    let host_limits = HostLimits { concurrency: fetch.host_concurrency, rate: Rate::per_second(fetch.host_rate) };
    let overrides = fetch.host_overrides.iter().map(|(host, limits)| {
        let rate = limits.rate.map_or(host_limits.rate, Rate::per_second);
        (host.clone(), HostLimits { concurrency: limits.concurrency.unwrap_or(host_limits.concurrency), rate })
    });
    FetchOptions {
        user_agent: fetch.user_agent.clone(),
        dns_timeout: fetch.dns_timeout,
        connect_timeout: fetch.connect_timeout,
        tls_timeout: fetch.tls_timeout,
        first_byte_timeout: fetch.first_byte_timeout,
        read_gap_timeout: fetch.read_timeout,
        total_timeout: fetch.total_timeout,
        max_redirects: fetch.max_redirects,
        max_body_bytes: fetch.max_body_bytes,
        min_bytes_per_second: fetch.min_rate_bytes,
        min_rate_grace: fetch.min_rate_grace,
        honour_robots_tag: fetch.honour_robots_tag,
        host_limits,
        host_overrides: overrides.collect(),
        allow_networks: fetch.allow_networks.clone(),
        concurrency: fetch.concurrency,
        max_bytes_in_flight: fetch.body_budget_bytes,
    }
}

/// What results are made by. Two settings share a fingerprint when they find the same faces in the same bytes.
fn pipeline(settings: &Settings, model: &Model) -> Pipeline {
    let (preprocess, detect) = (&settings.preprocess, &settings.detect);
    let decisive = serde_json::json!([
        RESULT_REVISION,
        model.sha256,
        (preprocess.max_pixels, preprocess.max_side, preprocess.decode_budget_bytes),
        preprocess.frame_format == FrameFormatSetting::Jpeg,
        [detect.working_size, detect.top_k],
        [detect.score_threshold, detect.nms_iou],
    ]);
    let epoch = humantime::parse_rfc3339_weak(&settings.pipeline.epoch).map(Timestamp::from).unwrap_or_default();
    Pipeline {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint: blake3::hash(decisive.to_string().as_bytes()).to_hex().chars().take(16).collect(),
        epoch,
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
        let fetch = builder.runner(fetch, urls_source, urls_positions, Some(Arc::new(images)), unbounded);
        stages.spawn(fetch.run(stop.clone()));
        // One message under work on each thread, and one on its way in or out.
        let turns = 2 * threads(settings.preprocess.threads).get();
        let next: Option<Arc<dyn Publish>> = Some(Arc::new(frames));
        let preprocess = builder.runner(preprocess, images_source, images_positions, next, turns);
        stages.spawn(preprocess.run(halt.clone()));
        let turns = 2 * threads(settings.detect.threads).get();
        match &self.annotate {
            None => stages.spawn(builder.runner(detect, frames_source, frames_positions, None, turns).run(halt)),
            Some(path) => {
                let annotate = Annotate::new(detect, path);
                let annotate = annotate.map_err(|error| AppError::Annotate { path: path.clone(), error })?;
                stages.spawn(builder.runner(annotate, frames_source, frames_positions, None, turns).run(halt))
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
        next: Option<Arc<dyn Publish>>,
        turns: usize,
    ) -> Runner<S, I> {
        let Settings { retry, runner, .. } = self.settings;
        Runner {
            work: Work {
                stage,
                next,
                store: Arc::clone(&self.local.store),
                redo: self.local.redo.clone(),
                turns: Semaphore::new(turns),
                retry: RetryPolicy { attempts: retry.attempts, base: retry.base, cap: retry.cap },
                default_job: self.local.job.clone(),
                model: self.model.clone(),
                pipeline: self.pipeline.clone(),
                metrics: Arc::clone(&self.local.metrics),
            },
            source,
            commit: Arc::new(positions),
            limits: LaneLimits {
                records: runner.lane_records,
                running: runner.lane_running,
                bytes: runner.lane_bytes,
                age: runner.lane_age,
            },
            drain: runner.drain_timeout / 2,
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
