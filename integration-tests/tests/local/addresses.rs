use std::net::{IpAddr, SocketAddr};

use facemill::domain::CanonicalUrl;

use crate::{
    namespace::{Arrived, Records, inside, name_server, web_server},
    program::{Place, finish, text},
};

const PORTS: [u16; 10] = [22, 25, 80, 443, 2375, 3306, 5432, 6379, 8080, 9200];

/// What no connection may come of, one URL a line. `{ad}` and the like stand for characters that nobody sees.
const FORBIDDEN: &str = "
    http://127.0.0.1/ http://127.0.0.1./ http://127.1/ http://127.0.1/ http://0177.0.0.1/ http://0177.1/
    http://0x7f.0.0.1/ http://0x7f.1/ http://0x7F000001/ http://0X7f000001/ http://2130706433/ http://017700000001/
    http://0x7f.0x0.0x0.0x1/ http://00000177.00.0x0.1/ http://127.0.0.1:80/ http://127.0.0.1:00080/ http://127.255.255.254/
    https://127.0.0.1/ https://127.0.0.1:443/ https://127.0.0.1:80/ http://127.0.0.1:443/ https://2130706433/
    http://0/ http://0.0.0.0/ http://0x0/ http://00/ http://0.1/ http://0.0.0.0./
    http://10.0.0.1/ http://10.1/ http://167772161/ http://0x0a000001/ http://012.0.0.1/ http://0xa.1/
    http://169.254.169.254/latest/meta-data/ http://2852039166/ http://0xa9fea9fe/ http://0251.0376.0251.0376/
    http://169.254.43518/ http://0xa9.254.0251.254/ http://025177524776/ http://169.16689662/ http://169.254.169.254./
    http://172.16.0.1/ http://192.168.0.1/ http://192.168.257/ http://3232235521/ http://100.64.0.1/ http://100.100.100.200/
    http://168.63.129.16/ http://192.0.0.192/ http://198.18.0.1/ http://192.0.2.1/ http://203.0.113.1/
    http://224.0.0.1/ http://239.255.255.250/ http://255.255.255.255/ http://4294967295/ http://0xffffffff/ http://240.0.0.1/
    http://１２７.０.０.１/ http://127。0。0。1/ http://127．0．0．1/ http://127｡0｡0｡1/ http://①②⑦.⓪.⓪.①/ http://𝟏𝟐𝟕.𝟎.𝟎.𝟏/
    http://12{ad}7.0.0.1/ http://127.0{200b}.0.1/ http://127.0.0.1{2060}/ http://０ｘ７ｆ.1/ http://１６９。２５４。１６９。２５４/
    http://%31%32%37.0.0.1/ http://127%2e0%2e0%2e1/ http://127%E3%80%820.0.1/ http://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1/
    http://localhost/ http://localhost./ http://LOCALHOST/ http://a.localhost/ http://ｌｏｃａｌｈｏｓｔ/ http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/
    http://local{ad}host/ http://%6cocalhost/ http://localhoſt/ https://localhost/ http://localhost:22/
    http://public.test@127.0.0.1/ http://public.test:80@127.0.0.1/ http://user:word@127.0.0.1/ http://127.0.0.1@public.test/
    http://@127.0.0.1/ http://:@127.0.0.1/ http://127.0.0.1\\@public.test/ http://127.0.0.1#@public.test/
    http://127.0.0.1?@public.test/ http:127.0.0.1/ http:/127.0.0.1/ http:////127.0.0.1/ http:\\\\127.0.0.1\\
    http://127.0.{9}0.1/ http://public.test:22/ http://public.test:6379/ http://93.184.0.1:8080/ http://93.184.0.1:25/
    http://93.184.0.1:9200/ https://93.184.0.1:5432/ http://127.0.0.1:22/ http://127.0.0.1:6379/ http://127.0.0.1:2375/
    http://127.0.0.1:65616/ http://10.0.0.1:3306/ http://[::1]:8080/ gopher://127.0.0.1:6379/_INFO ftp://127.0.0.1/
    http://[::1]/ http://[0:0:0:0:0:0:0:1]/ http://[::]/ http://[0000::0001]/ http://[::127.0.0.1]/ http://[::7f00:1]/
    http://[::ffff:127.0.0.1]/ http://[::FFFF:7F00:1]/ http://[0:0:0:0:0:ffff:127.0.0.1]/ http://[::ffff:0:127.0.0.1]/
    http://[::ffff:10.0.0.1]/ http://[::ffff:169.254.169.254]/ http://[::ffff:a9fe:a9fe]/ http://[::ffff:93.184.0.1]/
    http://[64:ff9b::127.0.0.1]/ http://[64:ff9b::a9fe:a9fe]/ http://[64:ff9b:1::10.0.0.1]/ http://[64:ff9b::93.184.0.1]/
    http://[2002:7f00:1::]/ http://[2002:a9fe:a9fe::1]/ http://[2001:0:7f00:1::1]/ http://[2001:0:5db8:1::f5ff:fffe]/
    http://[2606:4700::5efe:127.0.0.1]/ http://[2606:4700::200:5efe:a00:1]/ http://[fec0::1]/ http://[fe80::1]/
    http://[fe80::1%25lo]/ http://[fe80::1%lo]/ http://[::1%lo]/ http://[::1%251]/ http://[fc00::1]/ http://[fd00:ec2::254]/
    http://[100::1]/ http://[2001:db8::1]/ http://[3fff::1]/ http://[5f00::1]/ http://[ff02::1]/ http://[ff0e::1]/
    http://[4000::1]/ http://[2620:4f:8000::1]/ http://[127.0.0.1]/ https://[::1]/ https://[::ffff:127.0.0.1]/
    http://private.test/ http://loopback.test/ http://metadata.test/ http://six.test/ http://mapped.test/ http://nat64.test/
    http://sixtofour.test/ http://zero.test/ http://unspecified.test/ http://alias.test/ http://alias-to-localhost.test/
    http://all-private.test/ https://private.test/ http://PRIVATE.test./ http://127.0.0.1.test/ http://public.test:8080/
