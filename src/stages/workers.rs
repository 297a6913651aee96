//! CPU-bound work on threads of its own, a fixed number of pictures at a time.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;

use crate::domain::{Failure, Reason};

/// A fixed set of workers, each with its own state: buffers and handles that the next picture uses again.
pub(super) struct Workers<T> {
    idle: Arc<Mutex<Vec<T>>>,
    permits: Arc<Semaphore>,
}

impl<T: Send + 'static> Workers<T> {
    /// One worker for each state.
    pub(super) fn new(states: Vec<T>) -> Self {
        let permits = Arc::new(Semaphore::new(states.len()));
        Workers { idle: Arc::new(Mutex::new(states)), permits }
    }

    /// Waits for an idle worker and works on a blocking thread.
    ///
    /// A panic in `work` becomes [`Reason::InternalError`] and the worker goes on with the next picture:
    /// every picture writes its state anew. When the future is dropped, work that has begun runs to its
    /// end and keeps its place, so the bound holds.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Failure> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(internal)?;
        let idle = Arc::clone(&self.idle);
        let task = tokio::task::spawn_blocking(move || {
            let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let state = lock().pop();
            let mut state = state.ok_or_else(|| internal("more permits than workers"))?;
            let result = catch_unwind(AssertUnwindSafe(|| work(&mut state)));
            lock().push(state);
            drop(permit);
            result.unwrap_or_else(|panic| Err(internal(format!("panic: {}", panic_message(panic.as_ref())))))
        });
        task.await.map_err(internal)?
    }
}

/// Our own fault, in one line.
pub(super) fn internal(detail: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::InternalError, detail.to_string())
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn a_panic_is_one_failure_and_the_worker_lives_on() {
        let workers = Workers::new(vec![0_u32]);
        let failure = workers.run::<()>(|_| panic!("broken table")).await.unwrap_err();
        assert_eq!((failure.reason, failure.detail.as_str()), (Reason::InternalError, "panic: broken table"));
        assert_eq!(workers.run(|state| Ok(*state + 1)).await, Ok(1));
    }

    #[tokio::test]
    async fn no_more_work_runs_at_once_than_there_are_workers_even_when_callers_give_up() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        fn work(_: &mut ()) -> Result<(), Failure> {
            MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(10));
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
        let workers = Workers::new(vec![(), ()]);
        for _ in 0..4 {
            let impatient = tokio::time::timeout(Duration::from_millis(2), workers.run(work)).await;
            assert!(impatient.is_err());
        }
        let all = (0..8).map(|_| workers.run(work));
        assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
        assert_eq!(MOST.load(Ordering::SeqCst), 2);
    }
}
