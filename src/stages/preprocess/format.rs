//! What kind of picture some bytes are, and how large it says it is: from the first bytes alone, without
//! an allocation.

use image::ImageFormat;

use super::{gif, jpeg, webp};
use crate::{
    domain::{Failure, Reason},
    stages::magic::PictureFormat,
};

/// What the first bytes say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    /// Width as stored, before the EXIF orientation, in pixels.
    pub(super) width: u32,
    /// Height as stored, in pixels.
    pub(super) height: u32,
    /// Which decoder reads the rest.
    pub(super) coding: Coding,
}

/// Which decoder reads the bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Coding {
    /// libjpeg-turbo.
    Jpeg(jpeg::Header),
    /// The image crate.
    Raster {
        /// The format.
        format: ImageFormat,
        /// Most bytes that are held at once on the way to RGB.
        memory: u64,
    },
}

impl Header {
    /// Reads type and size.
    ///
    /// # Errors
    /// [`Reason::NotAnImage`], [`Reason::UnsupportedFormat`], or [`Reason::CorruptImage`] where the type
    /// is known and the header is not whole.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let format = match PictureFormat::of(bytes) {
            Some(PictureFormat::Jpeg) => {
                let header = jpeg::Header::read(bytes)?;
                return Ok(Header { width: header.width, height: header.height, coding: Coding::Jpeg(header) });
            }
            Some(PictureFormat::Png) => ImageFormat::Png,
            Some(PictureFormat::Gif) => ImageFormat::Gif,
            Some(PictureFormat::WebP) => ImageFormat::WebP,
            Some(PictureFormat::Bmp) => ImageFormat::Bmp,
            Some(PictureFormat::Undecodable(name)) => {
                return Err(Failure::new(Reason::UnsupportedFormat, format!("{name} is not decoded")));
            }
            None => return Err(Failure::new(Reason::NotAnImage, "no picture format starts with these bytes")),
        };
        let size = match format {
            ImageFormat::Png => png_size(bytes),
            ImageFormat::WebP => webp::size(bytes),
            ImageFormat::Gif => gif::size(bytes),
            _ => bmp_size(bytes),
        };
        let Size { width, height, memory } =
            size.ok_or_else(|| Failure::new(Reason::CorruptImage, "the header ends early or is damaged"))?;
        if width == 0 || height == 0 {
            return Err(Failure::new(Reason::CorruptImage, "the header declares no pixels"));
        }
        Ok(Header { width, height, coding: Coding::Raster { format, memory } })
    }
}

/// What a header says of its picture.
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Most bytes on the way to RGB: what the decoder writes, its buffers of whole pictures, and what
    /// [`super::raster`] makes of them.
    pub(super) memory: u64,
}

impl Size {
    pub(super) fn with_pixel_bytes(width: u32, height: u32, pixel_bytes: u64) -> Self {
        Size { width, height, memory: (u64::from(width) * u64::from(height)).saturating_mul(pixel_bytes) }
    }

    pub(super) fn and_bytes(self, more: u64) -> Self {
        Size { memory: self.memory.saturating_add(more), ..self }
    }
}

/// IHDR, PNG specification section 11.2.1.
fn png_size(bytes: &[u8]) -> Option<Size> {
    if bytes.get(12..16)? != b"IHDR" {
        return None;
    }
    let (depth, colour) = (*bytes.get(24)?, *bytes.get(25)?);
    let grey = matches!(colour, 0 | 4);
    let alpha = matches!(colour, 4 | 6) || png_has_transparency(bytes);
    let pixel_bytes = match (grey, alpha, depth == 16) {
        // RGB as it comes.
        (false, false, false) => 3,
        // The decoder's output, and RGB made of it.
        (true, false, false) => 1 + 3,
        (true, false, true) => 2 + 3,
        (false, false, true) => 6 + 3,
        // RGBA, and RGB made of that.
        (_, true, false) => 4 + 3,
        // The decoder's output, and RGBA made of it.
        (true, true, true) => 4 + 4,
        (false, true, true) => 8 + 4,
    };
    Some(Size::with_pixel_bytes(u32_be(bytes, 16)?, u32_be(bytes, 20)?, pixel_bytes))
}

/// Whether a tRNS chunk (PNG specification, section 11.3.1.1) comes before the pixels: it becomes an alpha channel.
fn png_has_transparency(bytes: &[u8]) -> bool {
    let mut at = 8;
    while let (Some(length), Some(kind)) = (u32_be(bytes, at), array::<4>(bytes, at + 4)) {
        match &kind {
            b"tRNS" => return true,
            b"IDAT" => return false,
            _ => at += 12 + length as usize,
        }
    }
    false
}

