#!/usr/bin/env bash
# Measures what bad neighbours cost the good URLs of a run: make bench-hostile, or
# benches/hostile.sh [mixed] [down] [slow] [dns].
#
# URLS=20000, PROFILE=bench. docs/performance.md explains what is measured.
set -euo pipefail

cd "$(dirname "$0")/.."
scripts/need.sh python3 cargo
profile=${PROFILE:-bench}
target=${CARGO_TARGET_DIR:-target}
out=$target/bench
echo "Building with optimisation (some minutes the first time)"
cargo build --quiet --profile "$profile" --workspace --bins
if [ ! -e "$out/pictures/199.jpg" ]; then
    cargo bench --quiet --profile "$profile" --bench pictures -- assets/downloads/photos "$out/pictures" 200
fi
# A socket for each connection, on both sides.
ulimit -n "$(ulimit -Hn)"
exec python3 benches/hostile.py --facemill "$target/release/facemill" --demo-server "$target/release/demo-server" \
    --out "$out" --urls "${URLS:-20000}" "$@"
