//! The brokers and their topics.

use std::{collections::BTreeSet, time::Duration};

use super::{finding::Finding, rate::of_rate, used, written};
use crate::{
    adapters::kafka::{
        KafkaError, KafkaOptions,
        admin::{Admin, AdminError},
        check_limit,
    },
    config::Settings,
    domain::StageName,
    topics::{Allowed, Cluster, Scale, Topic, embedded, plan, with_delays},
};

/// The oldest release of Kafka, major and minor, that facemill is made for.
const LEAST_RELEASE: (u32, u32) = (3, 0);

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
    findings.extend(topics.iter().flat_map(|topic| of_rate(topic, &settings.kafka, cluster)));
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
    let limit = actual.limit("max.message.bytes").filter(|_| written.contains(&name));
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

#[cfg(test)]
pub(super) mod tests {
    use super::{super::finding::State, *};
    use crate::{
        config::load,
        topics::{ActualTopic, ActualValue},
    };

    pub(in crate::cli::check) fn cluster(name: &str, partitions: i32, config: &[(&str, &str)]) -> Cluster {
        let config = config
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ActualValue { value: (*value).to_owned(), set_here: true }));
        let topic = ActualTopic { partitions, replicas: 3, config: config.collect() };
        Cluster { brokers: 3, topics: [(name.to_owned(), topic)].into(), ..Cluster::default() }
    }

    pub(in crate::cli::check) fn declared(name: &str) -> Topic {
        embedded().unwrap().into_iter().find(|topic| topic.name == name).unwrap()
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
}
