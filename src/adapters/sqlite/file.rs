//! Whose file it is, found out before SQLite opens it.
//!
//! Opening another program's database could already change it: SQLite rolls back a journal that a crash left
//! behind, and removes a write-ahead log at closing. So the first hundred bytes are read by hand
//! (<https://www.sqlite.org/fileformat2.html#the_database_header>). For our own files they are always
//! current: the identity is written once, before the file is switched to write-ahead logging.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use super::error::OpenError;

/// Marks a SQLite file as facemill's: "fcml" in ASCII.
pub(super) const APPLICATION_ID: i64 = 0x6663_6d6c;

/// Counts changes of the tables that an older facemill cannot read.
pub(super) const SCHEMA_VERSION: i64 = 1;

const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;

/// What stands at a path where a result database may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No file, or an empty one.
    Nothing,
    /// A database of ours, of this schema version.
    Ours,
}

/// The path as SQLite shall get it: absolute, so that no name is special to it (`:memory:`, `file:…`).
pub(super) fn absolute(path: &Path) -> Result<PathBuf, OpenError> {
    std::path::absolute(path).map_err(|error| OpenError::Denied { path: path.to_owned(), cause: error.to_string() })
}

/// Looks at the file without changing it or anything beside it.
///
/// # Errors
/// When the path cannot hold a result database of ours.
pub(super) fn inspect(path: &Path) -> Result<Found, OpenError> {
    let denied = |error: std::io::Error| OpenError::Denied { path: path.to_owned(), cause: error.to_string() };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return if path.parent().is_some_and(Path::is_dir) {
                Ok(Found::Nothing)
            } else {
                Err(OpenError::NoFolder { path: path.to_owned() })
            };
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(OpenError::NoFolder { path: path.to_owned() });
        }
        Err(error) => return Err(denied(error)),
    };
    if metadata.is_dir() {
        return Err(OpenError::IsFolder { path: path.to_owned() });
    }
    if !metadata.is_file() {
        // Reading a pipe or a device could wait for ever.
        return Err(OpenError::NotSqlite { path: path.to_owned() });
    }
    let mut header = Vec::with_capacity(HEADER_BYTES);
    let limit = u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut header)).map_err(denied)?;
    if header.is_empty() {
        return Ok(Found::Nothing);
    }
    if !header.starts_with(MAGIC) {
        return Err(OpenError::NotSqlite { path: path.to_owned() });
    }
    match (integer(&header, APPLICATION_ID_AT), integer(&header, USER_VERSION_AT)) {
        (Some(application_id), Some(version)) => check_identity(path, application_id, version),
        _ => Err(OpenError::NotSqlite { path: path.to_owned() }),
    }
}

/// Whether these two integers of the header are those of a database of ours.
pub(super) fn check_identity(path: &Path, application_id: i64, version: i64) -> Result<Found, OpenError> {
    let path = path.to_owned();
    match (application_id, version) {
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(Found::Ours),
        (APPLICATION_ID, found) => Err(OpenError::Version { path, found, expected: SCHEMA_VERSION }),
        _ => Err(OpenError::Foreign { path }),
    }
}

/// A signed big-endian 32-bit integer of the header.
fn integer(header: &[u8], at: usize) -> Option<i64> {
    let bytes = header.get(at..)?.first_chunk()?;
    Some(i64::from(i32::from_be_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_database_is_a_clear_error_that_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("notes.txt");
        fs::write(&text, "not a database, whatever its length may be".repeat(10)).unwrap();
        let short = folder.path().join("short.db");
        fs::write(&short, MAGIC).unwrap();

        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();

        type Expected = fn(&OpenError) -> bool;
        let cases: [(PathBuf, Expected); 6] = [
            (folder.path().to_owned(), |error| matches!(error, OpenError::IsFolder { .. })),
            (folder.path().join("missing/x.db"), |error| matches!(error, OpenError::NoFolder { .. })),
            (text.join("x.db"), |error| matches!(error, OpenError::NoFolder { .. })),
            (text.clone(), |error| matches!(error, OpenError::NotSqlite { .. })),
            (short, |error| matches!(error, OpenError::NotSqlite { .. })),
            (socket, |error| matches!(error, OpenError::NotSqlite { .. })),
        ];
        for (path, expected) in cases {
            let error = inspect(&path).unwrap_err();
            assert!(expected(&error), "{}: {error:?}", path.display());
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_missing_or_empty_file_is_free_to_use() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(inspect(&folder.path().join("new.db")).unwrap(), Found::Nothing);
        let empty = folder.path().join("empty.db");
        fs::write(&empty, "").unwrap();
        assert_eq!(inspect(&empty).unwrap(), Found::Nothing);
    }

    #[test]
    fn no_name_is_special() {
        for name in [":memory:", "file:x.db?mode=memory", "facemill.db"] {
            let path = absolute(Path::new(name)).unwrap();
            assert!(path.is_absolute() && path.ends_with(name), "{}", path.display());
        }
        assert!(matches!(absolute(Path::new("")), Err(OpenError::Denied { .. })));
    }
}
