//! The brokers and their topics.

use std::{collections::BTreeSet, time::Duration};

use super::{finding::Finding, used, written};
use crate::{
    adapters::kafka::{
        KafkaError, KafkaOptions,
        admin::{Admin, AdminError},
        check_limit,
    },
    config::{KafkaSettings, Settings},
    domain::StageName,
    topics::{Allowed, Cluster, Scale, Topic, embedded, plan, with_delays},
};

/// The oldest release of Kafka, major and minor, that facemill is made for.
const LEAST_RELEASE: (u32, u32) = (3, 0);

/// Time that the pictures between two stages must be kept for at least, at the expected rate: an operator has that
/// long to bring a stage back before records are lost that nobody has read.
const LEAST_BUFFER: Duration = Duration::from_secs(15 * 60);

/// Time that URLs and those that wait must be kept for at least: a run of a week, and a long weekend.
const LEAST_URLS: Duration = Duration::from_secs(7 * 86_400);

/// URLs a second that one partition carries at most without a thought: fetch works on 128 of them at once, and a
/// slow second each is not rare.
const RATE_OF_A_PARTITION: f64 = 100.0;

/// A frame is smaller than the picture that it is made of.
const FRAME_SHARE: f64 = 0.6;

/// The cluster with these topics, and the release of its brokers.
pub(super) async fn look(
    kafka: &KafkaOptions,
    names: &BTreeSet<String>,
    timeout: Duration,
) -> Result<(Cluster, Option<(u32, u32)>), AdminError> {
    let admin = Admin::connect(kafka, timeout)?;
    Ok((admin.visible_cluster(names).await?, admin.release().await?))
}

/// What there is to say of the brokers and of the topics that the stages use.
pub(super) fn findings(
    settings: &Settings,
    kafka: &KafkaOptions,
    scale: Scale,
    stages: &[StageName],
    cluster: &Cluster,
    release: Option<(u32, u32)>,
) -> Vec<Finding> {
    let prefix = &settings.kafka.topic_prefix;
    let (names, written) = (used(settings, stages), written(settings, stages));
    let is_used = |topic: &Topic| names.contains(&format!("{prefix}{}", topic.name));
    let topics: Vec<Topic> = match embedded() {
        Ok(topics) => {
            let topics = with_delays(topics, &settings.retry.later).into_iter();
            topics.filter(is_used).map(|topic| scale.apply(topic)).collect()
        }
        Err(error) => return vec![Finding::failed("topics", error)],
    };
    let mut findings = vec![of_brokers(cluster.brokers, release)];
    findings.extend(topics.iter().map(|topic| of_topic(topic, prefix, kafka, cluster, &written)));
    findings.extend(topics.iter().filter_map(|topic| of_rate(topic, &settings.kafka, cluster)));
    findings
}

fn of_brokers(count: usize, release: Option<(u32, u32)>) -> Finding {
    match release {
        Some((major, minor)) if (major, minor) < LEAST_RELEASE => Finding::warning(
            "brokers",
            format!("{count} in the cluster, which speak the protocol of Kafka {major}.{minor}: use 3.0 or later"),
        ),
        Some((major, minor)) => {
            Finding::ok("brokers", format!("{count} in the cluster, of Kafka {major}.{minor} or later"))
        }
        None => Finding::ok("brokers", format!("{count} in the cluster; they do not tell their version to this user")),
    }
}

