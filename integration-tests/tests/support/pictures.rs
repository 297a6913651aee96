//! Photographs for the server: the demo's, made smaller so that a test can have many of them.
#![allow(dead_code)] // each test target uses a part of it

use std::{fs, path::Path};

use integration_tests::{Options, WebServer, photos};
use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor, Subsamp};

/// The demo's photographs, full size.
pub fn demo_server() -> WebServer {
    WebServer::start(Options::new(photos().unwrap())).unwrap()
}

/// Photographs of `1/divisor` the demo's size: the same people, cropped in four ways.
pub fn write_small(folder: &Path, divisor: usize, quality: i32) {
    let solvay = fs::read(photos().unwrap().join("solvay_conference_1927.jpg")).unwrap();
    let mut decompressor = Decompressor::new().unwrap();
    let factor = ScalingFactor::new(1, divisor);
    decompressor.set_scaling_factor(factor).unwrap();
    let header = decompressor.read_header(&solvay).unwrap().scaled(factor);
    let (width, height, pitch) = (header.width, header.height, header.width * 3);
    let mut pixels = vec![0; pitch * height];
    let image = Image { pixels: pixels.as_mut_slice(), width, pitch, height, format: PixelFormat::RGB };
    decompressor.decompress(&solvay, image).unwrap();
    for crop in 0..4 {
        let rows = crop * 8..height;
        let image =
            Image { pixels: &pixels[rows.start * pitch..], width, pitch, height: rows.len(), format: PixelFormat::RGB };
        let jpeg = turbojpeg::compress(image, quality, Subsamp::Sub2x2).unwrap();
        fs::write(folder.join(format!("{crop}.jpg")), &*jpeg).unwrap();
    }
}
