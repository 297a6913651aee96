//! `facemill run`: stages on Kafka.

use std::{io, process::ExitCode, sync::Arc};

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::{CliError, ConfigArgs, kafka::KafkaArgs, local::parse_network, signals::Signals, telemetry::Telemetry};
use crate::{
    adapters::scylla::ScyllaStore,
    app::Cluster,
    config::{LogFormat, Settings},
    domain::StageName,
    telemetry::{CqlMetrics, Health, LogLimit, init_limited_logs},
};

/// Work as a member of the consumer groups on Kafka: one stage, or several in one process
///
/// fetch reads the topic "urls" and writes "images", preprocess reads that and writes "frames", detect reads those.
/// Results are written to ScyllaDB or Cassandra; a record's offset is committed only after that, or after the next
/// topic has taken it. Start as many of each stage as there is work for, up to the number of partitions.
///
/// SIGTERM and Ctrl-C finish what is under way, commit, leave the groups and end with exit code 0.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Which stages, with commas between them
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    stage: Vec<StageArg>,
    /// Hand over in memory between neighbouring stages; their topics are not used
    #[arg(long)]
    fuse: bool,
    /// Also fetch from this network outside the public internet, on any port; may be repeated
    #[arg(long, value_name = "CIDR", value_parser = parse_network)]
    allow_network: Vec<IpNet>,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Why fetch does not start without it.
pub(super) const ANONYMOUS: &str = "fetch.user_agent names nobody whom the owner of a server could ask; put an e-mail \
     address or a page into it, such as \"facemill/0.1 (+https://example.org/bot; ops@example.org)\"";

/// The values of `--stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StageArg {
    /// URLs to pictures
    Fetch,
    /// Pictures to frames
    Preprocess,
    /// Frames to faces
    Detect,
}

impl From<StageArg> for StageName {
    fn from(stage: StageArg) -> Self {
        match stage {
            StageArg::Fetch => StageName::Fetch,
            StageArg::Preprocess => StageName::Preprocess,
            StageArg::Detect => StageName::Detect,
        }
    }
}

pub(super) fn run(args: RunArgs) -> Result<ExitCode, CliError> {
    let mut settings = args.config.load()?.settings;
    settings.fetch.allow_networks.extend(&args.allow_network);
    let stages: Vec<StageName> = args.stage.iter().map(|stage| StageName::from(*stage)).collect();
    if args.fuse && !are_neighbours(&stages) {
        return Err(CliError::Usage("--fuse needs two or three stages that follow each other".into()));
    }
    if stages.contains(&StageName::Fetch) && !settings.fetch.is_polite() {
        return Err(CliError::Usage(ANONYMOUS.to_owned()));
    }
    let kafka = args.kafka.options(&settings.kafka)?;
    let logs = log_to_stdout(&settings)?;
    // A socket for each connection; where the limit cannot be raised, what it allows has to do.
    let _ = rlimit::increase_nofile_limit(u64::MAX);

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Runtime)?;
    let ended = runtime.block_on(async {
        let signals = Signals::listen().map_err(CliError::Runtime)?;
        let health = Arc::<Health>::default();
        let telemetry = Telemetry::start(service_name(&stages), &health, &logs).await?;
        let ended = async {
            let metrics = CqlMetrics::exported(&telemetry.exporter.meter());
            let store = Arc::new(ScyllaStore::connect(&super::cql::scylla_options(&settings.cql), metrics).await?);
            let (exporter, traces) = (telemetry.exporter.clone(), &telemetry.traces);
            let cluster =
                Cluster { settings: &settings, stages, fuse: args.fuse, kafka, store, health, exporter, traces };
            Ok(cluster.run(signals.stop()).await?)
        };
        let ended = ended.await;
        telemetry.shut_down().await;
        ended
    });
    logs.report();
    ended.map(|()| ExitCode::SUCCESS)
}

/// The name of the process in traces and metrics.
fn service_name(stages: &[StageName]) -> String {
    match stages {
        [stage] => format!("facemill-{stage}"),
        _ => "facemill".to_owned(),
    }
}

fn are_neighbours(stages: &[StageName]) -> bool {
    let mut stages = stages.to_vec();
    stages.sort();
    stages.dedup();
    stages != [StageName::Fetch, StageName::Detect] && stages.len() > 1
}

pub(super) fn log_to_stdout(settings: &Settings) -> Result<LogLimit, CliError> {
    // ONNX Runtime tells of every allocation.
    let level = if settings.log.level == "auto" { "info,ort=warn" } else { &settings.log.level };
    Ok(init_limited_logs(level, settings.log.format != LogFormat::Text, io::stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_neighbours_can_be_fused() {
        use StageName::{Detect, Fetch, Preprocess};
        assert!(are_neighbours(&[Preprocess, Fetch]) && are_neighbours(&[Detect, Fetch, Preprocess]));
        assert!(!are_neighbours(&[Fetch, Detect]) && !are_neighbours(&[Detect, Detect]));
    }
}
