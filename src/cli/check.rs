//! `facemill check`: what an operator runs before anything else.

mod finding;
mod rate;
mod topics;

use std::{collections::BTreeSet, io, process::ExitCode, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use tokio::runtime::{Builder, Runtime};

use self::finding::{Finding, State};
use super::{
    CliError, ConfigArgs,
    cql::scylla_options,
    kafka::KafkaArgs,
    manual::print,
    run::{ANONYMOUS, StageArg},
};
use crate::{
    adapters::{
        kafka::{KafkaError, KafkaOptions, KafkaProducer, Probe},
        scylla::ScyllaStore,
    },
    app::{self, Topics},
    config::{ConfigError, Settings},
    domain::StageName,
    topics::{Cluster, Scale},
};

/// Check that everything is there for `facemill run`: one line each, and what to do about what is not
///
/// Asked are the settings, the brokers, the topics, the rights to read and write them, the database, and the model.
/// Nothing is changed, no group is joined, and no record is read or written.
///
/// Ends with 1 if something would keep the stages from working, a wrong setting included; warnings do not count.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Which stages are to run, with commas between them: only what these need is looked at
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [StageArg::Fetch, StageArg::Preprocess, StageArg::Detect])]
    stage: Vec<StageArg>,
    /// Partitions that every topic is meant to have, whatever its file says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: Option<i32>,
    /// Replicas that every topic is meant to have
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=32_767))]
    replicas: Option<i32>,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = CheckOutput::Text)]
    output: CheckOutput,
    /// How long to wait for each answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// The values of `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CheckOutput {
    /// For people
    Text,
    /// One object with all findings
    Json,
}

