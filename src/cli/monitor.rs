//! `facemill monitor`: how far behind each stage is.

use std::{io, process::ExitCode, sync::Arc};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    CliError, ConfigArgs, kafka::KafkaArgs, manual::print, run::log_to_stdout, say, signals::Signals,
    telemetry::Telemetry,
};
use crate::{
    app::{Monitor, Report},
    telemetry::{PartitionLag, TopicLag},
};

/// Watch how far behind each stage is on Kafka, and export it for Prometheus
///
/// A stage that stands still does not say how far behind it is. This looks every monitor.interval at all topics and
/// consumer groups of the pipeline, those included that nobody reads: lag in records, age of the oldest record that is
/// not settled, share of the topic's retention that is used, records lost to it, members. It answers /metrics, /livez
/// and /readyz on http.listen. It joins no group and commits nothing; one is enough.
///
/// It needs the rights to describe the topics and groups, to read the topics (for the age of their records) and to
/// describe their configurations (for their retention). What it may not see it names, and exports the rest. Brokers
/// that are away are waited for: until they are back nothing is exported of what they had.
///
/// SIGTERM and Ctrl-C end it with exit code 0.
#[derive(Debug, Args)]
pub(super) struct MonitorArgs {
    /// Look once, print what was seen, and end: with 1 if something could not be seen
    #[arg(long)]
    once: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = MonitorOutput::Text, requires = "once")]
    output: MonitorOutput,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// The values of `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MonitorOutput {
    /// For people: one line a topic
    Text,
    /// One object, with every partition
    Json,
}

pub(super) fn run(args: MonitorArgs) -> Result<ExitCode, CliError> {
    let settings = args.config.load()?.settings;
    let kafka = args.kafka.options(&settings.kafka)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(CliError::Runtime)?;
    let monitor = Monitor { settings, kafka, health: Arc::default() };
    match args.once {
        true => runtime.block_on(look_once(monitor, args.output)),
        false => watch(&runtime, monitor),
    }
}

fn watch(runtime: &Runtime, monitor: Monitor) -> Result<ExitCode, CliError> {
    let logs = log_to_stdout(&monitor.settings)?;
    let ended = runtime.block_on(async {
        let signals = Signals::listen().map_err(CliError::Runtime)?;
        let telemetry = Telemetry::start("facemill-monitor".to_owned(), &monitor.health, &logs).await?;
        let ended = monitor.run(telemetry.exporter.clone(), signals.stop()).await;
        telemetry.shut_down().await;
        Ok(ended?)
    });
    logs.report();
    ended.map(|()| ExitCode::SUCCESS)
}

async fn look_once(monitor: Monitor, output: MonitorOutput) -> Result<ExitCode, CliError> {
    let signals = Signals::listen().map_err(CliError::Runtime)?;
    let looked = monitor.once(signals.stop()).await;
    if let Some(code) = signals.received() {
        return Ok(ExitCode::from(code));
    }
    let report = looked?;
    let text = match output {
        MonitorOutput::Text => table(&report.topics),
        MonitorOutput::Json => format!("{}\n", object(&report)),
    };
    print(&mut io::stdout(), text.as_bytes())?;
    report.errors.iter().for_each(|error| say(error));
    Ok(if report.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const HEAD: [&str; 8] = ["STAGE", "TOPIC", "PARTITIONS", "MEMBERS", "LAG", "OLDEST", "RETENTION", "LOST"];

/// One line for each topic, columns as wide as they need.
fn table(topics: &[TopicLag]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(topics.iter().map(row));
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        widths = std::array::from_fn(|column| {
            widths.get(column).copied().max(row.get(column).map(String::len)).unwrap_or(0)
        });
    }
    let line = |row: &[String; HEAD.len()]| {
        // Names to the left, numbers to the right.
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  "))
    };
    rows.iter().map(line).collect()
}

/// The sums of a topic, and the worst of its partitions. A question mark stands for what is not known.
fn row(topic: &TopicLag) -> [String; HEAD.len()] {
    let (nothing, unknown) = (|| "-".to_owned(), || "?".to_owned());
    let partitions = || topic.partitions.values();
    let sum = |of: fn(&PartitionLag) -> u64| partitions().map(of).sum::<u64>().to_string();
    let worst =
        |of: fn(&PartitionLag) -> Option<f64>| partitions().map(of).try_fold(0.0, |worst, next| Some(next?.max(worst)));
    let read = |text: String| match topic.stage {
        None => nothing(),
        Some(_) if topic.partitions.is_empty() => unknown(),
        Some(_) => text,
    };
    let members = topic.members.map_or_else(unknown, |members| members.to_string());
    [
        topic.stage.map_or_else(nothing, str::to_owned),
        topic.topic.clone(),
        topic.logs.len().to_string(),
        if topic.stage.is_some() { members } else { nothing() },
        read(sum(|partition| partition.lag)),
        read(worst(|partition| partition.age).map_or_else(unknown, age)),
        read(
            worst(|partition| partition.retention_used).map_or_else(unknown, |share| format!("{:.1}%", share * 100.0)),
        ),
        read(sum(|partition| partition.lost)),
    ]
}

fn age(seconds: f64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds as u64)).to_string()
}

