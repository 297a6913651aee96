//! SQLite: the embedded result store, one file that any SQLite tool can query.
//!
//! [`SqliteStore`] is the write side, [`SqliteReader`] the read side; both may be open on one file at once,
//! in one process or in several.

mod error;
mod file;
mod reader;
mod schema;
mod store;
mod summary;

pub use error::{OpenError, ReadError};
pub use reader::SqliteReader;
pub use store::SqliteStore;
pub use summary::{LatencyByStage, Percentiles, StatusCounts, Summary};

#[cfg(test)]
pub(crate) mod fixtures;
