#!/usr/bin/env bash
# The demo on real servers: the same pictures and broken things, their URLs through Kafka's own console producer,
# `facemill run` as three consumer groups, results in Cassandra. Run by `make demo-kafka`, which builds before.
set -euo pipefail

cd "$(dirname "$0")/.."
programs=$(realpath "${CARGO_TARGET_DIR:-target}")/debug
out=$programs/../demo-kafka
export STACK_DIR=${STACK_DIR:-$PWD/.stack/demo} STACK_BROKERS=1 STACK_SECURE=0
export PATH=$PWD/scripts/kafka:$PATH
facemill=$programs/facemill

rm -rf "$out"
mkdir -p "$out"

# shellcheck disable=SC2329 # the trap calls it
finish() {
    kill "${stages:-}" "${server:-}" 2>/dev/null || true
    wait "${stages:-}" "${server:-}" 2>/dev/null || true
    STACK_WIPE=1 scripts/stack.sh down >"$out/stack-down.log" 2>&1 || true
}
trap finish EXIT

shown() {
    printf '\n$ %s\n' "$*"
    "$@"
}

echo 'Starting Kafka and Cassandra (half a minute; the first time they are fetched)'
STACK_WIPE=1 scripts/stack.sh down >/dev/null 2>&1 || true
FACEMILL=$facemill scripts/stack.sh up >"$out/stack-up.log" 2>&1 || { tail -n 20 "$out/stack-up.log" >&2; exit 1; }
# shellcheck disable=SC1091
. "$STACK_DIR/env"
export FACEMILL__KAFKA__BROKERS=$KAFKA_BROKERS FACEMILL__CQL__CONTACT_POINTS="[\"$CQL_CONTACT_POINT\"]"
# Only this machine is fetched from: nobody needs to know whom to ask.
export FACEMILL__FETCH__ALLOW_NETWORKS='["127.0.0.0/8"]'
export FACEMILL__KAFKA__DEFAULT_JOB=demo FACEMILL__HTTP__LISTEN='' FACEMILL__RETRY__LATER='[]'
# shellcheck source=scripts/demo-server.sh
. scripts/demo-server.sh "$out/urls.txt"

shown "$facemill" check --partitions 12 --replicas 1
run=("$facemill" run --stage 'fetch,preprocess,detect' "${settings[@]}")
printf '\n$ %s &\n' "${run[*]}"
"${run[@]}" >"$out/facemill.log" 2>&1 &
stages=$!
printf '$ grep ^http urls.txt | kafka-console-producer --bootstrap-server %s --topic facemill.urls\n' "$KAFKA_BROKERS"
grep ^http "$out/urls.txt" | kafka-console-producer --bootstrap-server "$KAFKA_BROKERS" --topic facemill.urls

expected=$(grep -c ^http "$out/urls.txt")
rows() { "$facemill" export --store cql --job demo --format csv 2>/dev/null; }
for _ in $(seq 120); do
    [ "$(rows | tail -n +2 | wc -l)" -ge "$expected" ] && break
    kill -0 "$stages" 2>/dev/null || { tail -n 5 "$out/facemill.log" >&2; exit 1; }
    sleep 1
done

printf '\n$ %s export --store cql --job demo --format jsonl\n' "$facemill"
"$facemill" export --store cql --job demo --format jsonl | python3 -c '
import json, sys
for row in sorted(map(json.loads, sys.stdin), key=lambda row: row["url"]):
    found = len(row["faces"]) if row["status"] == "detected" else "-"
    print("{:9} {:>5}  {}  {}".format(row["status"], found, row["url"], row.get("reason", "")))'
printf '\n$ kafka-consumer-groups --bootstrap-server %s --describe --group facemill.detect\n' "$KAFKA_BROKERS"
# Partitions that had no record yet have no position.
kafka-consumer-groups --bootstrap-server "$KAFKA_BROKERS" --describe --group facemill.detect | awk '$4 != "-"' |
    cut -c1-100

echo
echo 'Ending the stages with SIGTERM'
kill "$stages"
status=0
wait "$stages" || status=$?
stages=
[ "$(rows | tail -n +2 | wc -l)" -eq "$expected" ] || { echo "demo-kafka: not every URL has a row" >&2; exit 1; }
echo "Every one of $expected URLs has its row. The log is $(realpath "$out/facemill.log")."
exit "$status"
