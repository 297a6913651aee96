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

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending};

    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FIRST_BYTE: FirstByte = FirstByte { limit: Duration::from_secs(5), connect: Duration::from_secs(8) };

    /// A connector that takes its time.
    struct Slow(Duration);

    impl Service<()> for Slow {
        type Response = ();
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            let connecting = sleep(self.0);
            Box::pin(async move {
                connecting.await;
                Ok(())
            })
        }
    }

    /// How long an exchange was waited for that takes so long to connect and then to answer.
    async fn waited(connecting: Duration, answering: Option<Duration>) -> (bool, Duration) {
        let started = Instant::now();
        let answered = FIRST_BYTE
            .bound(async {
                FIRST_BYTE.layer(Slow(connecting)).call(()).await.unwrap();
                match answering {
                    Some(time) => sleep(time).await,
                    None => pending().await,
                }
            })
            .await;
        (answered.is_some(), started.elapsed())
    }

    fn about(took: Duration, expected: Duration) -> bool {
        took >= expected && took < expected + SECOND / 10
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_header_counts_from_the_connection() {
        let (answered, took) = waited(7 * SECOND, Some(4 * SECOND)).await;
        assert!(answered && about(took, 11 * SECOND), "{took:?}");
        let (answered, took) = waited(SECOND, None).await;
        assert!(!answered && about(took, 6 * SECOND), "{took:?}");
        let (answered, took) = waited(7 * SECOND, None).await;
        assert!(!answered && about(took, 12 * SECOND), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_new_connection_it_counts_from_the_start() {
        let started = Instant::now();
        assert_eq!(FIRST_BYTE.bound(pending::<()>()).await, None);
        assert!(about(started.elapsed(), 5 * SECOND), "{:?}", started.elapsed());
    }
}
