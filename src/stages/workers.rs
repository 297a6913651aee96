//! CPU-bound work on threads of its own, a fixed number of pictures at a time.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

use crate::domain::{Failure, Reason};

/// Work for whichever worker is idle first.
type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A fixed set of threads, each with its own state: buffers and handles that the next picture uses again, on the core
/// whose caches know them.
pub(super) struct Workers<T> {
    /// Closed when this is dropped; the threads end by it.
    jobs: Option<mpsc::Sender<Job<T>>>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Workers<T> {
    /// One thread for each state; `name` is what the system shows.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(super) fn new(name: &str, states: Vec<T>) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let start = |state| {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(name.to_owned()).spawn(move || serve(&queue, state))
        };
        let threads = states.into_iter().map(start).collect::<io::Result<_>>()?;
        Ok(Workers { jobs: Some(jobs), threads })
    }

    /// Works on one of the threads, when one is idle.
    ///
    /// A panic in `work` becomes [`Reason::InternalError`] and the worker goes on with the next picture:
    /// every picture writes its state anew. When the future is dropped, work that has begun runs to its
    /// end; work that has not is not begun.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Failure> {
        let (answer, result) = oneshot::channel();
        let job: Job<T> = Box::new(move |state| {
            if answer.is_closed() {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| work(state)));
            let result = result.unwrap_or_else(|panic| Err(panicked(&*panic)));
            // Who asked may have gone meanwhile.
            let _ = answer.send(result);
        });
        let ended = || internal("the threads of this stage have ended");
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or_else(ended)?;
        result.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn serve<T>(queue: &Mutex<mpsc::Receiver<Job<T>>>, mut state: T) {
    loop {
        // The others wait at the lock while one waits for a job: who has it takes the next one.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(&mut state),
            Err(mpsc::RecvError) => return,
        }
    }
}

impl<T> Drop for Workers<T> {
    /// Waits for pictures under way: what they use of C libraries must not go before them.
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // Jobs catch their panics.
            let _ = thread.join();
        }
    }
}

/// Our own fault, in one line.
pub(super) fn internal(detail: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::InternalError, detail.to_string())
}

/// What a panic in a stage's work comes to.
pub fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    internal(format!("panic: {text}"))
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
        let workers = Workers::new("test", vec![0_u32]).unwrap();
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
        let workers = Workers::new("test", vec![(), ()]).unwrap();
        for _ in 0..4 {
            let impatient = tokio::time::timeout(Duration::from_millis(2), workers.run(work)).await;
            assert!(impatient.is_err());
        }
        let all = (0..8).map(|_| workers.run(work));
        assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
        assert_eq!(MOST.load(Ordering::SeqCst), 2);
    }
}
