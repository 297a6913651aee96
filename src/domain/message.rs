//! Messages as records: which header carries what, there and back.

use std::str::FromStr;

use bytes::Bytes;
use serde::Deserialize;

use super::{Facts, Fetched, Headers, ImageId, Picture, Reason, Record, RecordError, Timestamp, Timings};

/// Longest value of a record of URLs, in bytes: room for the longest URL in JSON, far from a flood.
pub const MAX_URL_RECORD_BYTES: usize = 64 * 1024;

/// The longest W3C Trace Context that is passed on: later versions may be longer than the 55 bytes of today's.
const MAX_TRACEPARENT_BYTES: usize = 256;

/// The longest name that a job may have, in bytes: it is part of keys of the result store.
pub const MAX_JOB_BYTES: usize = 1024;

/// A payload and everything that is known of its URL so far: what a stage takes and what it hands on.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What earlier stages found out.
    pub facts: Facts,
    /// Nothing before fetch, the fetched bytes before preprocess, the model's input picture before detect.
    pub body: Bytes,
}

impl Facts {
    /// The record that submits this URL once more, after a failure for this reason: for `waits` waits in all, and not
    /// to be looked at before its time.
    pub fn resubmission(&self, waits: u32, not_before: Timestamp, reason: Reason) -> Record {
        let mut headers = Headers::default();
        headers.push(header::JOB, self.job.clone());
        headers.push(header::SUBMITTED_AT, self.submitted_at.as_micros().to_string());
        headers.push(header::ATTEMPTS, self.attempts.to_string());
        headers.push(header::WAITS, waits.to_string());
        headers.push(header::NOT_BEFORE, not_before.as_micros().to_string());
        headers.push(header::REASON, reason.as_str());
        if let Some(traceparent) = &self.traceparent {
            headers.push(header::TRACEPARENT, traceparent.clone());
        }
        if let Some(redo) = self.redo {
            headers.push(header::REDO, redo.as_str());
        }
        Record { key: Some(self.image_id), headers, value: Bytes::from(self.url.clone()) }
    }
}

impl Record {
    /// This submission, of a URL whose stored failure with this reason is to be worked on again.
    pub fn again(mut self, reason: Reason) -> Self {
        self.headers.push(header::REDO, reason.as_str());
        self
    }

    /// The W3C Trace Context that came with this record. What is none is passed over: it is no reason to refuse a URL.
    pub fn traceparent(&self) -> Option<String> {
        let text = Reader(&self.headers).text(header::TRACEPARENT).ok().flatten();
        text.filter(|text| text.len() <= MAX_TRACEPARENT_BYTES)
    }

    /// This record as a part of that trace.
    pub fn traced(mut self, traceparent: Option<String>) -> Self {
        if let Some(traceparent) = traceparent {
            self.headers.set(header::TRACEPARENT, traceparent);
        }
        self
    }

    /// The time before which this record is not to be looked at, if it names one.
    pub fn not_before(&self) -> Option<Timestamp> {
        Reader(&self.headers).timestamp(header::NOT_BEFORE).ok().flatten()
    }
}

/// The JSON form of a submission.
#[derive(Deserialize)]
struct JsonSubmission {
    url: String,
    job: Option<String>,
}

/// Header names. `schemas/` and the topics' documentation use the same.
mod header {
    pub(super) const URL: &str = "url";
    pub(super) const JOB: &str = "job";
    pub(super) const SUBMITTED_AT: &str = "submitted-at";
    pub(super) const TRACEPARENT: &str = "traceparent";
    pub(super) const ATTEMPTS: &str = "attempts";
    pub(super) const WAITS: &str = "waits";
    pub(super) const OUTRANKS: &str = "outranks";
    pub(super) const NOT_BEFORE: &str = "not-before";
    pub(super) const REASON: &str = "reason";
    pub(super) const REDO: &str = "redo";
    pub(super) const FETCHED_AT: &str = "fetched-at";
    pub(super) const HTTP_STATUS: &str = "http-status";
    pub(super) const CONTENT_TYPE: &str = "content-type";
    pub(super) const CONTENT_SHA256: &str = "content-sha256";
    pub(super) const WIDTH: &str = "width";
    pub(super) const HEIGHT: &str = "height";
    pub(super) const ORIENTATION: &str = "orientation";
    pub(super) const TRUNCATED: &str = "truncated";
    pub(super) const FRAME_WIDTH: &str = "frame-width";
    pub(super) const FRAME_HEIGHT: &str = "frame-height";
    pub(super) const FRAME_FORMAT: &str = "frame-format";
    pub(super) const FETCH_US: &str = "fetch-us";
    pub(super) const PREPROCESS_US: &str = "preprocess-us";
}

