//! Against collectors that take, refuse, or say nothing. `integration-tests/tests/kafka/telemetry.rs` has a real one.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
    time::Instant,
};

use opentelemetry::Key;

use super::*;

fn otlp(variables: &[(&str, &str)]) -> Otlp {
    let variables: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Otlp::new("facemill-fetch", move |name| variables.get(name).cloned())
}

/// What a collector does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Collector {
    Takes,
    Refuses,
    SaysNothing,
}

impl Collector {
    /// Its endpoint, and the path of each request with its size.
    fn start(self) -> (String, mpsc::Receiver<(String, usize)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (seen, requests) = mpsc::channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().map(Result::unwrap) {
                let seen = seen.clone();
                thread::spawn(move || {
                    let Some(request) = read_request(&mut stream) else { return };
                    let _ = seen.send(request);
                    let status = match self {
                        Collector::Takes => "200 OK",
                        Collector::Refuses => "400 Bad Request",
                        Collector::SaysNothing => return thread::sleep(Duration::from_secs(60)),
                    };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    stream.write_all(answer.as_bytes()).unwrap();
                });
            }
        });
        (endpoint, requests)
    }
}

fn read_request(stream: &mut impl Read) -> Option<(String, usize)> {
    let mut request = Vec::new();
    let end = loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&buffer[..count]);
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..end]).into_owned();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
    let mut body = vec![0; length + end - request.len()];
    stream.read_exact(&mut body).unwrap();
    Some((head.split(' ').nth(1)?.to_owned(), length))
}

#[test]
fn without_an_endpoint_or_where_somebody_says_no_nothing_starts() {
    let base = (ENDPOINT, "http://127.0.0.1:9");
    let off: [&[(&str, &str)]; 6] = [
        &[],
        &[(ENDPOINT, " ")],
        &[base, ("OTEL_SDK_DISABLED", "TRUE")],
        &[base, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none")],
        &[base, ("OTEL_TRACES_EXPORTER", "console"), ("OTEL_METRICS_EXPORTER", "prometheus")],
        &[("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_METRICS_EXPORTER", "otlp")],
    ];
    for variables in off {
        let otlp = otlp(variables);
        assert!(otlp.traces().unwrap().0.is_none() && otlp.metric_reader().unwrap().is_none(), "{variables:?}");
        assert_eq!(otlp.traces().unwrap().stage("fetch", "urls", "g").record(0, 0, None).traceparent(), None);
    }
}

#[test]
fn each_signal_has_its_own_endpoint_or_the_common_one() {
    let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let endpoint = |variables: &[(&str, &str)], signal| otlp(variables).endpoint(signal).unwrap();
    let base = [(ENDPOINT, "http://c:4318/base/")];
    assert_eq!(endpoint(&base, &TRACES).as_deref(), Some("http://c:4318/base/v1/traces"));
    assert_eq!(endpoint(&base, &METRICS).as_deref(), Some("http://c:4318/base/v1/metrics"));
    let own = [(traces, "https://t/x"), (ENDPOINT, "http://c:4318")];
    assert_eq!(endpoint(&own, &TRACES).as_deref(), Some("https://t/x"));
    assert_eq!(endpoint(&own, &METRICS).as_deref(), Some("http://c:4318/v1/metrics"));
    assert_eq!(endpoint(&[(traces, "http://t/x")], &METRICS), None);
    let several = [(ENDPOINT, "http://c"), ("OTEL_TRACES_EXPORTER", "console, otlp")];
    assert!(endpoint(&several, &TRACES).is_some());
}

#[test]
fn an_endpoint_that_is_none_is_an_error_that_names_it_and_shows_no_password() {
    for wrong in ["collector:4318", "user:hunter2@collector", "grpc://collector:4317", "http://", "/v1"] {
        let told = otlp(&[(ENDPOINT, wrong)]).traces().err().unwrap().to_string();
        assert!(told.contains(ENDPOINT) && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn the_resource_names_stage_version_and_instance() {
    let value = |otlp: &Otlp, key: &'static str| otlp.resource().get(&Key::new(key)).map(|value| value.to_string());
    let process = otlp(&[]);
    assert_eq!(value(&process, "service.name").as_deref(), Some("facemill-fetch"));
    assert_eq!(value(&process, "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    let instance = value(&process, "service.instance.id").unwrap();
    assert_eq!(instance.len(), 36);
    assert_eq!((instance.get(14..15), instance.find(|c: char| c != '-' && !c.is_ascii_hexdigit())), (Some("4"), None));
    assert_eq!(value(&process, "service.instance.id"), Some(instance.clone()), "the same for traces and metrics");
    assert_ne!(value(&otlp(&[]), "service.instance.id"), Some(instance));
    let named = otlp(&[("OTEL_SERVICE_NAME", "mine")]);
    assert_eq!(value(&named, "service.name").as_deref(), Some("mine"));
}

#[tokio::test]
async fn what_is_left_at_the_end_reaches_the_collector() {
    let (endpoint, requests) = Collector::Takes.start();
    let otlp = otlp(&[(ENDPOINT, &endpoint), ("OTEL_TRACES_SAMPLER", "always_on")]);
    let traces = otlp.traces().unwrap();
    drop(traces.stage("fetch", "urls", "g").record(0, 0, None));
    traces.shut_down().await;
    let (path, size) = requests.try_recv().unwrap();
    assert!(path == "/v1/traces" && size > 100, "{path}, {size} bytes");

    otlp.exporter(&Arc::default()).unwrap().shut_down().await;
    let (path, size) = requests.try_recv().unwrap();
    assert!(path == "/v1/metrics" && size > 100, "{path}, {size} bytes");
}

/// Nobody listens, it refuses, or it says nothing.
#[tokio::test]
async fn a_collector_that_does_not_take_them_costs_spans_and_two_seconds_at_the_end() {
    let nobody = "http://127.0.0.1:9".to_owned();
    let (refuses, _refused) = Collector::Refuses.start();
    let (silent, asked) = Collector::SaysNothing.start();
    for endpoint in [nobody, refuses, silent.clone()] {
        let otlp = otlp(&[(ENDPOINT, &endpoint), ("OTEL_TRACES_SAMPLER", "always_on")]);
        let traces = otlp.traces().unwrap();
        let tracer = traces.stage("fetch", "urls", "g");
        let started = Instant::now();
        // Ten times what its queue holds.
        (0..20_000).for_each(|offset| drop(tracer.record(0, offset, None)));
        assert!(started.elapsed() < Duration::from_secs(3), "{endpoint}: records waited {:?}", started.elapsed());
        let exporter = otlp.exporter(&Arc::default()).unwrap();
        let started = Instant::now();
        tokio::join!(traces.shut_down(), exporter.shut_down());
        assert!(started.elapsed() < Duration::from_millis(2500), "{endpoint}: the end took {:?}", started.elapsed());
    }
    assert!(asked.try_recv().is_ok(), "it was asked, or this shows nothing");
}
