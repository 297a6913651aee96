//! What can go wrong with the database, sorted by what is to be done, in words that say it.

use std::path::PathBuf;

use scylla::{
    errors::{
        ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError, MetadataError,
        NewSessionError, PrepareError, RequestAttemptError, UseKeyspaceError,
    },
    response::query_result::{IntoRowsResultError, MaybeFirstRowError, RowsError},
};

use crate::runner::ports::PortError;

/// Why the database cannot be used. It says what is wrong and how to mend it; no secret stands in it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No such consistency level.
    #[error(
        "cql.consistency = \"{0}\" is no level for reads and writes: use LOCAL_QUORUM, QUORUM, LOCAL_ONE, ONE, TWO, \
         THREE or ALL"
    )]
    Consistency(String),
    /// The password cannot be read.
    #[error("cannot read the password in {} ({cause}): check cql.password_file", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        cause: String,
    },
    /// The trusted certificates cannot be read.
    #[error("cannot use the certificates in {} ({cause}): check cql.tls_ca_file", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The system has no trusted certificates.
    #[error("the system's trusted certificates cannot be used ({cause}): name a file of your own with cql.tls_ca_file")]
    NoSystemCa {
        /// What the system answered.
        cause: String,
    },
    /// Nobody answers.
    #[error(
        "no CQL node answers at {contact_points} ({cause}): check that the database runs, cql.contact_points, the \
         network between, and that cql.tls and cql.tls_ca_file say what the nodes expect"
    )]
    Unreachable {
        /// Where we asked.
        contact_points: String,
        /// What the last one answered.
        cause: String,
    },
    /// Who we say we are is not believed.
    #[error(
        "the database at {contact_points} refuses the login{} ({cause}): check cql.username and cql.password_file",
        of_user(username.as_deref())
    )]
    Login {
        /// Where we asked.
        contact_points: String,
        /// Who we said we are.
        username: Option<String>,
        /// What it answered.
        cause: String,
    },
    /// No node is in the data centre.
    #[error("no node is in a data centre '{wanted}': set cql.datacenter to one of: {}", known.join(", "))]
    Datacenter {
        /// The configured one.
        wanted: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The keyspace is not there.
    #[error(
        "there is no keyspace '{keyspace}' ({}): check cql.keyspace, or make it with `facemill schema apply --yes \
         --create-keyspace --replication-factor 3`",
        there_are(known)
    )]
    NoKeyspace {
        /// The configured one.
        keyspace: String,
        /// Those that there are, the database's own left out.
        known: Vec<String>,
    },
    /// The tables are not there.
    #[error("keyspace '{keyspace}' has no tables of facemill yet: run `facemill schema apply --yes`")]
    NoSchema {
        /// The keyspace.
        keyspace: String,
    },
    /// The tables are those of an earlier program.
    #[error(
        "the tables in keyspace '{keyspace}' lack {missing}: see `facemill schema diff`, then run \
         `facemill schema apply --yes`"
    )]
    SchemaOlder {
        /// The keyspace.
        keyspace: String,
        /// The first migration that was not applied.
        missing: String,
    },
    /// The tables are those of a later program.
    #[error(
        "the tables in keyspace '{keyspace}' have schema version {found}, this facemill knows versions up to \
         {expected}: use a newer facemill (`facemill schema apply` of this one cannot help)"
    )]
    SchemaNewer {
        /// The keyspace.
        keyspace: String,
        /// The version there.
        found: i32,
        /// The version of this build.
        expected: i32,
    },
    /// A request failed.
    #[error(transparent)]
    Failed(#[from] PortError),
}

fn of_user(username: Option<&str>) -> String {
    username.map_or_else(|| " without a name".to_owned(), |name| format!(" of '{name}'"))
}

fn there_are(known: &[String]) -> String {
    if known.is_empty() { "there is none yet".to_owned() } else { format!("there are: {}", known.join(", ")) }
}

