#!/usr/bin/env bash
# What can be said of Dockerfile and compose.yaml without building anything: image-check.sh (make image-check)
set -euo pipefail

cd "$(dirname "$0")/.."
bin=$(scripts/kube/tools.sh hadolint docker-compose)

"$bin/hadolint" Dockerfile
# As a user would: with a contact it is right, without one the message says what to set.
FACEMILL_CONTACT=you@example.org "$bin/docker-compose" --env-file /dev/null config --quiet
if output=$(env -u FACEMILL_CONTACT "$bin/docker-compose" --env-file /dev/null config --quiet 2>&1); then
    echo 'image-check: compose.yaml is taken without FACEMILL_CONTACT' >&2
    exit 1
elif [[ $output != *FACEMILL_CONTACT* ]]; then
    printf 'image-check: the message does not name FACEMILL_CONTACT:\n%s\n' "$output" >&2
    exit 1
fi
# The image that compose.yaml names is the one that `make image` builds.
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
grep -q "image: facemill:$version\$" compose.yaml || {
    echo "image-check: compose.yaml names another image than facemill:$version" >&2
    exit 1
}
# What the Dockerfile copies is what .dockerignore lets through.
python3 - <<'PYTHON'
import re
import sys

lines = open(".dockerignore", encoding="utf-8").read().split("\n")
allowed = [line[1:] for line in lines if line.startswith("!")]
text = open("Dockerfile", encoding="utf-8").read().replace("\\\n", " ")
copied = [path for names in re.findall(r"^COPY (?!--from)(.*)$", text, re.M) for path in names.split()[:-1]]
within = lambda path, folder: path == folder or path.startswith(folder + "/")
missing = [path for path in copied if not any(within(path, rule) or within(rule, path) for rule in allowed)]
unused = [rule for rule in allowed if not any(within(path, rule) or within(rule, path) for path in copied)]
if missing or unused:
    sys.exit(f"image-check: .dockerignore keeps out {missing}, lets through without need {unused}")
PYTHON
echo 'image-check: passed'
