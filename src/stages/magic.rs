//! Which kind of picture some bytes begin like: the one table for fetch, which lets pictures through, and for
//! preprocess, which decodes them or names what it does not decode.
//!
//! Formats that are text, SVG above all, have no first bytes of their own and are not in it.

/// Bytes after which [`PictureFormat::of`] does not change its mind. It looks at no more.
pub(super) const HEAD_BYTES: usize = 64;

/// A format known by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PictureFormat {
    Jpeg,
    Png,
    Gif,
    WebP,
    Bmp,
    /// One that no decoder here reads, by its name.
    Undecodable(&'static str),
}

impl PictureFormat {
    /// What the bytes begin like, whatever the server calls them.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
        match head {
            [0xFF, 0xD8, 0xFF, ..] => Some(PictureFormat::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(PictureFormat::Png),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(PictureFormat::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(PictureFormat::WebP),
            // Two letters are too few to tell a bitmap from a text: the size of its header must fit too.
            [b'B', b'M', _, _, _, _, _, _, _, _, _, _, _, _, size, 0, 0, 0, ..] => {
                matches!(size, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124).then_some(PictureFormat::Bmp)
            }
            _ => undecodable(head).map(PictureFormat::Undecodable),
        }
    }
}

fn undecodable(head: &[u8]) -> Option<&'static str> {
    match head {
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Some("TIFF"),
        [b'I', b'I', b'+', 0, ..] | [b'M', b'M', 0, b'+', ..] => Some("BigTIFF"),
        // Bare, and in its box.
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', b'\r', b'\n', 0x87, b'\n', ..] => Some("JPEG XL"),
        [0xFF, 0x4F, 0xFF, 0x51, ..] | [0, 0, 0, 12, b'j', b'P', b' ', b' ', b'\r', b'\n', 0x87, b'\n', ..] => {
            Some("JPEG 2000")
        }
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => iso_media_picture(head),
        // The byte at 9, reserved, tells it from other files that begin with little numbers.
        [0, 0, 1, 0, 1..=255, _, _, _, _, 0, ..] => Some("ICO"),
        [b'8', b'B', b'P', b'S', 0, 1 | 2, ..] => Some("PSD"),
        [b'q', b'o', b'i', b'f', _, _, _, _, _, _, _, _, 3 | 4, 0 | 1, ..] => Some("QOI"),
        [0x76, 0x2F, 0x31, 0x01, ..] => Some("OpenEXR"),
        [b'#', b'?', b'R', b'A', b'D', b'I', b'A', b'N', b'C', b'E', ..] => Some("Radiance HDR"),
        _ => None,
    }
}

/// AVIF and HEIF by the brands of the ftyp box (ISO/IEC 14496-12, section 4.3): a film has the same box. The
/// major brand comes first, the compatible ones behind the minor version.
fn iso_media_picture(head: &[u8]) -> Option<&'static str> {
    let length = usize::try_from(u32::from_be_bytes(*head.first_chunk()?)).ok()?;
    let ftyp = head.get(..length).unwrap_or(head);
    let brands = || {
        let compatible = ftyp.get(16..).unwrap_or_default().chunks_exact(4);
        ftyp.get(8..12).into_iter().chain(compatible)
    };
    let coding = brands().find_map(|brand| match brand {
        b"avif" | b"avis" => Some("AVIF"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Some("HEIC"),
        _ => None,
    });
    // A picture in a coding that its brands do not tell.
    coding.or_else(|| brands().any(|brand| matches!(brand, b"mif1" | b"msf1")).then_some("HEIF"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_format_is_known_by_its_first_bytes() {
        use PictureFormat::{Bmp, Gif, Jpeg, Png, Undecodable, WebP};
        let pictures: [(&[u8], PictureFormat); 28] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Jpeg),
            (b"\xff\xd8\xff\xe1\0\x10Exif", Jpeg),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Png),
            (b"GIF87a\x01\0", Gif),
            (b"GIF89a\x01\0", Gif),
            (b"RIFF\x24\0\0\0WEBPVP8 ", WebP),
            (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x02\0\0\0", Bmp),
            (b"II*\0\x08\0\0\0", Undecodable("TIFF")),
            (b"MM\0*\0\0\0\x08", Undecodable("TIFF")),
            (b"II+\0\x08\0\0\0", Undecodable("BigTIFF")),
            (b"MM\0+\0\x08\0\0", Undecodable("BigTIFF")),
            (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", Undecodable("AVIF")),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", Undecodable("AVIF")),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Undecodable("HEIC")),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", Undecodable("HEIC")),
            (b"\0\0\0\x18ftypisom\0\0\0\0mif1heic", Undecodable("HEIC")),
            (b"\0\0\0\x14ftypmif1\0\0\0\0mif1", Undecodable("HEIF")),
            (b"\xff\x0a\x00", Undecodable("JPEG XL")),
            (b"\0\0\0\x0cJXL \r\n\x87\n", Undecodable("JPEG XL")),
            (b"\0\0\0\x0cjP  \r\n\x87\n", Undecodable("JPEG 2000")),
            (b"\xff\x4f\xff\x51\0\x2f", Undecodable("JPEG 2000")),
            (b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0", Undecodable("ICO")),
            (b"\0\0\x01\0\x02\0\0\0\0\0\x01\0\x20", Undecodable("ICO")),
            (b"8BPS\0\x01\0\0", Undecodable("PSD")),
            (b"qoif\0\0\0\x10\0\0\0\x10\x04\0", Undecodable("QOI")),
            (b"\x76\x2f\x31\x01\x02\0\0\0", Undecodable("OpenEXR")),
            (b"#?RADIANCE\n", Undecodable("Radiance HDR")),
            (b"8BPS\0\x02\0\0", Undecodable("PSD")),
        ];
        for (bytes, format) in pictures {
            assert_eq!(PictureFormat::of(bytes), Some(format), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_servers_send_in_place_of_a_picture_is_none() {
        let others: [&[u8]; 21] = [
            b"",
            b"\xff",
            b"\xff\xd8",
            b"<!DOCTYPE html><html>",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
            b"{\"error\":\"not found\"}",
            b"BMW is a maker of cars and motorcycles",
            b"RIFF\x24\0\0\0WAVEfmt ",
            b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2",
            b"\0\0\0\x14ftypisom\0\0\x02\0isom\0\0\0\x08heic",
            b"\0\0\0\x14ftypisomheicisom",
            b"GIF90a",
            b"%PDF-1.7",
            b"\x1f\x8b\x08\0\0\0\0\0",
            b"PK\x03\x04",
            b"\0\0\0\0\0\0\0\0",
            b"\0\0\x01\xb3\x14\0\xf0\x17\xff\xff\xe0\0",
            b"\0\0\x01\0\0\0\0\0\0\0\0\0",
            b"qoif is not a word",
            b"8BPSabcd",
        ];
        for other in others {
            assert_eq!(PictureFormat::of(other), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn no_byte_behind_the_head_changes_the_verdict() {
        // A box as long as the head and more, with a picture's brand behind it.
        let mut film = b"\0\0\0\x60ftypisom\0\0\0\0".to_vec();
        film.resize(HEAD_BYTES, b'x');
        film.extend(b"heic");
        assert_eq!(PictureFormat::of(&film), None);
        assert_eq!(PictureFormat::of(film.get(..HEAD_BYTES).unwrap()), None);
    }
}
