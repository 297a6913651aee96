//! Kafka, by librdkafka.

pub mod admin;
mod options;

pub use options::{KafkaOptions, Secret};
