use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::{
    domain::{Facts, FrameFormat, Message, Picture, Timestamp},
    stages::{
        Effect, Stage,
        detect::{Detect, DetectOptions, Detector},
        preprocess::{Decode, PictureDecoder, Preprocess, PreprocessOptions},
    },
};

const SHA256: &str = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4";

fn asset(name: &str) -> PathBuf {
    let folder = std::env::var_os("FACEMILL_ASSETS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/downloads"), PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `make assets`", path.display());
    path
}

fn source() -> ModelSource {
    ModelSource {
        runtime_library: asset("libonnxruntime.so"),
        runtime_sha256: Vec::new(),
        model: asset("face_detection_yunet_2023mar.onnx"),
        sha256: Some(SHA256.into()),
        device: Device::Cpu,
    }
}

fn error(source: &ModelSource) -> String {
    OnnxModel::load(source, 1, &Timings::default()).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_model_is_known_by_name_and_content() {
    let model = OnnxModel::load(&source(), 2, &Timings::default()).unwrap();
    assert_eq!(model.identity, Model { name: "face_detection_yunet_2023mar".into(), sha256: SHA256.into() });
    assert_eq!(model.sessions.len(), 2);
}

/// Every output at 640×640, to the bit.
#[test]
fn with_free_sizes_the_model_says_what_the_untouched_one_says() {
    let file = std::fs::read(source().model).unwrap();
    let environment = environment(&source().runtime_library, &[]).unwrap();
    let values: Vec<f32> = (0..3 * 640 * 640_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as f32).collect();
    let answers = |graph: &[u8]| {
        let mut session = builder(&environment, Device::Cpu).unwrap().commit_from_memory(graph).unwrap();
        let tensor = TensorRef::from_array_view(([1_usize, 3, 640, 640], values.as_slice())).unwrap();
        let answers = session.run(ort::inputs![INPUT => tensor]).unwrap();
        let bits = answers.iter().map(|(name, value)| {
            let (shape, values) = value.try_extract_tensor::<f32>().unwrap();
            (name.to_owned(), shape.to_vec(), values.iter().map(|value| value.to_bits()).collect::<Vec<_>>())
        });
        bits.collect::<Vec<_>>()
    };
    let untouched = answers(&file);
    assert_eq!(untouched.len(), 12);
    assert!(untouched == answers(&graph::with_free_sizes(&file, INPUT).unwrap()));
}

#[test]
fn one_session_runs_at_every_size() {
    let mut session = OnnxModel::load(&source(), 1, &Timings::default()).unwrap().sessions.remove(0);
    for (width, height) in [(640, 640), (32, 64), (640, 448), (320, 320), (32, 32)] {
        let positions = session.run(&Tensor::black(width, height), |outputs| outputs.map(|level| level.class.len()));
        assert_eq!(positions.unwrap(), [8, 16, 32].map(|stride| width / stride * (height / stride)));
    }
}

/// Frames of all sizes, made of the demo's photographs, of noise and of one colour, and some that are no frames at all.
fn frames() -> Vec<(Picture, Bytes)> {
    let mut random = fastrand::Rng::with_seed(12);
    let picture = |width: u32, height: u32, frame_format| Picture {
        width: 2 * width,
        height: 2 * height,
        orientation: 1,
        truncated: false,
        frame_width: width,
        frame_height: height,
        frame_format,
    };
    let mut frames = Vec::new();
    for name in ["gauss.png", "newton.png", "solvay_conference_1927.jpg"] {
        let body = Bytes::from(std::fs::read(asset("photos").join(name)).unwrap());
        for frame_format in [FrameFormat::Rgb8, FrameFormat::Jpeg] {
            for working_size in [640, 448, 320, 96] {
                let options = PreprocessOptions { working_size, frame_format, ..PreprocessOptions::default() };
                let (picture, frame) = PictureDecoder::new(options).unwrap().decode(&body).unwrap();
                frames.push((picture, frame.into()));
            }
        }
    }
    for (width, height) in [(1, 1), (32, 32), (33, 31), (640, 16), (7, 640), (320, 200)] {
        let mut frame = vec![0; 3 * (width * height) as usize];
        frames.push((picture(width, height, FrameFormat::Rgb8), frame.clone().into()));
        random.fill(&mut frame);
        frames.push((picture(width, height, FrameFormat::Rgb8), frame.clone().into()));
        frame.pop();
        frames.push((picture(width, height, FrameFormat::Rgb8), frame.clone().into()));
        frames.push((picture(width, height, FrameFormat::Jpeg), frame.into()));
    }
    frames
}

#[test]
fn every_frame_has_the_same_faces_alone_and_among_others_in_one_session_in_any_order() {
    let mut frames = frames();
    let (options, timings) = (DetectOptions::default(), Timings::default());
    let sessions = |count| OnnxModel::load(&source(), count, &timings).unwrap().sessions.into_iter().map(Detector::new);
    let mut alone = BTreeMap::new();
    for ((picture, frame), mut detector) in frames.iter().zip(sessions(frames.len())) {
        let key = (picture.frame_width, picture.frame_format == FrameFormat::Jpeg, frame.clone());
        alone.insert(key, detector.frame(frame, picture, &options));
    }
    let found = alone.values().flatten().map(Vec::len);
    assert!(found.clone().sum::<usize>() > 60 && found.clone().any(|faces| faces == 0));
    assert!(alone.values().any(Result::is_err));
    let mut random = fastrand::Rng::with_seed(1);
    let mut detector = sessions(1).next().unwrap();
    for _ in 1..=3 {
        random.shuffle(&mut frames);
        for (picture, frame) in &frames {
            let key = (picture.frame_width, picture.frame_format == FrameFormat::Jpeg, frame.clone());
            assert_eq!(detector.frame(frame, picture, &options), alone[&key], "{picture:?}");
        }
    }
}

#[test]
fn a_session_that_failed_or_panicked_is_not_used_again() {
    let mut session = OnnxModel::load(&source(), 1, &Timings::default()).unwrap().sessions.remove(0);
    let classes = |session: &mut YunetSession| {
        session.run(&Tensor::black(64, 32), |outputs| outputs.map(|level| level.class.to_vec())).unwrap()
    };
    let before = classes(&mut session);
    assert!(session.run(&Tensor::black(0, 0), |_| ()).is_err());
    assert!(session.session.is_none());
    assert_eq!(classes(&mut session), before);
    let panics = |session: &mut YunetSession| session.run(&Tensor::black(32, 32), |_| panic!("broken table"));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panics(&mut session)));
    assert!(panicked.is_err() && session.session.is_none());
    assert_eq!(classes(&mut session), before);
}

