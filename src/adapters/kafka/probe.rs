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

/// Looks at how far a consumer group is in a topic, without being a member: it joins nothing, reads no record and
/// stores no position.
pub struct Probe {
    consumer: BaseConsumer,
    options: KafkaOptions,
    group: String,
    topic: String,
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
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn new(options: &KafkaOptions, group: &str, topic: &str, timeout: Duration) -> Result<Self, KafkaError> {
        let mut config = client_config(options, &[("statistics.interval.ms", "0")]);
        config.set("group.id", group).set("enable.auto.commit", "false");
        let consumer = config.create().map_err(|error| config_error(&error))?;
        let (group, topic) = (group.to_owned(), topic.to_owned());
        Ok(Probe { consumer, options: options.clone(), group, topic, timeout })
    }

    /// Where the group is in the topic: to know it takes the same rights as to read it. Blocks.
    ///
    /// # Errors
    /// When the topic or the group is not for us, not there, or no broker answers.
    pub fn progress(&self) -> Result<Progress, KafkaError> {
        let Probe { consumer, topic, .. } = self;
        check_topic(consumer.client(), &self.options, topic, self.timeout)?;
        let failed = |error: Native| self.failed(&error);
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

    fn failed(&self, error: &Native) -> KafkaError {
        match error.rdkafka_error_code() {
            Some(code) if is_denied(code) => KafkaError::Denied {
                topic: format!("{}' to the group '{}", self.topic, self.group),
                cause: code.to_string(),
            },
            _ => KafkaError::Unreachable {
                brokers: self.options.get("bootstrap.servers").unwrap_or_default().to_owned(),
                cause: error.to_string(),
            },
        }
    }
}
