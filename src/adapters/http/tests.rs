//! Fetch over the real client against a real server on loopback that does as it is told. No address outside loopback
//! stands here: those are tried in integration-tests, where a fault could not reach them.

mod independence;
mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use self::server::{Server, Step, jpeg, response};
use super::{
    dns::tests::{Answer, name_server},
    *,
};
use crate::{
    domain::{Facts, Failure, Message, Reason, Timestamp},
    stages::{
        Effect, Stage,
        fetch::{BreakerOptions, Fetch, FetchOptions, HostLimits},
    },
};

const TICK: Duration = Duration::from_millis(400);

/// Sooner than any of the default time-outs: what ends by then has waited for nothing.
const NO_WAIT: Duration = Duration::from_secs(4);

/// The defaults with a small limit for bodies: their time-outs are longer than a busy machine's pauses.
fn options() -> FetchOptions {
    FetchOptions {
        max_body_bytes: 100_000,
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..FetchOptions::default()
    }
}

/// Time-outs that a test can wait for.
fn hasty() -> FetchOptions {
    FetchOptions {
        dns_timeout: 2 * TICK,
        connect_timeout: TICK,
        tls_timeout: TICK,
        first_byte_timeout: TICK,
        read_gap_timeout: TICK,
        total_timeout: 20 * TICK,
        min_bytes_per_second: 10_000,
        min_rate_grace: TICK,
        ..options()
    }
}

fn fetch(options: FetchOptions) -> Fetch<HttpAdapter> {
    Fetch::new(HttpAdapter::new(&options, Arc::default()).unwrap(), options)
}

fn message(url: &str) -> Message {
    Message { facts: Facts::submitted(url, "test", Timestamp::now()), body: bytes::Bytes::new() }
}

async fn process(fetch: &Fetch<HttpAdapter>, url: &str) -> Result<Message, Failure> {
    match fetch.process(&message(url)).await? {
        Effect::HandOver(message) => Ok(*message),
        other => panic!("{other:?}"),
    }
}

/// The reason why this URL is not fetched, and the status.
async fn refusal(fetch: &Fetch<HttpAdapter>, url: &str) -> (Reason, Option<u16>) {
    let failure = process(fetch, url).await.map(|message| message.body.len()).expect_err(url);
    assert!(!failure.detail.is_empty() && !failure.detail.contains('?'), "{}", failure.detail);
    (failure.reason, failure.http_status)
}

/// One answer to everything.
async fn always(steps: Vec<Step>) -> Server {
    Server::start(move |_| steps.clone()).await
}

#[tokio::test]
async fn a_picture_is_handed_over_with_its_facts() {
    let server =
        always(response("200 OK", &[("Content-Type", "image/jpeg"), ("X-Robots-Tag", "nosnippet")], &jpeg(80_000)))
            .await;
    let message = process(&fetch(options()), &server.url("/a.jpg?q=1")).await.unwrap();
    assert_eq!(message.body, jpeg(80_000));
    let fetched = message.facts.fetched.unwrap();
    let sum: String = Sha256::digest(jpeg(80_000)).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(fetched.sha256, sum);
    assert_eq!((fetched.http_status, fetched.content_type.as_deref()), (200, Some("image/jpeg")));
    assert_eq!(message.facts.url, server.url("/a.jpg?q=1"));
    let request = server.requests().remove(0).to_lowercase();
    assert!(request.starts_with("get /a.jpg?q=1 http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\naccept-encoding: identity\r\n"), "{request}");
    assert!(request.contains("\r\nuser-agent: facemill/"), "{request}");
    assert!(!request.contains("cookie") && !request.contains("referer") && !request.contains("authorization"));
}

