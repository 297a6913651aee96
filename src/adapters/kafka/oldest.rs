use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use rdkafka::{
    Offset as NativeOffset, TopicPartitionList,
    consumer::Consumer,
    error::KafkaError as Native,
    message::{BorrowedMessage, Message},
    types::RDKafkaErrorCode,
};
use tokio_util::sync::CancellationToken;

use super::{error::KafkaError, headers::headers_of, native::Patience, record::appended_at, survey::Survey};
use crate::{
    domain::{Record, Timestamp},
    runner::ports::{Offset, Partition},
};

/// Records of which the mean size is that of the newest, more or less.
const SAMPLE: f64 = 1000.0;

/// The records at which groups stand, each read once.
#[derive(Debug, Default)]
pub struct Oldest {
    topics: BTreeMap<String, Known>,
}

/// What is known of the records of one topic.
#[derive(Debug, Default)]
struct Known {
    /// By partition, with the position that was asked for: of it and all up to the record, this is the oldest.
    records: BTreeMap<Partition, (Offset, OldestRecord)>,
    /// Of those that were read.
    bytes: f64,
    count: f64,
}

/// What the oldest record at or behind a position tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldestRecord {
    /// Where it is: behind the position, where compaction has removed the one that was there.
    pub offset: Offset,
    /// When it was made, or appended, as the topic is configured.
    pub appended_at: Option<Timestamp>,
    /// When it is due, if it says so.
    pub not_before: Option<Timestamp>,
    /// Its size before compression.
    bytes: u64,
}

impl OldestRecord {
    /// A record without a size.
    pub fn new(offset: Offset, appended_at: Option<Timestamp>, not_before: Option<Timestamp>) -> Self {
        OldestRecord { offset, appended_at, not_before, bytes: 0 }
    }

    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = headers_of(message);
        let named: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        OldestRecord {
            offset: message.offset(),
            appended_at: appended_at(message),
            bytes: (message.key_len() + message.payload_len() + named) as u64,
            not_before: Record { key: None, headers, value: Bytes::new() }.not_before(),
        }
    }
}

impl Oldest {
    /// The records at these positions, as far as they could be had within the time-out and before `stop`; why not, if
    /// some could not. One that was read before is not read again. Blocks.
    pub fn read(
        &mut self,
        survey: &Survey,
        topic: &str,
        positions: &BTreeMap<Partition, Offset>,
        timeout: Duration,
        stop: Option<&CancellationToken>,
    ) -> (BTreeMap<Partition, OldestRecord>, Option<KafkaError>) {
        let known = self.topics.entry(topic.to_owned()).or_default();
        let covers = |partition: &Partition, (asked, record): &(Offset, OldestRecord)| {
            positions.get(partition).is_some_and(|position| (*asked..=record.offset).contains(position))
        };
        known.records.retain(|partition, known| covers(partition, known));
        let mut wanted = positions.clone();
        wanted.retain(|partition, _| !known.records.contains_key(partition));
        let mut error = None;
        if !wanted.is_empty() {
            let (read, failed) = survey.read(topic, &wanted, Patience::of(timeout, stop));
            error = failed;
            for (partition, record) in read {
                known.count(record.bytes);
                let asked = wanted.get(&partition).copied().unwrap_or(record.offset);
                known.records.insert(partition, (asked, record));
            }
        }
        (known.records.iter().map(|(partition, (_, record))| (*partition, *record)).collect(), error)
    }

    /// The mean size of the records of a topic that were read, before compression and without what batches add.
    pub fn mean_bytes(&self, topic: &str) -> Option<f64> {
        self.topics.get(topic).filter(|known| known.count > 0.0).map(|known| known.bytes / known.count)
    }
}

impl Known {
    fn count(&mut self, bytes: u64) {
        if self.count >= SAMPLE {
            self.bytes /= 2.0;
            self.count /= 2.0;
        }
        self.bytes += bytes as f64;
        self.count += 1.0;
    }
}

impl Survey {
    /// The first record at or behind each of these positions; why not of all, if so. There is none where compaction has
    /// removed all to the end.
    fn read(
        &self,
        topic: &str,
        positions: &BTreeMap<Partition, Offset>,
        patience: Patience<'_>,
    ) -> (BTreeMap<Partition, OldestRecord>, Option<KafkaError>) {
        let mut found = BTreeMap::new();
        let read = self.assign(topic, positions).and_then(|()| {
            let mut missing: BTreeSet<Partition> = positions.keys().copied().collect();
            while !missing.is_empty() && !patience.is_over() {
                match self.consumer().poll(patience.slice()) {
                    Some(Ok(message)) if message.topic() == topic && missing.remove(&message.partition()) => {
                        found.insert(message.partition(), OldestRecord::of(&message));
                        // Nothing more of it. This drops what came with it, too.
                        self.consumer().pause(&one(topic, message.partition(), NativeOffset::Invalid)?)?;
                    }
                    Some(Err(Native::PartitionEOF(partition))) => drop(missing.remove(&partition)),
                    Some(Err(error)) if is_of_topic(&error) => return Err(error),
                    // What passes. What does not keeps the records from coming.
                    Some(Err(error)) => tracing::debug!(topic, %error, "reading the oldest records"),
                    Some(Ok(_)) | None => {}
                }
            }
            Ok(missing)
        });
        if let Err(error) = self.consumer().unassign() {
            tracing::debug!(topic, %error, "after reading the oldest records");
        }
        let what = format!("the oldest unsettled records of the topic '{topic}'");
        let error = match read {
            Ok(missing) if missing.is_empty() => None,
            Ok(missing) => Some(KafkaError::Unanswered { what, cause: format!("none came of {missing:?} in time") }),
            Err(error) if is_of_topic(&error) => {
                Some(KafkaError::Denied { topic: topic.to_owned(), cause: "it may be seen, not read".to_owned() })
            }
            Err(error) => Some(KafkaError::Unanswered { what, cause: error.to_string() }),
        };
        (found, error)
    }

    fn assign(&self, topic: &str, positions: &BTreeMap<Partition, Offset>) -> Result<(), Native> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, position) in positions {
            list.add_partition_offset(topic, *partition, NativeOffset::Offset(*position))?;
        }
        self.consumer().assign(&list)?;
        // librdkafka remembers a pause beyond the assignment.
        self.consumer().resume(&list)
    }
}

fn one(topic: &str, partition: Partition, offset: NativeOffset) -> Result<TopicPartitionList, Native> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset)?;
    Ok(list)
}

/// Whether the brokers do not let us read the topic. That they do not let us see a group says so elsewhere.
fn is_of_topic(error: &Native) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
}
