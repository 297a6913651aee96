//! What happens to one record between the runner's hands and its durable effect.

use std::{cmp::Ordering, collections::HashSet, future::Future, panic::AssertUnwindSafe, sync::Arc};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tracing::Instrument;

use super::{
    outlets::Outlets,
    ports::{Delivery, PortError, ResultStore},
    retry::RetryPolicy,
    step::{Done, Gate, Next, Origin, Step},
};
use crate::{
    domain::{
        DeadLetter, DeadLetterClass, Facts, Failure, Headers, ImageId, Message, Model, Pipeline, RANKS, Reason, Record,
        RecordError, ResultRow, StageName, Timestamp,
    },
    stages::{Effect, Stage},
    telemetry::{Health, Span, StageMetrics, Tracer, trace::trace_id},
};

/// The attribute of spans.
const IMAGE_ID: &str = "facemill.image_id";

/// Bytes of a value that every topic takes: Kafka's own default for a record is eight times as much.
const SMALL_VALUE_BYTES: usize = 128 << 10;

/// One stage with everything that its records need on their way.
pub struct Work<S> {
    /// The stage.
    pub stage: S,
    /// Name of the topic that the records are read from.
    pub topic: String,
    /// Where it hands over to.
    pub next: Next,
    /// Where outcomes go.
    pub store: Arc<dyn ResultStore>,
    /// Where else records may go.
    pub outlets: Outlets,
    /// Stored failures with these reasons are worked on again.
    pub redo: HashSet<Reason>,
    /// Messages that the stage may hold at once, from the begin of its work until the effect is durable: what
    /// it makes of them does not pile up before a next topic that is full.
    pub turns: Semaphore,
    /// Whether the stages after this one keep up; while they do not, no work is begun.
    pub gate: Gate,
    /// How often the stage is tried.
    pub retry: RetryPolicy,
    /// The job of records that name none.
    pub default_job: String,
    /// The detector that rows name.
    pub model: Model,
    /// The software and settings that rows name.
    pub pipeline: Pipeline,
    /// The stage's counts.
    pub metrics: Arc<StageMetrics>,
    /// What the process waits for.
    pub health: Arc<Health>,
    /// Begins the spans of its records.
    pub tracer: Tracer,
}

#[async_trait]
impl<S: Stage> Step for Work<S> {
    async fn take(&self, origin: Origin<'_>, message: Message) -> Result<Done, PortError> {
        let span = self.tracer.fused(origin.span);
        span.text(IMAGE_ID, message.facts.image_id);
        self.work(Origin { span: &span, ..origin }, message).await
    }
}

impl<S: Stage> Work<S> {
    /// Carries a record until its effect is durable. Only then may its offset be settled.
    ///
    /// # Errors
    /// Only where a foreign system is beyond waiting for: the record is then not settled.
    pub async fn carry(&self, delivery: &Delivery) -> Result<Done, PortError> {
        let traceparent = delivery.record.traceparent();
        let span = self.tracer.record(delivery.partition, delivery.offset, traceparent.as_deref());
        let origin = Origin { topic: &self.topic, delivery, span: &span };
        let mut message = match self.read(delivery) {
            Ok(message) => message,
            Err(error) => return self.refuse(origin, &error).await.map(|()| Done::Settled),
        };
        let facts = &mut message.facts;
        span.text(IMAGE_ID, facts.image_id);
        facts.traceparent = span.traceparent().or(facts.traceparent.take());
        let trace_id = facts.traceparent.as_deref().and_then(trace_id);
        // Of the level of errors, so that whatever is written has it.
        let log = tracing::error_span!("record", image_id = %facts.image_id, trace_id);
        let carry = async {
            if S::NAME == StageName::Fetch && self.is_done(&span, &mut message.facts).await? {
                self.metrics.skipped.add(1);
                span.outcome("skipped", None);
                return Ok(Done::Settled);
            }
            self.work(origin, message).await
        };
        carry.instrument(log).await
    }

    /// The stage's own part, and what it leads to.
    async fn work(&self, origin: Origin<'_>, mut message: Message) -> Result<Done, PortError> {
        // Never closed, so there is always a turn in the end.
        let _turn = self.turns.acquire().await;
        match self.attempt(origin.span, &mut message).await {
            Ok(Effect::HandOver(next)) => return self.hand_over(origin, *next).await,
            Ok(Effect::Detected(faces)) => {
                self.flag(origin, ResultRow::detected(message.facts, faces, &self.model, &self.pipeline)).await?;
            }
            Ok(Effect::Untouched) => return Ok(Done::Abandoned),
            Err(failure) => self.give_up(origin, message.facts, failure).await?,
        }
        Ok(Done::Settled)
    }

    fn read(&self, delivery: &Delivery) -> Result<Message, RecordError> {
        match S::NAME {
            StageName::Fetch => {
                let submitted_at = delivery.appended_at.unwrap_or_else(Timestamp::now);
                Message::from_submission(&delivery.record, &self.default_job, submitted_at)
            }
            StageName::Preprocess | StageName::Detect => Message::decode(&delivery.record),
        }
    }

