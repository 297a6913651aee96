//! Pictures made to cost more than they may, many at once and one by one: what they cost this process.
//!
//! A test of its own, so that the peak of the process's memory is theirs.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{io::Write, num::NonZero, time::Duration};

use bytes::Bytes;
use facemill::{
    domain::{Facts, FrameFormat, Message, Reason, Timestamp},
    stages::{
        Stage,
        preprocess::{Preprocess, PreprocessOptions},
    },
};
use flate2::{Compression, Crc, write::ZlibEncoder};
use futures_util::future::join_all;
use rustix::time::{ClockId, clock_gettime};

/// Nearly the longest side that is allowed; image-webp has no more.
const WIDTH: u16 = 16_383;

/// With that width 40 megapixels, as many as are allowed.
const LARGEST: u16 = 2_441;

/// Enough to fill the memory of all decoders with a few pictures, and done sooner in a build without optimisation.
const LARGE: u16 = 305;

/// The most that a process with one decoder may take: its memory, the room beside it, and this test.
const ALONE: u64 = DECODE_BYTES + (40 << 20);

/// The memory of all decoders by default.
const DECODE_BYTES: u64 = 320 << 20;

/// The most that a picture may take; a build without optimisation is given three times as much.
const MOST: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 5 });

/// How a picture ends: decoded, or for a reason.
type Outcome = Result<(), Reason>;

fn png_chunk(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut sum = Crc::new();
    sum.update(name);
    sum.update(payload);
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [length.as_slice(), name, payload, &sum.sum().to_be_bytes()].concat()
}

/// This many noughts, packed.
fn noughts(count: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let block = [0; 1 << 16];
    let mut left = count;
    while left > 0 {
        let now = left.min(block.len());
        encoder.write_all(block.get(..now).unwrap()).unwrap();
        left -= now;
    }
    encoder.finish().unwrap()
}

/// With alpha; pixels and profile are packed.
fn png(height: u16, depth: u8, pixels: &[u8], profile: &[u8]) -> Vec<u8> {
    let size = [u32::from(WIDTH).to_be_bytes(), u32::from(height).to_be_bytes()].concat();
    let header = png_chunk(b"IHDR", &[size.as_slice(), &[depth, 6, 0, 0, 0]].concat());
    let profile = png_chunk(b"iCCP", &[b"large\0\0", profile].concat());
    let pixels = png_chunk(b"IDAT", pixels);
    [b"\x89PNG\r\n\x1A\n".as_slice(), &header, &profile, &pixels, &png_chunk(b"IEND", b"")].concat()
}

/// One dot on a screen, or a frame far larger than its screen.
fn gif(screen: [u16; 2], frame: [u16; 2]) -> Vec<u8> {
    let size = |size: [u16; 2]| size.map(u16::to_le_bytes).concat();
    let colours = b"\x80\0\0\0\0\0\xFF\xFF\xFF".as_slice();
    [b"GIF89a".as_slice(), &size(screen), colours, b",\0\0\0\0", &size(frame), b"\0\x07\x03\x80\0\x81\0;"].concat()
}

/// RFC 9649, section 2.3.
fn riff(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [name.as_slice(), &length, payload, &vec![0; payload.len() % 2]].concat()
}

/// Bits from the lowest up, as VP8L (RFC 9649, section 3) is written.
#[derive(Default)]
struct Bits(Vec<u8>, usize);

impl Bits {
    fn push(&mut self, value: u32, count: usize) {
        for bit in 0..count {
            if self.1.is_multiple_of(8) {
                self.0.push(0);
            }
            *self.0.last_mut().unwrap() |= u8::from(value >> bit & 1 == 1) << (self.1 % 8);
            self.1 += 1;
        }
    }

    /// Signature, size, opaque, version 0.
    fn lossless(width: u16, height: u16) -> Self {
        let mut bits = Bits::default();
        bits.push(0x2F, 8);
        bits.push(u32::from(width) - 1, 14);
        bits.push(u32::from(height) - 1, 14);
        bits.push(0, 4);
        bits
    }

    fn webp(self) -> Vec<u8> {
        riff(b"RIFF", &[b"WEBP".as_slice(), &riff(b"VP8L", &self.0)].concat())
    }
}

/// One colour, whose code has no bits: any size in 28 bytes.
fn webp(height: u16) -> Vec<u8> {
    let mut bits = Bits::lossless(WIDTH, height);
    // No transform, no cache, no groups of codes; five codes of one symbol.
    bits.push(0, 3);
    (0..5).for_each(|_| bits.push(1, 4));
    bits.webp()
}

/// A small picture, its frame inside as large as it can be written.
fn webp_in_a_container() -> Vec<u8> {
    let frame = riff(b"VP8 ", b"\0\0\0\x9D\x01\x2A\xFF\x3F\xFF\x3F");
    let container = riff(b"VP8X", b"\0\0\0\0\x0F\0\0\x0F\0\0");
    riff(b"RIFF", &[b"WEBP".as_slice(), &container, &frame].concat())
}

