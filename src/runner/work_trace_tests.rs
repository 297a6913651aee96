//! The spans of records, as a collector sees them.

use std::time::Duration;

use opentelemetry::trace::Status;
use opentelemetry_sdk::trace::SpanData;

use super::{
    tests::{Always, Then, URL, World, delivery, fail, work},
    *,
};
use crate::telemetry::trace::tests::{Recorder, attribute};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0bb902b7-01";

fn hands_over(message: &Message) -> Result<Effect, Failure> {
    Ok(Effect::HandOver(Box::new(message.clone())))
}

fn outcome(span: &SpanData) -> (String, Option<String>) {
    (attribute(span, "facemill.outcome").unwrap(), attribute(span, "facemill.reason"))
}

fn with(tracer: Tracer, stage: fn(&Message) -> Result<Effect, Failure>, world: &Arc<World>) -> Work<Always> {
    Work { tracer, ..work(Always(stage), world) }
}

/// Where a span's parent is.
fn parent(recorder: &Recorder, span: &SpanData) -> Option<String> {
    let spans = recorder.spans();
    let parent = spans.iter().find(|other| other.span_context.span_id() == span.parent_span_id);
    parent.map(|parent| parent.name.clone().into_owned())
}

#[tokio::test]
async fn one_trace_leads_through_the_stages() {
    let (recorder, world) = (Recorder::by_parent(1.0), Arc::default());
    let first = with(recorder.stage("fetch", "urls"), hands_over, &world);
    first.carry(&delivery(URL)).await.unwrap();
    let record = world.records("images").pop().unwrap();
    let second = Then(Always(|_| Ok(Effect::Detected(vec![]))));
    let second = Work { tracer: recorder.stage("detect", "images"), ..work(second, &world) };
    second.carry(&Delivery { record, ..delivery(b"") }).await.unwrap();

    let spans = recorder.spans();
    assert!(spans.iter().all(|span| span.span_context.trace_id() == spans[0].span_context.trace_id()));
    let chain = [
        ("process urls", None),
        ("read the stored result", Some("process urls")),
        ("send images", Some("process urls")),
        ("process images", Some("send images")),
        ("send results", Some("process images")),
        ("write the result", Some("process images")),
    ];
    for (name, expected) in chain {
        assert_eq!(parent(&recorder, &recorder.span(name)).as_deref(), expected, "{name}");
    }
    assert_eq!(outcome(&recorder.span("process urls")), ("handed_over".to_owned(), None));
    assert_eq!(outcome(&recorder.span("process images")), ("detected".to_owned(), None));
    let event = world.records("results").pop().unwrap().traceparent().unwrap();
    assert_eq!(trace_id(&event), Some(spans[0].span_context.trace_id().to_string().as_str()), "for who reads results");
}

#[tokio::test]
async fn fused_stages_are_children_of_the_first() {
    let (recorder, world) = (Recorder::by_parent(1.0), Arc::default());
    let second = Then(Always(|_| Ok(Effect::Detected(vec![]))));
    let second = Work { tracer: recorder.stage("detect", "frames"), ..work(second, &world) };
    let first = with(recorder.stage("fetch", "urls"), hands_over, &world);
    let first = Work { next: Next::Stage(Arc::new(second)), ..first };
    first.carry(&delivery(URL)).await.unwrap();
    let counted = (first.metrics.fused.get(), first.metrics.handed_over.get());
    assert_eq!(counted, (1, 0), "what no topic has taken is counted by itself");
    let fused = recorder.span("detect");
    assert_eq!(parent(&recorder, &fused).as_deref(), Some("process urls"));
    assert_eq!(parent(&recorder, &recorder.span("write the result")).as_deref(), Some("detect"));
    assert_eq!(outcome(&fused).0, "detected");
    assert_eq!(outcome(&recorder.span("process urls")).0, "handed_over");
}

#[tokio::test]
async fn a_url_that_waits_comes_back_into_its_trace() {
    let (recorder, world) = (Recorder::by_parent(1.0), Arc::default());
    let work = with(recorder.stage("fetch", "urls"), |_| fail(Reason::ReadTimeout), &world);
    let record = delivery(URL).record.traced(Some(PARENT.to_owned()));
    work.carry(&Delivery { record, ..delivery(b"") }).await.unwrap();
    assert_eq!(outcome(&recorder.span("process urls")), ("postponed".to_owned(), Some("read_timeout".to_owned())));
    let waiting = world.records("later").pop().unwrap();
    let traceparent = waiting.traceparent().unwrap();
    assert_eq!(trace_id(&traceparent), trace_id(PARENT));
    assert!(traceparent.contains(&recorder.span("send later").span_context.span_id().to_string()), "{traceparent}");
    work.carry(&Delivery { record: waiting, ..delivery(b"") }).await.unwrap();
    let spans = recorder.spans();
    assert!(spans.iter().all(|span| Some(span.span_context.trace_id().to_string().as_str()) == trace_id(PARENT)));
    assert_eq!(outcome(spans.last().unwrap()), ("failed".to_owned(), Some("read_timeout".to_owned())));
}

