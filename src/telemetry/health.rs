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
    /// What is being waited for.
    waits: BTreeMap<String, Wait>,
    /// Parts that must show a sign of life, and when they last did.
    beats: BTreeMap<String, Instant>,
    /// Calls that have waited so far.
    last_call: u64,
}

#[derive(Debug, Default)]
struct Wait {
    why: String,
    /// Calls that wait.
    calls: usize,
    /// The one that tells of it.
    teller: Option<u64>,
}

/// One call that waits. It does no more when this is dropped, however it ends.
#[derive(Debug)]
pub struct Waiting<'a> {
    health: &'a Health,
    what: &'a str,
    id: u64,
}

impl Health {
    /// Notes that the process cannot do `what` and waits until it can.
    pub fn waits(&self, what: &str, why: &str) {
        let mut state = self.state();
        let wait = state.waits.entry(what.to_owned()).or_default();
        why.clone_into(&mut wait.why);
    }

    /// Notes that it can again.
    pub fn goes_on(&self, what: &str) {
        self.state().waits.remove(what);
    }

    /// Notes that one call of perhaps several waits until it can do `what`.
    pub fn wait<'a>(&'a self, what: &'a str) -> Waiting<'a> {
        let mut state = self.state();
        state.last_call += 1;
        let id = state.last_call;
        state.waits.entry(what.to_owned()).or_default().calls += 1;
        Waiting { health: self, what, id }
    }

    /// What is being waited for, and why. Nothing: the process is ready.
    pub fn waiting(&self) -> Vec<(String, String)> {
        self.state().waits.iter().map(|(what, wait)| (what.clone(), wait.why.clone())).collect()
    }

    /// A sign of life.
    pub fn beat(&self, part: &str) {
        let mut state = self.state();
        match state.beats.get_mut(part) {
            Some(last) => *last = Instant::now(),
            None => drop(state.beats.insert(part.to_owned(), Instant::now())),
        }
    }

    /// Begins the life of a part, which must [`Health::beat`] from now on until this is dropped.
    pub fn life<'a>(&'a self, part: &'a str) -> Life<'a> {
        self.beat(part);
        Life { health: self, part }
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

/// A part that lives.
#[derive(Debug)]
pub struct Life<'a> {
    health: &'a Health,
    part: &'a str,
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        self.health.state().beats.remove(self.part);
    }
}

impl Waiting<'_> {
    /// Whether this is the one of all calls that wait for the same which tells of it: another does when it has ended.
    pub fn tells(&self) -> bool {
        let mut state = self.health.state();
        let wait = state.waits.entry(self.what.to_owned()).or_default();
        *wait.teller.get_or_insert(self.id) == self.id
    }

    /// Notes why.
    pub fn because(&self, why: &str) {
        self.health.waits(self.what, why);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.health.state();
        if let Some(wait) = state.waits.get_mut(self.what) {
            wait.calls = wait.calls.saturating_sub(1);
            wait.teller = wait.teller.filter(|teller| *teller != self.id);
            if wait.calls == 0 {
                state.waits.remove(self.what);
            }
        }
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
    fn a_wait_is_over_when_the_last_call_that_waits_is_given_up() {
        let health = Health::default();
        let (first, second) = (health.wait("write the result"), health.wait("write the result"));
        assert!(first.tells() && !second.tells() && first.tells());
        first.because("no node answers");
        drop(first);
        assert!(second.tells(), "somebody goes on telling");
        assert_eq!(health.waiting(), [("write the result".to_owned(), "no node answers".to_owned())]);
        drop(second);
        assert!(health.waiting().is_empty());
    }

    #[test]
    fn a_part_is_stuck_when_it_shows_no_life_and_has_not_ended() {
        let health = Health::default();
        let life = health.life("fetch");
        assert!(health.stuck(Duration::from_secs(60)).is_empty());
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(health.stuck(Duration::from_millis(1)), ["fetch"]);
        drop(life);
        assert!(health.stuck(Duration::ZERO).is_empty());
    }
}
