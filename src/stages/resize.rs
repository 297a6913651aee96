//! SIMD resize of RGB pictures, shared by the two stages that change sizes.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};

use super::workers::internal;
use crate::domain::Failure;

/// Intermediate buffers above this size are given back after use: a worker stays small after one huge picture.
pub(super) const MAX_IDLE_BYTES: usize = 8 << 20;

/// A resizer with its intermediate buffers.
#[derive(Default)]
pub(super) struct Resize(Resizer);

impl Resize {
    /// Writes `source`, an RGB picture of the size `from`, to `target` at the size `to`.
    ///
    /// The filter is a triangle as wide as the ratio (bilinear that does not alias when shrinking).
    pub(super) fn rgb8(
        &mut self,
        source: &[u8],
        from: (u32, u32),
        target: &mut Vec<u8>,
        to: (u32, u32),
    ) -> Result<(), Failure> {
        target.resize(rgb8_len(to), 0);
        let source = ImageRef::new(from.0, from.1, source, PixelType::U8x3).map_err(internal)?;
        let mut target = Image::from_slice_u8(to.0, to.1, target, PixelType::U8x3).map_err(internal)?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        self.0.resize(&source, &mut target, &options).map_err(internal)?;
        if self.0.size_of_internal_buffers() > MAX_IDLE_BYTES {
            self.0.reset_internal_buffers();
        }
        Ok(())
    }
}

/// Bytes of an RGB picture without padding.
pub(super) fn rgb8_len((width, height): (u32, u32)) -> usize {
    (width as usize).saturating_mul(height as usize).saturating_mul(3)
}

/// The size with the same aspect ratio whose longest side is `longest`; no side becomes 0.
pub(super) fn with_longest_side((width, height): (u32, u32), longest: u32) -> (u32, u32) {
    let side = u64::from(width.max(height)).max(1);
    let scaled = |length: u32| {
        let rounded = (u64::from(length) * u64::from(longest) + side / 2) / side;
        u32::try_from(rounded).unwrap_or(longest).max(1)
    };
    (scaled(width), scaled(height))
}
