use facemill::{
    domain::{MAX_JOB_BYTES, Reason, ResultRow, Settled},
    runner::ports::{PortError, ResultStore},
};

use crate::keyspace::{Keyspace, detected, row};

/// The stored row, read past facemill.
async fn stored(keyspace: &Keyspace, row: &ResultRow) -> ResultRow {
    let select = format!("SELECT result FROM KS.results WHERE image_id = 0x{}", row.image_id);
    let cells: Vec<String> = keyspace.cql(&select).await;
    serde_json::from_str(&cells[0]).unwrap()
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn what_was_written_is_settled_with_its_reason_epoch_and_fingerprint() {
    let keyspace = Keyspace::new();
    let store = keyspace.store().await;
    for (n, reason) in [(1, None), (2, Some(Reason::NotAnImage)), (3, Some(Reason::TotalTimeout))] {
        let row = row(n, "cats", reason, 5);
        assert_eq!(store.settled(&row.image_id).await.unwrap(), None);
        store.write(&row).await.unwrap();
        let expected = Settled {
            reason,
            epoch: row.pipeline.epoch,
            fingerprint: "print".to_owned(),
            write_timestamp: row.write_timestamp(),
        };
        assert_eq!(store.settled(&row.image_id).await.unwrap(), Some(expected));
        assert_eq!(stored(&keyspace, &row).await, row);
    }
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn a_worse_outcome_never_replaces_a_better_one_in_whatever_order_they_come() {
    let keyspace = Keyspace::new();
    let store = keyspace.store().await;
    let outcomes = [Some(Reason::TotalTimeout), Some(Reason::NotAnImage), None];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (n, order) in (0..).zip(orders) {
        for outcome in order {
            store.write(&row(n, "cats", outcomes[outcome], 0)).await.unwrap();
        }
        assert_eq!(stored(&keyspace, &detected(n, "cats")).await.reason, None, "{order:?}");
    }
    let (permanent, transient) = (outcomes[1], outcomes[0]);
    store.write(&row(7, "cats", permanent, 0)).await.unwrap();
    store.write(&row(7, "cats", transient, 0)).await.unwrap();
    assert_eq!(stored(&keyspace, &detected(7, "cats")).await.reason, permanent);
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn a_raised_epoch_replaces_even_a_success() {
    let keyspace = Keyspace::new();
    let store = keyspace.store().await;
    store.write(&detected(1, "cats")).await.unwrap();
    let again = row(1, "cats", Some(Reason::TotalTimeout), 2_000);
    store.write(&again).await.unwrap();
    assert_eq!(stored(&keyspace, &again).await, again);
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn of_two_attempts_at_the_same_timestamp_one_stays_and_never_a_mixture() {
    let keyspace = Keyspace::new();
    let columns: Vec<String> = keyspace
        .cql("SELECT column_name FROM system_schema.columns WHERE keyspace_name = 'KS' AND table_name = 'results'")
        .await;
    assert_eq!(columns, ["image_id", "result"], "the outcome is one cell");
    let store = keyspace.store().await;
    for n in 0..20 {
        let attempts = [row(n, "cats", Some(Reason::DnsFailed), 0), row(n, "cats", Some(Reason::TotalTimeout), 0)];
        let (first, second) = tokio::join!(store.write(&attempts[0]), store.write(&attempts[1]));
        first.and(second).unwrap();
        let stored = stored(&keyspace, &attempts[0]).await;
        assert!(attempts.contains(&stored), "{stored:?}");
    }
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn every_write_and_every_join_is_noted_under_its_job_and_bucket() {
    let keyspace = Keyspace::new();
    let store = keyspace.store().await;
    let row = detected(1, "cats");
    store.write(&row).await.unwrap();
    for _ in 0..2 {
        store.join("dogs", &row.image_id).await.unwrap();
    }
    let bucket = row.image_id.as_bytes()[0] >> 4;
    for job in ["cats", "dogs"] {
        let ids: Vec<Vec<u8>> = keyspace
            .cql(&format!("SELECT image_id FROM KS.results_by_job WHERE job = '{job}' AND bucket = {bucket}"))
            .await;
        assert_eq!(ids, [row.image_id.as_bytes()]);
        let buckets: Vec<i32> =
            keyspace.cql(&format!("SELECT buckets FROM KS.jobs WHERE part = 0 AND job = '{job}'")).await;
        assert_eq!(buckets, [16]);
    }
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn a_name_of_a_job_cannot_stop_the_pipeline() {
    let keyspace = Keyspace::new();
    let store = keyspace.store().await;
    for (n, job) in (0..).zip([String::new(), "x".repeat(MAX_JOB_BYTES), "a'; DROP TABLE results; --".to_owned()]) {
        store.write(&detected(n, &job)).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn a_table_that_is_gone_stops_with_what_to_do() {
    let keyspace = Keyspace::new();
    let store = keyspace.store().await;
    store.write(&detected(1, "cats")).await.unwrap();
    keyspace.execute("DROP TABLE KS.results").await;
    let error = store.write(&detected(1, "cats")).await.unwrap_err();
    assert!(matches!(error, PortError::Fatal(_)) && error.to_string().contains("facemill schema diff"), "{error:?}");
}
