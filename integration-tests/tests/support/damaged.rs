//! Damaged images: random damage from a seed, and JPEG headers that used to spoil the decoder for later images.
#![allow(dead_code)] // each test target uses a part of it

use std::{fs, io::Cursor, path::Path};

use fastrand::Rng;
use image::{DynamicImage, ImageFormat, RgbImage};

/// A JPEG whose first scan names a component that its frame does not have.
pub fn with_wrong_selector(jpeg: &[u8]) -> Vec<u8> {
    with_byte(jpeg, 0xDA, 5, 9)
}

/// JPEGs in which libjpeg finds an error while it reads their header, each another one, and one without tables.
pub fn with_broken_headers(jpeg: &[u8]) -> [Vec<u8>; 5] {
    // A frame of type 0xC7; numbers of tables that there are not.
    let [frame, quantisation, huffman] =
        [(0xC0, 1, 0xC7), (0xDB, 4, 15), (0xC4, 4, 7)].map(|(marker, at, value)| with_byte(jpeg, marker, at, value));
    [with_wrong_selector(jpeg), frame, quantisation, huffman, without_tables(jpeg)]
}

/// A JPEG without its quantisation tables. It is corrupt, unless a decoder takes those of the JPEG before.
pub fn without_tables(jpeg: &[u8]) -> Vec<u8> {
    let mut jpeg = jpeg.to_vec();
    while let Some(start) = jpeg.windows(2).position(|pair| pair == [0xFF, 0xDB]) {
        let length = usize::from(u16::from_be_bytes([jpeg[start + 2], jpeg[start + 3]]));
        jpeg.drain(start..start + 2 + length);
    }
    jpeg
}

/// Changes one byte, `offset` bytes behind the beginning of the first segment of this kind.
fn with_byte(jpeg: &[u8], marker: u8, offset: usize, value: u8) -> Vec<u8> {
    let mut jpeg = jpeg.to_vec();
    let start = jpeg.windows(2).position(|pair| pair == [0xFF, marker]).unwrap();
    jpeg[start + offset] = value;
    jpeg
}

/// An image of every format beside JPEG, each of 64×48 pixels.
pub fn other_formats() -> Vec<Vec<u8>> {
    let pixels = RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8 * 3, y as u8 * 5, (x ^ y) as u8]));
    let encoded = |format| {
        let mut file = Cursor::new(Vec::new());
        DynamicImage::from(pixels.clone()).write_to(&mut file, format).unwrap();
        file.into_inner()
    };
    [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp].map(encoded).into()
}

/// Cut off, or with a few bytes changed, most of them near the beginning.
pub fn mutant(image: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = image.to_vec();
    let header = bytes.len().min(700);
    match random.u8(..3) {
        0 => bytes.truncate(random.usize(1..image.len())),
        1 => (0..random.usize(1..4)).for_each(|_| bytes[random.usize(2..header)] = random.u8(..)),
        _ => (0..random.usize(1..9)).for_each(|_| bytes[random.usize(2..image.len())] = random.u8(..)),
    }
    bytes
}

/// Writes them as `PREFIX-N.jpg`, whatever they are, and returns their names.
pub fn write_all(folder: &Path, prefix: &str, images: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
    let write = |(number, image)| {
        let name = format!("{prefix}-{number}.jpg");
        fs::write(folder.join(&name), image).unwrap();
        name
    };
    images.into_iter().enumerate().map(write).collect()
}