pub(super) fn run(args: &CheckArgs) -> Result<ExitCode, CliError> {
    let findings = findings(args)?;
    let failed = findings.iter().any(|finding| finding.state == State::Failed);
    let text = match args.output {
        CheckOutput::Text => findings.iter().map(|finding| format!("{finding}\n")).collect(),
        CheckOutput::Json => format!("{}\n", serde_json::json!({ "ok": !failed, "findings": findings })),
    };
    print(&mut io::stdout(), text.as_bytes())?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Everything that was found.
///
/// # Errors
/// For a wrong command line alone: all else is a finding.
fn findings(args: &CheckArgs) -> Result<Vec<Finding>, CliError> {
    let settings = match args.config.load() {
        Ok(loaded) => loaded.settings,
        Err(error @ ConfigError::NotAnAssignment(_)) => return Err(error.into()),
        // Without settings there is nothing to look at.
        Err(error) => return Ok(vec![Finding::failed("configuration", error)]),
    };
    let stages: Vec<StageName> = args.stage.iter().map(|stage| StageName::from(*stage)).collect();
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(CliError::Runtime)?;

    let mut findings = match args.kafka.options(&settings.kafka) {
        Ok(kafka) => {
            let mut findings = vec![Finding::ok("configuration", "every key and value is known")];
            findings.extend(of_kafka(args, &settings, &kafka, &stages, &runtime));
            findings
        }
        Err(error @ CliError::SecretFile { .. }) => vec![Finding::failed("configuration", error)],
        Err(error) => return Err(error),
    };
    if stages.contains(&StageName::Fetch) && !settings.fetch.is_polite() {
        findings.push(Finding::failed("user agent", ANONYMOUS));
    }
    findings.push(runtime.block_on(database(&settings)));
    if stages.contains(&StageName::Detect) {
        findings.push(match app::check_detector(&settings) {
            Ok(model) => Finding::ok("model", format!("{} loads, on ONNX Runtime", model.name)),
            Err(error) => Finding::failed("model", error),
        });
    }
    Ok(findings)
}

/// The brokers, the topics, and the rights to them.
fn of_kafka(
    args: &CheckArgs,
    settings: &Settings,
    kafka: &KafkaOptions,
    stages: &[StageName],
    runtime: &Runtime,
) -> Vec<Finding> {
    let names = used(settings, stages);
    let (cluster, release) = match runtime.block_on(topics::look(kafka, &names, args.timeout)) {
        Ok(looked) => looked,
        Err(error) => return vec![Finding::failed("brokers", error)],
    };
    let scale = Scale { partitions: args.partitions, replicas: args.replicas };
    let mut findings = topics::findings(settings, kafka, scale, stages, &cluster, release);
    findings.extend(groups(settings, kafka, stages, args.timeout));
    if stages.contains(&StageName::Fetch) {
        findings.extend(abandoned(settings, kafka, &cluster, args.timeout));
    }
    findings.push(outputs(settings, kafka, stages, args.timeout));
    findings
}

/// The topics that the stages read or write.
fn used(settings: &Settings, stages: &[StageName]) -> BTreeSet<String> {
    let read = stages.iter().flat_map(|stage| Topics(settings).inputs(*stage));
    read.chain(written(settings, stages)).collect()
}

/// Those that they write.
fn written(settings: &Settings, stages: &[StageName]) -> BTreeSet<String> {
    stages.iter().flat_map(|stage| Topics(settings).outputs(*stage)).collect()
}

/// Whether the stages may read their topics, and how much waits for them.
fn groups(settings: &Settings, kafka: &KafkaOptions, stages: &[StageName], timeout: Duration) -> Vec<Finding> {
    let names = Topics(settings);
    let inputs = |stage: &StageName| names.inputs(*stage).into_iter().map(|topic| (*stage, topic)).collect::<Vec<_>>();
    let finding = |(stage, topic): (StageName, String)| {
        let group = names.group(stage, &topic);
        let progress = |probe: Probe| probe.progress(None).and_then(|progress| probe.rights().map(|()| progress));
        match Probe::new(kafka, &group, &topic, timeout).and_then(progress) {
            Ok(progress) => {
                Finding::ok("group", format!("{group} may read {topic}; {} records wait for it", progress.lag))
            }
            Err(error) => Finding::failed("group", error),
        }
    };
    stages.iter().flat_map(inputs).map(finding).collect()
}

/// URLs that wait for a delay that is not configured any more.
fn abandoned(settings: &Settings, kafka: &KafkaOptions, cluster: &Cluster, timeout: Duration) -> Vec<Finding> {
    let names = Topics(settings);
    let looked = |topic: &str| {
        let group = names.group(StageName::Fetch, topic);
        let progress = Probe::new(kafka, &group, topic, timeout).and_then(|probe| probe.progress(None));
        of_abandoned(topic, &group, progress.map(|progress| progress.lag))
    };
    names.abandoned(cluster.topics.keys()).into_iter().filter_map(looked).collect()
}

fn of_abandoned(topic: &str, group: &str, lag: Result<u64, KafkaError>) -> Option<Finding> {
    let waiting = match lag {
        Ok(0) => return None,
        Ok(lag) => format!("{lag} URLs wait in it for the group {group}"),
        Err(error) => format!("whether URLs wait in it is not known ({error})"),
    };
    let detail = format!(
        "nobody reads {topic}, whose delay is not in retry.later: {waiting}. Put the delay back until its lag is 0, or \
         submit the URLs again"
    );
    Some(Finding::warning("group", detail))
}

/// Whether the stages may write to the topics that they write.
fn outputs(settings: &Settings, kafka: &KafkaOptions, stages: &[StageName], timeout: Duration) -> Finding {
    let topics = written(settings, stages);
    let producer = match KafkaProducer::new(kafka, Arc::default(), Arc::default()) {
        Ok(producer) => producer,
        Err(error) => return Finding::failed("producer", error),
    };
    let refused: Vec<_> = topics.iter().filter_map(|topic| producer.topic(topic, timeout).err()).collect();
    match refused.is_empty() {
        true => Finding::ok("producer", format!("may write {}", topics.into_iter().collect::<Vec<_>>().join(", "))),
        false => Finding::failed("producer", refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

async fn database(settings: &Settings) -> Finding {
    match ScyllaStore::connect(&scylla_options(&settings.cql), Arc::default()).await {
        Ok(_) => Finding::ok("database", format!("the keyspace {} has this program's tables", settings.cql.keyspace)),
        Err(error) => Finding::failed("database", error),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::load;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: CheckArgs,
    }

    /// What is found where nothing answers.
    fn found(words: &[&str]) -> Result<Vec<Finding>, CliError> {
        let nowhere = ["check", "--stage=fetch", "--timeout=100ms", "--set=cql.contact_points=[\"127.0.0.1:1\"]"];
        let words = nowhere.iter().chain(["--set=kafka.brokers=127.0.0.1:1"].iter()).chain(words);
        findings(&Line::parse_from(words).args)
    }

    fn failed(found: &[Finding]) -> Vec<&'static str> {
        found.iter().filter(|finding| finding.state == State::Failed).map(|finding| finding.name).collect()
    }

    #[test]
    fn a_wrong_setting_is_a_finding_and_a_wrong_command_line_is_none() {
        let wrong = found(&["--set=fetch.concurency=5"]).unwrap();
        assert_eq!(failed(&wrong), ["configuration"]);
        assert!(wrong[0].detail.contains("fetch.concurency"), "{}", wrong[0]);
        assert_eq!(failed(&found(&["--config=/no/such/file"]).unwrap()), ["configuration"]);
        for words in [["--set=no-equals"], ["-Xno-equals"]] {
            assert_eq!(found(&words).unwrap_err().exit_code(), ExitCode::from(2), "{words:?}");
        }
    }

    #[test]
    fn what_does_not_need_a_secret_that_cannot_be_read_is_looked_at_all_the_same() {
        let found = found(&["--set=kafka.config_files.sasl.password=/no/such/file"]).unwrap();
        assert_eq!(failed(&found), ["configuration", "user agent", "database"]);
        assert!(found[0].detail.contains("sasl.password") && found[0].detail.contains("/no/such/file"), "{}", found[0]);
    }

    #[test]
    fn urls_that_wait_for_a_delay_that_was_taken_away_are_a_warning() {
        let settings = load(None, std::iter::empty(), &["retry.later=[\"1m\"]".to_owned()]).unwrap().settings;
        let there = ["facemill.urls", "facemill.urls.retry.1m", "facemill.urls.retry.5m", "urls.retry.7m"];
        let there = there.map(str::to_owned);
        assert_eq!(Topics(&settings).abandoned(there.iter()), ["facemill.urls.retry.5m"]);
        let found = |lag| of_abandoned("t", "g", lag).map(|finding| finding.to_string());
        assert_eq!(found(Ok(0)), None);
        assert!(found(Ok(7)).unwrap().contains("7 URLs wait in it for the group g"));
        let denied = KafkaError::Denied { topic: "t".to_owned(), cause: "no".to_owned() };
        assert!(found(Err(denied)).unwrap().starts_with("warning"), "the stages work all the same");
    }

    #[test]
    fn only_topics_of_the_stages_are_looked_at() {
        let settings = load(None, std::iter::empty(), &["retry.later=[\"1m\"]".to_owned()]).unwrap().settings;
        let used = |stages: &[StageName]| {
            let names = used(&settings, stages).into_iter();
            names.map(|name| name.trim_start_matches("facemill.").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(used(&[StageName::Fetch]), ["dlq", "images", "results", "urls", "urls.retry.1m"]);
        assert_eq!(used(&[StageName::Preprocess]), ["dlq", "frames", "images", "results"]);
        assert_eq!(used(&[StageName::Detect]), ["dlq", "frames", "results"]);
    }
}
