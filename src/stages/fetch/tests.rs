use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::*;
use crate::domain::Facts;

/// A client that answers from a table, and notes what it was asked.
#[derive(Clone, Default)]
struct Table {
    redirects: Arc<HashMap<&'static str, &'static str>>,
    error: Option<HttpError>,
    asked: Arc<Mutex<Vec<String>>>,
    /// How long each response and each chunk takes to come.
    delay: Duration,
    chunks: Vec<Bytes>,
    dropped: Arc<AtomicBool>,
}

struct Chunks {
    chunks: Vec<Bytes>,
    delay: Duration,
    dropped: Arc<AtomicBool>,
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
    }
}

impl HttpBody for Chunks {
    async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        tokio::time::sleep(self.delay).await;
        Ok((!self.chunks.is_empty()).then(|| self.chunks.remove(0)))
    }
}

impl HttpClient for Table {
    type Body = Chunks;

    async fn resolve(&self, _: &CanonicalUrl) -> Result<Vec<IpAddr>, HttpError> {
        Ok(vec![IpAddr::from([93, 184, 216, 34])])
    }

    async fn get(&self, url: &CanonicalUrl) -> Result<HttpResponse<Chunks>, HttpError> {
        self.asked.lock().unwrap().push(url.as_str().to_owned());
        tokio::time::sleep(self.delay).await;
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let location = self.redirects.get(url.as_str()).map(|&to| to.to_owned());
        let body = Chunks { chunks: self.chunks.clone(), delay: self.delay, dropped: Arc::clone(&self.dropped) };
        Ok(HttpResponse {
            status: if location.is_some() { 302 } else { 200 },
            location,
            content_type: Some("x".repeat(5000)),
            content_encoding: None,
            content_length: None,
            retry_after: None,
            robots_tags: Vec::new(),
            body,
        })
    }
}

fn picture() -> Vec<Bytes> {
    vec![Bytes::from_static(b"\xff\xd8"), Bytes::from_static(b"\xff\xe0"), Bytes::from(vec![7; 200_000])]
}

