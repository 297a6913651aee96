use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Numbers that only grow, told apart by the values of `N` labels.
#[derive(Debug)]
pub struct Counters<const N: usize>(Mutex<BTreeMap<[&'static str; N], u64>>);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Counters(Mutex::default())
    }
}

impl<const N: usize> Counters<N> {
    /// Counters that are there from the start, at zero: a rate of what has not happened yet is 0 and not nothing.
    pub fn of(values: &[[&'static str; N]]) -> Self {
        Counters(Mutex::new(values.iter().map(|values| (*values, 0)).collect()))
    }

    /// Adds `count` to the counter of these values.
    pub fn add(&self, values: [&'static str; N], count: u64) {
        *self.lock().entry(values).or_default() += count;
    }

    /// All of them together.
    pub fn sum(&self) -> u64 {
        self.lock().values().sum()
    }

    /// Each with its values.
    pub fn all(&self) -> Vec<([&'static str; N], u64)> {
        self.lock().iter().map(|(values, count)| (*values, *count)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<[&'static str; N], u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
