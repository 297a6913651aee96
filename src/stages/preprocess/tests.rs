use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;
use turbojpeg::{Colorspace, Compressor, Image, PixelFormat, Subsamp};

use super::{orientation::tests::exif_block, *};
use crate::domain::{Facts, Picture, Timestamp};

fn message(body: impl Into<Bytes>) -> Message {
    Message { facts: Facts::submitted("http://a.example/", "job", Timestamp::now()), body: body.into() }
}

fn options(working_size: u32) -> PreprocessOptions {
    PreprocessOptions { working_size, threads: NonZero::new(2).unwrap(), ..Default::default() }
}

async fn process(bytes: impl Into<Bytes>, options: PreprocessOptions) -> Result<(Picture, RgbImage), Failure> {
    let stage = Preprocess::new(options).unwrap();
    let effect = stage.process(&message(bytes)).await?;
    let Effect::HandOver(message) = effect else { panic!("{effect:?}") };
    let picture = message.facts.picture.unwrap();
    let frame = RgbImage::from_raw(picture.frame_width, picture.frame_height, message.body.to_vec());
    Ok((picture, frame.expect("the body has the frame's size")))
}

async fn frame(bytes: impl Into<Bytes>) -> (Picture, RgbImage) {
    process(bytes, options(640)).await.unwrap()
}

async fn reason(bytes: impl Into<Bytes>) -> Reason {
    process(bytes, options(640)).await.unwrap_err().reason
}

const RED: Rgb<u8> = Rgb([220, 20, 20]);
const GREEN: Rgb<u8> = Rgb([20, 220, 20]);
const BLUE: Rgb<u8> = Rgb([20, 20, 220]);
const GREY: Rgb<u8> = Rgb([128, 128, 128]);

/// Four areas: red and green above, blue and grey below.
fn quarters(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| match (x < width / 2, y < height / 2) {
        (true, true) => RED,
        (false, true) => GREEN,
        (true, false) => BLUE,
        (false, false) => GREY,
    })
}

/// The colours in the middle of the four areas, row by row.
fn corners(picture: &RgbImage) -> [Rgb<u8>; 4] {
    let (x, y) = (picture.width() / 4, picture.height() / 4);
    [(x, y), (3 * x, y), (x, 3 * y), (3 * x, 3 * y)].map(|(x, y)| *picture.get_pixel(x, y))
}

#[track_caller]
fn assert_near(found: [Rgb<u8>; 4], expected: [Rgb<u8>; 4]) {
    let near = |a: &Rgb<u8>, b: &Rgb<u8>| a.0.iter().zip(b.0).all(|(a, b)| a.abs_diff(b) <= 12);
    assert!(found.iter().zip(&expected).all(|(a, b)| near(a, b)), "{found:?} is not {expected:?}");
}

fn jpeg_with(picture: &RgbImage, set: impl FnOnce(&mut Compressor)) -> Vec<u8> {
    let mut compressor = Compressor::new().unwrap();
    compressor.set_quality(95).unwrap();
    compressor.set_subsamp(Subsamp::None).unwrap();
    set(&mut compressor);
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels = picture.as_raw().as_slice();
    compressor.compress_to_vec(Image { pixels, width, pitch: 3 * width, height, format: PixelFormat::RGB }).unwrap()
}

fn jpeg(picture: &RgbImage) -> Vec<u8> {
    jpeg_with(picture, |_| {})
}

/// Puts a segment right after SOI.
fn with_segment(jpeg: &[u8], marker: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, marker], &length, payload, &jpeg[2..]].concat()
}