impl Message {
    /// Reads a record of the topic of URLs: a bare URL line, or JSON `{"url": …, "job": …}`.
    ///
    /// A text that is no URL is read too: what becomes of it is fetch's business.
    ///
    /// # Errors
    /// When the value is no text, too long, or malformed JSON.
    pub fn from_submission(record: &Record, default_job: &str, received_at: Timestamp) -> Result<Self, RecordError> {
        if record.value.len() > MAX_URL_RECORD_BYTES {
            return Err(RecordError::TooLong(record.value.len()));
        }
        let text = std::str::from_utf8(&record.value).map_err(|_| RecordError::NotUtf8)?.trim();
        let headers = Reader(&record.headers);
        let (url, job) = if text.starts_with('{') {
            let json: JsonSubmission =
                serde_json::from_str(text).map_err(|error| RecordError::Json(error.to_string()))?;
            (json.url, json.job)
        } else {
            (text.to_owned(), None)
        };
        let job = job.or(headers.text(header::JOB)?).unwrap_or_else(|| default_job.to_owned());
        let job = checked_job(job)?;
        let submitted_at = headers.timestamp(header::SUBMITTED_AT)?.unwrap_or(received_at);
        let mut facts = Facts::submitted(&url, job, submitted_at);
        facts.traceparent = record.traceparent();
        facts.attempts = headers.parse(header::ATTEMPTS, "a count")?.unwrap_or(1);
        facts.waits = headers.parse(header::WAITS, "a count")?.unwrap_or(0);
        facts.redo = headers.parse(header::REDO, "a reason of docs/outcomes.md")?;
        Ok(Message { facts, body: Bytes::new() })
    }

    /// A record of the topic of URLs for one line of text.
    pub fn submission(line: impl Into<Bytes>, job: &str, submitted_at: Timestamp) -> Record {
        let value: Bytes = line.into();
        let mut headers = Headers::default();
        headers.push(header::JOB, job.to_owned());
        headers.push(header::SUBMITTED_AT, submitted_at.as_micros().to_string());
        // The id of the canonical URL, so that two spellings of a URL share a partition.
        let key = match std::str::from_utf8(&value) {
            Ok(text) => Facts::submitted(text, "", submitted_at).image_id,
            Err(_) => ImageId::of(&value),
        };
        Record { key: Some(key), headers, value }
    }

    /// Reads a record that [`Message::encode`] wrote.
    ///
    /// # Errors
    /// When a header is missing or does not parse.
    pub fn decode(record: &Record) -> Result<Self, RecordError> {
        let headers = Reader(&record.headers);
        let url = headers.required(header::URL, headers.text(header::URL)?)?;
        let job = checked_job(headers.required(header::JOB, headers.text(header::JOB)?)?)?;
        let submitted_at = headers.required(header::SUBMITTED_AT, headers.timestamp(header::SUBMITTED_AT)?)?;
        let facts = Facts {
            traceparent: record.traceparent(),
            attempts: headers.parse(header::ATTEMPTS, "a count")?.unwrap_or(1),
            outranks: headers.parse(header::OUTRANKS, "a number")?,
            fetched: headers.fetched()?,
            picture: headers.picture()?,
            timings: Timings {
                fetch_us: headers.parse(header::FETCH_US, "microseconds")?,
                preprocess_us: headers.parse(header::PREPROCESS_US, "microseconds")?,
                detect_us: None,
            },
            ..Facts::submitted(&url, job, submitted_at)
        };
        Ok(Message { facts, body: record.value.clone() })
    }

    /// Writes the record that hands this message to the next stage.
    pub fn encode(self) -> Record {
        let Facts {
            url,
            image_id,
            job,
            submitted_at,
            traceparent,
            attempts,
            waits: _,
            outranks,
            redo: _,
            fetched,
            picture,
            timings,
        } = self.facts;
        let mut headers = Headers::default();
        headers.push(header::URL, url);
        headers.push(header::JOB, job);
        headers.push(header::SUBMITTED_AT, submitted_at.as_micros().to_string());
        headers.push(header::ATTEMPTS, attempts.to_string());
        let mut optional = |name, value: Option<String>| {
            if let Some(value) = value {
                headers.push(name, value);
            }
        };
        optional(header::TRACEPARENT, traceparent);
        optional(header::OUTRANKS, outranks.map(|timestamp| timestamp.to_string()));
        optional(header::FETCH_US, timings.fetch_us.map(|us| us.to_string()));
        optional(header::PREPROCESS_US, timings.preprocess_us.map(|us| us.to_string()));
        if let Some(fetched) = fetched {
            optional(header::CONTENT_TYPE, fetched.content_type);
            headers.push(header::FETCHED_AT, fetched.at.as_micros().to_string());
            headers.push(header::HTTP_STATUS, fetched.http_status.to_string());
            headers.push(header::CONTENT_SHA256, fetched.sha256);
        }
        if let Some(picture) = picture {
            headers.push(header::WIDTH, picture.width.to_string());
            headers.push(header::HEIGHT, picture.height.to_string());
            headers.push(header::ORIENTATION, picture.orientation.to_string());
            headers.push(header::TRUNCATED, picture.truncated.to_string());
            headers.push(header::FRAME_WIDTH, picture.frame_width.to_string());
            headers.push(header::FRAME_HEIGHT, picture.frame_height.to_string());
            headers.push(header::FRAME_FORMAT, picture.frame_format.to_string());
        }
        Record { key: Some(image_id), headers, value: self.body }
    }
}

