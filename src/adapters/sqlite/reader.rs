//! The read side: rows in the order of their ids, one at a time.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, named_params};

use super::{
    error::{OpenError, ReadError, port_error},
    file::{Found, absolute, inspect},
    schema::open_for_reading,
};
use crate::domain::{ResultRow, Status};

/// Most jobs that an error names.
const NAMED_JOBS: usize = 20;

/// Reads a result database, also while a store writes to it.
pub struct SqliteReader {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
}

impl SqliteReader {
    /// Opens the database at `path`.
    ///
    /// # Errors
    /// When there is none, or the file is not a result database of ours.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = absolute(path.as_ref())?;
        match inspect(&path)? {
            Found::Nothing => Err(OpenError::NotFound { path }),
            Found::Ours => Ok(SqliteReader { connection: open_for_reading(&path)?, path }),
        }
    }

    /// Calls `each` with every row in the order of the ids, as the database was at the first of them.
    ///
    /// With a job: the rows that this job asked for, under its name, whichever job brought them about.
    /// One row is in memory at a time.
    ///
    /// # Errors
    /// When no row belongs to the job, when reading fails, and with what `each` returned.
    pub fn rows<E: From<ReadError>>(
        &self,
        job: Option<&str>,
        status: Option<Status>,
        mut each: impl FnMut(ResultRow) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_job(job)?;
        let failed = |error| E::from(self.failed(error));
        let mut statement = self.connection.prepare(rows_query(job)).map_err(failed)?;
        let status = status.map(Status::as_str);
        let mut rows = statement.query(named_params! { ":job": job, ":status": status }).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let json = row.get_ref(0).map_err(failed)?.as_bytes().map_err(|error| failed(error.into()))?;
            let mut result: ResultRow = match serde_json::from_slice(json) {
                Ok(result) => result,
                Err(error) => {
                    let image_id = row.get(1).map_err(failed)?;
                    return Err(ReadError::Row { path: self.path.clone(), image_id, cause: error.to_string() }.into());
                }
            };
            if let Some(job) = job {
                job.clone_into(&mut result.job);
            }
            each(result)?;
        }
        Ok(())
    }

    /// Whether any row belongs to the job: a name that none belongs to is a slip of the pen, not an empty job.
    ///
    /// # Errors
    /// When there is none, and when reading fails.
    pub fn check_job(&self, job: Option<&str>) -> Result<(), ReadError> {
        let Some(job) = job else { return Ok(()) };
        let exists = "SELECT 1 FROM jobs WHERE job = ?1 LIMIT 1";
        let found = self.connection.query_row(exists, [job], |_| Ok(())).optional();
        match found.map_err(|error| self.failed(error))? {
            Some(()) => Ok(()),
            None => Err(ReadError::UnknownJob { path: self.path.clone(), job: job.to_owned(), known: self.jobs()? }),
        }
    }

    /// The first few jobs by name. Each is one step in the key's index: a job may have millions of rows.
    fn jobs(&self) -> Result<Vec<String>, ReadError> {
        let next = "SELECT job FROM jobs WHERE job > ?1 ORDER BY job LIMIT 1";
        let mut jobs: Vec<String> = Vec::new();
        while jobs.len() < NAMED_JOBS {
            let last = jobs.last().map_or("", String::as_str);
            let found = self.connection.query_row(next, [last], |row| row.get(0)).optional();
            match found.map_err(|error| self.failed(error))? {
                Some(job) => jobs.push(job),
                None => break,
            }
        }
        Ok(jobs)
    }

    pub(super) fn failed(&self, error: rusqlite::Error) -> ReadError {
        ReadError::Failed(port_error(&self.path, &error))
    }
}

