//! A known-answer test of a decoder: it decodes one small built-in image of each coding, and the frames are compared
//! with the colours of the images.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::decoder::Decode;
use crate::{domain::FrameFormat, stages::workers::panicked};

/// The colours of the four quarters of every built-in image, row by row: red, green, blue, grey.
const QUARTERS: [[u8; 3]; 4] = [[220, 20, 20], [20, 220, 20], [20, 20, 220], [128, 128, 128]];

/// Largest difference in a channel: frames may be JPEGs, which blur edges a little.
const TOLERANCE: u8 = 32;

/// The built-in images by their coding. No side is longer than the smallest `detect.working_size`, so none is resized.
const IMAGES: [(&str, &[u8]); 6] = [
    ("JPEG", JPEG),
    ("PNG", PNG),
    ("GIF", GIF),
    ("lossy WebP", WEBP_LOSSY),
    ("lossless WebP", WEBP_LOSSLESS),
    ("BMP", BMP),
];

/// Decodes the built-in images.
///
/// # Errors
/// The name of the first that does not decode to what it shows, and what was found instead.
pub(super) fn self_test(decoder: &mut impl Decode) -> Result<(), String> {
    IMAGES.into_iter().try_for_each(|(name, image)| {
        let tested = catch_unwind(AssertUnwindSafe(|| test(decoder, image)));
        let tested = tested.unwrap_or_else(|panic| Err(panicked(&*panic).to_string()));
        tested.map_err(|found| format!("the built-in {name}: {found}"))
    })
}

/// Compares the middles of the four quarters.
fn test(decoder: &mut impl Decode, image: &'static [u8]) -> Result<(), String> {
    let (picture, frame) = decoder.decode(&Bytes::from_static(image)).map_err(|failure| failure.to_string())?;
    let pixels = match picture.frame_format {
        FrameFormat::Rgb8 => frame,
        FrameFormat::Jpeg => {
            let frame = turbojpeg::decompress(&frame, turbojpeg::PixelFormat::RGB);
            frame.map_err(|error| format!("its frame: {error}"))?.pixels
        }
    };
    let (width, height) = (picture.frame_width as usize, picture.frame_height as usize);
    let (pixels, _) = pixels.as_chunks::<3>();
    let middles = [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(x, y)| pixels.get(height * y / 4 * width + width * x / 4));
    let is_near = |found: &[u8; 3], expected: &[u8; 3]| {
        found.iter().zip(expected).all(|(found, expected)| found.abs_diff(*expected) <= TOLERANCE)
    };
    let is_right = |(found, expected): (&Option<&[u8; 3]>, &_)| found.is_some_and(|found| is_near(found, expected));
    if pixels.len() == width * height && middles.iter().zip(&QUARTERS).all(is_right) {
        return Ok(());
    }
    Err(format!("{width}×{height}, {} pixels, the middles of its quarters are {middles:?}", pixels.len()))
}

/// Baseline JPEG, colours at half the resolution, Huffman tables of its own.
const JPEG: &[u8] = b"\
    \xFF\xD8\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xFF\xDB\0C\0\x06\x04\x05\x06\x05\x04\x06\x06\x05\x06\x07\
    \x07\x06\x08\x0A\x10\x0A\x0A\x09\x09\x0A\x14\x0E\x0F\x0C\x10\x17\x14\x18\x18\x17\x14\x16\x16\x1A\x1D%\x1F\x1A\
    \x1B#\x1C\x16\x16\x20,\x20#&')*)\x19\x1F-0-(0%()(\xFF\xDB\0C\x01\x07\x07\x07\x0A\x08\x0A\x13\x0A\x0A\x13(\x1A\
    \x16\x1A((((((((((((((((((((((((((((((((((((((((((((((((((\xFF\xC0\0\x11\x08\0\x14\0\x14\x03\x01\x22\0\x02\x11\
    \x01\x03\x11\x01\xFF\xC4\0\x18\0\x01\x01\x01\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\x07\x06\x04\x05\xFF\xC4\0'\x10\0\
    \x01\x02\x04\x02\x0B\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x03\x04\x06\x11\x82\xB2\x12\x13\x1556QRS\xA1\xA2\xD1\xFF\xC4\
    \0\x18\x01\0\x02\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\x06\x07\x03\x04\x05\xFF\xC4\0(\x11\0\x01\x03\x01\x06\x05\x05\0\0\
    \0\0\0\0\0\0\0\x01\0\x02\x04\x06\x03\x05\x11\x16!A\x222R\x91\xD14Qbr\xB1\xFF\xDA\0\x0C\x03\x01\0\x02\x11\x03\x11\
    \0?\0\x9F\x9B\x9Akr\xCBb\xCC\xA4\x87i\xCD\xF7\xBDS\xE1N\xA3f\x22\xC5\xA6\xE4\xDE\xF7]\xCB\xA7u\xB2u\xB8\x86\xFC\
    \xA2\xE7C\x8E--\x1E\xC2\x09\xC3B}\x8F\xC5iV\x97\xA5\x95G\x05\x91\x22\x02\xD75\xE1\xDCX\x01\x80\x0E\x1B\x13\xAE\
    \xA3e\xA3\x076\xB5\xFC\xFC\0[/\xC9\xEAos\xE1,r\xBC\xBE\xA6\xF7>\x14,\xAA\xD1<1%\x8F;\x80\x1E\xD5\x87\xA2g\xDC~9\
    \x18\xC7\xE6^\xE0\0\x5C+k\xFF\xD9";