/// Typed reading of headers.
struct Reader<'a>(&'a Headers);

impl Reader<'_> {
    fn text(&self, name: &'static str) -> Result<Option<String>, RecordError> {
        let text = self.0.get(name).map(|value| std::str::from_utf8(value).map(str::to_owned)).transpose();
        text.map_err(|_| RecordError::InvalidHeader { name, expected: "UTF-8 text" })
    }

    fn parse<T: FromStr>(&self, name: &'static str, expected: &'static str) -> Result<Option<T>, RecordError> {
        let parsed = self.text(name)?.map(|text| text.parse()).transpose();
        parsed.map_err(|_| RecordError::InvalidHeader { name, expected })
    }

    fn timestamp(&self, name: &'static str) -> Result<Option<Timestamp>, RecordError> {
        Ok(self.parse(name, "microseconds since 1970")?.map(Timestamp::from_micros))
    }

    fn required<T>(&self, name: &'static str, value: Option<T>) -> Result<T, RecordError> {
        value.ok_or(RecordError::MissingHeader(name))
    }

    fn number<T: FromStr>(&self, name: &'static str) -> Result<T, RecordError> {
        self.required(name, self.parse(name, "a number")?)
    }

    fn fetched(&self) -> Result<Option<Fetched>, RecordError> {
        let Some(at) = self.timestamp(header::FETCHED_AT)? else { return Ok(None) };
        Ok(Some(Fetched {
            at,
            http_status: self.number(header::HTTP_STATUS)?,
            content_type: self.text(header::CONTENT_TYPE)?,
            sha256: self.required(header::CONTENT_SHA256, self.text(header::CONTENT_SHA256)?)?,
        }))
    }

    fn picture(&self) -> Result<Option<Picture>, RecordError> {
        let Some(width) = self.parse(header::WIDTH, "a number")? else { return Ok(None) };
        Ok(Some(Picture {
            width,
            height: self.number(header::HEIGHT)?,
            orientation: self.number(header::ORIENTATION)?,
            truncated: self.required(header::TRUNCATED, self.parse(header::TRUNCATED, "true or false")?)?,
            frame_width: self.number(header::FRAME_WIDTH)?,
            frame_height: self.number(header::FRAME_HEIGHT)?,
            frame_format: self.required(header::FRAME_FORMAT, self.parse(header::FRAME_FORMAT, "rgb8 or jpeg")?)?,
        }))
    }
}