async fn process(client: &Table, options: FetchOptions, url: &str) -> Result<Message, Failure> {
    let message = Message { facts: Facts::submitted(url, "test", Timestamp::now()), body: Bytes::new() };
    match Fetch::new(client.clone(), options).process(&message).await? {
        Effect::HandOver(message) => Ok(*message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_urls_of_the_public_web_reach_the_client() {
    let client = Table { chunks: picture(), ..Table::default() };
    for url in [
        "http://a.example:8080/",
        "https://a.example:8443/",
        "http://a.example:22/",
        "http://8.8.8.8:8080/",
        "http://u:p@a.example/",
        "http://:p@a.example/",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://[::1]/",
        "http://[::ffff:7f00:1]/",
        "http://[fd00:ec2::254]/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_x",
    ] {
        let failure = process(&client, FetchOptions::default(), url).await.unwrap_err();
        assert!(
            matches!(failure.reason, Reason::BlockedUrl | Reason::BlockedAddress | Reason::InvalidUrl),
            "{url}: {failure}"
        );
    }
    assert_eq!(client.asked.lock().unwrap().as_slice(), &[] as &[String]);
    for url in ["http://a.example/", "https://a.example/", "http://a.example:443/", "http://8.8.8.8/"] {
        process(&client, FetchOptions::default(), url).await.expect(url);
    }
}

#[tokio::test]
async fn an_opened_network_opens_ports_on_its_addresses_only() {
    let client = Table { chunks: picture(), ..Table::default() };
    let options = || FetchOptions { allow_networks: vec!["127.0.0.0/8".parse().unwrap()], ..FetchOptions::default() };
    for url in ["http://127.0.0.1:8080/", "http://[::ffff:127.0.0.1]:8080/", "http://name.example:8080/"] {
        // What a name resolves to is the resolver's to judge.
        process(&client, options(), url).await.expect(url);
    }
    for url in ["http://8.8.8.8:8080/", "http://10.0.0.1:8080/", "http://[::1]:8080/"] {
        assert!(process(&client, options(), url).await.is_err(), "{url}");
    }
}

#[tokio::test]
async fn no_redirect_leads_inside() {
    let targets =
        ["http://10.0.0.1/", "http://[::1]/", "http://b.example:6379/", "http://u@b.example/", "ftp://b/", "http://"];
    for target in targets {
        let redirects = HashMap::from([
            ("http://a.example/", "https://b.example/x?token=secret"),
            ("https://b.example/x?token=secret", target),
        ]);
        let client = Table { redirects: Arc::new(redirects), chunks: picture(), ..Table::default() };
        let failure = process(&client, FetchOptions::default(), "http://a.example/").await.expect_err(target);
        assert_eq!(client.asked.lock().unwrap().len(), 2, "{target}");
        assert!(!failure.detail.contains("secret"), "{}", failure.detail);
    }
}

#[tokio::test]
async fn a_failure_names_the_host_it_happened_at() {
    let redirects = Arc::new(HashMap::from([("http://a.example/", "http://10.0.0.1/")]));
    let client = Table { redirects, ..Table::default() };
    let failure = process(&client, FetchOptions::default(), "http://a.example/").await.unwrap_err();
    assert_eq!(failure.reason, Reason::BlockedAddress);
    assert!(failure.detail.starts_with("redirect 1, at 10.0.0.1: "), "{}", failure.detail);
}

#[tokio::test]
async fn no_redirect_is_followed_where_none_is_allowed() {
    let redirects = Arc::new(HashMap::from([("http://a.example/", "http://b.example/")]));
    let client = Table { redirects, chunks: picture(), ..Table::default() };
    let options = FetchOptions { max_redirects: 0, ..FetchOptions::default() };
    let failure = process(&client, options, "http://a.example/").await.unwrap_err();
    assert_eq!((failure.reason, failure.http_status), (Reason::TooManyRedirects, Some(302)));
    assert_eq!(client.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn redirects_between_two_hosts_of_one_turn_each_do_not_wait_for_each_other() {
    let redirects =
        HashMap::from([("http://a.example/1", "http://b.example/2"), ("http://b.example/1", "http://a.example/2")]);
    let delay = Duration::from_millis(2);
    let client = Table { redirects: Arc::new(redirects), chunks: picture(), delay, ..Table::default() };
    let host_limits = HostLimits { concurrency: 1, rate: None };
    let options = FetchOptions { concurrency: 2, host_limits, ..FetchOptions::default() };
    let fetch = Arc::new(Fetch::new(client, options));
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let url = if n % 2 == 0 { "http://a.example/1" } else { "http://b.example/1" };
            let message = Message { facts: Facts::submitted(url, "test", Timestamp::now()), body: Bytes::new() };
            let fetch = Arc::clone(&fetch);
            tokio::spawn(async move { fetch.process(&message).await })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(10), task).await.expect("a deadlock").unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_does_not_count_against_the_server() {
    let delay = Duration::from_secs(2);
    let client = Table { chunks: picture(), delay, ..Table::default() };
    let host_limits = HostLimits { concurrency: 1, rate: None };
    // Five waits of 2 s an exchange; the last in the queue waits 100 s for its turn.
    let options = FetchOptions { host_limits, total_timeout: Duration::from_secs(12), ..FetchOptions::default() };
    let fetch = Arc::new(Fetch::new(client, options));
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let facts = Facts::submitted("http://a.example/", "test", Timestamp::now());
            let fetch = Arc::clone(&fetch);
            tokio::spawn(async move { fetch.process(&Message { facts, body: Bytes::new() }).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().expect("no time-out");
    }
}

#[tokio::test(start_paused = true)]
async fn a_url_that_waits_for_its_turn_is_given_back_when_the_stage_closes_and_one_that_has_it_is_finished() {
    let client = Table { chunks: picture(), delay: Duration::from_secs(1), ..Table::default() };
    let host_limits = HostLimits { concurrency: 1, rate: None };
    let closing = CancellationToken::new();
    let options = FetchOptions { host_limits, ..FetchOptions::default() };
    let fetch = Fetch::new(client, options).until(closing.clone());
    let facts = Facts::submitted("http://a.example/", "test", Timestamp::now());
    let message = Message { facts, body: Bytes::new() };
    let close = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        closing.cancel();
    };
    let (first, second, ()) = tokio::join!(fetch.process(&message), fetch.process(&message), close);
    assert!(matches!(first, Ok(Effect::HandOver(_))), "{first:?}");
    assert_eq!(second, Ok(Effect::Untouched));
}

#[tokio::test]
async fn a_page_is_given_up_at_its_first_bytes() {
    let mut chunks = vec![Bytes::from_static(b"<!DOCTYPE html><html><head><title>")];
    chunks.extend((0..100).map(|_| Bytes::from(vec![b' '; 100_000])));
    let client = Table { chunks, delay: Duration::from_millis(20), ..Table::default() };
    let started = std::time::Instant::now();
    let failure = process(&client, FetchOptions::default(), "http://a.example/").await.unwrap_err();
    assert_eq!((failure.reason, failure.http_status), (Reason::NotAnImage, Some(200)));
    assert!(started.elapsed() < Duration::from_secs(1), "it read on");
    assert!(client.dropped.load(Ordering::Relaxed));
}

#[tokio::test]
async fn what_a_server_says_is_kept_short() {
    let client = Table { chunks: picture(), ..Table::default() };
    let message = process(&client, FetchOptions::default(), "http://a.example/").await.unwrap();
    assert_eq!(message.body.len(), 200_004);
    assert_eq!(message.facts.fetched.unwrap().content_type.unwrap().len(), MAX_CONTENT_TYPE);
}

#[tokio::test]
async fn each_error_of_the_client_has_its_reason() {
    let text = String::new;
    for (error, reason) in [
        (HttpError::DnsNotFound, Reason::DnsNotFound),
        (HttpError::DnsFailed(text()), Reason::DnsFailed),
        (HttpError::BlockedAddress, Reason::BlockedAddress),
        (HttpError::BlockedPort, Reason::BlockedUrl),
        (HttpError::InvalidRequest(text()), Reason::InvalidUrl),
        (HttpError::ConnectFailed(text()), Reason::ConnectFailed),
        (HttpError::ConnectTimeout, Reason::ConnectTimeout),
        (HttpError::Tls(text()), Reason::TlsFailed),
        (HttpError::FirstByteTimeout, Reason::FirstByteTimeout),
        (HttpError::ConnectionLost(text()), Reason::ConnectionLost),
    ] {
        let client = Table { error: Some(error), ..Table::default() };
        let failure = process(&client, FetchOptions::default(), "http://a.example/").await.unwrap_err();
        assert_eq!((failure.reason, failure.http_status), (reason, None));
    }
}