impl ConnectError {
    /// Sorts why no session came about.
    pub(super) fn new(contact_points: &[String], username: Option<&str>, error: &NewSessionError) -> Self {
        let contact_points = contact_points.join(", ");
        let connection = match error {
            NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
                last_connection_error,
                ..
            })) => Some(last_connection_error),
            _ => None,
        };
        let cause = match (connection, error) {
            (Some(connection), _) => connection.to_string(),
            (None, NewSessionError::FailedToResolveAnyHostname(_)) => "the name cannot be resolved".to_owned(),
            (None, error) => error.to_string(),
        };
        match connection.and_then(setup_error) {
            Some(ConnectionSetupRequestErrorKind::MissingAuthentication) => ConnectError::Login {
                contact_points,
                username: None,
                cause: "it asks for a name and a password".to_owned(),
            },
            Some(ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, message)) => {
                ConnectError::Login { contact_points, username: username.map(str::to_owned), cause: message.clone() }
            }
            _ => ConnectError::Unreachable { contact_points, cause },
        }
    }
}

/// Why the schema cannot be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A migration that was applied is not the one that this program has.
    #[error(
        "{name} was applied with another text than this facemill has (sha256 {applied} there, {ours} here): an applied \
         migration is never changed; use the facemill that applied it, or put the file back and add a new migration"
    )]
    Changed {
        /// The migration.
        name: String,
        /// The sum that was noted.
        applied: String,
        /// The sum of this program's file.
        ours: String,
    },
    /// The data centre for the replicas is not clear.
    #[error("the nodes are in several data centres: set cql.datacenter to one of: {}", .0.join(", "))]
    WhichDatacenter(Vec<String>),
    /// More replicas than nodes.
    #[error("data centre '{datacenter}' has {nodes} node(s): a replication factor of {wanted} needs as many nodes")]
    TooFewNodes {
        /// The data centre.
        datacenter: String,
        /// Its nodes.
        nodes: usize,
        /// The replicas that were asked for.
        wanted: u32,
    },
    /// A request failed.
    #[error(transparent)]
    Failed(#[from] PortError),
}

