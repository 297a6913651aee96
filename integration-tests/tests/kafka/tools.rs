//! Kafka's own tools.

use std::collections::BTreeMap;

use crate::{cluster::Cluster, scripts};

impl Cluster {
    /// `kafka-NAME --bootstrap-server … WORDS < INPUT`: what it prints.
    #[track_caller]
    pub fn kafka(&self, name: &str, words: &str, input: &[u8]) -> Vec<u8> {
        scripts::kafka(name, &self.brokers, words, input)
    }

    /// How many partitions each member of the groups has.
    pub fn members(&self, groups: &[&str]) -> Vec<i32> {
        // GROUP CONSUMER-ID HOST CLIENT-ID #PARTITIONS
        self.describe("--members", groups).iter().map(|words| words[4].parse().unwrap()).collect()
    }

    /// The lag of a group by partition, as `kafka-consumer-groups --describe` shows it; the whole log before its first
    /// commit.
    pub fn lags(&self, groups: &[&str]) -> BTreeMap<(String, i32), u64> {
        // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...
        let lag = |words: &Vec<String>| {
            let lag = if words[5] == "-" { &words[4] } else { &words[5] };
            ((words[1].clone(), words[2].parse().unwrap()), lag.parse().unwrap())
        };
        self.describe("--offsets", groups).iter().map(lag).collect()
    }

    /// The lines of `kafka-consumer-groups --describe` without their heads.
    fn describe(&self, what: &str, groups: &[&str]) -> Vec<Vec<String>> {
        let groups: Vec<String> = groups.iter().map(|group| format!("--group {}{group}", self.prefix)).collect();
        let output = self.kafka("consumer-groups", &format!("--describe {what} {}", groups.join(" ")), b"");
        let output = String::from_utf8(output).unwrap();
        let lines = output.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        lines.filter(|words| words.first().is_some_and(|group| group.starts_with(&self.prefix))).collect()
    }
}
