//! The result store of a cluster, against a real database: Cassandra, or ScyllaDB.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)] // tests

mod connect;
mod export;
mod keyspace;
mod outage;
#[path = "../support/program.rs"]
mod program;
mod schema;
mod store;
