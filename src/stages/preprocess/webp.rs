//! How large a WebP is, and its frame inside the container: RFC 9649 and, for lossy pictures, RFC 6386.

use std::iter;

use super::format::{Size, array, u16_le, u24_le, u32_le};

/// What a chunk carries: as far as the file goes.
type Chunk<'a> = ([u8; 4], &'a [u8]);

/// The first chunk says it: VP8X, VP8 or VP8L. Nothing where the frame in a container has another size than it
/// should: its decoder asks for the memory of that size first and compares later.
pub(super) fn size(bytes: &[u8]) -> Option<Size> {
    // RGB, and the RGBA it is made of, and the tables of its transforms.
    const LOSSLESS: u64 = 8;
    let (name, payload) = chunks(bytes.get(12..)?).next()?;
    match &name {
        b"VP8X" => extended(bytes, payload),
        b"VP8 " => {
            let (width, height) = lossy(payload)?;
            Some(Size::with_pixel_bytes(width, height, LOSSY).and_bytes(copies(bytes)))
        }
        b"VP8L" if payload.first() == Some(&0x2F) => {
            let bits = u32_le(payload, 1)?;
            Some(Size::with_pixel_bytes((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, LOSSLESS))
        }
        _ => None,
    }
}

/// The TIFF part of the EXIF chunk.
pub(super) fn exif(bytes: &[u8]) -> Option<&[u8]> {
    chunk(bytes, b"EXIF")
}

/// RGB, and the planes it is made of.
const LOSSY: u64 = 5;

/// The decoder of VP8 reads what it decodes into memory of its own, into buffers that grow.
fn copies(bytes: &[u8]) -> u64 {
    3 * bytes.len() as u64
}

/// VP8X, RFC 9649 section 2.7.
fn extended(bytes: &[u8], header: &[u8]) -> Option<Size> {
    const ALPHA: u8 = 0x10;
    const ANIMATION: u8 = 0x02;
    let flags = *header.first()?;
    let canvas = (u24_le(header, 4)? + 1, u24_le(header, 7)? + 1);
    // Three times RGBA (output, canvas, frame), and tables.
    let (frame, size, pixel_bytes) = if flags & ANIMATION != 0 {
        let frame = chunk(bytes, b"ANMF")?;
        let size = (u24_le(frame, 6)? + 1, u24_le(frame, 9)? + 1);
        let mut inside = chunks(frame.get(16..)?);
        let (name, payload) = inside.next()?;
        // Behind an alpha channel comes VP8, whatever the chunk is called.
        let vp8 = match &name {
            b"ALPH" => Some(inside.next()?.1),
            b"VP8 " => Some(payload),
            _ => None,
        };
        (vp8, size, 13)
    } else {
        // RGBA, the planes it is made of, and the alpha channel with the RGBA that it was made of; else at most what a
        // lossless picture needs.
        (chunk(bytes, b"VP8 "), canvas, if flags & ALPHA != 0 { 11 } else { 8 })
    };
    // The lossless decoder compares sizes by itself before it asks for memory.
    if frame.is_some_and(|frame| lossy(frame) != Some(size)) {
        return None;
    }
    Some(Size::with_pixel_bytes(canvas.0, canvas.1, pixel_bytes).and_bytes(copies(bytes)))
}

/// The size of a key frame, RFC 6386 section 9.1.
fn lossy(frame: &[u8]) -> Option<(u32, u32)> {
    let side = |at| Some(u32::from(u16_le(frame, at)? & 0x3FFF));
    (array(frame, 3)? == *b"\x9D\x01\x2A").then_some((side(6)?, side(8)?))
}

/// What the first chunk of that name carries: it is the one that counts.
fn chunk<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    chunks(bytes.get(12..)?).find(|(found, _)| found == name).map(|(_, payload)| payload)
}

/// One chunk after the other, RFC 9649 section 2.3.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    iter::from_fn(move || {
        let (name, length) = (array(bytes, 0)?, u32_le(bytes, 4)? as usize);
        let payload = bytes.get(8..)?;
        // Filled up to an even length.
        bytes = payload.get(length + length % 2..).unwrap_or_default();
        Some((name, payload.get(..length).unwrap_or(payload)))
    })
}
