//! What the runner needs of the world; adapters implement it.

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::domain::{ImageId, Record, ResultRow, Settled, Timestamp};

/// Number of a partition of the stage's input topic.
pub type Partition = i32;

/// Position of a record in its partition. Offsets grow; they are not contiguous.
pub type Offset = i64;

/// Tells two assignments of the same partition apart. A source never hands out the same one twice.
pub type Generation = u64;

/// What a foreign system answered instead of doing what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// It cannot now, and may later: the runner backs off and waits for as long as it takes.
    #[error("{0}")]
    Unavailable(String),
    /// It never will take a record of this size, which is the record's fate and no fault of the system.
    #[error("{0}")]
    TooLarge(String),
    /// It never will without a person: the runner stops and says this.
    #[error("{0}")]
    Fatal(String),
}

/// One record, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The partition.
    pub partition: Partition,
    /// The position in it.
    pub offset: Offset,
    /// The assignment under which it was read.
    pub generation: Generation,
    /// When the log took it in, if the log knows. However often it is read, this stays.
    pub appended_at: Option<Timestamp>,
    /// The record.
    pub record: Record,
}

/// What a source tells the runner, in order.
#[derive(Debug)]
pub enum Event {
    /// The partition is ours from now on, under this generation.
    Assigned(Partition, Generation),
    /// The group wants these partitions back. Until `drained` is answered or dropped they are still ours.
    Revoked {
        /// Which.
        partitions: Vec<Partition>,
        /// Answered when their work is settled and their positions are committed.
        drained: oneshot::Sender<()>,
    },
    /// These partitions are another member's already: nothing of them may be committed.
    Lost(Vec<Partition>),
    /// A record.
    Delivery(Delivery),
    /// There will be no more records, ever. Only a log with an end says so.
    End,
}

/// Where records come from: a consumer of a partitioned log.
#[async_trait]
pub trait Source: Send {
    /// The next event. Cancel safe: a dropped call loses nothing.
    async fn next(&mut self) -> Result<Event, PortError>;

    /// Hands out no records of this partition until [`Source::resume`] or the end of the assignment. Those on their way
    /// may still come.
    fn pause(&mut self, partition: Partition);

    /// Ends a pause.
    fn resume(&mut self, partition: Partition);
}

/// Where positions are kept: the committed offset of a consumer group.
#[async_trait]
pub trait Commit: Send + Sync {
    /// Notes that everything below `next` is done. Cheap, in memory; [`Commit::commit`] and a timer of the
    /// adapter's make it durable. Refused as unavailable where the assignment is over.
    fn store(&self, partition: Partition, generation: Generation, next: Offset) -> Result<(), PortError>;

    /// Makes every stored position durable.
    async fn commit(&self) -> Result<(), PortError>;
}

/// The next stage's topic.
#[async_trait]
pub trait Publish: Send + Sync {
    /// The topic.
    fn name(&self) -> &str;

    /// Resolves when the record is durable there. Waits while the topic has no room.
    async fn publish(&self, record: &Record) -> Result<(), PortError>;
}

/// The result store.
#[async_trait]
pub trait ResultStore: Send + Sync {
    /// What is stored for this URL.
    async fn settled(&self, id: &ImageId) -> Result<Option<Settled>, PortError>;

    /// The flag step: resolves when the row is durable. Idempotent; of two rows the one with the higher
    /// [`ResultRow::write_timestamp`] stays.
    async fn write(&self, row: &ResultRow) -> Result<(), PortError>;

    /// Notes that a job asked for a URL whose row another job wrote already.
    async fn join(&self, job: &str, id: &ImageId) -> Result<(), PortError>;
}
