//! From one stage to the next: what it needs to begin, where it hands over to, and what became of a record.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::ports::{Delivery, PortError, Publish};
use crate::{domain::Message, telemetry::Span};

/// Holds work back while it is closed.
#[derive(Debug, Clone)]
pub struct Gate(watch::Receiver<bool>);

impl Gate {
    /// One that somebody opens and closes.
    pub fn of(opener: &watch::Sender<bool>) -> Self {
        Gate(opener.subscribe())
    }

    /// One that is open for ever.
    pub fn open() -> Self {
        Gate(watch::Sender::new(true).subscribe())
    }

    /// Whoever closed it and has ended since closes it no more.
    pub(super) fn is_open(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// Where a stage hands over to.
#[derive(Clone)]
pub enum Next {
    /// Nothing comes after the last stage.
    Nothing,
    /// The next stage's topic.
    Topic(Arc<dyn Publish>),
    /// The next stage itself, in memory: the record is done when that one is done with it.
    Stage(Arc<dyn Step>),
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Its effect is durable.
    Settled,
    /// Nothing was done with it: it comes again.
    Abandoned,
}

/// With what it all began.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// The topic.
    pub(super) topic: &'a str,
    /// The record of that topic.
    pub(super) delivery: &'a Delivery,
    /// The work on it so far.
    pub(super) span: &'a Span,
}

/// A stage that takes messages from the one before it without a topic between them.
#[async_trait]
pub trait Step: Send + Sync {
    /// Carries the message until its effect is durable.
    ///
    /// # Errors
    /// Only where a foreign system is beyond waiting for.
    async fn take(&self, origin: Origin<'_>, message: Message) -> Result<Done, PortError>;
}
