#!/usr/bin/env bash
# Installs the checkers of `make check` into ${XDG_CACHE_HOME:-~/.cache}/facemill/tools, once, at fixed versions.
# Prints the folder with the programs. `tools.sh cargo-fuzz` brings that one too.
set -euo pipefail

scripts=$(cd "$(dirname "$0")" && pwd)
tools=${XDG_CACHE_HOME:-$HOME/.cache}/facemill/tools
log=$tools/install.log
mkdir -p "$tools/bin"

run_quietly() {
    "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
}

# cargo_tool NAME VERSION TIME
cargo_tool() {
    if [[ " $("$tools/bin/$1" --version 2>/dev/null) " != *" $2 "* ]]; then
        echo "Installing $1 $2 (once; about $3 on two cores)" >&2
        # Its own target folder: the project's would only grow by it.
        run_quietly env -u CARGO_TARGET_DIR cargo install --quiet --locked --root "$tools" "$1@$2"
    fi
}

cargo_tool cargo-deny 0.20.2 '2 minutes'
cargo_tool cargo-machete 0.9.2 '1 minute'
[ "${1:-}" != cargo-fuzz ] || cargo_tool cargo-fuzz 0.13.1 '1 minute'

if ! cmp --silent "$scripts/tools.txt" "$tools/wheels.txt"; then
    echo 'Installing typos, taplo and shellcheck (once; seconds)' >&2
    rm -rf "$tools/wheels"
    run_quietly python3 -m pip install --disable-pip-version-check --require-hashes --no-deps \
        --only-binary :all: --target "$tools/wheels" --requirement "$scripts/tools.txt"
    for program in "$tools/wheels/bin"/*; do
        ln -sf "$program" "$tools/bin/"
    done
    cp "$scripts/tools.txt" "$tools/wheels.txt"
fi
echo "$tools/bin"
