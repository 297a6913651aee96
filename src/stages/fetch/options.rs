use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;

use super::{address::AddressPolicy, breaker::BreakerOptions, site::HostPattern};

/// What fetch may do, and for how long.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Sent as `User-Agent`: who asks, and where the owner of a server can say no.
    pub user_agent: String,
    /// Longest name resolution.
    pub dns_timeout: Duration,
    /// The name servers to ask; none for those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// Most names looked up at once.
    pub dns_lookups: usize,
    /// Longest TCP handshake. Name resolution, TCP and TLS share the sum of their three limits.
    pub connect_timeout: Duration,
    /// Longest TLS handshake.
    pub tls_timeout: Duration,
    /// Longest wait for the header of a response, once there is a connection.
    pub first_byte_timeout: Duration,
    /// Longest pause between two reads of a body.
    pub read_gap_timeout: Duration,
    /// Longest exchange, redirects included; waiting for its turn is not counted.
    pub total_timeout: Duration,
    /// Most redirects that are followed.
    pub max_redirects: u32,
    /// Largest body, in bytes.
    pub max_body_bytes: usize,
    /// Slowest body, in bytes a second on average, once `min_rate_grace` has passed. 0 allows any.
    pub min_bytes_per_second: u64,
    /// How long a body may take before its rate counts.
    pub min_rate_grace: Duration,
    /// Whether a server's opt-out in `X-Robots-Tag` is honoured.
    pub honour_robots_tag: bool,
    /// Whether a server's robots.txt is asked for and honoured.
    pub honour_robots_txt: bool,
    /// Whether HTTP/2 is spoken where a server offers it.
    pub http2: bool,
    /// What one site has to bear: all hosts of one registrable domain.
    pub host_limits: HostLimits,
    /// What one machine has to bear, however many sites it has.
    pub address_limits: HostLimits,
    /// Other limits for these; of several patterns that match, the most exact one counts.
    pub host_overrides: Vec<(HostPattern, HostLimits)>,
    /// Most URLs that wait for one host; `None` where there is no other place for them.
    pub max_waiting: Option<usize>,
    /// When a host is left alone.
    pub breaker: BreakerOptions,
    /// The longest that a URL waits for the end of a host's rest.
    pub patience: Duration,
    /// Networks that are open although the address allow-list refuses them, on any port.
    pub allow_networks: Vec<IpNet>,
    /// Whether nothing but those may be fetched from.
    pub only_allowed_networks: bool,
    /// Most exchanges at once, over all hosts.
    pub concurrency: usize,
    /// Memory for bodies, in bytes, over all hosts, from their first byte until the last stage lets go of them.
    /// One body of `max_body_bytes` may come on top.
    pub max_bytes_in_flight: usize,
}

impl FetchOptions {
    /// Which addresses may be connected to.
    pub fn addresses(&self) -> AddressPolicy {
        AddressPolicy { allow_networks: self.allow_networks.clone(), only_those: self.only_allowed_networks }
    }
}

/// For tests; what a user gets stands in `config/default.toml`.
#[cfg(test)]
impl Default for FetchOptions {
    fn default() -> Self {
        FetchOptions {
            user_agent: "facemill/0.1".to_owned(),
            dns_timeout: Duration::from_secs(2),
            dns_servers: Vec::new(),
            dns_lookups: 256,
            connect_timeout: Duration::from_secs(3),
            tls_timeout: Duration::from_secs(3),
            first_byte_timeout: Duration::from_secs(5),
            read_gap_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(20),
            max_redirects: 5,
            max_body_bytes: 20_000_000,
            min_bytes_per_second: 1024,
            min_rate_grace: Duration::from_secs(5),
            honour_robots_tag: true,
            honour_robots_txt: false,
            http2: false,
            host_limits: HostLimits { concurrency: 16, rate: None },
            address_limits: HostLimits { concurrency: 64, rate: None },
            host_overrides: Vec::new(),
            max_waiting: None,
            breaker: BreakerOptions {
                failures: 20,
                wasted: Duration::from_secs(60),
                rest: Duration::from_secs(30),
                longest: Duration::from_secs(600),
            },
            patience: Duration::from_secs(10),
            allow_networks: Vec::new(),
            only_allowed_networks: false,
            concurrency: 1024,
            max_bytes_in_flight: 64 << 20,
        }
    }
}

/// What one host has to bear.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostLimits {
    /// Most exchanges at once; 0 is taken as 1.
    pub concurrency: usize,
    /// Most requests a second; `None` is no limit.
    pub rate: Option<Rate>,
}

/// Requests a second, above zero; 0.1 is one request in ten seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(f64);

impl Rate {
    /// From once a day to a million a second; `None` for anything else.
    pub fn per_second(rate: f64) -> Option<Rate> {
        (1.0 / 86_400.0..=1e6).contains(&rate).then_some(Rate(rate))
    }

    /// Time between two requests.
    pub(super) fn interval(self) -> Duration {
        Duration::from_secs_f64(1.0 / self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_that_a_clock_can_keep() {
        assert_eq!(Rate::per_second(0.1).unwrap().interval(), Duration::from_secs(10));
        assert_eq!(Rate::per_second(4.0).unwrap().interval(), Duration::from_millis(250));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9, 1e9] {
            assert!(Rate::per_second(bad).is_none(), "{bad}");
        }
    }
}
