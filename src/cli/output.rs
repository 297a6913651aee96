//! What `facemill local` prints on standard output: a row for each URL as it ends.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use clap::ValueEnum;
use tokio::sync::mpsc;

use crate::{
    domain::{ImageId, ResultRow, Settled, Status},
    runner::ports::{PortError, ResultStore},
};

/// Rows that may wait for a slow reader of standard output; then the pipeline waits too.
const WAITING_ROWS: usize = 1024;

/// The values of `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For people: status, faces, size, URL, and what went wrong
    Table,
    /// One JSON object a line, by schemas/result.schema.json
    Jsonl,
    /// Nothing
    None,
}

/// A store that also prints every row once it is durable.
pub(super) struct Printed {
    store: Arc<dyn ResultStore>,
    rows: mpsc::Sender<ResultRow>,
}

impl Printed {
    /// Around a store, with the thread that prints; it ends when the store is dropped.
    pub(super) fn new(
        store: Arc<dyn ResultStore>,
        format: OutputFormat,
        suspended: impl Fn(&mut dyn FnMut()) + Send + 'static,
    ) -> (Self, Printer) {
        let (rows, waiting) = mpsc::channel(WAITING_ROWS);
        let printer = std::thread::spawn(move || print_all(waiting, format, suspended));
        (Printed { store, rows }, Printer(printer))
    }
}

/// The thread that prints.
pub(super) struct Printer(JoinHandle<io::Result<()>>);

impl Printer {
    /// Waits until the last row is printed; after an interruption only a moment, since the reader of standard
    /// output may have stopped reading without going away.
    ///
    /// # Errors
    /// When standard output could not be written, other than because nobody reads it any more.
    pub(super) fn finish(self, interrupted: bool) -> io::Result<()> {
        let patience = Instant::now() + Duration::from_secs(1);
        while interrupted && !self.0.is_finished() {
            if Instant::now() > patience {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.0.join().unwrap_or_else(|_| Err(io::Error::other("the printing thread panicked, please report it")))
    }
}

/// Ends early when standard output fails. The rows are stored all the same.
fn print_all(
    mut rows: mpsc::Receiver<ResultRow>,
    format: OutputFormat,
    suspended: impl Fn(&mut dyn FnMut()),
) -> io::Result<()> {
    let terminal = io::stdout().is_terminal();
    let mut header = match format {
        OutputFormat::Table => "STATUS    FACES  SIZE         URL\n",
        OutputFormat::Jsonl | OutputFormat::None => "",
    };
    while let Some(row) = rows.blocking_recv() {
        let text = match format {
            OutputFormat::Table => header.to_owned() + &table_line(&row),
            OutputFormat::Jsonl => serde_json::to_string(&row)? + "\n",
            OutputFormat::None => continue,
        };
        header = "";
        let mut written = Ok(());
        if terminal {
            suspended(&mut || written = print(&text));
        } else {
            // Not with the bar held: a full pipe may take its time.
            written = print(&text);
        }
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
    Ok(())
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn table_line(row: &ResultRow) -> String {
    let faces = if row.status == Status::Detected { row.faces.len().to_string() } else { "-".to_owned() };
    let size = match (row.width, row.height) {
        (Some(width), Some(height)) => format!("{width}×{height}"),
        _ => "-".to_owned(),
    };
    // A URL is a stranger's text: nothing in it may steer the terminal.
    let url: String = row.url.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let mut line = format!("{:<8}  {faces:>5}  {size:<11}  {url}", row.status.as_str());
    if let Some(reason) = row.reason {
        let detail: String = row.detail.iter().flat_map(|detail| detail.chars()).filter(|c| !c.is_control()).collect();
        // Into a String, which takes everything.
        let _ = write!(line, "  {reason}: {detail}");
    }
    line.push('\n');
    line
}

#[async_trait]
impl ResultStore for Printed {
    async fn settled(&self, id: &ImageId) -> Result<Option<Settled>, PortError> {
        self.store.settled(id).await
    }

    async fn write(&self, row: &ResultRow) -> Result<(), PortError> {
        self.store.write(row).await?;
        // Fails only when nobody reads standard output any more.
        let _ = self.rows.send(row.clone()).await;
        Ok(())
    }

    async fn join(&self, job: &str, id: &ImageId) -> Result<(), PortError> {
        self.store.join(job, id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Facts, Failure, Model, Pipeline, Reason, Timestamp};

    #[test]
    fn a_line_shows_the_outcome_and_lets_no_url_steer_the_terminal() {
        let facts = Facts::submitted("no url \u{1b}[2J", "job", Timestamp::now());
        let model = Model { name: String::new(), sha256: String::new() };
        let pipeline =
            Pipeline { version: String::new(), fingerprint: String::new(), epoch: Timestamp::from_micros(0) };
        let row = ResultRow::failed(facts, Failure::new(Reason::InvalidUrl, "relative\n"), &model, &pipeline);
        assert_eq!(table_line(&row), "failed        -  -            no url \u{fffd}[2J  invalid_url: relative\n");
    }
}
