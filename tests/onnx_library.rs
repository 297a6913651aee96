//! In a process of its own, since ONNX Runtime can be loaded once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::PathBuf;

use facemill::{
    adapters::onnx::{Device, ModelSource, OnnxError, OnnxModel},
    telemetry::Timings,
};

fn asset(name: &str) -> PathBuf {
    let folder = std::env::var_os("FACEMILL_ASSETS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/downloads"), PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `make assets`", path.display());
    path
}

#[test]
fn a_file_that_is_no_library_is_an_error_and_the_right_one_still_loads() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libtext.so");
    std::fs::write(&text, b"no library").unwrap();
    let model = asset("face_detection_yunet_2023mar.onnx");
    let wrong = ModelSource {
        runtime_library: text,
        runtime_sha256: vec![],
        model: model.clone(),
        sha256: None,
        device: Device::Cpu,
    };
    let error = OnnxModel::load(&wrong, 1, &Timings::default()).map(|_| ()).unwrap_err();
    assert!(matches!(error, OnnxError::Library { .. }), "{error:?}");
    for part in ["libtext.so", "detect.runtime_library", "make assets"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let other_sum = vec!["0".repeat(64)];
    let right = asset("libonnxruntime.so");
    let another = ModelSource { runtime_library: right.clone(), runtime_sha256: other_sum, ..wrong.clone() };
    let error = OnnxModel::load(&another, 1, &Timings::default()).map(|_| ()).unwrap_err();
    assert!(matches!(error, OnnxError::LibraryChecksum { .. }), "{error:?}");
    for part in ["libonnxruntime.so", "detect.runtime_library_sha256", "make assets"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let right = ModelSource { runtime_library: right, ..wrong };
    assert_eq!(OnnxModel::load(&right, 1, &Timings::default()).unwrap().sessions.len(), 1);
}
