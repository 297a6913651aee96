//! Traces and metrics of real processes, as a real collector gets them.

use std::{collections::BTreeSet, net::TcpListener, time::Duration};

use crate::{
    cluster::{ALL, Cluster, until},
    collector::{Collector, Span},
    site::{Site, expected},
};

const STAGES: [&str; 3] = ["fetch", "preprocess", "detect"];
const SUBMITTED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0bb902b7-01";
const NOT_SAMPLED: &str = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-00f067aa0bb902b7-00";

/// The last span, the one it is a child of, and so on up to the first.
fn chain<'a>(spans: &'a [Span], last: &'a Span) -> Vec<&'a Span> {
    let parent = |span: &Span| spans.iter().find(|other| other.get("ID") == span.get("Parent ID"));
    std::iter::successors(Some(last), |span| parent(span)).collect()
}

#[test]
#[ignore = "needs the stack: make it"]
fn one_trace_follows_a_url_through_three_processes_and_their_metrics_arrive() {
    const URLS: usize = 25;
    let (cluster, site) = (Cluster::new("otlp"), Site::new(Duration::ZERO));
    let collector = Collector::start(&cluster.place);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("OTEL_TRACES_SAMPLER_ARG", "1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
    ];
    let processes = STAGES.map(|stage| cluster.run_with(stage, "", &variables));
    let urls = site.urls(URLS + 2);
    let (traced, urls) = urls.split_at(2);
    cluster.produce("urls", urls);
    // The first fails, the second is detected.
    cluster.produce_with("urls", &traced[0], ("traceparent", NOT_SAMPLED));
    cluster.produce_with("urls", &traced[1], ("traceparent", SUBMITTED));
    let rows = cluster.until_rows(URLS + 2);
    processes.into_iter().for_each(|process| process.stop());

    let told = collector.text();
    let spans = collector.spans();
    let processed = |stage: &str| -> Vec<&Span> {
        let name = format!("process {}", cluster.topic(stage));
        spans.iter().filter(|span| span.get("Name") == name).collect()
    };
    let detected = rows.keys().filter(|url| expected(url).1.is_none() && **url != traced[0]).count();
    assert_eq!(processed("urls").len(), URLS + 1, "all but the one that its submitter did not sample");
    assert_eq!(processed("frames").len(), detected);
    let is_last = |span: &&Span| span.get("Name") == "write the result" && span.service() == "facemill-detect";
    assert_eq!(spans.iter().filter(is_last).count(), detected);
    for last in spans.iter().filter(is_last) {
        let chain = chain(&spans, last);
        let names: Vec<_> = chain.iter().map(|span| (span.service(), span.get("Name"))).collect();
        let name = |what: &str, topic: &str| format!("{what} {}", cluster.topic(topic));
        assert_eq!(
            names,
            [
                ("facemill-detect", "write the result"),
                ("facemill-detect", &name("process", "frames")),
                ("facemill-preprocess", &name("send", "frames")),
                ("facemill-preprocess", &name("process", "images")),
                ("facemill-fetch", &name("send", "images")),
                ("facemill-fetch", &name("process", "urls")),
            ]
        );
        let kinds: Vec<_> = chain.iter().map(|span| span.get("Kind")).collect();
        assert_eq!(kinds, ["Client", "Consumer", "Producer", "Consumer", "Producer", "Consumer"]);
        let traces: BTreeSet<_> = chain.iter().map(|span| span.get("Trace ID")).collect();
        assert_eq!(traces.len(), 1);
        let images: BTreeSet<_> = [1, 3, 5].map(|at| &chain[at].attributes["facemill.image_id"]).into();
        assert_eq!(images.len(), 1);
    }
    let traces: BTreeSet<_> = processed("urls").iter().map(|span| span.get("Trace ID").to_owned()).collect();
    assert_eq!(traces.len(), URLS + 1, "a trace for each URL");
    let submitted: Vec<_> = spans.iter().filter(|span| SUBMITTED.contains(span.get("Trace ID"))).collect();
    let services: BTreeSet<_> = submitted.iter().map(|span| span.service()).collect();
    assert_eq!(services.len(), 3, "{submitted:?}");
    let first =
        submitted.iter().find(|span| span.get("Kind") == "Consumer" && span.service() == "facemill-fetch").unwrap();
    assert_eq!(first.get("Parent ID"), "00f067aa0bb902b7");
    assert_eq!(first.attributes["messaging.system"], "kafka");
    assert!(first.attributes["messaging.consumer.group.name"].starts_with(&cluster.prefix));
    assert!(!told.contains("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "nobody asked for this one");
    let outcomes: BTreeSet<_> = spans.iter().filter_map(|span| span.attributes.get("facemill.outcome")).collect();
    assert_eq!(outcomes, BTreeSet::from(["detected", "failed", "handed_over"].map(str::to_owned)).iter().collect());
    assert!(spans.iter().all(|span| span.get("Status code") == "Unset"), "a 404 is a result");
    assert!(spans.iter().all(|span| span.resource["deployment.environment.name"] == "test"));
    let address = site.server.base().replace("http://", "");
    assert!(!told.contains(&address) && !told.contains(".jpg"), "a URL was exported");
    let metrics = collector.metrics();
    // A counter, one by reason, a histogram, a gauge by partition: of each kind that there is.
    for name in ["facemill.records.settled", "facemill.outcomes", "facemill.attempt.duration", "facemill.lane.records"]
    {
        assert!(metrics.iter().any(|metric| metric == name), "no {name} in {metrics:?}");
    }
}

/// It takes the connection and never answers.
#[test]
#[ignore = "needs the stack: make it"]
fn a_collector_that_says_nothing_holds_up_neither_the_work_nor_the_end() {
    const URLS: usize = 200;
    let (cluster, site) = (Cluster::new("silent"), Site::new(Duration::ZERO));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_TRACES_SAMPLER", "always_on"),
        // Full at once.
        ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8"),
    ];
    let mut process = cluster.run_with(ALL, "--fuse", &variables);
    cluster.produce("urls", site.urls(URLS));
    cluster.until_rows(URLS);
    silent.set_nonblocking(true).unwrap();
    assert!(silent.accept().is_ok(), "it was asked, or this shows nothing");
    until("all is committed", || cluster.lags(&["fetch"]).values().all(|lag| *lag == 0));
    let asked = std::time::Instant::now();
    process.terminate();
    process.end().success();
    assert!(asked.elapsed() < Duration::from_secs(10), "the end took {:?}", asked.elapsed());
}
