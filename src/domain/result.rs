use serde::{Deserialize, Serialize};

use super::{Face, Facts, Failure, Headers, ImageId, Reason, Record, Status, Timestamp, Timings};

/// Header of the event.
const WRITE_TIMESTAMP: &str = "write-timestamp";

/// Steps of the write timestamp from one base to the next: room for the rank of an outcome.
pub const RANKS: i64 = 10;

/// The terminal row of one URL; as JSON it is `schemas/result.schema.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// The canonical URL, or the text that was submitted in the place of one.
    pub url: String,
    /// The key.
    pub image_id: ImageId,
    /// The job that brought this result about.
    pub job: String,
    /// How it ended.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The failure in one line for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// One, and one more for every time that a stage tried again.
    pub attempts: u32,
    /// The last HTTP status, where a response came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// What the server called the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// SHA-256 of the fetched bytes, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_sha256: Option<String>,
    /// Width of the original picture, EXIF orientation applied, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height of the original picture, EXIF orientation applied, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// The EXIF orientation that was applied, 1 to 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orientation: Option<u8>,
    /// Whether the file ended early and only a part of the picture was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// The faces, best score first.
    pub faces: Vec<Face>,
    /// The detector.
    pub model: Model,
    /// The software and settings that made this row.
    pub pipeline: Pipeline,
    /// How long each stage took.
    pub timings: Timings,
    /// When what happened.
    pub timestamps: Timestamps,
    /// Timestamp of the stored row of another epoch or pipeline that this one is to replace.
    #[serde(skip)]
    pub outranks: Option<i64>,
}

/// A detector, by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The model file's name without folder and ending.
    pub name: String,
    /// SHA-256 of the model file, in hexadecimal.
    pub sha256: String,
}

/// The software and settings that make results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// facemill's version.
    pub version: String,
    /// Stands for the model and every setting that decides which faces are found in given bytes.
    pub fingerprint: String,
    /// The configured epoch: raising it does everything again.
    pub epoch: Timestamp,
}

/// When what happened to one URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamps {
    /// The URL came in.
    pub submitted_at: Timestamp,
    /// The last byte of the picture came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_at: Option<Timestamp>,
    /// The outcome was known.
    pub finished_at: Timestamp,
}

impl ResultRow {
    /// The row of a URL whose picture went through the detector.
    pub fn detected(facts: Facts, faces: Vec<Face>, model: &Model, pipeline: &Pipeline) -> Self {
        ResultRow { status: Status::Detected, faces, ..Self::of(facts, model, pipeline) }
    }

    /// The row of a URL that ended before that.
    pub fn failed(facts: Facts, failure: Failure, model: &Model, pipeline: &Pipeline) -> Self {
        let row = Self::of(facts, model, pipeline);
        ResultRow {
            reason: Some(failure.reason),
            detail: Some(failure.detail),
            http_status: failure.http_status.or(row.http_status),
            ..row
        }
    }

    fn of(facts: Facts, model: &Model, pipeline: &Pipeline) -> Self {
        let (fetched, picture) = (facts.fetched, facts.picture);
        ResultRow {
            url: facts.url,
            image_id: facts.image_id,
            job: facts.job,
            status: Status::Failed,
            reason: None,
            detail: None,
            attempts: facts.attempts,
            http_status: fetched.as_ref().map(|fetched| fetched.http_status),
            width: picture.as_ref().map(|picture| picture.width),
            height: picture.as_ref().map(|picture| picture.height),
            orientation: picture.as_ref().map(|picture| picture.orientation),
            truncated: picture.as_ref().map(|picture| picture.truncated),
            faces: Vec::new(),
            model: model.clone(),
            pipeline: pipeline.clone(),
            timings: facts.timings,
            outranks: facts.outranks,
            timestamps: Timestamps {
                submitted_at: facts.submitted_at,
                fetched_at: fetched.as_ref().map(|fetched| fetched.at),
                finished_at: Timestamp::now(),
            },
            content_sha256: fetched.as_ref().map(|fetched| fetched.sha256.clone()),
            content_type: fetched.and_then(|fetched| fetched.content_type),
        }
    }

