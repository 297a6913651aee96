#!/usr/bin/env python3
"""Writes tests/golden/opencv_faces.json: what OpenCV's FaceDetectorYN finds in the demo photos.

tests/detector_parity.rs holds facemill's detector to it. Run again only when the model or the photos change:

    python3 -m venv VENV && VENV/bin/pip install opencv-python-headless==4.14.0.94
    VENV/bin/python scripts/golden_opencv.py [ASSETS]     # ASSETS: assets/downloads, filled by `make assets`
"""

import hashlib
import json
import pathlib
import sys

import cv2

ROOT = pathlib.Path(__file__).resolve().parent.parent
PHOTOS = ["gauss.png", "newton.png", "solvay_conference_1927.jpg"]
MODEL = "face_detection_yunet_2023mar.onnx"
SCORE_THRESHOLD, NMS_IOU, TOP_K = 0.6, 0.3, 5000


def main() -> None:
    assets = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "assets" / "downloads"
    model = assets / MODEL
    photos = {}
    for name in PHOTOS:
        picture = cv2.imread(str(assets / "photos" / name), cv2.IMREAD_COLOR)
        height, width = picture.shape[:2]
        detector = cv2.FaceDetectorYN.create(str(model), "", (width, height), SCORE_THRESHOLD, NMS_IOU, TOP_K)
        _, faces = detector.detect(picture)
        rows = [] if faces is None else faces.tolist()
        # One face: x, y, width, height, five landmarks (x, y), score.
        photos[name] = {"width": width, "height": height, "faces": [[round(n, 4) for n in row] for row in rows]}
    golden = {
        "opencv": cv2.__version__,
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "score_threshold": SCORE_THRESHOLD,
        "nms_iou": NMS_IOU,
        "top_k": TOP_K,
        "photos": photos,
    }
    target = ROOT / "tests" / "golden" / "opencv_faces.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(golden, indent=1)
    # One face a line.
    for row in (row for photo in photos.values() for row in photo["faces"]):
        text = text.replace(json.dumps(row, indent=1).replace("\n", "\n    "), json.dumps(row))
    target.write_text(text + "\n")
    counts = ", ".join(f"{name} {len(photo['faces'])}" for name, photo in photos.items())
    print(f"{target}: {counts}")


if __name__ == "__main__":
    main()
