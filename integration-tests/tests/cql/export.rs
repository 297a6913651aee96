use facemill::{
    adapters::scylla::{JobBuckets, ScyllaOptions, ScyllaStore},
    domain::{Reason, ResultRow, Status},
    runner::ports::ResultStore,
};

use crate::keyspace::{Keyspace, detected, row};

async fn write(store: &ScyllaStore, rows: &[ResultRow]) {
    for rows in rows.chunks(64) {
        let writes: Vec<_> = rows.iter().map(|row| store.write(row)).collect();
        for write in futures_util::future::join_all(writes).await {
            write.unwrap();
        }
    }
}

fn sorted(mut rows: Vec<ResultRow>) -> Vec<ResultRow> {
    rows.sort_by_key(|row| row.image_id);
    rows
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn an_export_is_what_was_written_over_several_pages_and_buckets() {
    let keyspace = Keyspace::new();
    let cats = sorted((0..6_000).map(|n| detected(n, "cats")).collect());
    // More than a page in one bucket.
    let one = ScyllaOptions { job_buckets: JobBuckets::new(1).unwrap(), ..keyspace.options() };
    write(&ScyllaStore::connect(&one, std::sync::Arc::default()).await.unwrap(), &cats).await;
    let mut dogs: Vec<_> = (10_000..10_300).map(|n| detected(n, "dogs")).collect();
    dogs.extend((10_300..10_400).map(|n| row(n, "dogs", Some(Reason::NotAnImage), 0)));
    write(&keyspace.store().await, &dogs).await;

    assert_eq!(keyspace.rows("--job cats"), cats, "in the order of the ids");
    assert_eq!(keyspace.rows("--job dogs"), sorted(dogs.clone()));
    let failed = keyspace.rows("--job dogs --status failed");
    assert!(failed.len() == 100 && failed.iter().all(|row| row.status == Status::Failed));
    let all = sorted(keyspace.rows(""));
    assert!(all == sorted([cats, dogs].concat()), "{} rows", all.len());

    let csv = keyspace.run("export --store cql --job dogs --format csv").success();
    assert_eq!(csv.stdout.lines().count(), 401);
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn a_job_that_was_written_into_different_numbers_of_buckets_is_read_whole_and_once() {
    let keyspace = Keyspace::new();
    let rows = sorted((0..200).map(|n| detected(n, "cats")).collect());
    for (count, some) in [(4, 0..120), (64, 80..200)] {
        let options = ScyllaOptions { job_buckets: JobBuckets::new(count).unwrap(), ..keyspace.options() };
        write(&ScyllaStore::connect(&options, std::sync::Arc::default()).await.unwrap(), &rows[some]).await;
    }
    assert_eq!(keyspace.rows("--job cats"), rows);
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn a_job_that_joined_has_the_rows_under_its_own_name_and_unknown_jobs_are_an_error() {
    let keyspace = Keyspace::new();
    keyspace.run("export --store cql --job cats").with_code(1).says(&["'cats'", "no results yet"]);
    let store = keyspace.store().await;
    let row = detected(1, "cats");
    store.write(&row).await.unwrap();
    store.join("dogs", &row.image_id).await.unwrap();
    // An id whose row is not there yet.
    store.join("dogs", &detected(2, "").image_id).await.unwrap();
    let expected = ResultRow { job: "dogs".to_owned(), ..row };
    assert_eq!(keyspace.rows("--job dogs"), [expected]);

    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.jsonl");
    keyspace
        .run(&format!("export --store cql --job cast --output {}", output.display()))
        .with_code(1)
        .says(&["'cast'", "cats, dogs"]);
    assert!(!output.exists());
}
