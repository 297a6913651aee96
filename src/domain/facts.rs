//! What is known of one URL on its way.

use std::{fmt::Display, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{CanonicalUrl, ImageId, Reason, StageName, Timestamp, UrlError};

/// What is known of one URL; each stage adds its part. Between stages it travels in the record's headers.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The canonical URL, or the text that was submitted in the place of one.
    pub url: String,
    /// The key.
    pub image_id: ImageId,
    /// The job under which it was submitted.
    pub job: String,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// W3C Trace Context, if the submitter sent one.
    pub traceparent: Option<String>,
    /// Tries so far: one, and one more for every time that a stage tried again.
    pub attempts: u32,
    /// Waits in a topic for a later try so far.
    pub waits: u32,
    /// Timestamp of the stored row of another epoch or pipeline that this work is to replace, if there is one.
    pub outranks: Option<i64>,
    /// Why a stored failure is to be worked on again, although trying again did not help before: somebody asked for it.
    pub redo: Option<Reason>,
    /// Set by fetch.
    pub fetched: Option<Fetched>,
    /// Set by preprocess.
    pub picture: Option<Picture>,
    /// How long each stage took.
    pub timings: Timings,
}

/// What fetch knows of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// When the last byte came.
    pub at: Timestamp,
    /// The status of the response that carried the bytes.
    pub http_status: u16,
    /// What the server called them; the magic bytes decide.
    pub content_type: Option<String>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
}

/// What preprocess knows of the picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Width of the original, EXIF orientation applied, in pixels.
    pub width: u32,
    /// Height of the original, EXIF orientation applied, in pixels.
    pub height: u32,
    /// The EXIF orientation that was applied, 1 to 8.
    pub orientation: u8,
    /// Whether the file ended early and only a part of the picture was decoded.
    pub truncated: bool,
    /// Width of the frame in the message's body.
    pub frame_width: u32,
    /// Height of the frame in the message's body.
    pub frame_height: u32,
    /// How the frame is written.
    pub frame_format: FrameFormat,
}

/// How a frame is written in a message's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameFormat {
    /// Rows of 8-bit red, green, blue without padding: free to read and write, for hand-over in memory.
    Rgb8,
    /// JPEG: a twentieth of the size, for hand-over through a topic.
    Jpeg,
}

/// How long each stage held the URL in its last attempt: from its turn in the runner until it was done, waiting inside
/// the stage for a connection, the host or a thread included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Microseconds in fetch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch_us: Option<u64>,
    /// Microseconds in preprocess.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocess_us: Option<u64>,
    /// Microseconds in detect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detect_us: Option<u64>,
}

impl Timings {
    /// Notes how long a stage took.
    pub fn set(&mut self, stage: StageName, took: Duration) {
        let micros = u64::try_from(took.as_micros()).ok();
        match stage {
            StageName::Fetch => self.fetch_us = micros,
            StageName::Preprocess => self.preprocess_us = micros,
            StageName::Detect => self.detect_us = micros,
        }
    }
}

impl Facts {
    /// The facts of a URL that was just submitted.
    pub fn submitted(text: &str, job: impl Into<String>, submitted_at: Timestamp) -> Self {
        let (url, image_id) = match CanonicalUrl::parse(text) {
            Ok(url) => (url.as_str().to_owned(), url.image_id()),
            Err(_) => (text.trim().to_owned(), ImageId::of(text.trim())),
        };
        Facts {
            url,
            image_id,
            job: job.into(),
            submitted_at,
            traceparent: None,
            attempts: 1,
            waits: 0,
            outranks: None,
            redo: None,
            fetched: None,
            picture: None,
            timings: Timings::default(),
        }
    }

    /// The URL, parsed.
    ///
    /// # Errors
    /// When the submitted text is none.
    pub fn canonical_url(&self) -> Result<CanonicalUrl, UrlError> {
        CanonicalUrl::parse(&self.url)
    }
}

impl Display for FrameFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FrameFormat::Rgb8 => "rgb8",
            FrameFormat::Jpeg => "jpeg",
        })
    }
}

impl FromStr for FrameFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [FrameFormat::Rgb8, FrameFormat::Jpeg].into_iter().find(|format| format.to_string() == text).ok_or(())
    }
}