#[tokio::test]
async fn a_body_of_unknown_length_comes_in_whole() {
    let mut steps = vec![Step::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec())];
    for part in jpeg(90_000).chunks(7000) {
        let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
        chunk.extend(part);
        chunk.extend(b"\r\n");
        steps.push(Step::Send(chunk));
    }
    steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
    let server = always(steps).await;
    assert_eq!(process(&fetch(options()), &server.url("/")).await.unwrap().body, jpeg(90_000));

    let mut http10 = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
    http10.extend(jpeg(5000));
    let server = always(vec![Step::Send(http10), Step::Close]).await;
    assert_eq!(process(&fetch(options()), &server.url("/")).await.unwrap().body, jpeg(5000));
}

#[tokio::test]
async fn each_status_has_its_reason() {
    let server = Server::start(|path| match path {
        "/empty" => vec![Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())],
        "/unmodified" => vec![Step::Send(b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec())],
        path => response(&format!("{} X", &path[1..]), &[], b"a page"),
    })
    .await;
    let fetch = fetch(options());
    for (path, status, reason) in [
        ("/400", 400, Reason::HttpClientError),
        ("/401", 401, Reason::HttpClientError),
        ("/404", 404, Reason::HttpClientError),
        ("/410", 410, Reason::HttpClientError),
        ("/429", 429, Reason::RateLimited),
        ("/499", 499, Reason::HttpClientError),
        ("/500", 500, Reason::HttpServerError),
        ("/503", 503, Reason::HttpServerError),
        ("/599", 599, Reason::HttpServerError),
        ("/202", 202, Reason::HttpUnexpected),
        ("/206", 206, Reason::HttpUnexpected),
        ("/300", 300, Reason::HttpUnexpected),
        ("/305", 305, Reason::HttpUnexpected),
        ("/700", 700, Reason::HttpUnexpected),
        ("/empty", 204, Reason::HttpUnexpected),
        ("/unmodified", 304, Reason::HttpUnexpected),
    ] {
        assert_eq!(refusal(&fetch, &server.url(path)).await, (reason, Some(status)), "{path}");
    }
}

fn without_rests(options: FetchOptions) -> FetchOptions {
    FetchOptions { breaker: BreakerOptions { failures: 0, ..options.breaker }, ..options }
}

