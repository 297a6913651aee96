use rdkafka::{error::KafkaError as Native, types::RDKafkaErrorCode};

use crate::runner::ports::PortError;

/// Why a client of Kafka could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// librdkafka does not take the configuration.
    #[error("Kafka: {0}: look at kafka.* and -X; the properties are those of librdkafka's CONFIGURATION.md")]
    Config(String),
    /// No broker answers.
    #[error(
        "no Kafka broker of '{brokers}' answers ({cause}): check kafka.brokers, the network, and security.protocol and \
         the login in kafka.config"
    )]
    Unreachable {
        /// `bootstrap.servers`.
        brokers: String,
        /// What librdkafka said last.
        cause: String,
    },
    /// A topic is not there.
    #[error(
        "the topic '{0}' is not there, or this user may not see it: `facemill topics apply --yes` makes it; check \
         kafka.topic_prefix and the user's rights (kafka-acls --operation Describe)"
    )]
    NoTopic(String),
    /// A permission is missing.
    #[error("Kafka refuses '{topic}' ({cause}): give this user the rights to it (kafka-acls)")]
    Denied {
        /// The topic or group.
        topic: String,
        /// What the broker said.
        cause: String,
    },
    /// Brokers are down.
    #[error(
        "nobody leads the partitions {partitions:?} of the topic '{topic}': bring back the brokers that have their \
         replicas (kafka-topics --describe --unavailable-partitions)"
    )]
    NoLeader {
        /// The topic.
        topic: String,
        /// Its partitions without a leader.
        partitions: Vec<i32>,
    },
    /// A question that will be asked again.
    #[error("Kafka does not tell of {what} ({cause}): if that does not pass, look at the brokers' log")]
    Unanswered {
        /// A topic or a group.
        what: String,
        /// What the broker or librdkafka said.
        cause: String,
    },
    /// A topic that is to be written to may only be read.
    #[error("this user may not write to the topic '{0}': give it the right (kafka-acls --operation Write)")]
    ReadOnly(String),
    /// A topic that refuses whole batches, and every record in them with them.
    #[error(
        "the topic '{topic}' takes at most {limit} bytes at once, and facemill sends up to {batch}: raise its \
         max.message.bytes (`facemill topics diff`), or set batch.size in kafka.config to less"
    )]
    SmallTopic {
        /// The topic.
        topic: String,
        /// Its `max.message.bytes`.
        limit: u64,
        /// Our `batch.size`.
        batch: u64,
    },
    /// A topic that takes records which this client would not send.
    #[error(
        "the topic '{topic}' takes records of up to {limit} bytes, and this client sends none of more than {record}, so \
         that what is larger would be called too large: set message.max.bytes in kafka.config (or -X) to {limit} at \
         least, or lower the topic's max.message.bytes"
    )]
    SmallClient {
        /// The topic.
        topic: String,
        /// Its `max.message.bytes`.
        limit: u64,
        /// Our `message.max.bytes`.
        record: u64,
    },
    /// The polling thread cannot be started.
    #[error("cannot start a thread for Kafka: {0}")]
    Thread(#[from] std::io::Error),
}

/// Why librdkafka does not take the configuration; without the value, which may be a secret.
pub(super) fn config_error(error: &Native) -> KafkaError {
    KafkaError::Config(match error {
        // A shorter one is no secret, and part of any word.
        Native::ClientConfig(_, problem, name, value) if value.len() > 3 => {
            format!("{}: '{name}'", problem.replace(value, "***"))
        }
        Native::ClientConfig(_, problem, name, _) => format!("{problem}: '{name}'"),
        other => other.to_string(),
    })
}

/// What an error of a running client means for the runner: nearly all pass, given time or an operator.
pub(super) fn port_error(what: &str, error: &Native) -> PortError {
    let text = format!("{what}: {error}");
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => PortError::TooLarge(text),
        // The producer cannot promise order and exactly one copy any more, or the group has a member of our name.
        Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::Fenced | RDKafkaErrorCode::FencedInstanceId) => {
            PortError::Fatal(text)
        }
        _ => PortError::Unavailable(text),
    }
}

/// Whether the broker says that this user may not.
pub(super) fn is_denied(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::Authentication
    )
}

/// No answer of a topic, or of a group in it.
pub(super) fn unanswered(topic: &str, group: Option<&str>, cause: String) -> KafkaError {
    let what = match group {
        Some(group) => format!("the group '{group}' in the topic '{topic}'"),
        None => format!("the topic '{topic}'"),
    };
    KafkaError::Unanswered { what, cause }
}
