//! Ctrl-C and SIGTERM: the first one asks the run to end, the second one ends it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What came so far.
#[derive(Clone)]
pub(super) struct Signals {
    stop: CancellationToken,
    /// The exit code of the first signal; 0 before it.
    exit_code: Arc<AtomicU8>,
}

impl Signals {
    /// Listens from now on, in a task of its own: whatever the rest of the program waits for, a second
    /// signal is heard. Must be called within the runtime.
    pub(super) fn listen() -> io::Result<Self> {
        let signals = Signals { stop: CancellationToken::new(), exit_code: Arc::default() };
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::spawn(signals.clone().run(interrupt, terminate));
        Ok(signals)
    }

    async fn run(self, mut interrupt: Signal, mut terminate: Signal) {
        loop {
            // By convention 128 + the signal's number.
            let code = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            };
            if self.received().is_some() {
                // Nothing is lost: what was under way has no row and comes again.
                std::process::exit(i32::from(code));
            }
            self.exit_code.store(code, Ordering::Relaxed);
            self.stop.cancel();
        }
    }

    /// Cancelled by the first signal.
    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The exit code of the first signal.
    pub(super) fn received(&self) -> Option<u8> {
        Some(self.exit_code.load(Ordering::Relaxed)).filter(|code| *code != 0)
    }
}
