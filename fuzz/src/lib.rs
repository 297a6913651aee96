//! What the targets of pictures share: any bytes go through the stage as they would in production, and what comes out
//! is held to its promises.

use std::{num::NonZero, sync::LazyLock};

use bytes::Bytes;
use facemill::{
    domain::{Facts, FrameFormat, Message, Picture, Reason, Timestamp},
    stages::{
        Effect, Stage,
        preprocess::{Preprocess, PreprocessOptions},
    },
};
use tokio::runtime::{Builder, Runtime};

/// Far fewer pixels than in production, so that many pictures a second go through; a frame small enough that most
/// pictures are made smaller.
const OPTIONS: PreprocessOptions = PreprocessOptions {
    working_size: 32,
    max_pixels: 4_000_000,
    max_side: 16_384,
    decode_bytes: 64 << 20,
    threads: NonZero::<usize>::MIN,
    frame_format: FrameFormat::Rgb8,
};

static STAGE: LazyLock<Preprocess> = LazyLock::new(|| Preprocess::new(OPTIONS).expect("the stage starts"));
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime"));

/// What the stage knows of a picture, or why it has none.
///
/// # Panics
/// When the frame is not what the facts say, or the failure is not the picture's own.
pub fn preprocess(bytes: impl Into<Bytes>) -> Result<Picture, Reason> {
    let facts = Facts::submitted("http://a.example/", "fuzz", Timestamp::from_micros(0));
    let message = Message { facts, body: bytes.into() };
    let failure = match RUNTIME.block_on(STAGE.process(&message)) {
        Ok(Effect::HandOver(message)) => return Ok(checked(&message)),
        Ok(effect) => panic!("preprocess ended the pipeline: {effect:?}"),
        Err(failure) => failure,
    };
    let of_the_picture = [Reason::NotAnImage, Reason::UnsupportedFormat, Reason::CorruptImage, Reason::ImageTooLarge];
    assert!(of_the_picture.contains(&failure.reason), "{failure}");
    Err(failure.reason)
}

fn checked(message: &Message) -> Picture {
    let picture = message.facts.picture.clone().expect("a frame comes with its facts");
    let (width, height) = (u64::from(picture.width), u64::from(picture.height));
    let (frame_width, frame_height) = (u64::from(picture.frame_width), u64::from(picture.frame_height));
    assert_eq!(message.body.len() as u64, frame_width * frame_height * 3, "{picture:?}");
    assert!((1..=8).contains(&picture.orientation), "{picture:?}");
    assert!(width * height <= OPTIONS.max_pixels && width.max(height) <= OPTIONS.max_side.into(), "{picture:?}");
    assert!((1..=width).contains(&frame_width) && (1..=height).contains(&frame_height), "{picture:?}");
    assert!(frame_width.max(frame_height) <= OPTIONS.working_size.into(), "{picture:?}");
    picture
}
