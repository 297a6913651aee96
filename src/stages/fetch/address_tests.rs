use super::*;

fn policy(networks: &[&str]) -> AddressPolicy {
    let allow_networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    AddressPolicy { allow_networks, only_those: false }
}

/// Every address stands one step inside or outside an edge of a block of the two IANA special-purpose registries, or is
/// a known way around such lists.
const REFUSED: &str = "
    0.0.0.0 0.0.0.1 0.255.255.255
    10.0.0.0 10.0.0.1 10.255.255.255
    100.64.0.0 100.64.0.1 100.100.100.200 100.127.255.255
    127.0.0.0 127.0.0.1 127.0.0.53 127.1.2.3 127.255.255.255
    169.254.0.0 169.254.42.42 169.254.169.123 169.254.169.253 169.254.169.254 169.254.170.2 169.254.170.23
    169.254.255.255
    172.16.0.0 172.17.0.1 172.31.255.255
    192.0.0.0 192.0.0.1 192.0.0.7 192.0.0.8 192.0.0.9 192.0.0.10 192.0.0.170 192.0.0.171 192.0.0.192 192.0.0.255
    192.0.2.0 192.0.2.1 192.0.2.255
    192.31.196.0 192.31.196.255
    192.52.193.0 192.52.193.255
    192.88.99.0 192.88.99.1 192.88.99.2 192.88.99.255
    192.168.0.0 192.168.0.1 192.168.255.255
    192.175.48.0 192.175.48.255
    198.18.0.0 198.18.0.1 198.19.255.255
    198.51.100.0 198.51.100.255
    203.0.113.0 203.0.113.255
    224.0.0.0 224.0.0.1 224.0.0.251 232.1.1.1 239.255.255.250 239.255.255.255
    240.0.0.0 250.1.2.3 255.255.255.254 255.255.255.255
    168.63.129.16
    :: ::1 ::2 ::ffff ::1.2.3.4 ::8.8.8.8 ::7f00:1 ::127.0.0.1 ::10.0.0.1 ::169.254.169.254 ::255.255.255.255
    ::1:0:0 ::fffe:ffff:ffff
    ::ffff:0.0.0.0 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:8.8.8.8 ::ffff:255.255.255.255
    ::ffff:0:127.0.0.1 ::ffff:0:8.8.8.8 ::ffff:192.168.0.1 ::ffff:172.16.0.1 ::ffff:100.64.0.1 ::ffff:0:0:0
    64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff 64:ff9b:: 64:ff9b::127.0.0.1 64:ff9b::8.8.8.8 64:ff9b::a9fe:a9fe
    64:ff9b::10.0.0.1 64:ff9b::ffff:ffff 64:ff9b::1:0:0 64:ff9b:0:ffff:ffff:ffff:ffff:ffff
    64:ff9b:1:: 64:ff9b:1::1 64:ff9b:1::10.0.0.1 64:ff9b:1:ffff:ffff:ffff:ffff:ffff 64:ff9b:2::
    ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 100:: 100::1 100::ffff:ffff:ffff:ffff
    100:0:0:1:: 100:0:0:1::1 100:0:0:1:ffff:ffff:ffff:ffff 100:0:0:2::
    1:: 1fff:: 1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    2001:: 2001::1 2001:0:7f00:1::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:0:ffff:ffff:ffff:ffff:ffff:ffff
    2001:1:: 2001:1::1 2001:1::2 2001:1::3 2001:1::4 2001:1:ffff:ffff:ffff:ffff:ffff:ffff
    2001:2:: 2001:2::1 2001:2:0:ffff:ffff:ffff:ffff:ffff 2001:2:1::
    2001:3:: 2001:3::1 2001:3:ffff:ffff:ffff:ffff:ffff:ffff
    2001:4:111:ffff:ffff:ffff:ffff:ffff 2001:4:112:: 2001:4:112::1 2001:4:112:ffff:ffff:ffff:ffff:ffff 2001:4:113::
    2001:f:ffff:ffff:ffff:ffff:ffff:ffff 2001:10:: 2001:10::1 2001:1f:ffff:ffff:ffff:ffff:ffff:ffff
    2001:20:: 2001:20::1 2001:2f:ffff:ffff:ffff:ffff:ffff:ffff
    2001:30:: 2001:30::1 2001:3f:ffff:ffff:ffff:ffff:ffff:ffff 2001:40::
    2001:1ff:: 2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff
    2001:db8:: 2001:db8::1 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff
    2002:: 2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe::1 2002:808:808::1 2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    2620:4f:8000:: 2620:4f:8000::1 2620:4f:8000:ffff:ffff:ffff:ffff:ffff
    3fff:: 3fff::1 3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff
    2606:4700::5efe:7f00:1 2606:4700::5efe:127.0.0.1 2606:4700:1:2:0:5efe:10.0.0.1 2606:4700:1:2:200:5efe:10.0.0.1
    2606:4700::200:5efe:8.8.8.8 2a00:1450:4001:81b:0:5efe:a9fe:a9fe
    4000:: 4000::1 5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 5f00:: 5f00::1 5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff 5f01::
    8000::1 c000::1 e000::1 f000::1 f800::1 fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    fc00:: fc00::1 fd00::1 fd00:42::42 fd00:ec2::254 fd20:ce::254 fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    fe00::1 fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff fe80:: fe80::1 fe80::a9fe:a9fe febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    fec0:: fec0::1 feff::1 feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ff00:: ff01::1 ff02::1 ff02::fb ff05::1:3 ff0e::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
