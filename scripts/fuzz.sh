#!/usr/bin/env bash
# Fuzzes: fuzz.sh [SECONDS [TARGET...]], 600 seconds of each target of fuzz/ if nothing else is said.
#
# The seeds are made by the tests (src/stages/preprocess/tests/seeds.rs) and from fuzz/seeds/; seeds, corpora, findings
# and everything that is built for it lie in ${XDG_CACHE_HOME:-~/.cache}/facemill/fuzz. What a run finds stays in the
# corpus, so that the next one goes on from there. The exit code is 1 when a target found something.
set -euo pipefail

cd "$(dirname "$0")/.."
seconds=${1:-600}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(url record exif jpeg png gif webp bmp)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/facemill/fuzz
tools=$(scripts/tools.sh cargo-fuzz)
export PATH=$tools:$PATH

rustup run nightly rustc --version >/dev/null 2>&1 ||
    { echo 'fuzz: a nightly compiler is missing. Type: rustup toolchain install nightly --profile minimal' >&2; exit 1; }
mkdir -p "$cache"
# The versions that are shipped are the versions that are fuzzed; cargo adds the fuzzer to them.
cp Cargo.lock fuzz/Cargo.lock
rm -rf "$cache/seeds"
# The everyday build: the compiler of the fuzz build comes after it.
FACEMILL_FUZZ_SEEDS=$cache/seeds cargo test --quiet --lib seeds_of_fuzzing >/dev/null
for list in fuzz/seeds/*.txt; do
    target=$(basename "$list" .txt)
    mkdir -p "$cache/seeds/$target"
    csplit --quiet --elide-empty-files --suppress-matched --prefix "$cache/seeds/$target/" "$list" '/^===$/' '{*}'
done
# Coverage of libjpeg-turbo needs clang; without it the fuzzer sees the Rust code alone.
if command -v clang-14 >/dev/null && compgen -G '/usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.asan-*' >/dev/null; then
    export CC=$PWD/scripts/fuzz/cc CXX=clang++-14
else
    echo 'fuzz: without clang-14 and libclang-rt-14-dev the C of libjpeg-turbo is neither watched nor covered' >&2
fi

RUSTUP_TOOLCHAIN=nightly cargo fuzz build --target-dir "$cache/target"

failed=()
for target in "${targets[@]}"; do
    mkdir -p "$cache/corpus/$target" "$cache/artifacts/$target"
    printf '%-8s' "$target"
    # Five seconds and the memory of one decoder are what a picture may cost in production; a sanitizer doubles both.
    if "$cache/target/x86_64-unknown-linux-gnu/release/$target" -max_total_time="$seconds" -timeout=5 \
        -malloc_limit_mb=128 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$cache/artifacts/$target/" "$cache/corpus/$target" "$cache/seeds/$target" \
        >"$cache/$target.log" 2>&1; then
        grep --text '^Done' "$cache/$target.log"
    else
        failed+=("$target")
        echo "FAILED: see $cache/$target.log"
    fi
done
[ ${#failed[@]} = 0 ] || { echo "fuzz: found something: ${failed[*]}" >&2; exit 1; }
