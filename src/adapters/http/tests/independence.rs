//! The outcome of an exchange does not depend on the exchanges before it, on the same connection or another one.

use std::collections::BTreeMap;

use super::*;
use crate::domain::hex;

/// How an exchange ended: the body's hash and type, or why there is none.
type End = Result<(String, Option<String>), (Reason, Option<u16>)>;

/// The bodies of good pictures, each another one.
fn picture(number: usize) -> Vec<u8> {
    let mut bytes = jpeg(2000);
    bytes.extend(number.to_be_bytes());
    bytes
}

fn raw(head: &str, body: &[u8]) -> Vec<u8> {
    [head.replace('\n', "\r\n").as_bytes(), b"\r\n", body].concat()
}

/// What is never the answer to anything.
fn poison() -> Vec<u8> {
    raw("HTTP/1.1 200 OK\nContent-Length: 2008\nContent-Type: poison\n", &picture(usize::MAX))
}

/// The manners of the server, by name.
fn answer(path: &str) -> Vec<Step> {
    let number = path.rsplit('/').next().unwrap().parse().unwrap_or(0);
    let mut whole = picture(number);
    whole.resize(99_000, 7);
    let good = response("200 OK", &[("Content-Type", "image/jpeg")], &picture(number));
    let send = |head: &str, body: &[u8]| vec![Step::Send(raw(head, body))];
    let with_poison = |head: &str, body: &[u8]| vec![Step::Send([raw(head, body), poison()].concat())];
    match path.split('/').nth(1).unwrap() {
        "length-too-short" => with_poison("HTTP/1.1 200 OK\nContent-Length: 2008\n", &picture(number)),
        "length-of-nothing" => with_poison("HTTP/1.1 200 OK\nContent-Length: 0\n", b""),
        "chunks-and-more" => {
            with_poison("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", b"2\r\n\xff\xd8\r\n0\r\n\r\n")
        }
        "broken-chunks" => with_poison("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", b"zz\r\n"),
        "no-content" => with_poison("HTTP/1.1 204 No Content\n", b""),
        "not-modified" => with_poison("HTTP/1.1 304 Not Modified\nContent-Length: 5\n", b""),
        "missing" => response("404 Not Found", &[], b"a page"),
        "missing-and-more" => with_poison("HTTP/1.1 404 Not Found\nContent-Length: 6\n", b"a page"),
        // The client has heard enough before the body has ended.
        "page" => response("200 OK", &[], &[b"<html>".as_slice(), &whole].concat()),
        "too-large" => response("200 OK", &[], &[whole.as_slice(), &whole].concat()),
        "opted-out" => response("200 OK", &[("X-Robots-Tag", "noai")], &whole),
        "encoded" => response("200 OK", &[("Content-Encoding", "br")], &whole),
        "server-error" => response("500 Oh", &[], &whole),
        "length-too-long" => {
            [send("HTTP/1.1 200 OK\nContent-Length: 3000\n", &picture(number)), vec![Step::Close]].concat()
        }
        "closes-at-once" => vec![Step::Close],
        "garbage" => send("SSH-2.0-OpenSSH\n", b""),
        "hints-first" => [send("HTTP/1.1 103 Early Hints\nContent-Length: 9\n", b""), good].concat(),
        "moved" => response("302 Found", &[("Location", &format!("/good/{number}"))], &whole),
        "moved-nowhere" => response("302 Found", &[], &whole),
        "empty" => response("200 OK", &[], b""),
        _ => good,
    }
}

const MANNERS: [&str; 20] = [
    "length-too-short",
    "length-of-nothing",
    "chunks-and-more",
    "broken-chunks",
    "no-content",
    "not-modified",
    "missing",
    "missing-and-more",
    "page",
    "too-large",
    "opted-out",
    "encoded",
    "server-error",
    "length-too-long",
    "closes-at-once",
    "garbage",
    "hints-first",
    "moved",
    "moved-nowhere",
    "empty",
];

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

#[tokio::test]
async fn every_url_ends_the_same_alone_and_among_others_on_the_same_connections_in_any_order() {
    let server = Server::start(answer).await;
    // No rests and no limit of failures: those are of the host, and meant to depend on what came before.
    let options = FetchOptions {
        breaker: BreakerOptions { failures: 0, wasted: Duration::MAX, ..options().breaker },
        ..options()
    };
    let mut urls: Vec<String> = (0..4)
        .flat_map(|number| MANNERS.map(|manner| server.url(&format!("/{manner}/{number}"))))
        .chain((0..40).map(|number| server.url(&format!("/good/{number}"))))
        .collect();
    let mut alone = BTreeMap::new();
    for url in &urls {
        alone.insert(url.clone(), end(&fetch(options.clone()), url).await);
    }
    let bodies = alone.iter().filter(|(url, _)| url.contains("/good/")).map(|(_, end)| &end.as_ref().unwrap().0);
    assert_eq!(bodies.collect::<std::collections::BTreeSet<_>>().len(), 40, "each its own");
    let mut random = fastrand::Rng::with_seed(12);
    let connections = server.connections();
    for at_once in [1, 1, 4] {
        random.shuffle(&mut urls);
        let host_limits = HostLimits { concurrency: at_once, rate: None };
        let fetch = Arc::new(fetch(FetchOptions { host_limits, ..options.clone() }));
        let ends: Vec<_> = urls
            .iter()
            .map(|url| {
                let (fetch, url) = (Arc::clone(&fetch), url.clone());
                tokio::spawn(async move { (end(&fetch, &url).await, url) })
            })
            .collect();
        for task in ends {
            let (end, url) = task.await.unwrap();
            assert_eq!(&end, &alone[&url], "{at_once} at once: {url}");
        }
    }
    assert!(server.connections() - connections < 2 * urls.len(), "connections are used again");
}