";

const PERMITTED: &str = "
    1.0.0.0 1.1.1.1 8.8.8.8
    9.255.255.255 11.0.0.0
    100.63.255.255 100.128.0.0
    126.255.255.255 128.0.0.0
    169.253.255.255 169.255.0.0
    172.15.255.255 172.32.0.0
    191.255.255.255 192.0.1.0 192.0.1.255 192.0.3.0
    192.31.195.255 192.31.197.0
    192.52.192.255 192.52.194.0
    192.88.98.255 192.88.100.0
    192.167.255.255 192.169.0.0
    192.175.47.255 192.175.49.0
    198.17.255.255 198.20.0.0
    198.51.99.255 198.51.101.0
    203.0.112.255 203.0.114.0
    168.63.129.15 168.63.129.17
    223.255.255.255
    2000:: 2000::1 2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    2001:200:: 2001:200::1 2001:4860:4860::8888
    2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9::
    2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2003::
    2620:4f:7fff:ffff:ffff:ffff:ffff:ffff 2620:4f:8001::
    2400:cb00::1 2606:4700:4700::1111 2a00:1450:4001:81b::200e
    2606:4700::5eff:7f00:1 2606:4700::1:5efe:7f00:1 2606:4700:0:5efe:1::1
    3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff 3fff:1000:: 3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
";

fn addresses(table: &str) -> Vec<IpAddr> {
    table.split_whitespace().map(|text| text.parse().unwrap_or_else(|_| panic!("{text}"))).collect()
}

#[test]
fn only_addresses_of_the_public_internet_are_permitted() {
    let (refused, permitted) = (addresses(REFUSED), addresses(PERMITTED));
    assert!(refused.len() + permitted.len() >= 250, "{}", refused.len() + permitted.len());
    let policy = policy(&[]);
    let wrong: Vec<_> = refused.iter().filter(|address| policy.permits(**address)).collect();
    assert!(wrong.is_empty(), "permitted: {wrong:?}");
    let wrong: Vec<_> = permitted.iter().filter(|address| !policy.permits(**address)).collect();
    assert!(wrong.is_empty(), "refused: {wrong:?}");
}

#[test]
fn every_special_block_is_refused_to_its_edges() {
    let policy = policy(&[]);
    for network in SPECIAL_V4 {
        assert!(!policy.permits(network.network().into()) && !policy.permits(network.broadcast().into()), "{network}");
    }
    for network in SPECIAL_V6 {
        assert!(!policy.permits(network.network().into()) && !policy.permits(network.broadcast().into()), "{network}");
    }
}

#[test]
fn nothing_is_opened_unless_the_user_opens_it() {
    let policy = policy(&[]);
    assert!(addresses(REFUSED).iter().chain(&addresses(PERMITTED)).all(|address| !policy.opened(*address)));
}

#[test]
fn in_a_rehearsal_the_public_internet_is_refused_too() {
    let policy = AddressPolicy { only_those: true, ..policy(&["127.0.0.0/8"]) };
    assert!(addresses(PERMITTED).iter().all(|address| !policy.permits(*address)));
    assert!(policy.permits("127.0.0.1".parse().unwrap()));
}

#[test]
fn an_opened_network_opens_itself_and_nothing_else() {
    let policy = policy(&["127.0.0.0/8", "fd00:1::/32"]);
    for address in addresses("127.0.0.1 127.255.255.255 fd00:1::1 ::ffff:127.0.0.1 ::ffff:7fff:ffff") {
        assert!(policy.opened(address) && policy.permits(address), "{address}");
    }
    for address in addresses("10.0.0.1 169.254.169.254 ::1 fd00:2::1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::127.0.0.1") {
        assert!(!policy.opened(address) && !policy.permits(address), "{address}");
    }
    // A public address stays permitted, though not opened: other ports than the web's stay closed on it.
    let public = "8.8.8.8".parse().unwrap();
    assert!(policy.permits(public) && !policy.opened(public));
}