#[test]
fn a_missing_or_wrong_file_says_which_what_was_found_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = error(&ModelSource { model: folder.path().join("none.onnx"), ..source() });
    assert!(missing.contains("none.onnx") && missing.contains("detect.model") && missing.contains("make assets"));

    let other = folder.path().join("other.onnx");
    std::fs::write(&other, b"not the model").unwrap();
    let sum = error(&ModelSource { model: other.clone(), ..source() });
    let found = hex(&Sha256::digest(b"not the model"));
    for part in ["other.onnx", SHA256, &found, "make assets", "detect.model_sha256"] {
        assert!(sum.contains(part), "{sum}");
    }

    let wrong = error(&ModelSource { model: other, sha256: None, ..source() });
    assert!(wrong.contains("other.onnx") && wrong.contains("YuNet"), "{wrong}");
}

#[test]
fn a_model_without_yunets_outputs_is_refused_by_name() {
    let file = std::fs::read(source().model).unwrap();
    // The same length, so the file stays whole; the name is that of a node's output as well as the graph's.
    let text = String::from_utf8_lossy(&file).into_owned();
    assert!(text.contains("kps_16"));
    let mut renamed = file;
    while let Some(at) = renamed.windows(6).position(|window| window == b"kps_16") {
        renamed[at..at + 6].copy_from_slice(b"xyz_16");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renamed.onnx");
    std::fs::write(&path, renamed).unwrap();
    let error = error(&ModelSource { model: path, sha256: None, ..source() });
    assert!(error.contains("renamed.onnx") && error.contains("it has no output kps_16"), "{error}");
}

#[test]
fn a_missing_library_names_the_path_the_setting_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let missing = error(&ModelSource { runtime_library: folder.path().join("libnone.so"), ..source() });
    for part in ["libnone.so", "detect.runtime_library", "make assets"] {
        assert!(missing.contains(part), "{missing}");
    }
    // Another library than the one in use; the process cannot change it.
    OnnxModel::load(&source(), 1, &Timings::default()).unwrap();
    let second = folder.path().join("libsecond.so");
    std::fs::write(&second, b"no library").unwrap();
    let second = error(&ModelSource { runtime_library: second, ..source() });
    assert!(second.contains("libsecond.so") && second.contains("loaded already"), "{second}");
}

#[tokio::test]
async fn the_faces_in_the_demo_photos_are_found_end_to_end() {
    let preprocess = Preprocess::new(PreprocessOptions::default()).unwrap();
    let detect =
        Detect::new(OnnxModel::load(&source(), 1, &Timings::default()).unwrap().sessions, DetectOptions::default())
            .unwrap();
    // At the working size of 640 the faces of the group photo are some 16 to 25 pixels high.
    for (name, size, at_least) in [
        ("gauss.png", (1024, 1305), 1),
        ("newton.png", (768, 432), 1),
        ("solvay_conference_1927.jpg", (3000, 2171), 24),
    ] {
        let body = std::fs::read(asset("photos").join(name)).unwrap().into();
        let facts = Facts::submitted("http://a.example/", "job", Timestamp::now());
        let Effect::HandOver(frame) = preprocess.process(&Message { facts, body }).await.unwrap() else { panic!() };
        let picture = frame.facts.picture.clone().unwrap();
        assert_eq!((picture.width, picture.height, picture.truncated), (size.0, size.1, false));
        assert_eq!(picture.frame_width.max(picture.frame_height), 640);
        let Effect::Detected(faces) = detect.process(&frame).await.unwrap() else { panic!() };
        assert!(faces.len() >= at_least && faces.len() <= 29, "{name}: {} faces", faces.len());
        assert!(faces.is_sorted_by(|a, b| a.score >= b.score), "best first");
        for face in faces {
            let inside = |point: &crate::domain::Point| {
                (face.x..=face.x + face.width).contains(&point.x) && (face.y..=face.y + face.height).contains(&point.y)
            };
            assert!(face.landmarks.iter().all(inside), "{name}: {face:?}");
            assert!(face.x + face.width / 2.0 < size.0 as f32 && face.y + face.height / 2.0 < size.1 as f32);
            // Right eye left of the left eye in the picture, nose below, mouth below the nose.
            let [right_eye, left_eye, nose, right_mouth, left_mouth] = face.landmarks;
            assert!(right_eye.x < left_eye.x && right_eye.y < nose.y && nose.y < right_mouth.y.max(left_mouth.y));
        }
    }
}

#[test]
fn a_gpu_that_cannot_be_had_is_an_error_and_no_slow_detector() {
    let error = error(&ModelSource { device: Device::Cuda, ..source() });
    for part in ["detect.device", "detect.runtime_library", "NVIDIA"] {
        assert!(error.contains(part), "{error}");
    }
}