/// Why stored rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No stored row belongs to this job.
    #[error("keyspace '{keyspace}' has no result of a job '{job}'; {}", known_jobs(known))]
    UnknownJob {
        /// The keyspace.
        keyspace: String,
        /// The job that was asked for.
        job: String,
        /// Some of the jobs there are.
        known: Vec<String>,
    },
    /// A row does not hold what facemill writes.
    #[error("the row of image {image_id} in keyspace '{keyspace}' is not what facemill wrote: {cause}")]
    Row {
        /// The keyspace.
        keyspace: String,
        /// The row's key, in hexadecimal.
        image_id: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A request failed.
    #[error(transparent)]
    Failed(#[from] PortError),
}

fn known_jobs(known: &[String]) -> String {
    if known.is_empty() { "it holds no results yet".to_owned() } else { format!("it has: {}", known.join(", ")) }
}

/// What the driver may answer to a request, in one type to sort.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    #[error(transparent)]
    NotRows(#[from] IntoRowsResultError),
    #[error(transparent)]
    Rows(#[from] RowsError),
    #[error(transparent)]
    FirstRow(#[from] MaybeFirstRowError),
    #[error(transparent)]
    Row(#[from] scylla::errors::DeserializationError),
}

impl From<PrepareError> for RequestError {
    fn from(error: PrepareError) -> Self {
        RequestError::Execution(error.into())
    }
}

impl From<UseKeyspaceError> for RequestError {
    fn from(error: UseKeyspaceError) -> Self {
        RequestError::Execution(error.into())
    }
}

const TABLES: &str = "check the tables with `facemill schema diff`, then start again";
const RIGHTS: &str = "grant this user SELECT and MODIFY on the keyspace, then start again";
const LOGIN: &str = "check cql.username and cql.password_file, then start again";
const AGAIN: &str = "start again";

/// Sorts by what the runner shall do: wait, or stop and say why.
pub(super) fn port_error(error: impl Into<RequestError>) -> PortError {
    let error = error.into();
    match remedy(&error) {
        None => PortError::Unavailable(format!("the result store does not do it now: {error}")),
        Some(remedy) => PortError::Fatal(format!("the result store refuses: {error}; {remedy}")),
    }
}

/// What kind of trouble it is, for metrics.
pub(super) fn kind(error: &RequestError) -> &'static str {
    let RequestError::Execution(error) = error else { return "other" };
    match error {
        ExecutionError::RequestTimeout(_) => "timeout",
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => match error {
            DbError::ReadTimeout { .. } | DbError::WriteTimeout { .. } => "timeout",
            DbError::Unavailable { .. } | DbError::IsBootstrapping => "unavailable",
            DbError::Overloaded | DbError::RateLimitReached { .. } => "overloaded",
            _ => "other",
        },
        ExecutionError::LastAttemptError(RequestAttemptError::BrokenConnectionError(_))
        | ExecutionError::ConnectionPoolError(_)
        | ExecutionError::EmptyPlan => "unavailable",
        ExecutionError::LastAttemptError(RequestAttemptError::UnableToAllocStreamId) => "overloaded",
        _ => "other",
    }
}

/// What a person must do; `None` for what may pass by itself.
///
/// In doubt it may pass: waiting is seen in the log and ends when somebody mends the cause, while stopping needs
/// somebody in any case.
fn remedy(error: &RequestError) -> Option<&'static str> {
    match error {
        RequestError::Execution(error) => execution(error),
        // The columns are not what the statements were written for.
        RequestError::NotRows(IntoRowsResultError::ResultNotRows(_))
        | RequestError::Rows(_)
        | RequestError::FirstRow(_)
        | RequestError::Row(_) => Some(TABLES),
        RequestError::NotRows(_) => None,
    }
}

fn execution(error: &ExecutionError) -> Option<&'static str> {
    match error {
        // A value that the column cannot take.
        ExecutionError::BadQuery(_) => Some(TABLES),
        ExecutionError::LastAttemptError(error) => attempt(error),
        ExecutionError::PrepareError(PrepareError::AllAttemptsFailed { first_attempt }) => attempt(first_attempt),
        ExecutionError::PrepareError(PrepareError::ConnectionPoolError(error))
        | ExecutionError::ConnectionPoolError(error) => pool(error),
        ExecutionError::UseKeyspaceError(UseKeyspaceError::RequestError(error)) => attempt(error),
        ExecutionError::UseKeyspaceError(
            UseKeyspaceError::BadKeyspaceName(_) | UseKeyspaceError::KeyspaceNameMismatch { .. },
        ) => Some(TABLES),
        // Time-outs, nodes that differ among each other for now, nobody connected.
        _ => None,
    }
}

fn attempt(error: &RequestAttemptError) -> Option<&'static str> {
    match error {
        RequestAttemptError::DbError(error, message) => database(error, message),
        RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => Some(TABLES),
        // The statement means something else since a table was changed: only preparing it anew helps.
        RequestAttemptError::RepreparedIdChanged { .. } => Some(AGAIN),
        // Lost connections, and answers that make no sense.
        _ => None,
    }
}

fn pool(error: &ConnectionPoolError) -> Option<&'static str> {
    let ConnectionPoolError::Broken { last_connection_error, .. } = error else { return None };
    match setup_error(last_connection_error)? {
        ConnectionSetupRequestErrorKind::DbError(error @ DbError::AuthenticationError, message) => {
            database(error, message)
        }
        ConnectionSetupRequestErrorKind::MissingAuthentication => Some(LOGIN),
        _ => None,
    }
}

fn setup_error(error: &ConnectionError) -> Option<&ConnectionSetupRequestErrorKind> {
    match error {
        ConnectionError::ConnectionSetupRequestError(error) => Some(&error.error),
        _ => None,
    }
}