#[tokio::test]
async fn a_retry_after_is_kept_by_every_url_of_the_site() {
    let server = Server::start(|path| match path {
        "/busy" => response("429 Slow down", &[("Retry-After", "2")], b"later"),
        _ => response("200 OK", &[], &jpeg(100)),
    })
    .await;
    let fetch = fetch(options());
    assert_eq!(refusal(&fetch, &server.url("/busy")).await.0, Reason::RateLimited);
    let began = Instant::now();
    process(&fetch, &server.url("/picture")).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn retry_after_is_passed_on_where_trying_again_may_help() {
    let server = Server::start(|path| {
        let status = format!("{} X", &path[1..4]);
        let value = if path.ends_with("date") { "Fri, 31 Dec 2100 23:59:59 GMT" } else { "7" };
        response(&status, &[("Retry-After", value)], b"later")
    })
    .await;
    let fetch = fetch(without_rests(options()));
    for (path, reason, retry_after) in [
        ("/429", Reason::RateLimited, true),
        ("/503", Reason::RateLimited, true),
        ("/500", Reason::HttpServerError, true),
        ("/404", Reason::HttpClientError, false),
    ] {
        let failure = process(&fetch, &server.url(path)).await.unwrap_err();
        assert_eq!(failure.reason, reason, "{path}");
        assert_eq!(failure.retry_after, retry_after.then_some(Duration::from_secs(7)), "{path}");
    }
    let failure = process(&fetch, &server.url("/429/date")).await.unwrap_err();
    assert!(failure.retry_after > Some(Duration::from_secs(86_400)), "{:?}", failure.retry_after);
}

#[tokio::test]
async fn redirects_are_followed_and_each_hop_is_held_to_the_rules() {
    let server = Server::start(|path| match path {
        "/picture" => response("200 OK", &[], &jpeg(1000)),
        "/loop" => response("302 Found", &[("Location", "/loop")], b""),
        "/nowhere" => response("301 Moved", &[], b""),
        "/file" => response("302 Found", &[("Location", "file:///etc/passwd")], b""),
        "/inside" => response("302 Found", &[("Location", "http://[::1]/latest/")], b""),
        "/port" => response("302 Found", &[("Location", "http://[::1]:1/")], b""),
        "/user" => response("302 Found", &[("Location", "http://u:p@127.0.0.1/")], b""),
        "/four" => response("302 Found", &[("Location", "/307")], b""),
        path => response(&format!("{} X", &path[1..]), &[("Location", "/picture")], b""),
    })
    .await;
    let fetch = fetch(options());
    for path in ["/301", "/302", "/303", "/307", "/308", "/four"] {
        let message = process(&fetch, &server.url(path)).await.expect(path);
        assert_eq!((message.body.to_vec(), message.facts.url), (jpeg(1000), server.url(path)), "{path}");
    }
    let before = server.requests().len();
    assert_eq!(refusal(&fetch, &server.url("/loop")).await, (Reason::TooManyRedirects, Some(302)));
    assert_eq!(server.requests().len() - before, 6, "the first request and five redirects");
    assert_eq!(refusal(&fetch, &server.url("/nowhere")).await, (Reason::InvalidRedirect, Some(301)));
    assert_eq!(refusal(&fetch, &server.url("/file")).await, (Reason::InvalidRedirect, Some(302)));
    let started = Instant::now();
    for path in ["/inside", "/port"] {
        assert_eq!(refusal(&fetch, &server.url(path)).await, (Reason::BlockedAddress, None), "{path}");
    }
    assert_eq!(refusal(&fetch, &server.url("/user")).await, (Reason::BlockedUrl, None));
    assert!(started.elapsed() < NO_WAIT, "it tried to connect: {:?}", started.elapsed());
}

#[tokio::test]
async fn what_is_no_picture_says_why() {
    let html = b"<!DOCTYPE html><html><body>Not found</body></html>";
    let server = Server::start(move |path| match path {
        "/html.jpg" => response("200 OK", &[("Content-Type", "image/jpeg")], html),
        "/short.jpg" => response("200 OK", &[("Content-Type", "image/jpeg")], b"<p>"),
        "/empty.jpg" => response("200 OK", &[], b""),
        "/chunked-empty.jpg" => {
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec())]
        }
        "/gzip.jpg" => response("200 OK", &[("Content-Encoding", "gzip")], b"\x1f\x8b\x08\0\0\0\0\0"),
        "/identity.jpg" => response("200 OK", &[("Content-Encoding", "Identity")], &jpeg(100)),
        "/two.jpg" => response("200 OK", &[("Content-Encoding", "identity"), ("Content-Encoding", "br")], &jpeg(100)),
        _ => vec![Step::Close],
    })
    .await;
    let fetch = fetch(options());
    for (path, reason) in [
        ("/html.jpg", Reason::NotAnImage),
        ("/short.jpg", Reason::NotAnImage),
        ("/empty.jpg", Reason::EmptyBody),
        ("/chunked-empty.jpg", Reason::EmptyBody),
        ("/gzip.jpg", Reason::ContentEncoded),
        ("/two.jpg", Reason::ContentEncoded),
    ] {
        assert_eq!(refusal(&fetch, &server.url(path)).await, (reason, Some(200)), "{path}");
    }
    process(&fetch, &server.url("/identity.jpg")).await.unwrap();
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_as_early_as_it_shows() {
    // Declared: not a byte of it is read, for none is sent.
    let declared = b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n".to_vec();
    let server = always(vec![Step::Send(declared), Step::Hang]).await;
    let started = Instant::now();
    assert_eq!(refusal(&fetch(options()), &server.url("/")).await, (Reason::BodyTooLarge, Some(200)));
    assert!(started.elapsed() < NO_WAIT);

    let mut endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n".to_vec();
    endless.extend(jpeg(10_000));
    let mut chunk = b"\r\n2710\r\n".to_vec();
    chunk.extend([7; 10_000]);
    let server = always(vec![Step::Send(endless), Step::Repeat(chunk, Duration::ZERO)]).await;
    assert_eq!(refusal(&fetch(options()), &server.url("/")).await, (Reason::BodyTooLarge, Some(200)));

    let server = always(response("200 OK", &[], &jpeg(100_000))).await;
    process(&fetch(options()), &server.url("/")).await.expect("exactly the limit is allowed");
}

