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

#[test]
#[ignore = "needs the stack: make it"]
fn a_database_that_is_away_for_half_a_minute_is_waited_for_with_flat_memory() {
    const URLS: usize = 500;
    const OUTAGE: Duration = Duration::from_secs(30);
    let (cluster, site) = (Cluster::alone("outage"), Site::new(FAR));
    let mut process = cluster.run(ALL, SLOW);
    cluster.produce("urls", site.urls(URLS));
    until("a fifth is fetched", || site.server.total_hits() >= URLS / 5);
    assert_eq!(process.get("/readyz").0, 200);

    stack("pause cassandra");
    let back = Back("continue cassandra");
    let since = Instant::now();
    let before = process.resident();
    let mut named = Duration::MAX;
    let mut highest = before;
    while since.elapsed() < OUTAGE {
        let (status, why) = process.get("/readyz");
        if status == 503 && named == Duration::MAX {
            assert!(why.contains("cannot read the stored result") || why.contains("cannot write the result"), "{why}");
            named = since.elapsed();
        }
        assert_eq!(process.get("/livez").0, 200, "a restart would not help");
        highest = highest.max(process.resident());
        thread::sleep(Duration::from_millis(500));
    }
    assert!(named < Duration::from_secs(10), "/readyz said it after {named:?}");
    assert_eq!(process.get("/readyz").0, 503);
    assert!(highest <= before + 32, "{before} MiB before, {highest} MiB in the outage");
    let fetched = site.server.total_hits();
    assert!(fetched < URLS, "nothing was left to do");
    drop(back);

    let rows = cluster.until_rows(URLS);
    rows.iter().for_each(|(url, row)| is_as_expected(url, row));
    until("it is ready", || process.get("/readyz").0 == 200);
    process.stop();
    site.was_asked_once_for(URLS);
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
