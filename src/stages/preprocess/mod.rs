//! preprocess: the fetched bytes become the model's input picture.
//!
//! Read the header, refuse what is too large, decode (scaled down already where JPEG allows it), resize,
//! turn upright: in this order each step has the fewest pixels to move. Colour profiles and gamma are left out on
//! purpose: they shift colours a little, which no face depends on, and cost time, memory and trust in one more parser.

mod format;
mod gif;
mod jpeg;
mod orientation;
mod raster;
mod webp;

use std::{num::NonZero, sync::Arc};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::{
    format::{Coding, Header},
    orientation::Orientation,
};
use super::{
    Effect, Stage,
    resize::{MAX_IDLE_BYTES, Resize, with_longest_side},
    workers::{Workers, internal},
};
use crate::domain::{Failure, FrameFormat, Message, Picture, Reason, StageName};

/// JPEG quality of frames: above it the detector sees no difference.
const FRAME_QUALITY: i32 = 90;

/// The unit in which decode memory is handed out, in bytes.
const MEMORY_UNIT: u64 = 64 << 10;

/// What preprocess may use, and what it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    options: Arc<PreprocessOptions>,
    memory: Arc<Semaphore>,
    workers: Workers<Worker>,
}

/// Why the stage cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessError {
    /// libjpeg-turbo's part.
    #[error("cannot set up the JPEG decoder: {0}")]
    Decoder(String),
    /// No threads.
    #[error("cannot start the threads of preprocess: {0}")]
    Threads(#[from] std::io::Error),
}

impl Preprocess {
    /// Sets up a decoder for each thread.
    ///
    /// # Errors
    /// When there is no memory or no thread for that.
    pub fn new(options: PreprocessOptions) -> Result<Self, PreprocessError> {
        let workers: Result<_, _> = (0..options.threads.get()).map(|_| Worker::new()).collect();
        let workers = workers.map_err(|error| PreprocessError::Decoder(error.to_string()))?;
        let memory_units = memory_units(options.decode_bytes);
        Ok(Preprocess {
            options: Arc::new(options),
            memory: Arc::new(Semaphore::new(memory_units as usize)),
            workers: Workers::new(Self::NAME.as_str(), workers)?,
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
        let (body, options) = (message.body.clone(), Arc::clone(&self.options));
        let (picture, frame) = self
            .workers
            .run(move |worker| {
                let _until_decoded = memory;
                worker.frame(&body, &header, &options)
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

/// What one thread uses again for the next picture.
struct Worker {
    jpeg: jpeg::Decoder,
    compressor: turbojpeg::Compressor,
    resize: Resize,
    /// A decoded picture that is resized next.
    decoded: Vec<u8>,
}

impl Worker {
    fn new() -> Result<Self, turbojpeg::Error> {
        let mut compressor = turbojpeg::Compressor::new()?;
        compressor.set_quality(FRAME_QUALITY)?;
        compressor.set_subsamp(turbojpeg::Subsamp::Sub2x2)?;
        Ok(Worker { jpeg: jpeg::Decoder::new()?, compressor, resize: Resize::default(), decoded: Vec::new() })
    }

    fn frame(
        &mut self,
        bytes: &Bytes,
        header: &Header,
        options: &PreprocessOptions,
    ) -> Result<(Picture, Vec<u8>), Failure> {
        let target = fit((header.width, header.height), options.working_size);
        let (pixels, orientation, truncated) = match &header.coding {
            Coding::Jpeg(jpeg) => {
                let (pixels, truncated) = self.jpeg(bytes, jpeg, target, options.working_size)?;
                let exif = jpeg.exif.clone().and_then(|range| bytes.get(range));
                (pixels, Orientation::from_exif(exif), truncated)
            }
            Coding::Raster { format, .. } => {
                let size = (header.width, header.height);
                let decoded = raster::rgb8(bytes, *format, size, decode_bytes(header, options.working_size))?;
                if decoded.size != size {
                    return Err(Failure::new(Reason::CorruptImage, "the header and the picture differ in size"));
                }
                let orientation = Orientation::from_exif(decoded.exif.as_deref());
                (self.resized(decoded.pixels, size, target)?, orientation, false)
            }
        };
        let pixels = orientation.apply(pixels, target.0);
        let (width, height) = orientation.turned((header.width, header.height));
        let (frame_width, frame_height) = orientation.turned(target);
        let frame = match options.frame_format {
            FrameFormat::Rgb8 => pixels,
            FrameFormat::Jpeg => self.compress(&pixels, frame_width as usize, frame_height as usize)?,
        };
        let picture = Picture {
            width,
            height,
            orientation: orientation.number(),
            truncated,
            frame_width,
            frame_height,
            frame_format: options.frame_format,
        };
        Ok((picture, frame))
    }

    /// Decodes at the scale next to the target and resizes the rest of the way, if there is any.
    fn jpeg(
        &mut self,
        bytes: &[u8],
        header: &jpeg::Header,
        target: (u32, u32),
        working_size: u32,
    ) -> Result<(Vec<u8>, bool), Failure> {
        let scale = header.scale_for(working_size);
        let size = header.scaled(scale);
        let mut frame = Vec::new();
        if size == target {
            let truncated = self.jpeg.rgb8(bytes, header, scale, &mut frame)?;
            return Ok((frame, truncated));
        }
        let truncated = self.jpeg.rgb8(bytes, header, scale, &mut self.decoded)?;
        self.resize.rgb8(&self.decoded, size, &mut frame, target)?;
        if self.decoded.capacity() > MAX_IDLE_BYTES {
            self.decoded = Vec::new();
        }
        Ok((frame, truncated))
    }

    fn resized(&mut self, pixels: Vec<u8>, size: (u32, u32), target: (u32, u32)) -> Result<Vec<u8>, Failure> {
        if size == target {
            return Ok(pixels);
        }
        let mut frame = Vec::new();
        self.resize.rgb8(&pixels, size, &mut frame, target)?;
        Ok(frame)
    }

    fn compress(&mut self, pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>, Failure> {
        let format = turbojpeg::PixelFormat::RGB;
        let picture = turbojpeg::Image { pixels, width, pitch: width * format.size(), height, format };
        self.compressor.compress_to_vec(picture).map_err(internal)
    }
}

#[cfg(test)]
mod tests;
