//! The composition root: builds stages and adapters from the settings and hands them to the runner.

mod backlog;
mod cluster;
mod lag;
mod local;
mod monitor;
mod names;
mod served;

use std::{num::NonZero, path::PathBuf, sync::Arc};

pub use cluster::Cluster;
pub use local::{Local, Stages};
pub use monitor::{Monitor, Report};
pub use names::Topics;

use crate::{
    adapters::{
        decoder::{DecoderProcess, DecoderThread, Program},
        http::{HttpAdapter, HttpBuildError},
        kafka::KafkaError,
        onnx::{Device, ModelSource, OnnxError, OnnxModel, YunetSession},
    },
    config::{DeviceSetting, FrameFormatSetting, Settings},
    domain::{FrameFormat, Model, Pipeline, Timestamp},
    runner::{LaneLimits, RetryPolicy, RunnerError},
    stages::{
        detect::{Detect, DetectOptions},
        fetch::{BreakerOptions, Fetch, FetchOptions, HostLimits, HostPattern, Rate},
        preprocess::{Decode, Preprocess, PreprocessError, PreprocessOptions},
    },
    telemetry::{DecoderMetrics, DnsMetrics, ExporterError, ListenError, Timings},
};

/// The subcommand as which a decoder's process runs.
pub const DECODER: &str = "decoder";

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
    /// No threads for the detector.
    #[error("cannot start the threads of detect: {0}")]
    Threads(std::io::Error),
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
    /// No way to the brokers or topics.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// No port for `/livez`, `/readyz` and `/metrics`.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// No metrics.
    #[error(transparent)]
    Exporter(#[from] ExporterError),
    /// Without the model's sum nobody can tell whether a stored result is of this model.
    #[error("detect.model_sha256 must be set: fetch and preprocess know the model by it")]
    UnknownModel,
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

fn build_fetch(options: FetchOptions, dns: Arc<DnsMetrics>) -> Result<Fetch<HttpAdapter>, AppError> {
    Ok(Fetch::new(HttpAdapter::new(&options, dns)?, options))
}

fn build_preprocess(
    settings: &Settings,
    frame_format: FrameFormat,
    metrics: &Arc<DecoderMetrics>,
) -> Result<Preprocess, AppError> {
    let preprocess = &settings.preprocess;
    let options = PreprocessOptions {
        working_size: settings.detect.working_size,
        max_pixels: preprocess.max_pixels,
        max_side: preprocess.max_side,
        decode_bytes: preprocess.decode_budget_bytes as u64,
        threads: threads(preprocess.threads),
        frame_format,
    };
    if !preprocess.isolate {
        let start = |options: &_| -> Result<Box<dyn Decode>, _> {
            Ok(Box::new(DecoderThread::start(options, Arc::clone(metrics))?))
        };
        return Ok(Preprocess::with_decoders(options, start)?);
    }
    let program = Program::own(&[DECODER]).map_err(PreprocessError::Threads)?;
    let start = |options: &_| -> Result<Box<dyn Decode>, _> {
        let (program, metrics) = (program.clone(), Arc::clone(metrics));
        Ok(Box::new(DecoderProcess::start(program, options, preprocess.decode_timeout, metrics)?))
    };
    Ok(Preprocess::with_decoders(options, start)?)
}

/// The model, with so many sessions.
fn load_model(settings: &Settings, sessions: usize, timings: &Timings) -> Result<OnnxModel, AppError> {
    let detect = &settings.detect;
    let source = ModelSource {
        runtime_library: detect.runtime_library.clone(),
        runtime_sha256: detect.runtime_library_sha256.clone(),
        model: detect.model.clone(),
        sha256: Some(detect.model_sha256.clone()).filter(|sum| !sum.is_empty()),
        device: match detect.device {
            DeviceSetting::Cpu => Device::Cpu,
            DeviceSetting::Cuda => Device::Cuda,
        },
    };
    Ok(OnnxModel::load(&source, sessions, timings)?)
}

/// The detector, and the model that it runs.
fn build_detect(settings: &Settings, timings: &Timings) -> Result<(Detect<YunetSession>, Model), AppError> {
    let detect = &settings.detect;
    let OnnxModel { identity, sessions } = load_model(settings, threads(detect.threads).get(), timings)?;
    let options = DetectOptions {
        working_size: detect.working_size,
        score_threshold: detect.score_threshold,
        nms_iou: detect.nms_iou,
        top_k: detect.top_k,
    };
    Ok((Detect::new(sessions, options).map_err(AppError::Threads)?, identity))
}

/// Loads model and runtime, and lets them go again. One session tells as much as one for each core, and fits beside
/// the monitor.
///
/// # Errors
/// When one of them is not there, not the right one, or does not load.
pub fn check_detector(settings: &Settings) -> Result<Model, AppError> {
    load_model(settings, 1, &Timings::default()).map(|model| model.identity)
}

/// How frames are written: as the setting says, or in the way that `auto` stands for here.
fn frame_format(settings: &Settings, auto: FrameFormat) -> FrameFormat {
    match settings.preprocess.frame_format {
        FrameFormatSetting::Auto => auto,
        FrameFormatSetting::Rgb8 => FrameFormat::Rgb8,
        FrameFormatSetting::Jpeg => FrameFormat::Jpeg,
    }
}

fn lane_limits(settings: &Settings) -> LaneLimits {
    let runner = &settings.runner;
    LaneLimits {
        records: runner.lane_records,
        running: runner.lane_running,
        bytes: runner.lane_bytes,
        all_bytes: runner.all_lanes_bytes,
        age: runner.lane_age,
    }
}

fn retry_policy(settings: &Settings) -> RetryPolicy {
    let retry = &settings.retry;
    RetryPolicy { attempts: retry.attempts, base: retry.base, cap: retry.cap }
}

/// A number of threads; 0 stands for one a core.
fn threads(setting: usize) -> NonZero<usize> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    NonZero::new(setting).unwrap_or(cores)
}

