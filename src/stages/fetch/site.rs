use std::{borrow::Cow, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv6Net};

/// The site that a host belongs to: its registrable domain by the Public Suffix List (publicsuffix.org, private
/// domains included), as compiled into the crate psl. An address, and a name without such a domain, is its own.
pub(super) fn site(host: &str) -> &str {
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    let name = host.trim_end_matches('.');
    if is_address {
        return host;
    }
    psl::domain_str(name).unwrap_or(name)
}

/// The network whose addresses are taken for one machine: an IPv4 address, or the 64 bits of an IPv6 address that a
/// provider gives to one customer.
pub(super) fn network(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Net::new(v6, 64).map_or(IpNet::from(address), |network| network.trunc().into()),
        v4 => v4.into(),
    }
}

/// Which hosts or addresses an override is for. All that match one pattern share its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This host alone: "cdn.example.org".
    Host(String),
    /// This domain and all below it: "*.example.org".
    Domain(String),
    /// Addresses that a name resolves to, or that stand in the URL: "203.0.113.0/24".
    Network(IpNet),
}

impl FromStr for HostPattern {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(network) = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            return Ok(HostPattern::Network(network));
        }
        let name = |name: &str| {
            let is_name =
                !name.is_empty() && name.is_ascii() && !name.contains(['*', ' ', ':', '/']) && !name.starts_with('.');
            is_name.then(|| name.trim_end_matches('.').to_ascii_lowercase()).ok_or(())
        };
        match text.strip_prefix("*.") {
            Some(domain) => name(domain).map(HostPattern::Domain),
            None => name(text).map(HostPattern::Host),
        }
    }
}

impl HostPattern {
    /// How exactly it names this host; `None` if it does not.
    pub(super) fn matches_host(&self, host: &str) -> Option<usize> {
        let host = host.trim_end_matches('.');
        match self {
            HostPattern::Host(name) => (host == name).then_some(usize::MAX),
            HostPattern::Domain(domain) => {
                let rest = host.strip_suffix(domain.as_str())?;
                (rest.is_empty() || rest.ends_with('.')).then_some(domain.len())
            }
            HostPattern::Network(_) => None,
        }
    }

    /// How exactly it names this address; `None` if it does not.
    pub(super) fn matches_address(&self, address: IpAddr) -> Option<usize> {
        match self {
            HostPattern::Network(network) => {
                network.contains(&address.to_canonical()).then_some(network.prefix_len().into())
            }
            HostPattern::Host(_) | HostPattern::Domain(_) => None,
        }
    }

    /// The name under which all that match share their limits. No host has it.
    pub(super) fn key(&self) -> Cow<'_, str> {
        match self {
            HostPattern::Host(name) => Cow::Owned(format!("={name}")),
            HostPattern::Domain(domain) => Cow::Owned(format!("*.{domain}")),
            HostPattern::Network(network) => Cow::Owned(network.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_what_somebody_can_register() {
        for (host, expected) in [
            ("example.org", "example.org"),
            ("a.b.example.org", "example.org"),
            ("img1.example.co.uk", "example.co.uk"),
            ("alice.github.io", "alice.github.io"),
            ("x.alice.github.io", "alice.github.io"),
            ("www.example.org.", "example.org"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("localhost", "localhost"),
            ("co.uk", "co.uk"),
            ("127.0.0.1", "127.0.0.1"),
            ("[2606:4700::1]", "[2606:4700::1]"),
        ] {
            assert_eq!(site(host), expected, "{host}");
        }
    }

    #[test]
    fn addresses_of_one_customer_are_one_machine() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("93.184.216.34"), "93.184.216.34/32");
        assert_eq!(network("::ffff:93.184.216.34"), "93.184.216.34/32");
        assert_eq!(network("2606:4700:1:2:3:4:5:6"), "2606:4700:1:2::/64");
    }

    #[test]
    fn a_pattern_names_a_host_a_domain_or_a_network() {
        let matches = |pattern: &str, host: &str| pattern.parse::<HostPattern>().unwrap().matches_host(host);
        assert_eq!(matches("CDN.example.org", "cdn.example.org"), Some(usize::MAX));
        assert_eq!(matches("cdn.example.org", "a.cdn.example.org"), None);
        for host in ["example.org", "a.example.org", "a.b.example.org", "a.example.org."] {
            assert!(matches("*.example.org", host).is_some(), "{host}");
        }
        assert_eq!(matches("*.example.org", "badexample.org"), None);
        assert!(matches("*.a.example.org", "x.a.example.org") > matches("*.example.org", "x.a.example.org"));
        let network: HostPattern = "203.0.113.0/24".parse().unwrap();
        assert_eq!(network.matches_address("203.0.113.9".parse().unwrap()), Some(24));
        assert_eq!(network.matches_address("203.0.114.9".parse().unwrap()), None);
        let one: HostPattern = "203.0.113.9".parse().unwrap();
        assert_eq!(one.matches_address("203.0.113.9".parse().unwrap()), Some(32));
        for wrong in
            ["", "*", "*.", "*.*.org", "a b", ".org", "10.0.0.0/33", "example.org/x", "a.org:80", "bücher.example"]
        {
            assert_eq!(wrong.parse::<HostPattern>(), Err(()), "{wrong}");
        }
    }
}
