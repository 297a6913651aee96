//! The outcome of an exchange does not depend on the exchanges before it, on the same connection or another one.

use std::collections::BTreeMap;

use super::*;
use crate::domain::hex;

/// The end of an exchange: the body's hash and type, or why there is none.
type End = Result<(String, Option<String>), (Reason, Option<u16>)>;

/// The body of a good picture, for each number another one.
fn picture(number: usize) -> Vec<u8> {
    let mut bytes = jpeg(2000);
    bytes.extend(number.to_be_bytes());
    bytes
}

fn raw(head: &str, body: &[u8]) -> Vec<u8> {
    [head.replace('\n', "\r\n").as_bytes(), b"\r\n", body].concat()
}

/// A response without a request.
fn poison() -> Vec<u8> {
    raw("HTTP/1.1 200 OK\nContent-Length: 2008\nContent-Type: poison\n", &picture(usize::MAX))
}

fn send(head: &str, body: &[u8]) -> Vec<Step> {
    vec![Step::Send(raw(head, body))]
}

fn with_poison(head: &str, body: &[u8]) -> Vec<Step> {
    vec![Step::Send([raw(head, body), poison()].concat())]
}

fn good(number: usize) -> Vec<Step> {
    response("200 OK", &[("Content-Type", "image/jpeg")], &picture(number))
}

/// So long that it is still on its way when the client has heard enough.
fn long() -> Vec<u8> {
    vec![7; 99_000]
}

