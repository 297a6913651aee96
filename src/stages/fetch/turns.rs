use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use moka::{policy::EvictionPolicy, sync::Cache};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};

use super::{
    breaker::{Breaker, HostState, Leave, Refusal},
    options::{FetchOptions, HostLimits},
    site::{HostPattern, network, site},
};
use crate::domain::{Failure, Reason};

/// Most hosts whose limits are remembered, and most addresses. The one asked longest ago is forgotten first.
const MAX_HOSTS: u64 = 100_000;

/// A host is forgotten after this time without a request: no rest and no time between two requests is longer.
const HOST_IDLE: Duration = Duration::from_secs(86_400);

/// When a URL may come again that a host had no room for. No queue that long is done sooner.
const BUSY: Duration = Duration::from_secs(30);

/// Who may talk to which host now.
#[derive(Debug)]
pub(super) struct Turns {
    hosts: Cache<String, Arc<Host>>,
    addresses: Cache<String, Arc<Host>>,
    options: FetchOptions,
    all: Arc<Semaphore>,
}

/// How many sites there are in each state, and how many URLs wait for one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostCensus {
    /// May be asked.
    pub working: usize,
    /// Left alone after failures.
    pub resting: usize,
    /// Of which one URL tries whether they work again.
    pub tried: usize,
    /// URLs that wait for their turn.
    pub waiting: usize,
}

/// The right to talk to a host, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    asked: Asked,
    _permits: [Option<OwnedSemaphorePermit>; 3],
}

/// Leave to ask a host.
#[derive(Debug)]
struct Asked {
    host: Arc<Host>,
    leave: Leave,
    is_noted: bool,
}

/// A site, or a machine.
#[derive(Debug)]
struct Host {
    exchanges: Arc<Semaphore>,
    rate: Option<DefaultDirectRateLimiter>,
    breaker: Breaker,
    waiting: AtomicUsize,
}

/// One that waits for a host.
struct Waiting<'a>(&'a AtomicUsize);

impl Turns {
    pub(super) fn new(options: &FetchOptions) -> Self {
        let cache = || {
            Cache::builder()
                .max_capacity(MAX_HOSTS)
                .time_to_idle(HOST_IDLE)
                // The default policy may refuse to remember a new host at all, and so its limits.
                .eviction_policy(EvictionPolicy::lru())
                .build()
        };
        Turns {
            hosts: cache(),
            addresses: cache(),
            options: options.clone(),
            all: Arc::new(Semaphore::new(options.concurrency.max(1))),
        }
    }

    /// Waits for a turn with this host, of which `resolve` finds the address.
    ///
    /// Always the site first, then the machine, and the whole last: nobody who waits for a busy host keeps others from
    /// theirs, and no two can wait for each other. A holder must give its turn back before it asks for another one.
    ///
    /// # Errors
    /// [`Reason::HostDown`] while the host is left alone, [`Reason::HostBusy`] where enough wait for it already, and
    /// those of `resolve`.
    pub(super) async fn turn(
        &self,
        name: &str,
        resolve: impl Future<Output = Result<Option<IpAddr>, Failure>>,
    ) -> Result<Turn, Failure> {
        let host = self.host(name);
        let waiting = host.wait(self.options.max_waiting)?;
        // Neither semaphore is ever closed, the only error of acquiring.
        let exchange = Arc::clone(&host.exchanges).acquire_owned().await.ok();
        let leave = host.leave(self.options.patience).await?;
        host.keep_rate().await;
        // Given back unused unless the exchange's end is noted: a name that does not resolve says nothing of the host.
        let asked = Asked { host: Arc::clone(&host), leave, is_noted: false };
        let connection = match resolve.await?.map(|address| self.address(address)) {
            None => None,
            Some(machine) => {
                let connection = Arc::clone(&machine.exchanges).acquire_owned().await.ok();
                machine.keep_rate().await;
                connection
            }
        };
        drop(waiting);
        let any = Arc::clone(&self.all).acquire_owned().await.ok();
        Ok(Turn { asked, _permits: [exchange, connection, any] })
    }

