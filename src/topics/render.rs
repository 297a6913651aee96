use std::fmt::Write;

use super::Topic;

/// The version of Strimzi's resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrimziApi {
    /// Strimzi 0.22 and later.
    V1Beta2,
    /// Strimzi 0.49 and later; the only one in 1.0.
    V1,
}

/// The topics as Strimzi's KafkaTopic resources for the Kafka cluster of this name.
pub fn strimzi(topics: &[Topic], prefix: &str, cluster: &str, api: StrimziApi) -> String {
    let version = match api {
        StrimziApi::V1Beta2 => "v1beta2",
        StrimziApi::V1 => "v1",
    };
    let mut text = String::new();
    for topic in topics {
        let name = format!("{prefix}{}", topic.name);
        let resource = resource_name(&name);
        text += "---\n";
        text += &format!("apiVersion: kafka.strimzi.io/{version}\nkind: KafkaTopic\nmetadata:\n");
        text += &format!("  name: {}\n  labels:\n    strimzi.io/cluster: {}\n", quoted(&resource), quoted(cluster));
        text += "spec:\n";
        if resource != name {
            text += &format!("  topicName: {}\n", quoted(&name));
        }
        text += &format!("  partitions: {}\n  replicas: {}\n", topic.partitions, topic.replicas);
        if !topic.config.is_empty() {
            text += "  config:\n";
        }
        for (key, value) in &topic.config {
            // A number stays one: Strimzi's operator compares it as text either way.
            let value = if value.parse::<i64>().is_ok() { value.clone() } else { quoted(value) };
            text += &format!("    {key}: {value}\n");
        }
    }
    text
}

/// The topics as commands of Kafka's own tools, for a shell. Run again they change nothing.
pub fn kafka_topics(topics: &[Topic], prefix: &str, brokers: &str) -> String {
    let mut text = "\
#!/bin/sh
# Creates the topics that are missing, and leaves those that are there as they are.
# Where the brokers ask for a login: KAFKA_LOGIN=\"--command-config FILE\" sh THIS_FILE
set -eu
"
    .to_owned();
    // Writing to a text cannot fail.
    let _ = writeln!(text, "brokers=${{KAFKA_BROKERS:-{}}}", word(brokers));
    for topic in topics {
        let _ = write!(
            text,
            "\n# {}\nkafka-topics.sh --bootstrap-server \"$brokers\" ${{KAFKA_LOGIN-}} --create --if-not-exists \\\n  \
             --topic {} --partitions {} --replication-factor {}",
            topic.description.split_whitespace().collect::<Vec<_>>().join(" "),
            word(&format!("{prefix}{}", topic.name)),
            topic.partitions,
            topic.replicas
        );
        for (key, value) in &topic.config {
            let _ = write!(text, " \\\n  --config {}", word(&format!("{key}={value}")));
        }
        text.push('\n');
    }
    text
}

/// A name that Kubernetes takes: lower case letters, digits, '-' and '.', a letter or digit at both ends.
fn resource_name(topic: &str) -> String {
    let lower = topic.to_ascii_lowercase();
    let legal = lower.replace(|char: char| !(char.is_ascii_alphanumeric() || char == '.'), "-");
    legal.trim_matches(|char: char| !char.is_ascii_alphanumeric()).to_owned()
}

/// A YAML scalar that is this text and nothing else; JSON's texts are YAML's.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|char: char| char.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// One word to a shell.
fn word(text: &str) -> String {
    let is_plain =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-=,:/".contains(&byte));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topics::embedded;

    #[test]
    fn strimzi_resources_are_yaml_that_says_what_was_declared() {
        let topics = embedded().unwrap();
        let text = strimzi(&topics, "facemill.", "my-cluster", StrimziApi::V1Beta2);
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(documents.len(), topics.len());
        for (document, topic) in documents.iter().zip(&topics) {
            assert_eq!(document["apiVersion"], "kafka.strimzi.io/v1beta2");
            assert_eq!(document["kind"], "KafkaTopic");
            assert_eq!(document["metadata"]["name"], format!("facemill.{}", topic.name));
            assert_eq!(document["metadata"]["labels"]["strimzi.io/cluster"], "my-cluster");
            assert_eq!(document["spec"]["partitions"], topic.partitions);
            assert_eq!(document["spec"]["replicas"], topic.replicas);
            let config = document["spec"]["config"].as_object().unwrap();
            assert_eq!(config.len(), topic.config.len());
            assert!(config["retention.ms"].is_i64());
            for (key, value) in config {
                assert_eq!(value.to_string().trim_matches('"'), topic.config[key], "{key}");
            }
        }
    }

    #[test]
    fn a_topic_whose_name_kubernetes_refuses_keeps_it_in_topic_name() {
        let topics = embedded().unwrap();
        let text = strimzi(&topics[..1], "_Face_Mill.", "true", StrimziApi::V1);
        assert!(text.contains("kafka.strimzi.io/v1\n") && text.contains("strimzi.io/cluster: \"true\"\n"), "{text}");
        assert!(
            text.contains("  name: face-mill.urls\n") && text.contains("  topicName: \"_Face_Mill.urls\"\n"),
            "{text}"
        );
    }

    #[test]
    fn commands_create_each_topic_with_its_configuration() {
        let topics = embedded().unwrap();
        let text = kafka_topics(&topics, "facemill.", "broker-1:9092,broker-2:9092");
        assert!(text.contains("brokers=${KAFKA_BROKERS:-broker-1:9092,broker-2:9092}\n"), "{text}");
        assert_eq!(text.matches("--create --if-not-exists").count(), topics.len());
        let urls = "--topic facemill.urls --partitions 96 --replication-factor 3 \\\n  --config cleanup.policy=delete";
        assert!(text.contains(urls) && text.contains("--config min.insync.replicas=2"), "{text}");
    }

    proptest! {
        #[test]
        fn a_quoted_text_reads_back(text in "\\PC{0,20}") {
            let read: serde_json::Value = serde_saphyr::from_str(&format!("key: {}", quoted(&text))).unwrap();
            prop_assert_eq!(&read["key"], &serde_json::Value::from(text));
        }
    }
}