#[tokio::test]
async fn a_server_that_keeps_us_waiting_is_given_up_in_time() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n".to_vec();
    let start = [head.clone(), jpeg(20_000)].concat();
    let drip = Step::Repeat(vec![7; 100], TICK / 8);
    for (steps, reason, status) in [
        (vec![Step::Hang], Reason::FirstByteTimeout, None),
        (vec![Step::Send(b"HTTP/1.1 200 OK\r\nX-".to_vec()), Step::Hang], Reason::FirstByteTimeout, None),
        (vec![Step::Send(head.clone()), Step::Hang], Reason::ReadTimeout, Some(200)),
        (vec![Step::Send(start), Step::Hang], Reason::ReadTimeout, Some(200)),
        (vec![Step::Send([head, jpeg(100)].concat()), drip], Reason::TooSlow, Some(200)),
    ] {
        let server = always(steps).await;
        let started = Instant::now();
        assert_eq!(refusal(&fetch(hasty()), &server.url("/")).await, (reason, status));
        let took = started.elapsed();
        assert!(took >= TICK && took < 10 * TICK, "{reason}: {took:?}");
    }
}

#[tokio::test]
async fn on_a_kept_connection_the_wait_for_a_header_is_as_short() {
    let server = Server::start(|path| match path {
        "/stall" => vec![Step::Hang],
        _ => response("200 OK", &[], &jpeg(100)),
    })
    .await;
    let fetch = fetch(hasty());
    process(&fetch, &server.url("/")).await.unwrap();
    let started = Instant::now();
    assert_eq!(refusal(&fetch, &server.url("/stall")).await.0, Reason::FirstByteTimeout);
    assert!(started.elapsed() < 4 * TICK, "{:?}", started.elapsed());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn the_whole_exchange_has_one_limit_across_redirects() {
    let server = Server::start(|_| {
        let mut steps = vec![Step::Wait(TICK / 2)];
        steps.extend(response("302 Found", &[("Location", "/again")], b""));
        steps
    })
    .await;
    let options = FetchOptions { total_timeout: TICK, ..hasty() };
    let started = Instant::now();
    assert_eq!(refusal(&fetch(options), &server.url("/")).await.0, Reason::TotalTimeout);
    assert!(started.elapsed() < 10 * TICK, "{:?}", started.elapsed());

    let start = [b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n".to_vec(), jpeg(1000)].concat();
    let server = always(vec![Step::Send(start), Step::Repeat(vec![7; 1000], TICK / 8)]).await;
    let options = FetchOptions { total_timeout: 2 * TICK, min_bytes_per_second: 0, ..hasty() };
    assert_eq!(refusal(&fetch(options), &server.url("/")).await, (Reason::TotalTimeout, Some(200)));
}

#[tokio::test]
async fn a_connection_that_breaks_is_lost_wherever_it_breaks() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n".to_vec();
    for (steps, status) in [
        (vec![Step::Close], None),
        (vec![Step::Send(b"HTTP/1.1 200 O".to_vec()), Step::Close], None),
        (vec![Step::Send(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), Step::Close], None),
        (vec![Step::Send(head.clone()), Step::Close], Some(200)),
        (vec![Step::Send([head, jpeg(50_000)].concat()), Step::Close], Some(200)),
        (vec![Step::Send([chunked, jpeg(1000)].concat()), Step::Close], Some(200)),
    ] {
        let server = always(steps.clone()).await;
        assert_eq!(refusal(&fetch(options()), &server.url("/")).await, (Reason::ConnectionLost, status));
    }
}

#[tokio::test]
async fn robots_txt_is_asked_for_once_and_honoured_where_that_is_switched_on() {
    let server = Server::start(|path| match path {
        "/robots.txt" => response("301 Moved", &[("Location", "/rules")], b""),
        "/rules" => response("200 OK", &[], b"User-agent: facemill\nDisallow: /private/\n"),
        _ => response("200 OK", &[], &jpeg(100)),
    })
    .await;
    let asked =
        |path: &str| server.requests().iter().filter(|request| request.starts_with(&format!("GET {path} "))).count();
    process(&fetch(options()), &server.url("/private/a.jpg")).await.unwrap();
    assert_eq!(asked("/robots.txt"), 0);
    let fetch = fetch(FetchOptions { honour_robots_txt: true, ..options() });
    for _ in 0..3 {
        process(&fetch, &server.url("/a.jpg")).await.unwrap();
        assert_eq!(refusal(&fetch, &server.url("/private/a.jpg")).await, (Reason::OptedOut, None));
    }
    assert_eq!((asked("/robots.txt"), asked("/rules"), asked("/private/a.jpg")), (1, 1, 1));
}

#[tokio::test]
async fn without_a_robots_txt_everything_is_allowed_and_while_it_cannot_be_had_nothing() {
    let server = Server::start(|path| match path {
        "/robots.txt" => response("404 Not Found", &[], b"User-agent: *\nDisallow: /"),
        _ => response("200 OK", &[], &jpeg(100)),
    })
    .await;
    let with = || FetchOptions { honour_robots_txt: true, ..without_rests(hasty()) };
    process(&fetch(with()), &server.url("/a.jpg")).await.unwrap();
    for steps in [response("503 Busy", &[], b""), vec![Step::Hang], vec![Step::Close]] {
        let answer =
            move |path: &str| if path == "/robots.txt" { steps.clone() } else { response("200 OK", &[], &jpeg(100)) };
        let server = Server::start(answer).await;
        let (reason, _) = refusal(&fetch(with()), &server.url("/a.jpg")).await;
        assert!(reason.is_transient(), "{reason}");
        assert!(!server.requests().iter().any(|request| request.starts_with("GET /a.jpg")));
    }
    let endless =
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), b"5\r\nAllow\r\n".to_vec()].concat();
    let server = Server::start(move |path| match path {
        "/robots.txt" => vec![
            Step::Send(endless.clone()),
            Step::Repeat([b"2710\r\n".as_slice(), &[b'\n'; 10_000], b"\r\n"].concat(), Duration::ZERO),
        ],
        _ => response("200 OK", &[], &jpeg(100)),
    })
    .await;
    process(&fetch(with()), &server.url("/a.jpg")).await.expect("what is beyond the limit does not count");
}

