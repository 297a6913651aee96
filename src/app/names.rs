//! What topics and consumer groups are called.

use std::time::Duration;

use crate::{config::Settings, domain::StageName, topics::RETRY_TOPICS};

/// The topics' names.
pub struct Topics<'a>(pub &'a Settings);

impl Topics<'_> {
    /// The topic that a stage reads first.
    pub fn input(&self, stage: StageName) -> String {
        self.named(match stage {
            StageName::Fetch => "urls",
            StageName::Preprocess => "images",
            StageName::Detect => "frames",
        })
    }

    /// The topics in which URLs wait for a later try, and for how long.
    pub fn later(&self) -> Vec<(String, Duration)> {
        let delays = self.0.retry.later.iter();
        delays
            // They parse: the settings were checked.
            .filter_map(|text| {
                Some((self.named(&format!("{RETRY_TOPICS}{text}")), humantime::parse_duration(text).ok()?))
            })
            .collect()
    }

    /// How long a URL waits in a topic of waiting URLs, whether it is configured or was once.
    pub fn delay(&self, topic: &str) -> Option<Duration> {
        humantime::parse_duration(topic.strip_prefix(&self.named(RETRY_TOPICS))?).ok()
    }

    /// The topic of results, if they are published.
    pub fn results(&self) -> Option<String> {
        self.0.kafka.results_topic.then(|| self.named("results"))
    }

    /// The topic of dead letters.
    pub fn dead_letters(&self) -> String {
        self.named("dlq")
    }

    /// The topics that a stage writes.
    pub fn outputs(&self, stage: StageName) -> Vec<String> {
        let mut outputs = match stage {
            StageName::Fetch => vec![self.input(StageName::Preprocess)],
            StageName::Preprocess => vec![self.input(StageName::Detect)],
            StageName::Detect => Vec::new(),
        };
        if stage == StageName::Fetch {
            outputs.extend(self.later().into_iter().map(|(topic, _)| topic));
        }
        outputs.extend(self.results());
        outputs.push(self.dead_letters());
        outputs
    }

    /// The topics that a stage reads.
    pub fn inputs(&self, stage: StageName) -> Vec<String> {
        let mut inputs = vec![self.input(stage)];
        if stage == StageName::Fetch {
            inputs.extend(self.later().into_iter().map(|(topic, _)| topic));
        }
        inputs
    }

    /// Of some topics, those in which URLs wait for a delay that is not configured: nobody reads them.
    pub fn abandoned<'t>(&self, topics: impl Iterator<Item = &'t String>) -> Vec<&'t str> {
        let (prefix, read) = (self.named(RETRY_TOPICS), self.inputs(StageName::Fetch));
        topics.filter(|name| name.starts_with(&prefix) && !read.contains(name)).map(String::as_str).collect()
    }

    /// The consumer group that reads a topic: one for each stage, and one for each topic of waiting URLs.
    pub fn group(&self, stage: StageName, topic: &str) -> String {
        let prefix = &self.0.kafka.group_prefix;
        match topic.strip_prefix(&self.named(RETRY_TOPICS)) {
            Some(delay) => format!("{prefix}{stage}.retry.{delay}"),
            None => format!("{prefix}{stage}"),
        }
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.0.kafka.topic_prefix)
    }
}