/// Both read an index in its order: no row waits for a sort.
fn rows_query(job: Option<&str>) -> &'static str {
    match job {
        None => {
            "SELECT result, lower(hex(image_id)) FROM results
             WHERE :job IS NULL AND (:status IS NULL OR status = :status)
             ORDER BY image_id"
        }
        Some(_) => {
            "SELECT result, lower(hex(jobs.image_id)) FROM jobs JOIN results USING (image_id)
             WHERE job = :job AND (:status IS NULL OR status = :status)
             ORDER BY jobs.image_id"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::sqlite::{SqliteStore, fixtures::*},
        domain::Reason,
        runner::ports::ResultStore,
    };

    fn numbers(reader: &SqliteReader, job: Option<&str>, status: Option<Status>) -> Vec<i64> {
        let mut rows: Vec<ResultRow> = Vec::new();
        let keep = |row| {
            rows.push(row);
            Ok::<_, ReadError>(())
        };
        reader.rows(job, status, keep).unwrap();
        assert!(rows.is_sorted_by_key(|row| row.image_id), "rows come in the order of their ids");
        let mut numbers: Vec<_> = rows.iter().map(|row| row.timestamps.submitted_at.as_micros() / 1_000_000).collect();
        numbers.sort();
        numbers
    }

    async fn filled(path: &Path) -> SqliteStore {
        let store = SqliteStore::open(path).unwrap();
        for n in 0..20 {
            let job = if n < 10 { "cats" } else { "dogs" };
            let row = if n % 2 == 0 { detected(n, job, vec![]) } else { failed(n, job, Reason::DnsFailed) };
            store.write(&row).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn filters_by_job_and_status() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = filled(&path).await;
        store.join("dogs", &detected(0, "", vec![]).image_id).await.unwrap();
        let reader = SqliteReader::open(&path).unwrap();
        assert_eq!(numbers(&reader, None, None), (0..20).collect::<Vec<_>>());
        assert_eq!(numbers(&reader, None, Some(Status::Failed)), (1..20).step_by(2).collect::<Vec<_>>());
        assert_eq!(numbers(&reader, Some("cats"), None), (0..10).collect::<Vec<_>>());
        assert_eq!(numbers(&reader, Some("dogs"), Some(Status::Detected)), [0, 10, 12, 14, 16, 18]);
    }

    #[tokio::test]
    async fn an_unknown_job_is_an_error_that_names_the_known_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let _store = filled(&path).await;
        let reader = SqliteReader::open(&path).unwrap();
        let error = reader.rows(Some("cast"), None, |_| Ok::<_, ReadError>(())).unwrap_err();
        assert!(error.to_string().ends_with("no result of a job 'cast'; it has: cats, dogs"), "{error}");
    }

    #[tokio::test]
    async fn rows_are_those_of_the_moment_at_which_reading_began() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = filled(&path).await;
        let reader = SqliteReader::open(&path).unwrap();
        let mut seen = 0;
        let count = |_| {
            seen += 1;
            if seen == 1 {
                let row = detected(100, "cats", vec![]);
                // One poll hands the row to the store's thread.
                let _ = futures_util::FutureExt::now_or_never(store.write(&row));
                while numbers(&SqliteReader::open(&path).unwrap(), None, None).len() == 20 {}
            }
            Ok::<_, ReadError>(())
        };
        reader.rows(None, None, count).unwrap();
        assert_eq!(seen, 20);
    }

    #[test]
    fn reading_sorts_nothing_so_memory_does_not_grow_with_the_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        SqliteStore::open(&path).unwrap().close().unwrap();
        let reader = SqliteReader::open(&path).unwrap();
        for job in [None, Some("cats")] {
            let plan = format!("EXPLAIN QUERY PLAN {}", rows_query(job));
            let mut plan = reader.connection.prepare(&plan).unwrap();
            let steps: Vec<String> = plan
                .query_map(named_params! { ":job": job, ":status": "failed" }, |row| row.get("detail"))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert!(!steps.is_empty() && steps.iter().all(|step| !step.contains("TEMP B-TREE")), "{steps:?}");
        }
    }

    #[test]
    fn a_missing_database_is_an_error_and_none_is_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let error = SqliteReader::open(&path).err().unwrap();
        assert!(matches!(error, OpenError::NotFound { .. }), "{error:?}");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_row_that_facemill_did_not_write_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        filled(&path).await.close().unwrap();
        let id = detected(4, "", vec![]).image_id;
        let other = Connection::open(&path).unwrap();
        other.execute("UPDATE results SET result = '{}' WHERE image_id = ?1", [id.as_bytes()]).unwrap();
        let reader = SqliteReader::open(&path).unwrap();
        let error = reader.rows(None, None, |_| Ok::<_, ReadError>(())).unwrap_err();
        assert!(error.to_string().contains(&id.to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_reader_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let _store = filled(&path).await;
        let reader = SqliteReader::open(&path).unwrap();
        assert!(reader.connection.execute("DELETE FROM results", []).is_err());
    }
}
