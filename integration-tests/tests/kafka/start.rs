use std::collections::BTreeSet;

use serde_json::Value;

use crate::{cluster::Cluster, program::text};

const SOON: &str = "run --stage fetch,preprocess,detect --set kafka.start_timeout=2s --set http.listen=127.0.0.1:0";

/// Asserts that `facemill run` ends and `facemill check` fails, and that both say all this.
#[track_caller]
fn is_named(cluster: &Cluster, words: &str, parts: &[&str]) {
    let run = cluster.facemill(&format!("{SOON} {words}")).with_code(1).says(parts);
    assert!(run.took.as_secs() < 30, "{words}: {:?}", run.took);
    let check = cluster.facemill(&format!("check --timeout 2s {words}")).with_code(1).stdout;
    let is_named = |line: &str| line.starts_with("FAILED") && parts.iter().all(|part| line.contains(part));
    assert!(check.lines().any(is_named), "{parts:?} fails not in: {check}");
}

#[test]
#[ignore = "needs the stack: make it"]
fn what_is_missing_is_named_with_what_to_do_at_the_start_and_by_check() {
    let cluster = Cluster::new("start");
    let is_named = |words, parts| is_named(&cluster, words, parts);
    cluster.facemill("check").success();
    let anonymous = "--set fetch.allow_networks=[]";
    let parts = ["fetch.user_agent", "such as", "ops@example.org"];
    cluster.facemill(&format!("{SOON} {anonymous}")).with_code(2).says(&parts);
    cluster.facemill(&format!("check {anonymous}")).with_code(1).shows(&["FAILED", "fetch.user_agent"]);
    cluster.facemill(&format!("check {anonymous} --set fetch.user_agent=a@example.org")).success();
    is_named("--set kafka.brokers=127.0.0.1:1", &["broker of '127.0.0.1:1' answer", "check kafka.brokers"]);
    is_named(
        "--set kafka.topic_prefix=nobodys.",
        &["the topic 'nobodys.", "is not there", "facemill topics apply --yes"],
    );
    let results = format!("--alter --topic {} --add-config max.message.bytes=", cluster.topic("results"));
    cluster.kafka("configs", &format!("{results}65536"), b"");
    is_named("", &["results' takes at most 65536 bytes", "max.message.bytes", "facemill topics diff"]);
    cluster.kafka("configs", &format!("{results}4194304"), b"");
    is_named(
        "-X message.max.bytes=2000000",
        &["message.max.bytes in kafka.config (or -X)", "none of more than 2000000"],
    );
    is_named("--set cql.keyspace=nobodys", &["there is no keyspace 'nobodys'", "facemill schema apply --yes"]);
    is_named("--set cql.datacenter=moon", &["no node is in a data centre 'moon'", "datacenter1"]);
    is_named(
        "--set cql.contact_points=[\"127.0.0.1:1\"]",
        &["no CQL node answers at 127.0.0.1:1", "cql.contact_points"],
    );

    let migrations = format!("{}.schema_migrations", cluster.keyspace);
    cluster.cql(&format!("INSERT INTO {migrations} (version, name) VALUES (99, '099_later')"));
    is_named("", &["schema version 99", "use a newer facemill"]);
    cluster.cql(&format!("DELETE FROM {migrations} WHERE version IN (1, 99)"));
    cluster.cql(&format!("INSERT INTO {migrations} (version, name) VALUES (0, '000_older')"));
    is_named("", &["lack 001_results", "facemill schema apply --yes"]);
    cluster.cql(&format!("DROP TABLE {migrations}"));
    is_named("", &["has no tables of facemill yet", "facemill schema apply --yes"]);
}

#[test]
#[ignore = "needs the stack: make it"]
fn check_prints_one_object_for_programs() {
    let cluster = Cluster::new("check");
    let check = |words: &str, code: i32| -> Vec<[String; 3]> {
        let printed = cluster.facemill(&format!("check -o json {words}")).with_code(code).stdout;
        let mut object: serde_json::Map<String, Value> = serde_json::from_str(&printed).unwrap();
        assert_eq!(object.remove("ok"), Some((code == 0).into()));
        let findings = object.remove("findings").unwrap();
        assert!(object.is_empty(), "{object:?}");
        let finding = |finding: &Value| {
            assert_eq!(finding.as_object().unwrap().len(), 3, "{finding}");
            ["name", "state", "detail"].map(|key| text(&finding[key]).to_owned())
        };
        findings.as_array().unwrap().iter().map(finding).collect()
    };
    let findings = check("", 0);
    let names: BTreeSet<&str> = findings.iter().map(|[name, ..]| name.as_str()).collect();
    let expected = ["brokers", "configuration", "database", "group", "model", "producer", "topic"];
    assert_eq!(names, BTreeSet::from(expected));
    // The topics have other partitions than their files say.
    assert!(findings.iter().all(|[name, state, _]| state == if name == "topic" { "warning" } else { "ok" }));

    let findings = check("--set cql.keyspace=nobodys", 1);
    let failed: Vec<_> = findings.iter().filter(|[_, state, _]| state == "failed").collect();
    assert!(matches!(&failed[..], [[name, _, detail]] if name == "database" && detail.contains("'nobodys'")));
}
