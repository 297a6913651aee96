#!/usr/bin/env python3
"""Holds the outcomes of a folder of images against Pillow and OpenCV, and against themselves in another order.

    scripts/corpus.py FACEMILL FOLDER

FACEMILL is the program, FOLDER any tree of files: a fuzzing corpus, a conformance suite, photographs. Each file is
served on loopback and goes through `facemill local` twice, in two orders, with one decoder and one session. Exits 1 when a
file ends differently the second time, or when more than 2 % are refused of the images that both others decode, that are of
a format that facemill decodes, and that are within its limits of size.

Needs Pillow and OpenCV: python3 -m pip install pillow==13.0.0 opencv-python-headless==5.0.0.93
"""

import collections
import concurrent.futures
import functools
import http.server
import io
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
FORMATS = {"JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "DIB"}
# preprocess.max_pixels and preprocess.max_side.
MAX_PIXELS, MAX_SIDE = 40_000_000, 16_384
MAX_REFUSED = 0.02
# What a row says of the image, and of nothing else.
FIELDS = ["status", "reason", "detail", "width", "height", "orientation", "truncated", "faces"]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


def is_ordinary(path: pathlib.Path) -> bool:
    """Whether Pillow and OpenCV both decode it, and facemill should."""
    import cv2
    import numpy
    from PIL import Image

    file = path.read_bytes()
    try:
        image = Image.open(io.BytesIO(file))
        width, height = image.size
        if image.format not in FORMATS or width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
            return False
        image.convert("RGB")
        return cv2.imdecode(numpy.frombuffer(file, numpy.uint8), cv2.IMREAD_COLOR) is not None
    except Exception:  # noqa: BLE001 # damaged files make them raise whatever there is
        return False


def outcomes(program: str, folder: pathlib.Path, names: list) -> dict:
    """Each file's outcome, after a run over them in this order."""
    handler = functools.partial(QuietHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}/"
    with tempfile.TemporaryDirectory() as scratch:
        urls, db = pathlib.Path(scratch, "urls.txt"), pathlib.Path(scratch, "corpus.db")
        urls.write_text("".join(f"{base}{name}\n" for name in names))
        command = [program, "local", urls, "--db", db, "--output", "none", "--allow-network", "127.0.0.0/8"]
        # Decoding may take as long as it takes: a time-out would depend on the machine.
        settings = ["preprocess.threads=1", "detect.threads=1", "fetch.host_concurrency=8", "preprocess.decode_timeout=60s"]
        subprocess.run([*command, *(f"--set={setting}" for setting in settings)], cwd=ROOT, check=True)
        rows = subprocess.run([program, "export", "--db", db], stdout=subprocess.PIPE, cwd=ROOT, check=True).stdout
    server.shutdown()
    found = {row["url"].removeprefix(base): row for row in map(json.loads, rows.splitlines())}
    return {name: {field: found[name].get(field) for field in FIELDS} for name in names}


def main() -> None:
    if len(sys.argv) != 3 or not sys.argv[2]:
        sys.exit(__doc__)
    program, folder = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2])
    try:
        import cv2  # noqa: F401
        import PIL  # noqa: F401
    except ImportError as error:
        sys.exit(f"corpus.py: {error}; python3 -m pip install pillow==13.0.0 opencv-python-headless==5.0.0.93")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        sys.exit(f"corpus.py: no files in {folder}")
    with tempfile.TemporaryDirectory() as served:
        # By number: names of any kind go into no URL.
        names = {f"{number}": path for number, path in enumerate(files)}
        for name, path in names.items():
            os.symlink(path.resolve(), os.path.join(served, name))
        order = list(names)
        first = outcomes(program, served, order)
        random.Random(1).shuffle(order)
        second = outcomes(program, served, order)
    differ = [name for name in names if first[name] != second[name]]
    for name in differ[:20]:
        print(f"differs: {names[name]}: {first[name]} and then {second[name]}")
    with concurrent.futures.ProcessPoolExecutor() as pool:
        ordinary = [name for name, is_one in zip(names, pool.map(is_ordinary, files, chunksize=50)) if is_one]
    refused = [name for name in ordinary if first[name]["status"] != "detected"]
    for name in refused[:50]:
        print(f"refused: {names[name]}: {first[name]['reason']}: {first[name]['detail']}")
    counts = collections.Counter(outcome["reason"] or outcome["status"] for outcome in first.values())
    print(f"{len(files)} files: {dict(counts.most_common())}")
    share = len(refused) / max(len(ordinary), 1)
    print(f"{len(differ)} end differently in another order; of {len(ordinary)} images that Pillow and OpenCV decode "
          f"{len(refused)} are refused: {share:.1%}")  # fmt: skip
    sys.exit(1 if differ or share > MAX_REFUSED else 0)


if __name__ == "__main__":
    main()
