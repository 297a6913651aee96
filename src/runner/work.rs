//! What happens to one record between the runner's hands and its durable effect.

use std::{collections::HashSet, future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::{
    ports::{PortError, Publish, ResultStore},
    retry::RetryPolicy,
};
use crate::{
    domain::{
        Facts, Failure, ImageId, Message, Model, Pipeline, Reason, Record, RecordError, ResultRow, Settled, StageName,
        Timestamp,
    },
    stages::{Effect, Stage},
    telemetry::Metrics,
};

/// One stage with everything that its records need on their way.
pub struct Work<S> {
    /// The stage.
    pub stage: S,
    /// Where it hands over to; nothing after the last stage.
    pub next: Option<Arc<dyn Publish>>,
    /// Where outcomes go.
    pub store: Arc<dyn ResultStore>,
    /// Stored failures with these reasons are worked on again.
    pub redo: HashSet<Reason>,
    /// Messages that the stage may hold at once, from the begin of its work until the effect is durable: what
    /// it makes of them does not pile up before a next topic that is full.
    pub turns: Semaphore,
    /// How often the stage is tried.
    pub retry: RetryPolicy,
    /// The job of records that name none.
    pub default_job: String,
    /// The detector that rows name.
    pub model: Model,
    /// The software and settings that rows name.
    pub pipeline: Pipeline,
    /// The process's counts.
    pub metrics: Arc<Metrics>,
}

impl<S: Stage> Work<S> {
    /// Carries a record until its effect is durable. Only then may its offset be settled.
    ///
    /// # Errors
    /// Only where a foreign system is beyond waiting for: the record is then not settled.
    pub async fn carry(&self, record: &Record) -> Result<(), PortError> {
        let read = self.read(record).map_err(|error| self.unreadable(record, &error));
        let facts = read.as_ref().map_or_else(|(facts, _)| facts, |message| &message.facts);
        if S::NAME == StageName::Fetch && self.is_done(facts).await? {
            self.metrics.skipped.add(1);
            return Ok(());
        }
        let mut message = match read {
            Ok(message) => message,
            Err((facts, failure)) => return self.flag(self.failed(facts, failure)).await,
        };
        // Never closed, so there is always a turn in the end.
        let _turn = self.turns.acquire().await;
        match self.attempt(&mut message).await {
            Ok(Effect::HandOver(next)) => self.hand_over(*next).await,
            Ok(Effect::Detected(faces)) => {
                self.flag(ResultRow::detected(message.facts, faces, &self.model, &self.pipeline)).await
            }
            Err(failure) => self.flag(self.failed(message.facts, failure)).await,
        }
    }

    fn read(&self, record: &Record) -> Result<Message, RecordError> {
        match S::NAME {
            StageName::Fetch => Message::from_submission(record, &self.default_job, Timestamp::now()),
            StageName::Preprocess | StageName::Detect => Message::decode(record),
        }
    }

    /// Whether a row says that working on this URL again would change nothing.
    async fn is_done(&self, facts: &Facts) -> Result<bool, PortError> {
        let stored = until_available("read the stored result", || self.store.settled(&facts.image_id)).await?;
        if !stored.is_some_and(|row| self.would_not_change(&row)) {
            return Ok(false);
        }
        until_available("note the job", || self.store.join(&facts.job, &facts.image_id)).await?;
        Ok(true)
    }

    fn would_not_change(&self, row: &Settled) -> bool {
        row.epoch >= self.pipeline.epoch
            && row.fingerprint == self.pipeline.fingerprint
            && !row.reason.is_some_and(|reason| self.redo.contains(&reason))
    }

    /// Tries the stage until it succeeds, fails for good, or is out of attempts.
    async fn attempt(&self, message: &mut Message) -> Result<Effect, Failure> {
        let mut attempt = 1;
        loop {
            let started = Instant::now();
            let result = AssertUnwindSafe(self.stage.process(message)).catch_unwind().await;
            message.facts.timings.set(S::NAME, started.elapsed());
            let failure = match result {
                Ok(Ok(Effect::HandOver(mut next))) => {
                    next.facts.timings.set(S::NAME, started.elapsed());
                    return Ok(Effect::HandOver(next));
                }
                Ok(Ok(effect)) => return Ok(effect),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::new(Reason::InternalError, format!("{} panicked", S::NAME)),
            };
            let asked = failure.retry_after.unwrap_or_default();
            if !failure.reason.is_transient() || attempt >= self.retry.attempts || asked > self.retry.cap {
                return Err(failure);
            }
            let image_id = message.facts.image_id;
            tracing::debug!(stage = %S::NAME, %image_id, reason = %failure.reason, attempt, "trying again");
            self.metrics.retries.add(1);
            sleep(self.retry.delay(attempt).max(asked)).await;
            attempt += 1;
            message.facts.attempts += 1;
        }
    }

    async fn hand_over(&self, message: Message) -> Result<(), PortError> {
        if S::NAME == StageName::Fetch {
            self.metrics.fetched_bytes.add(message.body.len() as u64);
        }
        let Some(next) = &self.next else {
            let failure = Failure::new(Reason::InternalError, format!("{} has no next stage", S::NAME));
            return self.flag(self.failed(message.facts, failure)).await;
        };
        let record = message.encode();
        until_available("hand over to the next stage", || next.publish(&record)).await
    }

    /// The flag step.
    async fn flag(&self, row: ResultRow) -> Result<(), PortError> {
        until_available("write the result", || self.store.write(&row)).await?;
        match row.reason {
            None => self.metrics.detected.add(1),
            Some(reason) => {
                self.metrics.failed.add(1);
                if reason == Reason::InternalError {
                    tracing::error!(stage = %S::NAME, image_id = %row.image_id, detail = row.detail, "internal error");
                }
            }
        }
        self.metrics.faces.add(row.faces.len() as u64);
        Ok(())
    }

    fn failed(&self, facts: Facts, failure: Failure) -> ResultRow {
        ResultRow::failed(facts, failure, &self.model, &self.pipeline)
    }

    /// What becomes of a record that cannot be read, under the id of its bytes.
    fn unreadable(&self, record: &Record, error: &RecordError) -> (Facts, Failure) {
        const SHOWN: usize = 256;
        let shown: String = String::from_utf8_lossy(record.value.get(..SHOWN).unwrap_or(&record.value)).into_owned();
        let facts = Facts {
            image_id: ImageId::of(&record.value),
            ..Facts::submitted(&shown, self.default_job.clone(), Timestamp::now())
        };
        (facts, Failure::new(Reason::InvalidRecord, error.to_string()))
    }
}

/// Repeats a call to our own infrastructure for as long as it is merely unavailable.
async fn until_available<T, F>(what: &'static str, mut call: impl FnMut() -> F) -> Result<T, PortError>
where
    F: Future<Output = Result<T, PortError>>,
{
    let mut attempt = 1;
    loop {
        match call().await {
            Err(PortError::Unavailable(error)) => {
                let delay = RetryPolicy::INFRASTRUCTURE.delay(attempt);
                tracing::warn!(%error, attempt, ?delay, "cannot {what}; waiting");
                sleep(delay).await;
                attempt += 1;
            }
            settled => return settled,
        }
    }
}
