//! Connecting, and what is checked before anything else is done.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    policies::{load_balancing::DefaultPolicy, retry::FallthroughRetryPolicy},
    statement::Consistency,
};
use tokio::time::timeout;

use super::{
    ConnectError, ScyllaOptions,
    migration::{self, Applied, MIGRATIONS},
    statements::{applied, keyspaces, table_exists},
    tls,
};

/// How long connecting may take in all: the driver waits for ever for a node that accepts and says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects and checks that the configured data centre exists. No keyspace is needed for this.
pub(super) async fn connect(options: &ScyllaOptions) -> Result<Session, ConnectError> {
    let consistency = consistency(&options.consistency)?;
    let mut policy = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
    if let Some(datacenter) = &options.datacenter {
        policy = policy.prefer_datacenter(datacenter.clone());
    }
    // Nothing is tried again by the driver: who asks decides, and waits between attempts.
    let profile = ExecutionProfile::builder()
        .consistency(consistency)
        .request_timeout(Some(options.request_timeout))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .load_balancing_policy(policy.build())
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.contact_points)
        .keyspaces_to_fetch([&options.keyspace])
        .default_execution_profile_handle(profile.into_handle());
    if let Some(login) = &options.login {
        let path = &login.password_file;
        let password = std::fs::read_to_string(path)
            .map_err(|error| ConnectError::PasswordFile { path: path.clone(), cause: error.to_string() })?;
        builder = builder.user(&login.username, password.trim_end_matches(['\r', '\n']));
    }
    if let Some(options) = &options.tls {
        builder = builder.tls_context(Some(tls::config(options)?));
    }
    let username = options.login.as_ref().map(|login| login.username.as_str());
    let session = match timeout(CONNECT_TIMEOUT, Box::pin(builder.build())).await {
        Ok(session) => session.map_err(|error| ConnectError::new(&options.contact_points, username, &error))?,
        Err(_) => {
            return Err(ConnectError::Unreachable {
                contact_points: options.contact_points.join(", "),
                cause: format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            });
        }
    };
    if let Some(wanted) = &options.datacenter {
        let known = datacenters(&session);
        if !known.contains(wanted) {
            return Err(ConnectError::Datacenter { wanted: wanted.clone(), known });
        }
    }
    Ok(session)
}

/// Connects and checks that the tables are there, and those that this program knows.
pub(super) async fn connect_to_tables(options: &ScyllaOptions) -> Result<Session, ConnectError> {
    let session = connect(options).await?;
    let keyspace = &options.keyspace;
    let known = keyspaces(&session).await?;
    if !known.contains(keyspace) {
        let known = known.into_iter().filter(|name| !name.starts_with("system")).collect();
        return Err(ConnectError::NoKeyspace { keyspace: keyspace.clone(), known });
    }
    if !table_exists(&session, keyspace, migration::NOTES).await? {
        return Err(ConnectError::NoSchema { keyspace: keyspace.clone() });
    }
    check_version(keyspace, &applied(&session, keyspace).await?)?;
    Ok(session)
}

/// Whether the tables are those of this program.
fn check_version(keyspace: &str, applied: &[Applied]) -> Result<(), ConnectError> {
    let keyspace = keyspace.to_owned();
    if applied.is_empty() {
        return Err(ConnectError::NoSchema { keyspace });
    }
    let expected = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    let found = applied.iter().map(|applied| applied.version).max().unwrap_or_default();
    if found > expected {
        return Err(ConnectError::SchemaNewer { keyspace, found, expected });
    }
    let is_missing = |version: i32| applied.iter().all(|applied| applied.version != version);
    match MIGRATIONS.iter().find(|migration| is_missing(migration.version)) {
        Some(missing) => Err(ConnectError::SchemaOlder { keyspace, missing: missing.name.to_owned() }),
        None => Ok(()),
    }
}

/// The data centres that the nodes are in.
pub(super) fn datacenters(session: &Session) -> Vec<String> {
    let state = session.get_cluster_state();
    let names: BTreeSet<_> = state.get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
    names.into_iter().collect()
}

