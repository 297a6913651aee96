//! `facemill summary`: what the stored results come to.

use std::{
    fmt::{self, Display, Formatter},
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};

use crate::adapters::sqlite::{OpenError, Percentiles, ReadError, SqliteReader, Summary};

/// Count stored results by outcome, faces and latency
///
/// Latency is the time that a stage held a URL, waiting for a connection, the host or a thread included.
#[derive(Debug, Args)]
pub struct SummaryArgs {
    /// The result database
    #[arg(long, value_name = "PATH", default_value = "facemill.db")]
    pub db: PathBuf,
    /// Only what this job asked for
    #[arg(long, value_name = "NAME")]
    pub job: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = SummaryOutput::Table)]
    pub output: SummaryOutput,
}

/// The values of `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SummaryOutput {
    /// For people
    Table,
    /// For programs: one object, its keys stay as they are
    Json,
}

/// Why there is no summary.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Standard output cannot be written.
    #[error("standard output: cannot write the summary ({0}): check where it is redirected to")]
    Write(io::Error),
}

/// Runs the command.
///
/// # Errors
/// When the database cannot be read or standard output cannot be written.
pub fn run(args: &SummaryArgs) -> Result<(), SummaryError> {
    let summary = SqliteReader::open(&args.db)?.summary(args.job.as_deref())?;
    match print(&summary, args.output, &mut io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(SummaryError::Write(error)),
        _ => Ok(()),
    }
}

fn print(summary: &Summary, output: SummaryOutput, to: &mut impl Write) -> io::Result<()> {
    match output {
        SummaryOutput::Table => write!(to, "{}", Table(summary))?,
        SummaryOutput::Json => writeln!(to, "{}", serde_json::to_string_pretty(summary)?)?,
    }
    to.flush()
}

/// A summary for people.
pub struct Table<'a>(pub &'a Summary);

/// Width of the column of names: the longest reason, indented.
const NAME: usize = 24;

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let summary = self.0;
        let mut count = |name: &str, count: u64| writeln!(f, "{name:<NAME$}{:>13}", grouped(count));
        count("URLs", summary.total)?;
        count("  detected", summary.by_status.detected)?;
        count("  failed", summary.by_status.failed)?;
        let mut reasons: Vec<_> = summary.by_reason.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (reason, number) in reasons {
            count(&format!("    {reason}"), *number)?;
        }
        count("pictures with faces", summary.pictures_with_faces)?;
        count("faces", summary.faces)?;

        let latency = &summary.latency_ms;
        writeln!(f, "\n{:<NAME$}{:>13}{:>12}{:>12}{:>12}", "latency in ms", "p50", "p95", "p99", "max")?;
        stage(f, "  fetch", latency.fetch)?;
        stage(f, "  preprocess", latency.preprocess)?;
        stage(f, "  detect", latency.detect)?;

        if let (Some(first), Some(last)) = (summary.first_finished_at, summary.last_finished_at) {
            writeln!(f, "\nfirst finished  {first}\nlast finished   {last}")?;
        }
        Ok(())
    }
}

fn stage(f: &mut Formatter<'_>, name: &str, latency: Option<Percentiles>) -> fmt::Result {
    match latency {
        Some(Percentiles { p50, p95, p99, max }) => {
            writeln!(f, "{name:<NAME$}{p50:>13.1}{p95:>12.1}{p99:>12.1}{max:>12.1}")
        }
        None => writeln!(f, "{name:<NAME$}{:>13}{:>12}{:>12}{:>12}", "-", "-", "-", "-"),
    }
}

/// A number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        adapters::sqlite::{LatencyByStage, StatusCounts},
        domain::{Reason, Timestamp},
    };

    fn summary() -> Summary {
        Summary {
            job: Some("cats".into()),
            total: 1_234_567,
            by_status: StatusCounts { detected: 1_234_000, failed: 567 },
            by_reason: BTreeMap::from([(Reason::DnsFailed, 67), (Reason::FirstByteTimeout, 500)]),
            pictures_with_faces: 1_000,
            faces: 2_417,
            latency_ms: LatencyByStage {
                fetch: Some(Percentiles { p50: 12.345, p95: 100.0, p99: 1_000.0, max: 20_000.0 }),
                preprocess: None,
                detect: None,
            },
            first_finished_at: Some(Timestamp::from_micros(0)),
            last_finished_at: Some(Timestamp::from_micros(1)),
        }
    }

    fn printed(summary: &Summary, output: SummaryOutput) -> String {
        let mut text = Vec::new();
        print(summary, output, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_table_is_aligned_and_names_the_commonest_reason_first() {
        let expected = "\
URLs                        1,234,567
  detected                  1,234,000
  failed                          567
    first_byte_timeout            500
    dns_failed                     67
pictures with faces             1,000
faces                           2,417

latency in ms                     p50         p95         p99         max
  fetch                          12.3       100.0      1000.0     20000.0
  preprocess                        -           -           -           -
  detect                            -           -           -           -

first finished  1970-01-01T00:00:00.000000Z
last finished   1970-01-01T00:00:00.000001Z
";
        assert_eq!(printed(&summary(), SummaryOutput::Table), expected);
    }

    #[test]
    fn no_reason_is_wider_than_its_column() {
        assert!(Reason::ALL.iter().all(|reason| reason.as_str().len() + 4 < NAME));
    }

    #[test]
    fn json_has_keys_that_programs_rely_on() {
        let json: serde_json::Value = serde_json::from_str(&printed(&summary(), SummaryOutput::Json)).unwrap();
        let expected = serde_json::json!({
            "job": "cats",
            "total": 1_234_567,
            "by_status": {"detected": 1_234_000, "failed": 567},
            "by_reason": {"dns_failed": 67, "first_byte_timeout": 500},
            "pictures_with_faces": 1_000,
            "faces": 2_417,
            "latency_ms": {
                "fetch": {"p50": 12.345, "p95": 100.0, "p99": 1_000.0, "max": 20_000.0},
                "preprocess": null,
                "detect": null,
            },
            "first_finished_at": "1970-01-01T00:00:00.000000Z",
            "last_finished_at": "1970-01-01T00:00:00.000001Z",
        });
        assert_eq!(json, expected);
    }
}
