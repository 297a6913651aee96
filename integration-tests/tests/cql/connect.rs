use facemill::adapters::scylla::{ConnectError, ScyllaOptions, ScyllaStore};

use crate::keyspace::{DATACENTER, Keyspace};

async fn refused(options: &ScyllaOptions) -> ConnectError {
    ScyllaStore::connect(options, std::sync::Arc::default()).await.err().expect("refused")
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn what_is_not_as_it_must_be_is_named_with_what_to_do() {
    let keyspace = Keyspace::absent();
    let options = keyspace.options();

    let error = refused(&options).await;
    assert!(matches!(&error, ConnectError::NoKeyspace { .. }), "{error:?}");
    assert!(error.to_string().contains(&keyspace.0) && error.to_string().contains("--create-keyspace"), "{error}");

    let elsewhere = ScyllaOptions { datacenter: Some("dc9".to_owned()), ..options.clone() };
    let error = refused(&elsewhere).await;
    assert!(error.to_string().contains("'dc9'") && error.to_string().contains(DATACENTER), "{error}");

    let nobody = ScyllaOptions { contact_points: vec!["127.0.0.1:1".to_owned()], ..options.clone() };
    let error = refused(&nobody).await;
    assert!(matches!(&error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:1") && error.to_string().contains("cql.contact_points"), "{error}");

    let no_name = ScyllaOptions { contact_points: vec!["no-such-host.invalid:9042".to_owned()], ..options };
    let error = refused(&no_name).await;
    assert!(error.to_string().contains("no-such-host.invalid") && error.to_string().contains("resolved"), "{error}");
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn tables_of_another_version_are_refused() {
    let keyspace = Keyspace::new();
    let options = keyspace.options();

    let version = |version: i32| format!("INSERT INTO KS.schema_migrations (version, name) VALUES ({version}, 'x')");
    keyspace.execute(&version(99)).await;
    let error = refused(&options).await;
    assert!(matches!(&error, ConnectError::SchemaNewer { found: 99, .. }), "{error:?}");
    keyspace.run("export --store cql").with_code(1).says(&["schema version 99", "newer facemill"]);

    keyspace.execute("DELETE FROM KS.schema_migrations WHERE version = 99").await;
    keyspace.execute("DELETE FROM KS.schema_migrations WHERE version = 1").await;
    keyspace.execute(&version(0)).await;
    let error = refused(&options).await;
    assert!(matches!(&error, ConnectError::SchemaOlder { .. }), "{error:?}");
    assert!(error.to_string().contains("facemill schema apply"), "{error}");

    keyspace.execute("DROP TABLE KS.schema_migrations").await;
    let error = refused(&options).await;
    assert!(matches!(&error, ConnectError::NoSchema { .. }), "{error:?}");
    assert!(error.to_string().contains("facemill schema apply"), "{error}");
}
