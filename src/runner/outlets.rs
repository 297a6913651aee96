use std::{sync::Arc, time::Duration};

use super::ports::Publish;

/// Where records go beside the next stage and the store. `facemill local` has none of these.
#[derive(Default)]
pub struct Outlets {
    /// Every terminal row as an event.
    pub results: Option<Arc<dyn Publish>>,
    /// Topics of URLs whose failure may pass, in the order in which a URL waits in them.
    pub later: Vec<Later>,
    /// Records that only a person can help.
    pub dead_letters: Option<Arc<dyn Publish>>,
}

/// A topic in which URLs wait.
pub struct Later {
    /// For how long.
    pub delay: Duration,
    /// The topic.
    pub topic: Arc<dyn Publish>,
}

impl Outlets {
    /// Where a URL waits that has waited `waits` times already and whose server asked for `asked`; and how often it
    /// will have waited then. Nothing when it has waited enough.
    ///
    /// All records of a topic wait equally long, so that they are due in their order.
    pub(super) fn wait(&self, waits: u32, asked: Duration) -> Option<(u32, &Later)> {
        let done = usize::try_from(waits).ok()?;
        let left = self.later.get(done..)?;
        let index = left.iter().position(|later| later.delay >= asked).or(left.len().checked_sub(1))?;
        Some((u32::try_from(done + index + 1).ok()?, left.get(index)?))
    }

    /// Where a URL waits that was refused its turn and not tried: the longest wait comes again and again, and is left for
    /// a failure too.
    pub(super) fn wait_for_turn(&self, waits: u32) -> Option<(u32, &Later)> {
        let last = self.later.len().checked_sub(1)?;
        let index = usize::try_from(waits).unwrap_or(last).min(last);
        let next = u32::try_from((index + 1).min(last)).ok()?;
        Some((next.max(waits), self.later.get(index)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Record, runner::ports::PortError};

    struct Nowhere;

    #[async_trait::async_trait]
    impl Publish for Nowhere {
        fn name(&self) -> &str {
            "nowhere"
        }

        async fn publish(&self, _: &Record) -> Result<(), PortError> {
            Ok(())
        }
    }

    #[test]
    fn a_url_waits_in_each_topic_once_and_skips_those_that_are_too_soon_for_its_server() {
        let later = |seconds| Later { delay: Duration::from_secs(seconds), topic: Arc::new(Nowhere) };
        let outlets = Outlets { later: vec![later(60), later(600), later(3600)], ..Outlets::default() };
        let wait = |waits, asked| {
            outlets.wait(waits, Duration::from_secs(asked)).map(|(waits, later)| (waits, later.delay.as_secs()))
        };
        assert_eq!(wait(0, 0), Some((1, 60)));
        assert_eq!(wait(1, 0), Some((2, 600)));
        assert_eq!(wait(2, 0), Some((3, 3600)));
        assert_eq!(wait(3, 0), None);
        assert_eq!(wait(0, 120), Some((2, 600)), "the first topic would be too soon");
        assert_eq!(wait(0, 86_400), Some((3, 3600)), "no topic waits that long: the longest there is");
        assert_eq!(wait(u32::MAX, 0), None);
        let turn = |waits| outlets.wait_for_turn(waits).map(|(waits, later)| (waits, later.delay.as_secs()));
        assert_eq!((turn(0), turn(1), turn(2)), (Some((1, 60)), Some((2, 600)), Some((2, 3600))));
        assert_eq!(turn(3), Some((3, 3600)), "until it has its turn, and no failure is forgotten");
        assert!(Outlets::default().wait(0, Duration::ZERO).is_none());
        assert!(Outlets::default().wait_for_turn(0).is_none());
    }
}
