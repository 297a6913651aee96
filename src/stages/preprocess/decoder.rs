use bytes::Bytes;

use super::{
    PreprocessError, PreprocessOptions, decode_bytes, fit,
    format::{Coding, Header},
    jpeg,
    orientation::Orientation,
    raster,
};
use crate::{
    domain::{Failure, FrameFormat, Picture, Reason},
    stages::{
        resize::{MAX_IDLE_BYTES, Resize},
        workers::internal,
    },
};

/// JPEG quality of frames: above it the detector sees no difference.
const FRAME_QUALITY: i32 = 90;

/// The frame of a picture and what is known of both, or the failure that is the picture's outcome.
pub type DecodeResult = Result<(Picture, Vec<u8>), Failure>;

/// Makes frames out of pictures, one at a time.
pub trait Decode: Send + 'static {
    /// The frame of the picture in these bytes, which have passed the limits on its size.
    ///
    /// # Errors
    /// The outcome of a picture that does not decode.
    fn decode(&mut self, bytes: &Bytes) -> DecodeResult;
}

/// Decodes on the thread that asks.
///
/// Each picture has a decoder of its own. What is used again are buffers, of which every byte is written anew, and the
/// compressor of frames, until it reports an error.
pub struct PictureDecoder {
    options: PreprocessOptions,
    /// None while it is in use, and after an error or a panic in it.
    compressor: Option<turbojpeg::Compressor>,
    resize: Resize,
    /// A decoded picture that is resized next.
    decoded: Vec<u8>,
}

impl Decode for PictureDecoder {
    fn decode(&mut self, bytes: &Bytes) -> DecodeResult {
        self.frame(bytes, &Header::read(bytes)?)
    }
}

impl PictureDecoder {
    /// Sets up what it uses.
    ///
    /// # Errors
    /// When there is no memory for that.
    pub fn new(options: PreprocessOptions) -> Result<Self, PreprocessError> {
        let compressor = match options.frame_format {
            FrameFormat::Rgb8 => None,
            FrameFormat::Jpeg => Some(compressor().map_err(|error| PreprocessError::Decoder(error.to_string()))?),
        };
        Ok(PictureDecoder { options, compressor, resize: Resize::default(), decoded: Vec::new() })
    }

    fn frame(&mut self, bytes: &Bytes, header: &Header) -> DecodeResult {
        let PreprocessOptions { working_size, frame_format, .. } = self.options;
        let target = fit((header.width, header.height), working_size);
        let (pixels, orientation, truncated) = match &header.coding {
            Coding::Jpeg(jpeg) => {
                let (pixels, truncated) = self.jpeg(bytes, jpeg, target, working_size)?;
                let exif = jpeg.exif.clone().and_then(|range| bytes.get(range));
                (pixels, Orientation::from_exif(exif), truncated)
            }
            Coding::Raster { format, .. } => {
                let size = (header.width, header.height);
                let decoded = raster::rgb8(bytes, *format, size, decode_bytes(header, working_size))?;
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
        let frame = match frame_format {
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
            frame_format,
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
            let truncated = jpeg::rgb8(bytes, header, scale, &mut frame)?;
            return Ok((frame, truncated));
        }
        let truncated = jpeg::rgb8(bytes, header, scale, &mut self.decoded)?;
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
        let mut compressor = self.compressor.take().map_or_else(compressor, Ok).map_err(internal)?;
        let format = turbojpeg::PixelFormat::RGB;
        let picture = turbojpeg::Image { pixels, width, pitch: width * format.size(), height, format };
        let frame = compressor.compress_to_vec(picture).map_err(internal)?;
        self.compressor = Some(compressor);
        Ok(frame)
    }
}

/// Sets up a compressor of frames.
fn compressor() -> Result<turbojpeg::Compressor, turbojpeg::Error> {
    let mut compressor = turbojpeg::Compressor::new()?;
    compressor.set_quality(FRAME_QUALITY)?;
    compressor.set_subsamp(turbojpeg::Subsamp::Sub2x2)?;
    Ok(compressor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressor_that_reported_an_error_is_not_used_again() {
        let options = PreprocessOptions { frame_format: FrameFormat::Jpeg, ..Default::default() };
        let mut decoder = PictureDecoder::new(options).unwrap();
        let pixels = [9; 3 * 64];
        let before = decoder.compress(&pixels, 8, 8).unwrap();
        assert!(decoder.compressor.is_some());
        assert_eq!(decoder.compress(&pixels, 0, 0).unwrap_err().reason, Reason::InternalError);
        assert!(decoder.compressor.is_none());
        assert_eq!(decoder.compress(&pixels, 8, 8).unwrap(), before);
    }
}
