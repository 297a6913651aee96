//! What facemill speaks about: URLs, the records that carry them from stage to stage, faces, and outcomes.
//!
//! Plain data and pure functions. Nothing here knows of Kafka, a database, HTTP or a model.

mod dead_letter;
mod detection;
mod facts;
mod hex;
mod image_id;
mod message;
mod outcome;
mod record;
mod result;
mod stage;
mod timestamp;
mod url;

pub use dead_letter::{DeadLetter, DeadLetterClass};
pub use detection::{Face, Point};
pub use facts::{Facts, Fetched, FrameFormat, Picture, Timings};
pub use hex::hex;
pub use image_id::ImageId;
pub use message::{MAX_JOB_BYTES, MAX_URL_RECORD_BYTES, Message};
pub use outcome::{Failure, Persistence, Reason, Status};
pub use record::{Headers, Record, RecordError};
pub use result::{Model, Pipeline, RANKS, ResultRow, Settled, Timestamps};
pub use stage::StageName;
pub use timestamp::Timestamp;
pub use url::{CanonicalUrl, MAX_URL_BYTES, UrlError};
