use std::borrow::Cow;

use bytes::Bytes;

use super::ImageId;

/// Named byte strings that travel beside a payload, as in a Kafka record. Names may repeat; the last one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Cow<'static, str>, Bytes)>);

impl Headers {
    /// Adds one header.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        self.0.push((name.into(), value.into()));
    }

    /// Adds one header in the place of all others of its name.
    pub fn set(&mut self, name: &'static str, value: impl Into<Bytes>) {
        self.0.retain(|(known, _)| known != name);
        self.push(name, value);
    }

    /// The header of that name that was added last.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }
}

/// One record of a topic: what a log (Kafka's or the in-memory one) stores and hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Decides the partition; facemill's own records always carry one.
    pub key: Option<ImageId>,
    /// The metadata.
    pub headers: Headers,
    /// The payload, raw.
    pub value: Bytes,
}

impl Record {
    /// Bytes that this record keeps in memory, near enough to bound a queue with.
    pub fn size(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + self.value.len() + 64
    }
}

/// Why a record cannot be read. Permanent: the bytes will not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The value of a record of URLs is no text.
    #[error("the record is not UTF-8 text")]
    NotUtf8,
    /// The value of a record of URLs is beyond any URL's size.
    #[error("the record has {0} bytes; a record of URLs has at most {limit}", limit = super::MAX_URL_RECORD_BYTES)]
    TooLong(usize),
    /// The value of a record of URLs looks like JSON, but is not `{"url": …, "job": …}`.
    #[error("the record is no JSON object with a text 'url' and optionally a text 'job': {0}")]
    Json(String),
    /// A name that would be too long a key in the result store.
    #[error("the job's name has {0} bytes; it may have at most {limit}", limit = super::MAX_JOB_BYTES)]
    LongJob(usize),
    /// A header that every record of this topic carries is not there.
    #[error("header '{0}' is missing")]
    MissingHeader(&'static str),
    /// A header is there but does not parse.
    #[error("header '{name}' is not {expected}")]
    InvalidHeader {
        /// The header.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}
