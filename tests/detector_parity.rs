//! The detector finds what OpenCV's `FaceDetectorYN` finds with the same model in the same pixels.
//!
//! `scripts/golden_opencv.py` wrote the golden file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{collections::BTreeMap, num::NonZero, path::PathBuf};

use facemill::{
    adapters::onnx::{Device, ModelSource, OnnxModel},
    domain::{Face, Facts, FrameFormat, Message, Point, Timestamp},
    stages::{
        Effect, Stage,
        detect::{Detect, DetectOptions},
        preprocess::{Preprocess, PreprocessOptions},
    },
    telemetry::Timings,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    model_sha256: String,
    score_threshold: f32,
    nms_iou: f32,
    top_k: usize,
    photos: BTreeMap<String, Photo>,
}

#[derive(Deserialize)]
struct Photo {
    width: u32,
    height: u32,
    /// x, y, width, height, five landmarks, score.
    faces: Vec<[f32; 15]>,
}

fn golden_face(row: &[f32; 15]) -> Face {
    let landmarks = std::array::from_fn(|n| Point { x: row[4 + 2 * n], y: row[5 + 2 * n] });
    Face { x: row[0], y: row[1], width: row[2], height: row[3], score: row[14], landmarks }
}

fn asset(name: &str) -> PathBuf {
    let folder = std::env::var_os("FACEMILL_ASSETS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/downloads"), PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `make assets`", path.display());
    path
}

#[tokio::test]
async fn same_faces_as_opencv_on_the_same_pixels() {
    let golden: Golden = serde_json::from_str(include_str!("golden/opencv_faces.json")).unwrap();
    let source = ModelSource {
        runtime_library: asset("libonnxruntime.so"),
        runtime_sha256: Vec::new(),
        model: asset("face_detection_yunet_2023mar.onnx"),
        sha256: Some(golden.model_sha256),
        device: Device::Cpu,
    };
    // Whole pixels, as OpenCV sees them: nothing is shrunk and nothing enlarged.
    let preprocess = Preprocess::new(PreprocessOptions {
        working_size: u32::MAX,
        max_pixels: 40_000_000,
        max_side: 16_384,
        decode_bytes: 1 << 30,
        threads: NonZero::<usize>::MIN,
        frame_format: FrameFormat::Rgb8,
    })
    .unwrap();
    let options = DetectOptions {
        working_size: 0,
        score_threshold: golden.score_threshold,
        nms_iou: golden.nms_iou,
        top_k: golden.top_k,
    };
    let detect = Detect::new(OnnxModel::load(&source, 1, &Timings::default()).unwrap().sessions, options).unwrap();

    for (name, photo) in &golden.photos {
        let body = std::fs::read(asset("photos").join(name)).unwrap().into();
        let facts = Facts::submitted("http://a.example/", "job", Timestamp::now());
        let Effect::HandOver(frame) = preprocess.process(&Message { facts, body }).await.unwrap() else { panic!() };
        let picture = frame.facts.picture.clone().unwrap();
        assert_eq!((picture.frame_width, picture.frame_height), (photo.width, photo.height), "{name}");
        let Effect::Detected(faces) = detect.process(&frame).await.unwrap() else { panic!() };

        assert_eq!(faces.len(), photo.faces.len(), "{name}: number of faces");
        for expected in photo.faces.iter().map(golden_face) {
            let found = faces.iter().max_by(|a, b| a.iou(&expected).total_cmp(&b.iou(&expected))).unwrap();
            assert!(found.iou(&expected) >= 0.95, "{name}: {found:?} for {expected:?}");
            assert!((found.score - expected.score).abs() <= 0.01, "{name}: {found:?} for {expected:?}");
            for (found, expected) in found.landmarks.iter().zip(&expected.landmarks) {
                let distance = (found.x - expected.x).hypot(found.y - expected.y);
                assert!(distance <= 1.0, "{name}: landmark {found:?} for {expected:?}");
            }
        }
    }
}
