//! The tables, and how a connection to them is set up.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, Row, TransactionBehavior, types::Type};

use super::{
    error::OpenError,
    file::{APPLICATION_ID, Found, SCHEMA_VERSION, check_identity},
};
use crate::domain::Reason;

/// `result` is the whole outcome as JSON (`schemas/result.schema.json`); the columns before it repeat, for
/// queries, what is in it, and are never written without it. Times are microseconds since 1970.
///
/// `results` has a rowid, so that new rows are appended and only the small index of ids is written at random
/// places. `faces` is for people with a SQLite shell.
const TABLES: &str = "
    CREATE TABLE results (
        image_id        BLOB    NOT NULL PRIMARY KEY,
        url             TEXT    NOT NULL,
        status          TEXT    NOT NULL,
        reason          TEXT,
        faces_count     INTEGER NOT NULL,
        width           INTEGER,
        height          INTEGER,
        fetch_us        INTEGER,
        preprocess_us   INTEGER,
        detect_us       INTEGER,
        finished_at     INTEGER NOT NULL,
        epoch           INTEGER NOT NULL,
        fingerprint     TEXT    NOT NULL,
        write_timestamp INTEGER NOT NULL,
        result          TEXT    NOT NULL
    ) STRICT;

    CREATE TABLE jobs (
        job      TEXT NOT NULL,
        image_id BLOB NOT NULL,
        PRIMARY KEY (job, image_id)
    ) STRICT, WITHOUT ROWID;

    CREATE VIEW faces (url, image_id, x, y, width, height, score) AS
        SELECT results.url, lower(hex(results.image_id)),
               face.value ->> 'x', face.value ->> 'y', face.value ->> 'width', face.value ->> 'height',
               face.value ->> 'score'
        FROM results, json_each(results.result, '$.faces') AS face;
";

/// How a connection behaves. The defaults are those of production; tests make the limits small.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// How long to wait for another process's lock.
    pub busy_timeout: Duration,
    /// Largest size of the file in pages, as a full disk would have it.
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Options { busy_timeout: Duration::from_secs(5), max_pages: None }
    }
}

/// Opens the file for writing, and sets it up where it is new.
pub(super) fn open_for_writing(path: &Path, options: &Options) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = connect(path, flags, options)?;
    let failed = |error| OpenError::new(path, &error);
    if connection.is_readonly(MAIN_DB).map_err(failed)? {
        return Err(OpenError::Denied { path: path.to_owned(), cause: "it is read-only".to_owned() });
    }
    set_up(path, &mut connection)?;
    use_write_ahead_log(&connection, options).map_err(failed)?;
    // With a write-ahead log, NORMAL syncs at checkpoints instead of at every commit. A killed process loses
    // nothing: what it committed is in the operating system's hands. A power cut may take the last commits
    // before it, in order and whole; the file stays sound, and the same command does that tail again.
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    if let Some(pages) = options.max_pages {
        connection.pragma_update(None, "max_page_count", pages).map_err(failed)?;
    }
    Ok(connection)
}

/// Opens the file for reading.
///
/// Not with SQLite's own read-only mode: the last such connection leaves its two helper files behind.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, OpenError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, &Options::default())?;
    let failed = |error| OpenError::new(path, &error);
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    let (application_id, version) = identity(&connection).map_err(failed)?;
    match check_identity(path, application_id, version) {
        // Its set-up was cut short, and SQLite has just rolled it back.
        Err(OpenError::Foreign { .. }) if (application_id, version) == (0, 0) => {
            Err(OpenError::NotFound { path: path.to_owned() })
        }
        checked => checked.map(|_| connection),
    }
}

fn connect(path: &Path, flags: OpenFlags, options: &Options) -> Result<Connection, OpenError> {
    // No mutex in SQLite: a connection is used by one thread only.
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| OpenError::new(path, &error))?;
    connection.busy_timeout(options.busy_timeout).map_err(|error| OpenError::new(path, &error))?;
    Ok(connection)
}

/// Creates the tables in a new file. One transaction: the file is ours as a whole or not at all.
fn set_up(path: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    let failed = |error| OpenError::new(path, &error);
    let (application_id, version) = identity(connection).map_err(failed)?;
    if (application_id, version) == (APPLICATION_ID, SCHEMA_VERSION) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Asked again: another process may have set it up before we had the lock.
    let (application_id, version) = identity(&transaction).map_err(failed)?;
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if (application_id, version, tables) != (0, 0, 0) {
        return match check_identity(path, application_id, version)? {
            Found::Ours | Found::Nothing => Ok(()),
        };
    }
    transaction.execute_batch(TABLES).map_err(failed)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn identity(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((pragma("application_id")?, pragma("user_version")?))
}

/// Switches to write-ahead logging, which stays with the file.
///
/// The switch needs the file for itself for a moment and does not wait for it, so the waiting is done here.
fn use_write_ahead_log(connection: &Connection, options: &Options) -> rusqlite::Result<()> {
    let give_up = Instant::now() + options.busy_timeout;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < give_up => {
                thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// Reads a column of reasons.
pub(super) fn reason(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Reason>> {
    let name: Option<String> = row.get(column)?;
    name.map(|name| name.parse())
        .transpose()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
