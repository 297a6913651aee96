use opentelemetry::trace::{SpanId, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};

use super::*;

/// Spans that were exported, for tests.
pub(crate) struct Recorder {
    provider: SdkTracerProvider,
    exporter: InMemorySpanExporter,
}

impl Recorder {
    pub(crate) fn new(sampler: Sampler) -> Self {
        let exporter = InMemorySpanExporter::default();
        let builder = SdkTracerProvider::builder().with_simple_exporter(exporter.clone());
        Recorder { provider: builder.with_sampler(sampler).build(), exporter }
    }

    /// Everything without a parent, and what a parent was exported of.
    pub(crate) fn by_parent(ratio: f64) -> Self {
        Recorder::new(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
    }

    pub(crate) fn stage(&self, stage: &'static str, topic: &str) -> Tracer {
        Tracer::new(self.provider.tracer("facemill"), stage, topic, &format!("{topic}.{stage}"))
    }

    /// In the order of their ends.
    pub(crate) fn spans(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }

    pub(crate) fn span(&self, name: &str) -> SpanData {
        let mut named: Vec<_> = self.spans().into_iter().filter(|span| span.name == name).collect();
        assert_eq!(named.len(), 1, "{name}: {:?}", self.spans());
        named.remove(0)
    }
}

pub(crate) fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let mut found = span.attributes.iter().filter(|attribute| attribute.key.as_str() == key);
    let value = found.next().map(|attribute| attribute.value.to_string());
    assert!(found.next().is_none(), "{key} stands there twice");
    value
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0bb902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0bb902b7-00";

#[test]
fn a_span_of_a_record_is_named_and_described_as_the_conventions_say() {
    let recorder = Recorder::by_parent(1.0);
    drop(recorder.stage("fetch", "facemill.urls").record(7, 42, None));
    let span = recorder.span("process facemill.urls");
    assert_eq!(span.span_kind, SpanKind::Consumer);
    for (key, value) in [
        ("messaging.system", "kafka"),
        ("messaging.operation.type", "process"),
        ("messaging.operation.name", "process"),
        ("messaging.destination.name", "facemill.urls"),
        ("messaging.destination.partition.id", "7"),
        ("messaging.kafka.offset", "42"),
        ("messaging.consumer.group.name", "facemill.urls.fetch"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!((span.parent_span_id, span.status), (SpanId::INVALID, Status::Unset));
}

#[test]
fn the_trace_of_the_submitter_is_continued_as_it_was_sampled() {
    let recorder = Recorder::by_parent(0.0);
    let tracer = recorder.stage("fetch", "urls");
    let passed_on = tracer.record(0, 0, Some(PARENT)).traceparent().unwrap();
    let span = recorder.span("process urls");
    assert_eq!(span.span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span.parent_span_id.to_string(), "00f067aa0bb902b7");
    assert_eq!(passed_on, format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", span.span_context.span_id()));

    let recorder = Recorder::by_parent(1.0);
    let not_sampled = recorder.stage("fetch", "urls").record(0, 0, Some(NOT_SAMPLED));
    assert_eq!(not_sampled.traceparent(), None, "what came in is passed on as it is");
    drop(not_sampled);
    assert!(recorder.spans().is_empty());
}

#[test]
fn what_is_no_traceparent_begins_a_trace() {
    let recorder = Recorder::by_parent(1.0);
    let tracer = recorder.stage("fetch", "urls");
    let broken = [
        "",
        "00",
        "00-00000000000000000000000000000000-00f067aa0bb902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0bb902b7-01",
        "00-1-2-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0bb902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0bb902b7-01-\u{fc}",
    ];
    broken.iter().for_each(|text| drop(tracer.record(0, 0, Some(text))));
    let spans = recorder.spans();
    assert_eq!(spans.len(), broken.len());
    assert!(spans.iter().all(|span| span.parent_span_id == SpanId::INVALID && span.span_context.is_valid()));
}

#[test]
fn a_trace_that_is_not_sampled_is_not_sampled_by_later_stages_either() {
    let recorder = Recorder::by_parent(0.0);
    let begun = recorder.stage("fetch", "urls").record(0, 0, None).traceparent().unwrap();
    assert!(begun.ends_with("-00"), "{begun}");
    assert!(trace_id(&begun).is_some());
    let all = Recorder::by_parent(1.0);
    drop(all.stage("preprocess", "images").record(0, 0, Some(&begun)));
    assert!(recorder.spans().is_empty() && all.spans().is_empty());
}

#[test]
fn about_so_many_traces_are_sampled_as_the_ratio_says() {
    let recorder = Recorder::by_parent(0.1);
    let tracer = recorder.stage("fetch", "urls");
    (0..10_000).for_each(|offset| drop(tracer.record(0, offset, None)));
    assert!((800..1200).contains(&recorder.spans().len()), "{}", recorder.spans().len());
}

#[test]
fn parts_calls_and_records_sent_are_children_and_the_reader_continues_from_the_send() {
    let recorder = Recorder::by_parent(1.0);
    let span = recorder.stage("fetch", "urls").record(0, 0, None);
    drop(span.part("attempt"));
    drop(span.call("write the result"));
    let sent = span.send("images").traceparent();
    drop(recorder.stage("preprocess", "images").record(0, 0, sent.as_deref()));
    drop(span);
    let (record, send) = (recorder.span("process urls"), recorder.span("send images"));
    let kinds =
        [("attempt", SpanKind::Internal), ("write the result", SpanKind::Client), ("send images", SpanKind::Producer)];
    for (name, kind) in kinds {
        let child = recorder.span(name);
        assert_eq!((child.parent_span_id, child.span_kind), (record.span_context.span_id(), kind), "{name}");
    }
    for (key, value) in [
        ("messaging.system", "kafka"),
        ("messaging.operation.type", "send"),
        ("messaging.operation.name", "send"),
        ("messaging.destination.name", "images"),
    ] {
        assert_eq!(attribute(&send, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(recorder.span("process images").parent_span_id, send.span_context.span_id());
}

#[test]
fn an_end_without_an_outcome_is_said_to_be_one() {
    let recorder = Recorder::by_parent(1.0);
    let tracer = recorder.stage("fetch", "urls");
    drop(tracer.record(0, 0, None));
    tracer.record(0, 1, None).outcome("failed", Some("dns_failed"));
    let spans = recorder.spans();
    assert_eq!(attribute(&spans[0], "facemill.outcome").as_deref(), Some("abandoned"));
    assert_eq!(attribute(&spans[1], "facemill.outcome").as_deref(), Some("failed"));
    assert_eq!(attribute(&spans[1], "facemill.reason").as_deref(), Some("dns_failed"));
    assert!(spans.iter().all(|span| span.status == Status::Unset), "a result is no error");
}

#[test]
fn a_tracer_that_is_off_does_nothing() {
    let span = Tracer::default().record(0, 0, Some(PARENT));
    assert_eq!(span.traceparent(), None, "what came in is passed on as it is");
    let child = span.send("images");
    child.text("key", "value");
    child.fault("internal_error");
    assert!(span.0.is_none() && child.0.is_none() && Tracer::default().fused(&span).0.is_none());
}
