use std::sync::{Arc, Mutex};

use super::*;
use crate::domain::{Facts, Reason, Timestamp};

/// Says the same at every picture: one face of one stride at the given position of the finest level.
struct OneFace {
    position: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// An input: width, height, and the values.
type Seen = (usize, usize, Vec<f32>);

impl FaceModel for OneFace {
    fn run<T>(&mut self, input: &Tensor, read: impl FnOnce(&Outputs<'_>) -> T) -> Result<T, ModelError> {
        self.seen.lock().unwrap().push((input.width(), input.height(), input.values().to_vec()));
        let positions = input.width() / 8 * (input.height() / 8);
        let mut class = vec![0.0; positions];
        class[self.position] = 0.9;
        let (boxes, landmarks) = (vec![0.0; 4 * positions], vec![0.0; 10 * positions]);
        let level = Level { class: &class, objectness: &vec![0.9; positions], boxes: &boxes, landmarks: &landmarks };
        Ok(read(&[level, Level::default(), Level::default()]))
    }
}

/// Panics, then fails, then panics …
struct Broken(bool);

impl FaceModel for Broken {
    fn run<T>(&mut self, _: &Tensor, _: impl FnOnce(&Outputs<'_>) -> T) -> Result<T, ModelError> {
        self.0 = !self.0;
        assert!(!self.0, "out of order");
        Err(ModelError("no answer".into()))
    }
}

fn picture(original: (u32, u32), frame: (u32, u32)) -> Picture {
    Picture {
        width: original.0,
        height: original.1,
        orientation: 1,
        truncated: false,
        frame_width: frame.0,
        frame_height: frame.1,
        frame_format: FrameFormat::Rgb8,
    }
}

fn message(picture: Option<Picture>, body: Vec<u8>) -> Message {
    let mut facts = Facts::submitted("http://a.example/", "job", Timestamp::now());
    facts.picture = picture;
    Message { facts, body: body.into() }
}

async fn faces<M: FaceModel>(stage: &Detect<M>, message: &Message) -> Vec<Face> {
    match stage.process(message).await.unwrap() {
        Effect::Detected(faces) => faces,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn boxes_come_back_in_pixels_of_the_original() {
    // Row 1, column 2 of a 64 pixels wide input: an 8×8 box around (16, 8).
    let seen = Arc::default();
    let stage = Detect::new(vec![OneFace { position: 10, seen: Arc::clone(&seen) }], DetectOptions::default()).unwrap();
    // Frames of 32×24 are enlarged twice, to 64×48, and padded to 64×64; the original had 320×240.
    let found = faces(&stage, &message(Some(picture((320, 240), (32, 24))), vec![50; 32 * 24 * 3])).await;
    let [face] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((face.x, face.y, face.width, face.height), (60.0, 20.0, 40.0, 40.0));
    assert_eq!((face.landmarks[0].x, face.landmarks[0].y), (80.0, 40.0));
    assert!((face.score - 0.9).abs() < 1e-6);

    let seen = seen.lock().unwrap();
    let (width, height, values) = &seen[0];
    assert_eq!((*width, *height), (64, 64));
    let plane = &values[..64 * 64];
    assert_eq!((plane[0], plane[47 * 64 + 63], plane[48 * 64]), (50.0, 50.0, 0.0), "picture, picture, padding");
}

#[tokio::test]
async fn jpeg_frames_are_read_too() {
    let stage = Detect::new(vec![OneFace { position: 0, seen: Arc::default() }], DetectOptions::default()).unwrap();
    let pixels = turbojpeg::Image {
        pixels: [90_u8; 64 * 48 * 3].as_slice(),
        width: 64,
        pitch: 192,
        height: 48,
        format: turbojpeg::PixelFormat::RGB,
    };
    let body = turbojpeg::compress(pixels, 90, turbojpeg::Subsamp::Sub2x2).unwrap().to_vec();
    let jpeg = |size| Picture { frame_format: FrameFormat::Jpeg, ..picture((640, 480), size) };
    assert_eq!(faces(&stage, &message(Some(jpeg((64, 48))), body.clone())).await.len(), 1);
    let failure = stage.process(&message(Some(jpeg((64, 64))), body)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::InternalError);
}

#[tokio::test]
async fn a_frame_that_is_not_what_its_facts_say_is_our_own_fault() {
    let stage = Detect::new(vec![OneFace { position: 0, seen: Arc::default() }], DetectOptions::default()).unwrap();
    let jpeg = Picture { frame_format: FrameFormat::Jpeg, ..picture((64, 48), (64, 48)) };
    for message in [
        message(None, vec![0; 12]),
        message(Some(picture((64, 48), (64, 48))), vec![0; 64 * 48 * 3 - 1]),
        message(Some(picture((640, 64), (640, 64))), vec![0; 640 * 64 * 3 - 1]),
        message(Some(picture((640, 64), (640, 64))), vec![0; 640 * 65 * 3]),
        message(Some(picture((64, 48), (0, 0))), vec![]),
        message(Some(picture((u32::MAX, u32::MAX), (u32::MAX, u32::MAX))), vec![0; 3]),
        message(Some(jpeg), b"no JPEG".to_vec()),
    ] {
        assert_eq!(stage.process(&message).await.unwrap_err().reason, Reason::InternalError);
    }
}

#[tokio::test]
async fn a_model_that_fails_or_panics_fails_the_picture_and_not_the_stage() {
    let stage = Detect::new(vec![Broken(false)], DetectOptions::default()).unwrap();
    let message = message(Some(picture((64, 64), (64, 64))), vec![0; 64 * 64 * 3]);
    for detail in ["panic: out of order", "the model failed: no answer", "panic: out of order"] {
        let failure = stage.process(&message).await.unwrap_err();
        assert_eq!((failure.reason, failure.detail.as_str()), (Reason::InternalError, detail));
    }
}

#[test]
fn small_frames_are_enlarged_at_most_twice_and_large_ones_never_changed() {
    assert_eq!(enlarged((400, 300), 640), (640, 480));
    assert_eq!(enlarged((100, 75), 640), (200, 150));
    assert_eq!(enlarged((640, 480), 640), (640, 480));
    assert_eq!(enlarged((1280, 960), 640), (1280, 960));
    assert_eq!(enlarged((1, 1), 640), (2, 2));
}
