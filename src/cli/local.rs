//! `facemill local`: the whole pipeline in one process.

use std::{
    collections::HashSet,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use clap::{Args, value_parser};
use ipnet::IpNet;

use super::{
    CliError, ConfigArgs,
    list::{Input, Lines, ListError},
    output::{OutputFormat, Printed, Printer},
    progress::Progress,
    say,
    signals::Signals,
};
use crate::{
    adapters::sqlite::SqliteStore,
    app::{Local, Stages},
    config::{LogFormat, Settings},
    domain::{MAX_JOB_BYTES, Reason},
    runner::ports::ResultStore,
    telemetry::{LineWriter, StageMetrics, init_logs},
};

/// Fetch URLs, find faces, store results in a SQLite file: the whole pipeline in one process
///
/// A list has one URL a line; blank lines and lines that begin with # are skipped; gzip and zstd are
/// recognised. It is streamed, so its size does not matter.
///
/// Every URL ends in one row of the database, which `facemill export`, `facemill summary` and any SQLite
/// tool read. URLs that have a row are skipped, whatever the outcome, unless --retry names it or the model
/// or a setting that decides which faces are found has changed. So the same command again goes on where
/// an interrupted run stopped.
///
/// Only the public internet is fetched from: http and https on ports 80 and 443, and no private, local or
/// otherwise special address, unless --allow-network opens it.
#[derive(Debug, Args)]
pub(super) struct LocalArgs {
    /// URLs, files with URL lists, or - for a list on standard input
    #[arg(value_name = "FILE|-|URL", required = true)]
    inputs: Vec<String>,
    /// Store the results under this job; export and summary can select it
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = parse_job)]
    job: String,
    /// The result database, made where it is not there
    #[arg(long, value_name = "PATH", default_value = "facemill.db")]
    db: PathBuf,
    /// Write each picture that has faces into this folder as IMAGE_ID.jpg, boxes and landmarks drawn
    #[arg(long, value_name = "DIR")]
    annotate: Option<PathBuf>,
    /// Also fetch from this network outside the public internet, on any port; may be repeated
    #[arg(long, value_name = "CIDR", value_parser = parse_network)]
    allow_network: Vec<IpNet>,
    /// What to print for each URL
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,
    /// Try again what failed for this reason (docs/outcomes.md), or everything that 'failed'; may be repeated
    #[arg(long, value_name = "REASON|failed", value_parser = value_parser!(Retry))]
    retry: Vec<Retry>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// A value of `--retry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    Failed,
    For(Reason),
}

impl std::str::FromStr for Retry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "failed" => Ok(Retry::Failed),
            reason => reason.parse().map(Retry::For).map_err(|_| {
                let known: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
                format!("it is neither 'failed' nor one of {}", known.join(", "))
            }),
        }
    }
}

fn parse_job(text: &str) -> Result<String, String> {
    match text.len() {
        1..=MAX_JOB_BYTES => Ok(text.to_owned()),
        bytes => Err(format!("a job's name has 1 to {MAX_JOB_BYTES} bytes, not {bytes}")),
    }
}

pub(super) fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    network.map_err(|_| "a network is written as 10.1.0.0/16 or fd00::/8, a single address as 10.1.2.3".to_owned())
}