";

/// These look like some of them and are none.
const PERMITTED: &str = "
    http://93.184.0.1/ http://0x5db80001/ http://1572339713/ http://93.184.1/ http://0135.0270.0.1/ http://93.184.0.1:80/
    http://９３。１８４。０。１/ http://public.test/ http://PUBLIC.test./ http://public.test#@127.0.0.1/
    http://public.test\\@127.0.0.1/ http://public.test?@127.0.0.1/ http://mixed.test/ http://mixed-six.test/
    http://good-alias.test/ http://[2606:4700::1]/ http://[2606:4700:0::0001]:80/
";

fn urls(table: &str) -> Vec<String> {
    let unseen = [("{ad}", "\u{ad}"), ("{200b}", "\u{200b}"), ("{2060}", "\u{2060}"), ("{9}", "\t")];
    let seen = |url: &str| unseen.iter().fold(url.to_owned(), |url, (name, character)| url.replace(name, character));
    table.split_whitespace().map(seen).collect()
}

fn zone(name: &str, times: usize) -> Records {
    let addresses = |list: &str| list.split(' ').map(|address| address.parse().unwrap()).collect();
    let known = |list| Records::Addresses(addresses(list));
    match name {
        "public.test" => known("93.184.0.1"),
        "private.test" => known("10.0.0.1"),
        "loopback.test" => known("127.0.0.1"),
        "127.0.0.1.test" => known("127.0.0.1"),
        "metadata.test" => known("169.254.169.254 fd00:ec2::254"),
        "six.test" => known("::1"),
        "mapped.test" => known("::ffff:127.0.0.1"),
        "nat64.test" => known("64:ff9b::7f00:1"),
        "sixtofour.test" => known("2002:7f00:1::1"),
        "zero.test" => known("0.0.0.0"),
        "unspecified.test" => known("::"),
        "all-private.test" => known("10.0.0.1 192.168.0.1 127.0.0.1 ::1 fe80::1 fd00::1"),
        "mixed.test" => known("10.0.0.1 127.0.0.1 93.184.0.1 169.254.169.254 ::1 fd00::1"),
        "mixed-six.test" => known("127.0.0.1 ::1 2606:4700::1 ::ffff:127.0.0.1"),
        "alias.test" => Records::Alias("private.test", addresses("10.0.0.1")),
        "alias-to-localhost.test" => Records::Alias("localhost", addresses("127.0.0.1")),
        "good-alias.test" => Records::Alias("public.test", addresses("93.184.0.1")),
        // One address when it is vetted, another one when it is asked for again.
        "rebinding.test" => known(if times == 0 { "93.184.0.1" } else { "127.0.0.1" }),
        "rebinding-to-metadata.test" => known(if times == 0 { "93.184.0.1" } else { "169.254.169.254" }),
        _ => Records::Unknown,
    }
}

