use serde::{Deserialize, Serialize};

/// A point in pixels of a picture: x to the right, y downwards, from the top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Pixels from the left edge.
    pub x: f32,
    /// Pixels from the top edge.
    pub y: f32,
}

/// One detected face.
///
/// In a result row the coordinates are pixels of the ORIGINAL picture after its EXIF orientation is
/// applied. A box may reach beyond the picture's edge where the face is cut off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Face {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width, greater than zero.
    pub width: f32,
    /// Height, greater than zero.
    pub height: f32,
    /// The model's confidence, 0 to 1.
    pub score: f32,
    /// Right eye, left eye, nose tip, right and left corner of the mouth (the person's own right and left).
    pub landmarks: [Point; 5],
}

impl Face {
    /// The same face in a picture whose pixels are `x` times as many across and `y` times as many down.
    pub fn scaled(&self, x: f32, y: f32) -> Face {
        Face {
            x: self.x * x,
            y: self.y * y,
            width: self.width * x,
            height: self.height * y,
            score: self.score,
            landmarks: self.landmarks.map(|point| Point { x: point.x * x, y: point.y * y }),
        }
    }

    /// Intersection over union of two boxes, 0 to 1.
    pub fn iou(&self, other: &Face) -> f32 {
        let across = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let down = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        let shared = across.max(0.0) * down.max(0.0);
        let union = self.width * self.height + other.width * other.height - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, y: f32, width: f32, height: f32) -> Face {
        Face { x, y, width, height, score: 0.9, landmarks: [Point { x, y }; 5] }
    }

    #[test]
    fn iou_is_one_for_itself_and_zero_for_strangers() {
        let a = face(0.0, 0.0, 10.0, 10.0);
        assert_eq!(a.iou(&a), 1.0);
        assert_eq!(a.iou(&face(20.0, 0.0, 10.0, 10.0)), 0.0);
        assert!((a.iou(&face(5.0, 0.0, 10.0, 10.0)) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(face(0.0, 0.0, 0.0, 0.0).iou(&face(0.0, 0.0, 0.0, 0.0)), 0.0);
    }

    #[test]
    fn scaling_moves_box_and_landmarks_alike() {
        let scaled = face(1.0, 2.0, 3.0, 4.0).scaled(2.0, 10.0);
        assert_eq!((scaled.x, scaled.y, scaled.width, scaled.height), (2.0, 20.0, 6.0, 40.0));
        assert_eq!(scaled.landmarks[4], Point { x: 2.0, y: 20.0 });
    }
}