fn database(error: &DbError, message: &str) -> Option<&'static str> {
    // Where the tables of users and rights cannot be read just now, Cassandra answers with the code of a wrong login
    // or a missing right, and these words.
    let cannot_tell = message.contains("Unable to perform");
    match error {
        DbError::SyntaxError | DbError::Invalid | DbError::FunctionFailure { .. } | DbError::ConfigError => {
            Some(TABLES)
        }
        DbError::AuthenticationError if !cannot_tell => Some(LOGIN),
        DbError::Unauthorized if !cannot_tell => Some(RIGHTS),
        // Unavailable, Overloaded, IsBootstrapping, time-outs and failures of replicas, rate limits, what the server
        // calls its own error, and codes of the future.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc, time::Duration};

    use scylla::{
        errors::{BrokenConnectionError, BrokenConnectionErrorKind, WriteType},
        statement::Consistency,
    };

    use super::*;

    fn from_database(error: DbError, message: &str) -> ExecutionError {
        RequestAttemptError::DbError(error, message.to_owned()).into()
    }

    fn lost() -> BrokenConnectionError {
        BrokenConnectionErrorKind::ChannelError.into()
    }

    #[test]
    fn what_may_pass_is_waited_for() {
        let consistency = Consistency::LocalQuorum;
        let unavailable = DbError::Unavailable { consistency, required: 2, alive: 1 };
        let write_type = WriteType::Simple;
        let write_timeout = DbError::WriteTimeout { consistency, received: 1, required: 2, write_type };
        let write_type = WriteType::Simple;
        let write_failure = DbError::WriteFailure { consistency, received: 1, required: 2, numfailures: 1, write_type };
        let read_timeout = DbError::ReadTimeout { consistency, received: 1, required: 2, data_present: false };
        let read_failure =
            DbError::ReadFailure { consistency, received: 1, required: 2, numfailures: 1, data_present: false };
        let refused = ConnectionError::IoError(Arc::new(io::ErrorKind::ConnectionRefused.into()));
        let mut errors: Vec<ExecutionError> = [
            unavailable,
            write_timeout,
            write_failure,
            read_timeout,
            read_failure,
            DbError::Overloaded,
            DbError::IsBootstrapping,
            DbError::TruncateError,
            DbError::ServerError,
            DbError::ProtocolError,
            DbError::Other(0x1700),
        ]
        .into_iter()
        .map(|error| from_database(error, "just now"))
        .collect();
        errors.extend([
            ExecutionError::RequestTimeout(Duration::from_secs(5)),
            ExecutionError::EmptyPlan,
            RequestAttemptError::BrokenConnectionError(lost()).into(),
            RequestAttemptError::UnableToAllocStreamId.into(),
            ConnectionPoolError::Initializing.into(),
            ConnectionPoolError::Broken { last_connection_error: refused }.into(),
            PrepareError::PreparedStatementIdsMismatch.into(),
            from_database(
                DbError::Unauthorized,
                "Unable to perform authorization of permissions: Cannot achieve consistency level LOCAL_ONE",
            ),
            from_database(DbError::AuthenticationError, "Unable to perform authentication: Operation timed out"),
        ]);
        let kinds: Vec<_> = errors.iter().map(|error| kind(&error.clone().into())).collect();
        for wanted in ["timeout", "unavailable", "overloaded", "other"] {
            assert!(kinds.contains(&wanted), "{wanted}");
        }
        for error in errors {
            let error = port_error(error);
            assert!(matches!(error, PortError::Unavailable(_)), "{error:?}");
        }
    }

    #[test]
    fn what_needs_a_person_stops_with_what_to_do() {
        let reprepared = RequestAttemptError::RepreparedIdChanged {
            statement: "INSERT".to_owned(),
            expected_id: vec![1],
            reprepared_id: vec![2],
        };
        let in_prepare = PrepareError::AllAttemptsFailed {
            first_attempt: RequestAttemptError::DbError(DbError::Invalid, "unconfigured table results".to_owned()),
        };
        let cases: [(ExecutionError, &str); 7] = [
            (from_database(DbError::Invalid, "unconfigured table results"), "schema diff"),
            (from_database(DbError::SyntaxError, "line 1"), "schema diff"),
            (from_database(DbError::ConfigError, "no such option"), "schema diff"),
            (from_database(DbError::Unauthorized, "User ann has no MODIFY permission"), "grant"),
            (from_database(DbError::AuthenticationError, "Provided username ann is incorrect"), "cql.password_file"),
            (reprepared.into(), "start again"),
            (in_prepare.into(), "schema diff"),
        ];
        for (error, says) in cases {
            let error = port_error(error);
            assert!(matches!(error, PortError::Fatal(_)) && error.to_string().contains(says), "{error:?}");
        }
    }
}
