//! Kafka: consumer groups as sources of records and keepers of positions, topics as places to publish to.
//!
//! A consumer lives on a thread of its own that does nothing but poll, so that the group sees it alive whatever the
//! stage does; the runner gets its events through a short channel. Everything that librdkafka can be told can be told
//! here (`kafka.config`, `-X`).

pub mod admin;
mod consumer;
mod context;
mod error;
mod headers;
mod options;
mod probe;
mod producer;
mod record;
mod rights;
#[cfg(test)]
mod tests;

pub use consumer::{ConsumerGroup, KafkaPositions, KafkaSource, Membership};
pub use error::KafkaError;
pub use options::{KafkaOptions, Secret};
pub use probe::{Probe, Progress};
pub use producer::{KafkaProducer, KafkaTopic, check_limit};
