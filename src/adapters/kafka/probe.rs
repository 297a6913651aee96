use std::time::Duration;

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError as Native,
};

use super::{
    consumer::check_topic,
    error::{KafkaError, config_error, is_denied},
    options::{KafkaOptions, client_config},
};

/// Looks at what a consumer may do, without being one: it joins no group, reads no record and stores no position.
pub struct Probe {
    options: KafkaOptions,
    timeout: Duration,
}

/// Where a consumer group is in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Partitions of the topic.
    pub partitions: usize,
    /// Records in it that the group has not settled.
    pub lag: u64,
}

impl Probe {
    /// `timeout` bounds each request.
    pub fn new(options: &KafkaOptions, timeout: Duration) -> Self {
        Probe { options: options.clone(), timeout }
    }

    /// Where the group is in the topic: to know it takes the same rights as to read it. Blocks.
    ///
    /// # Errors
    /// When the topic or the group is not for us, not there, or no broker answers.
    pub fn progress(&self, group: &str, topic: &str) -> Result<Progress, KafkaError> {
        let mut config = client_config(&self.options, &[("statistics.interval.ms", "0")]);
        config.set("group.id", group).set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().map_err(|error| config_error(&error))?;
        check_topic(consumer.client(), &self.options, topic, self.timeout)?;
        let failed = |error: Native| self.failed(topic, group, &error);
        let metadata = consumer.fetch_metadata(Some(topic), self.timeout).map_err(failed)?;
        let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, i32::try_from(partitions).unwrap_or(i32::MAX) - 1);
        let committed = consumer.committed_offsets(list, self.timeout).map_err(failed)?;
        let mut lag = 0;
        for element in committed.elements() {
            let (low, high) = consumer.fetch_watermarks(topic, element.partition(), self.timeout).map_err(failed)?;
            let position = element.offset().to_raw().filter(|offset| *offset >= low).unwrap_or(low);
            lag += u64::try_from(high - position).unwrap_or(0);
        }
        Ok(Progress { partitions, lag })
    }

    fn failed(&self, topic: &str, group: &str, error: &Native) -> KafkaError {
        match error.rdkafka_error_code() {
            Some(code) if is_denied(code) => {
                KafkaError::Denied { topic: format!("{topic}' to the group '{group}"), cause: code.to_string() }
            }
            _ => KafkaError::Unreachable {
                brokers: self.options.get("bootstrap.servers").unwrap_or_default().to_owned(),
                cause: error.to_string(),
            },
        }
    }
}
