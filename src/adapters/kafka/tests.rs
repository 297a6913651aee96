//! Against librdkafka's own brokers in memory (`rd_kafka_mock_cluster`): the client and its protocol are real.

use std::{sync::Arc, time::Duration};

use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext, types::RDKafkaRespErr};
use tokio::time::timeout;

use super::*;
use crate::{
    domain::{Facts, Reason, Record, Timestamp},
    runner::ports::{Commit, Delivery, Event, PortError, Publish, Source},
    telemetry::{Health, KafkaMetrics},
};

pub(super) const TOPIC: &str = "facemill.urls";
/// Until something that comes must have come. A rebalance of the mock takes up to 20 s on two busy cores.
pub(super) const SOON: Duration = Duration::from_secs(60);

pub(super) struct Brokers(pub(super) MockCluster<'static, DefaultProducerContext>);

impl Brokers {
    pub(super) fn new(partitions: i32) -> Self {
        Self::of(1, partitions)
    }

    pub(super) fn of(brokers: i32, partitions: i32) -> Self {
        let cluster = MockCluster::new(brokers).unwrap();
        cluster.create_topic(TOPIC, partitions, 1).unwrap();
        Brokers(cluster)
    }

    pub(super) fn options(&self) -> KafkaOptions {
        let property = |name: &str, value: &str| (name.to_owned(), Secret(value.to_owned()));
        let properties = vec![
            property("bootstrap.servers", &self.0.bootstrap_servers()),
            property("session.timeout.ms", "6000"),
            property("heartbeat.interval.ms", "200"),
            property("reconnect.backoff.max.ms", "200"),
        ];
        KafkaOptions { properties }
    }

    fn producer(&self) -> KafkaProducer {
        KafkaProducer::new(&self.options(), Arc::default(), Arc::default()).unwrap()
    }

    pub(super) fn topic(&self) -> KafkaTopic {
        self.producer().topic(TOPIC, SOON).unwrap()
    }

    pub(super) fn join(&self) -> (KafkaSource, KafkaPositions, Membership) {
        group(SOON).join(&self.options(), Arc::default(), Arc::default()).unwrap()
    }
}

fn group(start_timeout: Duration) -> ConsumerGroup {
    ConsumerGroup { group: "facemill.fetch".into(), topic: TOPIC.into(), patience: SOON, start_timeout }
}

pub(super) fn record(number: usize) -> Record {
    let facts = Facts::submitted(&format!("http://a.example/{number}"), "june", Timestamp::from_micros(5));
    facts.resubmission(1, Timestamp::from_micros(7), Reason::ReadTimeout)
}

async fn event(source: &mut KafkaSource) -> Event {
    timeout(SOON, source.next()).await.expect("an event in time").unwrap()
}

pub(super) async fn delivery(source: &mut KafkaSource) -> Delivery {
    loop {
        if let Event::Delivery(delivery) = event(source).await {
            return delivery;
        }
    }
}

async fn is_quiet(source: &mut KafkaSource) -> bool {
    timeout(Duration::from_millis(700), source.next()).await.is_err()
}

#[tokio::test]
async fn a_record_comes_back_with_key_headers_bytes_and_time() {
    let brokers = Brokers::new(3);
    let before = Timestamp::now();
    brokers.topic().publish(&record(1)).await.unwrap();
    let delivery = delivery(&mut brokers.join().0).await;
    assert_eq!(delivery.record, record(1));
    let second = Duration::from_secs(1);
    let appended = delivery.appended_at.unwrap();
    assert!(before < appended + second && appended < Timestamp::now() + second);
}

#[tokio::test]
async fn what_was_stored_and_committed_is_passed_and_all_else_comes_again() {
    let brokers = Brokers::new(1);
    let topic = brokers.topic();
    for number in 0..5 {
        topic.publish(&record(number)).await.unwrap();
    }
    let (mut source, positions, membership) = brokers.join();
    let first = delivery(&mut source).await;
    for _ in 1..5 {
        delivery(&mut source).await;
    }
    positions.store(0, first.generation, 3).unwrap();
    positions.commit().await.unwrap();
    positions.commit().await.unwrap();
    drop((source, positions));
    tokio::task::spawn_blocking(|| membership.left()).await.unwrap();
    let (mut source, ..) = brokers.join();
    assert_eq!(delivery(&mut source).await.offset, 3, "3 and 4 were read, and not stored");
}

#[tokio::test]
async fn a_position_under_another_assignment_is_refused() {
    let brokers = Brokers::new(1);
    brokers.topic().publish(&record(1)).await.unwrap();
    let (mut source, positions, _membership) = brokers.join();
    let generation = delivery(&mut source).await.generation;
    for (partition, stale) in [(0, generation + 1), (0, generation - 1), (1, generation)] {
        let refused = positions.store(partition, stale, 1);
        assert!(matches!(refused, Err(PortError::Unavailable(_))), "{refused:?}");
    }
    positions.store(0, generation, 1).unwrap();
}

#[tokio::test]
async fn a_partition_moves_only_after_its_work_is_drained_and_goes_on_where_it_was_committed() {
    let brokers = Brokers::new(2);
    let topic = brokers.topic();
    for number in 0..40 {
        topic.publish(&record(number)).await.unwrap();
    }
    let (mut first, positions, _first_membership) = brokers.join();
    let mut generations = [0, 0];
    let mut read = [0, 0];
    while read[0] + read[1] < 40 {
        let Delivery { partition, generation, .. } = delivery(&mut first).await;
        generations[partition as usize] = generation;
        read[partition as usize] += 1;
    }
    let (mut second, ..) = brokers.join();
    let (moved, drained) = loop {
        if let Event::Revoked { partitions, drained } = event(&mut first).await {
            break (partitions[0], drained);
        }
    };
    assert!(is_quiet(&mut second).await, "the first one is still draining");
    positions.store(moved, generations[moved as usize], 2).unwrap();
    // On a busy machine the mock's group is in its next rebalance by now, and takes no commit then; real brokers do,
    // and integration-tests/tests/kafka/stop.rs counts that nothing is done twice.
    let committed = positions.commit().await.is_ok();
    drained.send(()).unwrap();
    let next = delivery(&mut second).await;
    assert_eq!(next.partition, moved);
    assert!(next.offset == 2 || (!committed && next.offset == 0), "{}, {committed}", next.offset);
    let late = positions.store(moved, generations[moved as usize], 3);
    assert!(matches!(late, Err(PortError::Unavailable(_))), "the partition is another's: {late:?}");
}

#[tokio::test]
async fn a_paused_partition_is_silent_and_misses_nothing() {
    let brokers = Brokers::new(1);
    let topic = brokers.topic();
    topic.publish(&record(0)).await.unwrap();
    let (mut source, _positions, _membership) = brokers.join();
    assert_eq!(delivery(&mut source).await.offset, 0);
    source.pause(0);
    topic.publish(&record(1)).await.unwrap();
    assert!(is_quiet(&mut source).await);
    source.resume(0);
    assert_eq!(delivery(&mut source).await.offset, 1);
}

#[tokio::test]
async fn a_pause_ends_with_its_assignment() {
    let brokers = Brokers::new(2);
    let topic = brokers.topic();
    let (mut first, ..) = brokers.join();
    for _ in 0..2 {
        assert!(matches!(event(&mut first).await, Event::Assigned(..)));
    }
    first.pause(0);
    first.pause(1);
    let (second, positions, membership) = brokers.join();
    let moved = loop {
        if let Event::Revoked { partitions, drained } = event(&mut first).await {
            drained.send(()).unwrap();
            break partitions[0];
        }
    };
    // It goes again as soon as it has come, and the partition comes back.
    let second = tokio::spawn(async move {
        let mut second = second;
        while !matches!(second.next().await, Ok(Event::Assigned(..))) {}
    });
    timeout(SOON, second).await.unwrap().unwrap();
    drop(positions);
    tokio::task::spawn_blocking(|| membership.left()).await.unwrap();
    while !matches!(event(&mut first).await, Event::Assigned(partition, _) if partition == moved) {}
    for number in 0..100 {
        topic.publish(&record(number)).await.unwrap();
    }
    // The other one is paused still, unless the mock's group took that back for a moment too, as it does on a busy
    // machine.
    while delivery(&mut first).await.partition != moved {}
}

#[test]
fn a_configuration_under_which_records_would_be_passed_over_is_refused() {
    let brokers = Brokers::new(1);
    for (name, value) in [("auto.offset.reset", "latest"), ("enable.auto.offset.store", "true")] {
        let mut options = brokers.options();
        options.properties.push((name.to_owned(), Secret(value.to_owned())));
        let error = group(SOON).join(&options, Arc::default(), Arc::default()).err().unwrap().to_string();
        assert!(error.contains(name) && error.contains("passed over"), "{error}");
    }
}

#[tokio::test]
async fn a_record_beyond_the_limit_is_too_large_for_ever() {
    let brokers = Brokers::new(1);
    let big = Record { value: vec![0; 12 << 20].into(), ..record(0) };
    let error = brokers.topic().publish(&big).await.unwrap_err();
    assert!(matches!(&error, PortError::TooLarge(text) if text.contains(TOPIC)), "{error:?}");
    let cluster_limit = Brokers::new(1);
    let topic = cluster_limit.topic();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster_limit.0.request_errors(rdkafka::types::RDKafkaApiKey::Produce, &[refused]);
    let error = topic.publish(&record(0)).await.unwrap_err();
    assert!(matches!(error, PortError::TooLarge(_)), "{error:?}");
}

#[tokio::test]
async fn a_broker_that_is_away_is_waited_out_and_the_wait_is_seen() {
    let brokers = Brokers::new(1);
    let health = Arc::<Health>::default();
    let metrics = Arc::<KafkaMetrics>::default();
    let producer = KafkaProducer::new(&brokers.options(), Arc::clone(&health), metrics).unwrap();
    let topic = producer.topic(TOPIC, SOON).unwrap();
    topic.publish(&record(0)).await.unwrap();
    brokers.0.broker_down(1).unwrap();
    let waiting = tokio::spawn(async move { topic.publish(&record(1)).await });
    timeout(SOON, async {
        while health.waiting().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("/readyz says that the brokers are away");
    assert!(!waiting.is_finished());
    brokers.0.broker_up(1).unwrap();
    timeout(SOON, waiting).await.unwrap().unwrap().unwrap();
    timeout(SOON, async {
        while !health.waiting().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("/readyz says that they are back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_at_the_start_is_named() {
    let brokers = Brokers::new(1);
    let join = |timeout| {
        let (options, health) = (brokers.options(), Arc::default());
        tokio::task::block_in_place(|| group(timeout).join(&options, health, Arc::default()).err().unwrap())
    };
    brokers.0.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let error = join(Duration::from_secs(2));
    assert!(matches!(error, KafkaError::NoTopic(_)) && error.to_string().contains("topics apply"), "{error}");
    brokers.0.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let error = join(Duration::from_secs(2));
    assert!(matches!(error, KafkaError::Denied { .. }) && error.to_string().contains("kafka-acls"), "{error}");
    brokers.0.broker_down(1).unwrap();
    let error = join(Duration::from_secs(1));
    assert!(matches!(error, KafkaError::Unreachable { .. }) && error.to_string().contains("kafka.brokers"), "{error}");
}

#[test]
fn the_ways_to_log_in_are_compiled_in() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
        let property = |name: &str, value: &str| (name.to_owned(), Secret(value.to_owned()));
        let properties = vec![
            property("security.protocol", "SASL_SSL"),
            property("sasl.mechanism", mechanism),
            property("sasl.username", "facemill"),
            property("sasl.password", "hunter2"),
            property("enable.sasl.oauthbearer.unsecure.jwt", "true"),
            property("sasl.oauthbearer.config", "principal=facemill"),
        ];
        let producer = KafkaProducer::new(&KafkaOptions { properties }, Arc::default(), Arc::default());
        assert!(producer.is_ok(), "{mechanism}: {:?}", producer.err());
    }
}

#[test]
fn a_property_that_librdkafka_does_not_know_is_named() {
    let options = KafkaOptions { properties: vec![("no.such.property".into(), Secret("hunter2".into()))] };
    let error = KafkaProducer::new(&options, Arc::default(), Arc::default()).err().unwrap().to_string();
    assert!(error.contains("no.such.property") && !error.contains("hunter2"), "{error}");
}
