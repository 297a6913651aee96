#!/usr/bin/env bash
# The tests that need real servers, on a stack of their own: three brokers and Cassandra, gone again at the end.
#
#   it.sh [FILTER...]   only tests whose names have one of these in them
set -euo pipefail

cd "$(dirname "$0")/.."
folder=$(mktemp -d)
export STACK_DIR=$folder/stack STACK_BROKERS=3
unset FACEMILL

finish() {
    local code=$?
    trap - EXIT
    # A test that was interrupted may have left one paused or down; the processes end all the same.
    STACK_WIPE=1 STACK_STOP_SECONDS=10 scripts/stack.sh down >"$folder/down" 2>&1 || cat "$folder/down" >&2
    rm -rf "$folder"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

targets=(--test cql --test topics --test kafka)
# Built before anything runs, so that no server waits for the compiler.
cargo test --quiet --workspace "${targets[@]}" --no-run

scripts/stack.sh up || { echo 'it: the servers do not start; what they need: docs/stack.md' >&2; exit 1; }
# shellcheck source=/dev/null
. "$STACK_DIR/env"
export FACEMILL_TEST_KAFKA=$KAFKA_BROKERS FACEMILL_TEST_CQL=$CQL_CONTACT_POINT
# More threads than cores: most of the time, these tests wait.
cargo test --workspace --no-fail-fast "${targets[@]}" -- --ignored --test-threads=3 "$@"
