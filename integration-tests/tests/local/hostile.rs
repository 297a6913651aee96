use std::{
    io::Write,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use facemill::domain::Reason;
use integration_tests::hostile::{Cost, DETECTED, HostileOptions, HostileServer, Manner, manners};
use serde_json::Value;

use crate::program::{Place, finish, start, text};

/// Time-outs that a test can wait for; the order in which they run out is that of the defaults.
const IMPATIENT: &str = "--set fetch.dns_timeout=300ms --set fetch.connect_timeout=300ms --set fetch.tls_timeout=300ms \
    --set fetch.first_byte_timeout=1s --set fetch.read_timeout=1s --set fetch.min_rate_grace=1s \
    --set fetch.total_timeout=3s --set retry.base=10ms";

/// A connection waits for a next request for 5 s, and is looked for every 5 s.
const IDLE: Duration = Duration::from_secs(13);

/// What a row says in one word.
fn end(row: &Value) -> &str {
    row["reason"].as_str().unwrap_or_else(|| text(&row["status"]))
}

#[track_caller]
fn within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Which manners are fetched, and how.
struct Plan<'a> {
    costs: &'a [Cost],
    http2: bool,
    at_once: usize,
    attempts: u32,
    in_time: Duration,
}

impl Plan<'_> {
    /// Whether this manner's URL ends in the right way.
    fn is_right(&self, manner: &Manner, end: &str) -> bool {
        if manner.needs_http2() && !self.http2 { end == DETECTED } else { manner.ends.contains(&end) }
    }

    /// Fetches a URL of each, and says what is wrong.
    fn fetch(&self, server: &HostileServer) -> Vec<String> {
        let place = Place::new();
        place.write("authority.pem", server.authority());
        let words = format!("--set fetch.http2={} --set retry.attempts={}", self.http2, self.attempts);
        let mut command = place.local(&format!("- --output none {words} {IMPATIENT}"));
        command.env("SSL_CERT_FILE", place.path("authority.pem")).stdin(Stdio::piped());
        let mut run = start(command);
        // As long as the list may go on, so does the run.
        let mut list = run.stdin();
        let mut urls = server.urls();
        urls.retain(|(manner, _)| self.costs.contains(&manner.cost) && (manner.needs_http2() || !self.http2));
        within(self.in_time, "a database", || finish(place.facemill("export")).status.success());
        let (mut done, mut wrong) = (0, Vec::new());
        for urls in urls.chunks(self.at_once) {
            let lines: String = urls.iter().map(|(_, url)| format!("{url}\n")).collect();
            list.write_all(lines.as_bytes()).unwrap();
            done += urls.len();
            within(self.in_time, &lines, || place.rows("").len() == done);
            let rows = place.rows_by_url("");
            for (manner, url) in urls {
                let row = &rows[url];
                if !self.is_right(manner, end(row)) {
                    wrong.push(format!("{} after {}: {manner:?}", end(row), row["detail"]));
                }
            }
        }
        // Over HTTP/2 some stay: one of the reasons why it is spoken on request only.
        if !self.http2 {
            let give_up = Instant::now() + IDLE;
            while !server.open().is_empty() && Instant::now() < give_up {
                thread::sleep(Duration::from_millis(50));
            }
            wrong.extend(server.open().iter().map(|(name, open)| format!("{name} has {open} connections still")));
        }
        let peak = run.mebibytes("VmHWM").unwrap();
        assert!(peak < 400.0, "{peak:.0} MiB");
        drop(list);
        eprintln!("{done} manners in {:?}, {peak:.0} MiB", run.end().success().took);
        wrong
    }
}

#[test]
fn whatever_a_server_does_its_url_ends_in_time_with_the_right_reason_and_nothing_stays_behind() {
    let server =
        HostileServer::start(HostileOptions { tick: Duration::from_millis(100), ..HostileOptions::default() }).unwrap();
    let waits = Plan {
        costs: &[Cost::Little, Cost::Time],
        http2: false,
        at_once: 70,
        attempts: 2,
        in_time: Duration::from_secs(12),
    };
    // Those that keep a processor busy would make the others late.
    let works =
        Plan { costs: &[Cost::Work, Cost::Bytes], at_once: 2, attempts: 1, in_time: Duration::from_secs(60), ..waits };
    let mut wrong = waits.fetch(&server);
    wrong.extend(works.fetch(&server));
    wrong.extend(Plan { http2: true, ..waits }.fetch(&server));
    wrong.extend(Plan { http2: true, ..works }.fetch(&server));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Each of these sends more than it announces, on a connection that stays: as if that were the next answer.
#[test]
fn what_a_server_sends_too_much_is_never_the_answer_to_the_next_request() {
    let server = HostileServer::start(HostileOptions::default()).unwrap();
    let names = [
        "length-smuggle",
        "length-too-short",
        "length-zero",
        "status-204-with-body",
        "status-304-with-body",
        "h2-good",
    ];
    let place = Place::new();
    place.write("urls.txt", server.list(10 * names.len(), |manner| names.contains(&manner.name)).join("\n"));
    place.write("authority.pem", server.authority());
    let mut command = place.local("urls.txt --output none --set fetch.host_concurrency=1");
    command.env("SSL_CERT_FILE", place.path("authority.pem"));
    finish(command).success();
    let rows = place.rows("");
    assert_eq!(rows.len(), 10 * names.len());
    for manner in manners().iter().filter(|manner| names.contains(&manner.name)) {
        let of_manner = rows.iter().filter(|row| text(&row["url"]).contains(&format!("/{}/", manner.name)));
        let ends: Vec<_> = of_manner.map(end).collect();
        assert!(ends.len() == 10 && ends.iter().all(|end| manner.ends.contains(end)), "{ends:?}: {manner:?}");
    }
    // The control: connections are used again.
    assert!(server.connections("h2-good") < 10, "{}", server.connections("h2-good"));
}

#[test]
fn every_expected_end_is_a_reason_of_the_closed_list() {
    for manner in manners() {
        for end in manner.ends {
            assert!(*end == DETECTED || end.parse::<Reason>().is_ok(), "{manner:?}");
        }
    }
}
