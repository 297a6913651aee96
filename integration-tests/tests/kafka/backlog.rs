use std::{thread, time::Duration};

use crate::{
    cluster::{Cluster, PARTITIONS, until},
    process::Process,
    site::Site,
};

/// Longer than between two looks at what waits, which are made every five seconds.
const LOOK: Duration = Duration::from_secs(7);

/// How many URLs were asked for when fetch says that it holds back; none is any more.
#[track_caller]
fn held_at(fetch: &Process, site: &Site) -> usize {
    until("it holds back", || fetch.log().contains("open=false"));
    // What had begun is finished.
    thread::sleep(Duration::from_secs(2));
    let held = site.server.total_hits();
    thread::sleep(LOOK);
    assert_eq!(site.server.total_hits(), held, "it goes on");
    held
}

#[test]
#[ignore = "needs the stack: make it"]
fn fetch_holds_back_while_too_many_bytes_wait_for_preprocess_and_then_goes_on_to_the_end() {
    const URLS: usize = 300;
    const WAITING: usize = 30;
    // Ten URLs a second: some fifty until the next look.
    let (cluster, site) = (Cluster::new("backlog"), Site::new(Duration::from_millis(100)));
    let urls = site.photographs(URLS);
    let bytes = site.mean_bytes();
    let words = |at_once: usize| {
        format!(
            "--set kafka.images_backlog_bytes={} --set kafka.expected_image_bytes={bytes} \
             --set fetch.host_concurrency={at_once} --set runner.lane_running=2 --set runner.drain_timeout=3s",
            WAITING as u64 * bytes
        )
    };
    let fetch = cluster.run("fetch", &words(1));
    cluster.produce("urls", &urls);
    let held = held_at(&fetch, &site);
    assert!(held > WAITING && held < URLS / 2, "{held} of {URLS} fetched with room for {WAITING}");
    // The lag that librdkafka tells is the one that Kafka itself sees.
    until("it tells how far it is", || {
        let lags = fetch.lags();
        lags.len() == PARTITIONS as usize && lags == cluster.lags(&["fetch"])
    });
    assert!(fetch.lags().values().sum::<u64>() >= (URLS - held) as u64);
    fetch.stop();

    // One that has fetched nothing yet sees what waits all the same.
    let fetch = cluster.run("fetch", &words(4));
    let held_again = held_at(&fetch, &site);
    assert!(held_again < URLS * 2 / 3, "{held} fetched, then {held_again}");

    let others = cluster.run("preprocess,detect", "");
    cluster.until_rows(URLS);
    assert!(fetch.log().contains("open=true"));
    assert!(urls.iter().all(|url| site.hits(url) == 1), "a picture was fetched again");
    [fetch, others].into_iter().for_each(|process| process.stop());
}
