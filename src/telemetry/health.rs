use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What a process waits for, and whether its parts still move: the answers of `/readyz` and `/livez`.
#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What is being waited for, and why.
    waits: BTreeMap<String, String>,
    /// Parts that must show a sign of life, and when they last did.
    beats: BTreeMap<String, Instant>,
}

impl Health {
    /// Notes that the process cannot do `what` and waits until it can.
    pub fn waits(&self, what: &str, why: &str) {
        let mut state = self.state();
        match state.waits.get_mut(what) {
            Some(known) => why.clone_into(known),
            None => drop(state.waits.insert(what.to_owned(), why.to_owned())),
        }
    }

    /// Notes that it can again.
    pub fn goes_on(&self, what: &str) {
        self.state().waits.remove(what);
    }

    /// What is being waited for, and why. Nothing: the process is ready.
    pub fn waiting(&self) -> Vec<(String, String)> {
        self.state().waits.clone().into_iter().collect()
    }

    /// A sign of life.
    pub fn beat(&self, part: &str) {
        let mut state = self.state();
        match state.beats.get_mut(part) {
            Some(last) => *last = Instant::now(),
            None => drop(state.beats.insert(part.to_owned(), Instant::now())),
        }
    }

    /// A part that has ended, as it should.
    pub fn ended(&self, part: &str) {
        self.state().beats.remove(part);
    }

    /// Parts without a sign of life for longer than `patience`.
    pub fn stuck(&self, patience: Duration) -> Vec<String> {
        let state = self.state();
        state.beats.iter().filter(|(_, last)| last.elapsed() > patience).map(|(part, _)| part.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_it_waits_for_nothing() {
        let health = Health::default();
        assert!(health.waiting().is_empty());
        health.waits("write the result", "no node answers");
        health.waits("write the result", "time-out");
        assert_eq!(health.waiting(), [("write the result".to_owned(), "time-out".to_owned())]);
        health.goes_on("write the result");
        assert!(health.waiting().is_empty());
    }

    #[test]
    fn a_part_is_stuck_when_it_shows_no_life_and_has_not_ended() {
        let health = Health::default();
        health.beat("fetch");
        assert!(health.stuck(Duration::from_secs(60)).is_empty());
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(health.stuck(Duration::from_millis(1)), ["fetch"]);
        health.ended("fetch");
        assert!(health.stuck(Duration::ZERO).is_empty());
    }
}
