#!/usr/bin/env bash
# Measures speed and memory of `facemill local`: make bench, or benches/run.sh [cpu] [memory] [startup] [corrupt].
#
# ROUNDS=5 alternations of yardstick and run, URLS=2000 a run, MEMORY_URLS=20000, PROFILE=bench (or release, which
# links more slowly), BASELINE=PROGRAM, another build of facemill that cpu and corrupt run by turns with this one.
# Options for facemill go into FACEMILL_OPTIONS="--set local.partitions=8".
# docs/performance.md explains what is measured.
set -euo pipefail

cd "$(dirname "$0")/.."
# Where Debian has nginx, for those who are not root.
PATH=$PATH:/usr/sbin
scripts/need.sh nginx python3 cargo
for asset in libonnxruntime.so face_detection_yunet_2023mar.onnx photos; do
    [ -e "assets/downloads/$asset" ] || { echo "benches/run.sh: assets/downloads/$asset is missing: make assets" >&2; exit 1; }
done

profile=${PROFILE:-bench}
out=${CARGO_TARGET_DIR:-target}/bench
echo "Building with optimisation (some minutes the first time)"
cargo bench --quiet --profile "$profile" --bench kernels --bench pictures --no-run
kernels=(cargo bench --quiet --profile "$profile" --bench)

if [ ! -e "$out/pictures/199.jpg" ]; then
    "${kernels[@]}" pictures -- assets/downloads/photos "$out/pictures" 200
fi

if [ ! -e "$out/corrupt/199.jpg" ]; then
    "${kernels[@]}" pictures -- assets/downloads/photos "$out/corrupt" 200 corrupt
fi

exec python3 benches/measure.py --facemill "${CARGO_TARGET_DIR:-target}/release/facemill" --out "$out" \
    --rounds "${ROUNDS:-5}" --urls "${URLS:-2000}" --memory-urls "${MEMORY_URLS:-20000}" \
    --baseline "${BASELINE:-}" --options "${FACEMILL_OPTIONS:-}" --kernels "${kernels[*]} kernels --" "$@"
