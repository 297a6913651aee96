//! `facemill monitor` beside real stages, held against Kafka's own tools.

use std::{collections::BTreeMap, thread, time::Duration};

use serde_json::Value;

use crate::{
    cluster::{Cluster, PARTITIONS, Setup, until},
    process::Process,
    scripts::stack,
    site::Site,
};

const OFTEN: &str = "--set monitor.interval=1s";

/// The series of a metric by stage, topic and partition, as far as it has these labels.
fn series(monitor: &Process, name: &str) -> BTreeMap<(String, String, i32), f64> {
    let (_, text) = monitor.get("/metrics");
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    let read = |(labels, value): (&str, &str)| {
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap_or_default();
            rest.split_once('"').unwrap_or_default().0.to_owned()
        };
        ((label("stage"), label("topic"), label("partition").parse().unwrap_or(-1)), value.parse().unwrap())
    };
    lines.map(read).collect()
}

/// The values of a metric for one topic, by partition.
fn of(monitor: &Process, name: &str, topic: &str) -> Vec<f64> {
    let series = series(monitor, name).into_iter();
    series.filter(|((_, of, _), _)| of == topic).map(|(_, value)| value).collect()
}

fn sum(monitor: &Process, name: &str, topic: &str) -> f64 {
    of(monitor, name, topic).iter().sum()
}

fn oldest(monitor: &Process, topic: &str) -> f64 {
    of(monitor, "facemill_lag_age_seconds", topic).into_iter().fold(0.0, f64::max)
}

/// A metric without labels.
fn value(monitor: &Process, name: &str) -> Option<f64> {
    let (_, text) = monitor.get("/metrics");
    let line = text
        .lines()
        .find(|line| line.starts_with(name) && !line.starts_with('#') && line[name.len()..].starts_with(['{', ' ']));
    line.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[test]
#[ignore = "needs the stack: make it"]
fn a_stage_that_stands_still_is_seen_to_fall_behind_to_lose_records_and_to_catch_up() {
    const FIRST: usize = 12;
    const WAITING: usize = 60;
    let (cluster, site) =
        (Cluster::with("monitor", &Setup { later: &["20s"], ..Setup::default() }), Site::new(Duration::ZERO));
    let (urls, retry) = (cluster.topic("urls"), cluster.topic("urls.retry.20s"));
    let monitor =
        cluster.monitor(&format!("{OFTEN} --set kafka.expected_rate=12.5 --set monitor.deadline=2030-01-01T00:00:00Z"));
    let fetch = cluster.run("fetch", "");
    let others = cluster.run("preprocess,detect", "");
    cluster.produce("urls", site.urls(FIRST));
    cluster.until_rows(FIRST);
    until("nothing waits, and every stage has its member", || {
        let groups = ["urls", "urls.retry.20s", "images", "frames"].map(|topic| cluster.topic(topic));
        groups.iter().all(|topic| {
            sum(&monitor, "facemill_lag_records", topic) == 0.0
                && oldest(&monitor, topic) == 0.0
                && of(&monitor, "facemill_lag_records", topic).len() == PARTITIONS as usize
                && of(&monitor, "facemill_group_members", topic) == [1.0]
        })
    });
    assert_eq!(monitor.get("/readyz").0, 200);
    assert_eq!(sum(&monitor, "facemill_group_position", &urls), FIRST as f64);
    assert_eq!(sum(&monitor, "facemill_log_end", &cluster.topic("results")), FIRST as f64);
    assert_eq!(of(&monitor, "facemill_log_start", &cluster.topic("dlq")), [0.0; PARTITIONS as usize]);
    assert_eq!(value(&monitor, "facemill_expected_rate"), Some(12.5));
    assert_eq!(value(&monitor, "facemill_deadline_timestamp_seconds"), Some(1_893_456_000.0));

    fetch.stop();
    cluster.produce("urls", site.photographs(WAITING));
    until("the lag is seen, and nobody who would work on it", || {
        sum(&monitor, "facemill_lag_records", &urls) == WAITING as f64
            && of(&monitor, "facemill_group_members", &urls) == [0.0]
    });
    let seen = series(&monitor, "facemill_lag_records").into_iter().filter(|((_, topic, _), _)| *topic == urls);
    let seen: BTreeMap<_, _> = seen.map(|((_, topic, partition), lag)| ((topic, partition), lag as u64)).collect();
    assert_eq!(seen, cluster.lags(&["fetch"]), "as kafka-consumer-groups says");
    let before = oldest(&monitor, &urls);
    thread::sleep(Duration::from_secs(4));
    until("they grow older", || oldest(&monitor, &urls) > before + 3.0);
    let used = of(&monitor, "facemill_retention_used_ratio", &urls);
    // Of 14 days.
    assert!(used.iter().all(|used| (1e-6..1e-3).contains(used)), "{used:?}");

    // Five of partition 2 are deleted before anybody has read them.
    let position = series(&monitor, "facemill_group_position")[&("fetch".to_owned(), urls.clone(), 2)] as i64;
    let request = format!(
        r#"{{"partitions": [{{"topic": "{urls}", "partition": 2, "offset": {}}}], "version": 1}}"#,
        position + 5
    );
    cluster.place.write("delete.json", request);
    let file = cluster.place.path("delete.json");
    cluster.kafka("delete-records", &format!("--offset-json-file {}", file.display()), b"");
    until("the loss is seen", || sum(&monitor, "facemill_records_lost_total", &urls) == 5.0);
    until("what is lost waits no more", || sum(&monitor, "facemill_lag_records", &urls) == (WAITING - 5) as f64);
    let lost = series(&monitor, "facemill_records_lost_total");
    assert_eq!(lost[&("fetch".to_owned(), urls.clone(), 2)], 5.0);

    // Without Prometheus.
    let table = cluster.facemill("monitor --once").success().stdout;
    let line = table.lines().find(|line| line.contains(&format!("{urls} "))).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[..5], ["fetch", &urls, &PARTITIONS.to_string(), "0", &(WAITING - 5).to_string()], "{table}");
    let object = cluster.facemill("monitor --once -o json").success().stdout;
    let object: Value = serde_json::from_str(&object).unwrap();
    assert_eq!((&object["topics"][0]["topic"], &object["errors"]), (&urls.as_str().into(), &Value::Array(Vec::new())));

    // A failure that may pass waits in the retry topic, and is not late before it is due.
    let broken = site.server.url("/status/503.jpg");
    let fetch = cluster.run("fetch", "");
    cluster.produce("urls", [&broken]);
    until("it waits", || sum(&monitor, "facemill_lag_records", &retry) == 1.0);
    thread::sleep(Duration::from_secs(3));
    assert_eq!((sum(&monitor, "facemill_lag_records", &retry), oldest(&monitor, &retry)), (1.0, 0.0));
    until("nothing waits", || {
        [&urls, &retry]
            .iter()
            .all(|topic| sum(&monitor, "facemill_lag_records", topic) == 0.0 && oldest(&monitor, topic) == 0.0)
    });
    assert!(cluster.rows().contains_key(&broken));
    assert_eq!(sum(&monitor, "facemill_records_lost_total", &urls), 5.0);

    let groups = String::from_utf8(cluster.kafka("consumer-groups", "--list", b"")).unwrap();
    let mut groups: Vec<_> = groups.lines().filter_map(|group| group.strip_prefix(&cluster.prefix)).collect();
    groups.sort_unstable();
    assert_eq!(groups, ["detect", "fetch", "fetch.retry.20s", "preprocess"], "it has none of its own");
    [fetch, others, monitor].into_iter().for_each(Process::stop);
}

