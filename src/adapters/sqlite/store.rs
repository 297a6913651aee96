//! The write side: one thread that owns one connection and commits what is waiting in batches.

use std::{
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, named_params, params};
use tokio::sync::{mpsc, oneshot};

use super::{
    error::{OpenError, port_error},
    file::{absolute, inspect},
    schema::{Options, open_for_writing, reason},
};
use crate::{
    domain::{ImageId, Reason, ResultRow, Settled, Timestamp},
    runner::ports::{PortError, ResultStore},
};

/// Most requests in one transaction, so that none waits long for its answer.
const BATCH: usize = 512;

/// Most requests that wait for the thread; beyond it callers wait.
const QUEUE: usize = 1024;

/// The result store in a SQLite file.
///
/// Several of them, in one process or in several, may write to one file. Dropping it waits until what was
/// accepted is stored; [`SqliteStore::close`] does the same and says whether it went well.
pub struct SqliteStore {
    path: PathBuf,
    // Before `writer`: fields drop in this order, and the thread ends when its queue is closed.
    requests: mpsc::Sender<Request>,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the database at `path`, and creates it where there is none.
    ///
    /// # Errors
    /// When `path` cannot hold a result database of ours; a file that is not ours is left untouched.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path.as_ref(), &Options::default())
    }

    pub(super) fn open_with(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let path = absolute(path)?;
        inspect(&path)?;
        let connection = open_for_writing(&path, options)?;
        let (requests, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn({
                let path = path.clone();
                move || serve(&path, connection, queue)
            })
            .map_err(|error| PortError::Fatal(format!("cannot start the database thread: {error}")))?;
        Ok(SqliteStore { path, requests, writer: Writer(Some(thread)) })
    }

    /// Stores what was accepted and moves the write-ahead log into the database file.
    ///
    /// # Errors
    /// When the log could not be moved. No row is lost: SQLite reads it from there at the next opening.
    pub fn close(self) -> Result<(), PortError> {
        let SqliteStore { path: _, requests, mut writer } = self;
        drop(requests);
        writer.join()
    }

    async fn ask(&self, command: Command) -> Result<Option<Settled>, PortError> {
        let stopped = || PortError::Fatal(format!("{}: the database thread has stopped", self.path.display()));
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { command, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

#[async_trait]
impl ResultStore for SqliteStore {
    async fn settled(&self, id: &ImageId) -> Result<Option<Settled>, PortError> {
        self.ask(Command::Settled(*id)).await
    }

    async fn write(&self, row: &ResultRow) -> Result<(), PortError> {
        let row = StoredRow::new(row)
            .map_err(|error| PortError::Fatal(format!("the row of image {} is no JSON: {error}", row.image_id)))?;
        self.ask(Command::Write(Box::new(row))).await.map(|_| ())
    }

    async fn join(&self, job: &str, id: &ImageId) -> Result<(), PortError> {
        self.ask(Command::Join(job.to_owned(), *id)).await.map(|_| ())
    }
}

/// The thread, joined at the latest when it is dropped.
struct Writer(Option<JoinHandle<Result<(), PortError>>>);

impl Writer {
    fn join(&mut self) -> Result<(), PortError> {
        let crashed = || Err(PortError::Fatal("the database thread crashed".to_owned()));
        self.0.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| crashed()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::warn!(%error, "the result database was not closed cleanly");
        }
    }
}

struct Request {
    command: Command,
    reply: oneshot::Sender<Result<Option<Settled>, PortError>>,
}

enum Command {
    Settled(ImageId),
    Write(Box<StoredRow>),
    Join(String, ImageId),
}

/// A row as the table has it. The caller's thread makes it, so that the writer only writes.
struct StoredRow {
    image_id: ImageId,
    url: String,
    job: String,
    status: &'static str,
    reason: Option<&'static str>,
    faces_count: u32,
    width: Option<u32>,
    height: Option<u32>,
    fetch_us: Option<i64>,
    preprocess_us: Option<i64>,
    detect_us: Option<i64>,
    finished_at: i64,
    epoch: i64,
    fingerprint: String,
    write_timestamp: i64,
    result: String,
}

impl StoredRow {
    fn new(row: &ResultRow) -> serde_json::Result<Self> {
        let micros = |value: Option<u64>| value.and_then(|value| i64::try_from(value).ok());
        Ok(StoredRow {
            image_id: row.image_id,
            url: row.url.clone(),
            job: row.job.clone(),
            status: row.status.as_str(),
            reason: row.reason.map(Reason::as_str),
            faces_count: u32::try_from(row.faces.len()).unwrap_or(u32::MAX),
            width: row.width,
            height: row.height,
            fetch_us: micros(row.timings.fetch_us),
            preprocess_us: micros(row.timings.preprocess_us),
            detect_us: micros(row.timings.detect_us),
            finished_at: row.timestamps.finished_at.as_micros(),
            epoch: row.pipeline.epoch.as_micros(),
            fingerprint: row.pipeline.fingerprint.clone(),
            write_timestamp: row.write_timestamp(),
            result: serde_json::to_string(row)?,
        })
    }
}

/// The thread: takes what is waiting, does it in one transaction, and answers when that is committed.
fn serve(path: &Path, mut connection: Connection, mut queue: mpsc::Receiver<Request>) -> Result<(), PortError> {
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(first) = queue.blocking_recv() {
        batch.push(first);
        while batch.len() < BATCH
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        match execute(&mut connection, &batch) {
            // Whoever dropped the future of a request does not wait for its answer.
            Ok(answers) => batch.drain(..).zip(answers).for_each(|(request, answer)| {
                let _ = request.reply.send(Ok(answer));
            }),
            Err(error) => batch.drain(..).for_each(|request| {
                let _ = request.reply.send(Err(port_error(path, &error)));
            }),
        }
    }
    // Where another connection still reads, its closing does this later.
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .and_then(|()| connection.close().map_err(|(_, error)| error))
        .map_err(|error| port_error(path, &error))
}

/// All of the batch or nothing of it: a transaction that is dropped is rolled back.
fn execute(connection: &mut Connection, batch: &[Request]) -> rusqlite::Result<Vec<Option<Settled>>> {
    let writes = batch.iter().any(|request| !matches!(request.command, Command::Settled(_)));
    // A writer that began as a reader fails where another process wrote meanwhile; one that begins as a
    // writer waits for its turn. Readers wait for nobody.
    let behavior = if writes { TransactionBehavior::Immediate } else { TransactionBehavior::Deferred };
    let transaction = connection.transaction_with_behavior(behavior)?;
    let answers = batch
        .iter()
        .map(|request| match &request.command {
            Command::Settled(id) => settled(&transaction, id),
            Command::Write(row) => write(&transaction, row).map(|()| None),
            Command::Join(job, id) => join(&transaction, job, id).map(|()| None),
        })
        .collect::<rusqlite::Result<Vec<_>>>()?;
    transaction.commit()?;
    Ok(answers)
}

fn settled(connection: &Connection, id: &ImageId) -> rusqlite::Result<Option<Settled>> {
    connection
        .prepare_cached("SELECT reason, epoch, fingerprint, write_timestamp FROM results WHERE image_id = ?1")?
        .query_row([id.as_bytes()], |row| {
            Ok(Settled {
                reason: reason(row, 0)?,
                epoch: Timestamp::from_micros(row.get(1)?),
                fingerprint: row.get(2)?,
                write_timestamp: row.get(3)?,
            })
        })
        .optional()
}

fn write(connection: &Connection, row: &StoredRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO results VALUES (
                 :image_id, :url, :status, :reason, :faces_count, :width, :height, :fetch_us, :preprocess_us,
                 :detect_us, :finished_at, :epoch, :fingerprint, :write_timestamp, :result)
             ON CONFLICT (image_id) DO UPDATE SET
                 url = excluded.url, status = excluded.status, reason = excluded.reason,
                 faces_count = excluded.faces_count, width = excluded.width, height = excluded.height,
                 fetch_us = excluded.fetch_us, preprocess_us = excluded.preprocess_us,
                 detect_us = excluded.detect_us, finished_at = excluded.finished_at, epoch = excluded.epoch,
                 fingerprint = excluded.fingerprint, write_timestamp = excluded.write_timestamp,
                 result = excluded.result
             WHERE excluded.write_timestamp >= results.write_timestamp",
        )?
        .execute(named_params! {
            ":image_id": row.image_id.as_bytes(),
            ":url": row.url,
            ":status": row.status,
            ":reason": row.reason,
            ":faces_count": row.faces_count,
            ":width": row.width,
            ":height": row.height,
            ":fetch_us": row.fetch_us,
            ":preprocess_us": row.preprocess_us,
            ":detect_us": row.detect_us,
            ":finished_at": row.finished_at,
            ":epoch": row.epoch,
            ":fingerprint": row.fingerprint,
            ":write_timestamp": row.write_timestamp,
            ":result": row.result,
        })?;
    join(connection, &row.job, &row.image_id)
}

fn join(connection: &Connection, job: &str, id: &ImageId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO jobs (job, image_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![job, id.as_bytes()])
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command as Process, sync::Arc, time::Duration};

    use super::*;
    use crate::{
        adapters::sqlite::{SqliteReader, error::ReadError, fixtures::*},
        domain::Status,
    };

    /// All rows, read through a second connection.
    fn stored(path: &Path) -> Vec<ResultRow> {
        let mut rows = Vec::new();
        let keep = |row| {
            rows.push(row);
            Ok::<_, ReadError>(())
        };
        SqliteReader::open(path).unwrap().rows(None, None, keep).unwrap();
        rows
    }

    fn shell(path: &Path) -> Connection {
        Connection::open(path).unwrap()
    }

    #[tokio::test]
    async fn what_was_written_is_settled_with_its_reason_epoch_and_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("x.db")).unwrap();
        let mut row = failed(1, "cats", Reason::NotAnImage);
        row.pipeline = pipeline(5_000_000);
        assert_eq!(store.settled(&row.image_id).await.unwrap(), None);
        store.write(&row).await.unwrap();
        let expected = Settled {
            reason: row.reason,
            epoch: row.pipeline.epoch,
            fingerprint: row.pipeline.fingerprint.clone(),
            write_timestamp: row.write_timestamp(),
        };
        assert_eq!(store.settled(&row.image_id).await.unwrap(), Some(expected));

        let row = detected(2, "cats", vec![face(1.0)]);
        store.write(&row).await.unwrap();
        assert_eq!(store.settled(&row.image_id).await.unwrap().unwrap().reason, None);
    }

    #[tokio::test]
    async fn every_reason_is_stored_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open(&path).unwrap();
        for (n, reason) in (0..).zip(Reason::ALL) {
            let row = failed(n, "cats", *reason);
            store.write(&row).await.unwrap();
            assert_eq!(store.settled(&row.image_id).await.unwrap().unwrap().reason, Some(*reason));
        }
        assert_eq!(stored(&path).len(), Reason::ALL.len());
    }

    #[tokio::test]
    async fn a_lower_rank_never_replaces_a_higher_one_in_whatever_order_they_come() {
        let transient = failed(1, "cats", Reason::TotalTimeout);
        let permanent = failed(1, "cats", Reason::NotAnImage);
        let success = detected(1, "cats", vec![face(1.0)]);
        let orders: [[&ResultRow; 3]; 6] = [
            [&transient, &permanent, &success],
            [&transient, &success, &permanent],
            [&permanent, &transient, &success],
            [&permanent, &success, &transient],
            [&success, &transient, &permanent],
            [&success, &permanent, &transient],
        ];
        for order in orders {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.db");
            let store = SqliteStore::open(&path).unwrap();
            for row in order {
                store.write(row).await.unwrap();
            }
            assert_eq!(stored(&path), std::slice::from_ref(&success));
            let columns = shell(&path)
                .query_row("SELECT status, reason, faces_count, width FROM results", [], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })
                .unwrap();
            assert_eq!(columns, ("detected".to_owned(), None::<String>, 1, Some(640)), "columns follow the row");
        }
    }

    #[tokio::test]
    async fn of_two_rows_of_equal_rank_the_later_write_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open(&path).unwrap();
        store.write(&failed(1, "cats", Reason::TotalTimeout)).await.unwrap();
        store.write(&failed(1, "cats", Reason::DnsFailed)).await.unwrap();
        assert_eq!(stored(&path)[0].reason, Some(Reason::DnsFailed));
    }

    #[tokio::test]
    async fn a_raised_epoch_replaces_even_a_success() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open(&path).unwrap();
        store.write(&detected(1, "cats", vec![])).await.unwrap();
        let mut again = failed(1, "cats", Reason::TotalTimeout);
        again.pipeline = pipeline(2_000_000);
        store.write(&again).await.unwrap();
        assert_eq!(stored(&path), [again]);
    }

    #[tokio::test]
    async fn a_job_that_joins_sees_the_row_under_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open(&path).unwrap();
        let row = detected(1, "cats", vec![]);
        store.write(&row).await.unwrap();
        store.join("dogs", &row.image_id).await.unwrap();
        store.join("dogs", &row.image_id).await.unwrap();
        let mut jobs = Vec::new();
        for job in ["cats", "dogs"] {
            let keep = |row: ResultRow| {
                jobs.push(row.job);
                Ok::<_, ReadError>(())
            };
            SqliteReader::open(&path).unwrap().rows(Some(job), Some(Status::Detected), keep).unwrap();
        }
        assert_eq!(jobs, ["cats", "dogs"]);
    }

    #[tokio::test]
    async fn two_stores_on_one_new_file_lose_no_row_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let opening: Vec<_> = (0..4)
            .map(|_| {
                let path = path.clone();
                thread::spawn(move || SqliteStore::open(path).unwrap())
            })
            .collect();
        let stores: Vec<_> = opening.into_iter().map(|thread| Arc::new(thread.join().unwrap())).collect();
        let mut writes = tokio::task::JoinSet::new();
        for n in 0..4_000 {
            let store = stores[n as usize % stores.len()].clone();
            writes.spawn(async move {
                let row = detected(n, "cats", vec![]);
                assert_eq!(store.settled(&row.image_id).await?, None);
                store.write(&row).await
            });
        }
        while let Some(written) = writes.join_next().await {
            written.unwrap().unwrap();
        }
        assert_eq!(stored(&path).len(), 4_000);
    }

    #[test]
    fn stores_that_create_one_file_at_the_same_moment_all_open_it() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..60 {
            let path = folder.path().join(format!("{round}.db"));
            let start = std::sync::Barrier::new(16);
            let open = || {
                start.wait();
                SqliteStore::open(&path).map(drop)
            };
            thread::scope(|scope| {
                let opening: Vec<_> = (0..16).map(|_| scope.spawn(open)).collect();
                opening.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
            });
        }
    }

    const CHILD: &str = "FACEMILL_TEST_ABORTING_STORE";

    /// Runs itself as a child process, which writes and then aborts without closing anything.
    #[test]
    fn rows_that_were_acknowledged_survive_the_death_of_the_process() {
        if let Some(path) = std::env::var_os(CHILD) {
            write_and_abort(Path::new(&path));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let name = "adapters::sqlite::store::tests::rows_that_were_acknowledged_survive_the_death_of_the_process";
        let child =
            Process::new(std::env::current_exe().unwrap()).args([name, "--exact"]).env(CHILD, &path).output().unwrap();
        assert!(!child.status.success(), "the child must have aborted");
        assert_eq!(fs::read_to_string(path.with_extension("acknowledged")).unwrap(), "10000");
        assert_eq!(stored(&path).len(), 10_000);
        SqliteStore::open(&path).unwrap().close().unwrap();
    }

    #[tokio::main]
    async fn write_and_abort(path: &Path) {
        let store = Arc::new(SqliteStore::open(path).unwrap());
        let mut writes = tokio::task::JoinSet::new();
        for n in 0..10_000 {
            let store = store.clone();
            writes.spawn(async move { store.write(&detected(n, "cats", vec![face(1.0)])).await });
        }
        let mut acknowledged = 0;
        while let Some(Ok(Ok(()))) = writes.join_next().await {
            acknowledged += 1;
        }
        fs::write(path.with_extension("acknowledged"), acknowledged.to_string()).unwrap();
        std::process::abort();
    }

    #[tokio::test]
    async fn a_full_disk_is_fatal_says_what_to_do_and_keeps_every_stored_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open_with(&path, &Options { max_pages: Some(60), ..Options::default() }).unwrap();
        let mut acknowledged = Vec::new();
        let error = loop {
            let row = detected(acknowledged.len() as u64, "cats", vec![face(1.0); 3]);
            match store.write(&row).await {
                Ok(()) => acknowledged.push(row),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, PortError::Fatal(_)));
        assert!(error.to_string().contains("free space and run the same command again"), "{error}");
        assert!(acknowledged.len() > 20, "{}", acknowledged.len());
        drop(store);

        let mut rows = stored(&path);
        rows.sort_by_key(|row| row.timestamps.submitted_at);
        assert_eq!(rows, acknowledged);
        let store = SqliteStore::open(&path).unwrap();
        store.write(&detected(1_000, "cats", vec![])).await.unwrap();
        assert_eq!(stored(&path).len(), acknowledged.len() + 1, "with space again it goes on");
    }

    #[tokio::test]
    async fn a_failed_batch_stores_nothing_of_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store =
            Arc::new(SqliteStore::open_with(&path, &Options { max_pages: Some(60), ..Options::default() }).unwrap());
        let mut writes = tokio::task::JoinSet::new();
        for n in 0..400 {
            let store = store.clone();
            writes.spawn(async move { (n, store.write(&detected(n, "cats", vec![face(1.0)])).await) });
        }
        let mut acknowledged = Vec::new();
        while let Some(written) = writes.join_next().await {
            if let (n, Ok(())) = written.unwrap() {
                acknowledged.push(detected(n, "cats", vec![]).image_id);
            }
        }
        acknowledged.sort();
        let rows: Vec<_> = stored(&path).iter().map(|row| row.image_id).collect();
        assert_eq!(rows, acknowledged);
    }

    #[tokio::test]
    async fn a_locked_database_is_unavailable_and_works_again_when_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let busy_timeout = Duration::from_millis(20);
        let store = SqliteStore::open_with(&path, &Options { busy_timeout, ..Options::default() }).unwrap();
        let row = detected(1, "cats", vec![]);
        let other = shell(&path);
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(matches!(store.write(&row).await, Err(PortError::Unavailable(_))));
        assert_eq!(store.settled(&row.image_id).await.unwrap(), None, "reading waits for no writer");
        other.execute_batch("COMMIT").unwrap();
        store.write(&row).await.unwrap();
    }

    #[tokio::test]
    async fn an_abandoned_request_harms_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open(&path).unwrap();
        let row = detected(1, "cats", vec![]);
        let abandoned = tokio::time::timeout(Duration::ZERO, store.write(&row));
        drop(abandoned.await);
        store.write(&detected(2, "cats", vec![])).await.unwrap();
        store.close().unwrap();
        assert!(stored(&path).iter().any(|row| row.url.ends_with("/2.jpg")));
    }

    #[tokio::test]
    async fn closing_and_reading_leave_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open(&path).unwrap();
        store.write(&detected(1, "cats", vec![])).await.unwrap();
        assert!(path.with_extension("db-wal").exists(), "write-ahead logging is on");
        store.close().unwrap();
        assert_eq!(stored(&path).len(), 1);
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["x.db"]);
    }

    #[test]
    fn a_database_of_another_program_or_version_is_refused_and_left_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("foreign.db");
        // With a write-ahead log left by a crash, which any opening through SQLite would fold in.
        let crashed = shell(&foreign);
        crashed.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        let newer = folder.path().join("newer.db");
        SqliteStore::open(&newer).unwrap().close().unwrap();
        shell(&newer).execute_batch("PRAGMA user_version = 2").unwrap();
        let files = || -> Vec<_> {
            let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
            files.sort();
            files.into_iter().map(|file| (fs::read(&file).unwrap(), file)).collect()
        };

        let before = files();
        for error in [SqliteStore::open(&foreign).err().unwrap(), SqliteReader::open(&foreign).err().unwrap()] {
            assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
            assert!(error.to_string().contains("foreign.db: ") && error.to_string().contains("--db"), "{error}");
        }
        for error in [SqliteStore::open(&newer).err().unwrap(), SqliteReader::open(&newer).err().unwrap()] {
            assert!(matches!(error, OpenError::Version { found: 2, expected: 1, .. }), "{error:?}");
        }
        assert!(before == files(), "not a byte has changed");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_unwritable_path_is_refused_with_what_to_do() {
        let error = SqliteStore::open("/proc/facemill.db").err().unwrap();
        assert!(matches!(error, OpenError::Denied { .. }), "{error:?}");
        assert!(error.to_string().contains("check the permissions"), "{error}");
    }

    #[test]
    fn the_faces_view_shows_one_face_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open(&path).unwrap();
        let row = detected(1, "cats", vec![face(1.5), face(-2.0)]);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(store.write(&row)).unwrap();
        let shell = shell(&path);
        let mut faces =
            shell.prepare("SELECT image_id, x, height, score FROM faces WHERE url = ?1 ORDER BY x").unwrap();
        let faces: Vec<(String, f64, f64, f64)> = faces
            .query_map([&row.url], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let id = row.image_id.to_string();
        assert_eq!(faces, [(id.clone(), -2.0, 40.0, 0.9), (id, 1.5, 40.0, 0.9)]);
    }
}