fn with_exif(jpeg: &[u8], tiff: &[u8]) -> Vec<u8> {
    with_segment(jpeg, 0xE1, &[b"Exif\0\0", tiff].concat())
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn every_exif_orientation_ends_upright_with_the_upright_size() {
    // Where the stored quarters are seen: CIPA DC-008, and the table in orientation.rs.
    let upright = [
        (1, [RED, GREEN, BLUE, GREY]),
        (2, [GREEN, RED, GREY, BLUE]),
        (3, [GREY, BLUE, GREEN, RED]),
        (4, [BLUE, GREY, RED, GREEN]),
        (5, [RED, BLUE, GREEN, GREY]),
        (6, [BLUE, RED, GREY, GREEN]),
        (7, [GREY, GREEN, BLUE, RED]),
        (8, [GREEN, GREY, RED, BLUE]),
    ];
    let stored = jpeg(&quarters(96, 64));
    for (orientation, expected) in upright {
        for working_size in [640, 48] {
            let bytes = with_exif(&stored, &exif_block(0x0112, orientation));
            let (picture, frame) = process(bytes, options(working_size)).await.unwrap();
            assert_near(corners(&frame), expected);
            let (long, short) = if working_size == 640 { (96, 64) } else { (48, 32) };
            let turned = orientation >= 5;
            assert_eq!((picture.width, picture.height), if turned { (64, 96) } else { (96, 64) });
            assert_eq!(frame.dimensions(), if turned { (short, long) } else { (long, short) });
            assert_eq!(u16::from(picture.orientation), orientation);
        }
    }
}

#[tokio::test]
async fn orientation_of_png_and_webp_counts_too() {
    let tiff = exif_block(0x0112, 6);
    let png = encoded(quarters(96, 64), ImageFormat::Png);
    // After IHDR (8 + 25 bytes) comes a chunk eXIf with its CRC.
    let chunk = [b"eXIf".as_slice(), &tiff].concat();
    let length = u32::try_from(tiff.len()).unwrap().to_be_bytes();
    let png = [&png[..33], &length, &chunk, &crc32(&chunk).to_be_bytes(), &png[33..]].concat();
    for bytes in [png, webp_with_exif(&encoded(quarters(96, 64), ImageFormat::WebP), &tiff)] {
        let (picture, frame) = frame(bytes).await;
        assert_eq!((picture.orientation, picture.width, picture.height), (6, 64, 96));
        assert_near(corners(&frame), [BLUE, RED, GREY, GREEN]);
    }
}

/// CRC-32 as PNG uses it (PNG specification, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

#[tokio::test]
async fn a_broken_exif_block_is_upright_and_no_error() {
    for tiff in [b"".as_slice(), b"MM\0*\xFF\xFF\xFF\xFF", b"garbage in the place of a TIFF header"] {
        let (picture, _) = frame(with_exif(&jpeg(&quarters(32, 32)), tiff)).await;
        assert_eq!(picture.orientation, 1);
    }
}

#[tokio::test]
async fn a_truncated_jpeg_shows_what_is_there_and_says_so() {
    for whole in [
        jpeg(&quarters(256, 256)),
        jpeg_with(&quarters(256, 256), |compressor| compressor.set_progressive(true).unwrap()),
    ] {
        assert!(!frame(whole.clone()).await.0.truncated);
        let half = whole[..whole.len() * 9 / 10].to_vec();
        let (picture, frame) = frame(half).await;
        assert!(picture.truncated);
        assert_near([*frame.get_pixel(64, 32); 4], [RED; 4]);
    }
}

#[tokio::test]
async fn a_jpeg_without_a_single_pixel_is_corrupt() {
    let whole = jpeg(&quarters(64, 64));
    let scan = whole.windows(2).position(|window| window == [0xFF, 0xDA]).unwrap();
    let length = usize::from(u16::from_be_bytes([whole[scan + 2], whole[scan + 3]]));
    for end in [3, 20, scan, scan + 4, scan + 2 + length] {
        assert_eq!(reason(whole[..end].to_vec()).await, Reason::CorruptImage, "cut at {end}");
    }
    let tables_only = [&whole[..scan], &[0xFF, 0xD9]].concat();
    assert_eq!(reason(tables_only).await, Reason::CorruptImage);
}

#[tokio::test]
async fn nothing_of_the_picture_before_shows_in_a_damaged_one() {
    let stage = Preprocess::new(PreprocessOptions { threads: NonZero::<usize>::MIN, ..options(64) }).unwrap();
    let red = jpeg(&RgbImage::from_pixel(256, 256, RED));
    stage.process(&message(red)).await.unwrap();
    let mut blue = jpeg(&RgbImage::from_pixel(256, 256, BLUE));
    blue.truncate(blue.len() - blue.len() / 4);
    let Effect::HandOver(message) = stage.process(&message(blue)).await.unwrap() else { panic!() };
    assert!(message.facts.picture.unwrap().truncated);
    assert!(message.body.as_chunks::<3>().0.iter().all(|[red, ..]| *red < 200), "red shows through");
}

#[tokio::test]
async fn oddities_before_the_first_scan_do_not_spoil_a_jpeg() {
    let plain = jpeg(&quarters(64, 64));
    let stray_bytes = [&plain[..20], b"stray", &plain[20..]].concat();
    let unknown_jfif = with_segment(&plain, 0xE0, b"JFIF\0\x09\x09\0\0\x01\0\x01\0\0");
    let unknown_adobe = with_segment(&plain, 0xEE, b"Adobe\0\x64\0\0\0\0\x09");
    let broken_profile = with_segment(&plain, 0xE2, b"ICC_PROFILE\0\x07\x02nonsense");
    for bytes in [stray_bytes, unknown_jfif, unknown_adobe, broken_profile] {
        let (picture, frame) = frame(bytes).await;
        assert!(!picture.truncated);
        assert_near(corners(&frame), [RED, GREEN, BLUE, GREY]);
    }
}

#[tokio::test]
async fn grey_progressive_and_subsampled_jpegs_become_rgb() {
    let colours = [RED, GREEN, BLUE, GREY];
    let progressive = jpeg_with(&quarters(64, 64), |compressor| compressor.set_progressive(true).unwrap());
    assert_near(corners(&frame(progressive).await.1), colours);
    let subsampled = jpeg_with(&quarters(64, 64), |compressor| compressor.set_subsamp(Subsamp::Sub2x2).unwrap());
    assert_near(corners(&frame(subsampled).await.1), colours);
    let grey = jpeg_with(&quarters(64, 64), |compressor| compressor.set_subsamp(Subsamp::Gray).unwrap());
    let luma = [80, 143, 43, 128].map(|luma| Rgb([luma; 3]));
    assert_near(corners(&frame(grey).await.1), luma);
}

/// The quarters as inks, 0 = none, with an Adobe segment; `stored` maps an ink to its byte.
fn cmyk_jpeg(colorspace: Colorspace, stored: impl Fn(u8) -> u8) -> Vec<u8> {
    let (width, height) = (64, 64);
    let pixels: Vec<u8> = quarters(64, 64)
        .pixels()
        .flat_map(|Rgb([r, g, b])| {
            // Grey as black ink alone, colours without black.
            let inks = if r == g && g == b { [0, 0, 0, 255 - r] } else { [255 - r, 255 - g, 255 - b, 0] };
            inks.map(&stored)
        })
        .collect();
    let mut compressor = Compressor::new().unwrap();
    compressor.set_quality(95).unwrap();
    compressor.set_colorspace(colorspace).unwrap();
    let picture = Image { pixels: pixels.as_slice(), width, pitch: 4 * width, height, format: PixelFormat::CMYK };
    compressor.compress_to_vec(picture).unwrap()
}

#[tokio::test]
async fn cmyk_and_ycck_jpegs_become_rgb_adobe_inversion_included() {
    let colours = [RED, GREEN, BLUE, GREY];
    for colorspace in [Colorspace::CMYK, Colorspace::YCCK] {
        let adobe = cmyk_jpeg(colorspace, |ink| 255 - ink);
        assert_near(corners(&frame(adobe.clone()).await.1), colours);
        // Scaled while decoding.
        assert_near(corners(&process(adobe, options(16)).await.unwrap().1), colours);
    }
    // Without an Adobe segment inks are what they say.
    let mut plain = cmyk_jpeg(Colorspace::CMYK, |ink| ink);
    let adobe = plain.windows(9).position(|window| window == b"\xFF\xEE\0\x0EAdobe").unwrap();
    plain.drain(adobe..adobe + 16);
    assert_near(corners(&frame(plain).await.1), colours);
}

#[tokio::test]
async fn sixteen_bit_palette_grey_and_alpha_pictures_become_rgb() {
    let colours = [RED, GREEN, BLUE, GREY];
    let picture = DynamicImage::from(quarters(64, 48));
    assert_near(corners(&frame(encoded(picture.to_rgb16(), ImageFormat::Png)).await.1), colours);
    assert_near(corners(&frame(encoded(picture.to_rgba16(), ImageFormat::Png)).await.1), colours);
    let luma = frame(encoded(picture.to_luma8(), ImageFormat::Png)).await.1;
    assert!(corners(&luma).iter().all(|Rgb([r, g, b])| r == g && g == b));
    assert_near(corners(&frame(encoded(picture.to_luma16(), ImageFormat::Png)).await.1), corners(&luma));
    assert_near(corners(&frame(encoded(picture.to_rgb8(), ImageFormat::Bmp)).await.1), colours);
    assert_near(corners(&frame(encoded(picture.to_rgb8(), ImageFormat::WebP)).await.1), colours);
    // GIF is a palette.
    assert_near(corners(&frame(encoded(picture.to_rgba8(), ImageFormat::Gif)).await.1), colours);
}

#[tokio::test]
async fn transparent_pixels_are_white() {
    let picture = image::RgbaImage::from_fn(64, 64, |x, _| image::Rgba([0, 0, 0, if x < 32 { 0 } else { 255 }]));
    let half = image::RgbaImage::from_pixel(8, 8, image::Rgba([0, 0, 0, 128]));
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let (_, frame) = frame(encoded(picture.clone(), format)).await;
        assert_eq!(frame.get_pixel(4, 4).0, [255; 3], "{format:?}");
        assert_eq!(frame.get_pixel(60, 4).0, [0; 3], "{format:?}");
    }
    assert_eq!(frame(encoded(half, ImageFormat::Png)).await.1.get_pixel(0, 0).0, [127; 3]);
}