#[tokio::test]
async fn without_a_collector_what_came_in_is_passed_on() {
    for outcome in [hands_over, |_: &Message| fail(Reason::ReadTimeout), |_: &Message| fail(Reason::NotAnImage)] {
        let world = Arc::default();
        let record = delivery(URL).record.traced(Some(PARENT.to_owned()));
        let work = with(Tracer::default(), outcome, &world);
        work.carry(&Delivery { record, ..delivery(b"") }).await.unwrap();
        let passed_on = ["images", "later", "results"].map(|topic| world.records(topic)).concat();
        assert_eq!(passed_on.iter().map(Record::traceparent).collect::<Vec<_>>(), [Some(PARENT.to_owned())]);
    }
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_goes_on_as_one() {
    let (recorder, world) = (Recorder::by_parent(0.0), Arc::default());
    with(recorder.stage("fetch", "urls"), hands_over, &world).carry(&delivery(URL)).await.unwrap();
    let begun = world.records("images")[0].traceparent().unwrap();
    assert!(begun.ends_with("-00") && trace_id(&begun).is_some(), "{begun}");
    let not_sampled = PARENT.replace("-01", "-00");
    let record = delivery(URL).record.traced(Some(not_sampled.clone()));
    let delivery = Delivery { record, ..delivery(b"") };
    with(recorder.stage("fetch", "urls"), hands_over, &world).carry(&delivery).await.unwrap();
    assert_eq!(world.records("images")[1].traceparent(), Some(not_sampled));
    assert!(recorder.spans().is_empty());
}

#[tokio::test]
async fn only_a_fault_of_our_own_is_an_error() {
    for (reason, is_error) in [(Reason::NotAnImage, false), (Reason::InternalError, true)] {
        let (recorder, world) = (Recorder::by_parent(1.0), Arc::default());
        let mut work = with(recorder.stage("fetch", "urls"), |_| fail(Reason::NotAnImage), &world);
        if is_error {
            work.stage = Always(|_| panic!("as told: http://a.example/1"));
        }
        work.carry(&delivery(URL)).await.unwrap();
        let span = recorder.span("process urls");
        assert_eq!(outcome(&span), ("failed".to_owned(), Some(reason.as_str().to_owned())));
        assert_eq!(matches!(span.status, Status::Error { .. }), is_error);
        assert_eq!(attribute(&span, "error.type").is_some(), is_error);
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_has_a_span_and_its_dead_letter_the_trace() {
    let (recorder, world) = (Recorder::by_parent(1.0), Arc::default());
    let work = with(recorder.stage("fetch", "urls"), hands_over, &world);
    work.carry(&delivery(b"\xff\xfe")).await.unwrap();
    let span = recorder.span("process urls");
    assert_eq!(outcome(&span), ("dead_letter".to_owned(), Some("invalid_record".to_owned())));
    let letter = world.records("dlq").pop().unwrap().traceparent().unwrap();
    assert_eq!(trace_id(&letter), Some(span.span_context.trace_id().to_string().as_str()));
}

#[tokio::test]
async fn what_is_dropped_under_way_is_abandoned() {
    let (recorder, world) = (Recorder::by_parent(1.0), Arc::default());
    let stage = Always(|_| fail(Reason::ReadTimeout));
    let hour = Duration::from_secs(3600);
    let retry = RetryPolicy { attempts: 2, base: hour, cap: hour };
    let work = Work { retry, tracer: recorder.stage("fetch", "urls"), ..work(stage, &world) };
    let dropped = tokio::time::timeout(Duration::from_millis(20), work.carry(&delivery(URL))).await;
    assert!(dropped.is_err());
    assert_eq!(outcome(&recorder.span("process urls")).0, "abandoned");
    let attempt = recorder.span("attempt");
    assert_eq!(attribute(&attempt, "facemill.reason").as_deref(), Some("read_timeout"));
}

/// Whatever happens to it.
#[tokio::test]
async fn no_url_and_no_host_is_in_a_span() {
    let outcomes = [
        hands_over,
        |_: &Message| Ok(Effect::Detected(vec![])),
        |_: &Message| Ok(Effect::Untouched),
        |_: &Message| fail(Reason::ReadTimeout),
        |message: &Message| Err(Failure::new(Reason::NotAnImage, message.facts.url.clone())),
        |message: &Message| Err(Failure::new(Reason::InternalError, message.facts.url.clone())),
        |message: &Message| panic!("{}", message.facts.url),
    ];
    let recorder = Recorder::by_parent(1.0);
    for outcome in outcomes {
        let work = with(recorder.stage("fetch", "urls"), outcome, &Arc::default());
        for value in
            [b"http://secret.example/path?token=hidden".as_slice(), b"{\"url\": \"secret.example", b"secret.example"]
        {
            work.carry(&delivery(value)).await.unwrap();
        }
    }
    let spans = recorder.spans();
    assert!(spans.len() > 50);
    for span in spans {
        let told = format!("{span:?}");
        assert!(!told.contains("secret") && !told.contains("example") && !told.contains("hidden"), "{told}");
        assert!(span.events.is_empty() && span.links.is_empty());
    }
}
