use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    cluster::{ALL, Cluster, until},
    scripts::stack,
    site::{Site, is_as_expected},
};

const FAR: Duration = Duration::from_millis(50);
const SLOW: &str = "--set fetch.host_concurrency=4 --set runner.lane_running=4 --set cql.request_timeout=2s";

/// Brings a server back, whatever became of the test.
struct Back(&'static str);

impl Drop for Back {
    fn drop(&mut self) {
        stack(self.0);
    }
}

/// What waits when the database goes are frames, which detect reads and cannot finish. A stage that took all there is
/// would hold 170 MiB of them; one that keeps to these limits holds 16 MiB, and has 4 MiB read ahead.
#[test]
#[ignore = "needs the stack: make it"]
fn a_database_that_is_away_for_half_a_minute_is_waited_for_with_flat_memory_before_a_large_backlog() {
    const LIMITS: &str = "--set preprocess.frame_format=rgb8 --set runner.all_lanes_bytes=16777216 \
                          --set runner.lane_bytes=4194304 -X queued.max.messages.kbytes=4096";
    // Until the database is started again, which takes the rest.
    const AWAY: Duration = Duration::from_secs(20);
    let (cluster, site) = (Cluster::alone("outage"), Site::new(FAR));
    let urls = site.photographs(750);
    let (warm, waiting, rest) = (&urls[..50], &urls[50..650], &urls[650..]);

    cluster.produce("urls", warm);
    let mut process = cluster.run(ALL, &format!("{SLOW} {LIMITS}"));
    cluster.until_rows(warm.len());
    let usual = process.peak();
    process.stop();

    cluster.produce("urls", waiting);
    let process = cluster.run("fetch,preprocess", LIMITS);
    until("all are frames", || cluster.lags(&["fetch", "preprocess"]).values().all(|lag| *lag == 0));
    process.stop();
    let sizes = cluster.entries("frames").into_iter().map(|entry| entry.value.len());
    let waiting_mib = sizes.skip(warm.len()).sum::<usize>() >> 20;
    assert!(waiting_mib > 150, "{waiting_mib} MiB");

    cluster.produce("urls", rest);
    let mut process = cluster.run(ALL, &format!("{SLOW} {LIMITS}"));
    let before_rest = warm.len() + waiting.len();
    until("it fetches again", || site.server.total_hits() > before_rest + 10);
    assert_eq!(process.get("/readyz").0, 200);
    let since = Instant::now();
    stack("stop cassandra");
    let back = Back("start cassandra");
    let stopped = Instant::now();
    let mut named = None;
    while since.elapsed() < AWAY {
        let (status, why) = process.get("/readyz");
        if status == 503 && named.is_none() {
            assert!(why.contains("cannot read the stored result") || why.contains("cannot write the result"), "{why}");
            named = Some(stopped.elapsed());
            assert!(process.metric("facemill_waiting") > 0, "not to be seen by Prometheus");
        }
        assert_eq!(process.get("/livez").0, 200, "a restart would not help");
        thread::sleep(Duration::from_millis(200));
    }
    assert!(named.is_some_and(|named| named < Duration::from_secs(5)), "/readyz said it after {named:?}");
    assert_eq!(process.get("/readyz").0, 503);
    assert!(process.written() < urls.len() as u64 / 2, "nothing was left to do");
    drop(back);
    let highest = process.peak();
    eprintln!("{usual} MiB usually, {highest} MiB in the outage before {waiting_mib} MiB of frames");
    assert!(highest <= usual + 64, "{usual} MiB usually, {highest} MiB in the outage");

    let rows = cluster.until_rows(urls.len());
    rows.iter().for_each(|(url, row)| is_as_expected(url, row));
    until("it is ready", || process.get("/readyz").0 == 200);
    process.stop();
    assert!(urls.iter().all(|url| site.hits(url) == 1), "a picture was fetched again");
}

#[test]
#[ignore = "needs the stack: make it"]
fn a_broker_that_is_killed_is_done_without() {
    const URLS: usize = 500;
    let (cluster, site) = (Cluster::alone("broker"), Site::new(FAR));
    let processes = ["fetch", "preprocess", "detect"].map(|stage| cluster.run(stage, SLOW));
    cluster.produce("urls", site.urls(URLS));
    until("a fifth is fetched", || site.server.total_hits() >= URLS / 5);
    stack("kill kafka-2");
    let back = Back("start kafka-2");
    assert!(site.server.total_hits() < URLS, "it was killed when all was done");
    let rows = cluster.until_rows(URLS);
    rows.iter().for_each(|(url, row)| is_as_expected(url, row));
    assert_eq!(cluster.events().len(), URLS);
    drop(back);
    until("the replicas are in sync", || cluster.is_whole());
    processes.into_iter().for_each(|process| process.stop());
}
