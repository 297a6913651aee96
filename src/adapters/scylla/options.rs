//! What a connection needs to know.

use std::{path::PathBuf, time::Duration};

use super::JobBuckets;

/// Where the database is and how it is to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct ScyllaOptions {
    /// Nodes to ask first, as `HOST` or `HOST:PORT`; they tell of the others.
    pub contact_points: Vec<String>,
    /// The keyspace that holds the tables.
    pub keyspace: String,
    /// The data centre whose nodes are asked; without it, all.
    pub datacenter: Option<String>,
    /// The consistency level of reads and writes, by its name.
    pub consistency: String,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// Who we are, where the database asks.
    pub login: Option<Login>,
    /// How connections are encrypted, if they are.
    pub tls: Option<TlsOptions>,
    /// Buckets of each job that is written.
    pub job_buckets: JobBuckets,
}

/// A user and the file with the password. The password is read when connecting, and never kept or printed.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password, and perhaps a line end.
    pub password_file: PathBuf,
}

/// Encrypted connections.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsOptions {
    /// The certificates that are trusted, as PEM; without it, the system's.
    pub ca_file: Option<PathBuf>,
}
