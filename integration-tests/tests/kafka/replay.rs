use std::{process::Command, time::Duration};

use crate::{
    cluster::{ALL, Cluster, until},
    site::Site,
};

const URLS: usize = 100;

fn reset(cluster: &Cluster) {
    let words = format!(
        "--group {}fetch --topic {} --reset-offsets --to-earliest --execute",
        cluster.prefix,
        cluster.topic("urls")
    );
    cluster.kafka("consumer-groups", &words, b"");
}

#[test]
#[ignore = "needs the stack: make it"]
fn a_replay_skips_what_is_done_and_a_raised_epoch_does_it_again() {
    let (cluster, site) = (Cluster::new("replay"), Site::new(Duration::ZERO));
    let process = cluster.run(ALL, "");
    cluster.produce("urls", site.urls(URLS));
    let before = cluster.until_rows(URLS);
    process.stop();

    reset(&cluster);
    let process = cluster.run(ALL, "");
    until("all are skipped", || process.metric("facemill_urls_skipped_total") == URLS as u64);
    assert_eq!(process.written(), 0);
    process.stop();
    assert_eq!(cluster.rows(), before);
    site.was_asked_once_for(URLS);
    assert_eq!(cluster.events().values().sum::<usize>(), URLS, "nothing is published again");

    // Later than anything was submitted.
    let now = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.000000Z"]).output().unwrap().stdout;
    let epoch = str::from_utf8(&now).unwrap().trim();
    reset(&cluster);
    let process = cluster.run(ALL, &format!("--set pipeline.epoch={epoch}"));
    until("all are done again", || process.written() == URLS as u64);
    assert_eq!(process.metric("facemill_urls_skipped_total"), 0);
    process.stop();
    let after = cluster.rows();
    assert_eq!(after.len(), URLS);
    assert!(after.values().all(|row| row["pipeline"]["epoch"] == epoch));
    assert_eq!(site.server.total_hits(), 2 * URLS);
}

/// The rows of both runs have the time of the same submission: the newer one has to win all the same.
#[test]
#[ignore = "needs the stack: make it"]
fn a_replay_under_other_settings_replaces_every_row() {
    let (cluster, site) = (Cluster::new("settings"), Site::new(Duration::ZERO));
    let process = cluster.run(ALL, "");
    cluster.produce("urls", site.urls(URLS));
    let before = cluster.until_rows(URLS);
    process.stop();

    reset(&cluster);
    let process = cluster.run(ALL, "--set detect.score_threshold=0.99");
    until("all are done again", || process.written() == URLS as u64);
    process.stop();
    let fingerprint = |row: &serde_json::Value| row["pipeline"]["fingerprint"].clone();
    let after = cluster.rows();
    assert_eq!(after.len(), URLS);
    assert!(after.iter().all(|(url, row)| fingerprint(row) != fingerprint(&before[url])));
}
