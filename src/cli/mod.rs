//! The command line: one file a subcommand.

mod check;
mod config;
pub mod cql;
mod decoder;
pub mod export;
mod kafka;
mod list;
mod local;
mod manual;
mod monitor;
mod output;
mod progress;
mod retry;
mod run;
mod schema;
mod signals;
pub mod summary;
mod telemetry;
mod topics;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{
    app::AppError,
    config::{ConfigError, Loaded},
    telemetry::LogFilterError,
};

/// Finds faces in the pictures behind image URLs and stores what it finds
///
/// facemill fetches each URL, decodes the picture, runs a face detector and writes one row for every URL:
/// the faces with their boxes and landmarks in pixels of the original picture, or a typed reason why there
/// are none to be had. Nothing is done twice: the same command again goes on where it stopped.
#[derive(Debug, Parser)]
#[command(name = "facemill", version, after_long_help = EXAMPLES, infer_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  facemill local https://example.org/a.jpg          one picture, into ./facemill.db
  facemill local urls.txt.gz --job june             a list of URLs, one a line
  zcat urls.gz | facemill local - --annotate out    from a pipe, with drawn pictures
  facemill local urls.txt --retry failed            what failed, once more
  facemill summary --job june                       how it went
  facemill export --status detected > faces.jsonl   what was found
  sqlite3 facemill.db 'SELECT * FROM faces'         the same, by SQL
  facemill check                                    is everything there for Kafka and ScyllaDB?
  facemill retry --job june --reason dns_failed     what failed on Kafka, once more (counts first)
  facemill run --stage fetch                        a member of the consumer group that fetches
  facemill monitor --once                           how far behind each stage is on Kafka

Exit codes:
  0    every URL has its outcome (a 404 is an outcome)
  1    facemill could not do its work; the message says why and what to do
  2    wrong use: an unknown option, setting or file (to facemill check a setting or file is a finding: 1)
  130, 143   ended by Ctrl-C or SIGTERM before every URL had its outcome";

#[derive(Debug, Subcommand)]
enum Command {
    Local(local::LocalArgs),
    Run(run::RunArgs),
    Monitor(monitor::MonitorArgs),
    Check(check::CheckArgs),
    Retry(retry::RetryArgs),
    Export(export::ExportArgs),
    Summary(summary::SummaryArgs),
    Schema(schema::SchemaCommand),
    Topics(topics::TopicsCommand),
    Config(config::ConfigCommand),
    Completion(manual::CompletionArgs),
    /// Decode pictures for another facemill process
    #[command(name = crate::app::DECODER, hide = true)]
    Decoder,
    /// Print the manual page in roff form: facemill man | man -l -
    Man,
}

/// Where settings come from.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// A TOML file with the settings that differ from the defaults
    #[arg(long, value_name = "FILE", env = "FACEMILL_CONFIG")]
    config: Option<PathBuf>,
    /// One setting, stronger than file and environment; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Loaded, ConfigError> {
        crate::config::load(self.config.as_deref(), std::env::vars_os(), &self.set)
    }
}

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    LogFilter(#[from] LogFilterError),
    /// Wrong use that the parser of the command line cannot see.
    #[error("{0}")]
    Usage(String),
    #[error("kafka.config_files.\"{name}\": cannot read {path}: {source}")]
    SecretFile { name: String, path: String, source: io::Error },
    #[error(transparent)]
    Decoder(#[from] crate::adapters::decoder::ServeError),
    #[error(transparent)]
    List(#[from] list::ListError),
    #[error(transparent)]
    Store(#[from] crate::adapters::sqlite::OpenError),
    #[error(transparent)]
    Close(#[from] crate::runner::ports::PortError),
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Export(#[from] export::ExportError),
    #[error(transparent)]
    Otlp(#[from] crate::telemetry::OtlpError),
    #[error(transparent)]
    Cql(#[from] crate::adapters::scylla::ConnectError),
    #[error(transparent)]
    Schema(#[from] schema::SchemaCommandError),
    #[error(transparent)]
    Summary(#[from] summary::SummaryError),
    #[error(transparent)]
    Topics(#[from] topics::TopicsError),
    #[error("cannot start: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    fn exit_code(&self) -> ExitCode {
        match self {
            CliError::Config(_) | CliError::LogFilter(_) | CliError::Usage(_) | CliError::SecretFile { .. } => {
                ExitCode::from(2)
            }
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs the program: parses the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Local(args) => local::run(args),
        Command::Run(args) => run::run(args),
        Command::Monitor(args) => monitor::run(args),
        Command::Check(args) => check::run(&args),
        Command::Retry(args) => retry::run(&args),
        Command::Export(args) => export::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Summary(args) => summary::run(&args).map(|()| ExitCode::SUCCESS).map_err(CliError::from),
        Command::Schema(args) => schema::run(&args),
        Command::Topics(args) => topics::run(&args),
        Command::Config(args) => config::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Completion(args) => manual::completion(&args).map(|()| ExitCode::SUCCESS),
        Command::Decoder => decoder::run().map(|()| ExitCode::SUCCESS).map_err(CliError::from),
        Command::Man => manual::man_page().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        say(&error.to_string());
        error.exit_code()
    })
}

/// One line on stderr. Nobody may be reading it, and that is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "facemill: {text}");
}

/// The parser, for what is made of it: completions, the manual.
fn parser() -> clap::Command {
    Cli::command()
}
