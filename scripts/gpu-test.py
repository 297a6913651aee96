#!/usr/bin/env python3
"""Holds the faces that a GPU finds against those that a processor finds, through the whole of `facemill local`.

    scripts/gpu-test.py FACEMILL FOLDER RUNTIME_LIBRARY [--set key=value]...

FOLDER holds photos/ and boxes.csv, as for scripts/eval.py. RUNTIME_LIBRARY is libonnxruntime.so for CUDA, with its
providers beside it (scripts/image-cuda.sh FOLDER fetches it), and LD_LIBRARY_PATH leads to CUDA 13 and cuDNN 9. Exits 1
when a face of one has none in the other, or one with another box or score. Scores that differ by less than SCORE may
lie on both sides of the threshold: such a face may be missing.
"""

import argparse
import pathlib
import statistics
import sys

import eval as measured

# As scripts/golden_opencv.py holds facemill against OpenCV.
IOU, SCORE = 0.95, 0.01
# One picture at a time, so that times are those of the work and not of a queue.
ALONE = ["detect.threads=1", "runner.lane_running=1", "local.partitions=1"]


def differences(one: dict, other: dict) -> list:
    """What is in one and not in the other.

    >>> a, b = (0.9, (0, 0, 10, 10)), (0.5, (50, 0, 10, 10))
    >>> differences({"p": [a, b]}, {"p": [(0.5, (50, 0, 10, 10)), (0.905, (0, 0, 10, 10))]})
    []
    >>> differences({"p": [a]}, {"p": [(0.8, (0, 0, 10, 10))]})
    ['p: no other face like (0, 0, 10, 10) of 0.9000']
    >>> differences({"p": [a]}, {"p": [(0.9, (1, 0, 10, 10))]})
    ['p: no other face like (0, 0, 10, 10) of 0.9000']
    >>> differences({"p": [(0.055, (0, 0, 10, 10))]}, {"p": []})
    []
    """
    missing = []
    for photo, rows in one.items():
        for score, box in rows:
            if score - measured.SCORE_THRESHOLD < SCORE:
                continue
            if not any(abs(score - found) < SCORE and measured.iou(box, at) >= IOU for found, at in other[photo]):
                missing.append(f"{photo}: no other face like {box} of {score:.4f}")
    return missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("library", type=pathlib.Path)
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="a setting of facemill's")
    arguments = parser.parse_args()
    truth = measured.read_truth(arguments.folder)
    found = {}
    for device, settings in (("cpu", []), ("cuda", [f"detect.runtime_library={arguments.library}"])):
        settings = [*arguments.set, *ALONE, f"detect.device={device}", *settings]
        rows = measured.detect(arguments.program, arguments.folder / "photos", list(truth), settings)
        found[device] = measured.faces(rows)
        millis = sorted(row["timings"]["detect_us"] / 1000 for row in rows.values())
        print(f"{device}: a picture took detect {statistics.median(millis):.2f} ms in the median, at most {millis[-1]:.1f}")
        measured.report(truth, found[device])
    faults = differences(found["cpu"], found["cuda"]) + differences(found["cuda"], found["cpu"])
    print(*faults[:20], f"{len(faults)} faces differ", sep="\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
