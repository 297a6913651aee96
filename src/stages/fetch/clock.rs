use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout};

/// What is left of the time that one URL may take. It runs only while the network is waited for, not while
/// the URL waits for its turn or for memory: that wait is ours, and no server's fault.
#[derive(Debug)]
pub(super) struct Clock {
    left: Duration,
    spent: Duration,
}

/// Which limit ran out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// The one for this step.
    Step,
    /// The one for everything.
    Total,
}

impl Clock {
    pub(super) fn new(total: Duration) -> Self {
        Clock { left: total, spent: Duration::ZERO }
    }

    /// How long the network was waited for so far.
    pub(super) fn spent(&self) -> Duration {
        self.spent
    }

    /// Waits for `work`, which may take `limit` and what is left.
    pub(super) async fn run<T>(&mut self, limit: Duration, work: impl Future<Output = T>) -> Result<T, Expired> {
        let started = Instant::now();
        let expired = if limit < self.left { Expired::Step } else { Expired::Total };
        let result = timeout(limit.min(self.left), work).await;
        let took = started.elapsed();
        self.left = self.left.saturating_sub(took);
        self.spent += took;
        result.map_err(|_| expired)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_limit_that_runs_out_first_is_named() {
        let mut clock = Clock::new(3 * SECOND);
        assert_eq!(clock.run(SECOND, ready(7)).await, Ok(7));
        assert_eq!(clock.run(SECOND, pending::<()>()).await, Err(Expired::Step));
        assert_eq!(clock.run(5 * SECOND, pending::<()>()).await, Err(Expired::Total));
        assert!(clock.spent() >= 3 * SECOND && clock.spent() < 4 * SECOND, "{:?}", clock.spent());
    }

    #[tokio::test(start_paused = true)]
    async fn time_between_two_steps_is_not_counted() {
        let mut clock = Clock::new(2 * SECOND);
        clock.run(SECOND, sleep(SECOND / 2)).await.unwrap();
        sleep(100 * SECOND).await;
        assert_eq!(clock.run(SECOND, sleep(SECOND / 2)).await, Ok(()));
        assert!(clock.spent() < 2 * SECOND, "{:?}", clock.spent());
    }
}
