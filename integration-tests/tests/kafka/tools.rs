//! Kafka's own tools, and what happens to its servers.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
    thread,
};

use crate::cluster::{Cluster, script};

impl Cluster {
    /// `kafka-NAME --bootstrap-server … WORDS < INPUT`: what it prints.
    #[track_caller]
    pub fn kafka(&self, name: &str, words: &str, input: &[u8]) -> Vec<u8> {
        let mut child = Command::new(script("kafka").join(format!("kafka-{name}")))
            .args(["--bootstrap-server", &self.brokers])
            .args(words.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        let write = thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        write.join().unwrap().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "kafka-{name} {words}: {stdout}{stderr}");
        output.stdout
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

/// `scripts/stack.sh WORDS`, on the stack of this run.
#[track_caller]
pub fn stack(words: &str) {
    let output = Command::new(script("stack.sh")).args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
}