    /// Sets a record aside that cannot be read: as a dead letter, or where there are none as a row under the id of
    /// its bytes.
    async fn refuse(&self, origin: Origin<'_>, error: &RecordError) -> Result<(), PortError> {
        if self.outlets.dead_letters.is_some() {
            self.bury(origin, DeadLetterClass::InvalidRecord, &error.to_string()).await?;
            origin.span.outcome("dead_letter", Some(DeadLetterClass::InvalidRecord.as_str()));
            return Ok(());
        }
        let (mut facts, failure) = self.unreadable(&origin.delivery.record, error);
        if S::NAME == StageName::Fetch && self.is_done(origin.span, &mut facts).await? {
            self.metrics.skipped.add(1);
            origin.span.outcome("skipped", None);
            return Ok(());
        }
        self.flag(origin, self.failed(facts, failure)).await
    }

    /// Whether a row says that working on this URL again would change nothing, or nothing for the better: one of a
    /// later epoch is of a pipeline that replaces this one. A row that is to be replaced is noted.
    async fn is_done(&self, span: &Span, facts: &mut Facts) -> Result<bool, PortError> {
        let id = facts.image_id;
        let reading = span.call("read the stored result");
        let stored = self.until_available("read the stored result", || self.store.settled(&id)).await?;
        drop(reading);
        let Some(row) = stored else { return Ok(false) };
        let is_tried_again = row.reason.is_some_and(|reason| self.redo.contains(&reason) || facts.redo == Some(reason));
        let outranks = match row.epoch.cmp(&self.pipeline.epoch) {
            Ordering::Greater => None,
            // Of the same base, so that the rank decides between this attempt and others that are under way.
            Ordering::Equal if row.fingerprint == self.pipeline.fingerprint => {
                is_tried_again.then_some(row.write_timestamp - RANKS)
            }
            Ordering::Equal | Ordering::Less => Some(row.write_timestamp),
        };
        if outranks.is_some() {
            facts.outranks = outranks;
            return Ok(false);
        }
        let _noting = span.call("note the job");
        self.until_available("note the job", || self.store.join(&facts.job, &id)).await?;
        Ok(true)
    }

    /// Tries the stage until it succeeds, fails for good, or is out of attempts.
    async fn attempt(&self, span: &Span, message: &mut Message) -> Result<Effect, Failure> {
        let mut attempt = 1;
        loop {
            let trying = span.part("attempt");
            trying.number("facemill.attempt", message.facts.attempts);
            let started = Instant::now();
            let result = AssertUnwindSafe(self.stage.process(message)).catch_unwind().await;
            let took = started.elapsed();
            self.metrics.attempts.record(took);
            message.facts.timings.set(S::NAME, took);
            let failure = match result {
                Ok(Ok(Effect::HandOver(mut next))) => {
                    next.facts.timings.set(S::NAME, took);
                    return Ok(Effect::HandOver(next));
                }
                Ok(Ok(effect)) => return Ok(effect),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::new(Reason::InternalError, format!("{} panicked", S::NAME)),
            };
            trying.failed(failure.reason.as_str());
            drop(trying);
            let asked = failure.retry_after.unwrap_or_default();
            if !failure.reason.is_transient() || attempt >= self.retry.attempts || asked > self.retry.cap {
                return Err(failure);
            }
            tracing::debug!(stage = %S::NAME, reason = %failure.reason, attempt, "trying again");
            self.metrics.retries.add([failure.reason.as_str()], 1);
            sleep(self.retry.delay(attempt).max(asked)).await;
            attempt += 1;
            message.facts.attempts = message.facts.attempts.saturating_add(1);
        }
    }

    /// Ends a URL that the stage could not carry further, or puts it off.
    async fn give_up(&self, origin: Origin<'_>, facts: Facts, failure: Failure) -> Result<(), PortError> {
        if failure.reason == Reason::InternalError {
            tracing::error!(stage = %S::NAME, detail = failure.detail, "internal error");
            origin.span.fault(failure.reason.as_str());
            self.bury(origin, DeadLetterClass::InternalError, &failure.detail).await?;
        }
        let asked = failure.retry_after.unwrap_or_default();
        // It was refused its turn: no try of its own.
        let is_refused = failure.reason == Reason::HostBusy;
        let wait =
            if is_refused { self.outlets.wait_for_turn(facts.waits) } else { self.outlets.wait(facts.waits, asked) };
        if failure.reason.is_transient()
            && let Some((waits, later)) = wait
        {
            let attempts = facts.attempts.saturating_add(u32::from(!is_refused));
            let send = origin.span.send(later.topic.name());
            let traceparent = send.traceparent().or_else(|| facts.traceparent.clone());
            let next = Facts { attempts, traceparent, ..facts.clone() };
            let record = next.resubmission(waits, Timestamp::now() + later.delay, failure.reason);
            match self.until_available("put a URL off", || later.topic.publish(&record)).await {
                Err(PortError::TooLarge(error)) => tracing::warn!(%error, "cannot put off"),
                put_off => {
                    if put_off.is_ok() {
                        origin.span.outcome("postponed", Some(failure.reason.as_str()));
                        self.metrics.postponed.add([failure.reason.as_str()], 1);
                    }
                    return put_off;
                }
            }
        }
        self.flag(origin, self.failed(facts, failure)).await
    }

