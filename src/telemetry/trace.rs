//! Spans: what happened to one record, when, and as part of which trace.
//!
//! Names and attributes follow OpenTelemetry's semantic conventions for messaging. Never a URL or a host: a trace goes
//! to a system that others read.

use std::{
    borrow::Cow,
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use opentelemetry::{
    Context, KeyValue, Value,
    propagation::{Extractor, TextMapPropagator},
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer as _},
};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracer};

/// The length of a `traceparent` of version 00, the only one there is.
const TRACEPARENT_BYTES: usize = 55;

/// What became of the record.
const OUTCOME: &str = "facemill.outcome";

/// Why, where that is a question.
const REASON: &str = "facemill.reason";

/// Begins the spans of one stage. The default begins none: nothing is exported.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<StageTracer>>);

struct StageTracer {
    tracer: SdkTracer,
    stage: &'static str,
    /// Of the spans of records of the stage's topic.
    name: String,
    attributes: Vec<KeyValue>,
}

impl Tracer {
    /// For a stage that reads this topic as a member of this group.
    pub(super) fn new(tracer: SdkTracer, stage: &'static str, topic: &str, group: &str) -> Self {
        let attributes = vec![
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.destination.name", topic.to_owned()),
            KeyValue::new("messaging.consumer.group.name", group.to_owned()),
        ];
        Tracer(Some(Arc::new(StageTracer { tracer, stage, name: format!("process {topic}"), attributes })))
    }

    /// The span of a record: it continues the trace of its `traceparent`, or begins one.
    pub fn record(&self, partition: i32, offset: i64, traceparent: Option<&str>) -> Span {
        let Some(stage) = &self.0 else { return Span::default() };
        let parent = traceparent.filter(|text| is_traceparent(text)).map(remote).unwrap_or_default();
        let span = Span::begin(&stage.tracer, stage.name.clone(), SpanKind::Consumer, &parent, true);
        if let Some(active) = span.recording() {
            let partition = KeyValue::new("messaging.destination.partition.id", partition.to_string());
            let offset = KeyValue::new("messaging.kafka.offset", offset);
            active.context.span().set_attributes(stage.attributes.iter().cloned().chain([partition, offset]));
        }
        span
    }

    /// The span of a record that comes from the stage before this one in memory.
    pub fn fused(&self, before: &Span) -> Span {
        let (Some(stage), Some(active)) = (&self.0, before.recording()) else { return Span::default() };
        Span::begin(&stage.tracer, stage.stage, SpanKind::Internal, &active.context, true)
    }
}

/// Work that has begun. It ends when this is dropped.
///
/// A span that is not sampled, or of a tracer that is off, costs nothing: whoever has one need not ask.
#[derive(Default)]
pub struct Span(Option<Box<Active>>);

struct Active {
    tracer: SdkTracer,
    context: Context,
    is_recording: bool,
    /// Whether its end says what became of a record.
    is_record: bool,
    /// Whether it has a parent.
    is_continued: bool,
    has_outcome: AtomicBool,
}

impl Span {
    fn begin(
        tracer: &SdkTracer,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: &Context,
        is_record: bool,
    ) -> Self {
        let span = tracer.build_with_context(SpanBuilder::from_name(name).with_kind(kind), parent);
        Span(Some(Box::new(Active {
            tracer: tracer.clone(),
            is_recording: span.is_recording(),
            context: Context::new().with_span(span),
            is_record,
            is_continued: parent.has_active_span(),
            has_outcome: AtomicBool::new(false),
        })))
    }

    fn recording(&self) -> Option<&Active> {
        self.0.as_deref().filter(|active| active.is_recording)
    }

    fn child(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Span {
        let begin = |active: &Active| Span::begin(&active.tracer, name, kind, &active.context, false);
        self.recording().map(begin).unwrap_or_default()
    }

    /// A part of this work.
    pub fn part(&self, name: &'static str) -> Span {
        self.child(name, SpanKind::Internal)
    }

    /// A call to a foreign system, waiting for it included.
    pub fn call(&self, name: &'static str) -> Span {
        self.child(name, SpanKind::Client)
    }

    /// Publishing a record, until its topic has it. Whoever reads the record continues the trace from here.
    pub fn send(&self, topic: &str) -> Span {
        if self.recording().is_none() {
            return Span::default();
        }
        let span = self.child(format!("send {topic}"), SpanKind::Producer);
        span.set("messaging.system", "kafka");
        span.set("messaging.operation.type", "send");
        span.set("messaging.operation.name", "send");
        span.set("messaging.destination.name", topic.to_owned());
        span
    }

    /// The W3C Trace Context by which others continue this span's trace. None, where they shall continue the one that
    /// came in, if any.
    pub fn traceparent(&self) -> Option<String> {
        let active = self.0.as_deref()?;
        if !active.is_recording && active.is_continued {
            return None;
        }
        let span = active.context.span();
        let context = span.span_context();
        let flags = context.trace_flags().to_u8();
        context.is_valid().then(|| format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()))
    }

    /// Notes a text.
    pub fn text(&self, key: &'static str, value: impl Display) {
        if self.recording().is_some() {
            self.set(key, value.to_string());
        }
    }

    /// Notes a number.
    pub fn number(&self, key: &'static str, value: impl TryInto<i64>) {
        if let Ok(value) = value.try_into() {
            self.set(key, value);
        }
    }

    /// Notes what became of the record, and why.
    pub fn outcome(&self, outcome: &'static str, reason: Option<&'static str>) {
        let Some(active) = self.recording() else { return };
        active.has_outcome.store(true, Ordering::Relaxed);
        self.set(OUTCOME, outcome);
        reason.into_iter().for_each(|reason| self.set(REASON, reason));
    }

    /// Notes why this part of the work came to nothing.
    pub fn failed(&self, reason: &'static str) {
        self.set(REASON, reason);
    }

    /// Notes a fault of facemill's own: the only thing that is an error, for a 404 is a result.
    pub fn fault(&self, kind: &'static str) {
        if let Some(active) = self.recording() {
            self.set("error.type", kind);
            active.context.span().set_status(Status::error(kind));
        }
    }

    fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(active) = self.recording() {
            active.context.span().set_attribute(KeyValue::new(key, value));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.0.as_deref().is_some_and(|active| active.is_record && !active.has_outcome.load(Ordering::Relaxed)) {
            // The assignment was over, or the time to drain: the record comes again.
            self.outcome("abandoned", None);
        }
    }
}

/// The trace of a `traceparent`, in hexadecimal.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    is_traceparent(traceparent).then(|| traceparent.get(3..35)).flatten()
}

/// The propagator checks what stands between the dashes, but not how long it is.
fn is_traceparent(text: &str) -> bool {
    text.len() == TRACEPARENT_BYTES
        && text.bytes().enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

fn remote(traceparent: &str) -> Context {
    struct Carrier<'a>(&'a str);

    impl Extractor for Carrier<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            (key == "traceparent").then_some(self.0)
        }

        fn keys(&self) -> Vec<&str> {
            vec!["traceparent"]
        }
    }

    TraceContextPropagator::new().extract_with_context(&Context::new(), &Carrier(traceparent))
}

#[cfg(test)]
#[path = "trace_tests.rs"]
pub(crate) mod tests;
