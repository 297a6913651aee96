//! JPEG through libjpeg-turbo: scaled while decoding, to RGB from every colour space, as far as the file goes.

use std::ops::Range;

use turbojpeg::{Colorspace, Decompressor, Error, Image, PixelFormat, ScalingFactor};

use crate::{
    domain::{Failure, Reason},
    stages::{resize::rgb8_len, workers::internal},
};

/// More scans than any encoder writes (usual are 10), and pixels of all of them together: each scan costs a pass over
/// the whole picture, however few bytes it has.
const MAX_SCANS: u64 = 100;
const MAX_SCANNED_PIXELS: u64 = 800_000_000;

/// What the segments before the first scan say (ITU-T T.81, annex B).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    /// Width as stored, in pixels.
    pub(super) width: u32,
    /// Height as stored, in pixels.
    pub(super) height: u32,
    /// The TIFF part of the EXIF segment.
    pub(super) exif: Option<Range<usize>>,
    /// Whether an Adobe segment is there: such files hold CMYK inverted.
    adobe: bool,
    lossless: bool,
    components: u64,
    /// Bytes of coefficients that the decoder holds when the picture comes in several scans.
    coefficient_bytes: u64,
}

mod marker {
    pub(super) const DHT: u8 = 0xC4;
    pub(super) const JPG: u8 = 0xC8;
    pub(super) const DAC: u8 = 0xCC;
    pub(super) const SOI: u8 = 0xD8;
    pub(super) const EOI: u8 = 0xD9;
    pub(super) const SOS: u8 = 0xDA;
    pub(super) const DQT: u8 = 0xDB;
    pub(super) const DRI: u8 = 0xDD;
    pub(super) const APP1: u8 = 0xE1;
    pub(super) const APP14: u8 = 0xEE;

    /// A frame header, of whatever process.
    pub(super) fn is_sof(marker: u8) -> bool {
        matches!(marker, 0xC0..=0xCF) && !matches!(marker, DHT | JPG | DAC)
    }
}

/// One marker segment; both ranges are positions in the file.
struct Segment {
    marker: u8,
    /// Marker, length and payload.
    whole: Range<usize>,
    payload: Range<usize>,
}

/// The segments from the start of the file to the first SOS, skipping stray bytes between them.
struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            let start = self.at + rest.iter().position(|&byte| byte == 0xFF)?;
            let fill = self.bytes.get(start..)?.iter().position(|&byte| byte != 0xFF)?;
            let code = start + fill;
            self.at = code + 1;
            match *self.bytes.get(code)? {
                // A stuffed byte, TEM and restart markers stand alone.
                0x00 | 0x01 | 0xD0..=0xD7 => {}
                marker::SOI | marker::EOI => return None,
                marker => {
                    let length = *self.bytes.get(code + 1..)?.first_chunk::<2>()?;
                    let end = code + 1 + usize::from(u16::from_be_bytes(length));
                    // A length counts its own two bytes; a shorter one is damage.
                    if end < code + 3 || end > self.bytes.len() {
                        return None;
                    }
                    self.at = if marker == marker::SOS { self.bytes.len() } else { end };
                    return Some(Segment { marker, whole: code - 1..end, payload: code + 3..end });
                }
            }
        }
    }
}

fn segments(bytes: &[u8]) -> Segments<'_> {
    Segments { bytes, at: 2 }
}

fn corrupt(detail: impl Into<String>) -> Failure {
    Failure::new(Reason::CorruptImage, detail)
}

