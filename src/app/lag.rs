//! How far behind a stage is, from what was seen of a topic: arithmetic, and nothing else.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    adapters::kafka::{Log, OldestRecord},
    domain::Timestamp,
    telemetry::PartitionLag,
    topics::ActualTopic,
};

/// What a topic keeps; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Retention {
    time: Option<Duration>,
    bytes: Option<u64>,
}

impl Retention {
    /// By the topic's configuration. One that is only compacted keeps the last record of each key for ever.
    pub(super) fn of(topic: &ActualTopic) -> Self {
        let deletes = topic.config.get("cleanup.policy").is_none_or(|policy| policy.value.contains("delete"));
        let limit = |name| topic.limit(name).filter(|_| deletes);
        Retention { time: limit("retention.ms").map(Duration::from_millis), bytes: limit("retention.bytes") }
    }
}

/// What is known of a topic beside its logs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct TopicFacts {
    /// How long its records wait before they are due.
    pub(super) delay: Option<Duration>,
    /// What it keeps, if that may be seen.
    pub(super) retention: Option<Retention>,
    /// Of its records, if one was read.
    pub(super) mean_bytes: Option<f64>,
}

/// How far a group is that has committed this, with the oldest record that it has not settled, where that is known.
pub(super) fn partition_lag(
    log: Log,
    committed: Option<i64>,
    oldest: Option<&OldestRecord>,
    facts: TopicFacts,
    now: Timestamp,
) -> PartitionLag {
    let lag = log.lag(committed);
    let (age, retention_used) = match lag {
        0 => (Some(0.0), facts.retention.map(|_| 0.0)),
        _ => {
            let due = oldest.and_then(|oldest| due_at(oldest, facts.delay));
            let kept_for = oldest.and_then(|oldest| oldest.appended_at).map(|at| seconds_since(at, now));
            (due.map(|due| seconds_since(due, now)), retention_used(lag, kept_for, facts))
        }
    };
    PartitionLag {
        position: u64::try_from(log.position(committed)).unwrap_or_default(),
        lag,
        age,
        retention_used,
        lost: 0,
    }
}

/// When a stage could have begun with the record. It is held until it says, but no longer than its topic's delay.
fn due_at(oldest: &OldestRecord, delay: Option<Duration>) -> Option<Timestamp> {
    let Some(delay) = delay else { return oldest.appended_at };
    let at_last = oldest.appended_at.map(|at| at + delay);
    [oldest.not_before, at_last].into_iter().flatten().min()
}

/// The larger one of the shares of time and bytes, of those that are limited and known.
fn retention_used(lag: u64, kept_for: Option<f64>, facts: TopicFacts) -> Option<f64> {
    let Retention { time, bytes } = facts.retention?;
    let by_time = time.map(|time| Some(kept_for? / time.as_secs_f64()));
    let by_bytes = bytes.map(|bytes| Some(lag as f64 * facts.mean_bytes? / bytes as f64));
    let limited: Vec<Option<f64>> = [by_time, by_bytes].into_iter().flatten().collect();
    match limited.is_empty() {
        true => Some(0.0),
        false => limited.into_iter().flatten().filter(|share| share.is_finite()).reduce(f64::max),
    }
}

/// Nothing where clocks differ so that it is yet to come.
fn seconds_since(then: Timestamp, now: Timestamp) -> f64 {
    (now.as_micros() - then.as_micros()).max(0) as f64 / 1e6
}

/// Counts records that retention has deleted before a group had settled them.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Where each log started at the last look: what was lost before that is counted.
    starts: BTreeMap<(String, i32), i64>,
}

