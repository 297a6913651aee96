//! Kafka: consumer groups as sources of records and keepers of positions, topics as places to publish to.
//!
//! A consumer lives on a thread of its own that does nothing but poll, so that the group sees it alive whatever the
//! stage does; the runner gets its events through a short channel. Everything that librdkafka can be told can be told
//! here (`kafka.config`, `-X`).

pub mod admin;
mod consumer;
mod context;
mod error;
mod groups;
mod headers;
mod look;
mod native;
mod offsets;
mod oldest;
mod options;
mod probe;
mod producer;
mod record;
mod rights;
mod survey;
#[cfg(test)]
mod survey_tests;
#[cfg(test)]
mod tests;

pub use consumer::{ConsumerGroup, KafkaPositions, KafkaSource, Membership};
pub use error::KafkaError;
pub use look::{Log, TopicLook, Watched};
pub use oldest::{Oldest, OldestRecord};
pub use options::{KafkaOptions, Secret};
pub use probe::{Probe, Progress};
pub use producer::{KafkaProducer, KafkaTopic, check_limit};
pub use survey::Survey;
