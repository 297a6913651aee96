//! A box that is found is where it is in the upright original, whatever way the picture took: stored in one of eight
//! orientations, made smaller by preprocess, enlarged by detect.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{io::Cursor, num::NonZero};

use facemill::{
    domain::{Face, Facts, FrameFormat, Message, Timestamp},
    stages::{
        Effect, Stage,
        detect::{Detect, DetectOptions, FaceModel, Level, ModelError, Outputs, Tensor},
        preprocess::{Preprocess, PreprocessOptions},
    },
};
use flate2::Crc;
use image::{ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;

/// Finds one face: the white rectangle on black. Light tells its place to a fraction of a pixel: a resized picture
/// has as much of it, around the same point.
struct WhiteRectangle;

impl FaceModel for WhiteRectangle {
    fn run<T>(&mut self, input: &Tensor, read: impl FnOnce(&Outputs<'_>) -> T) -> Result<T, ModelError> {
        let rows: Vec<&[f32]> = input.values().chunks(input.width()).take(input.height()).collect();
        let down: Vec<f32> = rows.iter().map(|row| row.iter().sum()).collect();
        let across: Vec<f32> = (0..input.width()).map(|x| rows.iter().filter_map(|row| row.get(x)).sum()).collect();
        let ((x, width), (y, height)) = (extent(&across), extent(&down));
        // Position 0 of the finest level: centre and logarithm of the size, in steps of 8 pixels.
        let boxes = [x / 8.0, y / 8.0, (width / 8.0).ln(), (height / 8.0).ln()];
        let level = Level { class: &[1.0], objectness: &[1.0], boxes: &boxes, landmarks: &[0.0; 10] };
        Ok(read(&[level, Level::default(), Level::default()]))
    }
}

/// Centre and length of a bar, of the light at each place along it.
fn extent(light: &[f32]) -> (f32, f32) {
    let all: f32 = light.iter().sum();
    let brightest = light.iter().copied().fold(0.0, f32::max);
    let weighted: f32 = light.iter().zip(0_u16..).map(|(light, place)| light * (f32::from(place) + 0.5)).sum();
    (weighted / all, all / brightest)
}

/// A rectangle: left, top, width, height.
type Rectangle = [u32; 4];

/// Where a rectangle of the stored picture is in the upright one (CIPA DC-008, tag 0x0112).
fn upright([x, y, w, h]: Rectangle, (width, height): (u32, u32), orientation: u8) -> Rectangle {
    let (right, bottom) = (width - x - w, height - y - h);
    match orientation {
        2 => [right, y, w, h],
        3 => [right, bottom, w, h],
        4 => [x, bottom, w, h],
        5 => [y, x, h, w],
        6 => [bottom, x, h, w],
        7 => [bottom, right, h, w],
        8 => [y, right, h, w],
        _ => [x, y, w, h],
    }
}

/// PNG with an eXIf chunk of that orientation behind its header.
fn png(picture: &RgbImage, orientation: u8) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    let block = [b"eXIfMM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[orientation, 0, 0, 0, 0, 0, 0]];
    let chunk = block.concat();
    let mut sum = Crc::new();
    sum.update(&chunk);
    let length = u32::try_from(chunk.len() - 4).unwrap().to_be_bytes();
    let file = file.into_inner();
    let (header, rest) = file.split_at(33);
    [header, &length, &chunk, &sum.sum().to_be_bytes(), rest].concat()
}

fn found(bytes: Vec<u8>, frame_size: u32, input_size: u32) -> Face {
    let preprocess = Preprocess::new(PreprocessOptions {
        working_size: frame_size,
        max_pixels: 40_000_000,
        max_side: 16_384,
        decode_bytes: 320 << 20,
        threads: NonZero::<usize>::MIN,
        frame_format: FrameFormat::Rgb8,
    });
    let options = DetectOptions { working_size: input_size, score_threshold: 0.5, nms_iou: 0.3, top_k: 10 };
    let detect = Detect::new(vec![WhiteRectangle], options).unwrap();
    let facts = Facts::submitted("http://a.example/", "job", Timestamp::from_micros(0));
    let message = Message { facts, body: bytes.into() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let faces = runtime.block_on(async {
        let Effect::HandOver(frame) = preprocess.unwrap().process(&message).await.unwrap() else { panic!() };
        let Effect::Detected(faces) = detect.process(&frame).await.unwrap() else { panic!() };
        faces
    });
    faces.into_iter().next().unwrap()
}

prop_compose! {
    /// A picture and a rectangle in it, a tenth of it from every edge at least, so that no light is lost there.
    fn picture()(width in 40_u32..700, height in 40_u32..700)(
        size in Just((width, height)),
        x in width / 10..width / 2, y in height / 10..height / 2,
        w in width / 4..width * 2 / 5, h in height / 4..height * 2 / 5,
    ) -> ((u32, u32), Rectangle) {
        (size, [x, y, w, h])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_box_is_where_it_is_in_the_upright_original_at_every_orientation_and_scale(
        (size, rectangle) in picture(), orientation in 1_u8..=8, frame_size in 60_u32..400, input_size in 60_u32..400,
    ) {
        let [x, y, w, h] = rectangle;
        let inside = |column: u32, row: u32| (x..x + w).contains(&column) && (y..y + h).contains(&row);
        let stored = RgbImage::from_fn(size.0, size.1, |column, row| Rgb([if inside(column, row) { 255 } else { 0 }; 3]));
        let face = found(png(&stored, orientation), frame_size, input_size);

        let expected = upright(rectangle, size, orientation).map(|length| length as f32);
        // A pixel of the original, or of the frame where that is the coarser of the two.
        let pixel = (size.0.max(size.1) as f32 / frame_size as f32).max(1.0);
        for (found, expected) in [face.x, face.y, face.width, face.height].into_iter().zip(expected) {
            prop_assert!((found - expected).abs() <= pixel, "{:?} is not {:?} within {}", face, expected, pixel);
        }
    }
}
