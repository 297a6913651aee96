//! PNG, WebP, GIF and BMP through the image crate: the first frame, as 8-bit RGB.

use std::{
    error::Error,
    io::{self, Cursor},
};

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, codecs::png::PngDecoder};

use super::webp;
use crate::domain::{Failure, Reason};

/// Room for what a file carries beside its pixels (profiles, texts), unpacked.
const METADATA_BYTES: u64 = 16 << 20;

/// A decoded picture.
pub(super) struct Decoded {
    /// RGB rows without padding.
    pub(super) pixels: Vec<u8>,
    /// Size as stored.
    pub(super) size: (u32, u32),
    /// The TIFF part of the file's EXIF block.
    pub(super) exif: Option<Vec<u8>>,
}

/// Decodes the first frame. Alpha is laid over white, which is what pages show behind a picture.
///
/// `size` and `memory`, what all pixels need, follow from the header; a decoder that wants more is stopped.
///
/// # Errors
/// [`Reason::CorruptImage`]: these formats are decoded whole or not at all.
pub(super) fn rgb8(bytes: &[u8], format: ImageFormat, size: (u32, u32), memory: u64) -> Result<Decoded, Failure> {
    let (source, mut limits) = (Cursor::new(bytes), Limits::no_limits());
    (limits.max_image_width, limits.max_image_height) = (Some(size.0), Some(size.1));
    if format == ImageFormat::Png {
        // Its decoder counts what is unpacked beside the pixels: the room for pixels is none for a profile.
        limits.max_alloc = Some(METADATA_BYTES);
        let mut decoder = PngDecoder::with_limits(source, limits).map_err(failure)?;
        let exif = decoder.exif_metadata().ok().flatten();
        return decoded(decoder, exif);
    }
    limits.max_alloc = Some(memory.saturating_add(METADATA_BYTES));
    let mut reader = ImageReader::with_format(source, format);
    reader.limits(limits);
    // The decoder of WebP would ask for as much memory as an EXIF chunk says it has; the other formats have none.
    let exif = if format == ImageFormat::WebP { webp::exif(bytes).map(<[u8]>::to_vec) } else { None };
    decoded(reader.into_decoder().map_err(failure)?, exif)
}

fn decoded(decoder: impl ImageDecoder, exif: Option<Vec<u8>>) -> Result<Decoded, Failure> {
    let size = decoder.dimensions();
    let picture = DynamicImage::from_decoder(decoder).map_err(failure)?;
    let pixels = if picture.color().has_alpha() {
        over_white(picture.into_rgba8().as_raw())
    } else {
        picture.into_rgb8().into_raw()
    };
    Ok(Decoded { pixels, size, exif })
}

fn over_white(rgba: &[u8]) -> Vec<u8> {
    let blend = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u32::from(colour), u32::from(alpha));
        u8::try_from((colour * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
    };
    let (rgba, _) = rgba.as_chunks::<4>();
    let rgb: Vec<[u8; 3]> = rgba.iter().map(|&[r, g, b, a]| [blend(r, a), blend(g, a), blend(b, a)]).collect();
    rgb.into_flattened()
}

/// Turns an error of the decoder into the picture's outcome. A lack of memory is no fault of the picture.
fn failure(error: ImageError) -> Failure {
    let reason = match &error {
        ImageError::Unsupported(_) => Reason::UnsupportedFormat,
        _ if is_lack_of_memory(&error) => Reason::InternalError,
        _ => Reason::CorruptImage,
    };
    Failure::new(reason, error.to_string())
}

/// Looks for what the decoders call a lack of memory: the system's error, or words. Their own limits are another error.
fn is_lack_of_memory(error: &(dyn Error + 'static)) -> bool {
    let is_one = match error.downcast_ref::<io::Error>() {
        Some(error) => error.kind() == io::ErrorKind::OutOfMemory,
        None => error.to_string().eq_ignore_ascii_case("out of memory"),
    };
    is_one || error.source().is_some_and(is_lack_of_memory)
}

#[cfg(test)]
mod tests {
    use image::error::{DecodingError, ImageFormatHint, LimitError, LimitErrorKind};

    use super::*;

    #[test]
    fn a_lack_of_memory_is_no_fault_of_the_picture() {
        let decoding = |source: Box<dyn Error + Send + Sync>| {
            failure(ImageError::Decoding(DecodingError::new(ImageFormatHint::Unknown, source))).reason
        };
        let io = |kind| io::Error::from(kind);
        assert_eq!(failure(ImageError::IoError(io(io::ErrorKind::OutOfMemory))).reason, Reason::InternalError);
        assert_eq!(decoding(io(io::ErrorKind::OutOfMemory).into()), Reason::InternalError);
        assert_eq!(decoding("Out of memory".into()), Reason::InternalError);
        assert_eq!(failure(ImageError::IoError(io(io::ErrorKind::UnexpectedEof))).reason, Reason::CorruptImage);
        assert_eq!(decoding("invalid code".into()), Reason::CorruptImage);
        let limit = LimitError::from_kind(LimitErrorKind::InsufficientMemory);
        assert_eq!(failure(ImageError::Limits(limit)).reason, Reason::CorruptImage, "a limit of ours");
    }
}
