use std::time::Duration;

/// How often and how patiently a stage is tried again in the process.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The longest first delay; it doubles with every attempt.
    pub base: Duration,
    /// The longest delay, a server's `Retry-After` included: a longer one ends the attempts.
    pub cap: Duration,
}

impl RetryPolicy {
    /// For our own infrastructure, which is waited for until it is back (attempts are not counted).
    pub const INFRASTRUCTURE: RetryPolicy =
        RetryPolicy { attempts: u32::MAX, base: Duration::from_millis(100), cap: Duration::from_secs(30) };

    /// The delay after the attempt of this number (from 1): uniform between zero and an exponentially
    /// growing bound, so that those who failed together do not come back together
    /// ("full jitter": AWS Architecture Blog, Exponential Backoff And Jitter, 2015).
    pub fn delay(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        bound.mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_spread_over_a_doubling_range_up_to_the_cap() {
        let policy = RetryPolicy { attempts: 9, base: Duration::from_secs(1), cap: Duration::from_secs(10) };
        for (attempt, bound) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (4_000_000_000, 10.0)] {
            let delays: Vec<f64> = (0..500).map(|_| policy.delay(attempt).as_secs_f64()).collect();
            assert!(delays.iter().all(|delay| (0.0..=bound).contains(delay)));
            assert!(delays.iter().any(|delay| *delay < bound * 0.25), "attempt {attempt} reaches down to zero");
            assert!(delays.iter().any(|delay| *delay > bound * 0.75), "attempt {attempt} reaches up to the bound");
        }
    }
}
