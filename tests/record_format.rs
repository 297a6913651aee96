//! Records of other versions: in an upgrade old and new stages work side by side, and a topic keeps records for days.
//! What stands here is what version 0.1.0 wrote. It is never changed; a new form is added below (docs/operations.md).
#![allow(clippy::unwrap_used)] // tests

use bytes::Bytes;
use facemill::domain::{Fetched, FrameFormat, Headers, Message, Picture, Reason, Record, Timestamp};

const SUBMITTED: &[(&str, &str)] = &[("url", "http://a.example/x.jpg"), ("job", "cats"), ("submitted-at", "1000")];

const FETCHED: &[(&str, &str)] = &[
    ("attempts", "2"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("fetch-us", "50"),
    ("content-type", "image/jpeg"),
    ("fetched-at", "2000"),
    ("http-status", "200"),
    ("content-sha256", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
];

const PREPROCESSED: &[(&str, &str)] = &[
    ("preprocess-us", "60"),
    ("width", "1200"),
    ("height", "800"),
    ("orientation", "6"),
    ("truncated", "true"),
    ("frame-width", "640"),
    ("frame-height", "427"),
    ("frame-format", "jpeg"),
];

fn record(parts: &[&[(&'static str, &'static str)]], value: &'static [u8]) -> Record {
    let mut headers = Headers::default();
    for (name, text) in parts.iter().flat_map(|part| *part) {
        headers.push(*name, *text);
    }
    Record { key: None, headers, value: Bytes::from_static(value) }
}

fn assert_is_the_frame_of_then(message: &Message) {
    let facts = &message.facts;
    assert_eq!((facts.url.as_str(), facts.job.as_str(), facts.attempts), ("http://a.example/x.jpg", "cats", 2));
    assert_eq!(facts.submitted_at, Timestamp::from_micros(1000));
    assert_eq!((facts.timings.fetch_us, facts.timings.preprocess_us), (Some(50), Some(60)));
    assert!(facts.traceparent.as_ref().unwrap().starts_with("00-0af7"));
    let fetched = Fetched {
        at: Timestamp::from_micros(2000),
        content_type: Some("image/jpeg".to_owned()),
        http_status: 200,
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
    };
    assert_eq!(facts.fetched, Some(fetched));
    let picture = Picture {
        width: 1200,
        height: 800,
        orientation: 6,
        truncated: true,
        frame_width: 640,
        frame_height: 427,
        frame_format: FrameFormat::Jpeg,
    };
    assert_eq!(facts.picture, Some(picture));
    assert_eq!(message.body, "frame");
}

#[test]
fn records_of_the_first_version_are_read_as_they_were_meant() {
    let frame = Message::decode(&record(&[SUBMITTED, FETCHED, PREPROCESSED], b"frame")).unwrap();
    assert_is_the_frame_of_then(&frame);
    let image = Message::decode(&record(&[SUBMITTED, FETCHED], b"image")).unwrap();
    assert!(image.facts.fetched.is_some() && image.facts.picture.is_none());
    // The least that a record may have.
    let bare = Message::decode(&record(&[SUBMITTED], b"")).unwrap();
    assert_eq!((bare.facts.attempts, bare.facts.traceparent), (1, None));
    let waits =
        [("attempts", "4"), ("waits", "1"), ("redo", "http_server_error"), ("not-before", "5"), ("reason", "x")];
    let later = record(&[&SUBMITTED[1..], &waits], b"http://a.example/x.jpg");
    let later = Message::from_submission(&later, "default", Timestamp::from_micros(7)).unwrap().facts;
    assert_eq!((later.attempts, later.waits, later.redo), (4, 1, Some(Reason::HttpServerError)));
    assert_eq!((later.job.as_str(), later.submitted_at), ("cats", Timestamp::from_micros(1000)));
}

#[test]
fn what_a_newer_version_adds_is_passed_over() {
    let newer = &[("of-the-future", "1"), ("format", "9")];
    let frame = Message::decode(&record(&[newer, SUBMITTED, FETCHED, PREPROCESSED, newer], b"frame")).unwrap();
    assert_is_the_frame_of_then(&frame);
    let submission = record(&[newer], br#"{"url": "http://a.example/x.jpg", "of-the-future": {"a": [1]}}"#);
    let submission = Message::from_submission(&submission, "default", Timestamp::from_micros(7)).unwrap();
    assert_eq!(submission.facts.url, "http://a.example/x.jpg");
}

/// An old reader must find all that it needs in what this version writes.
#[test]
fn this_version_writes_every_header_that_the_first_one_wrote() {
    let first = record(&[SUBMITTED, FETCHED, PREPROCESSED], b"frame");
    let written = Message::decode(&first).unwrap().encode();
    for (name, text) in [SUBMITTED, FETCHED, PREPROCESSED].concat() {
        assert_eq!(written.headers.get(name).map(Bytes::as_ref), Some(text.as_bytes()), "{name}");
    }
}
