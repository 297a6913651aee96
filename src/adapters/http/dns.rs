use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    Hosts, TokioResolver,
    config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::Query,
        rr::{Name, RecordType},
    },
    system_conf,
};
use reqwest::dns::{Addrs, Resolve, Resolving};

use crate::stages::fetch::{AddressPolicy, HttpError};

/// Bounds of how long an answer is kept, whatever its own time to live.
const MIN_TTL: Duration = Duration::from_secs(5);
const MAX_TTL: Duration = Duration::from_secs(300);

/// How long a name that does not exist is remembered.
const NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// Answers that are kept.
const CACHE_SIZE: u64 = 65_536;

/// Names to addresses: the hosts file first, then the system's name servers, with a cache.
#[derive(Clone)]
pub(super) struct Dns {
    resolver: TokioResolver,
    hosts: Arc<Hosts>,
    timeout: Duration,
}

impl Dns {
    /// From the system's configuration. Without one every name outside the hosts file fails, and nothing else.
    pub(super) fn from_system(timeout: Duration) -> Result<Self, NetError> {
        let config = system_conf::read_system_conf().map(|(config, _)| config).unwrap_or_else(|error| {
            tracing::warn!(%error, "no name server: /etc/resolv.conf cannot be used, so host names will not resolve");
            ResolverConfig::from_parts(None, Vec::new(), Vec::new())
        });
        let hosts = Hosts::from_system().unwrap_or_else(|error: io::Error| {
            tracing::warn!(%error, "the system's hosts file cannot be read");
            Hosts::default()
        });
        Self::new(config, hosts, timeout)
    }

    fn new(config: ResolverConfig, hosts: Hosts, timeout: Duration) -> Result<Self, NetError> {
        let mut options = ResolverOpts::default();
        // Asked twice, and still some time left to answer with what one of the two address families gave.
        options.timeout = timeout.mul_f32(0.45);
        options.attempts = 1;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.cache_size = CACHE_SIZE;
        options.use_hosts_file = ResolveHosts::Never;
        options.positive_min_ttl = Some(MIN_TTL);
        options.positive_max_ttl = Some(MAX_TTL);
        options.negative_min_ttl = Some(NEGATIVE_TTL);
        options.negative_max_ttl = Some(NEGATIVE_TTL);
        options.max_active_requests = 1024;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()?;
        Ok(Dns { resolver, hosts: Arc::new(hosts), timeout })
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
        let found = tokio::time::timeout(self.timeout, self.resolver.lookup_ip(name)).await;
        match found {
            Ok(Ok(found)) if found.iter().next().is_none() => Err(HttpError::DnsNotFound),
            Ok(Ok(found)) => Ok(found.iter().collect()),
            Ok(Err(error)) if error.is_no_records_found() => Err(HttpError::DnsNotFound),
            Ok(Err(error)) => Err(HttpError::DnsFailed(error.to_string())),
            Err(_) => Err(HttpError::DnsFailed("no answer within the time allowed".to_owned())),
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
