use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hickory_resolver::{
    Hosts, TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    lookup_ip::LookupIp,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::Query,
        rr::{Name, RecordType},
    },
    system_conf,
};
use moka::{Expiry, future::Cache};
use reqwest::dns::{Addrs, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::{
    stages::fetch::{AddressPolicy, FetchOptions, HttpError},
    telemetry::DnsMetrics,
};

/// Bounds of how long an answer is kept, whatever its own time to live.
const MIN_TTL: Duration = Duration::from_secs(5);
const MAX_TTL: Duration = Duration::from_secs(300);

/// How long a name that does not exist is remembered.
const NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// Addresses of a name that are kept: an answer over TCP may have thousands.
const MAX_ADDRESSES: usize = 16;

/// Answers that are kept.
const CACHE_SIZE: u64 = 65_536;

/// Names to addresses: the hosts file first, then name servers, with a cache. Who asks for a name that is being looked up
/// waits for the same answer.
#[derive(Clone)]
pub(super) struct Dns {
    /// One for each name server: of several in one, the first that has trouble would answer for all.
    resolvers: Arc<[TokioResolver]>,
    /// Which one is asked first.
    turn: Arc<AtomicUsize>,
    hosts: Arc<Hosts>,
    timeout: Duration,
    answers: Cache<Name, Answer>,
    /// Look-ups at once.
    lookups: Arc<Semaphore>,
    metrics: Arc<DnsMetrics>,
}

/// What is known of a name, and for how long.
#[derive(Clone)]
struct Answer {
    addresses: Result<Arc<[IpAddr]>, HttpError>,
    keep: Duration,
}

struct Keep;

impl Expiry<Name, Answer> for Keep {
    fn expire_after_create(&self, _: &Name, answer: &Answer, _: std::time::Instant) -> Option<Duration> {
        Some(answer.keep)
    }
}

impl Dns {
    /// By the name servers of the options, or of the system. Without any, every name outside the hosts file fails, and
    /// nothing else.
    pub(super) fn new(options: &FetchOptions, metrics: Arc<DnsMetrics>) -> Result<Self, NetError> {
        let config = if options.dns_servers.is_empty() {
            system_conf::read_system_conf().map(|(config, _)| config).unwrap_or_else(|error| {
                tracing::warn!(%error, "no name server: /etc/resolv.conf cannot be used, so host names will not resolve");
                ResolverConfig::from_parts(None, Vec::new(), Vec::new())
            })
        } else {
            ResolverConfig::from_parts(None, Vec::new(), options.dns_servers.iter().copied().map(name_server).collect())
        };
        let hosts = Hosts::from_system().unwrap_or_else(|error: io::Error| {
            tracing::warn!(%error, "the system's hosts file cannot be read");
            Hosts::default()
        });
        Self::by(config, hosts, options, metrics)
    }

    fn by(
        config: ResolverConfig,
        hosts: Hosts,
        options: &FetchOptions,
        metrics: Arc<DnsMetrics>,
    ) -> Result<Self, NetError> {
        let timeout = options.dns_timeout;
        let lookups = options.dns_lookups.max(1);
        let mut options = ResolverOpts::default();
        // Asked twice, and still some time left to answer with what one of the two address families gave.
        options.timeout = timeout.mul_f32(0.45);
        options.attempts = 1;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Answers are kept here, and once.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        // Two families.
        options.max_active_requests = 2 * lookups;
        let resolver = |servers: &[NameServerConfig]| {
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.to_vec());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                .with_options(options.clone())
                .build()
        };
        let servers = config.name_servers();
        // One without a server knows "localhost" still.
        let one_each = servers.chunks(1).chain(servers.is_empty().then_some(servers));
        let resolvers = one_each.map(resolver).collect::<Result<_, _>>()?;
        let answers = Cache::builder().max_capacity(CACHE_SIZE).expire_after(Keep).build();
        Ok(Dns {
            resolvers,
            turn: Arc::default(),
            hosts: Arc::new(hosts),
            timeout,
            answers,
            lookups: Arc::new(Semaphore::new(lookups)),
            metrics,
        })
    }

    /// Every address of this name, at least one.
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, HttpError> {
        // What is no domain name has no addresses.
        let mut name = Name::from_ascii(name).map_err(|_| HttpError::DnsNotFound)?;
        // The URL's host is a whole name: no search list, which would ask for others too.
        name.set_fqdn(true);
        let known = self.in_hosts_file(&name);
        if !known.is_empty() {
            return Ok(known);
        }
        if let Some(answer) = self.answers.get(&name).await {
            self.metrics.known.add(1);
            return answer.addresses.map(|addresses| addresses.to_vec());
        }
        // On the heap only while it lasts: every URL that waits for its turn has room for what stands here.
        let answer = Box::pin(async { self.answers.entry_by_ref(&name).or_insert_with(self.ask(&name)).await }).await;
        if !answer.is_fresh() {
            self.metrics.known.add(1);
        }
        answer.into_value().addresses.map(|addresses| addresses.to_vec())
    }

    /// Asks the name servers.
    async fn ask(&self, name: &Name) -> Answer {
        // Never closed, so there is always a permit in the end.
        let _permit = self.lookups.acquire().await;
        let began = Instant::now();
        let found = tokio::time::timeout(self.timeout, self.first_answer(name)).await;
        let refused = |error, keep| Answer { addresses: Err(error), keep };
        let failed = |error: String| {
            self.metrics.failed.record(began.elapsed());
            // Who waited for it has this answer too; the next one asks again.
            refused(HttpError::DnsFailed(error), Duration::ZERO)
        };
        let not_found = || {
            self.metrics.not_found.record(began.elapsed());
            refused(HttpError::DnsNotFound, NEGATIVE_TTL)
        };
        match found {
            Ok(Ok(found)) => {
                let addresses: Arc<[IpAddr]> = found.iter().take(MAX_ADDRESSES).collect();
                if addresses.is_empty() {
                    return not_found();
                }
                self.metrics.found.record(began.elapsed());
                let left = found.valid_until().saturating_duration_since(std::time::Instant::now());
                Answer { addresses: Ok(addresses), keep: left.clamp(MIN_TTL, MAX_TTL) }
            }
            Ok(Err(error)) if error.is_no_records_found() => not_found(),
            Ok(Err(error)) => failed(error.to_string()),
            Err(_) => failed("no answer within the time allowed".to_owned()),
        }
    }

    /// The first answer of any name server. The next one is asked as well when one has trouble, or takes long.
    async fn first_answer(&self, name: &Name) -> Result<LookupIp, NetError> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.resolvers.len().max(1);
        let (before, after) = self.resolvers.split_at_checked(first).unwrap_or_default();
        let mut next = after.iter().chain(before);
        let mut asked = FuturesUnordered::new();
        let mut error = NetError::NoConnections;
        loop {
            let is_new = next.next().map(|resolver| asked.push(resolver.lookup_ip(name.clone()))).is_some();
            let patience = if is_new { self.timeout / 4 } else { self.timeout };
            match tokio::time::timeout(patience, asked.next()).await {
                Ok(Some(Err(trouble))) if !trouble.is_no_records_found() => error = trouble,
                Ok(Some(answer)) => return answer,
                // All have had trouble.
                Ok(None) => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn in_hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|found: Lookup| {
                found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// A name server that is asked by UDP, and by TCP where its answer does not fit.
fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections.iter_mut().for_each(|connection: &mut ConnectionConfig| connection.port = address.port());
    server
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A resolver that returns nothing but addresses which may be connected to.
#[derive(Debug, Clone)]
pub(super) struct VettedDns {
    pub(super) dns: Dns,
    pub(super) policy: AddressPolicy,
    pub(super) ports: Ports,
}

/// For which ports a resolver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    /// 80 and 443: every permitted address.
    Web,
    /// Any other: only addresses that were opened.
    Other,
}

impl VettedDns {
    /// Every address of this name that may be connected to, at least one.
    pub(super) async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, HttpError> {
        let mut addresses = self.dns.lookup(name).await?;
        addresses.retain(|address| self.policy.permits(*address));
        if addresses.is_empty() {
            return Err(HttpError::BlockedAddress);
        }
        if self.ports == Ports::Other {
            addresses.retain(|address| self.policy.opened(*address));
            if addresses.is_empty() {
                return Err(HttpError::BlockedPort);
            }
        }
        Ok(addresses)
    }
}

impl Resolve for VettedDns {
    fn resolve(&self, name: reqwest::dns::Name) -> Resolving {
        let dns = self.clone();
        Box::pin(async move {
            let addresses = dns.lookup(name.as_str()).await?;
            // Port 0 stands for the URL's.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
pub(super) mod tests;