const PNG: &[u8] = b"\
    \x89PNG\x0D\x0A\x1A\x0A\0\0\0\x0DIHDR\0\0\0\x14\0\0\0\x14\x08\x02\0\0\0\x02\xEB\x8AZ\0\0\0-IDATx\xDAc\xBC#\x22\
    \xC2\x80\x1BX\x9C\xC0#\xC9\xC0\xC4@\x01\x18\xD5<243\x8A\x88\xDC\xC1#\x9D\x93\xB3d4\xC0F5S\xA2\x19\0\x9F\x13\x04\
    \xAB\xE6\x05\xB6p\0\0\0\0IEND\xAEB`\x82";

const GIF: &[u8] = b"\
    GIF87a\x10\0\x10\0\x81\0\0\x14\xDC\x14\x80\x80\x80\xDC\x14\x14\x14\x14\xDC,\0\0\0\0\x10\0\x10\0@\x08F\0\x05\x08\
    \x1C(\x10\x80\xC1\x83\x06\x07(\x5C\xA80\x80\xC3\x87\x0E\x09\x12D\x88\x90!C\x88\x10%\x0E\xA4xPcA\x8E\0,.\xC4\xF8P\
    dC\x92\x01<\x0A\0\x09@%K\x97\x20ar49\0e\0\x9A6q\xA2\xD4I2\x20\0;";

const WEBP_LOSSY: &[u8] = b"\
    RIFF>\0\0\0WEBPVP8\x202\0\0\0\xB0\x01\0\x9D\x01*\x10\0\x10\0\x02\x80B%\xA0\x02t\xB7\0\x01\xD8\0\0\xFE\xEA\xFB\
    \xFF\xFB\xFF\xFE\x5C?\xFE\x81\x9D\xFB\x9B\xE5\xD7\xFAG\xBF\xFE\xCA\xC7\xFC\x9Cs\0\0";

const WEBP_LOSSLESS: &[u8] = b"\
    RIFFB\0\0\0WEBPVP8L5\0\0\0/\x0F\xC0\x03\0\x1F\x20\x10\x20&\xC4\x88\x12*QH@\x18\xE1\x7F2\xC6,\x81\0!K\x94d1\xF3\
    \x1F\xF8\x91\xA3\x02\xC2l\xA3INr\x92\xF7>\x83\x88\xFEG\xE9\x07\xDB\x07\0";

const BMP: &[u8] = b"\
    BM\xC6\0\0\0\0\0\0\0F\0\0\0(\0\0\0\x10\0\0\0\x10\0\0\0\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\
    \0\0\x14\x14\xDC\0\x14\xDC\x14\0\xDC\x14\x14\0\x80\x80\x80\0\x22\x22\x22\x223333\x22\x22\x22\x223333\x22\x22\x22\
    \x223333\x22\x22\x22\x223333\x22\x22\x22\x223333\x22\x22\x22\x223333\x22\x22\x22\x223333\x22\x22\x22\x223333\0\0\
    \0\0\x11\x11\x11\x11\0\0\0\0\x11\x11\x11\x11\0\0\0\0\x11\x11\x11\x11\0\0\0\0\x11\x11\x11\x11\0\0\0\0\x11\x11\x11\
    \x11\0\0\0\0\x11\x11\x11\x11\0\0\0\0\x11\x11\x11\x11\0\0\0\0\x11\x11\x11\x11";