#[tokio::test]
async fn an_opt_out_is_honoured_unless_switched_off() {
    let server = Server::start(|path| {
        let value = match path {
            "/all" => "noai, noimageai",
            "/ours" => "facemill: noindex",
            _ => "otherbot: noindex",
        };
        response("200 OK", &[("X-Robots-Tag", value)], &jpeg(100))
    })
    .await;
    let polite = fetch(options());
    assert_eq!(refusal(&polite, &server.url("/all")).await, (Reason::OptedOut, Some(200)));
    assert_eq!(refusal(&polite, &server.url("/ours")).await, (Reason::OptedOut, Some(200)));
    process(&polite, &server.url("/theirs")).await.unwrap();
    let other = fetch(FetchOptions { honour_robots_tag: false, ..options() });
    process(&other, &server.url("/all")).await.unwrap();
}

#[tokio::test]
async fn addresses_that_are_not_opened_are_never_connected_to() {
    let server = always(response("200 OK", &[], &jpeg(100))).await;
    let closed = fetch(FetchOptions { allow_networks: vec![], ..options() });
    let port = server.port();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://127.0.0.1/".to_owned(),
        "http://localhost/".to_owned(),
        "http://a.localhost/".to_owned(),
    ] {
        assert_eq!(refusal(&closed, &url).await, (Reason::BlockedAddress, None), "{url}");
    }
    assert_eq!(refusal(&closed, &format!("http://localhost:{port}/")).await, (Reason::BlockedUrl, None));
    // Another network is opened, not this one.
    let elsewhere = fetch(FetchOptions { allow_networks: vec!["10.0.0.0/8".parse().unwrap()], ..options() });
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{port}/");
        assert_eq!(refusal(&elsewhere, &url).await, (Reason::BlockedAddress, None), "{url}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_opened_network_is_reached_by_name_and_address_on_any_port() {
    let server = always(response("200 OK", &[], &jpeg(100))).await;
    let fetch = fetch(options());
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        process(&fetch, &format!("http://{host}:{}/", server.port())).await.expect(host);
    }
}