    /// How it stands with the hosts.
    pub(super) fn census(&self) -> HostCensus {
        let mut census = HostCensus::default();
        for (_, host) in &self.hosts {
            census.waiting += host.waiting.load(Ordering::Relaxed);
            match host.breaker.state() {
                HostState::Working => census.working += 1,
                HostState::Resting => census.resting += 1,
                HostState::Tried => census.tried += 1,
            }
        }
        census
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let name = name.trim_end_matches('.');
        let over = self.override_by(|pattern| pattern.matches_host(name));
        let key = over.map_or_else(|| site(name).into(), |(pattern, _)| pattern.key());
        let limits = over.map_or(self.options.host_limits, |(_, limits)| *limits);
        self.hosts
            .get(key.as_ref())
            .unwrap_or_else(|| self.hosts.get_with_by_ref(key.as_ref(), || Arc::new(Host::new(&limits, &self.options))))
    }

    fn address(&self, address: IpAddr) -> Arc<Host> {
        let over = self.override_by(|pattern| pattern.matches_address(address));
        let key = over.map_or_else(|| network(address).to_string().into(), |(pattern, _)| pattern.key());
        let limits = over.map_or(self.options.address_limits, |(_, limits)| *limits);
        self.addresses.get_with_by_ref(key.as_ref(), || Arc::new(Host::new(&limits, &self.options)))
    }

    /// The override whose pattern is the most exact of those that match.
    fn override_by(&self, matches: impl Fn(&HostPattern) -> Option<usize>) -> Option<&(HostPattern, HostLimits)> {
        let matching = self.options.host_overrides.iter().filter_map(|over| Some((matches(&over.0)?, over)));
        matching.max_by_key(|(exactness, _)| *exactness).map(|(_, over)| over)
    }
}

impl Host {
    fn new(limits: &HostLimits, options: &FetchOptions) -> Self {
        let quota = limits.rate.and_then(|rate| Quota::with_period(rate.interval()));
        Host {
            exchanges: Arc::new(Semaphore::new(limits.concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            // No burst: a host that was left alone for an hour is not owed an hour's requests.
            rate: quota.map(|quota| RateLimiter::direct(quota.allow_burst(NonZeroU32::MIN))),
            breaker: Breaker::new(options.breaker),
            waiting: AtomicUsize::new(0),
        }
    }

    fn wait(&self, most: Option<usize>) -> Result<Waiting<'_>, Failure> {
        let waiting = Waiting(&self.waiting);
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        if most.is_none_or(|most| before < most) {
            return Ok(waiting);
        }
        let detail = format!("{before} URLs wait for this host already");
        Err(Failure { retry_after: Some(BUSY), ..Failure::new(Reason::HostBusy, detail) })
    }

    /// Waits for the end of a rest, if that is not too long.
    async fn leave(&self, patience: Duration) -> Result<Leave, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let verdict = self.breaker.verdict();
            let (rest, is_tried) = match self.breaker.ask() {
                Ok(leave) => return Ok(leave),
                Err(Refusal::Rests(rest)) => (rest, false),
                Err(Refusal::IsTried(rest)) => (rest, true),
            };
            let now = Instant::now();
            // Who has waited for a rest waits for what its trial says too.
            if (!is_tried && now + rest > deadline) || now > deadline + rest {
                let detail = format!("the host failed again and again; it is left alone for {} s more", rest.as_secs());
                return Err(Failure { retry_after: Some(rest), ..Failure::new(Reason::HostDown, detail) });
            }
            tokio::select! {
                () = sleep(rest) => {}
                () = verdict => {}
            }
        }
    }

    async fn keep_rate(&self) {
        if let Some(rate) = &self.rate {
            let clock = DefaultClock::default();
            while let Err(too_early) = rate.check() {
                sleep(too_early.wait_time_from(clock.now())).await;
            }
        }
    }
}