/// The levels that both a read and a write may have.
fn consistency(name: &str) -> Result<Consistency, ConnectError> {
    Ok(match name.to_ascii_uppercase().as_str() {
        "LOCAL_QUORUM" => Consistency::LocalQuorum,
        "QUORUM" => Consistency::Quorum,
        "LOCAL_ONE" => Consistency::LocalOne,
        "ONE" => Consistency::One,
        "TWO" => Consistency::Two,
        "THREE" => Consistency::Three,
        "ALL" => Consistency::All,
        _ => return Err(ConnectError::Consistency(name.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        adapters::scylla::{JobBuckets, Login},
        domain::Timestamp,
    };

    fn noted(versions: &[i32]) -> Vec<Applied> {
        let note = |version: &i32| Applied {
            version: *version,
            name: format!("{version:03}_x"),
            sha256: String::new(),
            applied_at: Timestamp::from_micros(0),
        };
        versions.iter().map(note).collect()
    }

    #[test]
    fn tables_of_another_version_are_refused_with_what_to_do() {
        let known: Vec<i32> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert!(check_version("k", &noted(&known)).is_ok());
        let error = |versions: &[i32]| check_version("k", &noted(versions)).unwrap_err();
        assert!(matches!(error(&[]), ConnectError::NoSchema { .. }));
        let newer = known.iter().copied().chain([99]).collect::<Vec<_>>();
        assert!(matches!(error(&newer), ConnectError::SchemaNewer { found: 99, .. }));
        let older = error(&[0]);
        assert!(older.to_string().contains("facemill schema apply") && older.to_string().contains("001_results"));
    }

    #[test]
    fn levels_are_known_by_their_names() {
        assert_eq!(consistency("LOCAL_QUORUM").unwrap(), Consistency::LocalQuorum);
        assert_eq!(consistency("one").unwrap(), Consistency::One);
        for name in ["", "SERIAL", "ANY", "EACH_QUORUM", "LOCAL QUORUM"] {
            assert!(consistency(name).unwrap_err().to_string().contains("LOCAL_QUORUM"), "{name}");
        }
    }

    /// A node that asks for a password and refuses each: the handshake of CQL v4, and no more.
    async fn refuse_logins(mut client: TcpStream) -> std::io::Result<()> {
        const STARTUP: u8 = 0x01;
        const OPTIONS: u8 = 0x05;
        const REGISTER: u8 = 0x0b;
        loop {
            let mut header = [0; 9];
            client.read_exact(&mut header).await?;
            let [_, _, stream_high, stream_low, opcode, length @ ..] = header;
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            client.read_exact(&mut body).await?;
            let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
            let (answer, body) = match opcode {
                OPTIONS => (0x06, vec![0, 0]),
                STARTUP => (0x03, text("org.apache.cassandra.auth.PasswordAuthenticator")),
                REGISTER => (0x02, vec![]),
                _ => (0x00, [&0x0100_u32.to_be_bytes()[..], &text("Provided username ann is incorrect")].concat()),
            };
            let length = (body.len() as u32).to_be_bytes();
            let header = [0x84, 0, stream_high, stream_low, answer];
            client.write_all(&[&header[..], &length, &body].concat()).await?;
        }
    }

    fn options(address: &str) -> ScyllaOptions {
        ScyllaOptions {
            contact_points: vec![address.to_owned()],
            keyspace: "k".to_owned(),
            datacenter: None,
            consistency: "ONE".to_owned(),
            request_timeout: Duration::from_secs(5),
            login: None,
            tls: None,
            job_buckets: JobBuckets::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_accepts_and_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let error = timeout(Duration::from_secs(60), connect(&options(&address))).await.unwrap().unwrap_err();
        assert!(matches!(&error, ConnectError::Unreachable { .. }) && error.to_string().contains(&address), "{error}");
    }

    #[tokio::test]
    async fn a_refused_login_is_named_without_the_password() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(refuse_logins(client));
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let password_file = folder.path().join("password");
        let mut options = options(&address);
        let without = connect(&options).await.unwrap_err();
        assert!(matches!(&without, ConnectError::Login { username: None, .. }), "{without:?}");

        options.login = Some(Login { username: "ann".to_owned(), password_file: password_file.clone() });
        let absent = connect(&options).await.unwrap_err().to_string();
        assert!(absent.contains("cql.password_file") && absent.contains("password"), "{absent}");

        std::fs::write(&password_file, "hunter2\n").unwrap();
        let wrong = connect(&options).await.unwrap_err();
        assert!(matches!(&wrong, ConnectError::Login { .. }), "{wrong:?}");
        let told = format!("{wrong} {wrong:?} {options:?}");
        assert!(told.contains(&address) && told.contains("'ann'") && !told.contains("hunter2"), "{told}");
    }
}
