//! Pictures made to cost more than they may: what becomes of them. What they cost is measured in
//! tests/hostile_pictures.rs.

use super::{pictures::*, *};

/// Decodes with the limits of a user.
async fn outcome(bytes: Vec<u8>) -> Result<Picture, Failure> {
    process(bytes, options(640)).await.map(|(picture, _)| picture)
}

fn asks_for(bytes: &[u8]) -> u64 {
    decode_bytes(&Header::read(bytes).unwrap(), 640)
}

/// An arithmetic-coded progressive JPEG of 40 megapixels and this many scans of four bytes each: the decoder makes a
/// whole picture of every one of them.
fn jpeg_of_scans(count: u8) -> Vec<u8> {
    let size = [2_441_u16.to_be_bytes(), 16_384_u16.to_be_bytes()].concat();
    let frame = [&[8], size.as_slice(), &[1, 1, 0x11, 0]].concat();
    let tables = [&[0], [1; 64].as_slice()].concat();
    let scan = |band: [u8; 3]| [b"\xFF\xDA\0\x08\x01\x01\0".as_slice(), &band, &[0x55; 4]].concat();
    // The mean; then all else, one bit finer every time.
    let finer = |n: u8| if n == 0 { 0x0D } else { (14 - n) << 4 | (13 - n) };
    let mut scans = scan([0, 0, 0]);
    scans.extend((1..count).flat_map(|n| scan([1, 63, finer((n - 1) % 14)])));
    with_segment(&with_segment(&[b"\xFF\xD8".as_slice(), &scans].concat(), 0xCA, &frame), 0xDB, &tables)
}

#[tokio::test]
async fn the_larger_a_jpeg_the_fewer_scans_it_may_have() {
    assert!(outcome(jpeg_of_scans(10)).await.is_ok());
    let failure = outcome(jpeg_of_scans(200)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::CorruptImage);
    assert!(failure.detail.contains("more than 20 scans"), "{failure}");
}

#[test]
fn a_webp_whose_frame_is_larger_than_its_place_is_refused_before_it_is_decoded() {
    let small = (16, 16);
    let bomb = riff(b"VP8 ", b"\0\0\0\x9D\x01\x2A\xFF\x3F\xFF\x3F");
    let (alpha, animation) = (riff(b"ALPH", &hex(ALPHA)), riff(b"ANIM", &[0; 6]));
    let disguised = [b"ANY ".as_slice(), &bomb[4..]].concat();
    for chunks in [
        vec![bomb.clone()],
        vec![riff(b"ICCP", &profile()), alpha.clone(), bomb.clone()],
        vec![riff(b"JUNK", b"odd"), bomb.clone()],
    ] {
        for flags in [0, 0x10] {
            assert!(Header::read(&webp(flags, small, &chunks)).is_err());
        }
    }
    for frame in [bomb.clone(), [alpha.clone(), bomb].concat(), [alpha, disguised].concat()] {
        assert!(Header::read(&webp(2, small, &[animation.clone(), webp_frame(small, &frame)])).is_err());
    }
}

/// Found by fuzzing: its decoder asked for the memory before it looked how long the file is. What is there is read.
#[tokio::test]
async fn an_exif_chunk_of_a_webp_is_as_long_as_the_file_and_no_longer() {
    let exif = riff(b"EXIF", &exif_block(0x0112, 6));
    let mut whole = webp(0x08, (SIDE, SIDE), &[hex(LOSSY_WEBP)[12..].to_vec(), exif.clone()]);
    let length = whole.len() - exif.len() + 4;
    whole[length..length + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(outcome(whole).await.unwrap().orientation, 6);
}

#[tokio::test]
async fn a_gif_whose_frame_is_larger_than_its_screen_is_asked_the_memory_of_its_frame() {
    let gif = |place: [u32; 4]| [gif_screen(16, 16), gif_frame(place, false, |_, _| 1), b";".to_vec()].concat();
    let same = asks_for(&gif([0, 0, 16, 16]));
    assert_eq!(asks_for(&gif([0, 0, 160, 16])) - same, 5 * (160 - 16) * 16);
    let small_frame = 5 * 16 * 16;
    assert!(asks_for(&gif([3, 4, 1, 1])) > same - small_frame);
    // A place that is declared and not filled.
    let comment = b"!\xFE\x03,,,\x01,\0".as_slice();
    let bomb = [&gif_screen(16, 16), comment, b",\0\0\0\0\xFF\xFF\xFF\xFF\0\x07\x01\x80\0;"].concat();
    assert_eq!(outcome(bomb).await.unwrap_err().reason, Reason::ImageTooLarge);
}

/// Black, with other chunks before its pixels.
fn black_png(chunks: &[u8]) -> Vec<u8> {
    let rows = vec![0; (1 + 3 * 64) * 64];
    let header = png_header((64, 64), 8, 2, false);
    [&header, chunks, &png_chunk(b"IDAT", &zlib(&rows)), &png_chunk(b"IEND", b"")].concat()
}

#[tokio::test]
async fn what_a_png_carries_beside_its_pixels_does_not_unpack_to_any_size() {
    let unpacked = zlib(&vec![b' '; 20 << 20]);
    let profile = png_chunk(b"iCCP", &[b"large\0\0".as_slice(), &unpacked].concat());
    let text = png_chunk(b"zTXt", &[b"large\0\0".as_slice(), &unpacked].concat());
    let international = png_chunk(b"iTXt", &[b"large\0\x01\0\0\0".as_slice(), &unpacked].concat());
    for chunk in [profile, text, international] {
        assert_eq!(outcome(black_png(&chunk)).await.unwrap().width, 64);
    }
    // Many small ones.
    let texts = png_chunk(b"tEXt", b"a\0b").repeat(50_000);
    assert_eq!(outcome(black_png(&texts)).await.unwrap().width, 64);
}

#[tokio::test]
async fn a_list_of_nothing_is_read_to_its_end() {
    let chunks = riff(b"JUNK", b"").repeat(1 << 20);
    assert_eq!(outcome(webp(0, (16, 16), &[chunks])).await.unwrap_err().reason, Reason::CorruptImage);
    let comments = b"!\xFE\x01a\0".repeat(1 << 20);
    let gif = [&gif_screen(16, 16), comments.as_slice(), &gif_frame([0, 0, 16, 16], false, |_, _| 1), b";"].concat();
    assert!(outcome(gif).await.is_ok());
    let segments = b"\xFF\xFE\0\x02".repeat(1 << 20);
    let plain = jpeg(&quarters(16, 16));
    assert!(outcome([&plain[..2], &segments, &plain[2..]].concat()).await.is_ok());
    let empty = png_chunk(b"teXt", b"").repeat(1 << 18);
    let png = encoded(quarters(16, 16), ImageFormat::Png);
    assert!(outcome([&png[..33], &empty, &png[33..]].concat()).await.is_ok());
}