/// Whether this address is one that the tables permit.
fn is_permitted(address: &SocketAddr) -> bool {
    let ip = address.ip().to_string();
    (ip == "2606:4700::1" || ip.starts_with("93.184.")) && [80, 443].contains(&address.port())
}

fn arrived_at(arrived: &Arrived, address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap();
    arrived.lock().unwrap().iter().any(|at| at.ip() == address)
}

#[test]
fn no_spelling_name_or_redirect_leads_to_an_address_outside_the_public_internet() {
    if !inside("addresses::no_spelling_name_or_redirect_leads_to_an_address_outside_the_public_internet") {
        return;
    }
    let (forbidden, permitted) = (urls(FORBIDDEN), urls(PERMITTED));
    assert!(forbidden.len() >= 150, "{}", forbidden.len());
    let targets = [forbidden.clone(), permitted.clone()].concat();
    let arrived = web_server(&PORTS, targets.clone());
    name_server(zone);

    // Each directly, and each behind a redirect of a server of the public internet.
    let redirects: Vec<_> = (0..targets.len()).map(|n| format!("http://93.184.{}.34/to/{n}", n % 250)).collect();
    let list = [targets.clone(), redirects.clone()].concat().join("\n");
    let rebinding = ["http://rebinding.test/later", "http://rebinding-to-metadata.test/later"];
    // A busy machine is no reason for another end.
    let options = "--output none --set retry.base=10ms --set fetch.dns_timeout=20s --set fetch.first_byte_timeout=20s";
    let place = Place::new();
    place.write("urls.txt", format!("{list}\n{}\n", rebinding.join("\n")));
    finish(place.facemill(&format!("local urls.txt {options}"))).success();
    let rows = place.rows("");
    let end = |url: &str| {
        let canonical = CanonicalUrl::parse(url);
        let url = canonical.as_ref().map_or(url, |canonical| canonical.as_str());
        let row = rows.iter().find(|row| text(&row["url"]) == url).unwrap_or_else(|| panic!("no row of {url}"));
        row["reason"].as_str().unwrap_or("detected").to_owned()
    };
    let strays: Vec<_> = arrived.lock().unwrap().iter().filter(|at| !is_permitted(at)).copied().collect();
    assert!(strays.is_empty(), "connections arrived at {strays:?}");
    for (target, redirect) in targets.iter().zip(&redirects) {
        // Without the two slashes a redirect means a path of the server that sends it.
        let is_path = ["http:127.0.0.1/", "http:/127.0.0.1/"].contains(&target.as_str());
        let (direct, behind) = (end(target), end(redirect));
        if forbidden.contains(target) {
            let refused = ["blocked_address", "blocked_url", "invalid_url", "invalid_redirect"];
            assert!(refused.contains(&direct.as_str()), "{target}: {direct}");
            assert!(is_path || refused.contains(&behind.as_str()), "redirect to {target}: {behind}");
        } else {
            assert_eq!([&direct, &behind], ["detected"; 2], "{target}");
        }
    }
    for url in rebinding {
        assert_eq!(end(url), "blocked_address", "{url}");
    }
    for address in ["93.184.0.1", "2606:4700::1"] {
        assert!(arrived_at(&arrived, address), "{address}");
    }

    // The control: where all is opened, they lead where their names say.
    let open = Place::new();
    open.write("urls.txt", list);
    let all = "--allow-network 0.0.0.0/0 --allow-network ::/0";
    finish(open.facemill(&format!("local urls.txt {options} {all}"))).success();
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "198.18.0.1",
        "::1",
        "fd00:ec2::254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::1",
        "2606:4700::5efe:7f00:1",
        "fec0::1",
        "2620:4f:8000::1",
        "3fff::1",
        "5f00::1",
    ] {
        assert!(arrived_at(&arrived, address), "{address}");
    }
    let ports: Vec<_> = arrived.lock().unwrap().iter().map(|at| at.port()).collect();
    assert!(PORTS.iter().all(|port| ports.contains(port)), "{ports:?}");
}
