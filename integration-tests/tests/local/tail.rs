use std::time::Duration;

use facemill::domain::Timestamp;
use integration_tests::hostile::{HostileOptions, HostileServer};
use serde_json::Value;

use crate::program::{Place, finish, text};

/// One host in a hundred, each stuck in another phase.
const STUCK: [&str; 6] =
    ["accept-never", "tls-stall", "header-never", "header-endless-drip", "body-stall", "body-just-fast-enough"];
const GOOD: [&str; 3] = ["length-same-twice", "header-not-text", "http-1-0"];

const ATTEMPTS: u32 = 3;
const TOTAL: Duration = Duration::from_secs(2);
/// The delays before the second and the third attempt are random up to this and its double.
const BASE: Duration = Duration::from_millis(200);
/// What a busy machine needs for all the rest.
const SLACK: Duration = Duration::from_secs(3);

fn time(row: &Value, name: &str) -> Timestamp {
    serde_json::from_value(row["timestamps"][name].clone()).unwrap()
}

#[test]
fn the_last_url_ends_within_the_configured_bound_of_the_first_stall() {
    let options = HostileOptions { tick: Duration::from_millis(100), ..HostileOptions::default() };
    let stuck =
        HostileServer::start(HostileOptions { choose: |manner| STUCK.contains(&manner.name), ..options }).unwrap();
    let good = HostileOptions { hosts: 198, choose: |manner| GOOD.contains(&manner.name), ..options };
    let good = HostileServer::start(good).unwrap();
    let (stuck_urls, good_urls) = (stuck.list(STUCK.len(), |_| true), good.list(594, |_| true));
    let place = Place::new();
    // A stuck one after each 99: the last line of the list is one.
    let list = good_urls.chunks(99).zip(&stuck_urls).flat_map(|(good, stuck)| good.iter().chain([stuck]));
    place.write("urls.txt", list.map(|url| format!("{url}\n")).collect::<String>());
    place.write("authority.pem", stuck.authority());
    // No limit but the one on the whole ends any of them.
    let limits = ["dns_timeout", "connect_timeout", "tls_timeout", "first_byte_timeout", "read_timeout"];
    let limits = limits.map(|limit| format!("--set fetch.{limit}=60s")).join(" ");
    let mut command = place.local(&format!(
        "urls.txt --output none {limits} --set fetch.min_rate_bytes=0 --set fetch.total_timeout={}s \
         --set retry.attempts={ATTEMPTS} --set retry.base={}ms",
        TOTAL.as_secs(),
        BASE.as_millis(),
    ));
    command.env("SSL_CERT_FILE", place.path("authority.pem"));
    let ended = finish(command).success();

    let rows = place.rows_by_url("");
    assert_eq!(rows.len(), 600);
    assert!(good_urls.iter().all(|url| rows[url]["status"] == "detected"));
    for url in &stuck_urls {
        let row = &rows[url];
        assert_eq!((text(&row["reason"]), row["attempts"].as_u64()), ("total_timeout", Some(ATTEMPTS.into())), "{row}");
    }
    let first = stuck_urls.iter().map(|url| time(&rows[url], "submitted_at")).min().unwrap();
    let last = rows.values().map(|row| time(row, "finished_at")).max().unwrap();
    let tail = Duration::from_micros((last.as_micros() - first.as_micros()).unsigned_abs());
    eprintln!("{tail:?} from the first stall to the last end, {:?} in all", ended.took);
    assert!(tail >= ATTEMPTS * TOTAL, "nothing was stuck: {tail:?}");
    assert!(tail <= ATTEMPTS * TOTAL + 3 * BASE + SLACK, "{tail:?}");
}
