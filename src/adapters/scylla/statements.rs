//! Every statement on our tables, and the few on the database's own.
//!
//! None needs a filter, a lock or a counter; each may be sent twice.

use scylla::{
    client::session::Session,
    statement::{Consistency, Statement, prepared::PreparedStatement},
    value::CqlTimestamp,
};

use super::{
    error::{RequestError, port_error},
    migration::{Applied, Migration, NOTES},
};
use crate::{domain::Timestamp, runner::ports::PortError};

/// The one partition of the table of jobs.
pub(super) const JOBS_PART: i32 = 0;

/// The keyspace's name as statements have it: in quotes, so that it is taken as it is configured.
pub(super) fn quoted(keyspace: &str) -> String {
    format!("\"{}\"", keyspace.replace('"', "\"\""))
}

/// What the write side sends.
pub(super) struct WriteStatements {
    pub settled: PreparedStatement,
    pub result: PreparedStatement,
    pub result_of_job: PreparedStatement,
    pub job: PreparedStatement,
}

impl WriteStatements {
    pub(super) async fn prepare(session: &Session, keyspace: &str) -> Result<Self, PortError> {
        let ks = quoted(keyspace);
        Ok(WriteStatements {
            settled: prepare(
                session,
                &format!("SELECT result, WRITETIME(result) FROM {ks}.results WHERE image_id = ?"),
            )
            .await?,
            result: prepare(session, &insert_result(&ks)).await?,
            result_of_job: prepare(
                session,
                &format!("INSERT INTO {ks}.results_by_job (job, bucket, image_id) VALUES (?, ?, ?)"),
            )
            .await?,
            job: prepare(session, &format!("INSERT INTO {ks}.jobs (part, job, buckets) VALUES (?, ?, ?)")).await?,
        })
    }
}

/// One cell, at a time that carries the rank of the outcome.
fn insert_result(ks: &str) -> String {
    format!("INSERT INTO {ks}.results (image_id, result) VALUES (?, ?) USING TIMESTAMP ?")
}

/// What the read side sends.
pub(super) struct ReadStatements {
    pub result: PreparedStatement,
    pub results: PreparedStatement,
    pub ids_of_job: PreparedStatement,
    pub buckets_of_job: PreparedStatement,
    pub jobs: PreparedStatement,
}

impl ReadStatements {
    pub(super) async fn prepare(session: &Session, keyspace: &str) -> Result<Self, PortError> {
        let ks = quoted(keyspace);
        let mut results = prepare(
            session,
            &format!("SELECT image_id, result FROM {ks}.results WHERE token(image_id) >= ? AND token(image_id) <= ?"),
        )
        .await?;
        // Of a few kilobytes each.
        results.set_page_size(500);
        Ok(ReadStatements {
            result: prepare(session, &format!("SELECT result FROM {ks}.results WHERE image_id = ?")).await?,
            results,
            ids_of_job: prepare(
                session,
                &format!("SELECT image_id FROM {ks}.results_by_job WHERE job = ? AND bucket = ?"),
            )
            .await?,
            buckets_of_job: prepare(session, &format!("SELECT buckets FROM {ks}.jobs WHERE part = ? AND job = ?"))
                .await?,
            jobs: prepare(session, &format!("SELECT job FROM {ks}.jobs WHERE part = ? LIMIT 100")).await?,
        })
    }
}

async fn prepare(session: &Session, text: &str) -> Result<PreparedStatement, PortError> {
    let mut statement = Box::pin(session.prepare(text)).await.map_err(port_error)?;
    statement.set_is_idempotent(true);
    Ok(statement)
}

