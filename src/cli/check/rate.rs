//! The topics, held against the rate that is expected.

use std::time::Duration;

use super::finding::Finding;
use crate::{
    config::KafkaSettings,
    topics::{ActualTopic, Cluster, Topic},
};

/// Time that the pictures between two stages must be kept for at least, at the expected rate: an operator has that
/// long to bring a stage back before records are lost that nobody has read.
const LEAST_BUFFER: Duration = Duration::from_secs(15 * 60);

/// Time that URLs and those that wait must be kept for at least: a run of a week, and a long weekend.
const LEAST_URLS: Duration = Duration::from_secs(7 * 86_400);

/// A frame is smaller than the picture that it is made of.
const FRAME_SHARE: f64 = 0.6;

/// Records a second that one partition carries at most without a thought: one process reads it, and that may have a
/// single core. fetch works on 128 URLs of a partition at once, and a slow second each is not rare. To decode and
/// resize a picture of 87 KB takes a core 1.8 ms, to detect 6.0 ms (docs/performance.md): 550 and 165 a second. Other
/// cores are slower by a factor of two, so that half of it is counted on, and a third of pictures, which are larger
/// elsewhere; frames are all of one size.
const RATES_OF_A_PARTITION: [(&str, f64); 3] = [("urls", 100.0), ("images", 200.0), ("frames", 80.0)];

/// Whether the topic can carry the expected rate and keep what waits in it.
pub(super) fn of_rate(topic: &Topic, kafka: &KafkaSettings, cluster: &Cluster) -> Vec<Finding> {
    let name = format!("{}{}", kafka.topic_prefix, topic.name);
    let Some(actual) = cluster.topics.get(&name).filter(|_| kafka.expected_rate > 0.0) else { return Vec::new() };
    let mut found = vec![partitions(&topic.name, actual, kafka.expected_rate)];
    match topic.name.as_str() {
        "images" => found.push(pictures(actual, kafka, 1.0)),
        "frames" => found.push(pictures(actual, kafka, FRAME_SHARE)),
        name if name.starts_with("urls") => found.extend([urls_by_time(actual), urls_by_size(actual)]),
        _ => {}
    }
    found.into_iter().flatten().map(|detail| Finding::warning("rate", format!("{name}: {detail}"))).collect()
}

/// A limit of the topic; `None` where there is none.
fn limit(topic: &ActualTopic, name: &str) -> Option<f64> {
    topic.limit(name).map(|value| value as f64)
}

fn partitions(name: &str, topic: &ActualTopic, rate: f64) -> Option<String> {
    let (_, each) = RATES_OF_A_PARTITION.iter().find(|(known, _)| *known == name)?;
    let (count, needed) = (topic.partitions, (rate / each).ceil());
    (f64::from(count) < needed).then(|| {
        let other = if name == "urls" { "" } else { ", or processes of several cores or with a GPU" };
        format!("{count} partitions for {rate} records a second: one carries some {each}, so have {needed}{other}")
    })
}

fn urls_by_time(topic: &ActualTopic) -> Option<String> {
    let kept = limit(topic, "retention.ms")? / 1000.0;
    (kept < LEAST_URLS.as_secs_f64())
        .then(|| format!("keeps URLs for {kept:.0} s only; raise retention.ms to at least a week"))
}

fn urls_by_size(topic: &ActualTopic) -> Option<String> {
    let bytes = limit(topic, "retention.bytes")?;
    Some(format!(
        "deletes URLs that nobody has read when a partition has more than {bytes} bytes; set retention.bytes to -1"
    ))
}

/// Pictures of which each takes this share of the expected size.
fn pictures(topic: &ActualTopic, kafka: &KafkaSettings, share: f64) -> Option<String> {
    let KafkaSettings { expected_rate, expected_image_bytes, .. } = kafka;
    let bytes = expected_rate * expected_image_bytes * share;
    let by_size = limit(topic, "retention.bytes").map(|limit| limit * f64::from(topic.partitions) / bytes);
    let by_time = limit(topic, "retention.ms").map(|millis| millis / 1000.0);
    let kept = by_size.unwrap_or(f64::INFINITY).min(by_time.unwrap_or(f64::INFINITY));
    (kept < LEAST_BUFFER.as_secs_f64()).then(|| {
        format!(
            "keeps {kept:.0} s at {expected_rate} URLs a second of {expected_image_bytes} bytes: a stage that stands \
             still longer loses records; raise retention.bytes, retention.ms or the number of partitions"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::topics::tests::{cluster, declared},
        *,
    };
    use crate::config::load;

    fn rated(topic: &str, partitions: i32, config: &[(&str, &str)]) -> Vec<String> {
        let sets = ["kafka.expected_rate=3307".to_owned()];
        let settings = load(None, std::iter::empty(), &sets).unwrap().settings.kafka;
        let cluster = cluster(&format!("facemill.{topic}"), partitions, config);
        of_rate(&declared(topic), &settings, &cluster).into_iter().map(|finding| finding.detail).collect()
    }

    /// All that is said, each of which must have its part.
    #[track_caller]
    fn says(found: &[String], parts: &[&str]) {
        assert_eq!(found.len(), parts.len(), "{found:?}");
        assert!(found.iter().zip(parts).all(|(found, part)| found.contains(part)), "{found:?}");
    }

    #[test]
    fn topics_that_cannot_keep_what_the_expected_rate_brings_are_named() {
        let day = ("retention.ms", "86400000");
        // 24 GiB × 96 partitions are 7,700 s of 3,307 pictures of 100 KB.
        says(&rated("images", 96, &[("retention.bytes", "25769803776"), ("retention.ms", "21600000")]), &[]);
        says(&rated("images", 96, &[("retention.bytes", "1073741824"), day]), &["keeps 312 s"]);
        says(&rated("images", 96, &[("retention.bytes", "-1"), ("retention.ms", "60000")]), &["keeps 60 s"]);
        says(&rated("images", 96, &[("retention.bytes", "-1"), ("retention.ms", "-1")]), &[]);
        says(&rated("urls", 96, &[day]), &["a week"]);
        says(&rated("urls", 96, &[("retention.ms", "1209600000"), ("retention.bytes", "-1")]), &[]);
    }

    #[test]
    fn too_few_partitions_are_named_with_the_number_that_would_do() {
        says(&rated("urls", 33, &[]), &["33 partitions for 3307 records a second: one carries some 100, so have 34"]);
        says(&rated("images", 16, &[]), &["have 17, or processes of several cores"]);
        says(&rated("frames", 41, &[]), &["have 42, or processes of several cores"]);
        for (topic, enough) in [("urls", 34), ("images", 17), ("frames", 42), ("urls.retry.1m", 1), ("results", 1)] {
            says(&rated(topic, enough, &[]), &[]);
        }
    }

    #[test]
    fn all_that_applies_is_said() {
        let limits = [("retention.ms", "86400000"), ("retention.bytes", "1000")];
        says(
            &rated("urls", 8, &limits),
            &["8 partitions", "a week", "more than 1000 bytes; set retention.bytes to -1"],
        );
        says(&rated("urls.retry.1m", 8, &limits), &["a week", "retention.bytes"]);
        says(&rated("frames", 8, &limits), &["8 partitions", "keeps 0 s"]);
    }

    #[test]
    fn without_an_expected_rate_nothing_is_said() {
        let settings = load(None, std::iter::empty(), &[]).unwrap().settings.kafka;
        assert!(of_rate(&declared("urls"), &settings, &cluster("facemill.urls", 1, &[])).is_empty());
    }
}
