use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tower::{Layer, Service};

tokio::task_local! {
    /// When the exchange that this task is polling must have its response header.
    static DEADLINE: watch::Sender<Instant>;
}

/// Bounds the wait for a response header, counted from when there is a connection: reqwest itself can only
/// bound the whole, which would be lenient to a server that accepts at once and then says nothing.
///
/// As a layer around the client's connector it sees when a connection is being made and when it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstByte {
    /// Longest wait for a header.
    pub(super) limit: Duration,
    /// Longest wait for a connection; the connector keeps it.
    pub(super) connect: Duration,
}

impl FirstByte {
    /// Waits for `exchange`; `None` if no header came in time.
    pub(super) async fn bound<T>(self, exchange: impl Future<Output = T>) -> Option<T> {
        // A pooled connection is there from the start.
        let (deadline, mut changes) = watch::channel(Instant::now() + self.limit);
        let mut exchange = pin!(DEADLINE.scope(deadline, exchange));
        loop {
            let deadline = *changes.borrow_and_update();
            tokio::select! {
                biased;
                result = &mut exchange => return Some(result),
                Ok(()) = changes.changed() => {}
                () = sleep_until(deadline) => return None,
            }
        }
    }
}

impl<S> Layer<S> for FirstByte {
    type Service = Connector<S>;

    fn layer(&self, inner: S) -> Connector<S> {
        Connector { inner, first_byte: *self }
    }
}

/// A connector that moves the deadline of the exchange it connects for.
#[derive(Debug, Clone)]
pub(super) struct Connector<S> {
    inner: S,
    first_byte: FirstByte,
}

impl<S, Target> Service<Target> for Connector<S>
where
    S: Service<Target>,
    S::Future: Send + 'static,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, target: Target) -> Self::Future {
        let FirstByte { limit, connect } = self.first_byte;
        // Absent where the client connects in the background, for nobody in particular.
        let deadline = DEADLINE.try_with(watch::Sender::clone).ok();
        let extend = move |wait: Duration| {
            if let Some(deadline) = &deadline {
                deadline.send_replace(Instant::now() + wait);
            }
        };
        extend(connect + limit);
        let connecting = self.inner.call(target);
        Box::pin(async move {
            let connection = connecting.await;
            extend(limit);
            connection
        })
    }
}
