//! Any bytes as the EXIF block of a JPEG: it may turn the picture, and never spoils it.
#![no_main]

/// Quantisation of 1; two pixels beside each other, grey; two Huffman tables of one code, "nothing"; one scan.
const PICTURE: &[u8] = b"\xFF\xDB\0\x43\0\
    \x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\
    \x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\
    \xFF\xC0\0\x0B\x08\0\x01\0\x02\x01\x01\x11\0\
    \xFF\xC4\0\x14\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \xFF\xC4\0\x14\x10\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \xFF\xDA\0\x08\x01\x01\0\0\x3F\0\x3F\xFF\xD9";

libfuzzer_sys::fuzz_target!(|block: &[u8]| {
    let Ok(length) = u16::try_from(block.len() + 8) else { return };
    let head = [b"\xFF\xD8\xFF\xE1".as_slice(), &length.to_be_bytes(), b"Exif\0\0"].concat();
    let picture = facemill_fuzz::preprocess([head.as_slice(), block, PICTURE].concat()).expect("a whole JPEG");
    let upright = if picture.orientation <= 4 { (2, 1) } else { (1, 2) };
    assert_eq!((picture.width, picture.height), upright);
    assert!(!picture.truncated);
});
