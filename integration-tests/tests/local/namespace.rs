//! A network that has nothing but loopback, where every address there is leads to a server that counts.

use std::{
    collections::{BTreeSet, HashMap},
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use integration_tests::PIXEL_PNG;

use crate::program::Place;

/// Set inside.
const INSIDE: &str = "FACEMILL_TEST_NAMESPACE";

/// Every address is local (AnyIP), and the name server is ours.
const ENTER: &str = "PATH=$PATH:/usr/sbin:/sbin && ip link set lo up && ip route add local 0.0.0.0/0 dev lo && ip -6 route add local ::/0 dev lo \
    && mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";

/// Runs the test of this name again in a network of its own; true inside of it.
#[track_caller]
pub fn inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let place = Place::new();
    place.write("resolv.conf", "nameserver 127.0.0.1\n");
    let resolv = place.path("resolv.conf");
    let again = env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-r", "-n", "-m", "sh", "-c", ENTER, "sh"]).arg(resolv).arg(again);
    let output = command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output();
    let output = output.unwrap_or_else(|error| panic!("no unshare (package util-linux): {error}"));
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(
        said.contains("running 1 test"),
        "this test needs a network namespace and the program ip (package iproute2); as another user than root it needs \
         a system that lets users make one: {said}"
    );
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    print!("{said}");
    false
}

/// Where connections arrived.
pub type Arrived = Arc<Mutex<BTreeSet<SocketAddr>>>;

/// A web server on all addresses: `/to/N` is a redirect to the Nth target, `/later` asks to come back in 6 s, all else
/// is a picture.
pub fn web_server(ports: &[u16], targets: Vec<String>) -> Arrived {
    let (arrived, targets) = (Arrived::default(), Arc::new(targets));
    for port in ports {
        // Of both families: IPv4 comes as mapped.
        let listener = TcpListener::bind(("::", *port)).unwrap();
        let (arrived, targets) = (Arc::clone(&arrived), Arc::clone(&targets));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let at = stream.local_addr().unwrap();
                arrived.lock().unwrap().insert(SocketAddr::new(at.ip().to_canonical(), at.port()));
                let targets = Arc::clone(&targets);
                thread::spawn(move || answer(stream, &targets).ok());
            }
        });
    }
    arrived
}

fn answer(stream: TcpStream, targets: &[String]) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    // Whoever says hello in TLS is not answered.
    if stream.fill_buf()?.first() == Some(&0x16) {
        return Ok(());
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && stream.by_ref().take(8192).read_until(b'\n', &mut head)? > 0 {}
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let target = path.strip_prefix("/to/").and_then(|number| targets.get(number.parse::<usize>().ok()?));
    let (head, body) = match (target, path) {
        (Some(target), _) => (format!("302 Found\r\nLocation: {target}"), &[][..]),
        (None, "/later") => ("503 Busy\r\nRetry-After: 6".to_owned(), &[][..]),
        (None, "/robots.txt") => ("404 Not Found".to_owned(), &[][..]),
        (None, _) => ("200 OK".to_owned(), PIXEL_PNG.as_slice()),
    };
    let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.get_mut().write_all(&[head.as_bytes(), body].concat())
}

/// What the name server says of a name.
pub enum Records {
    Addresses(Vec<IpAddr>),
    /// Another name, and its addresses.
    Alias(&'static str, Vec<IpAddr>),
    Unknown,
}

/// A name server on 127.0.0.1; `zone` gets the name and how often it was asked for in this type.
pub fn name_server(zone: impl Fn(&str, usize) -> Records + Send + 'static) {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    thread::spawn(move || {
        let mut asked: HashMap<(String, u8), usize> = HashMap::new();
        let mut buffer = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            let (name, kind, question) = question(&buffer[12..length]);
            let times = asked.entry((name.clone(), kind)).or_default();
            let (code, alias, addresses) = match zone(&name, *times) {
                Records::Addresses(addresses) => (0, None, addresses),
                Records::Alias(name, addresses) => (0, Some(name), addresses),
                Records::Unknown => (3, None, Vec::new()),
            };
            *times += 1;
            // The name of the addresses: the question's, or what the alias at byte 12 + question + 12 says.
            let owner = if alias.is_some() { 12 + question.len() + 12 } else { 12 };
            let record = |owner: usize, kind: u8, data: &[u8]| {
                // A class of IN, a time to live of 0.
                [&[0xc0, owner as u8, 0, kind, 0, 1, 0, 0, 0, 0, 0, data.len() as u8], data].concat()
            };
            let mut records: Vec<_> = alias.iter().map(|alias| record(12, 5, &encoded(alias))).collect();
            records.extend(addresses.iter().filter_map(|address| match address {
                IpAddr::V4(v4) if kind == 1 => Some(record(owner, 1, &v4.octets())),
                IpAddr::V6(v6) if kind == 28 => Some(record(owner, 28, &v6.octets())),
                _ => None,
            }));
            let mut reply = vec![buffer[0], buffer[1], 0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
            reply.extend(question);
            reply.extend(records.concat());
            socket.send_to(&reply, from).unwrap();
        }
    });
}

/// Name, type and bytes of the first question of a query.
fn question(mut rest: &[u8]) -> (String, u8, Vec<u8>) {
    let start = rest;
    let mut labels = Vec::new();
    while rest[0] != 0 {
        let (label, tail) = rest[1..].split_at(usize::from(rest[0]));
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        rest = tail;
    }
    (labels.join("."), rest[2], start[..start.len() - rest.len() + 5].to_vec())
}

/// A name as labels.
fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([vec![0]]).collect::<Vec<_>>().concat()
}
