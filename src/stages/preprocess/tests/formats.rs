//! Every form of every format, and what is answered to those that are not decoded.

use super::{pictures::*, *};

/// Decodes the pictures of one format; each shows the quarters, at full size and made smaller.
async fn shown(pictures: Vec<Named>) {
    for (name, bytes) in pictures {
        for working_size in [640, SIDE / 2] {
            let shown = process(bytes.clone(), options(working_size)).await;
            let (picture, frame) = shown.unwrap_or_else(|failure| panic!("{name}: {failure}"));
            println!("{name}: {picture:?}");
            assert_eq!(picture.width, picture.height);
            assert_eq!(frame.width(), picture.width.min(working_size));
            assert!(!picture.truncated);
            assert_near(corners(&frame), [RED, GREEN, BLUE, GREY]);
        }
    }
}

#[tokio::test]
async fn every_kind_of_jpeg_is_decoded() {
    shown(jpegs()).await;
}

#[tokio::test]
async fn every_kind_of_png_is_decoded() {
    shown(pngs()).await;
}

#[tokio::test]
async fn every_kind_of_gif_is_decoded_and_its_first_frame_counts() {
    shown(gifs()).await;
}

#[tokio::test]
async fn every_kind_of_webp_is_decoded_and_its_first_frame_counts() {
    shown(webps()).await;
}

#[tokio::test]
async fn every_kind_of_bmp_is_decoded() {
    shown(bmps()).await;
}

#[tokio::test]
async fn every_orientation_counts_in_every_format_that_has_one() {
    let turned = [
        [RED, GREEN, BLUE, GREY],
        [GREEN, RED, GREY, BLUE],
        [GREY, BLUE, GREEN, RED],
        [BLUE, GREY, RED, GREEN],
        [RED, BLUE, GREEN, GREY],
        [BLUE, RED, GREY, GREEN],
        [GREY, GREEN, BLUE, RED],
        [GREEN, GREY, RED, BLUE],
    ];
    let (stored, png) = (jpeg(&quarters(SIDE, SIDE)), encoded(quarters(SIDE, SIDE), ImageFormat::Png));
    let webp_chunk = hex(LOSSY_WEBP)[12..].to_vec();
    for (orientation, expected) in (1..).zip(turned) {
        let tiff = exif_block(0x0112, orientation);
        let files = [
            with_exif(&stored, &tiff),
            [&png[..33], &png_chunk(b"eXIf", &tiff), &png[33..]].concat(),
            webp(0x08, (SIDE, SIDE), &[webp_chunk.clone(), riff(b"EXIF", &tiff)]),
        ];
        for bytes in files {
            let (picture, frame) = frame(bytes).await;
            assert_eq!(u16::from(picture.orientation), orientation);
            assert_near(corners(&frame), expected);
        }
    }
}

/// The first segment of this kind: where it begins, and where its payload does.
pub(super) fn segment(jpeg: &[u8], marker: u8) -> (usize, usize) {
    let start = jpeg.windows(2).position(|pair| pair == [0xFF, marker]).unwrap();
    (start, start + 4)
}

/// Without its segments of this kind.
pub(super) fn without(mut jpeg: Vec<u8>, marker: u8) -> Vec<u8> {
    while jpeg.windows(2).any(|pair| pair == [0xFF, marker]) {
        let (start, payload) = segment(&jpeg, marker);
        let length = usize::from(u16::from_be_bytes([jpeg[payload - 2], jpeg[payload - 1]]));
        jpeg.drain(start..start + 2 + length);
    }
    jpeg
}

#[tokio::test]
async fn a_jpeg_with_broken_tables_is_corrupt() {
    const DHT: u8 = 0xC4;
    const DQT: u8 = 0xDB;
    let whole = jpeg(&quarters(SIDE, SIDE));
    let changed = |marker, at: usize, bytes: &[u8]| {
        let (mut file, payload) = (whole.clone(), segment(&whole, marker).1);
        file[payload + at..payload + at + bytes.len()].copy_from_slice(bytes);
        file
    };
    for (name, bytes) in [
        ("more codes than a length has", changed(DHT, 1, &[3])),
        ("a table that does not exist", changed(DHT, 0, &[0x07])),
        ("more symbols than the segment has", changed(DHT, 9, &[255; 8])),
        ("no quantisation", without(whole.clone(), DQT)),
        ("a quantisation that does not exist", changed(DQT, 0, &[9])),
    ] {
        assert_eq!(reason(bytes).await, Reason::CorruptImage, "{name}");
    }
    // As the frames of a film in JPEGs: the tables of the specification's annex K are meant.
    let (_, frame) = frame(without(whole, DHT)).await;
    assert_near(corners(&frame), [RED, GREEN, BLUE, GREY]);
}

#[tokio::test]
async fn pictures_that_are_not_decoded_say_so() {
    let mut twelve_bits = jpeg(&quarters(SIDE, SIDE));
    let frame = segment(&twelve_bits, 0xC0).1;
    twelve_bits[frame] = 12;
    let mut jpeg_in_bmp = bmps().remove(0).1;
    jpeg_in_bmp[30] = 4;
    for bytes in [
        b"II*\0\x08\0\0\0".to_vec(),
        b"MM\0*\0\0\0\x08".to_vec(),
        b"\0\0\0\x1CftypavifX\0\0\0avifmif1miaf".to_vec(),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec(),
        b"\xFF\x0Aabc".to_vec(),
        b"\0\0\0\x0CJXL \r\n\x87\n".to_vec(),
        b"\0\0\0\x0CjP  \r\n\x87\n".to_vec(),
        b"8BPS\0\x01\0\0".to_vec(),
        twelve_bits,
        jpeg_in_bmp,
    ] {
        assert_eq!(
            reason(bytes.clone()).await,
            Reason::UnsupportedFormat,
            "{}",
            bytes[..12.min(bytes.len())].escape_ascii()
        );
    }
}