impl Turn {
    /// Takes note of how the exchange ended, which waited so long for the network: what may pass is the host's doing.
    pub(super) fn note(mut self, took: Duration, failure: Option<&Failure>) {
        let Asked { host, leave, is_noted } = &mut self.asked;
        match failure.filter(|failure| failure.reason.is_transient()) {
            // Name servers in trouble.
            Some(failure) if failure.reason == Reason::DnsFailed => return,
            Some(failure) => host.breaker.fails(*leave, took, failure.retry_after),
            None => host.breaker.works(*leave),
        }
        *is_noted = true;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_noted {
            self.host.breaker.untried(self.leave);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::time::timeout;

    use super::{super::options::Rate, *};

    const SHORT: Duration = Duration::from_millis(50);

    impl Turns {
        async fn of(&self, name: &str) -> Turn {
            self.turn(name, ready(Ok(None))).await.unwrap()
        }

        async fn at(&self, name: &str, address: &str) -> Turn {
            self.turn(name, ready(Ok(Some(address.parse().unwrap())))).await.unwrap()
        }

        async fn refusal(&self, name: &str) -> Failure {
            self.turn(name, ready(Ok(None))).await.unwrap_err()
        }
    }

    fn options(concurrency: usize, per_host: usize) -> FetchOptions {
        let host_limits = HostLimits { concurrency: per_host, rate: None };
        FetchOptions { concurrency, host_limits, ..FetchOptions::default() }
    }

    #[tokio::test]
    async fn a_host_has_only_so_many_turns_and_others_have_their_own() {
        let turns = Turns::new(&options(10, 2));
        let first = turns.of("a").await;
        let _second = turns.of("a").await;
        assert!(timeout(SHORT, turns.of("a")).await.is_err());
        timeout(SHORT, turns.of("b")).await.unwrap();
        drop(first);
        timeout(SHORT, turns.of("a")).await.unwrap();
    }

    #[tokio::test]
    async fn all_hosts_together_have_only_so_many_turns() {
        let turns = Turns::new(&options(2, 16));
        let first = turns.of("a").await;
        let _second = turns.of("b").await;
        assert!(timeout(SHORT, turns.of("c")).await.is_err());
        drop(first);
        timeout(SHORT, turns.of("c")).await.unwrap();
    }

    #[tokio::test]
    async fn a_queue_for_one_host_takes_no_turns_from_the_others() {
        let turns = Arc::new(Turns::new(&options(2, 1)));
        let _held = turns.of("busy").await;
        let queue: Vec<_> = (0..5)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { drop(turns.of("busy").await) })
            })
            .collect();
        tokio::time::sleep(SHORT).await;
        timeout(SHORT, turns.of("quiet")).await.expect("the queue holds no turn");
        queue.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn an_override_counts_for_its_host_only() {
        let mut options = options(10, 16);
        options.host_overrides.push(("slow".parse().unwrap(), HostLimits { concurrency: 1, rate: None }));
        let turns = Turns::new(&options);
        let _held = (turns.of("slow").await, turns.of("other").await);
        assert!(timeout(SHORT, turns.of("slow")).await.is_err());
        timeout(SHORT, turns.of("other")).await.unwrap();
    }

    #[tokio::test]
    async fn a_rate_spreads_the_requests_to_a_host() {
        let mut options = options(10, 16);
        options.host_limits.rate = Rate::per_second(20.0);
        let turns = Turns::new(&options);
        let started = Instant::now();
        for _ in 0..5 {
            drop(turns.of("a").await);
        }
        // The first is free, four wait 50 ms each.
        assert!(started.elapsed() >= Duration::from_millis(190), "{:?}", started.elapsed());
        let started = Instant::now();
        drop(turns.of("b").await);
        assert!(started.elapsed() < SHORT);
    }

    #[tokio::test]
    async fn all_hosts_of_a_site_share_its_turns() {
        let turns = Turns::new(&options(10, 1));
        let _held = turns.of("a.example.org").await;
        assert!(timeout(SHORT, turns.of("b.c.example.org.")).await.is_err());
        timeout(SHORT, turns.of("a.example.net")).await.unwrap();
    }

    #[tokio::test]
    async fn sites_on_one_machine_share_its_turns() {
        let address_limits = HostLimits { concurrency: 1, rate: None };
        let turns = Turns::new(&FetchOptions { address_limits, ..options(10, 16) });
        let _held = turns.at("a.example", "93.184.216.34").await;
        assert!(timeout(SHORT, turns.at("b.example", "93.184.216.34")).await.is_err());
        timeout(SHORT, turns.at("b.example", "93.184.216.35")).await.unwrap();
    }

