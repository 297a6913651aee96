use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Which addresses facemill connects to: an allow-list, so that what nobody thought of is refused.
///
/// IPv4 without the IANA IPv4 Special-Purpose Address Registry, multicast, the reserved 240.0.0.0/4 and one
/// cloud's metadata host; IPv6 only inside 2000::/3, the one block IANA has allocated for global unicast,
/// without the parts of it that reach IPv4 or nothing.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    /// Networks that are open whatever the list says, on any port.
    pub allow_networks: Vec<IpNet>,
    /// Whether nothing else is: a rehearsal that the public internet does not see.
    pub only_those: bool,
}

impl AddressPolicy {
    /// Whether a connection to this address is allowed, on the ports of the web.
    pub fn permits(&self, address: IpAddr) -> bool {
        (is_public(address) && !self.only_those) || self.opened(address)
    }

    /// Whether the user opened this address, which holds for any port.
    ///
    /// An IPv4-mapped IPv6 address connects to the IPv4 address in it, so that one is judged too.
    pub fn opened(&self, address: IpAddr) -> bool {
        let mapped = address.to_canonical();
        self.allow_networks.iter().any(|network| network.contains(&address) || network.contains(&mapped))
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|network| network.contains(&v4)),
        IpAddr::V6(v6) => {
            GLOBAL_UNICAST_V6.contains(&v6) && !SPECIAL_V6.iter().any(|network| network.contains(&v6)) && !is_isatap(v6)
        }
    }
}

/// An interface identifier that carries an IPv4 address to tunnel to (RFC 5214, section 6.1); any prefix may
/// come before it.
fn is_isatap(address: Ipv6Addr) -> bool {
    let [.., flags, protocol, _, _] = address.segments();
    matches!(flags, 0x0000 | 0x0200) && protocol == 0x5efe
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// The whole IANA registry, also the entries that it calls globally reachable: no photograph lives there.
const SPECIAL_V4: [Ipv4Net; 19] = [
    v4(0, 0, 0, 0, 8),        // "this network"
    v4(10, 0, 0, 0, 8),       // private use
    v4(100, 64, 0, 0, 10),    // shared by carriers
    v4(127, 0, 0, 0, 8),      // loopback
    v4(169, 254, 0, 0, 16),   // link local, metadata of most clouds
    v4(172, 16, 0, 0, 12),    // private use
    v4(192, 0, 0, 0, 24),     // IETF protocol assignments
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 31, 196, 0, 24),  // AS112
    v4(192, 52, 193, 0, 24),  // AMT
    v4(192, 88, 99, 0, 24),   // 6to4 relays
    v4(192, 168, 0, 0, 16),   // private use
    v4(192, 175, 48, 0, 24),  // AS112
    v4(198, 18, 0, 0, 15),    // benchmarking
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved, broadcast
    v4(168, 63, 129, 16, 32), // Azure's metadata and DNS, a public address that is not public
];

const GLOBAL_UNICAST_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

/// What the IANA registry has inside of that block.
const SPECIAL_V6: [Ipv6Net; 5] = [
    v6(0x2001, 0, 0, 23),           // IETF protocol assignments, Teredo among them
    v6(0x2001, 0x0db8, 0, 32),      // documentation
    v6(0x2002, 0, 0, 16),           // 6to4: an IPv4 address in disguise
    v6(0x2620, 0x004f, 0x8000, 48), // AS112
    v6(0x3fff, 0, 0, 20),           // documentation
];

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