#[tokio::test]
async fn urls_that_may_not_be_asked_are_refused_unasked() {
    let server = always(response("200 OK", &[], &jpeg(100))).await;
    let fetch = fetch(options());
    for (url, reason) in [
        (format!("http://user:secret@127.0.0.1:{}/", server.port()), Reason::BlockedUrl),
        (format!("http://user@127.0.0.1:{}/", server.port()), Reason::BlockedUrl),
        ("not a url".to_owned(), Reason::InvalidUrl),
        ("ftp://127.0.0.1/".to_owned(), Reason::InvalidUrl),
    ] {
        assert_eq!(refusal(&fetch, &url).await, (reason, None), "{url}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn no_connection_has_its_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let fetch = fetch(options());
    assert_eq!(refusal(&fetch, &format!("http://{address}/")).await, (Reason::ConnectFailed, None));

    let started = Instant::now();
    let (reason, _) = refusal(&fetch, "http://nope.invalid/").await;
    assert!(matches!(reason, Reason::DnsNotFound | Reason::DnsFailed), "{reason}");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn what_the_resolver_says_of_a_name_comes_through_the_client() {
    let server = always(response("200 OK", &[], &jpeg(100))).await;
    let (dns, _) = name_server(|name| match name {
        "ours.example" => Answer::Addresses(&["::1", "127.0.0.1"]),
        "private.example" => Answer::Addresses(&["::1", "::7f00:1"]),
        "broken.example" => Answer::Code(2),
        _ => Answer::Code(3),
    })
    .await;
    let options = options();
    let fetch = Fetch::new(HttpAdapter::with_dns(&options, &dns).unwrap(), options);
    process(&fetch, &format!("http://ours.example:{}/", server.port())).await.unwrap();
    let started = Instant::now();
    for (url, reason) in [
        ("http://missing.example/", Reason::DnsNotFound),
        ("https://missing.example:8443/", Reason::DnsNotFound),
        ("http://broken.example/", Reason::DnsFailed),
        ("http://private.example/", Reason::BlockedAddress),
        ("https://private.example/", Reason::BlockedAddress),
        ("http://private.example:8080/", Reason::BlockedAddress),
    ] {
        assert_eq!(refusal(&fetch, url).await, (reason, None), "{url}");
    }
    assert!(started.elapsed() < NO_WAIT, "it tried to connect: {:?}", started.elapsed());
}

#[tokio::test]
async fn a_failed_handshake_is_told_from_one_that_never_ends() {
    let server = always(vec![Step::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Close]).await;
    let fetch = fetch(hasty());
    let https = |server: &Server| format!("https://127.0.0.1:{}/", server.port());
    assert_eq!(refusal(&fetch, &https(&server)).await, (Reason::TlsFailed, None));

    let mute = Server::start(|_| vec![Step::Hang]).await;
    let started = Instant::now();
    assert_eq!(refusal(&fetch, &https(&mute)).await, (Reason::ConnectTimeout, None));
    assert!(started.elapsed() < 12 * TICK, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_and_no_request_is_sent() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let handshake = tokio::spawn(async move { acceptor.accept(listener.accept().await.unwrap().0).await.is_ok() });
    let failure = process(&fetch(hasty()), &url).await.unwrap_err();
    assert_eq!((failure.reason, failure.http_status), (Reason::TlsFailed, None));
    assert!(failure.detail.contains("certificate"), "{}", failure.detail);
    assert!(!handshake.await.unwrap(), "the handshake came to its end");
}

#[tokio::test]
async fn a_connection_is_kept_and_used_again() {
    let server = always(response("200 OK", &[], &jpeg(50_000))).await;
    let fetch = fetch(options());
    for _ in 0..10 {
        process(&fetch, &server.url("/")).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_host_never_sees_more_exchanges_at_once_than_allowed() {
    let server = Server::start(|_| {
        let mut steps = vec![Step::Enter, Step::Wait(Duration::from_millis(30))];
        steps.extend(response("200 OK", &[], &jpeg(100)));
        steps.insert(2, Step::Leave);
        steps
    })
    .await;
    let limits = HostLimits { concurrency: 3, rate: None };
    let fetch = Arc::new(fetch(FetchOptions { host_limits: limits, ..options() }));
    let done = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let (fetch, done, url) = (Arc::clone(&fetch), Arc::clone(&done), server.url(&format!("/{n}")));
            tokio::spawn(async move {
                process(&fetch, &url).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((server.most_at_once(), done.load(Ordering::Relaxed)), (3, 20));
}

#[tokio::test]
async fn bodies_that_do_not_fit_in_memory_together_all_come_in() {
    let server = Server::start(|_| {
        let mut steps = vec![Step::Send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec())];
        for part in jpeg(90_000).chunks(15_000) {
            steps.extend([Step::Send(part.to_vec()), Step::Wait(Duration::from_millis(5))]);
        }
        steps.push(Step::Close);
        steps
    })
    .await;
    let options = FetchOptions { max_bytes_in_flight: 70_000, ..options() };
    let fetch = Arc::new(fetch(options));
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let (fetch, url) = (Arc::clone(&fetch), server.url("/"));
            // As the next stage does: each body is let go of once it is worked on.
            tokio::spawn(async move { process(&fetch, &url).await.unwrap().body.len() })
        })
        .collect();
    for task in tasks {
        let length = tokio::time::timeout(Duration::from_secs(60), task).await.expect("a deadlock").unwrap();
        assert_eq!(length, 90_000);
    }
}

#[tokio::test]
async fn a_dropped_fetch_gives_its_turn_back() {
    let server = Server::start(|path| match path {
        "/stall" => vec![Step::Hang],
        _ => response("200 OK", &[], &jpeg(100)),
    })
    .await;
    let limits = HostLimits { concurrency: 1, rate: None };
    let options = FetchOptions { host_limits: limits, ..options() };
    let fetch = fetch(options);
    tokio::time::timeout(TICK, process(&fetch, &server.url("/stall"))).await.unwrap_err();
    tokio::time::timeout(10 * TICK, process(&fetch, &server.url("/"))).await.expect("no turn left").unwrap();
}

#[tokio::test]
async fn a_name_that_no_header_can_carry_is_a_clear_error() {
    let options = FetchOptions { user_agent: "face\nmill".to_owned(), ..options() };
    let error = HttpAdapter::new(&options, Arc::default()).unwrap_err();
    assert!(matches!(&error, HttpBuildError::UserAgent(_)));
    assert!(error.to_string().contains("fetch.user_agent"), "{error}");
}

#[test]
fn a_proxy_of_the_environment_is_never_used() {
    // Another test once more, in a process whose environment names a proxy that nobody answers for.
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "adapters::http::tests::a_connection_is_kept_and_used_again"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        again.env(name, "http://127.0.0.1:1");
    }
    let output = again.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