    /// Publishes a dead letter, if there is a topic for them.
    async fn bury(&self, origin: Origin<'_>, class: DeadLetterClass, message: &str) -> Result<(), PortError> {
        let Some(outlet) = &self.outlets.dead_letters else { return Ok(()) };
        let Origin { topic, delivery, span } = origin;
        let Delivery { partition, offset, .. } = *delivery;
        tracing::warn!(stage = %S::NAME, topic, partition, offset, message, "dead letter");
        let letter = DeadLetter { topic, partition, offset, stage: S::NAME, class, message };
        let send = span.send(outlet.name());
        let record = letter.record(&delivery.record, usize::MAX).traced(send.traceparent());
        let mut buried = self.until_available("publish a dead letter", || outlet.publish(&record)).await;
        if matches!(buried, Err(PortError::TooLarge(_))) {
            // The topic takes less than it should, or the headers are large. The beginning of the value, and where to
            // find the rest, are better than nothing.
            let bare = Record { headers: Headers::default(), ..delivery.record.clone() };
            let record = letter.record(&bare, SMALL_VALUE_BYTES).traced(send.traceparent());
            buried = self.until_available("publish a dead letter", || outlet.publish(&record)).await;
        }
        if buried.is_ok() {
            self.metrics.dead_letters.add([class.as_str()], 1);
        }
        buried
    }

    async fn hand_over(&self, origin: Origin<'_>, mut message: Message) -> Result<Done, PortError> {
        if S::NAME == StageName::Fetch {
            self.metrics.fetched_bytes.add(message.body.len() as u64);
        }
        let topic = match &self.next {
            Next::Stage(stage) => {
                let done = stage.take(origin, message).await?;
                if done == Done::Settled {
                    origin.span.outcome("handed_over", None);
                    self.metrics.fused.add(1);
                }
                return Ok(done);
            }
            Next::Topic(topic) => topic,
            Next::Nothing => {
                let failure = Failure::new(Reason::InternalError, format!("{} has no next stage", S::NAME));
                return self.give_up(origin, message.facts, failure).await.map(|()| Done::Settled);
            }
        };
        let send = origin.span.send(topic.name());
        message.facts.traceparent = send.traceparent().or(message.facts.traceparent);
        let facts = message.facts.clone();
        let record = message.encode();
        let size = record.size() as u64;
        match self.until_available("hand over to the next stage", || topic.publish(&record)).await {
            Err(PortError::TooLarge(error)) => {
                drop(send);
                self.flag(origin, self.failed(facts, Failure::new(Reason::BodyTooLarge, error))).await?;
            }
            handed_over => {
                handed_over?;
                origin.span.outcome("handed_over", None);
                self.metrics.handed_over.add(1);
                self.metrics.handed_over_bytes.add(size);
            }
        }
        Ok(Done::Settled)
    }

    /// The flag step. The event comes before the row: a crash between the two leaves a record that is worked on
    /// again, not a row whose event is missing (docs/decisions/0006-event-before-row.md).
    async fn flag(&self, origin: Origin<'_>, row: ResultRow) -> Result<(), PortError> {
        let Origin { delivery, span, .. } = origin;
        if let Some(topic) = &self.outlets.results {
            let event = row.event().map_err(|error| PortError::Fatal(error.to_string()))?;
            let send = span.send(topic.name());
            let event = event.traced(send.traceparent().or_else(|| delivery.record.traceparent()));
            match self.until_available("publish the result", || topic.publish(&event)).await {
                Err(PortError::TooLarge(error)) => tracing::warn!(%error, "no result event"),
                published => published?,
            }
        }
        let writing = span.call("write the result");
        self.until_available("write the result", || self.store.write(&row)).await?;
        drop(writing);
        let reason = row.reason.map(Reason::as_str);
        span.outcome(if reason.is_none() { "detected" } else { "failed" }, reason);
        span.number("facemill.faces", row.faces.len());
        self.metrics.row_written(reason);
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

    /// Repeats a call to our own infrastructure for as long as it is merely unavailable.
    async fn until_available<T, F>(&self, what: &'static str, mut call: impl FnMut() -> F) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, PortError>>,
    {
        let (mut attempt, mut waiting) = (1, None);
        loop {
            match call().await {
                Err(PortError::Unavailable(error)) => {
                    let delay = RetryPolicy::INFRASTRUCTURE.delay(attempt);
                    let waiting = waiting.get_or_insert_with(|| self.health.wait(what));
                    waiting.because(&error);
                    // The others wait for the same: one tells of it.
                    if waiting.tells() {
                        tracing::warn!(%error, attempt, ?delay, "cannot {what}; waiting");
                    }
                    sleep(delay).await;
                    attempt += 1;
                }
                settled => return settled,
            }
        }
    }
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "work_trace_tests.rs"]
mod trace_tests;