fn checked_job(job: String) -> Result<String, RecordError> {
    if job.len() > MAX_JOB_BYTES { Err(RecordError::LongJob(job.len())) } else { Ok(job) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::FrameFormat;

    fn url_record(value: &[u8]) -> Record {
        Record { key: None, headers: Headers::default(), value: Bytes::copy_from_slice(value) }
    }

    fn read(value: &[u8]) -> Result<Message, RecordError> {
        Message::from_submission(&url_record(value), "default", Timestamp::from_micros(7))
    }

    #[test]
    fn a_bare_line_and_json_mean_the_same_url() {
        let line = read(b"HTTP://a.example/x\r\n").unwrap();
        let json = read(br#"{"url": "http://a.example/x", "job": "default", "other": 1}"#).unwrap();
        assert_eq!(line, json);
        assert_eq!(line.facts.url, "http://a.example/x");
        assert_eq!(line.facts.submitted_at, Timestamp::from_micros(7));
    }

    #[test]
    fn a_line_that_is_no_url_is_read_and_keeps_its_text() {
        let message = read(b" no url ").unwrap();
        assert_eq!(message.facts.url, "no url");
        assert!(message.facts.canonical_url().is_err());
    }

    #[test]
    fn unusable_submissions_are_typed_errors() {
        assert_eq!(read(b"\xff\xfe"), Err(RecordError::NotUtf8));
        assert_eq!(read(&vec![b'a'; 2_000_000]), Err(RecordError::TooLong(2_000_000)));
        assert!(matches!(read(br#"{"url": 5}"#), Err(RecordError::Json(_))));
        assert!(matches!(read(br#"{"job": "x"}"#), Err(RecordError::Json(_))));
        let of_job =
            |bytes| read(format!(r#"{{"url": "http://a.example/", "job": "{}"}}"#, "j".repeat(bytes)).as_bytes());
        assert!(of_job(MAX_JOB_BYTES).is_ok());
        assert_eq!(of_job(MAX_JOB_BYTES + 1), Err(RecordError::LongJob(MAX_JOB_BYTES + 1)));
    }

    #[test]
    fn a_submission_carries_its_job_and_time_and_the_key_of_its_canonical_url() {
        let record = Message::submission("HTTP://a.example:80/x", "cats", Timestamp::from_micros(9));
        let message = Message::from_submission(&record, "default", Timestamp::from_micros(7)).unwrap();
        assert_eq!((message.facts.job.as_str(), message.facts.submitted_at.as_micros()), ("cats", 9));
        assert_eq!(record.key, Some(message.facts.image_id));
    }

    #[test]
    fn a_url_is_read_whatever_its_traceparent_is() {
        let long = "0".repeat(MAX_TRACEPARENT_BYTES + 1);
        for (sent, read) in [(b"00-ab".as_slice(), Some("00-ab")), (b"\xff", None), (long.as_bytes(), None)] {
            let mut record = url_record(b"http://a.example/");
            record.headers.push("traceparent", Bytes::copy_from_slice(sent));
            let message = Message::from_submission(&record, "default", Timestamp::now()).unwrap();
            assert_eq!(message.facts.traceparent.as_deref(), read);
        }
    }

    #[test]
    fn a_record_has_one_traceparent() {
        let mut record = url_record(b"");
        record.headers.push("job", "june");
        let record = record.traced(Some("a".to_owned())).traced(Some("b".to_owned())).traced(None);
        assert_eq!(record.traceparent().as_deref(), Some("b"));
        assert_eq!(record.headers.iter().count(), 2);
    }

    #[test]
    fn a_record_without_what_every_record_carries_says_which_header() {
        let missing = Message::decode(&url_record(b"")).unwrap_err();
        assert_eq!(missing, RecordError::MissingHeader("url"));
        let mut record =
            Message { facts: Facts::submitted("http://a.example/", "j", Timestamp::now()), body: Bytes::new() }
                .encode();
        record.headers.push("width", "wide");
        assert!(matches!(Message::decode(&record), Err(RecordError::InvalidHeader { name: "width", .. })));
        record.headers.push("width", "5");
        assert_eq!(Message::decode(&record), Err(RecordError::MissingHeader("height")));
    }

    prop_compose! {
        fn any_message()(
            url in "(https?://[a-z]{1,8}\\.example/[a-z?&=%]{0,20}|\\PC{0,30})",
            job in "\\PC{0,12}", submitted in 0..i64::MAX, traceparent in proptest::option::of("[0-9a-f-]{55}"),
            attempts: u32, fetched_at in 0..4_000_000_000_000_000i64, http_status: u16,
            content_type in proptest::option::of("[a-z/]{0,12}"), was_fetched: bool, was_decoded: bool,
            sizes: [u32; 4], orientation in 1..=8u8, truncated: bool, jpeg: bool,
            fetch_us: Option<u64>, preprocess_us: Option<u64>, body: Vec<u8>,
        ) -> Message {
            let facts = Facts {
                traceparent, attempts,
                fetched: was_fetched.then(|| Fetched {
                    at: Timestamp::from_micros(fetched_at), http_status, content_type, sha256: "00ff".repeat(16),
                }),
                picture: was_decoded.then_some(Picture {
                    width: sizes[0], height: sizes[1], frame_width: sizes[2], frame_height: sizes[3], orientation, truncated,
                    frame_format: if jpeg { FrameFormat::Jpeg } else { FrameFormat::Rgb8 },
                }),
                timings: Timings { fetch_us, preprocess_us, detect_us: None },
                ..Facts::submitted(&url, job, Timestamp::from_micros(submitted))
            };
            Message { facts, body: body.into() }
        }
    }

    proptest! {
        #[test]
        fn every_message_survives_its_record(message in any_message()) {
            prop_assert_eq!(Message::decode(&message.clone().encode()).unwrap(), message);
        }

        #[test]
        fn no_record_panics_a_reader(value: Vec<u8>, headers: Vec<(String, Vec<u8>)>) {
            let mut record = url_record(&value);
            for (name, value) in headers {
                record.headers.push(name, value);
            }
            let _ = Message::decode(&record);
            let _ = Message::from_submission(&record, "default", Timestamp::now());
        }
    }
}
