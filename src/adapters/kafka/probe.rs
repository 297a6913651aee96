use std::{
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError as Native,
    types::RDKafkaErrorCode,
};

use super::{
    consumer::check_topic,
    error::{KafkaError, config_error, is_denied},
    options::{KafkaOptions, client_config},
    rights::{Operation, may, may_join},
};

/// Between two questions about a group whose coordinator moves.
const AGAIN: Duration = Duration::from_millis(100);

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

    /// Whether this user may read the topic as a member of the group, as far as the brokers tell. To see where a group
    /// is takes less. Blocks.
    ///
    /// # Errors
    /// When it may not, or no broker answers.
    pub fn rights(&self) -> Result<(), KafkaError> {
        let client = self.consumer.client();
        let refused = |topic: String| KafkaError::Denied { topic, cause: "it may be seen, not read".to_owned() };
        if let Ok(Some(false)) = may(client, Operation::Read, &self.topic) {
            return Err(refused(self.topic.clone()));
        }
        if let Ok(Some(false)) = may_join(client, &self.group) {
            return Err(refused(format!("the group {}", self.group)));
        }
        Ok(())
    }

    /// Where the group is in the topic. Blocks.
    ///
    /// # Errors
    /// When the topic or the group is not for us, not there, or no broker answers.
    pub fn progress(&self) -> Result<Progress, KafkaError> {
        check_topic(self.consumer.client(), &self.options, &self.topic, self.timeout)?;
        let give_up = Instant::now() + self.timeout;
        loop {
            match self.look() {
                // Brokers on which a group is new, or which have just come up.
                Err(error) if is_moving(&error) && Instant::now() < give_up => thread::sleep(AGAIN),
                looked => return looked.map_err(|error| self.failed(&error)),
            }
        }
    }

    fn look(&self) -> Result<Progress, Native> {
        let Probe { consumer, topic, .. } = self;
        let metadata = consumer.fetch_metadata(Some(topic), self.timeout)?;
        let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, i32::try_from(partitions).unwrap_or(i32::MAX) - 1);
        let committed = consumer.committed_offsets(list, self.timeout)?;
        let mut lag = 0;
        for element in committed.elements() {
            let (low, high) = consumer.fetch_watermarks(topic, element.partition(), self.timeout)?;
            let position = element.offset().to_raw().filter(|offset| *offset >= low).unwrap_or(low);
            lag += u64::try_from(high - position).unwrap_or(0);
        }
        Ok(Progress { partitions, lag })
    }

    fn failed(&self, error: &Native) -> KafkaError {
        // Of a group that is not for us, the answer is a time-out; why, comes as an event.
        let error = &self.consumer.poll(Duration::ZERO).and_then(Result::err).unwrap_or_else(|| error.clone());
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

/// Whether the group's coordinator is about to be another one.
fn is_moving(error: &Native) -> bool {
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    matches!(error.rdkafka_error_code(), Some(NotCoordinator | CoordinatorNotAvailable | CoordinatorLoadInProgress))
}
