#!/usr/bin/env bash
# Writes what facemill is made of: sbom.sh [--packages FOLDER] [--wheels FILE] FOLDER (make sbom)
#
#   FOLDER/sbom.cdx.json   CycloneDX: every crate in the program, ONNX Runtime and the model with their sums; of an image
#                          also the Debian packages whose status is in --packages, and the pinned wheels of --wheels
#   FOLDER/licenses/       the texts of their licences
#
# Needs the assets (make assets). cargo-cyclonedx, which knows the crates, is built the first time.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
version=0.5.9
cache=${XDG_CACHE_HOME:-$HOME/.cache}/facemill
tool=$cache/tools/bin/cargo-cyclonedx
options=()
while [[ ${1:-} == --* ]]; do
    options+=("$1" "$2")
    shift 2
done
out=$1

scripts/need.sh cc python3 cargo
if [[ "$("$tool" cyclonedx --version 2>/dev/null)" != *" $version" ]]; then
    echo "Installing cargo-cyclonedx $version (once; about 2 minutes on two cores)" >&2
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --root "$cache/tools" "cargo-cyclonedx@$version"
fi

# It writes beside each Cargo.toml: into a copy of what it reads.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for manifest in Cargo.toml Cargo.lock integration-tests/Cargo.toml; do
    install -D --mode 644 "$manifest" "$work/$manifest"
done
for stub in src/lib.rs src/main.rs benches/kernels.rs benches/pictures.rs benches/runner.rs integration-tests/src/lib.rs; do
    install -D /dev/null "$work/$stub"
done
target=$(rustc -vV | sed -n 's/^host: //p')
(
    cd "$work"
    "$tool" cyclonedx --quiet --format json --spec-version 1.5 --target "$target" --no-build-deps \
        --override-filename crates
    cargo metadata --locked --format-version 1 --filter-platform "$target" >metadata.json
)
python3 scripts/sbom.py --crates "$work" --assets assets --archives "$cache/pip" "${options[@]}" "$out"
