#!/usr/bin/env bash
# Fetches ONNX Runtime for CUDA and the libraries that it loads: image-cuda.sh FOLDER
#
# FOLDER/lib gets the libraries, FOLDER/licenses their licences; 1.3 GB are downloaded. Only libcuda.so.1 is not among
# them: it belongs to the driver, and NVIDIA's container toolkit adds it when a container starts.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=$1
if [ "$(uname -m)" != x86_64 ]; then
    echo "image-cuda: ONNX Runtime with CUDA is pinned for x86_64 only, not for $(uname -m)" >&2
    exit 1
fi
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
"$root/scripts/need.sh" python3
python3 -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
    --python-version 3.12 --implementation cp --abi cp312 --abi none --platform manylinux_2_28_x86_64 \
    --platform manylinux_2_27_x86_64 --platform manylinux2014_x86_64 --dest "$wheels" \
    --requirement "$root/scripts/image-cuda.txt"

mkdir -p "$out/lib" "$out/licenses"
python3 - "$wheels" "$out" <<'PYTHON'
import shutil
import sys
import zipfile
from pathlib import Path

wheels, out = map(Path, sys.argv[1:])
# Of ONNX Runtime: what is loaded by a program that is not Python, without TensorRT.
runtime = {"libonnxruntime_providers_cuda.so", "libonnxruntime_providers_shared.so"}


def wanted(wheel, name):
    if wheel.name.startswith("onnxruntime"):
        return name in runtime or name.startswith("libonnxruntime.so.")
    return ".so" in name


for wheel in sorted(wheels.glob("*.whl")):
    package = wheel.name.split("-")[0]
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = member.rsplit("/", 1)[-1]
            if wanted(wheel, name):
                # ONNX Runtime's own name of itself has the version; facemill's setting has not.
                target = out / "lib" / ("libonnxruntime.so" if name.startswith("libonnxruntime.so.") else name)
            elif name.lower() in {"license", "license.txt", "thirdpartynotices.txt"}:
                target = out / "licenses" / f"{package}-{name}"
            else:
                continue
            with archive.open(member) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
PYTHON
