//! YuNet's outputs as faces: the mathematics of OpenCV's `FaceDetectorYN`, as plain functions.

use crate::domain::{Face, Point};

/// The pixels between two neighbouring positions of a level, and the levels' order in [`Outputs`].
pub const STRIDES: [usize; 3] = [8, 16, 32];

/// Input sides are multiples of this: the coarsest level needs whole positions.
pub const SIDE_STEP: usize = 32;

/// What the model says at one level: row by row, one entry for each position.
#[derive(Debug, Clone, Copy, Default)]
pub struct Level<'a> {
    /// How much it looks like a face, 1 value a position.
    pub class: &'a [f32],
    /// How well the box fits, 1 value a position.
    pub objectness: &'a [f32],
    /// Centre and logarithm of the size in strides, 4 values a position.
    pub boxes: &'a [f32],
    /// Five landmarks in strides from the position, 10 values.
    pub landmarks: &'a [f32],
}

/// What the model says of one picture, level by level as [`STRIDES`].
pub type Outputs<'a> = [Level<'a>; 3];

/// The faces with at least `min_score`, overlapping ones included, in pixels of an input `width` pixels wide.
///
/// Positions with numbers that are none are left out.
pub fn decode(outputs: &Outputs<'_>, width: usize, min_score: f32) -> Vec<Face> {
    let mut faces = Vec::new();
    for (level, stride) in outputs.iter().zip(STRIDES) {
        let columns = (width / stride).max(1);
        let (boxes, _) = level.boxes.as_chunks::<4>();
        let (landmarks, _) = level.landmarks.as_chunks::<10>();
        let scores = level.class.iter().zip(level.objectness).map(|(class, objectness)| score(*class, *objectness));
        for (position, ((score, shape), landmarks)) in scores.zip(boxes).zip(landmarks).enumerate() {
            if score >= min_score {
                let face = face(score, shape, landmarks, position % columns, position / columns, stride);
                faces.extend(face);
            }
        }
    }
    faces
}

/// Both opinions lie between 0 and 1 up to rounding; their geometric mean is the score.
fn score(class: f32, objectness: f32) -> f32 {
    (class.clamp(0.0, 1.0) * objectness.clamp(0.0, 1.0)).sqrt()
}

fn face(
    score: f32,
    &[x, y, width, height]: &[f32; 4],
    landmarks: &[f32; 10],
    column: usize,
    row: usize,
    stride: usize,
) -> Option<Face> {
    // Columns and rows are far below 2^24: exact in f32.
    let (column, row, stride) = (column as f32, row as f32, stride as f32);
    let (width, height) = (width.exp() * stride, height.exp() * stride);
    let (pairs, _) = landmarks.as_chunks::<2>();
    let mut points = pairs.iter().map(|&[x, y]| Point { x: (x + column) * stride, y: (y + row) * stride });
    let face = Face {
        x: (x + column) * stride - width / 2.0,
        y: (y + row) * stride - height / 2.0,
        width,
        height,
        score,
        landmarks: [points.next()?, points.next()?, points.next()?, points.next()?, points.next()?],
    };
    let numbers = [face.x, face.y, face.width, face.height].into_iter();
    let numbers = numbers.chain(face.landmarks.iter().flat_map(|point| [point.x, point.y]));
    (numbers.into_iter().all(f32::is_finite) && face.width > 0.0 && face.height > 0.0).then_some(face)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One level of stride 8 in a 32×32 input, everything zero but the given position.
    struct Raw {
        class: [f32; 16],
        objectness: [f32; 16],
        boxes: [f32; 64],
        landmarks: [f32; 160],
    }

    impl Raw {
        fn with(position: usize, class: f32, objectness: f32, shape: [f32; 4]) -> Self {
            let mut raw = Raw { class: [0.0; 16], objectness: [0.0; 16], boxes: [0.0; 64], landmarks: [0.0; 160] };
            (raw.class[position], raw.objectness[position]) = (class, objectness);
            raw.boxes[4 * position..4 * position + 4].copy_from_slice(&shape);
            raw.landmarks[10 * position + 2] = 0.5;
            raw
        }

        fn decode(&self, min_score: f32) -> Vec<Face> {
            let level = Level {
                class: &self.class,
                objectness: &self.objectness,
                boxes: &self.boxes,
                landmarks: &self.landmarks,
            };
            decode(&[level, Level::default(), Level::default()], 32, min_score)
        }
    }

    #[test]
    fn a_position_becomes_a_box_around_its_centre_in_input_pixels() {
        // Row 1, column 2; centre half a stride right of it; e^0 and e^ln(2) strides large.
        let faces = Raw::with(6, 0.81, 1.0, [0.5, 0.0, 0.0, std::f32::consts::LN_2]).decode(0.6);
        let [face] = faces.as_slice() else { panic!("{faces:?}") };
        assert_eq!((face.x, face.y, face.width), (16.0, 0.0, 8.0));
        assert!((face.height - 16.0).abs() < 1e-5 && (face.score - 0.9).abs() < 1e-6);
        assert_eq!((face.landmarks[0], face.landmarks[1]), (Point { x: 16.0, y: 8.0 }, Point { x: 20.0, y: 8.0 }));
    }

    #[test]
    fn the_score_is_clamped_and_the_threshold_holds() {
        assert_eq!(Raw::with(0, 7.0, 1.5, [0.0; 4]).decode(0.6)[0].score, 1.0);
        assert!(Raw::with(0, -1.0, 1.0, [0.0; 4]).decode(0.01).is_empty());
        assert!(Raw::with(0, 0.5, 0.5, [0.0; 4]).decode(0.51).is_empty());
        assert_eq!(Raw::with(0, 0.5, 0.5, [0.0; 4]).decode(0.5).len(), 1);
    }

    #[test]
    fn numbers_that_are_none_make_no_face() {
        for shape in [[f32::NAN, 0.0, 0.0, 0.0], [0.0, 0.0, 1e9, 0.0], [0.0, 0.0, -1e9, 0.0]] {
            assert!(Raw::with(0, 1.0, 1.0, shape).decode(0.6).is_empty(), "{shape:?}");
        }
        assert!(Raw::with(0, f32::NAN, 1.0, [0.0; 4]).decode(0.6).is_empty());
    }
}
