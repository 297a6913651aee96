//! What a command that runs for long tells of itself.

use std::sync::Arc;

use super::CliError;
use crate::telemetry::{Exporter, Health, LogLimit, Otlp, Traces};

/// Metrics and traces, on their way to whoever asks and to the collector that the environment names.
pub(super) struct Telemetry {
    pub(super) exporter: Exporter,
    pub(super) traces: Traces,
}

impl Telemetry {
    /// `service` is the name of the process to the collector, unless `OTEL_SERVICE_NAME` gives another.
    pub(super) async fn start(service: String, health: &Arc<Health>, logs: &LogLimit) -> Result<Self, CliError> {
        let otlp = Otlp::from_env(service);
        let health = Arc::clone(health);
        let start = move || -> Result<_, CliError> {
            Ok(Telemetry { exporter: otlp.exporter(&health)?, traces: otlp.traces()? })
        };
        let telemetry = tokio::task::spawn_blocking(start).await.map_err(crate::app::AppError::from)??;
        logs.export(&telemetry.exporter.meter());
        tokio::spawn(logs.clone().report_for_ever());
        Ok(telemetry)
    }

    /// After the last commit: what is not exported within two seconds is lost, and nothing else is.
    pub(super) async fn shut_down(self) {
        tokio::join!(self.traces.shut_down(), self.exporter.shut_down());
    }
}