/// A name in the URL, and the answer to the URL with a number.
type Behaviour = (&'static str, fn(usize) -> Vec<Step>);

const BEHAVIOURS: [Behaviour; 21] = [
    ("good", good),
    ("length-too-short", |number| with_poison("HTTP/1.1 200 OK\nContent-Length: 2008\n", &picture(number))),
    ("length-of-nothing", |_| with_poison("HTTP/1.1 200 OK\nContent-Length: 0\n", b"")),
    ("chunks-and-more", |_| {
        with_poison("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", b"2\r\n\xff\xd8\r\n0\r\n\r\n")
    }),
    ("broken-chunks", |_| with_poison("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", b"zz\r\n")),
    ("no-content", |_| with_poison("HTTP/1.1 204 No Content\n", b"")),
    ("not-modified", |_| with_poison("HTTP/1.1 304 Not Modified\nContent-Length: 5\n", b"")),
    ("missing", |_| response("404 Not Found", &[], b"a page")),
    ("missing-and-more", |_| with_poison("HTTP/1.1 404 Not Found\nContent-Length: 6\n", b"a page")),
    ("page", |_| response("200 OK", &[], &[b"<html>".as_slice(), &long()].concat())),
    ("too-large", |number| response("200 OK", &[], &[picture(number), long(), long()].concat())),
    ("opted-out", |_| response("200 OK", &[("X-Robots-Tag", "noai")], &long())),
    ("encoded", |_| response("200 OK", &[("Content-Encoding", "br")], &long())),
    ("server-error", |_| response("500 Oh", &[], &long())),
    ("length-too-long", |number| {
        [send("HTTP/1.1 200 OK\nContent-Length: 3000\n", &picture(number)), vec![Step::Close]].concat()
    }),
    ("closes-at-once", |_| vec![Step::Close]),
    ("garbage", |_| send("SSH-2.0-OpenSSH\n", b"")),
    ("hints-first", |number| [send("HTTP/1.1 103 Early Hints\nContent-Length: 9\n", b""), good(number)].concat()),
    ("moved", |number| response("302 Found", &[("Location", &format!("/good/{number}"))], &long())),
    ("moved-nowhere", |_| response("302 Found", &[], &long())),
    ("empty", |_| response("200 OK", &[], b"")),
];

fn answer(path: &str) -> Vec<Step> {
    if path == "/robots.txt" {
        return response("200 OK", &[], b"User-agent: *\nDisallow: /good/3\n");
    }
    let [name, number] = path[1..].split('/').collect::<Vec<_>>()[..] else { return vec![Step::Close] };
    let behaviour = BEHAVIOURS.iter().find(|(known, _)| *known == name);
    behaviour.map_or_else(|| vec![Step::Close], |(_, answer)| answer(number.parse().unwrap_or(0)))
}

async fn end(fetch: &Fetch<HttpAdapter>, url: &str) -> End {
    match process(fetch, url).await {
        Ok(message) => {
            let fetched = message.facts.fetched.unwrap();
            assert_eq!(hex(&Sha256::digest(&message.body)), fetched.sha256);
            Ok((fetched.sha256, fetched.content_type))
        }
        Err(failure) => Err((failure.reason, failure.http_status)),
    }
}

/// Fetches all URLs alone, each with a client of its own, and in three orders with one client.
async fn ends_are_the_same_in_any_order(options: FetchOptions) -> BTreeMap<String, End> {
    let server = Server::start(answer).await;
    // The rests of a host are meant to depend on what came before.
    let options =
        FetchOptions { breaker: BreakerOptions { failures: 0, wasted: Duration::MAX, ..options.breaker }, ..options };
    let mut urls: Vec<String> = (0..3)
        .flat_map(|number| BEHAVIOURS.map(|(name, _)| format!("/{name}/{number}")))
        .chain((3..40).map(|number| format!("/good/{number}")))
        .collect();
    let mut alone = BTreeMap::new();
    for url in &urls {
        alone.insert(url.clone(), end(&fetch(options.clone()), &server.url(url)).await);
    }
    let mut random = fastrand::Rng::with_seed(12);
    let connections = server.connections();
    for at_once in [1, 1, 4] {
        random.shuffle(&mut urls);
        let host_limits = HostLimits { concurrency: at_once, rate: None };
        let fetch = Arc::new(fetch(FetchOptions { host_limits, ..options.clone() }));
        let tasks: Vec<_> = urls
            .iter()
            .map(|path| {
                let (fetch, path, url) = (Arc::clone(&fetch), path.clone(), server.url(path));
                tokio::spawn(async move { (end(&fetch, &url).await, path) })
            })
            .collect();
        for task in tasks {
            let (end, path) = task.await.unwrap();
            assert_eq!(end, alone[&path], "{at_once} at once: {path}");
        }
    }
    assert!(server.connections() - connections < 2 * urls.len(), "connections are used again");
    alone
}

#[tokio::test]
async fn every_url_ends_the_same_alone_and_among_others_on_the_same_connections_in_any_order() {
    let ends = ends_are_the_same_in_any_order(options()).await;
    for number in 0..40 {
        let body = hex(&Sha256::digest(picture(number)));
        assert_eq!(ends[&format!("/good/{number}")], Ok((body, Some("image/jpeg".to_owned()))));
    }
    // The control: none of the other names is answered by accident.
    for (name, reason) in [
        ("broken-chunks", Reason::ConnectionLost),
        ("missing", Reason::HttpClientError),
        ("page", Reason::NotAnImage),
        ("too-large", Reason::BodyTooLarge),
        ("opted-out", Reason::OptedOut),
        ("encoded", Reason::ContentEncoded),
        ("moved-nowhere", Reason::InvalidRedirect),
    ] {
        assert_eq!(ends[&format!("/{name}/0")].as_ref().unwrap_err().0, reason, "{name}");
    }
}

#[tokio::test]
async fn known_rules_of_robots_txt_decide_the_same_for_the_first_url_and_for_the_last() {
    let ends = ends_are_the_same_in_any_order(FetchOptions { honour_robots_txt: true, ..options() }).await;
    for number in 0..40 {
        let is_allowed = !number.to_string().starts_with('3');
        assert_eq!(ends[&format!("/good/{number}")].is_ok(), is_allowed, "{number}");
    }
}
