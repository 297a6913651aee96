#!/usr/bin/env bash
# The tests that need real servers, on stacks of their own: three brokers and Cassandra, then one broker and Cassandra
# with TLS, passwords and rights. They are gone again at the end.
#
#   it.sh [FILTER...]   only tests whose names have one of these in them
set -euo pipefail

cd "$(dirname "$0")/.."
folder=$(mktemp -d)
export STACK_DIR=$folder/stack
unset FACEMILL
code=0

# A test that was interrupted may have left a server paused or down; the processes end all the same.
stop() {
    STACK_WIPE=1 STACK_STOP_SECONDS=10 scripts/stack.sh down >"$folder/down" 2>&1 || cat "$folder/down" >&2
}

# shellcheck disable=SC2329 # called by the trap
finish() {
    local code=$?
    trap - EXIT
    stop
    rm -rf "$folder"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# on_stack SECURE BROKERS TARGET...: the tests of these targets, on a stack that is started for them
on_stack() {
    local targets
    mapfile -t targets < <(printf -- '--test\n%s\n' "${@:3}")
    export STACK_SECURE=$1 STACK_BROKERS=$2
    scripts/stack.sh up || { echo 'it: the servers do not start; what they need: docs/stack.md' >&2; exit 1; }
    # shellcheck source=/dev/null
    . "$STACK_DIR/env"
    export FACEMILL_TEST_KAFKA=$KAFKA_BROKERS FACEMILL_TEST_CQL=$CQL_CONTACT_POINT FACEMILL_TEST_SECURE=$STACK_DIR
    # More threads than cores: most of the time, these tests wait.
    cargo test --workspace --no-fail-fast "${targets[@]}" -- --ignored --test-threads=3 "${filters[@]}" || code=1
    stop
}

filters=("$@")
tools=$(scripts/kube/tools.sh otelcol prometheus)
export FACEMILL_TEST_OTELCOL=$tools/otelcol FACEMILL_TEST_PROMETHEUS=$tools/prometheus
# Built before anything runs, so that no server waits for the compiler; the program too, which the tests only start.
cargo build --quiet --workspace --bins --examples
cargo test --quiet --workspace --no-run --test cql --test topics --test kafka --test secure
on_stack 0 3 cql topics kafka
on_stack 1 1 secure
exit "$code"