#[tokio::test]
async fn of_an_animation_the_first_frame_counts() {
    let mut gif = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut gif);
    for colour in [RED, BLUE] {
        let picture = DynamicImage::from(RgbImage::from_pixel(16, 16, colour)).into_rgba8();
        encoder.encode_frame(image::Frame::new(picture)).unwrap();
    }
    drop(encoder);
    assert_near(corners(&frame(gif).await.1), [RED; 4]);

    let still = |colour| encoded(RgbImage::from_pixel(16, 16, colour), ImageFormat::WebP);
    assert_near(corners(&frame(animated_webp(&[still(RED), still(BLUE)], 16)).await.1), [RED; 4]);
}

/// A chunk of RIFF, filled up to an even length (RFC 9649, section 2.3).
fn riff(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let padding = vec![0; payload.len() % 2];
    [name.as_slice(), &length, payload, &padding].concat()
}

fn u24(value: u32) -> Vec<u8> {
    value.to_le_bytes()[..3].to_vec()
}

/// RFC 9649, section 2.7: VP8X with the EXIF flag, the picture of 96×64 pixels, and EXIF after it.
fn webp_with_exif(picture: &[u8], tiff: &[u8]) -> Vec<u8> {
    let header = [vec![8, 0, 0, 0], u24(95), u24(63)].concat();
    riff(b"RIFF", &[b"WEBP".as_slice(), &riff(b"VP8X", &header), &picture[12..], &riff(b"EXIF", tiff)].concat())
}