    #[tokio::test]
    async fn the_most_exact_pattern_counts_and_all_that_match_it_share_its_limits() {
        let one = HostLimits { concurrency: 1, rate: None };
        let mut options = options(10, 16);
        for pattern in ["*.example.org", "cdn.example.org", "93.184.216.0/24"] {
            options.host_overrides.push((pattern.parse().unwrap(), one));
        }
        let turns = Turns::new(&options);
        let _held = (turns.of("a.example.org").await, turns.of("cdn.example.org").await);
        assert!(timeout(SHORT, turns.of("b.example.org")).await.is_err());
        assert!(timeout(SHORT, turns.of("cdn.example.org")).await.is_err());
        let _held = turns.at("a.example", "93.184.216.1").await;
        assert!(timeout(SHORT, turns.at("b.example", "93.184.216.2")).await.is_err());
        timeout(SHORT, turns.at("c.example", "93.184.217.1")).await.unwrap();
    }

    #[tokio::test]
    async fn where_there_is_another_place_only_so_many_wait_for_a_host() {
        let turns = Arc::new(Turns::new(&FetchOptions { max_waiting: Some(2), ..options(10, 1) }));
        let held = turns.of("a.example").await;
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { drop(turns.of("a.example").await) })
            })
            .collect();
        tokio::time::sleep(SHORT).await;
        let busy = turns.refusal("a.example").await;
        assert_eq!((busy.reason, busy.retry_after), (Reason::HostBusy, Some(BUSY)));
        timeout(SHORT, turns.of("b.example")).await.expect("others do not wait");
        drop(held);
        for waited in waiting {
            waited.await.unwrap();
        }
        timeout(SHORT, turns.of("a.example")).await.expect("there is room again");
    }

    fn failure(reason: Reason) -> Failure {
        Failure::new(reason, "")
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_keeps_failing_is_left_alone_and_others_are_not() {
        let turns = Turns::new(&options(10, 16));
        for _ in 0..20 {
            turns.of("down.example").await.note(Duration::ZERO, Some(&failure(Reason::ConnectTimeout)));
            turns.of("page.example").await.note(Duration::ZERO, Some(&failure(Reason::NotAnImage)));
        }
        let census = HostCensus { working: 1, resting: 1, tried: 0, waiting: 0 };
        assert_eq!(turns.census(), census);
        let down = turns.refusal("www.down.example").await;
        assert_eq!((down.reason, down.retry_after), (Reason::HostDown, Some(Duration::from_secs(30))));
        turns.of("page.example").await;
        sleep(Duration::from_secs(25)).await;
        // 5 s are left: not too long to wait for.
        let trial = turns.of("down.example").await;
        trial.note(Duration::ZERO, None);
        turns.of("down.example").await;
    }

    #[tokio::test(start_paused = true)]
    async fn name_servers_in_trouble_do_not_count_against_a_site() {
        let turns = Turns::new(&options(10, 16));
        for _ in 0..20 {
            let failed = turns.turn("a.example", ready(Err(failure(Reason::DnsFailed)))).await;
            assert_eq!(failed.unwrap_err().reason, Reason::DnsFailed);
        }
        turns.of("a.example").await;
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_waited_for_a_rest_go_on_when_its_trial_works_and_none_when_it_fails() {
        for works in [true, false] {
            let options = FetchOptions { patience: Duration::from_secs(31), ..options(100, 16) };
            let turns = Arc::new(Turns::new(&options));
            for _ in 0..20 {
                turns.of("a.example").await.note(Duration::ZERO, Some(&failure(Reason::ConnectFailed)));
            }
            let waiting: Vec<_> = (0..40)
                .map(|_| {
                    let turns = Arc::clone(&turns);
                    tokio::spawn(async move {
                        let turn = turns.turn("a.example", ready(Ok(None))).await?;
                        sleep(Duration::from_millis(100)).await;
                        turn.note(Duration::ZERO, (!works).then_some(&failure(Reason::ConnectFailed)));
                        Ok::<_, Failure>(())
                    })
                })
                .collect();
            let began = Instant::now();
            let mut gone_on = 0;
            for waited in waiting {
                gone_on += usize::from(waited.await.unwrap().is_ok());
            }
            assert_eq!(gone_on, if works { 40 } else { 1 });
            assert!(began.elapsed() < Duration::from_secs(33), "{:?}", began.elapsed());
        }
    }
}
