#!/usr/bin/env bash
# Every check of `make check`, in the order of their cost. The first that fails ends it.
set -euo pipefail

cd "$(dirname "$0")/.."
bin=$(scripts/tools.sh)
advisories=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs

step() {
    local name=$1 started=$SECONDS
    shift
    printf '%-24s' "$name"
    local output
    if ! output=$("$@" 2>&1); then
        printf 'FAILED\n%s\n' "$output"
        exit 1
    fi
    printf 'ok %4d s\n' $((SECONDS - started))
}

skip() {
    printf '%-24sskipped: %s\n' "$1" "$2"
}

# step, or skip where this machine has no such program
step_with() {
    local name=$1 program=$2
    shift 2
    if [ -x "$bin/$program" ]; then
        step "$name" "$bin/$program" "$@"
    else
        skip "$name" "no $program for this machine"
    fi
}

mapfile -t shell < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run scripts/kafka/cqlsh scripts/fuzz/cc)

step 'rustfmt' cargo fmt --all --check
step 'rustfmt: fuzz' cargo fmt --manifest-path fuzz/Cargo.toml --check
step 'layers' scripts/check-layers.py
step 'layers: the checker' scripts/test-check-layers.py
step 'needs: the checker' scripts/test-need.sh
step 'eval: the arithmetic' python3 scripts/eval.py --self-test
step 'gpu-test: comparison' env -C scripts python3 -m doctest gpu-test.py
step_with 'spelling' typos
step_with 'TOML format' taplo fmt --check
step_with 'shell scripts' shellcheck "${shell[@]}"
step 'unused dependencies' "$bin/cargo-machete"
step 'licences, bans, sources' "$bin/cargo-deny" --locked check --hide-inclusion-graph licenses bans sources
if compgen -G "$advisories/*/.git" >/dev/null; then
    step 'advisories' "$bin/cargo-deny" --locked --offline check advisories
else
    skip 'advisories' "no advisory database here; with a network: $bin/cargo-deny fetch db"
fi
echo 'clippy (the first time some minutes)'
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
printf '%-24sok\n' 'clippy'
