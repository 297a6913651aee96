use std::time::Duration;

use rdkafka::consumer::Consumer;
use tokio_util::sync::CancellationToken;

use super::{
    error::KafkaError,
    look::Watched,
    native::Patience,
    options::KafkaOptions,
    rights::{Operation, may, may_join},
    survey::Survey,
};

/// Looks at how far a consumer group is in a topic, without being a member: it joins nothing, reads no record and
/// stores no position.
pub struct Probe {
    survey: Survey,
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
    /// `timeout` bounds each look.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn new(options: &KafkaOptions, group: &str, topic: &str, timeout: Duration) -> Result<Self, KafkaError> {
        let survey = Survey::new(options, group, timeout)?;
        Ok(Probe { survey, group: group.to_owned(), topic: topic.to_owned(), timeout })
    }

    /// Whether this user may read the topic as a member of the group, as far as the brokers tell. To see where a group
    /// is takes less. Blocks.
    ///
    /// # Errors
    /// When it may not, or no broker answers.
    pub fn rights(&self) -> Result<(), KafkaError> {
        let client = self.survey.consumer().client();
        let refused = |topic: String| KafkaError::Denied { topic, cause: "it may be seen, not read".to_owned() };
        if let Ok(Some(false)) = may(client, Operation::Read, &self.topic) {
            return Err(refused(self.topic.clone()));
        }
        let brokers = self.survey.described(&self.topic, Patience::of(self.timeout, None))?.brokers;
        if may_join(client, &brokers, &self.group) == Some(false) {
            return Err(refused(format!("the group {}", self.group)));
        }
        Ok(())
    }

    /// Where the group is in the topic. Blocks, until `stop` at the longest.
    ///
    /// # Errors
    /// When the topic or the group is not for us, not there, or no broker answers.
    pub fn progress(&self, stop: Option<&CancellationToken>) -> Result<Progress, KafkaError> {
        let watched = Watched { topic: self.topic.clone(), group: Some(self.group.clone()) };
        let look = self.survey.offsets(&[watched], self.timeout, stop)?.pop().unwrap_or_default();
        let progress = Progress { partitions: look.logs.len(), lag: look.lag() };
        look.errors.into_iter().next().map_or(Ok(progress), Err)
    }
}
