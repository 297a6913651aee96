//! What facemill says about itself.

mod exporter;
mod health;
mod lag;
pub mod metrics;
mod server;

use std::io::Write;

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

pub use exporter::{Exporter, ExporterError, Observed};
pub use health::Health;
pub use lag::{Declared, LAG_METRICS, LagMetrics, LogLag, PartitionLag, TopicLag};
pub use metrics::{DnsMetrics, KafkaMetrics, Metrics};
pub use server::{ListenError, serve};

/// A log level or filter that does not parse.
#[derive(Debug, thiserror::Error)]
#[error(
    "log.level = \"{filter}\": {error}; write a level such as 'info', or levels by module such as \
     'warn,facemill::runner=debug'"
)]
pub struct LogFilterError {
    filter: String,
    error: tracing_subscriber::filter::ParseError,
}

/// Sends the log to `writer`, as text or as one JSON object a line. Once a process; later calls change nothing.
///
/// # Errors
/// When the filter does not parse.
pub fn init_logs<W>(filter: &str, json: bool, writer: W) -> Result<(), LogFilterError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let parsed = EnvFilter::try_new(filter).map_err(|error| LogFilterError { filter: filter.to_owned(), error })?;
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(writer);
    // An error means that somebody, a test most likely, has set one up already: theirs stays.
    let _ = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
    Ok(())
}

/// Hands each line of the log to a function, for a terminal that shows something else beside it.
#[derive(Clone)]
pub struct LineWriter<F>(pub F);

impl<F: Fn(&[u8])> Write for LineWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (self.0)(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a, F: Fn(&[u8]) + Clone + 'a> MakeWriter<'a> for LineWriter<F> {
    type Writer = LineWriter<F>;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}