    /// The row as a record of the topic of results, with its write timestamp: of several events with one key, the one
    /// with the highest is what the store has.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn event(&self) -> serde_json::Result<Record> {
        let mut headers = Headers::default();
        headers.push(WRITE_TIMESTAMP, self.write_timestamp().to_string());
        Ok(Record { key: Some(self.image_id), headers, value: serde_json::to_vec(self)?.into() })
    }

    /// The timestamp of the write, in microseconds: of two rows of one URL the higher one stays.
    ///
    /// The time of submission, or the pipeline's epoch if that is later, with the outcome's rank in the
    /// last digit. Attempts at one submission thus never turn a success into a failure, in whatever
    /// order and however late they are written. Work that replaces a row of another epoch or pipeline is
    /// above that row in any case.
    pub fn write_timestamp(&self) -> i64 {
        let rank = match self.reason {
            None => 2,
            Some(reason) if !reason.is_transient() => 1,
            Some(_) => 0,
        };
        let own = self.timestamps.submitted_at.max(self.pipeline.epoch).as_micros() / RANKS;
        let above = self.outranks.map_or(i64::MIN, |timestamp| timestamp / RANKS + 1);
        own.max(above) * RANKS + rank
    }
}

/// What a stage needs to know of a stored row to decide whether the work is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Why it failed; nothing for a detected row.
    pub reason: Option<Reason>,
    /// The epoch under which it was written.
    pub epoch: Timestamp,
    /// The fingerprint of the pipeline that wrote it.
    pub fingerprint: String,
    /// Its [`ResultRow::write_timestamp`].
    pub write_timestamp: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(submitted_us: i64, epoch_us: i64, reason: Option<Reason>) -> ResultRow {
        let facts = Facts::submitted("http://a.example/", "job", Timestamp::from_micros(submitted_us));
        let model = Model { name: "m".into(), sha256: "0".repeat(64) };
        let pipeline =
            Pipeline { version: "0".into(), fingerprint: "f".into(), epoch: Timestamp::from_micros(epoch_us) };
        match reason {
            None => ResultRow::detected(facts, vec![], &model, &pipeline),
            Some(reason) => ResultRow::failed(facts, Failure::new(reason, ""), &model, &pipeline),
        }
    }

    #[test]
    fn of_one_submission_success_outranks_permanent_outranks_transient() {
        let transient = row(1_000_009, 0, Some(Reason::TotalTimeout)).write_timestamp();
        let permanent = row(1_000_009, 0, Some(Reason::NotAnImage)).write_timestamp();
        let detected = row(1_000_009, 0, None).write_timestamp();
        assert!(transient < permanent && permanent < detected);
        assert_eq!(transient, 1_000_000, "the low digit is the rank's alone");
    }

    #[test]
    fn a_raised_epoch_outranks_every_older_row() {
        let old = row(1_000_000, 0, None).write_timestamp();
        assert!(row(1_000_000, 2_000_000, Some(Reason::TotalTimeout)).write_timestamp() > old);
    }

    #[test]
    fn work_of_another_pipeline_replaces_the_row_that_it_found_whatever_the_outcome() {
        let old = row(1_000_000, 0, None).write_timestamp();
        let mut new = row(1_000_000, 0, Some(Reason::TotalTimeout));
        assert!(new.write_timestamp() < old);
        new.outranks = Some(old);
        assert!(new.write_timestamp() > old);
        let late = row(2_000_000, 0, None);
        let later = ResultRow { outranks: Some(old), ..late.clone() };
        assert_eq!(later.write_timestamp(), late.write_timestamp(), "above it already");
    }

    #[test]
    fn json_round_trips() {
        for reason in [None, Some(Reason::RateLimited)] {
            let row = row(5, 0, reason);
            assert_eq!(serde_json::from_str::<ResultRow>(&serde_json::to_string(&row).unwrap()).unwrap(), row);
        }
    }
}