/// RFC 9649, sections 2.7.1: VP8X with the animation flag, ANIM, and one ANMF a picture.
fn animated_webp(pictures: &[Vec<u8>], side: u32) -> Vec<u8> {
    let size = [u24(side - 1), u24(side - 1)].concat();
    let mut body = b"WEBP".to_vec();
    body.extend(riff(b"VP8X", &[&[2, 0, 0, 0], size.as_slice()].concat()));
    body.extend(riff(b"ANIM", &[0; 6]));
    for picture in pictures {
        body.extend(riff(b"ANMF", &[&[0; 6], size.as_slice(), &u24(100), &[0], &picture[12..]].concat()));
    }
    riff(b"RIFF", &body)
}

#[tokio::test]
async fn a_picture_of_one_pixel_is_a_picture() {
    let dot = RgbImage::from_pixel(1, 1, RED);
    for bytes in [encoded(dot.clone(), ImageFormat::Png), jpeg(&dot)] {
        let (picture, frame) = frame(bytes).await;
        assert_eq!((picture.width, picture.height, frame.dimensions()), (1, 1, (1, 1)));
    }
}

#[tokio::test]
async fn bombs_are_refused_by_their_header() {
    // The declared pixels would need 7.5 GB; the file has a header and nothing else.
    let png = |width: u32, height: u32| {
        let ihdr = [b"IHDR".as_slice(), &width.to_be_bytes(), &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        [b"\x89PNG\r\n\x1A\n\0\0\0\x0D".as_slice(), &ihdr, &crc32(&ihdr).to_be_bytes()].concat()
    };
    assert_eq!(reason(png(50_000, 50_000)).await, Reason::ImageTooLarge);
    assert_eq!(reason(png(16_385, 1)).await, Reason::ImageTooLarge, "a side");
    assert_eq!(reason(png(10_000, 4_001)).await, Reason::ImageTooLarge, "pixels");
    assert_eq!(reason(png(10_000, 4_000)).await, Reason::CorruptImage, "within the limits, but empty");

    let mut jpeg = jpeg(&quarters(16, 16));
    let frame = jpeg.windows(2).position(|window| window == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(reason(jpeg).await, Reason::ImageTooLarge);
    assert_eq!(reason(b"GIF89a\xFF\xFF\xFF\xFF\0\0\0".to_vec()).await, Reason::ImageTooLarge);
}

#[tokio::test]
async fn garbage_after_the_magic_is_corrupt() {
    let garbage: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp] {
        let whole = encoded(quarters(64, 64), format);
        let bytes = [&whole[..whole.len().min(40)], &garbage].concat();
        let found = process(bytes, options(640)).await;
        // A bitmap of any bytes is a bitmap.
        assert!(format == ImageFormat::Bmp || found.unwrap_err().reason == Reason::CorruptImage, "{format:?}");
    }
    assert_eq!(reason([b"\xFF\xD8\xFF\xE0".as_slice(), &garbage].concat()).await, Reason::CorruptImage);
}

#[tokio::test]
async fn a_truncated_png_is_corrupt() {
    let mut png = encoded(quarters(64, 64), ImageFormat::Png);
    png.truncate(png.len() / 2);
    assert_eq!(reason(png).await, Reason::CorruptImage);
}

#[tokio::test]
async fn large_pictures_shrink_to_the_working_size_and_small_ones_stay() {
    for (size, expected) in
        [((1600, 1200), (640, 480)), ((300, 1000), (192, 640)), ((2000, 3), (640, 1)), ((640, 9), (640, 9))]
    {
        for bytes in [jpeg(&quarters(size.0, size.1)), encoded(quarters(size.0, size.1), ImageFormat::Png)] {
            let (picture, frame) = frame(bytes).await;
            assert_eq!((picture.width, picture.height), size);
            assert_eq!(frame.dimensions(), expected);
            if expected.1 > 8 {
                assert_near(corners(&frame), [RED, GREEN, BLUE, GREY]);
            }
        }
    }
}

#[tokio::test]
async fn jpeg_frames_carry_the_same_picture_in_fewer_bytes() {
    let stage = Preprocess::new(PreprocessOptions { frame_format: FrameFormat::Jpeg, ..options(640) }).unwrap();
    let bytes = with_exif(&jpeg(&quarters(1600, 1200)), &exif_block(0x0112, 6));
    let Effect::HandOver(message) = stage.process(&message(bytes)).await.unwrap() else { panic!() };
    let picture = message.facts.picture.unwrap();
    assert_eq!((picture.frame_width, picture.frame_height, picture.frame_format), (480, 640, FrameFormat::Jpeg));
    assert!(message.body.len() < 480 * 640 * 3 / 10);
    let frame = turbojpeg::decompress(&message.body, PixelFormat::RGB).unwrap();
    let frame = RgbImage::from_raw(480, 640, frame.pixels).unwrap();
    assert_near(corners(&frame), [BLUE, RED, GREY, GREEN]);
}

#[tokio::test]
async fn decoders_share_their_memory_and_give_it_back() {
    let large = message(encoded(quarters(1200, 900), ImageFormat::Png));
    let need = decode_bytes(&Header::read(&large.body).unwrap(), 640);
    let stage = Preprocess::new(PreprocessOptions { decode_bytes: need, ..options(640) }).unwrap();
    let both = tokio::join!(stage.process(&large), stage.process(&large));
    assert!(both.0.is_ok() && both.1.is_ok());
    assert_eq!(stage.memory.available_permits(), memory_units(need) as usize, "all of it came back");

    // While one holds a part, another that needs all waits.
    let part = stage.reserve(1).await.unwrap();
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(50), stage.process(&large)).await;
    assert!(waiting.is_err());
    drop(part);
    assert!(stage.process(&large).await.is_ok());
}

