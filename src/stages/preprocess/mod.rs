//! preprocess: the fetched bytes become the model's input picture.
//!
//! Read the header, refuse what is too large, decode (scaled down already where JPEG allows it), resize,
//! turn upright: in this order each step has the fewest pixels to move. Colour profiles and gamma are left out on
//! purpose: they shift colours a little, which no face depends on, and cost time, memory and trust in one more parser.

mod checked;
mod decoder;
mod format;
mod gif;
mod jpeg;
mod orientation;
mod raster;
mod self_test;
mod webp;

use std::{num::NonZero, sync::Arc};

pub use checked::{Attempt, CheckedDecoder, Fault, confirmed};
pub use decoder::{Decode, DecodeResult, PictureDecoder};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::format::{Coding, Header};
use super::{
    Effect, Stage,
    resize::with_longest_side,
    workers::{Workers, internal},
};
use crate::domain::{Failure, FrameFormat, Message, Reason, StageName};

/// The unit in which decode memory is handed out, in bytes.
const MEMORY_UNIT: u64 = 64 << 10;

/// What preprocess may use, and what it makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreprocessOptions {
    /// Longest side of the frame, in pixels. Smaller pictures keep their size.
    pub working_size: u32,
    /// Most pixels that a picture may declare.
    pub max_pixels: u64,
    /// Longest side that a picture may declare, in pixels.
    pub max_side: u32,
    /// Memory of all decoders together, in bytes. A picture that needs more than all of it is refused.
    pub decode_bytes: u64,
    /// Pictures decoded at once, each on a thread of its own.
    pub threads: NonZero<usize>,
    /// How frames are written.
    pub frame_format: FrameFormat,
}

/// For tests; what a user gets stands in `config/default.toml`.
#[cfg(test)]
impl Default for PreprocessOptions {
    fn default() -> Self {
        PreprocessOptions {
            working_size: 640,
            max_pixels: 40_000_000,
            max_side: 16_384,
            decode_bytes: 320 << 20,
            threads: NonZero::<usize>::MIN,
            frame_format: FrameFormat::Rgb8,
        }
    }
}

/// The stage.
pub struct Preprocess {
    options: PreprocessOptions,
    memory: Arc<Semaphore>,
    workers: Workers<Box<dyn Decode>>,
}

/// Why the stage cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessError {
    /// libjpeg-turbo's part, or a process of its own.
    #[error("cannot set up a picture decoder: {0}")]
    Decoder(String),
    /// A decoder that does not work.
    #[error(
        "cannot set up a picture decoder: {0}; it is a fault of this machine or of facemill's own, please report it"
    )]
    Fault(#[from] Fault),
    /// No threads.
    #[error("cannot start the threads of preprocess: {0}")]
    Threads(#[from] std::io::Error),
}

impl Preprocess {
    /// The stage with a decoder for each thread, in this process.
    ///
    /// # Errors
    /// When there is no memory or no thread for that, or a decoder does not pass its self-test.
    pub fn new(options: PreprocessOptions) -> Result<Self, PreprocessError> {
        Self::with_decoders(options, |options| {
            let options = options.clone();
            Ok(Box::new(CheckedDecoder::new(move || PictureDecoder::new(options.clone()))?))
        })
    }

    /// The stage with the decoders that `build` makes, one for each thread.
    ///
    /// # Errors
    /// Those of `build`, or when there is no thread for a decoder.
    pub fn with_decoders(
        options: PreprocessOptions,
        mut build: impl FnMut(&PreprocessOptions) -> Result<Box<dyn Decode>, PreprocessError>,
    ) -> Result<Self, PreprocessError> {
        let decoders = (0..options.threads.get()).map(|_| build(&options)).collect::<Result<_, _>>()?;
        let memory_units = memory_units(options.decode_bytes);
        Ok(Preprocess {
            options,
            memory: Arc::new(Semaphore::new(memory_units as usize)),
            workers: Workers::new(Self::NAME.as_str(), decoders)?,
        })
    }

    /// Waits until the decoders' memory has room. A request for more than there is would wait for ever.
    ///
    /// # Errors
    /// [`Reason::ImageTooLarge`] for such a request.
    async fn reserve(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Failure> {
        let all = self.options.decode_bytes;
        if bytes > all {
            let detail = format!("decoding needs {bytes} bytes, preprocess.decode_budget_bytes is {all}");
            return Err(Failure::new(Reason::ImageTooLarge, detail));
        }
        Arc::clone(&self.memory).acquire_many_owned(memory_units(bytes)).await.map_err(internal)
    }
}

fn memory_units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(MEMORY_UNIT)).unwrap_or(u32::MAX).max(1)
}

impl Stage for Preprocess {
    const NAME: StageName = StageName::Preprocess;

    async fn process(&self, message: &Message) -> Result<Effect, Failure> {
        let header = Header::read(&message.body)?;
        check_limits(&header, &self.options)?;
        let memory = self.reserve(decode_bytes(&header, self.options.working_size)).await?;
        let body = message.body.clone();
        let (picture, frame) = self
            .workers
            .run(move |decoder| {
                let _until_decoded = memory;
                decoder.decode(&body)
            })
            .await?;
        let mut facts = message.facts.clone();
        facts.picture = Some(picture);
        Ok(Effect::HandOver(Box::new(Message { facts, body: frame.into() })))
    }
}

fn check_limits(header: &Header, options: &PreprocessOptions) -> Result<(), Failure> {
    let (width, height) = (header.width, header.height);
    let pixels = u64::from(width) * u64::from(height);
    if pixels <= options.max_pixels && width.max(height) <= options.max_side {
        return Ok(());
    }
    let limits = format!("{} pixels and {} a side are allowed", options.max_pixels, options.max_side);
    Err(Failure::new(Reason::ImageTooLarge, format!("{width}×{height}; {limits}")))
}

/// Most memory that decoding the picture in these bytes takes, in bytes, by its header; nothing if it has none.
pub fn decode_memory(bytes: &[u8], options: &PreprocessOptions) -> u64 {
    Header::read(bytes).map_or(0, |header| decode_bytes(&header, options.working_size))
}

/// Most bytes that a picture holds at once until its frame is made, buffers of our own included.
fn decode_bytes(header: &Header, working_size: u32) -> u64 {
    let size = (header.width, header.height);
    let (decoding, rows) = match &header.coding {
        Coding::Jpeg(jpeg) => {
            let scale = jpeg.scale_for(working_size);
            (jpeg.decode_bytes(scale), jpeg.scaled(scale).1)
        }
        Coding::Raster { memory, .. } => (*memory, size.1),
    };
    // Resizing makes the rows narrow first, then fewer.
    let (frame_width, frame_height) = fit(size, working_size);
    let resizing = 3 * u64::from(frame_width) * (u64::from(rows) + u64::from(frame_height));
    decoding.saturating_add(resizing)
}

/// The frame's size before it is turned upright: never larger than the picture.
fn fit(size: (u32, u32), longest: u32) -> (u32, u32) {
    if size.0.max(size.1) <= longest { size } else { with_longest_side(size, longest) }
}

#[cfg(test)]
mod tests;
