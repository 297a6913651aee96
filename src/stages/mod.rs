//! The three stages, in the order of the data: pure logic, and the ports that it needs.
//!
//! A stage knows neither where its messages come from nor what becomes of them: the runner does.

pub mod detect;
pub mod fetch;
mod magic;
pub mod preprocess;
mod resize;
mod workers;

use std::{future::Future, sync::Arc};

pub use workers::panicked;

use crate::domain::{Face, Failure, Message, StageName};

/// One step of the pipeline.
pub trait Stage: Send + Sync + 'static {
    /// Which one it is.
    const NAME: StageName;

    /// Works on one message. May be called many times at once, and again with the same message.
    ///
    /// A stage bounds its own work (threads, connections, bytes); the runner bounds how many
    /// messages it holds. A future that is dropped leaves nothing behind.
    ///
    /// # Errors
    /// A [`Failure`] is the outcome of this attempt; by its reason the runner tries again or settles it.
    fn process(&self, message: &Message) -> impl Future<Output = Result<Effect, Failure>> + Send;
}

/// One stage that several runners share, one for each topic that it reads.
impl<S: Stage> Stage for Arc<S> {
    const NAME: StageName = S::NAME;

    fn process(&self, message: &Message) -> impl Future<Output = Result<Effect, Failure>> + Send {
        self.as_ref().process(message)
    }
}

/// What a stage made of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The message for the next stage.
    HandOver(Box<Message>),
    /// Nothing: the stage is closing and had not begun. The message comes again.
    Untouched,
    /// The faces in pixels of the original picture, best score first: the end of the pipeline.
    Detected(Vec<Face>),
}
