use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

/// When a host is left alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerOptions {
    /// Failures in a row after which a host is left alone; 0 for never.
    pub failures: u32,
    /// The time that failures in a row may have taken, all together, before that.
    pub wasted: Duration,
    /// For how long at first; twice as long each time that it then fails again.
    pub rest: Duration,
    /// The longest rest, a server's `Retry-After` included.
    pub longest: Duration,
}

/// The circuit breaker of one host (Nygard, Release It!, 2007): after some failures in a row nobody asks it for a while,
/// then one request may try. While that one is under way, the next rest has begun.
#[derive(Debug)]
pub(super) struct Breaker {
    options: BreakerOptions,
    state: Mutex<State>,
    /// Told when a trial has ended.
    verdict: Notify,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    wasted: Duration,
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    until: Instant,
    length: Duration,
    /// Whether the one request that may try is under way.
    is_tried: bool,
}

/// Why a host may not be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It rests for so long.
    Rests(Duration),
    /// One request tries it: by the end of this time at the latest it is known how that went.
    IsTried(Duration),
}

/// How it stands with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostState {
    /// It may be asked, if only by one after a rest.
    Working,
    /// It is left alone.
    Resting,
    /// One request tries whether it works again.
    Tried,
}

/// Leave to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// As one of many.
    Ordinary,
    /// The one request after a rest.
    Trial,
}

impl Breaker {
    pub(super) fn new(options: BreakerOptions) -> Self {
        Breaker { options, state: Mutex::default(), verdict: Notify::new() }
    }

    /// Whether the host may be asked, or why not.
    pub(super) fn ask(&self) -> Result<Leave, Refusal> {
        let mut state = self.lock();
        let Some(rest) = &mut state.rest else { return Ok(Leave::Ordinary) };
        let now = Instant::now();
        if now < rest.until {
            let left = rest.until - now;
            return Err(if rest.is_tried { Refusal::IsTried(left) } else { Refusal::Rests(left) });
        }
        (rest.until, rest.is_tried) = (now + rest.length, true);
        Ok(Leave::Trial)
    }

