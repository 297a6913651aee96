use std::collections::VecDeque;

use tokio::time::Instant;

use super::ports::Offset;

/// Tells how far a partition is done, while its records finish in any order.
///
/// The position is the lowest unfinished offset, or one past the highest when all are finished: the
/// position that may be committed, because everything below it is done. Offsets grow but may have
/// gaps (compaction, transaction markers), so only offsets that were registered are ever compared.
#[derive(Debug, Default)]
pub struct Watermark {
    /// From the lowest unfinished offset upwards: finished ones in here wait for that one.
    open: VecDeque<Entry>,
    /// The highest offset registered so far.
    highest: Option<Offset>,
}

#[derive(Debug)]
struct Entry {
    offset: Offset,
    since: Instant,
    finished: bool,
}

impl Watermark {
    /// Takes note of a record before any work on it begins.
    ///
    /// Returns false, and changes nothing, for an offset that is not above every one registered before.
    pub fn register(&mut self, offset: Offset) -> bool {
        if self.highest.is_some_and(|highest| offset <= highest) {
            return false;
        }
        self.highest = Some(offset);
        self.open.push_back(Entry { offset, since: Instant::now(), finished: false });
        true
    }

    /// Takes note that a record's effect is durable. An offset that is not open changes nothing.
    ///
    /// Returns whether the position moved.
    pub fn finish(&mut self, offset: Offset) -> bool {
        let Ok(index) = self.open.binary_search_by_key(&offset, |entry| entry.offset) else { return false };
        if let Some(entry) = self.open.get_mut(index) {
            entry.finished = true;
        }
        let before = self.open.len();
        while self.open.front().is_some_and(|entry| entry.finished) {
            self.open.pop_front();
        }
        self.open.len() < before
    }

    /// The offset to commit; nothing before the first record.
    pub fn position(&self) -> Option<Offset> {
        match self.open.front() {
            Some(lowest) => Some(lowest.offset),
            None => self.highest.map(|highest| highest + 1),
        }
    }

    /// Records between the position and the highest offset: what a crash now would bring back.
    pub fn span(&self) -> usize {
        self.open.len()
    }

    /// When the lowest unfinished record was registered.
    pub fn oldest(&self) -> Option<Instant> {
        self.open.front().map(|entry| entry.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(offsets: &[Offset]) -> Watermark {
        let mut watermark = Watermark::default();
        assert!(offsets.iter().all(|offset| watermark.register(*offset)));
        watermark
    }

    #[test]
    fn position_is_the_lowest_unfinished_offset() {
        let mut watermark = registered(&[5, 6, 7]);
        assert_eq!(watermark.position(), Some(5));
        assert!(!watermark.finish(6));
        assert!(!watermark.finish(7));
        assert_eq!(watermark.position(), Some(5), "5 is unfinished, whatever is finished above it");
        assert!(watermark.finish(5));
        assert_eq!(watermark.position(), Some(8));
    }

    #[test]
    fn gaps_between_offsets_are_no_unfinished_work() {
        let mut watermark = registered(&[3, 10, 1_000_000_000]);
        assert!(watermark.finish(3));
        assert_eq!(watermark.position(), Some(10));
        watermark.finish(1_000_000_000);
        watermark.finish(10);
        assert_eq!(watermark.position(), Some(1_000_000_001));
        assert_eq!(watermark.span(), 0);
    }

    #[test]
    fn an_offset_is_registered_once_and_finished_once() {
        let mut watermark = registered(&[1, 2]);
        assert!(!watermark.register(2) && !watermark.register(1) && !watermark.register(0));
        assert!(watermark.finish(1));
        assert!(!watermark.finish(1), "a second completion");
        assert!(!watermark.finish(99), "an offset never seen");
        assert_eq!(watermark.position(), Some(2));
    }

    #[test]
    fn before_the_first_record_there_is_nothing_to_commit() {
        assert_eq!(Watermark::default().position(), None);
    }
}