/// BITMAPCOREHEADER has 16-bit sizes, its successors 32-bit ones; a negative height means top row first. The decoder
/// writes RGB, or RGBA where a bitmap of 16 or 32 bits a pixel has alpha.
fn bmp_size(bytes: &[u8]) -> Option<Size> {
    match u32_le(bytes, 14)? {
        12 => Some(Size::with_pixel_bytes(u16_le(bytes, 18)?.into(), u16_le(bytes, 20)?.into(), 3)),
        _ => {
            let pixel_bytes = if matches!(u16_le(bytes, 28)?, 16 | 32) { 4 + 3 } else { 3 };
            let height = u32_le(bytes, 22)?.cast_signed().unsigned_abs();
            Some(Size::with_pixel_bytes(u32_le(bytes, 18)?, height, pixel_bytes))
        }
    }
}

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(super) fn u16_le(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u24_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
}

pub(super) fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn reason(bytes: &[u8]) -> Reason {
        Header::read(bytes).unwrap_err().reason
    }

    #[test]
    fn each_decoded_format_is_known_by_its_bytes_with_its_size() {
        let picture = image::RgbImage::from_pixel(37, 21, image::Rgb([9, 8, 7]));
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp] {
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).unwrap();
            let header = Header::read(bytes.get_ref()).unwrap();
            assert_eq!((header.width, header.height), (37, 21), "{format:?}");
            assert!(matches!(header.coding, Coding::Raster { format: found, .. } if found == format));
        }
    }

    #[test]
    fn webp_sizes_are_read_from_all_three_kinds_of_first_chunk() {
        let webp = |chunk: &[u8]| [b"RIFF\0\0\0\0WEBP", chunk].concat();
        let size = |chunk: &[u8]| Header::read(&webp(chunk)).map(|header| (header.width, header.height)).unwrap();
        assert_eq!(size(b"VP8X\x0A\0\0\0\0\0\0\0\x90\x01\0\x2B\x01\0"), (401, 300));
        assert_eq!(size(b"VP8 \x0A\0\0\0\0\0\0\x9D\x01\x2A\x90\x01\x2C\x41"), (400, 300));
        let bits: u32 = 399 | 299 << 14;
        assert_eq!(size(&[b"VP8L\x05\0\0\0\x2F".as_slice(), &bits.to_le_bytes()].concat()), (400, 300));
    }

    #[test]
    fn pictures_of_other_kinds_are_named() {
        for (bytes, name) in [
            (b"II*\0\x08\0\0\0".as_slice(), "TIFF"),
            (b"\0\0\0\x1CftypavifX\0\0\0avifmif1miaf", "AVIF"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
            (b"\xFF\x0Aabc", "JPEG XL"),
            (b"\0\0\0\x0CjP  \r\n\x87\n", "JPEG 2000"),
            (b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0", "ICO"),
        ] {
            let failure = Header::read(bytes).unwrap_err();
            assert_eq!(failure.reason, Reason::UnsupportedFormat);
            assert!(failure.detail.starts_with(name), "{failure}");
        }
    }

    #[test]
    fn what_is_no_picture_says_so() {
        for bytes in [b"".as_slice(), b"<!DOCTYPE html>", b"BMW is no bitmap at all", b"\0\0\0\x18ftypisom\0\0\0\0mp42"]
        {
            assert_eq!(reason(bytes), Reason::NotAnImage);
        }
    }

    #[test]
    fn a_known_magic_without_a_whole_header_is_corrupt() {
        for bytes in [b"\x89PNG\r\n\x1A\n\0\0".as_slice(), b"GIF89a\x01", b"RIFF\0\0\0\0WEBPVP8X", b"\xFF\xD8\xFF"] {
            assert_eq!(reason(bytes), Reason::CorruptImage);
        }
        assert_eq!(reason(b"GIF89a\0\0\x05\0"), Reason::CorruptImage, "no pixels");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(magic in 0_usize..6, tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let magics: [&[u8]; 6] = [b"\xFF\xD8\xFF", b"\x89PNG\r\n\x1A\n", b"RIFF\0\0\0\0WEBPVP8X", b"GIF89a", b"BM", b""];
            let _ = Header::read(&[magics[magic], &tail].concat());
        }
    }
}
