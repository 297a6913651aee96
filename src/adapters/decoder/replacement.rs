//! What both kinds of decoders do when one has to be replaced.

use std::{fmt, thread, time::Duration};

use crate::{
    domain::{Failure, Reason},
    stages::preprocess::Fault,
    telemetry::DecoderReplaced,
};

/// Attempts to start a decoder, and the first pause between two; each is twice as long as the one before.
const STARTS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest detail of a failure, in characters: it goes into a row.
const MAX_DETAIL: usize = 500;

/// Makes a failure whose text may be a stranger's.
pub(super) fn failure(reason: Reason, detail: &str) -> Failure {
    Failure::new(reason, detail.chars().take(MAX_DETAIL).collect::<String>())
}

/// Makes the outcome of a picture that no decoder could be had for.
pub(super) fn no_decoder(trouble: impl fmt::Display) -> Failure {
    failure(Reason::InternalError, &format!("the picture's second decoder had to be replaced too: {trouble}"))
}

/// Starts a decoder, again and again for a while: a system that has no process or memory to give may have some soon.
pub(super) fn start_patiently<T, E: fmt::Display>(mut start: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..STARTS {
        match start() {
            Err(error) => tracing::warn!(%error, attempt, "cannot start a picture decoder; trying again"),
            started => return started,
        }
        thread::sleep(pause);
        pause *= 2;
    }
    start()
}

/// Says under which cause a fault is counted.
pub(super) fn cause(fault: &Fault) -> DecoderReplaced {
    match fault {
        Fault::SelfTest(_) => DecoderReplaced::SelfTest,
        Fault::Contradiction(_) => DecoderReplaced::Contradiction,
    }
}