impl Header {
    /// Reads the segments up to the first scan.
    ///
    /// # Errors
    /// [`Reason::CorruptImage`] where there is no frame, no scan, or nothing after the scan's header;
    /// [`Reason::UnsupportedFormat`] where samples have more than 8 bits.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let (mut frame, mut exif, mut adobe) = (None, None, false);
        for segment in segments(bytes) {
            let payload = bytes.get(segment.payload.clone()).unwrap_or_default();
            match segment.marker {
                marker if marker::is_sof(marker) => frame = Some(Frame::parse(marker, payload)?),
                marker::APP1 if exif.is_none() && payload.starts_with(b"Exif\0\0") => {
                    exif = Some(segment.payload.start + 6..segment.payload.end);
                }
                marker::APP14 => adobe |= payload.starts_with(b"Adobe"),
                marker::SOS => {
                    let frame = frame.ok_or_else(|| corrupt("a scan without a frame header"))?;
                    if segment.whole.end == bytes.len() {
                        return Err(corrupt("the file ends before the first pixel"));
                    }
                    let in_scan = payload.first().copied().map_or(0, u64::from);
                    let several_scans = frame.progressive || in_scan < frame.components;
                    return Ok(Header {
                        width: frame.width,
                        height: frame.height,
                        exif,
                        adobe,
                        lossless: frame.lossless,
                        components: frame.components,
                        coefficient_bytes: if several_scans { frame.coefficient_bytes } else { 0 },
                    });
                }
                _ => {}
            }
        }
        Err(corrupt("the file ends before the first scan, or its segments are damaged"))
    }

    /// The strongest of the scales with SIMD at which the longest side is still at least `side`.
    pub(super) fn scale_for(&self, side: u32) -> ScalingFactor {
        let scales = [ScalingFactor::ONE_EIGHTH, ScalingFactor::ONE_QUARTER, ScalingFactor::ONE_HALF];
        let longest = self.width.max(self.height) as usize;
        let enough = |scale: &ScalingFactor| !self.lossless && scale.scale(longest) >= side as usize;
        scales.into_iter().find(enough).unwrap_or(ScalingFactor::ONE)
    }

    /// The picture's size at a scale.
    pub(super) fn scaled(&self, scale: ScalingFactor) -> (u32, u32) {
        let side = |side: u32| u32::try_from(scale.scale(side as usize)).unwrap_or(u32::MAX);
        (side(self.width), side(self.height))
    }

    fn max_scans(&self) -> u32 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        (MAX_SCANNED_PIXELS / pixels.max(1)).min(MAX_SCANS) as u32
    }

    /// Bytes that decoding at this scale holds at once.
    pub(super) fn decode_bytes(&self, scale: ScalingFactor) -> u64 {
        let rgb = rgb8_len(self.scaled(scale)) as u64;
        let cmyk = if self.components == 4 { rgb / 3 * 4 } else { 0 };
        rgb + cmyk + self.coefficient_bytes
    }
}

/// A frame header (T.81, B.2.2).
struct Frame {
    width: u32,
    height: u32,
    components: u64,
    progressive: bool,
    lossless: bool,
    coefficient_bytes: u64,
}

impl Frame {
    fn parse(marker: u8, payload: &[u8]) -> Result<Self, Failure> {
        let (&[precision, y1, y0, x1, x0, count], components) =
            payload.split_first_chunk().ok_or_else(|| corrupt("the frame header ends early"))?;
        if precision != 8 {
            return Err(Failure::new(
                Reason::UnsupportedFormat,
                format!("JPEG with {precision} bits a sample is not decoded"),
            ));
        }
        let (width, height) = (u16::from_be_bytes([x1, x0]), u16::from_be_bytes([y1, y0]));
        if width == 0 || height == 0 || count == 0 {
            return Err(corrupt("the header declares no pixels"));
        }
        let factors = |component: &[u8; 3]| (u64::from(component[1] >> 4), u64::from(component[1] & 15));
        let (components, _) = components.as_chunks::<3>();
        let sampled: u64 = components.iter().map(factors).map(|(across, down)| across * down).sum();
        let most_across = components.iter().map(factors).map(|(across, _)| across).max().unwrap_or(1).max(1);
        let most_down = components.iter().map(factors).map(|(_, down)| down).max().unwrap_or(1).max(1);
        let pixels = u64::from(width) * u64::from(height);
        Ok(Frame {
            width: width.into(),
            height: height.into(),
            components: count.into(),
            progressive: matches!(marker, 0xC2 | 0xC6 | 0xCA | 0xCE),
            lossless: matches!(marker, 0xC3 | 0xC7 | 0xCB | 0xCF),
            coefficient_bytes: 2 * pixels * sampled / (most_across * most_down),
        })
    }
}

/// Decodes to RGB at a scale, into a buffer of any size; says whether the file ended early.
///
/// Every byte of the picture is written or an error is returned: nothing of an earlier picture shows.
///
/// Each picture has a decompressor of its own. TurboJPEG leaves a handle in the middle of the header in which it found
/// an error, so that its next picture is read as the rest of that header; and a handle keeps the tables of one picture
/// for the next, which a picture without tables then takes. A new handle costs some microseconds.
///
/// # Errors
/// [`Reason::CorruptImage`] for a picture that does not decode, [`Reason::InternalError`] where memory runs out.
pub(super) fn rgb8(bytes: &[u8], header: &Header, scale: ScalingFactor, pixels: &mut Vec<u8>) -> Result<bool, Failure> {
    let mut turbo = decompressor(header, scale)?;
    let repaired;
    let (bytes, found) = match turbo.read_header(bytes) {
        // libjpeg-turbo's interface gives up on a header that libjpeg itself only warns of.
        Err(error) if Damage::of(&error).is_some() => {
            repaired = without_oddities(bytes);
            turbo = decompressor(header, scale)?;
            (repaired.as_slice(), turbo.read_header(&repaired))
        }
        found => (bytes, found),
    };
    let found = found.map_err(failure)?;
    if (found.width, found.height) != (header.width as usize, header.height as usize) {
        return Err(corrupt("two frame headers of different size"));
    }
    let size = header.scaled(scale);
    pixels.resize(rgb8_len(size), 0);
    match found.colorspace {
        Colorspace::CMYK | Colorspace::YCCK => {
            let mut inks = vec![0; rgb8_len(size) / 3 * 4];
            let truncated = decompress(turbo, bytes, size, PixelFormat::CMYK, &mut inks)?;
            cmyk_to_rgb(&inks, header.adobe, pixels);
            Ok(truncated)
        }
        _ => decompress(turbo, bytes, size, PixelFormat::RGB, pixels),
    }
}