#[test]
#[ignore = "needs the stack: make it"]
fn a_monitor_names_what_it_cannot_see_and_waits_for_brokers_that_hang() {
    const BROKERS: &str = "kafka-1 kafka-2 kafka-3";
    let cluster = Cluster::alone("monitor-outage");
    cluster.produce("urls", ["http://a.example/1"]);
    let mut monitor = cluster.monitor(OFTEN);
    let (urls, frames) = (cluster.topic("urls"), cluster.topic("frames"));
    until("it sees all", || monitor.get("/readyz").0 == 200);
    let errors = value(&monitor, "facemill_monitor_errors_total").unwrap();

    cluster.kafka("topics", &format!("--delete --topic {frames}"), b"");
    until("the missing topic is named", || {
        let (status, text) = monitor.get("/readyz");
        status == 503 && text.contains(&format!("the topic '{frames}' is not there")) && text.contains("topics apply")
    });
    assert_eq!(sum(&monitor, "facemill_lag_records", &urls), 1.0, "the others go on");
    assert!(of(&monitor, "facemill_log_end", &frames).is_empty());
    assert!(value(&monitor, "facemill_monitor_errors_total").unwrap() > errors);
    let report = cluster.facemill("monitor --once").with_code(1).says(&[&frames, "is not there"]);
    assert!(report.stdout.contains(&urls), "{}", report.stdout);
    cluster.facemill("topics apply --yes --dir topics --partitions 8 --allow-repartition --timeout 60s").success();
    until("it sees all again, with as many partitions as there are now", || {
        monitor.get("/readyz").0 == 200 && of(&monitor, "facemill_log_end", &urls).len() == 8
    });

    let last = value(&monitor, "facemill_monitor_last_success_timestamp_seconds").unwrap();
    stack(&format!("pause {BROKERS}"));
    let gone = crate::cluster::wait_for(Duration::from_millis(200), || {
        let (status, text) = monitor.get("/readyz");
        status == 503 && text.contains("no Kafka broker") && of(&monitor, "facemill_lag_records", &urls).is_empty()
    });
    let live = monitor.get("/livez").0;
    let kept = value(&monitor, "facemill_monitor_last_success_timestamp_seconds").unwrap();
    stack(&format!("continue {BROKERS}"));
    assert!(gone && live == 200 && kept >= last, "{gone} {live}");
    until("it sees all again", || {
        monitor.get("/readyz").0 == 200 && sum(&monitor, "facemill_lag_records", &urls) == 1.0
    });
    assert!(monitor.is_running());
    assert!(monitor.peak() < 60, "{} MiB", monitor.peak());
    monitor.stop();
}