/// Whether the topic is there, and how it differs from what is declared.
fn of_topic(
    topic: &Topic,
    prefix: &str,
    kafka: &KafkaOptions,
    cluster: &Cluster,
    written: &BTreeSet<String>,
) -> Finding {
    let name = format!("{prefix}{}", topic.name);
    let Some(actual) = cluster.topics.get(&name) else {
        return Finding::failed("topic", KafkaError::NoTopic(name));
    };
    let found = format!("{name} has {} partitions, {} replicas", actual.partitions, actual.replicas);
    let limit = actual.number("max.message.bytes").and_then(|limit| u64::try_from(limit).ok());
    let limit = limit.filter(|_| written.contains(&name));
    if let Some(Err(error)) = limit.map(|limit| check_limit(kafka, &name, limit)) {
        return Finding::failed("topic", error);
    }
    if cluster.hidden.contains(&name) {
        return Finding::warning(
            "topic",
            format!(
                "{found}; this user may not see its configuration, so that nobody knows whether it takes our batches \
                 and keeps its records: give it the right (kafka-acls --operation DescribeConfigs)"
            ),
        );
    }
    let plan = plan(std::slice::from_ref(topic), prefix, cluster, Allowed::default());
    match plan.differences.is_empty() {
        true => Finding::ok("topic", found),
        false => Finding::warning("topic", format!("{found}, and is not as declared: facemill topics diff")),
    }
}