fn object(report: &Report) -> Value {
    let topic = |topic: &TopicLag| {
        let partition = |(partition, lag): (&i32, &PartitionLag)| {
            json!({
                "partition": partition,
                "position": lag.position,
                "lag": lag.lag,
                "age_seconds": lag.age,
                "retention_used": lag.retention_used,
                "lost": lag.lost,
            })
        };
        let log = |(partition, log): (&i32, &crate::telemetry::LogLag)| json!({ "partition": partition, "start": log.start, "end": log.end });
        json!({
            "topic": topic.topic,
            "stage": topic.stage,
            "members": topic.members,
            "logs": topic.logs.iter().map(log).collect::<Vec<_>>(),
            "partitions": topic.partitions.iter().map(partition).collect::<Vec<_>>(),
        })
    };
    json!({ "topics": report.topics.iter().map(topic).collect::<Vec<_>>(), "errors": report.errors })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::LogLag;

    fn topics() -> Vec<TopicLag> {
        let log = LogLag { start: 0, end: 20 };
        let behind = |lag, age, used| PartitionLag { position: 1, lag, age, retention_used: used, lost: 3 };
        let of = |topic: &str, partitions: Vec<PartitionLag>| TopicLag {
            topic: topic.to_owned(),
            stage: Some("fetch"),
            members: Some(2),
            logs: (0..).zip(vec![log; 2]).collect(),
            partitions: (0..).zip(partitions).collect(),
        };
        let nobodys = TopicLag { stage: None, members: None, ..of("facemill.dlq", Vec::new()) };
        vec![
            of("facemill.urls", vec![behind(1200, Some(3723.4), Some(0.125)), behind(34, Some(4.0), Some(0.5))]),
            of("facemill.urls.retry.1m", vec![behind(7, None, None), behind(0, Some(0.0), Some(0.0))]),
            TopicLag { members: None, ..of("facemill.urls.retry.1h", Vec::new()) },
            nobodys,
        ]
    }

    #[test]
    fn the_table_has_the_worst_of_each_topic_and_says_what_is_not_known() {
        let expected = "\
STAGE  TOPIC                   PARTITIONS  MEMBERS   LAG    OLDEST  RETENTION  LOST
fetch  facemill.urls                    2        2  1234  1h 2m 3s      50.0%     6
fetch  facemill.urls.retry.1m           2        2     7         ?          ?     6
fetch  facemill.urls.retry.1h           2        ?     ?         ?          ?     ?
-      facemill.dlq                     2        -     -         -          -     -
";
        assert_eq!(table(&topics()), expected);
    }

    #[test]
    fn the_object_has_every_partition() {
        let object = object(&Report { topics: topics(), errors: vec!["no".into()] });
        let urls = &object["topics"][0];
        assert_eq!((&urls["topic"], &urls["members"]), (&"facemill.urls".into(), &2.into()));
        assert_eq!((&urls["partitions"][1]["lag"], &urls["logs"][1]["end"]), (&34.into(), &20.into()));
        assert_eq!(object["topics"][1]["partitions"][0]["age_seconds"], Value::Null);
        assert_eq!(object["errors"], json!(["no"]));
    }
}