    /// The end of the next trial to end.
    pub(super) fn verdict(&self) -> Notified<'_> {
        self.verdict.notified()
    }

    /// The request was never made: a trial is still to come.
    pub(super) fn untried(&self, leave: Leave) {
        if leave != Leave::Trial {
            return;
        }
        if let Some(rest) = &mut self.lock().rest {
            (rest.until, rest.is_tried) = (Instant::now(), false);
        }
        self.verdict.notify_waiters();
    }

    /// The host answered like one that works. What was under way when a rest began does not end it: the host may have
    /// asked for it.
    pub(super) fn works(&self, leave: Leave) {
        let mut state = self.lock();
        (state.failures, state.wasted) = (0, Duration::ZERO);
        if leave == Leave::Trial {
            state.rest = None;
            drop(state);
            self.verdict.notify_waiters();
        }
    }

    /// The host failed, which took so long, and may have said for how long it wants to be left alone.
    pub(super) fn fails(&self, leave: Leave, took: Duration, asked: Option<Duration>) {
        if self.options.failures == 0 {
            return;
        }
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        state.wasted = state.wasted.saturating_add(took);
        let is_enough = state.failures >= self.options.failures || state.wasted >= self.options.wasted;
        let length = match &state.rest {
            Some(rest) if leave == Leave::Trial => Some(2 * rest.length),
            // Of those that were under way when it began.
            Some(_) => None,
            None => is_enough.then_some(self.options.rest),
        };
        // A short wish does not make a long rest shorter.
        let asked = asked.filter(|asked| !asked.is_zero());
        let asked = asked.map(|asked| state.rest.as_ref().map_or(asked, |rest| asked.max(rest.length)));
        let length = length.max(asked);
        if let Some(length) = length {
            let length = length.min(self.options.longest);
            let until = (Instant::now() + length).max(state.rest.as_ref().map_or_else(Instant::now, |rest| rest.until));
            let is_tried = leave != Leave::Trial && state.rest.as_ref().is_some_and(|rest| rest.is_tried);
            state.rest = Some(Rest { until, length, is_tried });
        }
        drop(state);
        if leave == Leave::Trial {
            self.verdict.notify_waiters();
        }
    }

    /// How it stands with the host, for people.
    pub(super) fn state(&self) -> HostState {
        match &self.lock().rest {
            None => HostState::Working,
            Some(rest) if rest.until <= Instant::now() => HostState::Working,
            Some(rest) if rest.is_tried => HostState::Tried,
            Some(_) => HostState::Resting,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(BreakerOptions { failures: 3, wasted: 30 * SECOND, rest: 10 * SECOND, longest: 60 * SECOND })
    }

    fn fail(breaker: &Breaker, times: usize) {
        (0..times).for_each(|_| breaker.fails(Leave::Ordinary, Duration::ZERO, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_rests_after_failures_in_a_row_and_one_request_tries_it_then() {
        let breaker = breaker();
        fail(&breaker, 2);
        assert_eq!(breaker.ask(), Ok(Leave::Ordinary));
        fail(&breaker, 1);
        assert_eq!(breaker.ask(), Err(Refusal::Rests(10 * SECOND)));
        advance(10 * SECOND).await;
        assert_eq!(breaker.ask(), Ok(Leave::Trial));
        assert_eq!(breaker.ask(), Err(Refusal::IsTried(10 * SECOND)), "one at a time");
        breaker.works(Leave::Ordinary);
        assert_eq!(breaker.ask(), Err(Refusal::IsTried(10 * SECOND)), "that one was under way before");
        breaker.works(Leave::Trial);
        assert_eq!(breaker.ask(), Ok(Leave::Ordinary));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_take_long_are_enough_sooner() {
        let breaker = breaker();
        breaker.fails(Leave::Ordinary, 29 * SECOND, None);
        assert_eq!(breaker.ask(), Ok(Leave::Ordinary));
        breaker.fails(Leave::Ordinary, SECOND, None);
        assert_eq!(breaker.ask(), Err(Refusal::Rests(10 * SECOND)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_was_not_made_is_still_to_come() {
        let breaker = breaker();
        fail(&breaker, 3);
        advance(10 * SECOND).await;
        let leave = breaker.ask().unwrap();
        breaker.untried(leave);
        assert_eq!(breaker.ask(), Ok(Leave::Trial));
        breaker.untried(Leave::Ordinary);
        assert_eq!(breaker.ask(), Err(Refusal::IsTried(10 * SECOND)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_works_in_between_begins_the_count_anew() {
        let breaker = breaker();
        fail(&breaker, 2);
        breaker.works(Leave::Ordinary);
        fail(&breaker, 2);
        assert_eq!(breaker.ask(), Ok(Leave::Ordinary));
    }

    #[tokio::test(start_paused = true)]
    async fn each_rest_is_twice_as_long_up_to_the_longest() {
        let breaker = breaker();
        fail(&breaker, 3);
        for expected in [10, 20, 40, 60, 60] {
            assert_eq!(breaker.ask(), Err(Refusal::Rests(expected * SECOND)));
            advance(expected * SECOND).await;
            assert_eq!(breaker.ask(), Ok(Leave::Trial));
            breaker.fails(Leave::Trial, Duration::ZERO, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_were_under_way_when_the_rest_began_do_not_lengthen_it() {
        let breaker = breaker();
        fail(&breaker, 3);
        advance(SECOND).await;
        fail(&breaker, 20);
        assert_eq!(breaker.ask(), Err(Refusal::Rests(9 * SECOND)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_asks_for_a_rest_has_it_at_once_within_the_longest() {
        let breaker = breaker();
        breaker.fails(Leave::Ordinary, Duration::ZERO, Some(5 * SECOND));
        assert_eq!(breaker.ask(), Err(Refusal::Rests(5 * SECOND)));
        breaker.fails(Leave::Ordinary, Duration::ZERO, Some(86_400 * SECOND));
        assert_eq!(breaker.ask(), Err(Refusal::Rests(60 * SECOND)));
        breaker.fails(Leave::Ordinary, Duration::ZERO, Some(SECOND));
        assert_eq!(breaker.ask(), Err(Refusal::Rests(60 * SECOND)), "a shorter wish ends no longer rest");
        advance(60 * SECOND).await;
        assert_eq!(breaker.ask(), Ok(Leave::Trial));
        assert_eq!(breaker.ask(), Err(Refusal::IsTried(60 * SECOND)), "nor the one after it");
    }

    #[test]
    fn without_a_number_of_failures_no_host_rests() {
        let breaker = Breaker::new(BreakerOptions { failures: 0, wasted: SECOND, rest: SECOND, longest: SECOND });
        fail(&breaker, 100);
        breaker.fails(Leave::Ordinary, Duration::ZERO, Some(SECOND));
        assert_eq!(breaker.ask(), Ok(Leave::Ordinary));
    }
}
