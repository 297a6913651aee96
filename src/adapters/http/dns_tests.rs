use std::{
    net::Ipv6Addr,
    sync::Mutex,
    time::{Duration, Instant},
};

use hickory_resolver::config::NameServerConfig;
use tokio::net::UdpSocket;

use super::*;

const TIMEOUT: Duration = Duration::from_millis(600);

/// What the name server of a test says.
#[derive(Clone)]
pub(in super::super) enum Answer {
    Addresses(&'static [&'static str]),
    Code(u8),
    Silence,
}

/// A name server on loopback, and the names it was asked for.
pub(in super::super) async fn name_server(
    answer: impl Fn(&str) -> Answer + Send + 'static,
) -> (Dns, Arc<Mutex<Vec<String>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut server = NameServerConfig::udp(IpAddr::from([127, 0, 0, 1]));
    server.connections.iter_mut().for_each(|connection| connection.port = socket.local_addr().unwrap().port());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let (name, kind, question) = question(&buffer[12..length]);
            log.lock().unwrap().push(name.clone());
            let (code, addresses) = match answer(&name) {
                Answer::Addresses(addresses) => (0, addresses),
                Answer::Code(code) => (code, [].as_slice()),
                Answer::Silence => continue,
            };
            let records: Vec<Vec<u8>> = addresses
                .iter()
                .map(|address| match address.parse().unwrap() {
                    IpAddr::V4(v4) => (1, v4.octets().to_vec()),
                    IpAddr::V6(v6) => (28, v6.octets().to_vec()),
                })
                .filter(|(record_kind, _)| *record_kind == kind)
                .map(|(kind, data)| {
                    // The question's name, class IN, a time to live of 0.
                    let mut record = vec![0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, data.len() as u8];
                    record.extend(data);
                    record
                })
                .collect();
            let mut reply = vec![buffer[0], buffer[1], 0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
            reply.extend(question);
            reply.extend(records.concat());
            socket.send_to(&reply, from).await.unwrap();
        }
    });
    let config = ResolverConfig::from_parts(None, vec!["search.example".parse().unwrap()], vec![server]);
    (Dns::new(config, Hosts::default(), TIMEOUT).unwrap(), asked)
}

/// Name, type and bytes of the first question of a query.
fn question(mut rest: &[u8]) -> (String, u8, Vec<u8>) {
    let start = rest;
    let mut labels = Vec::new();
    while rest[0] != 0 {
        let (label, tail) = rest[1..].split_at(usize::from(rest[0]));
        labels.push(String::from_utf8(label.to_vec()).unwrap().to_lowercase());
        rest = tail;
    }
    (labels.join("."), rest[2], start[..start.len() - rest.len() + 5].to_vec())
}

fn vetted(dns: Dns, networks: &[&str], ports: Ports) -> VettedDns {
    let allow_networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    VettedDns { dns, policy: AddressPolicy { allow_networks }, ports }
}

fn zone(name: &str) -> Answer {
    match name {
        "public.example" => Answer::Addresses(&["93.184.216.34", "2606:4700::1111"]),
        "private.example" => Answer::Addresses(&["10.0.0.1"]),
        "metadata.example" => Answer::Addresses(&["169.254.169.254", "fd00:ec2::254"]),
        "mapped.example" => Answer::Addresses(&["::ffff:127.0.0.1"]),
        "mixed.example" => Answer::Addresses(&["10.0.0.1", "93.184.216.34", "127.0.0.1", "::1", "fe80::1"]),
        "nothing.example" => Answer::Addresses(&[]),
        "broken.example" => Answer::Code(2),
        "refused.example" => Answer::Code(5),
        "silent.example" => Answer::Silence,
        _ => Answer::Code(3),
    }
}

#[tokio::test]
async fn names_resolve_to_permitted_addresses_only() {
    let (dns, _) = name_server(zone).await;
    let web = vetted(dns, &[], Ports::Web);
    let public: Vec<IpAddr> = ["93.184.216.34", "2606:4700::1111"].map(|address| address.parse().unwrap()).into();
    assert_eq!(web.lookup("public.example").await, Ok(public.clone()));
    assert_eq!(web.lookup("mixed.example").await, Ok(public[..1].to_vec()));
    for name in ["private.example", "metadata.example", "mapped.example", "localhost", "a.localhost"] {
        assert_eq!(web.lookup(name).await, Err(HttpError::BlockedAddress), "{name}");
    }
    // What looks like an address is vetted too, should it ever come to the resolver.
    for name in ["127.0.0.1", "10.0.0.1", "169.254.169.254"] {
        assert!(web.lookup(name).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn other_ports_than_the_webs_see_opened_addresses_only() {
    let (dns, _) = name_server(zone).await;
    let web = vetted(dns.clone(), &["10.0.0.0/8", "::1/128"], Ports::Web);
    let other = VettedDns { ports: Ports::Other, ..web.clone() };
    let private = IpAddr::from([10, 0, 0, 1]);
    assert_eq!(other.lookup("private.example").await, Ok(vec![private]));
    assert_eq!(other.lookup("mixed.example").await, Ok(vec![private, Ipv6Addr::LOCALHOST.into()]));
    assert_eq!(other.lookup("public.example").await, Err(HttpError::BlockedPort));
    assert_eq!(other.lookup("metadata.example").await, Err(HttpError::BlockedAddress));
    assert!(web.lookup("public.example").await.is_ok());
}

#[tokio::test]
async fn a_name_that_does_not_exist_differs_from_a_server_in_trouble() {
    let (dns, _) = name_server(zone).await;
    for name in ["missing.example", "nothing.example", "nope.invalid", &"x".repeat(64), "a..b"] {
        assert_eq!(dns.lookup(name).await, Err(HttpError::DnsNotFound), "{name}");
    }
    for name in ["broken.example", "refused.example", "silent.example"] {
        let started = Instant::now();
        assert!(matches!(dns.lookup(name).await, Err(HttpError::DnsFailed(_))), "{name}");
        assert!(started.elapsed() < 4 * TIMEOUT, "{name}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn answers_are_kept_and_no_other_name_is_asked_for() {
    let (dns, asked) = name_server(zone).await;
    for _ in 0..3 {
        dns.lookup("public.example").await.unwrap();
        // The system's resolver would go on with missing.example.search.example.
        dns.lookup("missing.example").await.unwrap_err();
    }
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    // A and AAAA, once each.
    assert_eq!(asked, ["missing.example", "missing.example", "public.example", "public.example"]);
}

#[tokio::test]
async fn the_hosts_file_works_without_a_name_server() {
    let mut hosts = Hosts::default();
    hosts.read_hosts_conf("127.0.0.5 box box.local # a comment\nfe80::5 box\n".as_bytes()).unwrap();
    let config = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
    let dns = Dns::new(config, hosts, TIMEOUT).unwrap();
    let started = Instant::now();
    assert_eq!(dns.lookup("box").await, Ok(vec!["127.0.0.5".parse().unwrap(), "fe80::5".parse().unwrap()]));
    assert_eq!(dns.lookup("BOX.local").await, Ok(vec!["127.0.0.5".parse().unwrap()]));
    assert!(dns.lookup("localhost").await.unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
    assert!(matches!(dns.lookup("public.example").await, Err(HttpError::DnsFailed(_))));
    assert!(started.elapsed() < 4 * TIMEOUT, "{:?}", started.elapsed());
}
