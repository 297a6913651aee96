//! EXIF orientation (CIPA DC-008, tag 0x0112): how to turn the stored picture upright.

use exif::{In, Reader, Tag};

/// One of the eight orientations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orientation(u8);

impl Orientation {
    /// The stored picture is upright.
    pub(super) const UPRIGHT: Self = Orientation(1);

    /// Reads the TIFF part of an EXIF block; whatever is missing or broken means upright.
    pub(super) fn from_exif(tiff: Option<&[u8]>) -> Self {
        let read = |tiff: &[u8]| {
            let exif = Reader::new().continue_on_error(true).read_raw(tiff.to_vec());
            let exif = exif.or_else(|error| error.distill_partial_result(|_| {})).ok()?;
            let value = exif.get_field(Tag::Orientation, In::PRIMARY)?.value.get_uint(0)?;
            u8::try_from(value).ok().filter(|value| (1..=8).contains(value))
        };
        tiff.and_then(read).map_or(Self::UPRIGHT, Orientation)
    }

    /// The EXIF number, 1 to 8.
    pub(super) fn number(self) -> u8 {
        self.0
    }

    /// The upright picture's size.
    pub(super) fn turned(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.swaps_sides() { (height, width) } else { (width, height) }
    }

    fn swaps_sides(self) -> bool {
        self.0 >= 5
    }

    /// The upright pixels of an RGB picture whose stored rows have `width` pixels.
    pub(super) fn apply(self, pixels: Vec<u8>, width: u32) -> Vec<u8> {
        let width = width as usize;
        if self == Self::UPRIGHT || width == 0 {
            return pixels;
        }
        let (stored, _) = pixels.as_chunks::<3>();
        let mut upright: Vec<[u8; 3]> = Vec::with_capacity(stored.len());
        if self.swaps_sides() {
            // An upright row is a stored column.
            let column = |x: usize| stored.iter().skip(x).step_by(width);
            let mut push = |x: usize| match self.0 {
                6 | 7 => upright.extend(column(x).rev()),
                _ => upright.extend(column(x)),
            };
            match self.0 {
                5 | 6 => (0..width).for_each(&mut push),
                _ => (0..width).rev().for_each(&mut push),
            }
        } else {
            let mut push = |row: &[[u8; 3]]| match self.0 {
                2 | 3 => upright.extend(row.iter().rev()),
                _ => upright.extend(row),
            };
            match self.0 {
                2 => stored.chunks_exact(width).for_each(&mut push),
                _ => stored.chunks_exact(width).rev().for_each(&mut push),
            }
        }
        upright.into_flattened()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A big-endian TIFF block with one entry: tag, type SHORT, count 1.
    pub(in super::super) fn exif_block(tag: u16, value: u16) -> Vec<u8> {
        let mut tiff = b"MM\0*\0\0\0\x08\0\x01".to_vec();
        tiff.extend(tag.to_be_bytes());
        tiff.extend([0, 3, 0, 0, 0, 1]);
        tiff.extend(value.to_be_bytes());
        tiff.extend([0, 0, 0, 0, 0, 0]);
        tiff
    }

    /// The pixels 1 to 6 in two rows of three, as CIPA DC-008 shows the eight orientations.
    #[test]
    fn each_orientation_turns_the_pixels_upright() {
        let stored: Vec<u8> = (1..=6).flat_map(|n| [n, n, n]).collect();
        let upright: [(u8, [u8; 6]); 8] = [
            (1, [1, 2, 3, 4, 5, 6]),
            (2, [3, 2, 1, 6, 5, 4]),
            (3, [6, 5, 4, 3, 2, 1]),
            (4, [4, 5, 6, 1, 2, 3]),
            (5, [1, 4, 2, 5, 3, 6]),
            (6, [4, 1, 5, 2, 6, 3]),
            (7, [6, 3, 5, 2, 4, 1]),
            (8, [3, 6, 2, 5, 1, 4]),
        ];
        for (number, expected) in upright {
            let pixels = Orientation(number).apply(stored.clone(), 3);
            let (pixels, _) = pixels.as_chunks::<3>();
            assert_eq!(pixels.iter().map(|pixel| pixel[0]).collect::<Vec<_>>(), expected, "orientation {number}");
            assert_eq!(Orientation(number).turned((3, 2)), if number >= 5 { (2, 3) } else { (3, 2) });
        }
    }

    #[test]
    fn the_tag_is_read_and_nonsense_is_upright() {
        for number in 1..=8 {
            assert_eq!(Orientation::from_exif(Some(&exif_block(0x0112, number.into()))).number(), number);
        }
        for broken in [exif_block(0x0112, 0), exif_block(0x0112, 9), exif_block(0x0100, 6), vec![], b"MM\0*".to_vec()] {
            assert_eq!(Orientation::from_exif(Some(&broken)), Orientation::UPRIGHT);
        }
        assert_eq!(Orientation::from_exif(None), Orientation::UPRIGHT);
    }

    proptest! {
        #[test]
        fn no_exif_block_makes_the_reader_panic(
            mut block in prop::collection::vec(any::<u8>(), 0..80), start in 0_usize..3,
        ) {
            let head: [&[u8]; 3] = [b"MM\0*\0\0\0\x08", b"II*\0\x08\0\0\0", b""];
            block.splice(0..0, head[start].iter().copied());
            prop_assert!((1..=8).contains(&Orientation::from_exif(Some(&block)).number()));
        }
    }
}
