use std::{
    net::Ipv6Addr,
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

use super::*;

const TIMEOUT: Duration = Duration::from_millis(600);

/// What the name server of a test says.
#[derive(Clone, Debug)]
pub(in super::super) enum Answer {
    Addresses(&'static [&'static str]),
    Code(u8),
    Silence,
    /// The same a while later.
    Late(Duration, &'static [&'static str]),
    /// As if it did not fit; by TCP it does.
    Truncated(&'static [&'static str]),
    /// Of another query, by its number.
    Forged(&'static [&'static str]),
    /// To another question.
    Elsewhere(&'static [&'static str]),
}

/// The options of a test, with this name server.
fn options(servers: &[SocketAddr]) -> FetchOptions {
    FetchOptions { dns_timeout: TIMEOUT, dns_servers: servers.to_vec(), ..FetchOptions::default() }
}

/// The reply to a query, if there is one, and what it waits for.
fn reply(query: &[u8], answer: &Answer, by_tcp: bool) -> Option<(Vec<u8>, Duration)> {
    let (_, kind, mut question) = question(&query[12..]);
    let (code, addresses, wait) = match *answer {
        Answer::Silence => return None,
        Answer::Code(code) => (code, [].as_slice(), Duration::ZERO),
        Answer::Late(wait, addresses) => (0, addresses, wait),
        Answer::Addresses(all) | Answer::Truncated(all) | Answer::Forged(all) | Answer::Elsewhere(all) => {
            (0, all, Duration::ZERO)
        }
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
    let is_truncated = matches!(answer, Answer::Truncated(_)) && !by_tcp;
    let records = if is_truncated { Vec::new() } else { records };
    let id = if matches!(answer, Answer::Forged(_)) { !query[1] } else { query[1] };
    if matches!(answer, Answer::Elsewhere(_)) {
        question[1] = b'x';
    }
    let flags = [0x81 | if is_truncated { 2 } else { 0 }, 0x80 | code];
    let head = [query[0], id, flags[0], flags[1], 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
    Some(([head.as_slice(), &question, &records.concat()].concat(), wait))
}

/// The address of a name server on loopback, and the names it was asked for.
async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = socket.local_addr().unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
    let by_tcp = Arc::clone(&answer);
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let name = question(&buffer[12..length]).0;
            log.lock().unwrap().push(name.clone());
            if let Some((reply, wait)) = reply(&buffer[..length], &answer(&name), false) {
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    socket.send_to(&reply, from).await.unwrap();
                });
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = Arc::clone(&by_tcp);
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut query = vec![0; length.into()];
                    stream.read_exact(&mut query).await.unwrap();
                    let Some((reply, _)) = reply(&query, &answer(&question(&query[12..]).0), true) else { return };
                    stream.write_u16(reply.len() as u16).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            });
        }
    });
    (address, asked)
}

fn with(options: &FetchOptions) -> Dns {
    let servers = options.dns_servers.iter().copied().map(super::name_server).collect();
    let config = ResolverConfig::from_parts(None, vec!["search.example".parse().unwrap()], servers);
    Dns::by(config, Hosts::default(), options, Arc::default()).unwrap()
}

/// A resolver with a name server on loopback, and the names that one was asked for.
pub(in super::super) async fn name_server(
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> (Dns, Arc<Mutex<Vec<String>>>) {
    let (address, asked) = start(answer).await;
    (with(&options(&[address])), asked)
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
    VettedDns { dns, policy: AddressPolicy { allow_networks, ..AddressPolicy::default() }, ports }
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
    let dns = Dns::by(config, hosts, &options(&[]), Arc::default()).unwrap();
    let started = Instant::now();
    assert_eq!(dns.lookup("box").await, Ok(vec!["127.0.0.5".parse().unwrap(), "fe80::5".parse().unwrap()]));
    assert_eq!(dns.lookup("BOX.local").await, Ok(vec!["127.0.0.5".parse().unwrap()]));
    assert!(dns.lookup("localhost").await.unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
    assert!(matches!(dns.lookup("public.example").await, Err(HttpError::DnsFailed(_))));
    assert!(started.elapsed() < 4 * TIMEOUT, "{:?}", started.elapsed());
}

const A: &[&str] = &["93.184.216.34"];

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_by_tcp() {
    let (dns, _) = name_server(|_| Answer::Truncated(A)).await;
    assert_eq!(dns.lookup("large.example").await, Ok(vec![A[0].parse().unwrap()]));
}

#[tokio::test]
async fn answers_to_other_queries_and_questions_are_believed_by_nobody() {
    for forged in [Answer::Forged(A), Answer::Elsewhere(A)] {
        let (dns, _) = name_server(move |_| forged.clone()).await;
        let found = dns.lookup("victim.example").await;
        assert!(matches!(found, Err(HttpError::DnsFailed(_))), "{found:?}");
    }
}

#[tokio::test]
async fn another_name_server_answers_where_one_is_silent_or_broken() {
    for broken in [Answer::Silence, Answer::Code(2), Answer::Code(5)] {
        let (first, _) = start(move |_| broken.clone()).await;
        let (second, _) = start(|_| Answer::Addresses(A)).await;
        let dns = with(&options(&[first, second]));
        assert_eq!(dns.lookup("a.example").await, Ok(vec![A[0].parse().unwrap()]));
    }
}

#[tokio::test]
async fn equal_names_share_one_look_up_and_its_failure() {
    let late = |name: &str| match name {
        "late.example" => Answer::Late(TIMEOUT / 8, A),
        _ => Answer::Code(2),
    };
    let (dns, asked) = name_server(late).await;
    for (name, is_found) in [("late.example", true), ("broken.example", false)] {
        let found = futures_util::future::join_all((0..50).map(|_| dns.lookup(name))).await;
        assert!(found.iter().all(|found| found.is_ok() == is_found), "{name}");
    }
    let asked = asked.lock().unwrap();
    let times = |name: &str| asked.iter().filter(|asked| *asked == name).count();
    assert_eq!(times("late.example"), 2, "A and AAAA, once each");
    assert!(times("broken.example") <= 4, "{}", times("broken.example"));
    assert_eq!((dns.metrics.found.get(), dns.metrics.failed.get(), dns.metrics.known.get()), (1, 1, 98));
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    let times = std::sync::atomic::AtomicUsize::new(0);
    let second_time = move |_: &str| match times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0..4 => Answer::Code(2),
        _ => Answer::Addresses(A),
    };
    let (dns, _) = name_server(second_time).await;
    for _ in 0..3 {
        if dns.lookup("a.example").await.is_ok() {
            return;
        }
    }
    panic!("it never asks again");
}

#[tokio::test]
async fn no_more_names_are_looked_up_at_once_than_allowed() {
    let (address, asked) = start(|_| Answer::Late(TIMEOUT / 8, A)).await;
    let dns = with(&FetchOptions { dns_lookups: 2, ..options(&[address]) });
    let names: Vec<String> = (0..6).map(|n| format!("{n}.example")).collect();
    let lookups = futures_util::future::join_all(names.iter().map(|name| dns.lookup(name)));
    let early = tokio::time::timeout(TIMEOUT / 16, lookups).await;
    assert!(early.is_err());
    let names: std::collections::BTreeSet<String> = asked.lock().unwrap().iter().cloned().collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
