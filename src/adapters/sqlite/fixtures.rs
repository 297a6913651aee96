//! Rows for tests of the store and of what reads it.

use crate::domain::{
    Face, Facts, Failure, Fetched, FrameFormat, Model, Picture, Pipeline, Point, Reason, ResultRow, Timestamp,
};

pub(crate) fn model() -> Model {
    Model { name: "yunet".into(), sha256: "0".repeat(64) }
}

pub(crate) fn pipeline(epoch_us: i64) -> Pipeline {
    Pipeline { version: "0.1.0".into(), fingerprint: "f00d".into(), epoch: Timestamp::from_micros(epoch_us) }
}

pub(crate) fn face(x: f32) -> Face {
    Face { x, y: 2.5, width: 30.0, height: 40.0, score: 0.9, landmarks: [Point { x, y: 3.25 }; 5] }
}

/// The facts of URL number `n`, submitted at `n` seconds, with timings of `n` milliseconds.
fn facts(n: u64, job: &str) -> Facts {
    let submitted_at = Timestamp::from_micros(i64::try_from(n).unwrap() * 1_000_000);
    let mut facts = Facts::submitted(&format!("http://a.example/{n}.jpg"), job, submitted_at);
    facts.attempts = 1;
    facts.timings.fetch_us = Some(n * 1_000);
    facts
}

pub(crate) fn detected(n: u64, job: &str, faces: Vec<Face>) -> ResultRow {
    let mut facts = facts(n, job);
    facts.fetched = Some(Fetched {
        at: facts.submitted_at,
        http_status: 200,
        content_type: Some("image/jpeg".into()),
        sha256: "a".repeat(64),
    });
    facts.picture = Some(Picture {
        width: 640,
        height: 480,
        orientation: 1,
        truncated: false,
        frame_width: 640,
        frame_height: 480,
        frame_format: FrameFormat::Rgb8,
    });
    facts.timings.preprocess_us = Some(n * 100);
    facts.timings.detect_us = Some(n * 10);
    ResultRow::detected(facts, faces, &model(), &pipeline(0))
}

pub(crate) fn failed(n: u64, job: &str, reason: Reason) -> ResultRow {
    ResultRow::failed(facts(n, job), Failure::new(reason, "why"), &model(), &pipeline(0))
}
