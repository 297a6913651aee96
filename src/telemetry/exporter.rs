use std::sync::Arc;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::{Instrument, MeterProviderBuilder, SdkMeterProvider, Stream};
use prometheus::{Registry, TextEncoder};

use super::{
    health::Health,
    meter::{Labels, Meter},
    metrics::{BUILD_INFO, WAITING},
    otlp::shut_down_metrics,
    process,
};

/// Series of one metric; the SDK's own limit of 2,000 is less than a few topics have partitions.
const MOST_SERIES: usize = 100_000;

/// Why metrics cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("a fault of facemill's own, please report it: metrics: {0}")]
pub struct ExporterError(String);

/// Everything that a process counts, as the text that Prometheus reads.
///
/// Most counts are plain atomics, which are read when somebody asks.
#[derive(Debug, Clone)]
pub struct Exporter {
    registry: Registry,
    provider: SdkMeterProvider,
}

impl Exporter {
    /// Exports what every process has: its build, its use of the machine, what it waits for.
    ///
    /// # Errors
    /// When the registry refuses the exporter.
    pub fn new(health: &Arc<Health>) -> Result<Self, ExporterError> {
        Exporter::over(SdkMeterProvider::builder(), health)
    }

    /// The same, to those too that the provider has already.
    pub(super) fn over(provider: MeterProviderBuilder, health: &Arc<Health>) -> Result<Self, ExporterError> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(|error| ExporterError(error.to_string()))?;
        let roomy = |_: &Instrument| Stream::builder().with_cardinality_limit(MOST_SERIES).build().ok();
        let provider = provider.with_reader(reader).with_view(roomy).build();
        let exporter = Exporter { registry, provider };
        let meter = exporter.meter();
        meter.observe(&BUILD_INFO, || vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)]);
        process::observe(&meter);
        let health = Arc::clone(health);
        meter.observe(&WAITING, move || {
            let labelled = |(what, _)| -> (Labels, f64) { (vec![("what", what)], 1.0) };
            health.waiting().into_iter().map(labelled).collect()
        });
        Ok(exporter)
    }

    /// What exports more.
    pub fn meter(&self) -> Meter {
        Meter(self.provider.meter("facemill"))
    }

    /// Pushes the counts once more, where they are pushed.
    pub async fn shut_down(self) {
        shut_down_metrics(self.provider).await;
    }

    /// The counts as they are now, in Prometheus' text format.
    ///
    /// # Errors
    /// When they cannot be written as text.
    pub fn text(&self) -> Result<String, ExporterError> {
        let encoder = TextEncoder::new();
        encoder.encode_to_string(&self.registry.gather()).map_err(|error| ExporterError(error.to_string()))
    }
}