#[tokio::test]
async fn a_picture_that_needs_more_memory_than_all_of_it_is_refused_undecoded() {
    let png = encoded(quarters(1200, 900), ImageFormat::Png);
    let need = decode_bytes(&Header::read(&png).unwrap(), 640);
    // Its pixels are gone: whoever decodes it finds it corrupt.
    let cut = png[..100].to_vec();
    let with_budget = |decode_bytes| process(cut.clone(), PreprocessOptions { decode_bytes, ..options(640) });
    let failure = with_budget(need - 1).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ImageTooLarge);
    assert!(failure.detail.contains(&format!("needs {need} bytes")), "{failure}");
    assert!(failure.detail.contains(&format!("preprocess.decode_budget_bytes is {}", need - 1)), "{failure}");
    assert_eq!(with_budget(need).await.unwrap_err().reason, Reason::CorruptImage);
}

#[test]
fn the_default_budget_has_room_for_40_megapixels_of_jpeg_and_of_8_bit_rgb_png() {
    let defaults = include_str!("../../../config/default.toml");
    let budget = defaults.lines().find_map(|line| line.strip_prefix("decode_budget_bytes = ")).unwrap();
    let budget: u64 = budget.replace('_', "").parse().unwrap();
    let fits = |bytes: &[u8]| decode_bytes(&Header::read(bytes).unwrap(), 640) <= budget;
    let subsampled = |compressor: &mut Compressor| compressor.set_subsamp(Subsamp::Sub2x2).unwrap();
    for (width, height) in [(7_300_u16, 5_479_u16), (16_384, 2_441), (2_441, 16_384), (6_324, 6_324)] {
        let mut png = encoded(quarters(8, 8), ImageFormat::Png);
        png[16..20].copy_from_slice(&u32::from(width).to_be_bytes());
        png[20..24].copy_from_slice(&u32::from(height).to_be_bytes());
        assert!(fits(&png), "PNG, {width}×{height}");
        let progressive = jpeg_with(&quarters(16, 16), |compressor| {
            subsampled(compressor);
            compressor.set_progressive(true).unwrap();
        });
        for mut jpeg in [jpeg(&quarters(16, 16)), jpeg_with(&quarters(16, 16), subsampled), progressive] {
            let frame = jpeg.windows(2).position(|pair| matches!(pair, [0xFF, 0xC0 | 0xC2])).unwrap();
            jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
            jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
            assert!(fits(&jpeg), "JPEG, {width}×{height}");
        }
    }
}

