//! Making the keyspace and its tables.

use std::{future::Future, sync::Arc, time::Duration};

use scylla::{
    client::session::Session,
    errors::{DbError, ExecutionError, RequestAttemptError},
    policies::load_balancing::{LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy},
    statement::Statement,
};
use tokio::time::sleep;

use super::{
    ConnectError, Migration, SchemaError, ScyllaOptions, Step,
    error::port_error,
    migration::{self, steps},
    session::{connect, datacenters},
    statements::{applied, keyspaces, note_applied, quoted, table_exists},
};
use crate::runner::{RetryPolicy, ports::PortError};

/// A change of the schema goes through every node, which takes longer than a write.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Attempts at one request: every one of them may be sent twice.
const ATTEMPTS: u32 = 5;

/// What a keyspace lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Whether the keyspace is there.
    pub keyspace_exists: bool,
    /// The migrations in their order.
    pub steps: Vec<Step>,
}

/// Looks at the tables and makes them. Several may do so at once.
pub struct SchemaAdmin {
    session: Session,
    keyspace: String,
    datacenter: Option<String>,
}

impl SchemaAdmin {
    /// Connects; neither keyspace nor tables need to be there.
    ///
    /// # Errors
    /// When nobody answers, the login is refused or the data centre is unknown.
    pub async fn connect(options: &ScyllaOptions) -> Result<Self, ConnectError> {
        let session = connect(options).await?;
        Ok(SchemaAdmin { session, keyspace: options.keyspace.clone(), datacenter: options.datacenter.clone() })
    }

    /// What is there and what is to be done.
    ///
    /// # Errors
    /// When a migration was applied with another text, and when reading fails.
    pub async fn plan(&self) -> Result<Plan, SchemaError> {
        let keyspace_exists = keyspaces(&self.session).await?.contains(&self.keyspace);
        let applied = if keyspace_exists && table_exists(&self.session, &self.keyspace, migration::NOTES).await? {
            insist(|| applied(&self.session, &self.keyspace)).await?
        } else {
            Vec::new()
        };
        Ok(Plan { keyspace_exists, steps: steps(&applied)? })
    }

    /// Makes the keyspace with this many replicas in the configured data centre, or in the only one.
    ///
    /// # Errors
    /// When it is not clear in which, when the data centre has fewer nodes, and when the database refuses.
    pub async fn create_keyspace(&self, replicas: u32) -> Result<(), SchemaError> {
        let datacenter = match (&self.datacenter, datacenters(&self.session).as_slice()) {
            (Some(datacenter), _) => datacenter.clone(),
            (None, [only]) => only.clone(),
            (None, several) => return Err(SchemaError::WhichDatacenter(several.to_vec())),
        };
        let state = self.session.get_cluster_state();
        let nodes = state.get_nodes_info().iter().filter(|node| node.datacenter.as_ref() == Some(&datacenter)).count();
        if usize::try_from(replicas).is_ok_and(|replicas| replicas > nodes) {
            return Err(SchemaError::TooFewNodes { datacenter, nodes, wanted: replicas });
        }
        self.change(&create_keyspace(&self.keyspace, &datacenter, replicas)).await?;
        Ok(())
    }

    /// Applies one migration and notes it. What is there already is left as it is.
    ///
    /// # Errors
    /// When the database refuses, or does not get it done in time.
    pub async fn apply(&self, migration: &Migration) -> Result<(), SchemaError> {
        insist(|| async { Box::pin(self.session.use_keyspace(&self.keyspace, true)).await.map_err(port_error) })
            .await?;
        for statement in migration.statements() {
            self.change(&statement).await?;
        }
        // A node may not have heard of the table yet that another one has just made.
        insist(|| note_applied(&self.session, &self.keyspace, migration)).await?;
        Ok(())
    }

    /// Runs one statement that changes the schema, and waits until all nodes agree on it.
    async fn change(&self, text: &str) -> Result<(), PortError> {
        insist(|| async {
            let mut statement = Statement::new(text);
            statement.set_is_idempotent(true);
            statement.set_request_timeout(Some(CHANGE_TIMEOUT));
            // Chosen anew each time: the node may have gone.
            statement.set_load_balancing_policy(self.first_node());
            match Box::pin(self.session.query_unpaged(statement, ())).await {
                Err(error) if !exists(&error) => Err(port_error(error)),
                _ => Ok(()),
            }
        })
        .await
    }

    /// One node that everybody chooses: two that create the same table through two nodes of a Cassandra at once
    /// get two tables of one name.
    fn first_node(&self) -> Option<Arc<dyn LoadBalancingPolicy>> {
        let state = self.session.get_cluster_state();
        let connected = state.get_nodes_info().iter().filter(|node| node.is_connected());
        let first = connected.map(|node| node.host_id).min()?;
        Some(SingleTargetLoadBalancingPolicy::new(NodeIdentifier::HostId(first), None))
    }
}

/// Asks a few times, whatever the answer: what somebody else makes at this moment is listed before it can be used, and
/// the answer is then that there is no such keyspace or table.
async fn insist<T, F: Future<Output = Result<T, PortError>>>(ask: impl Fn() -> F) -> Result<T, PortError> {
    for attempt in 1..ATTEMPTS {
        match ask().await {
            Err(_) => sleep(RetryPolicy::INFRASTRUCTURE.delay(attempt + 2)).await,
            answer => return answer,
        }
    }
    ask().await
}

/// Whether somebody else made it between the question and the answer.
fn exists(error: &ExecutionError) -> bool {
    matches!(error, ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::AlreadyExists { .. }, _)))
}

fn create_keyspace(keyspace: &str, datacenter: &str, replicas: u32) -> String {
    let (keyspace, datacenter) = (quoted(keyspace), datacenter.replace('\'', "''"));
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} \
         WITH replication = {{'class': 'NetworkTopologyStrategy', '{datacenter}': {replicas}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspace_is_made_once_with_its_replicas_in_the_data_centre() {
        assert_eq!(
            create_keyspace("facemill", "dc1", 3),
            "CREATE KEYSPACE IF NOT EXISTS \"facemill\" \
             WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}"
        );
        assert!(create_keyspace("k", "o'dc", 1).contains("'o''dc': 1"));
    }

    #[test]
    fn what_exists_already_is_no_error() {
        let exists_already = DbError::AlreadyExists { keyspace: "k".to_owned(), table: "t".to_owned() };
        let error = |error| ExecutionError::from(RequestAttemptError::DbError(error, String::new()));
        assert!(exists(&error(exists_already)));
        assert!(!exists(&error(DbError::Invalid)));
    }
}
