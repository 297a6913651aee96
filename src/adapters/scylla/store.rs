//! The write side.

use async_trait::async_trait;
use futures_util::future::try_join3;
use moka::sync::Cache;
use scylla::{client::session::Session, serialize::row::SerializeRow, statement::prepared::PreparedStatement};
use serde::Deserialize;

use super::{
    ConnectError, JobBuckets, ScyllaOptions,
    error::{RequestError, port_error},
    session::connect_to_tables,
    statements::{JOBS_PART, WriteStatements, check_rights},
};
use crate::{
    domain::{ImageId, Reason, ResultRow, Settled, Timestamp},
    runner::ports::{PortError, ResultStore},
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
}

impl ScyllaStore {
    /// Connects, and checks the login, the data centre, the keyspace, the version of the tables and the right to write
    /// to them.
    ///
    /// # Errors
    /// When one of them is not as it must be; the error says how to mend it.
    pub async fn connect(options: &ScyllaOptions) -> Result<Self, ConnectError> {
        let session = connect_to_tables(options).await?;
        let statements = WriteStatements::prepare(&session, &options.keyspace).await?;
        check_rights(&session, &options.keyspace).await?;
        Ok(ScyllaStore { session, statements, buckets: options.job_buckets, noted: Cache::new(REMEMBERED_JOBS) })
    }

    async fn execute(&self, statement: &PreparedStatement, values: impl SerializeRow) -> Result<(), PortError> {
        // The driver's future is large, and there are thousands of them.
        Box::pin(self.session.execute_unpaged(statement, values)).await.map(|_| ()).map_err(port_error)
    }

    async fn write_result(&self, row: &ResultRow) -> Result<(), PortError> {
        let result = serde_json::to_string(row)
            .map_err(|error| PortError::Fatal(format!("the row of image {} is no JSON: {error}", row.image_id)))?;
        let values = (row.image_id.as_bytes().as_slice(), result, row.write_timestamp());
        self.execute(&self.statements.result, values).await
    }

    async fn write_result_of_job(&self, job: &str, id: &ImageId) -> Result<(), PortError> {
        let values = (job, self.buckets.of(id), id.as_bytes().as_slice());
        self.execute(&self.statements.result_of_job, values).await
    }

    /// Notes into how many buckets a job is written, for readers.
    async fn note(&self, job: &str) -> Result<(), PortError> {
        if self.noted.contains_key(job) {
            return Ok(());
        }
        self.execute(&self.statements.job, (JOBS_PART, job, self.buckets.count())).await?;
        self.noted.insert(job.to_owned(), ());
        Ok(())
    }
}

#[async_trait]
impl ResultStore for ScyllaStore {
    async fn settled(&self, id: &ImageId) -> Result<Option<Settled>, PortError> {
        let values = (id.as_bytes().as_slice(),);
        let result = Box::pin(self.session.execute_unpaged(&self.statements.settled, values)).await;
        let rows = result.map_err(port_error)?.into_rows_result().map_err(port_error)?;
        let row =
            rows.maybe_first_row::<(Option<&str>, Option<i64>)>().map_err(RequestError::from).map_err(port_error)?;
        Ok(row.and_then(|(result, written)| parse(id, result?, written?)))
    }

    async fn write(&self, row: &ResultRow) -> Result<(), PortError> {
        let job = &row.job;
        try_join3(self.write_result(row), self.write_result_of_job(job, &row.image_id), self.note(job))
            .await
            .map(|_| ())
    }

    async fn join(&self, job: &str, id: &ImageId) -> Result<(), PortError> {
        futures_util::future::try_join(self.write_result_of_job(job, id), self.note(job)).await.map(|_| ())
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
