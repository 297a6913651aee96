//! The write side.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use futures_util::future::{try_join, try_join3};
use moka::sync::Cache;
use scylla::{
    client::session::Session, response::query_result::QueryResult, serialize::row::SerializeRow,
    statement::prepared::PreparedStatement,
};
use serde::Deserialize;

use super::{
    ConnectError, JobBuckets, ScyllaOptions,
    error::{RequestError, kind, port_error},
    session::connect_to_tables,
    statements::{JOBS_PART, WriteStatements, check_rights},
};
use crate::{
    domain::{ImageId, Reason, ResultRow, Settled, Timestamp},
    runner::ports::{PortError, ResultStore},
    telemetry::{CqlMetrics, CqlOperation},
};

/// Jobs of which this process remembers that they are noted. Noting one again is harmless.
const REMEMBERED_JOBS: u64 = 10_000;

/// The result store in ScyllaDB or Cassandra.
///
/// Any number of them may write to the same tables: no write waits for another, and each may come twice.
pub struct ScyllaStore {
    session: Session,
    statements: WriteStatements,
    buckets: JobBuckets,
    noted: Cache<String, ()>,
    metrics: Arc<CqlMetrics>,
}

impl ScyllaStore {
    /// Connects, and checks the login, the data centre, the keyspace, the version of the tables and the right to write
    /// to them.
    ///
    /// # Errors
    /// When one of them is not as it must be; the error says how to mend it.
    pub async fn connect(options: &ScyllaOptions, metrics: Arc<CqlMetrics>) -> Result<Self, ConnectError> {
        let session = connect_to_tables(options).await?;
        let statements = WriteStatements::prepare(&session, &options.keyspace).await?;
        check_rights(&session, &options.keyspace).await?;
        let noted = Cache::new(REMEMBERED_JOBS);
        Ok(ScyllaStore { session, statements, buckets: options.job_buckets, noted, metrics })
    }

    async fn execute(
        &self,
        operation: CqlOperation,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryResult, PortError> {
        // The driver's future is large, and there are thousands of them.
        let answer = Box::pin(self.session.execute_unpaged(statement, values)).await;
        answer.map_err(|error| self.failed(operation, error))
    }

    fn failed(&self, operation: CqlOperation, error: impl Into<RequestError>) -> PortError {
        let error = error.into();
        self.metrics.failed(operation, kind(&error));
        port_error(error)
    }

    /// Notes how long this took.
    async fn timed<T>(&self, operation: CqlOperation, requests: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let answer = requests.await;
        self.metrics.took(operation, began.elapsed());
        answer
    }

    async fn write_result(&self, row: &ResultRow) -> Result<(), PortError> {
        let result = serde_json::to_string(row)
            .map_err(|error| PortError::Fatal(format!("the row of image {} is no JSON: {error}", row.image_id)))?;
        let values = (row.image_id.as_bytes().as_slice(), result, row.write_timestamp());
        self.execute(CqlOperation::Write, &self.statements.result, values).await.map(drop)
    }

    async fn write_result_of_job(&self, operation: CqlOperation, job: &str, id: &ImageId) -> Result<(), PortError> {
        let values = (job, self.buckets.of(id), id.as_bytes().as_slice());
        self.execute(operation, &self.statements.result_of_job, values).await.map(drop)
    }

    /// Notes into how many buckets a job is written, for readers.
    async fn note(&self, operation: CqlOperation, job: &str) -> Result<(), PortError> {
        if self.noted.contains_key(job) {
            return Ok(());
        }
        self.execute(operation, &self.statements.job, (JOBS_PART, job, self.buckets.count())).await?;
        self.noted.insert(job.to_owned(), ());
        Ok(())
    }
}

#[async_trait]
impl ResultStore for ScyllaStore {
    async fn settled(&self, id: &ImageId) -> Result<Option<Settled>, PortError> {
        let read = CqlOperation::Read;
        let failed = |error: RequestError| self.failed(read, error);
        let result =
            self.timed(read, self.execute(read, &self.statements.settled, (id.as_bytes().as_slice(),))).await?;
        let rows = result.into_rows_result().map_err(|error| failed(error.into()))?;
        let row = rows.maybe_first_row::<(Option<&str>, Option<i64>)>().map_err(|error| failed(error.into()))?;
        Ok(row.and_then(|(result, written)| parse(id, result?, written?)))
    }

    async fn write(&self, row: &ResultRow) -> Result<(), PortError> {
        let (job, write) = (&row.job, CqlOperation::Write);
        let of_job = self.write_result_of_job(write, job, &row.image_id);
        self.timed(write, try_join3(self.write_result(row), of_job, self.note(write, job))).await.map(drop)
    }

    async fn join(&self, job: &str, id: &ImageId) -> Result<(), PortError> {
        let join = CqlOperation::Join;
        self.timed(join, try_join(self.write_result_of_job(join, job, id), self.note(join, job))).await.map(drop)
    }
}

/// Reads of a stored result what decides whether the work is done.
///
/// A row that this facemill does not understand, of a newer one perhaps, settles nothing: the work is done again, and
/// the timestamps decide which outcome stays.
fn parse(id: &ImageId, result: &str, write_timestamp: i64) -> Option<Settled> {
    #[derive(Deserialize)]
    struct Stored {
        #[serde(default)]
        reason: Option<Reason>,
        pipeline: Pipeline,
    }
    #[derive(Deserialize)]
    struct Pipeline {
        epoch: Timestamp,
        fingerprint: String,
    }
    match serde_json::from_str::<Stored>(result) {
        Ok(Stored { reason, pipeline: Pipeline { epoch, fingerprint } }) => {
            Some(Settled { reason, epoch, fingerprint, write_timestamp })
        }
        Err(error) => {
            tracing::warn!(image_id = %id, %error, "the stored row is not understood; doing the work again");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Facts, Failure, Model, Pipeline};

    fn row(reason: Option<Reason>) -> ResultRow {
        let facts = Facts::submitted("http://a.example/", "job", Timestamp::from_micros(7));
        let model = Model { name: "m".into(), sha256: "0".repeat(64) };
        let pipeline =
            Pipeline { version: "0".into(), fingerprint: "f".into(), epoch: Timestamp::from_micros(5_000_000) };
        match reason {
            None => ResultRow::detected(facts, vec![], &model, &pipeline),
            Some(reason) => ResultRow::failed(facts, Failure::new(reason, ""), &model, &pipeline),
        }
    }

    #[test]
    fn what_decides_is_read_from_the_whole_row() {
        for reason in [None, Some(Reason::NotAnImage), Some(Reason::TotalTimeout)] {
            let row = row(reason);
            let settled = parse(&row.image_id, &serde_json::to_string(&row).unwrap(), 5).unwrap();
            let (epoch, fingerprint) = (row.pipeline.epoch, row.pipeline.fingerprint);
            let expected = Settled { reason, epoch, fingerprint, write_timestamp: 5 };
            assert_eq!(settled, expected);
        }
    }

    #[test]
    fn a_row_that_is_not_understood_settles_nothing() {
        let id = ImageId::of("x");
        let unknown = serde_json::to_string(&row(Some(Reason::NotAnImage))).unwrap().replace("not_an_image", "of_2031");
        for text in ["", "{}", "null", &unknown] {
            assert_eq!(parse(&id, text, 5), None, "{text}");
        }
    }
}
