use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use moka::{policy::EvictionPolicy, sync::Cache};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::options::{FetchOptions, HostLimits};

/// Most hosts whose limits are remembered. The one asked longest ago is forgotten first.
const MAX_HOSTS: u64 = 100_000;

/// A host is forgotten after this time without a request: longer than any exchange lasts.
const HOST_IDLE: Duration = Duration::from_secs(600);

/// Who may talk to which host now.
#[derive(Debug)]
pub(super) struct Turns {
    hosts: Cache<String, Arc<Host>>,
    limits: HostLimits,
    overrides: HashMap<String, HostLimits>,
    all: Arc<Semaphore>,
}

/// The right to talk to a host, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _host: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Host {
    exchanges: Arc<Semaphore>,
    rate: Option<DefaultDirectRateLimiter>,
}

impl Turns {
    pub(super) fn new(options: &FetchOptions) -> Self {
        Turns {
            hosts: Cache::builder()
                .max_capacity(MAX_HOSTS)
                .time_to_idle(HOST_IDLE)
                // The default policy may refuse to remember a new host at all, and so its limits.
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            limits: options.host_limits,
            overrides: options.host_overrides.clone(),
            all: Arc::new(Semaphore::new(options.concurrency.max(1))),
        }
    }

    /// Waits for a turn with this host.
    ///
    /// Always the host first and the whole second: nobody who waits for a busy host keeps others from theirs,
    /// and no two can wait for each other. A holder must give its turn back before it asks for another one.
    pub(super) async fn turn(&self, name: &str) -> Turn {
        let host = self.hosts.get(name).unwrap_or_else(|| {
            self.hosts.get_with_by_ref(name, || Arc::new(Host::new(self.overrides.get(name).unwrap_or(&self.limits))))
        });
        // Neither semaphore is ever closed, the only error of acquiring.
        let permit = Arc::clone(&host.exchanges).acquire_owned().await.ok();
        if let Some(rate) = &host.rate {
            let clock = DefaultClock::default();
            while let Err(too_early) = rate.check() {
                tokio::time::sleep(too_early.wait_time_from(clock.now())).await;
            }
        }
        Turn { _host: permit, _all: Arc::clone(&self.all).acquire_owned().await.ok() }
    }
}

impl Host {
    fn new(limits: &HostLimits) -> Self {
        let quota = limits.rate.and_then(|rate| Quota::with_period(rate.interval()));
        Host {
            exchanges: Arc::new(Semaphore::new(limits.concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            // No burst: a host that was left alone for an hour is not owed an hour's requests.
            rate: quota.map(|quota| RateLimiter::direct(quota.allow_burst(NonZeroU32::MIN))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::timeout;

    use super::{super::options::Rate, *};

    const SHORT: Duration = Duration::from_millis(50);

    fn options(concurrency: usize, per_host: usize) -> FetchOptions {
        let host_limits = HostLimits { concurrency: per_host, rate: None };
        FetchOptions { concurrency, host_limits, ..FetchOptions::default() }
    }

    #[tokio::test]
    async fn a_host_has_only_so_many_turns_and_others_have_their_own() {
        let turns = Turns::new(&options(10, 2));
        let first = turns.turn("a").await;
        let _second = turns.turn("a").await;
        assert!(timeout(SHORT, turns.turn("a")).await.is_err());
        timeout(SHORT, turns.turn("b")).await.unwrap();
        drop(first);
        timeout(SHORT, turns.turn("a")).await.unwrap();
    }

    #[tokio::test]
    async fn all_hosts_together_have_only_so_many_turns() {
        let turns = Turns::new(&options(2, 16));
        let first = turns.turn("a").await;
        let _second = turns.turn("b").await;
        assert!(timeout(SHORT, turns.turn("c")).await.is_err());
        drop(first);
        timeout(SHORT, turns.turn("c")).await.unwrap();
    }

    #[tokio::test]
    async fn a_queue_for_one_host_takes_no_turns_from_the_others() {
        let turns = Arc::new(Turns::new(&options(2, 1)));
        let _held = turns.turn("busy").await;
        let queue: Vec<_> = (0..5)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { drop(turns.turn("busy").await) })
            })
            .collect();
        tokio::time::sleep(SHORT).await;
        timeout(SHORT, turns.turn("quiet")).await.expect("the queue holds no turn");
        queue.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn an_override_counts_for_its_host_only() {
        let mut options = options(10, 16);
        options.host_overrides.insert("slow".to_owned(), HostLimits { concurrency: 1, rate: None });
        let turns = Turns::new(&options);
        let _held = (turns.turn("slow").await, turns.turn("other").await);
        assert!(timeout(SHORT, turns.turn("slow")).await.is_err());
        timeout(SHORT, turns.turn("other")).await.unwrap();
    }

    #[tokio::test]
    async fn a_rate_spreads_the_requests_to_a_host() {
        let mut options = options(10, 16);
        options.host_limits.rate = Rate::per_second(20.0);
        let turns = Turns::new(&options);
        let started = Instant::now();
        for _ in 0..5 {
            drop(turns.turn("a").await);
        }
        // The first is free, four wait 50 ms each.
        assert!(started.elapsed() >= Duration::from_millis(190), "{:?}", started.elapsed());
        let started = Instant::now();
        drop(turns.turn("b").await);
        assert!(started.elapsed() < SHORT);
    }
}
