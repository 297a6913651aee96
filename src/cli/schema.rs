//! `facemill schema`: the tables in ScyllaDB or Cassandra.

use std::{
    future::Future,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, Subcommand, value_parser};

use super::{CliError, ConfigArgs, cql::scylla_options};
use crate::{
    adapters::scylla::{ConnectError, Plan, SchemaAdmin, SchemaError, State},
    config::CqlSettings,
};

/// Show or make the tables in ScyllaDB or Cassandra
///
/// The tables are made by migrations, numbered files of CQL that are part of the program. The keyspace notes which of
/// them it has. Applying is safe to repeat, and to run in several places at once; it only adds, and never removes.
#[derive(Debug, Args)]
pub(super) struct SchemaCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Diff(DiffArgs),
    Apply(ApplyArgs),
}

/// Print each migration, applied or to apply; changes nothing
#[derive(Debug, Args)]
struct DiffArgs {
    /// Exit with 1 if something is to be applied
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Apply what is to be applied; without --yes only say what that is
#[derive(Debug, Args)]
struct ApplyArgs {
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Make the keyspace if it is not there, replicated in the data centre of cql.datacenter or the only one
    #[arg(long, requires = "replication_factor")]
    create_keyspace: bool,
    /// Copies of every row that a new keyspace keeps: 3 in production, 1 on one node
    #[arg(long, value_name = "N", requires = "create_keyspace", value_parser = value_parser!(u32).range(1..))]
    replication_factor: Option<u32>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Why the schema was not shown or not applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaCommandError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(
        "there is no keyspace '{0}': add --create-keyspace --replication-factor 3 (1 on a single node), or check \
         cql.keyspace"
    )]
    NoKeyspace(String),
}

pub(super) fn run(command: &SchemaCommand) -> Result<ExitCode, CliError> {
    match &command.action {
        Action::Diff(args) => {
            let settings = args.config.load()?.settings.cql;
            let something = block_on(diff(&settings))?;
            Ok(if something && args.exit_code { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Action::Apply(args) => {
            let settings = args.config.load()?.settings.cql;
            block_on(apply(&settings, args))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
    runtime.block_on(work)
}

/// Prints what is there; whether something is to be done.
async fn diff(settings: &CqlSettings) -> Result<bool, CliError> {
    let admin = SchemaAdmin::connect(&scylla_options(settings)).await.map_err(SchemaCommandError::from)?;
    let plan = admin.plan().await.map_err(SchemaCommandError::from)?;
    let keyspace = if plan.keyspace_exists { "there" } else { "to create (--create-keyspace)" };
    print(&described(&settings.keyspace, keyspace, &plan))?;
    Ok(has_work(&plan))
}

async fn apply(settings: &CqlSettings, args: &ApplyArgs) -> Result<(), CliError> {
    let admin = SchemaAdmin::connect(&scylla_options(settings)).await.map_err(SchemaCommandError::from)?;
    let plan = admin.plan().await.map_err(SchemaCommandError::from)?;
    let keyspace = &settings.keyspace;
    let replicas = match (plan.keyspace_exists, args.replication_factor) {
        (true, _) => None,
        (false, Some(replicas)) => Some(replicas),
        (false, None) => return Err(SchemaCommandError::NoKeyspace(keyspace.clone()).into()),
    };
    if !args.yes {
        let state = replicas.map_or("there".to_owned(), |replicas| format!("to create with {replicas} replica(s)"));
        print(&described(keyspace, &state, &plan))?;
        let hint = if has_work(&plan) { "nothing was changed: --yes applies this" } else { "nothing to do" };
        return print(&format!("{hint}\n"));
    }
    if let Some(replicas) = replicas {
        admin.create_keyspace(replicas).await.map_err(SchemaCommandError::from)?;
        print(&format!("{:<24} created with {replicas} replica(s)\n", label(keyspace)))?;
    }
    for step in &plan.steps {
        match &step.state {
            State::Pending(migration) => {
                admin.apply(migration).await.map_err(SchemaCommandError::from)?;
                print(&format!("{:<24} applied now\n", step.name))?;
            }
            State::Applied(_) | State::Newer(_) => print(&format!("{step}\n"))?,
        }
    }
    Ok(())
}

fn has_work(plan: &Plan) -> bool {
    !plan.keyspace_exists || plan.steps.iter().any(|step| matches!(step.state, State::Pending(_)))
}

/// One line for the keyspace and one for each migration.
fn described(keyspace: &str, state: &str, plan: &Plan) -> String {
    let steps: String = plan.steps.iter().map(|step| format!("{step}\n")).collect();
    format!("{:<24} {state}\n{steps}", label(keyspace))
}

fn label(keyspace: &str) -> String {
    format!("keyspace {keyspace}")
}

fn print(text: &str) -> Result<(), CliError> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        // Whoever went away has seen enough; what was begun is finished.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        schema: SchemaCommand,
    }

    fn parses(line: &str) -> bool {
        CommandLine::try_parse_from(format!("schema {line}").split_whitespace()).is_ok()
    }

    #[test]
    fn a_keyspace_is_only_made_with_a_replication_factor() {
        assert!(parses("apply --create-keyspace --replication-factor 3"));
        assert!(!parses("apply --create-keyspace"));
        assert!(!parses("apply --replication-factor 3"));
        assert!(!parses("apply --create-keyspace --replication-factor 0"));
        assert!(parses("diff --exit-code --set cql.keyspace=x") && !parses("diff --yes"));
    }

    #[test]
    fn a_plan_is_one_line_for_the_keyspace_and_one_for_each_migration() {
        let plan = Plan { keyspace_exists: true, steps: vec![] };
        assert_eq!(described("faces", "there", &plan), "keyspace faces           there\n");
        assert!(!has_work(&plan) && has_work(&Plan { keyspace_exists: false, ..plan }));
    }
}
