//! The read side, for callers that are not asynchronous.

use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};

use super::{
    ConnectError, ReadError, ScyllaOptions, rows::Rows, session::connect_to_tables, statements::ReadStatements,
};
use crate::{
    domain::{ResultRow, Status},
    runner::ports::PortError,
};

/// Rows that were read and wait for the caller.
const WAITING: usize = 256;

/// Reads the results, also while stores write to them.
pub struct ScyllaReader {
    rows: Arc<Rows>,
    runtime: Runtime,
}

impl ScyllaReader {
    /// Connects, and checks what [`super::ScyllaStore::connect`] checks. Not to be called on a runtime's thread.
    ///
    /// # Errors
    /// When something is not as it must be; the error says how to mend it.
    pub fn open(options: &ScyllaOptions) -> Result<Self, ConnectError> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| PortError::Fatal(format!("cannot start: {error}")))?;
        let rows = runtime.block_on(async {
            let session = connect_to_tables(options).await?;
            let statements = ReadStatements::prepare(&session, &options.keyspace).await?;
            Ok::<_, ConnectError>(Rows { session, statements, keyspace: options.keyspace.clone() })
        })?;
        Ok(ScyllaReader { rows: Arc::new(rows), runtime })
    }

    /// Whether any row belongs to the job: a name that none belongs to is a slip of the pen, not an empty job.
    ///
    /// # Errors
    /// When there is none, and when reading fails.
    pub fn check_job(&self, job: Option<&str>) -> Result<(), ReadError> {
        let Some(job) = job else { return Ok(()) };
        self.runtime.block_on(self.rows.buckets(job)).map(|_| ())
    }

    /// Calls `each` with every row: those of a job under its name and in the order of their ids, all rows in no order.
    ///
    /// A bounded number of rows is in memory, however many there are. A row that is written meanwhile may be among
    /// them or not.
    ///
    /// # Errors
    /// When no row belongs to the job, when reading fails, and with what `each` returned.
    pub fn rows<E: From<ReadError>>(
        &self,
        job: Option<&str>,
        status: Option<Status>,
        mut each: impl FnMut(ResultRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let rows = self.rows.clone();
        let reading = match job {
            Some(job) => {
                let counts = self.runtime.block_on(rows.buckets(job))?;
                self.runtime.spawn(send(rows.of_job(job.to_owned(), counts), sender))
            }
            None => self.runtime.spawn(send(rows.everything(), sender)),
        };
        while let Some(row) = receiver.blocking_recv() {
            let row = row?;
            if status.is_none_or(|status| row.status == status) {
                each(row)?;
            }
        }
        // It closes the channel in a panic too, and the rows are then not all there are.
        let fault = |error| ReadError::from(PortError::Fatal(format!("a fault of facemill's own: {error}")));
        self.runtime.block_on(reading).map_err(fault)?;
        Ok(())
    }
}

/// Hands over what is read, up to the first error, and stops when nobody takes it any more.
async fn send(rows: impl Stream<Item = Result<ResultRow, ReadError>>, to: mpsc::Sender<Result<ResultRow, ReadError>>) {
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.next().await {
        let last = row.is_err();
        if to.send(row).await.is_err() || last {
            return;
        }
    }
}
