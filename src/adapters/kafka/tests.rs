//! Against librdkafka's own brokers in memory (`rd_kafka_mock_cluster`): the client and its protocol are real.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    mocking::{MockCluster, MockCoordinator},
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use tokio::time::timeout;

use super::*;
use crate::{
    domain::{Facts, Reason, Record, Timestamp},
    runner::ports::{Commit, Delivery, Event, PortError, Publish, Source},
    telemetry::{Health, KafkaMetrics},
};

const TOPIC: &str = "facemill.urls";
const SOON: Duration = Duration::from_secs(20);

struct Brokers(MockCluster<'static, DefaultProducerContext>);

impl Brokers {
    fn new(partitions: i32) -> Self {
        Self::of(1, partitions)
    }

    fn of(brokers: i32, partitions: i32) -> Self {
        let cluster = MockCluster::new(brokers).unwrap();
        cluster.create_topic(TOPIC, partitions, 1).unwrap();
        Brokers(cluster)
    }

    fn options(&self) -> KafkaOptions {
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

    fn topic(&self) -> KafkaTopic {
        self.producer().topic(TOPIC, SOON).unwrap()
    }

    fn join(&self) -> (KafkaSource, KafkaPositions, Membership) {
        group(SOON).join(&self.options(), Arc::default(), Arc::default()).unwrap()
    }
}

fn group(start_timeout: Duration) -> ConsumerGroup {
    ConsumerGroup { group: "facemill.fetch".into(), topic: TOPIC.into(), patience: SOON, start_timeout }
}

fn record(number: usize) -> Record {
    let facts = Facts::submitted(&format!("http://a.example/{number}"), "june", Timestamp::from_micros(5));
    facts.resubmission(1, Timestamp::from_micros(7), Reason::ReadTimeout)
}

async fn event(source: &mut KafkaSource) -> Event {
    timeout(SOON, source.next()).await.expect("an event in time").unwrap()
}

async fn delivery(source: &mut KafkaSource) -> Delivery {
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

fn watched(topic: &str) -> Watched {
    Watched { topic: topic.to_owned(), group: Some("facemill.fetch".to_owned()) }
}

fn at(positions: &[(i32, i64)]) -> std::collections::BTreeMap<i32, i64> {
    positions.iter().copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survey_sees_logs_and_committed_positions_of_all_partitions_without_being_a_member() {
    let brokers = Brokers::new(3);
    let topic = brokers.topic();
    for number in 0..30 {
        topic.publish(&record(number)).await.unwrap();
    }
    let (mut source, positions, membership) = brokers.join();
    let mut read = [0; 3];
    while read.iter().sum::<i64>() < 30 {
        let Delivery { partition, generation, .. } = delivery(&mut source).await;
        read[partition as usize] += 1;
        if partition == 1 {
            positions.store(1, generation, 2).unwrap();
        }
    }
    positions.commit().await.unwrap();
    let survey = Survey::new(&brokers.options(), "facemill.fetch", SOON).unwrap();
    let watched = [watched(TOPIC), Watched { topic: TOPIC.to_owned(), group: None }, watched("facemill.nobodys")];
    let looks = tokio::task::block_in_place(|| survey.offsets(&watched, SOON, None).unwrap());
    let ends: Vec<_> = looks[0].logs.values().map(|log| (log.start, log.end)).collect();
    assert_eq!(ends, read.map(|count| (0, count)));
    assert_eq!(looks[0].committed.values().copied().collect::<Vec<_>>(), [None, Some(2), None]);
    assert_eq!(looks[0].lag(), 28);
    assert!(looks[0].errors.is_empty(), "{:?}", looks[0].errors);
    assert!(looks[1].logs == looks[0].logs && looks[1].committed.is_empty());
    assert!(matches!(&looks[2].errors[..], [KafkaError::NoTopic(name)] if name == "facemill.nobodys"));
    // The mock knows no descriptions of groups: the rest of the look is there all the same.
    let look = tokio::task::block_in_place(|| survey.look(&watched[..1], None).unwrap().remove(0));
    assert_eq!((look.lag(), look.members), (28, None));
    assert!(matches!(&look.errors[..], [KafkaError::Unanswered { what, .. }] if what.contains("facemill.fetch")));
    // It reads on, undisturbed.
    topic.publish(&record(30)).await.unwrap();
    delivery(&mut source).await;
    drop((source, positions));
    tokio::task::spawn_blocking(|| membership.left()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_records_are_read_once_and_tell_when_they_came_and_when_they_are_due() {
    let brokers = Brokers::new(2);
    let topic = brokers.topic();
    let before = Timestamp::now();
    let large = |number| Record { value: vec![0; 100_000].into(), ..record(number) };
    for number in 0..40 {
        topic.publish(&large(number)).await.unwrap();
    }
    let survey = Survey::new(&brokers.options(), "facemill.fetch", SOON).unwrap();
    let mut oldest = Oldest::default();
    let mut read = |positions: &[(i32, i64)]| {
        tokio::task::block_in_place(|| oldest.read(&survey, TOPIC, &at(positions), SOON, None))
    };
    let (records, error) = read(&[(0, 3), (1, 5)]);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(records.values().map(|record| record.offset).collect::<Vec<_>>(), [3, 5]);
    let second = Duration::from_secs(1);
    let appended = records[&0].appended_at.unwrap();
    assert!(before < appended + second && appended < Timestamp::now() + second);
    assert_eq!(records[&0].not_before, Some(Timestamp::from_micros(7)));

    // One of them moves: the other is known.
    brokers.0.broker_down(1).unwrap();
    assert_eq!(read(&[(1, 5)]).0.values().map(|record| record.offset).collect::<Vec<_>>(), [5]);
    brokers.0.broker_up(1).unwrap();
    let (records, error) = read(&[(0, 4), (1, 5)]);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(records.values().map(|record| record.offset).collect::<Vec<_>>(), [4, 5]);
    let mean = oldest.mean_bytes(TOPIC).unwrap();
    assert!((100_000.0..100_300.0).contains(&mean), "{mean}");
    assert_eq!(oldest.mean_bytes("facemill.nobodys"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survey_without_brokers_says_so_and_ends_when_it_is_told_to() {
    let brokers = Brokers::new(1);
    let survey = Survey::new(&brokers.options(), "facemill.fetch", SOON).unwrap();
    let look = |stop: &tokio_util::sync::CancellationToken| {
        let started = std::time::Instant::now();
        let looked = tokio::task::block_in_place(|| survey.look(&[watched(TOPIC)], Some(stop)));
        (looked, started.elapsed())
    };
    let stop = tokio_util::sync::CancellationToken::new();
    assert!(look(&stop).0.is_ok());
    brokers.0.broker_down(1).unwrap();
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        asked.cancel();
    });
    let (looked, took) = look(&stop);
    assert!(matches!(looked, Err(KafkaError::Unreachable { .. })), "{looked:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_brokers_have_trouble_with_does_not_hide_the_others() {
    let brokers = Brokers::new(1);
    brokers.0.create_topic("facemill.images", 1, 1).unwrap();
    brokers.topic().publish(&record(1)).await.unwrap();
    brokers.0.topic_error("facemill.images", RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR).unwrap();
    let survey = Survey::new(&brokers.options(), "facemill.fetch", SOON).unwrap();
    let watched = ["facemill.images", TOPIC].map(watched);
    let looks = tokio::task::block_in_place(|| survey.offsets(&watched, SOON, None).unwrap());
    assert!(matches!(&looks[0].errors[..], [KafkaError::Unanswered { what, .. }] if what.contains("facemill.images")));
    assert!(looks[1].errors.is_empty() && looks[1].lag() == 1, "{:?}", looks[1]);
}

/// librdkafka ends the process where it is left to find a coordinator that comes up after the time-out of the request.
/// The mock lets every broker answer for the group: what matters is that the process is still there.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_comes_back_after_the_look_is_over_does_not_end_the_process() {
    let brokers = Brokers::of(2, 1);
    brokers.0.partition_leader(TOPIC, 0, Some(1)).unwrap();
    brokers.0.coordinator(MockCoordinator::Group("facemill.fetch".to_owned()), 2).unwrap();
    brokers.topic().publish(&record(1)).await.unwrap();
    let survey = Survey::new(&brokers.options(), "facemill.fetch", SOON).unwrap();
    let look =
        |phase| tokio::task::block_in_place(|| survey.offsets(&[watched(TOPIC)], phase, None).unwrap().remove(0));
    brokers.0.broker_down(2).unwrap();
    for _ in 0..3 {
        look(Duration::from_millis(300));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    brokers.0.broker_up(2).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let seen = look(SOON);
    assert!(seen.errors.is_empty() && seen.lag() == 1, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_found_whichever_broker_coordinates_it() {
    const BROKERS: usize = 3;
    let brokers = Brokers::of(BROKERS as i32, 1);
    brokers.topic().publish(&record(1)).await.unwrap();
    let survey = Survey::new(&brokers.options(), "facemill.fetch", SOON).unwrap();
    // All but one say that it is another; all do, twice, while it moves; for longer than a look lasts.
    for (refusals, is_found) in [(BROKERS - 1, true), (2 * BROKERS, true), (1000 * BROKERS, false)] {
        let others = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR; refusals];
        brokers.0.request_errors(RDKafkaApiKey::OffsetFetch, &others);
        let phase = if is_found { SOON } else { Duration::from_secs(1) };
        let seen = tokio::task::block_in_place(|| survey.offsets(&[watched(TOPIC)], phase, None).unwrap().remove(0));
        match is_found {
            true => assert!(seen.errors.is_empty() && seen.lag() == 1, "{refusals}: {seen:?}"),
            false => assert!(matches!(&seen.errors[..], [KafkaError::Unanswered { .. }]), "{seen:?}"),
        }
    }
}