fn fetch_options(settings: &Settings) -> FetchOptions {
    let fetch = &settings.fetch;
    let limits = |concurrency, rate| HostLimits { concurrency, rate: Rate::per_second(rate) };
    let host_limits = limits(fetch.host_concurrency, fetch.host_rate);
    let address_limits = limits(fetch.address_concurrency, fetch.address_rate);
    let overrides = fetch.host_overrides.iter().filter_map(|(pattern, over)| {
        // The settings have been checked.
        let pattern = pattern.parse().ok()?;
        let usual = if matches!(pattern, HostPattern::Network(_)) { address_limits } else { host_limits };
        let rate = over.rate.map_or(usual.rate, Rate::per_second);
        Some((pattern, HostLimits { concurrency: over.concurrency.unwrap_or(usual.concurrency), rate }))
    });
    FetchOptions {
        user_agent: fetch.user_agent.clone(),
        dns_servers: fetch.name_servers().unwrap_or_default(),
        dns_lookups: fetch.dns_lookups,
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
        honour_robots_txt: fetch.honour_robots_txt,
        http2: fetch.http2,
        host_limits,
        address_limits,
        max_waiting: None,
        breaker: BreakerOptions {
            failures: fetch.host_failures,
            wasted: fetch.host_wasted,
            rest: fetch.host_rest,
            longest: fetch.host_longest_rest,
        },
        patience: settings.retry.cap,
        host_overrides: overrides.collect(),
        allow_networks: fetch.allow_networks.clone(),
        only_allowed_networks: false,
        concurrency: fetch.concurrency,
        max_bytes_in_flight: fetch.body_budget_bytes,
    }
}

/// What results are made by. Two settings share a fingerprint when they find the same faces in the same bytes.
fn pipeline(settings: &Settings, model: &Model, frame_format: FrameFormat) -> Pipeline {
    let (preprocess, detect) = (&settings.preprocess, &settings.detect);
    let decisive = serde_json::json!([
        RESULT_REVISION,
        model.sha256,
        (preprocess.max_pixels, preprocess.max_side, preprocess.decode_budget_bytes),
        frame_format == FrameFormat::Jpeg,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    /// The configuration may not ask the stage: the two must agree, or an override would be dropped in silence.
    #[test]
    fn the_settings_take_the_patterns_that_fetch_takes_and_no_others() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for pattern in [
            "cdn.example.org",
            "*.example.org",
            "203.0.113.0/24",
            "203.0.113.7",
            "2001:db8::/32",
            "2001:db8::1",
            "localhost",
            "",
            "*",
            "*.",
            "*.*.org",
            "a b",
            ".org",
            "10.0.0.0/33",
            "example.org/x",
            "a.org:80",
            "b\u{fc}cher.example",
        ] {
            std::fs::write(file.path(), format!("[fetch.host_overrides.\"{pattern}\"]\nconcurrency = 2")).unwrap();
            let loaded = load(Some(file.path()), std::iter::empty(), &[]);
            assert_eq!(loaded.is_ok(), pattern.parse::<HostPattern>().is_ok(), "{pattern}");
            if let Ok(loaded) = loaded {
                assert_eq!(fetch_options(&loaded.settings).host_overrides.len(), 1, "{pattern}");
            }
        }
    }
}
