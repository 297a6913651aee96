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
    until("all are skipped", || process.metric("facemill_records_skipped_total") == URLS as u64);
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
    assert_eq!(process.metric("facemill_records_skipped_total"), 0);
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

/// Failures that are for good, until somebody has changed what they came from.
#[test]
#[ignore = "needs the stack: make it"]
fn what_failed_for_a_reason_is_submitted_again_and_nothing_else() {
    let (cluster, site) = (Cluster::new("retry"), Site::new(Duration::ZERO));
    let process = cluster.run(ALL, "--set fetch.max_body_bytes=500 --set fetch.body_budget_bytes=5000");
    let urls = [site.photographs(30), site.urls(1)].concat();
    cluster.produce("urls", &urls);
    let before = cluster.until_rows(urls.len());
    process.stop();
    assert_eq!(before.values().filter(|row| row["reason"] == "body_too_large").count(), 30);

    let words = "retry --job default --reason body_too_large";
    let ended = cluster.facemill(words).success().shows(&["30  body_too_large"]).says(&["--yes"]);
    assert!(!ended.stdout.contains("http_client_error"), "{}", ended.stdout);
    let process = cluster.run(ALL, "");
    cluster.facemill(&format!("{words} --since 1s --yes")).success().says(&["no URL of job 'default' failed so"]);
    cluster.facemill(&format!("{words} --yes")).success().says(&["30 URLs of job 'default' are submitted once more"]);
    until("all are done again", || process.written() == 30);
    let after = cluster.rows();
    let detected = |row: &&serde_json::Value| row["status"] == "detected";
    assert_eq!((after.len(), after.values().filter(detected).count()), (urls.len(), 30));
    let submitted = |row: &serde_json::Value| row["timestamps"]["submitted_at"].clone();
    assert!(after.iter().all(|(url, row)| submitted(row) == submitted(&before[url])));

    cluster.facemill(&format!("{words} --yes")).success().says(&["no URL of job 'default' failed so"]);
    cluster.facemill("retry --job nobodys --status failed").with_code(1).says(&["nobodys"]);
    process.stop();
    assert_eq!(site.hits(&urls[30]), 1, "a missing page was not asked for again");
}