impl Losses {
    /// Records lost since the last look. At the first one, those between what is committed and the start of the log.
    ///
    /// A group that has committed nothing would begin with the first record: it loses what is deleted from now on.
    pub(super) fn since_last(&mut self, topic: &str, partition: i32, log: Log, committed: Option<i64>) -> u64 {
        let last = self.starts.insert((topic.to_owned(), partition), log.start);
        let reached = match (committed, last) {
            // A topic that was made anew has lost nothing to retention.
            (Some(committed), _) if committed > log.end => log.start,
            (Some(committed), last) => committed.max(last.unwrap_or(committed)),
            (None, last) => last.unwrap_or(log.start),
        };
        u64::try_from(log.start - reached).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::ActualValue;

    const NOW: i64 = 1_000_000_000;
    const MINUTE: Duration = Duration::from_secs(60);

    /// A record that was appended so many seconds ago, and is due in so many.
    fn record(appended: Option<i64>, due_in: Option<i64>) -> OldestRecord {
        let at = |seconds: i64| Timestamp::from_micros((NOW + seconds) * 1_000_000);
        OldestRecord::new(17, appended.map(|seconds| at(-seconds)), due_in.map(at))
    }

    fn facts(time: Option<u64>, bytes: Option<u64>, mean_bytes: Option<f64>) -> TopicFacts {
        let retention = Retention { time: time.map(Duration::from_secs), bytes };
        TopicFacts { delay: None, retention: Some(retention), mean_bytes }
    }

    fn lag(committed: Option<i64>, oldest: Option<OldestRecord>, facts: TopicFacts) -> PartitionLag {
        let now = Timestamp::from_micros(NOW * 1_000_000);
        partition_lag(Log { start: 10, end: 30 }, committed, oldest.as_ref(), facts, now)
    }

    #[test]
    fn positions_and_lag_are_those_at_which_a_consumer_would_go_on() {
        for (committed, position, records) in
            [(None, 10, 20), (Some(4), 10, 20), (Some(12), 12, 18), (Some(99), 10, 20)]
        {
            let found = lag(committed, None, TopicFacts::default());
            assert_eq!((found.position, found.lag, found.age), (position, records, None), "{committed:?}");
        }
        let done = lag(Some(30), None, TopicFacts::default());
        assert_eq!((done.position, done.lag, done.age, done.retention_used), (30, 0, Some(0.0), None));
        let empty = Log { start: 5, end: 5 };
        let empty = partition_lag(empty, None, None, facts(Some(60), None, None), Timestamp::now());
        assert_eq!((empty.position, empty.lag, empty.age, empty.retention_used), (5, 0, Some(0.0), Some(0.0)));
    }

    #[test]
    fn age_counts_from_the_append_and_in_a_retry_topic_from_when_the_record_is_due() {
        let age = |record, delay| lag(Some(17), Some(record), TopicFacts { delay, ..TopicFacts::default() }).age;
        let cases = [
            ("appended", record(Some(90), None), None, Some(90.0)),
            ("by a clock that is ahead", record(Some(-90), None), None, Some(0.0)),
            ("without a timestamp", record(None, None), None, None),
            ("not due", record(Some(20), Some(40)), Some(MINUTE), Some(0.0)),
            ("due for a while", record(Some(80), Some(-25)), Some(MINUTE), Some(25.0)),
            ("due by the topic's name", record(Some(90), None), Some(MINUTE), Some(30.0)),
            ("held no longer than that", record(Some(90), Some(1_000_000)), Some(MINUTE), Some(30.0)),
            ("due without a timestamp", record(None, Some(-25)), Some(MINUTE), Some(25.0)),
            ("nothing is known", record(None, None), Some(MINUTE), None),
        ];
        for (what, record, delay, expected) in cases {
            assert_eq!(age(record, delay), expected, "{what}");
        }
    }

    #[test]
    fn the_share_of_the_retention_is_that_of_time_or_bytes_whichever_is_more() {
        // Thirteen records are behind, the oldest for 30 seconds.
        let used = |facts| lag(Some(17), Some(record(Some(30), None)), facts).retention_used;
        let cases = [
            ("time alone", facts(Some(60), None, Some(100.0)), Some(0.5)),
            ("bytes alone", facts(None, Some(2600), Some(100.0)), Some(0.5)),
            ("time is more", facts(Some(40), Some(2600), Some(100.0)), Some(0.75)),
            ("bytes are more", facts(Some(60), Some(1300), Some(100.0)), Some(1.0)),
            ("beyond it", facts(Some(15), None, None), Some(2.0)),
            ("no size is known", facts(Some(60), Some(1), None), Some(0.5)),
            ("no size is known, and no time limited", facts(None, Some(1), None), None),
            ("for ever", facts(None, None, None), Some(0.0)),
            ("not to be seen", TopicFacts { mean_bytes: Some(9.0), ..TopicFacts::default() }, None),
        ];
        for (what, facts, expected) in cases {
            assert_eq!(used(facts), expected, "{what}");
        }
        let waits = TopicFacts { delay: Some(MINUTE), ..facts(Some(60), None, None) };
        assert_eq!(used(waits), Some(0.5), "it is deleted by its age, not by when it is due");
    }

    #[test]
    fn a_topic_that_is_only_compacted_deletes_nothing_by_its_age() {
        let topic = |policy: &str| {
            let values = [("cleanup.policy", policy), ("retention.ms", "60000"), ("retention.bytes", "-1")];
            let value = |value: &str| ActualValue { value: value.to_owned(), set_here: true };
            let config = values.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect();
            Retention::of(&ActualTopic { partitions: 1, replicas: 1, config })
        };
        let minute = Retention { time: Some(MINUTE), bytes: None };
        assert_eq!(
            (topic("delete"), topic("compact,delete"), topic("compact")),
            (minute, minute, Retention::default())
        );
    }

    #[test]
    fn a_loss_is_counted_once_and_only_if_nobody_had_settled_it() {
        let mut losses = Losses::default();
        let mut look = |start, end, committed| losses.since_last("t", 0, Log { start, end }, committed);
        assert_eq!(look(0, 100, Some(40)), 0);
        assert_eq!(look(30, 100, Some(40)), 0, "deleted, and settled before");
        assert_eq!(look(60, 100, Some(40)), 20, "40 to 59");
        assert_eq!(look(60, 120, Some(40)), 0, "counted before");
        assert_eq!(look(70, 120, Some(40)), 10);
        assert_eq!(look(80, 120, Some(75)), 5, "70 to 74 were settled meanwhile");
        assert_eq!(look(90, 120, Some(110)), 0);
        assert_eq!(look(95, 120, Some(92)), 3, "somebody set it back to 92");
        assert_eq!(look(0, 5, Some(110)), 0, "a new topic of that name");
        assert_eq!(look(3, 5, Some(5)), 0);
    }

    #[test]
    fn a_group_that_has_committed_nothing_loses_what_is_deleted_under_our_eyes() {
        let mut losses = Losses::default();
        let mut look =
            |partition, start, committed| losses.since_last("t", partition, Log { start, end: 100 }, committed);
        assert_eq!([look(0, 20, None), look(0, 35, None), look(0, 35, None)], [0, 15, 0]);
        assert_eq!(look(1, 20, Some(5)), 15, "at the first look too, where a group stands below the log");
    }
}
