//! Looks from outside, against librdkafka's own brokers in memory.

use std::time::Duration;

use rdkafka::{
    mocking::MockCoordinator,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::{
    tests::{Brokers, SOON, TOPIC, delivery, record},
    *,
};
use crate::{
    domain::{Record, Timestamp},
    runner::ports::{Commit, Delivery, Publish},
};

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
