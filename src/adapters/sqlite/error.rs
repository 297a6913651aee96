//! What can go wrong with a database file, in words that say what to do.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::runner::ports::PortError;

/// Why a file cannot serve as a result database.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder of the file is missing.
    #[error("{}: its folder does not exist: create it, or give --db another path", path.display())]
    NoFolder {
        /// The database.
        path: PathBuf,
    },
    /// There is nothing to read yet.
    #[error("{}: there is no result database here: run `facemill local` first, or name yours with --db", path.display())]
    NotFound {
        /// The database.
        path: PathBuf,
    },
    /// The path is a folder.
    #[error("{}: this is a folder, not a database: give --db the path of a file", path.display())]
    IsFolder {
        /// The database.
        path: PathBuf,
    },
    /// The file is something else altogether.
    #[error("{}: this is no SQLite database: give --db another path", path.display())]
    NotSqlite {
        /// The database.
        path: PathBuf,
    },
    /// The file is another program's SQLite database. It is left untouched.
    #[error("{}: this SQLite database belongs to another program: give --db another path", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The file was set up by another version of facemill. It is left untouched.
    #[error(
        "{}: this database has schema version {found}, this facemill reads version {expected}: \
         use the facemill that wrote it, or give --db another path", path.display()
    )]
    Version {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The schema version of this build.
        expected: i64,
    },
    /// The file or its folder does not let us in.
    #[error(
        "{}: cannot open the database ({cause}): check the permissions of the file and its folder \
         (SQLite keeps two more files beside it), or give --db another path", path.display()
    )]
    Denied {
        /// The database.
        path: PathBuf,
        /// What the system answered.
        cause: String,
    },
    /// Another process holds the file for longer than we wait.
    #[error("{}: another process has locked the database: try again when it is done", path.display())]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// The disk is full, broken, or the file is damaged.
    #[error(transparent)]
    Failed(#[from] PortError),
}

impl OpenError {
    /// Sorts what SQLite answered when it was asked to open this file.
    pub(super) fn new(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                OpenError::Denied { path, cause: error.to_string() }
            }
            Some(ErrorCode::NotADatabase) => OpenError::NotSqlite { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path },
            _ => OpenError::Failed(port_error(&path, error)),
        }
    }
}

/// Why stored rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No stored row belongs to this job.
    #[error("{}: no result of a job '{job}'; {}", path.display(), known_jobs(known))]
    UnknownJob {
        /// The database.
        path: PathBuf,
        /// The job that was asked for.
        job: String,
        /// Some of the jobs there are.
        known: Vec<String>,
    },
    /// A row does not hold what facemill writes.
    #[error("{}: the row of image {image_id} is not what facemill wrote: {cause}", path.display())]
    Row {
        /// The database.
        path: PathBuf,
        /// The row's key, in hexadecimal.
        image_id: String,
        /// What is wrong with it.
        cause: String,
    },
    /// SQLite could not read.
    #[error(transparent)]
    Failed(#[from] PortError),
}

fn known_jobs(known: &[String]) -> String {
    if known.is_empty() { "it holds no results yet".to_owned() } else { format!("it has: {}", known.join(", ")) }
}

/// Sorts what SQLite answered by what the runner shall do: wait, or stop and say why.
pub(super) fn port_error(path: &Path, error: &rusqlite::Error) -> PortError {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            PortError::Unavailable(format!("{path}: another process has locked the database; waiting for it"))
        }
        Some(ErrorCode::DiskFull) => PortError::Fatal(format!(
            "{path}: the disk is full; no stored row is lost: free space and run the same command again"
        )),
        Some(ErrorCode::SystemIoFailure) => PortError::Fatal(format!(
            "{path}: the disk failed ({error}); no stored row is lost: check it and its free space, \
             then run the same command again"
        )),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => PortError::Fatal(format!(
            "{path}: the database is damaged ({error}): keep a copy of it, save what can be read with \
             `sqlite3 {path} .recover`, and run again with another --db"
        )),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => PortError::Fatal(format!(
            "{path}: the database cannot be written ({error}); no stored row is lost: check that the file \
             and its folder are still there and writable, then run the same command again"
        )),
        _ => PortError::Fatal(format!("{path}: {error}")),
    }
}
