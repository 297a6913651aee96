#!/usr/bin/env bash
# Measures `facemill run` on one broker and Cassandra, and the runner alone: make bench-kafka, or
# benches/cluster.sh [kafka] [backlog] [runner]. Starts the servers and stops them.
#
# ROUNDS=3, URLS=5000 a run, RECORDS=300000, BACKLOG=200000, PROFILE=bench. docs/performance.md explains what is measured.
set -euo pipefail

cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin
scripts/need.sh nginx python3 cargo java
profile=${PROFILE:-bench}
out=$(realpath -m "${CARGO_TARGET_DIR:-target}")/bench
echo "Building with optimisation (some minutes the first time)"
cargo bench --quiet --profile "$profile" --bench runner --bench pictures --no-run
if [ ! -e "$out/pictures/199.jpg" ]; then
    cargo bench --quiet --profile "$profile" --bench pictures -- assets/downloads/photos "$out/pictures" 200
fi
# Thumbnails, so that 200,000 of them pass through all stages within minutes.
if [ ! -e "$out/pictures/small/019.jpg" ]; then
    cargo bench --quiet --profile "$profile" --bench pictures -- assets/downloads/photos "$out/pictures/small" 20 128
fi

STACK_DIR=$(mktemp -d)/stack
export STACK_DIR STACK_BROKERS=1 STACK_SECURE=0
trap 'STACK_WIPE=1 scripts/stack.sh down >/dev/null 2>&1 || true; rm -rf "${STACK_DIR%/stack}"' EXIT
scripts/stack.sh up >/dev/null
set -a
# shellcheck source=/dev/null
. "$STACK_DIR/env"
set +a
python3 benches/cluster.py --facemill "${CARGO_TARGET_DIR:-target}/release/facemill" --out "$out" \
    --runner "cargo bench --quiet --profile $profile --bench runner --" \
    --rounds "${ROUNDS:-3}" --urls "${URLS:-5000}" --records "${RECORDS:-300000}" \
    --backlog "${BACKLOG:-200000}" "$@"