#[test]
fn the_memory_asked_for_follows_the_header() {
    let need = |bytes: &[u8]| decode_bytes(&Header::read(bytes).unwrap(), 640);
    let picture = quarters(1600, 1200);
    // Half size suffices, three bytes a pixel; then rows of 640 pixels, and the frame.
    let half = 800 * 600 * 3 + 640 * (600 + 480) * 3;
    assert_eq!(need(&jpeg(&picture)), half);
    // Every coefficient of every component, two bytes each, whatever the scale.
    let progressive = jpeg_with(&picture, |compressor| compressor.set_progressive(true).unwrap());
    assert_eq!(need(&progressive), half + 1600 * 1200 * 3 * 2);

    let picture = DynamicImage::from(picture);
    let png = |picture: DynamicImage| need(&encoded(picture, ImageFormat::Png));
    let pixel = |bytes: u64| 1600 * 1200 * bytes + 640 * (1200 + 480) * 3;
    assert_eq!(png(picture.to_luma8().into()), pixel(1 + 3));
    assert_eq!(png(picture.to_luma16().into()), pixel(2 + 3));
    assert_eq!(png(picture.to_rgb8().into()), pixel(3));
    assert_eq!(png(picture.to_rgb16().into()), pixel(6 + 3));
    assert_eq!(png(picture.to_luma_alpha8().into()), pixel(4 + 3), "grey becomes RGBA, then RGB");
    assert_eq!(png(picture.to_luma_alpha16().into()), pixel(4 + 4));
    assert_eq!(png(picture.to_rgba8().into()), pixel(4 + 3));
    assert_eq!(png(picture.to_rgba16().into()), pixel(8 + 4));
    // One colour that is transparent makes the decoder write RGBA.
    let rgb = encoded(picture, ImageFormat::Png);
    let transparent = [&rgb[..33], b"\0\0\0\x06tRNS\0\0\0\0\0\0CRC!", &rgb[33..]].concat();
    assert_eq!(need(&transparent), pixel(4 + 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A bright dot in the stored picture is found where the facts say it is.
    #[test]
    fn frame_pixels_map_back_to_original_pixels(
        width in 64_u32..400, height in 64_u32..400, orientation in 1_u16..=8,
        working_size in 64_u32..200, across in 0.2_f32..0.8, down in 0.2_f32..0.8,
    ) {
        let longest = width.max(height);
        let dot = (across * width as f32, down * height as f32);
        let radius = width.min(height) as f32 / 8.0;
        let stored = RgbImage::from_fn(width, height, |x, y| {
            let distance = (x as f32 + 0.5 - dot.0).hypot(y as f32 + 0.5 - dot.1);
            Rgb([if distance < radius { 255 } else { 0 }; 3])
        });
        let bytes = with_exif(&jpeg(&stored), &exif_block(0x0112, orientation));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (picture, frame) = runtime.block_on(process(bytes, options(working_size))).unwrap();

        let (mut x, mut y, mut weight) = (0.0, 0.0, 0.0);
        for (column, row, Rgb([value, ..])) in frame.enumerate_pixels() {
            let value = f32::from(value.saturating_sub(64));
            (x, y, weight) = (x + value * (column as f32 + 0.5), y + value * (row as f32 + 0.5), weight + value);
        }
        let x = x / weight * picture.width as f32 / picture.frame_width as f32;
        let y = y / weight * picture.height as f32 / picture.frame_height as f32;
        let (w, h) = (width as f32, height as f32);
        let (dx, dy) = dot;
        let expected = match orientation {
            2 => (w - dx, dy),
            3 => (w - dx, h - dy),
            4 => (dx, h - dy),
            5 => (dy, dx),
            6 => (h - dy, dx),
            7 => (h - dy, w - dx),
            8 => (dy, w - dx),
            _ => (dx, dy),
        };
        let tolerance = 1.0 + longest as f32 / working_size as f32 / 2.0;
        prop_assert!((x - expected.0).abs() < tolerance && (y - expected.1).abs() < tolerance,
            "({x}, {y}) is not {expected:?}");
    }

    #[test]
    fn damage_anywhere_is_an_outcome_and_never_a_fault_of_ours(
        kind in 0_usize..6, at in 0.0_f64..1.0, byte in any::<u8>(), cut in 0.3_f64..1.0,
    ) {
        let picture = quarters(80, 60);
        let mut bytes = match kind {
            0 => jpeg(&picture),
            1 => jpeg_with(&picture, |compressor| compressor.set_progressive(true).unwrap()),
            2 => encoded(picture, ImageFormat::Png),
            3 => encoded(picture, ImageFormat::WebP),
            4 => encoded(picture, ImageFormat::Gif),
            _ => cmyk_jpeg(Colorspace::YCCK, |ink| 255 - ink),
        };
        bytes.truncate((bytes.len() as f64 * cut) as usize);
        let at = (bytes.len() as f64 * at) as usize;
        if let Some(target) = bytes.get_mut(at) { *target = byte }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        if let Err(failure) = runtime.block_on(process(bytes, options(40))) {
            prop_assert_ne!(failure.reason, Reason::InternalError, "{}", failure);
        }
    }
}

mod bombs;
mod checked;
mod formats;
mod independence;
mod pictures;
mod seeds;
