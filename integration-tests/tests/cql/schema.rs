use std::time::Duration;

use crate::{keyspace::Keyspace, program::start};

const APPLY: &str = "schema apply --yes --create-keyspace --replication-factor 1";

#[test]
#[ignore = "needs the stack: make it"]
fn nothing_is_changed_without_yes_and_nothing_is_left_to_do_after_it() {
    let keyspace = Keyspace::absent();
    let to_do = ["to create", "001_results", "to apply"];
    keyspace.run("schema diff").success().shows(&to_do);
    keyspace.run("schema diff --exit-code").with_code(1).shows(&to_do);
    keyspace.run("schema apply --yes").with_code(1).says(&["--create-keyspace", "cql.keyspace"]);
    keyspace.run("schema apply --create-keyspace --replication-factor 1").success().shows(&["nothing was changed"]);
    keyspace.run("schema diff --exit-code").with_code(1);
    let too_many = "schema apply --yes --create-keyspace --replication-factor 9";
    keyspace.run(too_many).with_code(1).says(&["datacenter1", "replication factor of 9"]);

    keyspace.run(APPLY).success().shows(&["created", "001_results", "applied now"]);
    keyspace.run("schema diff --exit-code").success().shows(&["there", "001_results", "applied 2"]);
    let again = keyspace.run("schema apply --yes").success();
    assert!(!again.stdout.contains("applied now"), "{again:?}");
    keyspace.run("schema apply").success().shows(&["nothing to do"]);
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn several_may_apply_at_once() {
    let keyspace = Keyspace::absent();
    for delay_ms in [0, 20, 60, 150, 300] {
        keyspace.execute("DROP KEYSPACE IF EXISTS KS").await;
        let apply = |n: u64| {
            std::thread::sleep(Duration::from_millis(n * delay_ms));
            start(keyspace.command(APPLY))
        };
        let started: Vec<_> = (0..4).map(apply).collect();
        for running in started {
            running.end().success();
        }
    }
    keyspace.run("schema diff --exit-code").success();
    let mut tables: Vec<String> =
        keyspace.cql("SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'KS'").await;
    tables.sort();
    assert_eq!(tables, ["jobs", "results", "results_by_job", "schema_migrations"]);
    keyspace.store().await;
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn a_migration_that_changed_after_it_was_applied_is_an_error() {
    let keyspace = Keyspace::new();
    keyspace.execute("UPDATE KS.schema_migrations SET sha256 = 'other' WHERE version = 1").await;
    for command in ["schema diff", "schema apply --yes"] {
        keyspace.run(command).with_code(1).says(&["001_results", "another text", "sha256 other"]);
    }
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn what_a_newer_facemill_applied_is_shown_and_left_alone() {
    let keyspace = Keyspace::new();
    keyspace
        .execute("INSERT INTO KS.schema_migrations (version, name, applied_at) VALUES (99, '099_later', 1700000000000)")
        .await;
    keyspace.run("schema diff --exit-code").success().shows(&["099_later", "by a newer facemill"]);
    keyspace.run("schema apply --yes").success().shows(&["099_later"]);
}