/// Whether the topic can carry the expected rate and keep what waits in it.
fn of_rate(topic: &Topic, kafka: &KafkaSettings, cluster: &Cluster) -> Option<Finding> {
    if kafka.expected_rate <= 0.0 {
        return None;
    }
    let name = format!("{}{}", kafka.topic_prefix, topic.name);
    let actual = cluster.topics.get(&name)?;
    let partitions = f64::from(actual.partitions);
    let number = |key: &str| actual.number(key).map(|value| value as f64);
    let warn = |detail: String| Some(Finding::warning("rate", format!("{name}: {detail}")));
    let carries = partitions * RATE_OF_A_PARTITION;
    if topic.name == "urls" && carries < kafka.expected_rate {
        return warn(format!(
            "{partitions} partitions for {} URLs a second; have one for each {RATE_OF_A_PARTITION}",
            kafka.expected_rate
        ));
    }
    let share = match topic.name.as_str() {
        "images" => 1.0,
        "frames" => FRAME_SHARE,
        name if name.starts_with("urls") => {
            let kept = number("retention.ms").filter(|kept| *kept >= 0.0)? / 1000.0;
            return match kept < LEAST_URLS.as_secs_f64() {
                true => warn(format!("keeps URLs for {kept:.0} s only; raise retention.ms to at least a week")),
                false => None,
            };
        }
        _ => return None,
    };
    let rate = kafka.expected_rate * kafka.expected_image_bytes * share;
    // Negative: no limit.
    let by_size = number("retention.bytes").filter(|bytes| *bytes >= 0.0).map(|bytes| bytes * partitions / rate);
    let by_time = number("retention.ms").filter(|millis| *millis >= 0.0).map(|millis| millis / 1000.0);
    let kept = by_size.unwrap_or(f64::INFINITY).min(by_time.unwrap_or(f64::INFINITY));
    match kept < LEAST_BUFFER.as_secs_f64() {
        true => warn(format!(
            "keeps {kept:.0} s at {} URLs a second of {} bytes: a stage that stands still longer loses records; raise \
             retention.bytes or the number of partitions",
            kafka.expected_rate, kafka.expected_image_bytes
        )),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};
    use crate::{
        config::load,
        topics::{ActualTopic, ActualValue},
    };

    fn cluster(name: &str, partitions: i32, config: &[(&str, &str)]) -> Cluster {
        let config = config
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ActualValue { value: (*value).to_owned(), set_here: true }));
        let topic = ActualTopic { partitions, replicas: 3, config: config.collect() };
        Cluster { brokers: 3, topics: [(name.to_owned(), topic)].into(), ..Cluster::default() }
    }

    fn declared(name: &str) -> Topic {
        embedded().unwrap().into_iter().find(|topic| topic.name == name).unwrap()
    }

    fn rated(topic: &str, partitions: i32, config: &[(&str, &str)]) -> Option<String> {
        let sets = ["kafka.expected_rate=3307".to_owned()];
        let settings = load(None, std::iter::empty(), &sets).unwrap().settings.kafka;
        let cluster = cluster(&format!("facemill.{topic}"), partitions, config);
        of_rate(&declared(topic), &settings, &cluster).map(|finding| finding.detail)
    }

    #[test]
    fn a_missing_topic_fails_and_a_different_one_is_a_warning() {
        let look = |cluster, written: &[&str]| {
            let written = written.iter().map(|name| (*name).to_owned()).collect();
            of_topic(&declared("images"), "facemill.", &KafkaOptions::default(), &cluster, &written)
        };
        let looked = |cluster| look(cluster, &["facemill.images"]);
        let missing = looked(cluster("other", 1, &[]));
        assert!(missing.to_string().starts_with("FAILED") && missing.detail.contains("topics apply"), "{missing}");
        let small = looked(cluster("facemill.images", 4, &[]));
        assert!(small.to_string().starts_with("warning") && small.detail.contains("topics diff"), "{small}");
        let narrow = looked(cluster("facemill.images", 96, &[("max.message.bytes", "65536")]));
        assert!(narrow.to_string().starts_with("FAILED") && narrow.detail.contains("batch.size"), "{narrow}");
        let wide = looked(cluster("facemill.images", 96, &[("max.message.bytes", "20971520")]));
        let only_read = look(cluster("facemill.images", 96, &[("max.message.bytes", "65536")]), &[]);
        assert!(only_read.to_string().starts_with("warning"), "{only_read}");
        assert!(wide.to_string().starts_with("FAILED") && wide.detail.contains("message.max.bytes"), "{wide}");
    }

    #[test]
    fn a_configuration_that_stays_hidden_is_a_warning_of_that_topic_alone() {
        let settings = load(None, std::iter::empty(), &[]).unwrap().settings;
        let mut there = cluster("facemill.frames", 96, &[]);
        there.hidden = ["facemill.frames".to_owned()].into();
        let options = KafkaOptions::default();
        let found = findings(&settings, &options, Scale::default(), &[StageName::Detect], &there, Some((4, 0)));
        let states: Vec<_> = found.iter().map(|finding| (finding.name, finding.state)).collect();
        let others = [("topic", State::Failed); 2];
        assert_eq!(states, [&[("brokers", State::Ok), ("topic", State::Warning)], &others[..]].concat());
        assert!(found[1].detail.contains("DescribeConfigs") && found[2].detail.contains("is not there"));
    }

    #[test]
    fn brokers_that_are_too_old_are_a_warning() {
        assert!(of_brokers(3, Some((2, 8))).to_string().starts_with("warning"));
        assert!(of_brokers(3, Some((3, 0))).to_string().starts_with("ok"));
        assert!(of_brokers(3, None).to_string().starts_with("ok"), "not every make of brokers tells");
    }

    #[test]
    fn topics_that_cannot_keep_what_the_expected_rate_brings_are_named() {
        let day = ("retention.ms", "86400000");
        // 24 GiB × 96 partitions are 7,700 s of 3,307 pictures of 100 KB.
        assert_eq!(rated("images", 96, &[("retention.bytes", "25769803776"), ("retention.ms", "21600000")]), None);
        assert!(rated("images", 96, &[("retention.bytes", "1073741824"), day]).unwrap().contains("keeps 312 s"));
        assert!(rated("images", 96, &[("retention.bytes", "-1"), ("retention.ms", "60000")]).unwrap().contains("60 s"));
        assert_eq!(rated("images", 96, &[("retention.bytes", "-1"), ("retention.ms", "-1")]), None);
        assert!(rated("urls", 96, &[day]).unwrap().contains("a week"));
        assert_eq!(rated("urls", 96, &[("retention.ms", "1209600000")]), None);
        assert!(rated("urls", 8, &[("retention.ms", "1209600000")]).unwrap().contains("8 partitions"));
    }
}
