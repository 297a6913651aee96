//! ScyllaDB or Apache Cassandra: the result store of a cluster.
//!
//! [`ScyllaStore`] is the write side, [`ScyllaReader`] the read side, [`SchemaAdmin`] makes the tables that both need.

mod bucket;
mod error;
mod migration;
mod options;
mod reader;
mod rows;
mod schema;
mod session;
mod statements;
mod store;
mod tls;

pub use bucket::JobBuckets;
pub use error::{ConnectError, ReadError, SchemaError};
pub use migration::{Migration, State, Step};
pub use options::{Login, ScyllaOptions, TlsOptions};
pub use reader::ScyllaReader;
pub use schema::{Plan, SchemaAdmin};
pub use store::ScyllaStore;
