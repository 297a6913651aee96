use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use crate::{
    cluster::{ALL, Cluster, PARTITIONS, until},
    site::{Site, comparable, is_as_expected},
};

/// Far away, and few at once: at most 100 URLs a second and replica.
const FAR: Duration = Duration::from_millis(50);
const SLOW: &str = "--set fetch.host_concurrency=5 --set runner.lane_running=4";

/// Asserts that each URL was flagged once: no stage did anything twice, or there were a second event.
#[track_caller]
fn was_published_once(events: &BTreeMap<String, usize>, count: usize) {
    assert_eq!(events.len(), count);
    let twice: Vec<_> = events.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
#[ignore = "needs the stack: make it"]
fn sigterm_with_work_in_flight_commits_all_of_it_and_none_is_done_again() {
    const URLS: usize = 400;
    let (cluster, site) = (Cluster::new("sigterm"), Site::new(FAR));
    let start = || ["fetch", "preprocess", "detect"].map(|stage| cluster.run(stage, SLOW));
    let mut processes = start();
    cluster.produce("urls", site.urls(URLS));
    until("a third is fetched", || site.server.total_hits() >= URLS / 3);
    let asked = Instant::now();
    processes.iter_mut().for_each(|process| process.terminate());
    for process in processes {
        process.end().success();
    }
    assert!(asked.elapsed() < Duration::from_secs(25), "{:?} to drain", asked.elapsed());
    let before = site.server.total_hits();
    assert!(before < URLS * 2 / 3, "{before}: nothing was left to do");

    let processes = start();
    cluster.until_rows(URLS);
    processes.into_iter().for_each(|process| process.stop());
    site.was_asked_once_for(URLS);
    was_published_once(&cluster.events(), URLS);
}

/// A replica that stands still for longer than its session wakes up to partitions that are others' now.
#[test]
#[ignore = "needs the stack: make it"]
fn a_replica_that_has_lost_its_partitions_drops_their_work_and_goes_on() {
    const URLS: usize = 500;
    const STAGES: [&str; 3] = ["fetch", "preprocess", "detect"];
    let (cluster, site) = (Cluster::new("frozen"), Site::new(FAR));
    let mut frozen = cluster.run(ALL, SLOW);
    let other = cluster.run(ALL, SLOW);
    until("each has its share of the partitions", || cluster.members(&STAGES) == [PARTITIONS / 2; 6]);
    cluster.produce("urls", site.urls(URLS));
    until("a tenth is fetched", || site.server.total_hits() >= URLS / 10);
    frozen.signal("STOP");
    until("the other has all of them", || cluster.members(&STAGES) == [PARTITIONS; 3]);
    frozen.signal("CONT");
    until("it has lost them", || frozen.log().contains("lost=true"));

    let rows = cluster.until_rows(URLS);
    rows.iter().for_each(|(url, row)| is_as_expected(url, row));
    until("it has partitions again", || cluster.members(&STAGES) == [PARTITIONS / 2; 6]);
    until("no group lags", || cluster.lags(&STAGES).values().all(|lag| *lag == 0));
    [frozen, other].into_iter().for_each(|process| process.stop());
}

/// A replica that joins takes over partitions whose records are being worked on, and gives them back when it leaves.
#[test]
#[ignore = "needs the stack: make it"]
fn replicas_that_come_and_go_lose_nothing_and_do_nothing_twice() {
    const URLS: usize = 600;
    // Slower than the start of a replica on a busy machine.
    const SLOWER: &str = "--set fetch.host_concurrency=2 --set runner.lane_running=4";
    let (cluster, site) = (Cluster::new("rebalance"), Site::new(FAR));
    let first = cluster.run(ALL, SLOWER);
    cluster.produce("urls", site.urls(URLS));
    until("a tenth is fetched", || site.server.total_hits() >= URLS / 10);
    let second = cluster.run(ALL, SLOWER);
    until("the second replica fetches", || second.metric("facemill_fetched_bytes_total") > 0);
    let rebalanced = first.metric("facemill_kafka_rebalances_total");
    assert!(rebalanced > 3, "the first replica gave partitions back");
    let left_at = site.server.total_hits();
    assert!(left_at < URLS * 3 / 4, "{left_at}: the second replica leaves while there is work");
    second.stop();
    cluster.until_rows(URLS);
    first.stop();
    site.was_asked_once_for(URLS);
    was_published_once(&cluster.events(), URLS);
}

#[test]
#[ignore = "needs the stack: make it"]
fn kill_nine_of_each_stage_costs_no_row_and_brings_no_other() {
    const URLS: usize = 400;
    let site = Site::new(FAR);
    let urls = site.urls(URLS);
    let undisturbed = Cluster::new("undisturbed");
    let process = undisturbed.run(ALL, "");
    undisturbed.produce("urls", &urls);
    let expected = comparable(undisturbed.until_rows(URLS));
    process.stop();

    let cluster = Cluster::new("kill");
    let stages = ["fetch", "preprocess", "detect"];
    let mut processes = stages.map(|stage| Some(cluster.run(stage, SLOW)));
    let fetched_before = site.server.total_hits();
    cluster.produce("urls", &urls);
    for (index, stage) in stages.into_iter().enumerate() {
        let goal = fetched_before + URLS * (index + 1) / 5;
        until("more is fetched", || site.server.total_hits() >= goal);
        // Not at the moment of a request.
        thread::sleep(Duration::from_millis(7));
        processes[index].take().unwrap().kill();
        assert!(cluster.rows().len() < URLS, "it was killed when all was done");
        processes[index] = Some(cluster.run(stage, SLOW));
    }
    let rows = comparable(cluster.until_rows(URLS));
    assert!(rows == expected, "other rows than those of an undisturbed run");
    processes.into_iter().flatten().for_each(|process| process.stop());
}
