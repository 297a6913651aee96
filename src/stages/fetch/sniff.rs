/// Bytes after which [`looks_like_image`] does not change its mind.
pub(super) const SNIFF_BYTES: usize = 32;

/// Whether the first bytes are those of a picture, whatever the server calls them.
///
/// Only whether: which format it is, and whether this build decodes it, is preprocess's business.
pub(super) fn looks_like_image(head: &[u8]) -> bool {
    match head {
        [0xff, 0xd8, 0xff, ..] => true,                                           // JPEG
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => true,          // PNG
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => true,                  // GIF
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => true, // WebP
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => true,      // TIFF, BigTIFF
        [0xff, 0x0a, ..] => true,                                                 // JPEG XL, bare
        [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => true,                        // JPEG XL, boxed
        [_, _, _, _, b'f', b't', b'y', b'p', brands @ ..] => is_heif(brands),     // AVIF, HEIC
        // Two letters are too few to tell a bitmap from a text: the size of its header must fit too.
        [b'B', b'M', _, _, _, _, _, _, _, _, _, _, _, _, size, 0, 0, 0, ..] => {
            matches!(size, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124)
        }
        _ => false,
    }
}

/// The major brand, or the first compatible ones behind the minor version (ISO/IEC 14496-12, section 4.3).
fn is_heif(brands: &[u8]) -> bool {
    let major = brands.get(..4);
    let compatible = brands.get(8..).unwrap_or_default().chunks_exact(4).take(4);
    major.into_iter().chain(compatible).any(|brand| {
        matches!(
            brand,
            b"avif" | b"avis" | b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_format_is_known_by_its_first_bytes() {
        let bmp = b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x02\0\0\0";
        let pictures: [&[u8]; 14] = [
            b"\xff\xd8\xff\xe0\0\x10JFIF",
            b"\xff\xd8\xff\xe1\0\x10Exif",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"GIF87a\x01\0",
            b"GIF89a\x01\0",
            b"RIFF\x24\0\0\0WEBPVP8 ",
            bmp,
            b"II*\0\x08\0\0\0",
            b"MM\0*\0\0\0\x08",
            b"\0\0\0\x1cftypavif\0\0\0\0avifmif1",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            b"\0\0\0\x18ftypisom\0\0\0\0mif1heic",
            b"\xff\x0a\x00",
            b"\0\0\0\x0cJXL \r\n\x87\n",
        ];
        for picture in pictures {
            assert!(looks_like_image(picture), "{picture:?}");
        }
    }

    #[test]
    fn what_servers_send_in_place_of_a_picture_is_none() {
        let others: [&[u8]; 14] = [
            b"",
            b"\xff",
            b"\xff\xd8",
            b"<!DOCTYPE html><html>",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"{\"error\":\"not found\"}",
            b"BMW is a maker of cars and motorcycles",
            b"RIFF\x24\0\0\0WAVEfmt ",
            b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2",
            b"GIF90a",
            b"%PDF-1.7",
            b"\x1f\x8b\x08\0\0\0\0\0",
            b"PK\x03\x04",
            b"\0\0\0\0\0\0\0\0",
        ];
        for other in others {
            assert!(!looks_like_image(other), "{other:?}");
        }
    }
}
