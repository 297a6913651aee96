use super::{Record, StageName, Timestamp};

/// Bytes of a value that a dead letter keeps; a topic of dead letters takes records of at least this size.
const MAX_VALUE_BYTES: usize = 8 << 20;

/// Why a record is set aside for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterClass {
    /// It cannot be read.
    InvalidRecord,
    /// A fault of facemill itself happened while it was worked on.
    InternalError,
}

impl DeadLetterClass {
    /// The name in the header.
    pub fn as_str(self) -> &'static str {
        match self {
            DeadLetterClass::InvalidRecord => "invalid_record",
            DeadLetterClass::InternalError => "internal_error",
        }
    }
}

/// Where a record lay and what was wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// The topic that it was read from.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its position there.
    pub offset: i64,
    /// The stage that gave up on it.
    pub stage: StageName,
    /// The kind of fault.
    pub class: DeadLetterClass,
    /// One line for a person.
    pub message: &'a str,
}

/// Header names of dead letters.
mod header {
    pub(super) const TOPIC: &str = "__dlq.errors.topic";
    pub(super) const PARTITION: &str = "__dlq.errors.partition";
    pub(super) const OFFSET: &str = "__dlq.errors.offset";
    pub(super) const MESSAGE: &str = "__dlq.errors.message";
    pub(super) const STAGE: &str = "__dlq.stage";
    pub(super) const CLASS: &str = "__dlq.class";
    pub(super) const AT: &str = "__dlq.at";
    pub(super) const TRUNCATED: &str = "__dlq.truncated";
}

impl DeadLetter<'_> {
    /// The record for the topic of dead letters: the original with its headers, and this beside them.
    ///
    /// A value of more than `limit` bytes, or of more than 8 MiB, is cut, and a header then has its whole size.
    pub fn record(&self, original: &Record, limit: usize) -> Record {
        let mut record = original.clone();
        let headers = &mut record.headers;
        headers.push(header::TOPIC, self.topic.to_owned());
        headers.push(header::PARTITION, self.partition.to_string());
        headers.push(header::OFFSET, self.offset.to_string());
        headers.push(header::MESSAGE, self.message.to_owned());
        headers.push(header::STAGE, self.stage.as_str());
        headers.push(header::CLASS, self.class.as_str());
        headers.push(header::AT, Timestamp::now().as_micros().to_string());
        let limit = limit.min(MAX_VALUE_BYTES);
        if record.value.len() > limit {
            headers.push(header::TRUNCATED, record.value.len().to_string());
            record.value.truncate(limit);
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Headers;

    #[test]
    fn a_dead_letter_keeps_bytes_and_headers_and_says_where_it_lay() {
        let mut headers = Headers::default();
        headers.push("job", "june");
        let original = Record { key: None, headers, value: vec![0xff; 100].into() };
        let letter = DeadLetter {
            topic: "facemill.urls",
            partition: 3,
            offset: 42,
            stage: StageName::Fetch,
            class: DeadLetterClass::InvalidRecord,
            message: "the record is not UTF-8 text",
        };
        let record = letter.record(&original, usize::MAX);
        assert_eq!((record.key, &record.value), (None, &original.value));
        for (name, value) in [
            ("job", "june"),
            ("__dlq.errors.topic", "facemill.urls"),
            ("__dlq.errors.partition", "3"),
            ("__dlq.errors.offset", "42"),
            ("__dlq.errors.message", "the record is not UTF-8 text"),
            ("__dlq.stage", "fetch"),
            ("__dlq.class", "invalid_record"),
        ] {
            assert_eq!(record.headers.get(name).unwrap(), value);
        }
        assert_eq!(record.headers.get("__dlq.truncated"), None);
        let cut = letter.record(&original, 10);
        assert_eq!(cut.value.len(), 10);
        assert_eq!(cut.headers.get("__dlq.truncated").unwrap(), "100");
    }
}
