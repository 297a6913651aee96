//! `facemill topics` against real brokers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)] // tests

#[path = "../support/program.rs"]
mod program;

use std::{collections::BTreeSet, env, fs, process::Command, time::Duration};

use facemill::{
    adapters::kafka::{KafkaOptions, Secret, admin::Admin},
    topics::{ActualTopic, Cluster},
};
use program::{Ended, clean, finish, start};
use tempfile::TempDir;

fn brokers() -> String {
    env::var("FACEMILL_TEST_KAFKA").expect("FACEMILL_TEST_KAFKA=HOST:PORT says where Kafka answers; `make it` sets it")
}

/// Topics of a test's own: a folder that declares them, and a prefix that no other has.
struct Declared {
    folder: TempDir,
    prefix: String,
}

impl Declared {
    fn new(test: &str) -> Self {
        let prefix = format!("test-{test}-{}.", std::process::id());
        Declared { folder: tempfile::tempdir().unwrap(), prefix }
    }

    fn topic(&self, name: &str, keyed: bool, partitions: u32, config: &str) {
        let text = format!(
            "{{name: {name}, description: d, keyed: {keyed}, producers: [fetch], consumers: [anyone], \
             partitions: {partitions}, replicas: 1, config: {{{config}}}}}"
        );
        fs::write(self.folder.path().join(format!("{name}.yaml")), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = clean(&integration_tests::facemill().unwrap());
        command.arg("topics").args(arguments).arg("--dir").arg(self.folder.path());
        command.args(["--set", &format!("kafka.brokers={}", brokers())]);
        command.args(["--set", &format!("kafka.topic_prefix={}", self.prefix)]);
        command
    }

    fn run(&self, arguments: &[&str]) -> (bool, String) {
        told(finish(self.command(arguments)))
    }

    fn admin(&self) -> Admin {
        let options = KafkaOptions { properties: vec![("bootstrap.servers".to_owned(), Secret(brokers()))] };
        Admin::connect(&options, Duration::from_secs(10)).unwrap()
    }

    /// The topic as the brokers have it.
    async fn actual(&self, name: &str) -> ActualTopic {
        let name = format!("{}{name}", self.prefix);
        let Cluster { mut topics, .. } = self.admin().cluster(&BTreeSet::from([name.clone()])).await.unwrap();
        topics.remove(&name).unwrap()
    }
}

fn told(ended: Ended) -> (bool, String) {
    (ended.status.success(), ended.stdout + &ended.stderr)
}

fn value<'a>(topic: &'a ActualTopic, name: &str) -> &'a str {
    &topic.config[name].value
}

