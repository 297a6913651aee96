//! The smallest picture there is.

/// A valid PNG of one grey pixel (value 128): signature, IHDR, IDAT, IEND, each chunk as length, type,
/// data and CRC-32 (PNG specification, third edition, section 5).
pub const PIXEL_PNG: &[u8; 67] = b"\x89PNG\r\n\x1a\n\
    \0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\
    \0\0\0\x0aIDAT\x78\xda\x63\x68\0\0\0\x82\0\x81\xda\x45\x08\x3b\
    \0\0\0\0IEND\xae\x42\x60\x82";

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::PIXEL_PNG;

    #[test]
    fn every_chunk_of_the_pixel_has_its_right_sum_and_the_data_is_one_grey_pixel() {
        let (signature, mut rest) = PIXEL_PNG.split_at(8);
        assert_eq!(signature, b"\x89PNG\r\n\x1a\n");
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let (chunk, after) = rest[4..].split_at(4 + length);
            let mut sum = flate2::Crc::new();
            sum.update(chunk);
            assert_eq!(sum.sum(), u32::from_be_bytes(after[..4].try_into().unwrap()));
            chunks.push(chunk.split_at(4));
            rest = &after[4..];
        }
        assert_eq!(chunks.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [b"IHDR", b"IDAT", b"IEND"]);
        let mut pixels = Vec::new();
        flate2::read::ZlibDecoder::new(chunks[1].1).read_to_end(&mut pixels).unwrap();
        assert_eq!(pixels, [0, 128]);
    }
}
