//! Non-maximum suppression: of boxes that mean the same face, the best one.

use crate::domain::Face;

/// Keeps a face where no better one overlaps it by more than `max_iou`; only the `top_k` best are looked at.
///
/// Best score first; equal scores keep their order, so the result does not depend on luck.
pub(super) fn suppress(mut faces: Vec<Face>, max_iou: f32, top_k: usize) -> Vec<Face> {
    faces.sort_by(|a, b| b.score.total_cmp(&a.score));
    faces.truncate(top_k);
    let mut kept: Vec<Face> = Vec::new();
    for face in faces {
        if kept.iter().all(|better| better.iou(&face) <= max_iou) {
            kept.push(face);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Point;

    fn face(x: f32, score: f32) -> Face {
        Face { x, y: 0.0, width: 10.0, height: 10.0, score, landmarks: [Point { x, y: 0.0 }; 5] }
    }

    fn scores(faces: &[Face]) -> Vec<f32> {
        faces.iter().map(|face| face.score).collect()
    }

    #[test]
    fn of_overlapping_boxes_the_best_stays_and_neighbours_stay() {
        let kept = suppress(vec![face(0.0, 0.7), face(1.0, 0.9), face(30.0, 0.8), face(8.0, 0.6)], 0.3, 5000);
        assert_eq!(scores(&kept), [0.9, 0.8, 0.6]);
    }

    #[test]
    fn a_suppressed_box_suppresses_nothing_itself() {
        // 0 and 4 overlap by 6/14, 4 and 8 too, 0 and 8 by 2/18.
        let kept = suppress(vec![face(0.0, 0.9), face(4.0, 0.8), face(8.0, 0.7)], 0.3, 5000);
        assert_eq!(scores(&kept), [0.9, 0.7]);
    }

    #[test]
    fn only_the_best_candidates_are_looked_at() {
        assert_eq!(scores(&suppress(vec![face(0.0, 0.5), face(50.0, 0.6), face(99.0, 0.7)], 0.3, 2)), [0.7, 0.6]);
    }
}
