//! `facemill retry`: what failed, submitted to Kafka once more.

use std::{
    collections::BTreeMap,
    io,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use clap::Args;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use super::{CliError, ConfigArgs, cql::scylla_options, export::StatusFilter, kafka::KafkaArgs, manual::print, say};
use crate::{
    adapters::{
        kafka::KafkaProducer,
        scylla::{ReadError, ScyllaReader},
    },
    app::Topics,
    domain::{Message, Reason, ResultRow, Status, Timestamp},
    runner::ports::{PortError, Publish},
};

/// Records on their way to the brokers at once.
const IN_FLIGHT: usize = 512;

/// Submit URLs that failed once more, by reason: counts them first, and does it with --yes
///
/// Reads the rows of a job from ScyllaDB or Cassandra and publishes their URLs to the topic "urls", from where fetch
/// takes them as if they were new. A row is replaced only by a better outcome, and one that has become another meanwhile
/// is left alone, so that nothing is lost by doing this twice.
///
/// For `facemill local`: facemill local LIST --retry REASON.
#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// The job whose URLs are meant
    #[arg(long, value_name = "NAME")]
    job: String,
    /// URLs that failed for this reason (docs/outcomes.md); may be repeated
    #[arg(long, value_name = "REASON", required_unless_present = "status")]
    reason: Vec<Reason>,
    /// Every URL that failed: --status failed
    #[arg(long, value_name = "STATUS", conflicts_with = "reason", value_parser = failed)]
    status: Option<Status>,
    /// Only what failed since then: a time such as 2026-11-21T08:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Most URLs a second; 0 means no limit
    #[arg(long, value_name = "N", default_value_t = 1000)]
    rate: u32,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// The one status that can be tried again.
fn failed(text: &str) -> Result<Status, String> {
    match <StatusFilter as clap::ValueEnum>::from_str(text, true) {
        Ok(StatusFilter::Failed) => Ok(Status::Failed),
        _ => Err("only 'failed' can be tried again; a new pipeline.epoch does everything again".to_owned()),
    }
}

fn since(text: &str) -> Result<Timestamp, String> {
    let time = match humantime::parse_duration(text) {
        Ok(ago) => SystemTime::now().checked_sub(ago),
        Err(_) => humantime::parse_rfc3339_weak(text).ok(),
    };
    time.map(Timestamp::from).ok_or_else(|| "neither a time (2026-11-21T08:00:00Z) nor how long ago (2h)".to_owned())
}

impl RetryArgs {
    /// Why this row's URL is to be submitted again, if it is.
    fn chosen(&self, row: &ResultRow) -> Option<Reason> {
        let reason = row.reason.filter(|reason| self.reason.is_empty() || self.reason.contains(reason))?;
        self.since.is_none_or(|since| row.timestamps.finished_at >= since).then_some(reason)
    }
}

pub(super) fn run(args: &RetryArgs) -> Result<ExitCode, CliError> {
    let settings = args.config.load()?.settings;
    let reader = ScyllaReader::open(&scylla_options(&settings.cql))?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(CliError::Runtime)?;
    let mut submit = None;
    if args.yes {
        let producer = KafkaProducer::new(&args.kafka.options(&settings.kafka)?, Arc::default(), Arc::default());
        let urls = Topics(&settings).input(crate::domain::StageName::Fetch);
        let topic = producer.and_then(|producer| producer.topic(&urls, settings.kafka.start_timeout));
        submit = Some(Submit::new(runtime, Arc::new(topic.map_err(crate::app::AppError::from)?), args.rate));
    }
    let mut counts = BTreeMap::<Reason, u64>::new();
    let mut unreadable = 0_u64;
    reader.rows(Some(&args.job), Some(Status::Failed), |row| -> Result<(), CliError> {
        let Some(reason) = args.chosen(&row) else { return Ok(()) };
        if reason == Reason::InvalidRecord {
            // What was submitted is not in the row: only its beginning.
            unreadable += 1;
            return Ok(());
        }
        *counts.entry(reason).or_default() += 1;
        submit.as_mut().map_or(Ok(()), |submit| Ok(submit.submit(&row, reason)?))
    })?;
    let submitted = submit.is_some();
    submit.map_or(Ok(()), Submit::finish)?;

    let table: String = counts.iter().map(|(reason, count)| format!("{count:>12}  {reason}\n")).collect();
    print(&mut io::stdout(), table.as_bytes())?;
    let all: u64 = counts.values().sum();
    let job = &args.job;
    if unreadable > 0 {
        say(&format!("{unreadable} records of job '{job}' could not be read and have no URL: submit them anew"));
    }
    say(&match (all, submitted) {
        (0, _) => format!("no URL of job '{job}' failed so"),
        (_, true) => format!("{all} URLs of job '{job}' are submitted once more"),
        (_, false) => format!("{all} URLs of job '{job}' would be submitted once more; with --yes they are"),
    });
    Ok(ExitCode::SUCCESS)
}

/// Publishes at a bounded rate, several records at once.
struct Submit<P> {
    runtime: Runtime,
    topic: Arc<P>,
    /// Time between two URLs.
    interval: Duration,
    next: Instant,
    tasks: JoinSet<Result<(), PortError>>,
}

impl<P: Publish + 'static> Submit<P> {
    fn new(runtime: Runtime, topic: Arc<P>, rate: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(rate).unwrap_or_default();
        Submit { runtime, topic, interval, next: Instant::now(), tasks: JoinSet::new() }
    }

    fn submit(&mut self, row: &ResultRow, reason: Reason) -> Result<(), PortError> {
        // Sleeping is exact to a tenth of a millisecond at best: what it oversleeps is made up for.
        let now = Instant::now();
        self.next = self.next.max(now - Duration::from_millis(50)) + self.interval;
        std::thread::sleep(self.next.saturating_duration_since(now));
        let record = Message::submission(row.url.clone(), &row.job, row.timestamps.submitted_at).again(reason);
        let topic = Arc::clone(&self.topic);
        self.tasks.spawn_on(async move { topic.publish(&record).await }, self.runtime.handle());
        while self.tasks.len() >= IN_FLIGHT {
            self.wait_for_one()?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), CliError> {
        while !self.tasks.is_empty() {
            self.wait_for_one()?;
        }
        Ok(())
    }

    fn wait_for_one(&mut self) -> Result<(), PortError> {
        match self.runtime.block_on(self.tasks.join_next()) {
            Some(Ok(published)) => published,
            Some(Err(panic)) => Err(PortError::Fatal(format!("a fault of facemill's own, please report it: {panic}"))),
            None => Ok(()),
        }
    }
}

impl From<ReadError> for CliError {
    fn from(error: ReadError) -> Self {
        CliError::Export(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::domain::{Facts, Failure, Model, Pipeline, Record};

    fn row(number: usize, reason: Reason) -> ResultRow {
        let facts = Facts::submitted(&format!("http://a.example/{number}"), "june", Timestamp::from_micros(7));
        let model = Model { name: "m".into(), sha256: String::new() };
        let pipeline = Pipeline { version: "0".into(), fingerprint: "f".into(), epoch: Timestamp::from_micros(0) };
        ResultRow::failed(facts, Failure::new(reason, ""), &model, &pipeline)
    }

    fn args(words: &str) -> Result<RetryArgs, clap::Error> {
        use clap::{CommandFactory, FromArgMatches};
        #[derive(clap::Parser)]
        struct Wrapped {
            #[command(flatten)]
            args: RetryArgs,
        }
        let matches = Wrapped::command().try_get_matches_from(words.split_whitespace())?;
        Ok(Wrapped::from_arg_matches(&matches)?.args)
    }

    #[test]
    fn rows_are_chosen_by_reason_and_time() {
        let timeout = row(1, Reason::ReadTimeout);
        let all = args("retry --job june --status failed").unwrap();
        assert_eq!(all.chosen(&timeout), Some(Reason::ReadTimeout));
        let some = args("retry --job june --reason read_timeout --reason http_client_error").unwrap();
        assert_eq!(some.chosen(&timeout), Some(Reason::ReadTimeout));
        assert_eq!(some.chosen(&row(1, Reason::TlsFailed)), None);
        let late = args("retry --job june --status failed --since 1h").unwrap();
        assert_eq!(late.chosen(&timeout), Some(Reason::ReadTimeout));
        let early = ResultRow {
            timestamps: crate::domain::Timestamps {
                finished_at: Timestamp::from_micros(9),
                ..timeout.timestamps.clone()
            },
            ..timeout
        };
        assert_eq!(late.chosen(&early), None);
        assert_eq!(
            args("retry --job june --status failed --since 1970-01-01T00:00:00Z").unwrap().chosen(&early),
            early.reason
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for words in [
            "retry --status failed",
            "retry --job june",
            "retry --job june --status detected",
            "retry --job june --reason no_such_reason",
            "retry --job june --reason dns_failed --status failed",
            "retry --job june --status failed --since yesterday",
        ] {
            assert!(args(words).is_err(), "{words}");
        }
    }

    #[derive(Default)]
    struct Topic(Mutex<Vec<Record>>);

    #[async_trait]
    impl Publish for Topic {
        fn name(&self) -> &str {
            "urls"
        }

        async fn publish(&self, record: &Record) -> Result<(), PortError> {
            if record.value.ends_with(b"/13") {
                return Err(PortError::Unavailable("as told".into()));
            }
            self.0.lock().unwrap().push(record.clone());
            Ok(())
        }
    }

    fn submit(rate: u32) -> (Submit<Topic>, Arc<Topic>) {
        let topic = Arc::<Topic>::default();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        (Submit::new(runtime, Arc::clone(&topic), rate), topic)
    }

    #[test]
    fn a_url_is_submitted_as_it_was_with_the_reason_why_again_and_no_faster_than_allowed() {
        let (mut submit, topic) = submit(200);
        let began = Instant::now();
        for number in 100..140 {
            submit.submit(&row(number, Reason::ReadTimeout), Reason::ReadTimeout).unwrap();
        }
        submit.finish().unwrap();
        // 40 intervals of 5 ms, of which it may make up for 50 ms.
        assert!(began.elapsed() >= Duration::from_millis(145), "{:?}", began.elapsed());
        let records = topic.0.lock().unwrap();
        assert_eq!(records.len(), 40);
        let facts = Message::from_submission(&records[0], "other", Timestamp::now()).unwrap().facts;
        assert_eq!((facts.job.as_str(), facts.submitted_at.as_micros()), ("june", 7));
        assert_eq!((facts.redo, facts.attempts), (Some(Reason::ReadTimeout), 1));
    }

    #[test]
    fn brokers_that_do_not_take_a_url_are_an_error_and_no_silent_loss() {
        let (mut submit, _) = submit(0);
        let submitted = submit.submit(&row(13, Reason::DnsFailed), Reason::DnsFailed);
        assert!(submitted.is_err() || submit.finish().is_err());
    }
}
