//! A record as a stranger may send it: lines "name: value" are headers, an empty line ends them, the rest is the value.
#![no_main]

use bytes::Bytes;
use facemill::domain::{Headers, Message, Reason, Record, Timestamp};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let record = record(bytes);
    let _ = record.not_before();
    if let Ok(message) = Message::decode(&record) {
        check_round_trip(&message);
    }
    let now = Timestamp::from_micros(7);
    if let Ok(message) = Message::from_submission(&record, "default", now) {
        check_resubmission(&message);
        check_round_trip(&message);
    }
    let submission = Message::submission(record.value, "job", now);
    if let Ok(message) = Message::from_submission(&submission, "default", Timestamp::from_micros(9))
        && message.facts.job == "job"
        && !submission.value.trim_ascii().starts_with(b"{")
    {
        assert_eq!(submission.key, Some(message.facts.image_id), "a record's key is the id of its URL");
        assert_eq!(message.facts.submitted_at, now);
    }
});

fn record(mut bytes: &[u8]) -> Record {
    let mut headers = Headers::default();
    while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        bytes = rest;
        if line.is_empty() {
            break;
        }
        let colon = line.windows(2).position(|pair| pair == b": ");
        let (name, value) = colon.map_or((line, b"".as_slice()), |at| (&line[..at], &line[at + 2..]));
        headers.push(String::from_utf8_lossy(name).into_owned(), Bytes::copy_from_slice(value));
    }
    Record { key: None, headers, value: Bytes::copy_from_slice(bytes) }
}

/// What one stage hands over is what the next one gets. Waits are no business of the stages behind fetch.
fn check_round_trip(message: &Message) {
    let mut expected = message.clone();
    expected.facts.waits = 0;
    let record = message.clone().encode();
    assert_eq!(record.key, Some(message.facts.image_id));
    assert_eq!(Message::decode(&record).as_ref(), Ok(&expected));
}

/// A URL that waits in a retry topic comes back as itself, with one attempt and the waits added.
fn check_resubmission(message: &Message) {
    let facts = &message.facts;
    if facts.canonical_url().is_err() {
        return;
    }
    let later = Timestamp::from_micros(11);
    let record = facts.resubmission(3, later, Reason::DnsFailed);
    assert_eq!(record.not_before(), Some(later));
    let again = Message::from_submission(&record, "default", later).expect("what was read once is read again").facts;
    assert_eq!((&again.url, again.image_id, &again.job), (&facts.url, facts.image_id, &facts.job));
    assert_eq!((again.submitted_at, &again.traceparent), (facts.submitted_at, &facts.traceparent));
    assert_eq!((again.attempts, again.waits), (facts.attempts.saturating_add(1), 3));
}
