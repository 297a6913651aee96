#!/usr/bin/env bash
# The demo: three photographs and a handful of broken things, served on loopback, through `facemill local`.
# Run by `make demo`, which builds the programs and fetches the assets before.
set -euo pipefail

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
programs=$target/debug
out=$target/demo

rm -rf "$out"
mkdir -p "$out"

trap 'kill "${server:-}" 2>/dev/null || true; wait "${server:-}" 2>/dev/null || true' EXIT
# shellcheck source=scripts/demo-server.sh
. scripts/demo-server.sh "$out/urls.txt"

job=demo
run=("$programs/facemill" local "$out/urls.txt" --db "$out/demo.db" --job "$job" --annotate "$out/annotated"
    --output table "${settings[@]}")

printf '\nA web server at %s has three photographs and %s URLs that are less than that.\n\n$ %s\n\n' \
    "$base" "$(($(grep -c ^http "$out/urls.txt") - 3))" "${run[*]}"
status=0
"${run[@]}" || status=$?

printf '\n$ %s\n\n' "$programs/facemill summary --db $out/demo.db"
"$programs/facemill" summary --db "$out/demo.db" || status=$((status ? status : $?))

printf '\nThe faces, drawn into the pictures:\n'
find "$out" -path '*/annotated/*' -type f | sort | sed 's/^/  /'

printf '\nWhat to type next:\n'
printf '  %-60s %s\n' \
    "$programs/facemill export --db $out/demo.db" 'every face, as JSON' \
    "$programs/facemill local URL..." 'your own pictures' \
    "$programs/facemill --help" 'everything else' \
    'make test' ''
exit "$status"
