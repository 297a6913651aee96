use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{exporter::Exporter, health::Health};

/// A part that shows no sign of life for so long hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({error}): free the port, or set http.listen")]
pub struct ListenError {
    address: SocketAddr,
    error: std::io::Error,
}

/// Answers `/livez`, `/readyz` and `/metrics` until `stop`. Returns the address, once it listens, and the server to
/// be polled.
///
/// # Errors
/// When the port cannot be had.
pub async fn serve(
    address: SocketAddr,
    health: Arc<Health>,
    exporter: Exporter,
    stop: CancellationToken,
) -> Result<(SocketAddr, impl Future<Output = ()> + Send + 'static), ListenError> {
    let failed = |error| ListenError { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new((health, exporter)));
    let server = axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await });
    Ok((local, async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "/livez, /readyz and /metrics are not answered any more");
        }
    }))
}

type Shared = State<Arc<(Arc<Health>, Exporter)>>;

/// Whether a restart would help: something hangs.
async fn live(State(shared): Shared) -> (StatusCode, String) {
    let stuck = shared.0.stuck(PATIENCE);
    match stuck.is_empty() {
        true => (StatusCode::OK, "live\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, format!("no sign of life from {}\n", stuck.join(", "))),
    }
}

/// Whether work goes on, and if not, what it waits for.
async fn ready(State(shared): Shared) -> (StatusCode, String) {
    let waiting = shared.0.waiting();
    match waiting.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => {
            let lines = waiting.iter().map(|(what, why)| format!("cannot {what}: {why}\n"));
            (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
        }
    }
}

async fn metrics(State(shared): Shared) -> Response {
    // Beside the runtime's threads: there may be many hosts and partitions to look at.
    let text = tokio::task::spawn_blocking(move || shared.1.text()).await;
    match text.unwrap_or_else(|error| Err(error.into())) {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readyz_says_what_is_waited_for_and_the_port_closes_at_the_stop() {
        let (health, stop) = (Arc::<Health>::default(), CancellationToken::new());
        let exporter = Exporter::new(&health).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, server) = serve(any, Arc::clone(&health), exporter, stop.clone()).await.unwrap();
        let server = tokio::spawn(server);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics").await.starts_with("HTTP/1.1 200"));
        health.waits("write the result", "no node answers");
        let answer = get(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("cannot write the result: no node"), "{answer}");
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"), "a restart would not help");
        let taken = serve(address, Arc::clone(&health), Exporter::new(&health).unwrap(), stop.clone()).await;
        assert!(taken.err().unwrap().to_string().contains("http.listen"));
        stop.cancel();
        server.await.unwrap();
    }
}
