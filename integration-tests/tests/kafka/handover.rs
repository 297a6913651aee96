use std::{collections::BTreeSet, fs, time::Duration};

use integration_tests::{Options, WebServer};

use crate::{
    cluster::{ALL, Cluster, PARTITIONS, Setup, until},
    pictures::write_small,
    program::Place,
    site::{Site, comparable, is_as_expected},
};

#[test]
#[ignore = "needs the stack: make it"]
fn three_replicas_of_each_stage_share_the_work_end_every_url_in_one_row_and_leave_no_lag() {
    const URLS: usize = 300;
    const STAGES: [&str; 3] = ["fetch", "preprocess", "detect"];
    let (cluster, site) = (Cluster::new("replicas"), Site::new(Duration::ZERO));
    let replicas = STAGES.repeat(3);
    let replicas: Vec<_> = replicas.into_iter().map(|stage| (stage, cluster.run(stage, ""))).collect();
    until("each has its share of the partitions", || cluster.members(&STAGES) == [PARTITIONS / 3; 9]);
    let urls = site.urls(URLS);
    let list = urls.join("\n") + "\n";
    // Records without keys stay in one partition until a batch is full.
    cluster.kafka("console-producer", &format!("--batch-size 200 --topic {}", cluster.topic("urls")), list.as_bytes());

    let rows = cluster.until_rows(URLS);
    for url in &urls {
        is_as_expected(url, &rows[url]);
    }
    assert_eq!(cluster.events().keys().collect::<BTreeSet<_>>(), rows.keys().collect(), "every row is published");
    site.was_asked_once_for(URLS);
    // Positions are committed every second.
    until("no group lags", || {
        let lags = cluster.lags(&STAGES);
        lags.len() == 3 * PARTITIONS as usize && lags.values().all(|lag| *lag == 0)
    });
    for (stage, replica) in &replicas {
        let handed_over = replica.metric("facemill_records_handed_over_total");
        assert!(if *stage == "detect" { replica.written() > 0 } else { handed_over > 0 }, "a {stage} did nothing");
        assert!(replica.metric("facemill_kafka_rebalances_total") > 0, "a {stage} was assigned nothing");
    }
    let written: u64 = replicas.iter().map(|(_, replica)| replica.written()).sum();
    assert_eq!(written, URLS as u64);
    until("each partition has one who says that it does not lag", || {
        let lags: Vec<_> = replicas.iter().flat_map(|(_, replica)| replica.lags()).collect();
        let partitions: BTreeSet<_> = lags.iter().map(|(partition, _)| partition).collect();
        let is_told = partitions.len() == lags.len() && lags.len() == 3 * PARTITIONS as usize;
        is_told && lags.iter().all(|(_, lag)| *lag == 0)
    });
    replicas.into_iter().for_each(|(_, replica)| replica.stop());
}

#[test]
#[ignore = "needs the stack: make it"]
fn stages_that_hand_over_in_memory_make_the_same_rows() {
    const URLS: usize = 100;
    let site = Site::new(Duration::ZERO);
    let urls = site.urls(URLS);
    let rows = ["", "--fuse"].map(|fuse| {
        let cluster = Cluster::new("fuse");
        let process = cluster.run(ALL, fuse);
        cluster.produce("urls", &urls);
        let rows = cluster.until_rows(URLS);
        process.stop();
        let handed_over = cluster.entries("images").len() + cluster.entries("frames").len();
        assert_eq!(handed_over == 0, fuse == "--fuse", "{handed_over} records between the stages");
        comparable(rows)
    });
    assert_eq!(rows[0].len(), URLS);
    assert!(rows[0] == rows[1], "other rows");
}

#[test]
#[ignore = "needs the stack: make it"]
fn a_picture_larger_than_its_topic_allows_is_a_row_and_the_partition_goes_on() {
    // More than the producer puts into one batch, less than the large one.
    const LIMIT: usize = 1_500_000;
    let cluster = Cluster::with("large", &Setup { max_bytes: &[("images", LIMIT)], ..Setup::default() });
    let photos = Place::new();
    write_small(&photos.path(""), 8, 75);
    fs::copy(integration_tests::photos().unwrap().join("solvay_conference_1927.jpg"), photos.path("large.jpg"))
        .unwrap();
    let server = WebServer::start(Options::new(photos.path(""))).unwrap();
    // In every partition, large ones before others.
    let path = |n: usize| match n % 12 {
        0..6 => format!("/photos/large.jpg?{n}"),
        _ => format!("/photos/{}.jpg?{n}", n % 4),
    };
    let urls: Vec<String> = (0..36).map(|n| server.url(&path(n))).collect();
    let process = cluster.run(ALL, "");
    cluster.produce("urls", &urls);
    let rows = cluster.until_rows(urls.len());
    for (url, row) in &rows {
        let expected = if url.contains("large") { Some("body_too_large") } else { None };
        assert_eq!(row["reason"].as_str(), expected, "{row}");
    }
    process.stop();
    assert_eq!(server.total_hits(), urls.len());
    let lags = cluster.lags(&["fetch"]);
    assert!(lags.len() == PARTITIONS as usize && lags.values().all(|lag| *lag == 0), "{lags:?}");
}
