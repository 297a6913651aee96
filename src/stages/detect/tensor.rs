//! The model's input: planes of 32-bit floats.

use super::yunet::SIDE_STEP;

/// One picture as three planes, blue, green, red, values 0 to 255, with zeros right and below up to a
/// multiple of [`SIDE_STEP`]. The buffer is used again for the next picture.
#[derive(Debug, Default)]
pub struct Tensor {
    values: Vec<f32>,
    width: usize,
    height: usize,
}

impl Tensor {
    /// A black picture; sides are rounded up.
    pub fn black(width: usize, height: usize) -> Self {
        let (width, height) = (width.next_multiple_of(SIDE_STEP), height.next_multiple_of(SIDE_STEP));
        Tensor { values: vec![0.0; 3 * width * height], width, height }
    }

    /// Width with padding, in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height with padding, in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Plane after plane, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Takes over an RGB picture whose rows have `width` pixels.
    pub(super) fn fill(&mut self, rgb: &[u8], width: usize) {
        let (pixels, _) = rgb.as_chunks::<3>();
        let width = width.max(1);
        let mut sources = pixels.chunks_exact(width);
        self.width = width.next_multiple_of(SIDE_STEP);
        self.height = sources.len().next_multiple_of(SIDE_STEP);
        let plane = self.width * self.height;
        self.values.resize(3 * plane, 0.0);
        let (blue, rest) = self.values.split_at_mut(plane);
        let (green, red) = rest.split_at_mut(plane);
        let [blue, green, red] = [blue, green, red].map(|plane| plane.chunks_exact_mut(self.width));
        for ((blue, green), red) in blue.zip(green).zip(red) {
            let source = sources.next().unwrap_or_default();
            fill_row(source, blue, green, red);
            for row in [blue, green, red] {
                row.iter_mut().skip(source.len()).for_each(|value| *value = 0.0);
            }
        }
    }
}

/// Without an index, so that the compiler may use SIMD.
fn fill_row(source: &[[u8; 3]], blue: &mut [f32], green: &mut [f32], red: &mut [f32]) {
    for (((&[r, g, b], blue), green), red) in source.iter().zip(blue).zip(green).zip(red) {
        (*blue, *green, *red) = (b.into(), g.into(), r.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_blue_green_red_with_zeros_right_and_below_whatever_was_there_before() {
        let mut tensor = Tensor::default();
        tensor.fill(&[255; 64 * 64 * 3], 64);
        // 2×2 pixels: red, green / blue, grey.
        tensor.fill(&[200, 0, 0, 0, 150, 0, 0, 0, 100, 7, 7, 7], 2);
        assert_eq!((tensor.width(), tensor.height(), tensor.values().len()), (32, 32, 3 * 32 * 32));
        let planes: Vec<&[f32]> = tensor.values().chunks_exact(32 * 32).collect();
        for (plane, expected) in
            planes.iter().zip([[0.0, 0.0, 100.0, 7.0], [0.0, 150.0, 0.0, 7.0], [200.0, 0.0, 0.0, 7.0]])
        {
            assert_eq!([plane[0], plane[1], plane[32], plane[33]], expected);
            assert_eq!(plane.iter().sum::<f32>(), expected.iter().sum::<f32>(), "the rest is zero");
        }
    }

    #[test]
    fn sides_that_fit_are_not_padded() {
        let mut tensor = Tensor::default();
        tensor.fill(&[9; 64 * 32 * 3], 64);
        assert_eq!((tensor.width(), tensor.height()), (64, 32));
        assert!(tensor.values().iter().all(|value| *value == 9.0));
    }
}
