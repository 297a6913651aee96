//! detect: the faces in a picture, in pixels of the original.
//!
//! Enlarge what is small, pad, run the model, decode, drop duplicates, map back.

mod nms;
mod tensor;
mod yunet;

use bytes::Bytes;

pub use self::{
    tensor::Tensor,
    yunet::{Level, Outputs, SIDE_STEP, STRIDES, decode},
};
use super::{
    Effect, Stage,
    resize::{MAX_IDLE_BYTES, Resize, rgb8_len, with_longest_side},
    workers::{Workers, internal},
};
use crate::domain::{Face, Failure, FrameFormat, Message, Picture, StageName};

/// A frame is enlarged at most this much: beyond it only time grows.
const MAX_ENLARGEMENT: u32 = 2;

/// A loaded model that one thread uses.
pub trait FaceModel: Send + 'static {
    /// Runs the model and hands its outputs to `read`.
    ///
    /// # Errors
    /// When the runtime fails, or answers in another form than it should.
    fn run<T>(&mut self, input: &Tensor, read: impl FnOnce(&Outputs<'_>) -> T) -> Result<T, ModelError>;
}

/// The model did not answer: a fault of ours or of the runtime's, never of the picture.
#[derive(Debug, thiserror::Error)]
#[error("the model failed: {0}")]
pub struct ModelError(pub String);

/// Which faces count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectOptions {
    /// Frames whose longest side is shorter, in pixels, are enlarged to it, at most twice.
    pub working_size: u32,
    /// The lowest score of a face, 0 to 1.
    pub score_threshold: f32,
    /// Boxes that overlap more than this (intersection over union) are one face.
    pub nms_iou: f32,
    /// How many candidates are looked at.
    pub top_k: usize,
}

/// For tests; what a user gets stands in `config/default.toml`.
#[cfg(test)]
impl Default for DetectOptions {
    fn default() -> Self {
        DetectOptions { working_size: 640, score_threshold: 0.6, nms_iou: 0.3, top_k: 5000 }
    }
}

/// The stage.
pub struct Detect<M> {
    options: DetectOptions,
    workers: Workers<Detector<M>>,
}

impl<M: FaceModel> Detect<M> {
    /// One thread for each session of the model.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn new(sessions: Vec<M>, options: DetectOptions) -> std::io::Result<Self> {
        let detectors = sessions.into_iter().map(Detector::new).collect();
        Ok(Detect { options, workers: Workers::new(Self::NAME.as_str(), detectors)? })
    }
}

impl<M: FaceModel> Stage for Detect<M> {
    const NAME: StageName = StageName::Detect;

    async fn process(&self, message: &Message) -> Result<Effect, Failure> {
        let picture = message.facts.picture.clone().ok_or_else(|| internal("a frame without facts of its picture"))?;
        let (frame, options) = (message.body.clone(), self.options);
        let faces = self.workers.run(move |detector| detector.frame(&frame, &picture, &options)).await?;
        Ok(Effect::Detected(faces))
    }
}

/// A session and the buffers around it.
pub struct Detector<M> {
    model: M,
    tensor: Tensor,
    resize: Resize,
    enlarged: Vec<u8>,
}

impl<M: FaceModel> Detector<M> {
    /// A detector around one session.
    pub fn new(model: M) -> Self {
        Detector { model, tensor: Tensor::default(), resize: Resize::default(), enlarged: Vec::new() }
    }

    /// The faces in pixels of the original picture, best score first.
    ///
    /// # Errors
    /// [`crate::domain::Reason::InternalError`] where frame and facts differ, or the model fails.
    pub fn frame(&mut self, frame: &Bytes, picture: &Picture, options: &DetectOptions) -> Result<Vec<Face>, Failure> {
        let size = (picture.frame_width, picture.frame_height);
        let decoded;
        let pixels = match picture.frame_format {
            FrameFormat::Rgb8 => frame.as_ref(),
            FrameFormat::Jpeg => {
                decoded = decode_frame(frame, size)?;
                decoded.as_slice()
            }
        };
        if pixels.is_empty() || pixels.len() != rgb8_len(size) {
            return Err(internal(format!("a frame of {}×{} pixels with {} bytes", size.0, size.1, pixels.len())));
        }
        let faces = self.rgb8(pixels, size, options)?;
        let ratio = |whole: u32, part: u32| whole as f32 / part as f32;
        let (x, y) = (ratio(picture.width, size.0), ratio(picture.height, size.1));
        Ok(faces.iter().map(|face| face.scaled(x, y)).collect())
    }

    /// The faces of an RGB picture in its own pixels.
    fn rgb8(&mut self, pixels: &[u8], size: (u32, u32), options: &DetectOptions) -> Result<Vec<Face>, Failure> {
        let input = enlarged(size, options.working_size);
        if input == size {
            self.tensor.fill(pixels, size.0 as usize);
        } else {
            self.resize.rgb8(pixels, size, &mut self.enlarged, input)?;
            self.tensor.fill(&self.enlarged, input.0 as usize);
        }
        let width = self.tensor.width();
        let faces = self.model.run(&self.tensor, |outputs| decode(outputs, width, options.score_threshold));
        if size_of_val(self.tensor.values()) > MAX_IDLE_BYTES {
            self.tensor = Tensor::default();
        }
        let faces = nms::suppress(faces.map_err(internal)?, options.nms_iou, options.top_k);
        let (x, y) = (size.0 as f32 / input.0 as f32, size.1 as f32 / input.1 as f32);
        Ok(faces.iter().map(|face| face.scaled(x, y)).collect())
    }
}

fn decode_frame(frame: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, Failure> {
    let header = turbojpeg::read_header(frame).map_err(internal)?;
    if (header.width, header.height) != (width as usize, height as usize) {
        return Err(internal(format!("a frame of {}×{} for {width}×{height}", header.width, header.height)));
    }
    Ok(turbojpeg::decompress(frame, turbojpeg::PixelFormat::RGB).map_err(internal)?.pixels)
}

/// The size at which the longest side is `working_size`, or twice the picture's if that is less; never
/// smaller than the picture.
fn enlarged(size: (u32, u32), working_size: u32) -> (u32, u32) {
    let side = size.0.max(size.1);
    let longest = working_size.min(side.saturating_mul(MAX_ENLARGEMENT));
    if side >= longest { size } else { with_longest_side(size, longest) }
}

#[cfg(test)]
mod tests;
