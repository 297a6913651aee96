#!/usr/bin/env python3
"""Measures facemill's average precision on boxed photographs, through the whole of `facemill local`.

    scripts/eval.py FACEMILL [FOLDER] [--set key=value]...
    scripts/eval.py --self-test

FACEMILL is the program. FOLDER holds photos/ and boxes.csv (file, x, y, width, height, label; each row a face)
and is ../shared/faces beside the repository unless named; where it is absent, that is an error. The photos
are served over loopback HTTP, the rows come back through `facemill export`.
"""

import argparse
import csv
import functools
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIN_IOU = 0.5
# Low enough that the curve reaches the recall that the model can reach at all.
SCORE_THRESHOLD = 0.05
MIN_HEIGHTS = [0, 16, 24, 40]


def iou(a: tuple, b: tuple) -> float:
    """Intersection over union of two boxes (x, y, width, height).

    >>> iou((0, 0, 10, 10), (0, 0, 10, 10)), iou((0, 0, 10, 10), (20, 0, 10, 10))
    (1.0, 0.0)
    >>> round(iou((0, 0, 10, 10), (5, 0, 10, 10)), 4)
    0.3333
    """
    across = max(0.0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    shared = across * down
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union > 0 else 0.0


def average_precision(truth: dict, found: dict, min_height: float = 0) -> tuple:
    """Average precision at IoU 0.5 (area under the interpolated precision-recall curve), and recall.

    `truth`: photo -> boxes; `found`: photo -> (score, box). Only faces at least `min_height` high count;
    smaller ones, and what is found in their place or is itself smaller, count neither way. A face is found
    once; a second box on it is a false one.

    >>> a, b, far = (0, 0, 10, 10), (50, 0, 10, 10), (200, 0, 10, 10)
    >>> average_precision({"p": [a, b]}, {"p": [(0.9, a), (0.8, b)]})
    (1.0, 1.0)

    The better box is wrong: every point of the curve has half the precision.

    >>> average_precision({"p": [a]}, {"p": [(0.9, far), (0.8, a)]})
    (0.5, 1.0)

    One face is missed; the false box comes after all that was found.

    >>> average_precision({"p": [a, b]}, {"p": [(0.9, a), (0.1, far)]})
    (0.5, 0.5)

    The second box on a face is false, and hurts what comes after it.

    >>> precision, recall = average_precision({"p": [a, b]}, {"p": [(0.9, a), (0.8, a), (0.7, b)]})
    >>> round(precision, 4), recall
    (0.8333, 1.0)

    Small faces count neither way.

    >>> small = (100, 0, 5, 5)
    >>> average_precision({"p": [a, small]}, {"p": [(0.9, small), (0.8, a), (0.7, (9, 90, 3, 3))]}, 10)
    (1.0, 1.0)
    >>> average_precision({"p": []}, {})
    (0.0, 0.0)
    """
    total = sum(box[3] >= min_height for boxes in truth.values() for box in boxes)
    taken, hits = set(), []
    ranked = sorted(((score, photo, box) for photo, rows in found.items() for score, box in rows), key=lambda r: -r[0])
    for _, photo, box in ranked:
        boxes = truth.get(photo, [])
        # Best of those still free; a face that counts goes before one that does not.
        free = [n for n, other in enumerate(boxes) if (photo, n) not in taken and iou(box, other) >= MIN_IOU]
        best = max(free, key=lambda n: (boxes[n][3] >= min_height, iou(box, boxes[n])), default=None)
        if best is not None:
            taken.add((photo, best))
            if boxes[best][3] >= min_height:
                hits.append(True)
        elif box[3] >= min_height:
            hits.append(False)
    if total == 0:
        return 0.0, 0.0
    points, right = [], 0
    for rank, hit in enumerate(hits, 1):
        right += hit
        points.append((right / total, right / rank))
    area, best, end = 0.0, 0.0, points[-1][0] if points else 0.0
    for (recall, precision), (before, _) in zip(reversed(points), reversed([(0.0, 0.0), *points[:-1]])):
        best = max(best, precision)
        area += (recall - before) * best
    return area, end


def read_truth(folder: pathlib.Path) -> dict:
    truth = {photo.name: [] for photo in sorted((folder / "photos").iterdir())}
    with open(folder / "boxes.csv", newline="") as file:
        for row in csv.DictReader(file):
            truth[row["file"]].append(tuple(float(row[key]) for key in ("x", "y", "width", "height")))
    return truth


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


def detect(program: str, photos: pathlib.Path, names: list, settings: list) -> dict:
    """Photo -> the row that the program writes, in which all faces are that reach SCORE_THRESHOLD."""
    handler = functools.partial(QuietHandler, directory=str(photos))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with tempfile.TemporaryDirectory(prefix="facemill-eval-") as temporary:
            base = f"http://127.0.0.1:{server.server_port}/"
            urls, db = pathlib.Path(temporary, "urls.txt"), str(pathlib.Path(temporary, "eval.db"))
            urls.write_text("".join(f"{base}{name}\n" for name in names))
            command = [program, "local", "--db", db, "--allow-network", "127.0.0.0/8", "--output", "none"]
            for setting in [f"detect.score_threshold={SCORE_THRESHOLD}", *settings]:
                command += ["--set", setting]
            subprocess.run([*command, str(urls)], check=True)
            export = [program, "export", "--db", db, "--format", "jsonl"]
            lines = subprocess.run(export, check=True, capture_output=True, text=True).stdout.splitlines()
    finally:
        server.shutdown()
    rows = {row["url"].removeprefix(base): row for row in map(json.loads, lines)}
    failed = [f"{name}: {rows[name]['reason'] if name in rows else 'no row'}"
              for name in names if rows.get(name, {}).get("status") != "detected"]
    if failed:
        sys.exit("eval: not every photo was detected, so nothing is measured: " + "; ".join(failed[:5]))
    return rows


def faces(rows: dict) -> dict:
    """Photo -> (score, box) of the faces in its row."""
    return {name: [(f["score"], (f["x"], f["y"], f["width"], f["height"])) for f in row["faces"]]
            for name, row in rows.items()}


def report(truth: dict, found: dict) -> None:
    labelled = [box for boxes in truth.values() for box in boxes]
    print(f"{len(truth)} photos, {len(labelled)} faces, IoU {MIN_IOU}, scores from {SCORE_THRESHOLD}")
    print(f"{'face height':<12}{'faces':>7}{'AP':>8}{'recall':>8}")
    for height in MIN_HEIGHTS:
        precision, recall = average_precision(truth, found, height)
        name = f">= {height} px" if height else "all"
        print(f"{name:<12}{sum(box[3] >= height for box in labelled):>7}{precision:>8.3f}{recall:>8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT.parent / "shared" / "faces")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="a setting of facemill's")
    parser.add_argument("--self-test", action="store_true", help="check the arithmetic and stop")
    arguments = parser.parse_args()
    if arguments.self_test:
        import doctest
        failures, tests = doctest.testmod()
        print(f"eval: {tests - failures} of {tests} checks passed")
        sys.exit(1 if failures else 0)
    if arguments.program is None:
        parser.error("name the facemill program")
    if not (arguments.folder / "boxes.csv").exists():
        sys.exit(f"eval: no boxes.csv in {arguments.folder}; name a folder with boxes.csv and photos/: "
                 "make eval FACES=FOLDER")
    truth = read_truth(arguments.folder)
    report(truth, faces(detect(arguments.program, arguments.folder / "photos", list(truth), arguments.set)))


if __name__ == "__main__":
    main()
