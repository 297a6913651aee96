//! Kafka's own tools.

use std::collections::BTreeMap;

use crate::{cluster::Cluster, scripts};

impl Cluster {
    /// `kafka-NAME --bootstrap-server … WORDS < INPUT`: what it prints.
    #[track_caller]
    pub fn kafka(&self, name: &str, words: &str, input: &[u8]) -> Vec<u8> {
        scripts::kafka(name, &self.brokers, words, input)
    }

    /// The lag of a group by partition, as `kafka-consumer-groups --describe` shows it; the whole log before its first
    /// commit.
    pub fn lags(&self, groups: &[&str]) -> BTreeMap<(String, i32), u64> {
        let groups: Vec<String> = groups.iter().map(|group| format!("--group {}{group}", self.prefix)).collect();
        let output = self.kafka("consumer-groups", &format!("--describe {}", groups.join(" ")), b"");
        let output = String::from_utf8(output).unwrap();
        let mut lags = BTreeMap::new();
        for line in output.lines() {
            // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.first().is_some_and(|group| group.starts_with(&self.prefix)) {
                let lag = if words[5] == "-" { words[4] } else { words[5] };
                lags.insert((words[1].to_owned(), words[2].parse().unwrap()), lag.parse().unwrap());
            }
        }
        lags
    }
}
