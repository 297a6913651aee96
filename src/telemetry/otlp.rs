//! Traces and metrics to a collector, by OTLP over HTTP.
//!
//! The standard `OTEL_*` variables say where and how much; no setting of facemill's own does. Without an endpoint
//! nothing is exported.
//!
//! Batches leave from threads of their own, out of queues with bounds: a collector that is down, slow or silent costs
//! spans, never records.

use std::{env, sync::Arc, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{SdkTracerProvider, ShouldSample},
};
use url::Url;

use super::{
    exporter::{Exporter, ExporterError},
    health::Health,
    sampler,
    trace::Tracer,
};

/// How long the last spans and metrics may take at the end.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The endpoint is not a URL. What it is, is not shown: it may have a password in it.
    #[error("{0} must be a URL such as http://collector:4318")]
    Endpoint(&'static str),
    /// The client does not start.
    #[error("cannot export by OTLP: {0}")]
    Client(#[from] opentelemetry_otlp::ExporterBuildError),
    /// No metrics at all.
    #[error(transparent)]
    Metrics(#[from] ExporterError),
}

/// Looks up a variable.
type Lookup = Box<dyn Fn(&str) -> Option<String> + Send>;

/// What the environment says of OTLP.
pub struct Otlp {
    service: String,
    /// Tells replicas apart: without it, all their counts would be one series.
    instance: String,
    variable: Lookup,
}

/// The names of the variables of one kind of telemetry.
struct Signal {
    exporter: &'static str,
    endpoint: &'static str,
    protocol: &'static str,
    path: &'static str,
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

const TRACES: Signal = Signal {
    exporter: "OTEL_TRACES_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    path: "v1/traces",
};

const METRICS: Signal = Signal {
    exporter: "OTEL_METRICS_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    path: "v1/metrics",
};

impl Otlp {
    /// By the variables of this process. `service` is its name, unless they give another.
    pub fn from_env(service: impl Into<String>) -> Self {
        Otlp::new(service, |name| env::var(name).ok())
    }

    fn new(service: impl Into<String>, variable: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        let is_set =
            move |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Otlp { service: service.into(), instance: random_uuid(), variable: Box::new(is_set) }
    }

    /// Whoever makes spans of records, and their way to the collector. Blocks.
    ///
    /// # Errors
    /// When the endpoint is no URL, or the client does not start.
    pub fn traces(&self) -> Result<Traces, OtlpError> {
        let Some(endpoint) = self.endpoint(&TRACES)? else { return Ok(Traces(None)) };
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(endpoint);
        let sampler = sampler::from_variables(&self.variable);
        Ok(Traces::new(SdkTracerProvider::builder().with_batch_exporter(exporter.build()?), sampler, self.resource()))
    }

    /// What exports metrics: to the collector every `OTEL_METRIC_EXPORT_INTERVAL` milliseconds, and always to those who
    /// ask. Blocks.
    ///
    /// # Errors
    /// When the endpoint is no URL, or the client does not start.
    pub fn exporter(&self, health: &Arc<Health>) -> Result<Exporter, OtlpError> {
        let mut provider = SdkMeterProvider::builder();
        if let Some(reader) = self.metric_reader()? {
            provider = provider.with_reader(reader).with_resource(self.resource());
        }
        Ok(Exporter::over(provider, health)?)
    }

    fn metric_reader(&self) -> Result<Option<PeriodicReader<MetricExporter>>, OtlpError> {
        let Some(endpoint) = self.endpoint(&METRICS)? else { return Ok(None) };
        let exporter = MetricExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        Ok(Some(PeriodicReader::builder(exporter.with_endpoint(endpoint).build()?).build()))
    }

    /// Which process it is that tells all this.
    fn resource(&self) -> Resource {
        let own = [
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", self.instance.clone()),
        ];
        let builder = Resource::builder_empty()
            .with_service_name(self.service.clone())
            .with_attributes(own)
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_detector(Box::new(EnvResourceDetector::new()));
        match (self.variable)("OTEL_SERVICE_NAME") {
            Some(name) => builder.with_service_name(name).build(),
            None => builder.build(),
        }
    }

    /// Where this signal goes, if anywhere.
    fn endpoint(&self, signal: &Signal) -> Result<Option<String>, OtlpError> {
        let variable = &self.variable;
        let is_disabled = variable("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let exporters = variable(signal.exporter).unwrap_or_else(|| "otlp".to_owned());
        if is_disabled || !exporters.split(',').any(|name| name.trim() == "otlp") {
            return Ok(None);
        }
        let (name, text, path) = match (variable(signal.endpoint), variable(ENDPOINT)) {
            (Some(own), _) => (signal.endpoint, own, ""),
            (None, Some(base)) => (ENDPOINT, base, signal.path),
            (None, None) => return Ok(None),
        };
        let is_http = Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !is_http {
            return Err(OtlpError::Endpoint(name));
        }
        if let Some(asked) = variable(signal.protocol).or(variable(PROTOCOL))
            && asked != "http/protobuf"
        {
            tracing::warn!(asked, "OTLP goes over http/protobuf only (port 4318 of most collectors)");
        }
        Ok(Some(if path.is_empty() { text } else { format!("{}/{path}", text.trim_end_matches('/')) }))
    }
}

/// As the conventions recommend for an instance.
fn random_uuid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    let part = |range| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

/// Makes the tracers of a process's stages; none that does anything without an endpoint.
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    fn new(
        builder: opentelemetry_sdk::trace::TracerProviderBuilder,
        sampler: impl ShouldSample + 'static,
        resource: Resource,
    ) -> Self {
        Traces(Some(builder.with_sampler(sampler).with_resource(resource).build()))
    }

    /// For a stage that reads this topic as a member of this group.
    pub fn stage(&self, stage: &'static str, topic: &str, group: &str) -> Tracer {
        let tracer = |provider: &SdkTracerProvider| Tracer::new(provider.tracer("facemill"), stage, topic, group);
        self.0.as_ref().map(tracer).unwrap_or_default()
    }

    /// Sends what is left, and waits two seconds for it at most.
    pub async fn shut_down(self) {
        if let Some(provider) = self.0 {
            at_last("traces", move || provider.shutdown_with_timeout(LAST_EXPORT)).await;
        }
    }
}

/// Sends the last metrics, and waits two seconds for it at most. Nothing is waited for where nobody exports them.
pub(super) async fn shut_down_metrics(provider: SdkMeterProvider) {
    at_last("metrics", move || provider.shutdown_with_timeout(LAST_EXPORT)).await;
}

/// On a thread that nobody waits for, not even the end of the runtime: the SDK waits longer than it is told to.
async fn at_last<E: std::fmt::Display>(what: &'static str, export: impl FnOnce() -> Result<(), E> + Send + 'static) {
    let (done, ended) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("last export".to_owned()).spawn(move || {
        if let Err(error) = export() {
            tracing::warn!(%error, "cannot export the last {what}");
        }
        // Whoever waited may have given up.
        let _ = done.send(());
    });
    if thread.is_ok() && tokio::time::timeout(LAST_EXPORT, ended).await.is_err() {
        tracing::warn!("the collector does not take the last {what}");
    }
}

#[cfg(test)]
#[path = "otlp_tests.rs"]
mod tests;
