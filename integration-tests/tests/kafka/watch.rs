//! What an operator sees of a run, with the rules and the dashboard of the chart.

use std::time::Duration;

use crate::{
    cluster::{Cluster, Setup, until},
    prometheus::Prometheus,
    site::Site,
};

const STAGES: [&str; 3] = ["fetch", "preprocess", "detect"];

fn named(name: &str, stage: &str) -> (String, String) {
    (name.to_owned(), stage.to_owned())
}

#[test]
#[ignore = "needs the stack: make it"]
fn a_stage_that_is_stopped_sets_off_the_alerts_on_its_lag_which_end_when_it_is_back() {
    const FIRST: usize = 150;
    const URLS: usize = 400;
    let (cluster, site) =
        (Cluster::with("watch", &Setup { later: &["1s"], ..Setup::default() }), Site::new(Duration::ZERO));
    let watched = "--set kafka.expected_rate=20 --set monitor.deadline=2030-01-01T00:00:00Z --set monitor.interval=1s";
    let monitor = cluster.monitor(watched);
    // Name servers that do not answer, on loopback.
    let words = r#"--set fetch.dns_servers=["127.0.0.1:1"] --set retry.attempts=2 --set retry.base=1ms"#;
    let mut stages: Vec<_> = STAGES.iter().map(|stage| cluster.run(stage, words)).collect();
    let ports: Vec<u16> = stages.iter().chain([&monitor]).map(|process| process.port()).collect();
    let prometheus = Prometheus::start(&ports);
    until("all are scraped", || prometheus.up() == ports.len());

    let urls = site.urls(URLS);
    cluster.produce("urls", &urls[..FIRST]);
    cluster.produce("urls", ["http://nowhere.example/1.jpg"]);
    // While it works, so that there is something to be seen of everything.
    cluster.until_rows(FIRST + 1);
    println!("{}", prometheus.answers_the_dashboard());
    let quiet = |stage: &str| {
        let firing = prometheus.firing();
        !firing.contains(&named("FacemillPartitionStalled", stage))
            && !firing.contains(&named("FacemillStageGone", stage))
    };
    assert!(STAGES.iter().all(|stage| quiet(stage)), "{:?}", prometheus.firing());

    stages.pop().unwrap().stop();
    cluster.produce("urls", &urls[FIRST..]);
    until("somebody is told that detect stands still, and that nobody does its work", || {
        let firing = prometheus.firing();
        ["FacemillPartitionStalled", "FacemillStageGone"].iter().all(|name| firing.contains(&named(name, "detect")))
    });
    assert!(quiet("fetch") && quiet("preprocess"), "{:?}", prometheus.firing());

    stages.push(cluster.run_at("detect", words, ports[2]));
    cluster.until_rows(URLS + 1);
    until("the alerts are over", || STAGES.iter().all(|stage| quiet(stage)));
    stages.into_iter().chain([monitor]).for_each(|process| process.stop());
}