/// Sets up a decompressor for one picture.
fn decompressor(header: &Header, scale: ScalingFactor) -> Result<Decompressor, Failure> {
    let mut turbo = Decompressor::new().map_err(internal)?;
    turbo.set_scaling_factor(scale).map_err(internal)?;
    turbo.set_scan_limit(header.max_scans()).map_err(internal)?;
    Ok(turbo)
}

/// Decodes what the decompressor is set up for; says whether the file ended early.
fn decompress(
    mut turbo: Decompressor,
    bytes: &[u8],
    (width, height): (u32, u32),
    format: PixelFormat,
    pixels: &mut [u8],
) -> Result<bool, Failure> {
    let (width, height) = (width as usize, height as usize);
    let target = Image { pixels, width, pitch: width * format.size(), height, format };
    match turbo.decompress(bytes, target) {
        Ok(()) => Ok(false),
        Err(error) => match Damage::of(&error) {
            Some(damage) => Ok(damage == Damage::Truncated),
            None => Err(failure(error)),
        },
    }
}

/// Turns an error of libjpeg into the picture's outcome. A lack of memory is no fault of the picture.
fn failure(error: Error) -> Failure {
    const NO_MEMORY: [&str; 2] = ["Insufficient memory", "Memory allocation failure"];
    match &error {
        Error::TurboJpegError(text) if NO_MEMORY.iter().any(|words| text.contains(words)) => internal(error),
        _ => corrupt(error.to_string()),
    }
}

/// What libjpeg warns of and goes on: the picture is there, a part of it may be grey or garbled.
#[derive(Debug, PartialEq)]
enum Damage {
    /// The data ended early.
    Truncated,
    /// Something else.
    Garbled,
}

impl Damage {
    /// The binding passes on only the text of the first warning, in the words of libjpeg's jerror.h; the
    /// texts of errors start otherwise.
    fn of(error: &Error) -> Option<Damage> {
        const WARNINGS: [&str; 6] = [
            "Corrupt JPEG data",
            "Inconsistent progression sequence",
            "Invalid SOS parameters",
            "Unknown Adobe color transform code",
            "Warning:",
            "Application transferred too many scanlines",
        ];
        let Error::TurboJpegError(text) = error else { return None };
        if text == "Premature end of JPEG file" || text == "Corrupt JPEG data: premature end of data segment" {
            return Some(Damage::Truncated);
        }
        WARNINGS.iter().any(|warning| text.starts_with(warning)).then_some(Damage::Garbled)
    }
}

/// The same picture with only those segments before the first scan that decoding needs.
fn without_oddities(bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(bytes.len());
    file.extend_from_slice(&[0xFF, marker::SOI]);
    for segment in segments(bytes) {
        let end = if segment.marker == marker::SOS { bytes.len() } else { segment.whole.end };
        let payload = bytes.get(segment.payload).unwrap_or_default();
        let needed = match segment.marker {
            marker::DQT | marker::DHT | marker::DAC | marker::DRI | marker::SOS => true,
            // Adobe's colour transform; codes above 2 mean nothing.
            marker::APP14 => payload.get(11).is_some_and(|&transform| transform <= 2),
            marker => marker::is_sof(marker),
        };
        if needed {
            file.extend_from_slice(bytes.get(segment.whole.start..end).unwrap_or_default());
        }
    }
    file
}

/// Ink to light without a colour profile. `inverted` (Adobe): 255 is no ink at all.
fn cmyk_to_rgb(inks: &[u8], inverted: bool, pixels: &mut [u8]) {
    let light = |ink: u8| u16::from(if inverted { ink } else { 255 - ink });
    let (inks, _) = inks.as_chunks::<4>();
    let (pixels, _) = pixels.as_chunks_mut::<3>();
    for (pixel, &[c, m, y, k]) in pixels.iter_mut().zip(inks) {
        *pixel = [c, m, y].map(|ink| u8::try_from(light(ink) * light(k) / 255).unwrap_or(u8::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_memory_is_no_fault_of_the_picture() {
        let reason = |text: &str| failure(Error::TurboJpegError(text.to_owned())).reason;
        assert_eq!(reason("Insufficient memory (case 4)"), Reason::InternalError);
        assert_eq!(reason("tj3Decompress8(): Memory allocation failure"), Reason::InternalError);
        assert_eq!(reason("Bogus marker length"), Reason::CorruptImage);
    }
}