/// The names of all keyspaces.
pub(super) async fn keyspaces(session: &Session) -> Result<Vec<String>, PortError> {
    let rows: Vec<(String,)> =
        query(session, local("SELECT keyspace_name FROM system_schema.keyspaces"), ()).await.map_err(port_error)?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

/// Whether the keyspace has this table.
pub(super) async fn table_exists(session: &Session, keyspace: &str, table: &str) -> Result<bool, PortError> {
    let tables = local("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?");
    let rows: Vec<(String,)> = query(session, tables, (keyspace, table)).await.map_err(port_error)?;
    Ok(!rows.is_empty())
}

/// What the keyspace notes as applied.
pub(super) async fn applied(session: &Session, keyspace: &str) -> Result<Vec<Applied>, PortError> {
    type Note = (i32, Option<String>, Option<String>, Option<CqlTimestamp>);
    let notes = format!("SELECT version, name, sha256, applied_at FROM {}.{NOTES}", quoted(keyspace));
    let rows: Vec<Note> = query(session, Statement::new(notes), ()).await.map_err(port_error)?;
    let applied = |(version, name, sha256, at): Note| Applied {
        version,
        name: name.unwrap_or_default(),
        sha256: sha256.unwrap_or_default(),
        applied_at: Timestamp::from_micros(at.map_or(0, |CqlTimestamp(millis)| millis.saturating_mul(1000))),
    };
    Ok(rows.into_iter().map(applied).collect())
}

/// Notes that a migration is applied. Two places that note the same one agree on all but the time.
pub(super) async fn note_applied(session: &Session, keyspace: &str, migration: &Migration) -> Result<(), PortError> {
    let insert =
        format!("INSERT INTO {}.{NOTES} (version, name, sha256, applied_at) VALUES (?, ?, ?, ?)", quoted(keyspace));
    let now = CqlTimestamp(Timestamp::now().as_micros() / 1000);
    let values = (migration.version, migration.name, migration.sha256(), now);
    let mut statement = Statement::new(insert);
    statement.set_is_idempotent(true);
    Box::pin(session.query_unpaged(statement, values)).await.map(|_| ()).map_err(port_error)
}

/// Whether this user may write to the tables. Neither connecting nor preparing tells, and there is no question that
/// every database answers: so it deletes, as of the first microsecond of 1970, what nobody wrote by then.
///
/// # Errors
/// When the database refuses. One that cannot answer now is another matter, and no error here.
pub(super) async fn check_rights(session: &Session, keyspace: &str) -> Result<(), PortError> {
    let ks = quoted(keyspace);
    for key in [
        "results USING TIMESTAMP 1 WHERE image_id = 0x00",
        "results_by_job USING TIMESTAMP 1 WHERE job = '-' AND bucket = 0 AND image_id = 0x00",
        "jobs USING TIMESTAMP 1 WHERE part = 0 AND job = '-' AND buckets = 0",
    ] {
        let mut statement = Statement::new(format!("DELETE FROM {ks}.{key}"));
        statement.set_is_idempotent(true);
        let answer = Box::pin(session.query_unpaged(statement, ())).await.map_err(port_error);
        if let Err(PortError::Fatal(refused)) = answer {
            return Err(PortError::Fatal(refused));
        }
    }
    Ok(())
}

/// A statement on the tables that every node has for itself.
fn local(text: &str) -> Statement {
    let mut statement = Statement::new(text);
    statement.set_consistency(Consistency::One);
    statement
}

/// All rows of a small answer.
async fn query<R>(
    session: &Session,
    mut statement: Statement,
    values: impl scylla::serialize::row::SerializeRow,
) -> Result<Vec<R>, RequestError>
where
    R: for<'row> scylla::deserialize::row::DeserializeRow<'row, 'row>,
{
    statement.set_is_idempotent(true);
    let result = Box::pin(session.query_unpaged(statement, values)).await?.into_rows_result()?;
    let rows = result.rows::<R>()?.collect::<Result<Vec<R>, _>>()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspace_is_taken_as_it_is_configured() {
        assert_eq!(quoted("Face_mill2"), "\"Face_mill2\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn the_whole_outcome_is_one_cell_at_its_own_timestamp() {
        let insert = insert_result("ks");
        assert!(
            insert.contains("(image_id, result) VALUES (?, ?)") && insert.ends_with("USING TIMESTAMP ?"),
            "{insert}"
        );
    }

    #[test]
    fn no_statement_filters_locks_or_counts() {
        let source = include_str!("statements.rs").split("#[cfg(test)]").next().unwrap().to_uppercase();
        for word in ["ALLOW FILTERING", " IF NOT EXISTS", " IF EXISTS", "COUNTER SET", "BATCH"] {
            assert!(!source.contains(word), "{word}");
        }
    }
}
