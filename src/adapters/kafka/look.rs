use std::collections::BTreeMap;

use super::error::KafkaError;
use crate::runner::ports::{Offset, Partition};

/// A topic to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its name.
    pub topic: String,
    /// The consumer group that reads it, if one of ours does.
    pub group: Option<String>,
}

/// What was seen of one topic. What could not be seen is among the errors, and is missing here.
#[derive(Debug, Default)]
pub struct TopicLook {
    /// Where the log of each partition starts and ends.
    pub logs: BTreeMap<Partition, Log>,
    /// How far the group has committed each partition; `None` where it has committed nothing.
    pub committed: BTreeMap<Partition, Option<Offset>>,
    /// Members that the group has.
    pub members: Option<usize>,
    /// What could not be seen.
    pub errors: Vec<KafkaError>,
}

/// The log of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The oldest record that is there.
    pub start: Offset,
    /// The one that comes next.
    pub end: Offset,
}

impl Log {
    /// Where a group goes on that has committed this: at the start of the log where it has committed nothing, or a
    /// position that the log does not have: retention has passed it, or the topic is another one of the same name.
    /// Our consumers do so (`auto.offset.reset=earliest`).
    pub fn position(self, committed: Option<Offset>) -> Offset {
        committed.filter(|offset| (self.start..=self.end).contains(offset)).unwrap_or(self.start)
    }

    /// Records from there to the end; those that compaction has removed count too.
    pub fn lag(self, committed: Option<Offset>) -> u64 {
        u64::try_from(self.end - self.position(committed)).unwrap_or_default()
    }
}

impl TopicLook {
    /// Records that the group has not settled, of all partitions that could be seen.
    pub fn lag(&self) -> u64 {
        let of = |(partition, committed): (&_, &_)| Some(self.logs.get(partition)?.lag(*committed));
        self.committed.iter().filter_map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_goes_on_where_it_committed_or_at_the_start_of_what_is_left() {
        let log = Log { start: 10, end: 30 };
        let cases = [
            ("no commit yet", None, 10, 20),
            ("in the middle", Some(17), 17, 13),
            ("at the start", Some(10), 10, 20),
            ("at the end", Some(30), 30, 0),
            ("passed by retention", Some(4), 10, 20),
            ("beyond the end: another topic of that name", Some(31), 10, 20),
        ];
        for (what, committed, position, lag) in cases {
            assert_eq!((log.position(committed), log.lag(committed)), (position, lag), "{what}");
        }
        let empty = Log { start: 10, end: 10 };
        assert_eq!([empty.lag(None), empty.lag(Some(10)), empty.lag(Some(3)), empty.lag(Some(99))], [0; 4]);
    }
}
