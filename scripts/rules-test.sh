#!/usr/bin/env bash
# Tests the alert rules and the dashboard: rules-test.sh
#
# promtool on the rules and their tests, check-rules.py on what promtool does not look at, the dashboard against its
# source and its own tests, every metric in rules and dashboard against those that the program declares, and what the
# runbook says to type against program and chart. A minute; `--mutate` also breaks each alert in every way that a test
# should notice, which takes some ten minutes.
set -euo pipefail

cd "$(dirname "$0")/.."
scripts/need.sh python3
if [ -n "${PROMTOOL:-}" ]; then
    promtool=$PROMTOOL
else
    promtool=$(scripts/kube/tools.sh promtool)/promtool
fi

# PyYAML comes with many systems. Where it does not, the parser that tools.sh pins is fetched once.
if ! python3 -c 'import yaml' 2>/dev/null; then
    wheels=${XDG_CACHE_HOME:-$HOME/.cache}/facemill/tools/yaml
    if [ ! -d "$wheels" ]; then
        sed -n '/^ruamel.yaml==/,/--hash/p' scripts/kube/wheels.txt >"$wheels.txt"
        python3 -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
            --target "$wheels" --requirement "$wheels.txt"
    fi
    export PYTHONPATH=$wheels
fi
export PYTHONDONTWRITEBYTECODE=1

"$promtool" check rules helm/facemill/rules/facemill.rules.yaml
"$promtool" test rules helm/rules-tests/*.yaml
scripts/kube/dashboard.py --check
scripts/kube/panel-tests.py "$promtool"
scripts/kube/queries.py --self-test
# The page is generated from the declarations in the code.
scripts/kube/queries.py --declared docs/metrics.md
scripts/kube/check-docs.py
scripts/kube/check-rules.py
if [ "${1:-}" = --mutate ]; then
    scripts/kube/check-rules.py --mutate "$promtool"
fi