/// Run-length coded: it ends before the first pixel.
fn bmp(height: u16) -> Vec<u8> {
    let size = [u32::from(WIDTH).to_le_bytes(), u32::from(height).to_le_bytes()].concat();
    let file = b"BM\0\0\0\0\0\0\0\0\x36\x04\0\0\x28\0\0\0";
    [file.as_slice(), &size, b"\x01\0\x08\0\x01\0\0\0", &[0; 20 + 1024], &[0, 1]].concat()
}

/// Arithmetic-coded and progressive, of three components with all their coefficients; each scan has four bytes and
/// costs a pass over the picture.
fn jpeg(height: u16, scans: usize) -> Vec<u8> {
    let segment = |marker: u8, payload: &[u8]| {
        let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
        [&[0xFF, marker], length.as_slice(), payload].concat()
    };
    let scan = |payload: &[u8]| [segment(0xDA, payload), vec![0x55; 4]].concat();
    let size = [height.to_be_bytes(), WIDTH.to_be_bytes()].concat();
    let frame = [&[8], size.as_slice(), b"\x03\x01\x11\0\x02\x11\0\x03\x11\0"].concat();
    let first = scan(b"\x03\x01\0\x02\0\x03\0\0\0\0");
    let others = (0..scans).map(|n| scan(&[1, 1 + u8::try_from(n % 3).unwrap(), 0, 1, 63, 0])).collect::<Vec<_>>();
    let tables = segment(0xDB, &[&[0], [1; 64].as_slice()].concat());
    [b"\xFF\xD8".as_slice(), &tables, &segment(0xCA, &frame), &first, &others.concat(), b"\xFF\xD9"].concat()
}

fn pictures(height: u16, profile: &[u8]) -> [(&'static str, Bytes, Outcome); 10] {
    let transparent = noughts((1 + 4 * usize::from(WIDTH)) * usize::from(height));
    let (large, corrupt) = (Err(Reason::ImageTooLarge), Err(Reason::CorruptImage));
    [
        ("PNG of one colour", png(height, 8, &transparent, profile).into(), Ok(())),
        ("PNG of 16 bits with alpha", png(LARGEST, 16, b"", b"").into(), large),
        ("GIF with a large screen", gif([WIDTH, height / 2], [1, 1]).into(), Ok(())),
        ("GIF with a larger screen", gif([u16::MAX, u16::MAX], [1, 1]).into(), large),
        ("GIF with a large frame", gif([16, 16], [u16::MAX, u16::MAX]).into(), large),
        ("WebP of one colour", webp(height).into(), Ok(())),
        ("WebP with a frame larger than itself", webp_in_a_container().into(), corrupt),
        ("BMP of nothing", bmp(height).into(), Ok(())),
        ("JPEG of few scans", jpeg(height, 9).into(), Ok(())),
        ("JPEG of many scans", jpeg(height, 500).into(), corrupt),
    ]
}

fn stage(threads: usize) -> Preprocess {
    Preprocess::new(PreprocessOptions {
        working_size: 640,
        max_pixels: 40_000_000,
        max_side: 16_384,
        decode_bytes: DECODE_BYTES,
        threads: NonZero::new(threads).unwrap(),
        frame_format: FrameFormat::Rgb8,
    })
    .unwrap()
}

async fn outcome(stage: &Preprocess, body: &Bytes) -> Outcome {
    let facts = Facts::submitted("http://a.example/", "job", Timestamp::from_micros(0));
    stage.process(&Message { facts, body: body.clone() }).await.map(|_| ()).map_err(|failure| failure.reason)
}

/// Of all threads of this process.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// The most memory that this process has had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn sixty_four_hostile_pictures_at_once_cost_less_than_a_gibibyte_and_none_five_seconds() {
    // Fits beside the pixels into what all of them together may take, but not into what a profile may.
    let profile = noughts(260 << 20);
    let alone = stage(1);
    for (name, bytes, expected) in pictures(LARGEST, &profile) {
        let before = cpu_time();
        assert_eq!(outcome(&alone, &bytes).await, expected, "{name}");
        let took = cpu_time() - before;
        println!("{name}, {} bytes: {took:?}, {} MiB", bytes.len(), peak_memory() >> 20);
        assert!(took < MOST, "{name}: {took:?}");
        assert!(peak_memory() < ALONE, "{name}: {} MiB", peak_memory() >> 20);
    }
    drop(alone);
    let (together, pictures) = (stage(8), pictures(LARGE, &profile));
    let all = pictures.iter().cycle().take(64);
    let outcomes = join_all(all.map(async |(name, bytes, expected)| {
        assert_eq!(outcome(&together, bytes).await, *expected, "{name}");
    }));
    outcomes.await;
    println!("64 at once: {} MiB", peak_memory() >> 20);
    assert!(peak_memory() < 1 << 30, "{} MiB", peak_memory() >> 20);
}