#[test]
#[ignore = "needs the stack: make it"]
fn apply_creates_from_two_places_at_once_and_then_has_nothing_to_do() {
    let declared = Declared::new("twice");
    for name in ["a", "b", "c"] {
        declared.topic(name, true, 4, "retention.ms: 60000");
    }
    let (ok, text) = declared.run(&["apply"]);
    assert!(ok && text.contains("a: create with 4 partitions") && text.contains("nothing was changed"), "{text}");
    let (ok, text) = declared.run(&["diff", "--exit-code"]);
    assert!(!ok && text.contains("c: create"), "a dry run changes nothing: {text}");
    let running: Vec<_> = (0..3).map(|_| start(declared.command(&["apply", "--yes"]))).collect();
    for running in running {
        let (ok, text) = told(running.end());
        assert!(ok, "{text}");
    }
    let (ok, text) = declared.run(&["diff", "--exit-code"]);
    assert!(ok && text == "The topics are as declared.\n", "{text}");
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn drift_is_mended_and_what_others_set_is_kept() {
    let declared = Declared::new("drift");
    declared.topic("a", true, 1, "retention.ms: 60000, segment.bytes: 1048576");
    assert!(declared.run(&["apply", "--yes"]).0);
    let name = format!("{}a", declared.prefix);
    declared.admin().set_config(&name, &[("retention.ms", "5"), ("flush.messages", "7")]).await.unwrap();
    let (ok, text) = declared.run(&["diff", "--exit-code"]);
    assert!(!ok && text.contains("set retention.ms: 5 -> 60000") && text.contains("has flush.messages = 7"), "{text}");
    assert!(declared.run(&["apply", "--yes"]).0);
    let actual = declared.actual("a").await;
    let values = ["retention.ms", "segment.bytes", "flush.messages"].map(|name| value(&actual, name));
    assert_eq!(values, ["60000", "1048576", "7"]);
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn what_an_operator_raised_is_lowered_only_when_somebody_says_so() {
    let declared = Declared::new("lower");
    declared.topic("a", false, 1, "retention.ms: 60000, max.message.bytes: 2000000");
    assert!(declared.run(&["apply", "--yes"]).0);
    let name = format!("{}a", declared.prefix);
    declared.admin().set_config(&name, &[("retention.ms", "-1"), ("max.message.bytes", "3000000")]).await.unwrap();
    let (ok, text) = declared.run(&["apply", "--yes"]);
    assert!(!ok && text.contains("lower retention.ms from -1 to 60000") && text.contains("--allow-lower"), "{text}");
    assert_eq!(value(&declared.actual("a").await, "max.message.bytes"), "3000000");
    let (ok, text) = declared.run(&["apply", "--yes", "--keep-higher"]);
    assert!(ok && text.contains("lower retention.ms from -1 to 60000"), "{text}");
    assert_eq!(value(&declared.actual("a").await, "max.message.bytes"), "3000000");
    assert!(declared.run(&["apply", "--yes", "--allow-lower"]).0);
    let actual = declared.actual("a").await;
    assert_eq!(["retention.ms", "max.message.bytes"].map(|name| value(&actual, name)), ["60000", "2000000"]);
}

#[tokio::test]
#[ignore = "needs the stack: make it"]
async fn partitions_are_added_with_care_and_never_taken_away() {
    let declared = Declared::new("partitions");
    declared.topic("keyed", true, 2, "");
    declared.topic("free", false, 2, "");
    assert!(declared.run(&["apply", "--yes"]).0);
    declared.topic("keyed", true, 3, "");
    declared.topic("free", false, 3, "");
    let (ok, text) = declared.run(&["apply", "--yes"]);
    assert!(!ok && text.contains("--allow-repartition"), "{text}");
    assert_eq!((declared.actual("keyed").await.partitions, declared.actual("free").await.partitions), (2, 3));
    assert!(declared.run(&["apply", "--yes", "--allow-repartition"]).0);
    let (ok, text) = declared.run(&["apply", "--yes", "--allow-repartition", "--partitions", "1"]);
    assert!(!ok && text.contains("Kafka takes none away"), "{text}");
    assert_eq!((declared.actual("keyed").await.partitions, declared.actual("free").await.partitions), (3, 3));
}

#[test]
#[ignore = "needs the stack: make it"]
fn what_the_brokers_refuse_is_an_error_that_names_the_topic() {
    let declared = Declared::new("refused");
    declared.topic("a", false, 1, "no.such.thing: 1");
    let (ok, text) = declared.run(&["apply", "--yes"]);
    assert!(!ok && text.contains("cannot create topic") && text.contains("refused"), "{text}");
    declared.topic("a", false, 1, "retention.ms: 60000");
    assert!(declared.run(&["apply", "--yes"]).0);
    // The brokers' refusal to alter is not told to us: it is seen.
    declared.topic("a", false, 1, "retention.ms: -7");
    let (ok, text) = declared.run(&["apply", "--yes", "--timeout", "2s"]);
    assert!(!ok && text.contains("still differ"), "{text}");
    let (ok, text) = declared.run(&["apply", "--yes", "--replicas", "100"]);
    assert!(!ok && text.contains("100 replicas"), "{text}");
}