pub(super) fn run(args: LocalArgs) -> Result<ExitCode, CliError> {
    let mut settings = args.config.load()?.settings;
    settings.fetch.allow_networks.extend(&args.allow_network);
    let inputs: Vec<Input> = args.inputs.iter().map(|word| Input::from_argument(word)).collect();
    if inputs.iter().filter(|input| **input == Input::Stdin).count() > 1 {
        return Err(CliError::Usage("standard input can be read once: give - once".into()));
    }

    // A socket for each connection; where the limit cannot be raised, what it allows has to do.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let metrics = Arc::new(StageMetrics::default());
    let total = Arc::new(OnceLock::new());
    let progress = Progress::new(Arc::clone(&metrics), Arc::clone(&total));
    log_beside(&progress, &settings)?;

    if !settings.fetch.is_polite() {
        tracing::warn!("fetch.user_agent names nobody whom the owner of a server could ask: put an address into it");
    }
    let lists = inputs.iter().map(Input::open).collect::<Result<Vec<Lines>, _>>();
    // A file that is not there is wrong use; one that breaks off later is not.
    let lists = lists.map_err(|error| CliError::Usage(error.to_string()))?;
    let store = Arc::new(SqliteStore::open(&args.db)?);
    let stages = Stages::build(&settings)?;
    count_lines(&inputs, Arc::clone(&total));

    let list_error = Arc::new(Mutex::new(None));
    let lines = until_error(lists, Arc::clone(&list_error));
    let (output, printer) = printed(Arc::clone(&store) as Arc<dyn ResultStore>, args.output, &progress);
    let local = Local {
        job: args.job.clone(),
        redo: redo(&args.retry),
        store: output,
        annotate: args.annotate.clone(),
        metrics: Arc::clone(&metrics),
    };

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Runtime)?;
    let ended = runtime.block_on(supervise(local, stages, &settings, lines, &progress));
    let interrupted = !matches!(ended, Ok(None));
    let printed = printer.map_or(Ok(()), |printer| printer.finish(interrupted));
    // Not waited for: a thread may still hang in a read of standard input.
    runtime.shutdown_background();
    progress.finish();

    let signal = ended?;
    if let Some(store) = Arc::into_inner(store) {
        store.close()?;
    }
    say(&progress.line());
    if let Some(error) = list_error.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(CliError::List(error));
    }
    printed?;
    let left = total.get().map(|total| total.saturating_sub(metrics.finished()));
    match signal {
        Some(signal) if left != Some(0) => {
            let left = left.map_or("the rest of the input is".to_owned(), |left| format!("{left} URLs are"));
            say(&format!("interrupted; {left} left. The same command again goes on from here."));
            Ok(ExitCode::from(signal))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The store, and the printer around it if there is anything to print.
fn printed(
    store: Arc<dyn ResultStore>,
    format: OutputFormat,
    progress: &Progress,
) -> (Arc<dyn ResultStore>, Option<Printer>) {
    if format == OutputFormat::None {
        return (store, None);
    }
    let (printed, printer) = Printed::new(store, format, progress.suspended());
    (Arc::new(printed), Some(printer))
}

/// Runs the pipeline to its end. Returns the exit code of the signal that ended it early, if one did.
async fn supervise(
    local: Local,
    stages: Stages,
    settings: &Settings,
    lines: impl Iterator<Item = Vec<u8>> + Send + 'static,
    progress: &Progress,
) -> Result<Option<u8>, CliError> {
    let signals = Signals::listen().map_err(CliError::Runtime)?;
    let stop = signals.stop();
    let mut run = std::pin::pin!(local.run(stages, settings, lines, stop.clone()));
    let mut watch = std::pin::pin!(progress.watch());
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut run => return Ok(ended.map(|()| signals.received())?),
            () = stop.cancelled(), if !told => {
                told = true;
                say("finishing what is under way; once more to end at once");
            }
            () = &mut watch => {}
        }
    }
}

/// Sends the log to stderr, above the progress bar.
fn log_beside(progress: &Progress, settings: &Settings) -> Result<(), CliError> {
    let suspended = progress.suspended();
    // A log that nobody takes any more is no reason to stop.
    let write = move |line: &[u8]| suspended(&mut || drop(io::stderr().write_all(line)));
    let level = if settings.log.level == "auto" { "warn" } else { &settings.log.level };
    Ok(init_logs(level, settings.log.format == LogFormat::Json, LineWriter(write))?)
}

fn redo(retry: &[Retry]) -> HashSet<Reason> {
    let reasons = retry.iter().flat_map(|retry| match retry {
        Retry::Failed => Reason::ALL.to_vec(),
        Retry::For(reason) => vec![*reason],
    });
    reasons.collect()
}

/// The lines of all lists, up to the first that cannot be read; its error is kept.
fn until_error(
    lists: Vec<Lines>,
    kept: Arc<Mutex<Option<ListError>>>,
) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    lists.into_iter().flatten().map_while(move |line| match line {
        Ok(line) => Some(line),
        Err(error) => {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            None
        }
    })
}

/// Counts in the background, so that the work begins at once; only where the input can be read twice.
fn count_lines(inputs: &[Input], total: Arc<OnceLock<u64>>) {
    if !inputs.iter().all(Input::is_rereadable) {
        return;
    }
    let inputs = inputs.to_vec();
    std::thread::spawn(move || {
        let lists: Result<Vec<Lines>, ListError> = inputs.iter().map(Input::open).collect();
        // A list that cannot be read is reported by the run itself.
        if let Ok(lists) = lists {
            let _ = total.set(lists.into_iter().flatten().filter(Result::is_ok).count() as u64);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_means_every_reason() {
        assert_eq!(redo(&[Retry::Failed]).len(), Reason::ALL.len());
        assert_eq!(redo(&["read_timeout".parse().unwrap()]), HashSet::from([Reason::ReadTimeout]));
        assert!("read_timeouts".parse::<Retry>().unwrap_err().contains("read_timeout"));
    }

    #[test]
    fn a_network_is_a_range_or_a_single_address() {
        assert_eq!(parse_network("127.0.0.1").unwrap(), "127.0.0.1/32".parse().unwrap());
        assert!(parse_network("10.0.0.0/8").is_ok() && parse_network("localhost").is_err());
    }
}
