use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::{
    config::Settings,
    telemetry::{Exporter, Health, serve},
};

/// How long the last answers of `/metrics` may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// `/livez`, `/readyz` and `/metrics`, while the process works.
pub(super) struct Served {
    server: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Served {
    /// Answers on `http.listen`, if it names a port.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub(super) async fn start(settings: &Settings, health: Arc<Health>, exporter: Exporter) -> Result<Self, AppError> {
        let stop = CancellationToken::new();
        let server = match settings.http.listen.parse::<SocketAddr>().ok() {
            None => None,
            Some(address) => {
                let (address, server) = serve(address, health, exporter, stop.clone()).await?;
                tracing::info!(%address, "answering /livez, /readyz and /metrics");
                Some(tokio::spawn(server))
            }
        };
        Ok(Served { server, stop })
    }

    /// Gives the last answers.
    ///
    /// # Errors
    /// When the server panicked.
    pub(super) async fn end(self) -> Result<(), AppError> {
        self.stop.cancel();
        // One who has not finished asking is not waited for.
        if let Some(server) = self.server
            && let Ok(ended) = tokio::time::timeout(LAST_ANSWERS, server).await
        {
            ended?;
        }
        Ok(())
    }
}
