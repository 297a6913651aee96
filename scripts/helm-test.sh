#!/usr/bin/env bash
# Every check of the chart that needs no cluster: make helm-test.
#
# FACEMILL names the program that must take the rendered configurations; without it that of target/debug is taken, and
# without that these checks are skipped, which is said.
set -euo pipefail

cd "$(dirname "$0")/.."
bin=$(scripts/kube/tools.sh helm helm-unittest kubeconform promtool kube-schemas crd-schemas)
export PATH=$bin:$PATH
tools=$bin/..
facemill=${FACEMILL:-${CARGO_TARGET_DIR:-target}/debug/facemill}
chart=helm/facemill
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The oldest that Chart.yaml takes, and the newest that there are schemas for.
versions=(1.27.0 1.37.0)
apis=(keda.sh/v1alpha1/ScaledObject monitoring.coreos.com/v1/{PodMonitor,ServiceMonitor,PrometheusRule}
    kafka.strimzi.io/{v1beta2,v1}/KafkaTopic)

# The last line that a check prints says how much it saw.
step() {
    local name=$1 started=$SECONDS output
    shift
    printf '%-26s' "$name"
    # Not `if ! …`: a function in a condition goes on after an error.
    set +e
    output=$(set -e; "$@" 2>&1)
    local code=$?
    set -e
    [ "$code" = 0 ] || { printf 'FAILED\n%s\n' "$output"; exit 1; }
    printf 'ok %3d s  %s\n' $((SECONDS - started)) "$(tail -n 1 <<<"$output")"
}

skip() {
    printf '%-26sskipped: %s\n' "$1" "$2"
}

# A YAML reader for Python.
yaml_for_python() {
    local folder=$tools/python-yaml
    if [ ! -d "$folder" ]; then
        sed -n '/^ruamel.yaml==/,/--hash/p' scripts/kube/wheels.txt >"$work/wheels.txt"
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --require-hashes --no-deps \
            --only-binary :all: --target "$folder.part" --requirement "$work/wheels.txt" >&2
        mv "$folder.part" "$folder"
    fi
    echo "$folder"
}

# values_of FILE: the flags for a file of ci/; values-small.yaml goes before ci/small-values.yaml.
values_of() {
    local name beside
    name=$(basename "$1" -values.yaml)
    beside=$chart/values-$name.yaml
    [ ! -e "$beside" ] || printf -- '--values\n%s\n' "$beside"
    printf -- '--values\n%s\n' "$1"
}

# helm lint knows no --api-versions.
lint() {
    local file values
    for file in "$chart"/ci/*-values.yaml; do
        mapfile -t values < <(values_of "$file")
        helm lint --strict --quiet "$chart" "${values[@]}" --set checkApis=false
    done
}

# Each file of ci/ rendered, into $work/rendered/NAME.yaml.
render() {
    local file values
    mkdir "$work/rendered"
    for file in "$chart"/ci/*-values.yaml; do
        mapfile -t values < <(values_of "$file")
        helm template rel "$chart" --namespace faces "${values[@]}" "${apis[@]/#/--api-versions=}" \
            --kube-version "${versions[1]}" >"$work/rendered/$(basename "$file" -values.yaml).yaml"
    done
    echo "$(find "$work/rendered" -type f | wc -l) files of values"
}

conform() {
    kubeconform -strict -summary -kubernetes-version "$1" -schema-location "$tools/kube-schemas" \
        -schema-location "$tools/crd-schemas/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json" "$work/rendered"
}

# Each file of wrong-values/ must be refused with what its first line says.
refusals() {
    local file wanted output count=0
    for file in helm/wrong-values/*.yaml; do
        wanted=$(sed -n '1s/^# //p' "$file")
        if output=$(helm template rel "$chart" --values "$file" 2>&1); then
            echo "$file: not refused"
            return 1
        fi
        if [[ -z $wanted || $output != *"$wanted"* ]]; then
            printf '%s: refused without "%s":\n%s\n' "$file" "$wanted" "$output"
            return 1
        fi
        count=$((count + 1))
    done
    [ "$count" -ge 20 ] || { echo "only $count files of wrong values"; return 1; }
    echo "$count files refused, each with its key"
}

# Each `helm install` that is written for a reader names the image, which is published nowhere: without it the pods would
# wait for one of Docker Hub's.
commands() {
    local file command count=0
    for file in README.md "$chart"/README.md "$chart"/values-*.yaml; do
        while read -r command; do
            [[ $command == *'--set image.repository='* ]] || { echo "$file: no image.repository: $command"; return 1; }
            count=$((count + 1))
        done < <(sed 's/^#  *//' "$file" | sed -e ':join' -e '/\\$/{N;s/\\\n//;b join' -e '}' | grep '^helm install')
    done
    [ "$count" -ge 4 ] || { echo "only $count commands"; return 1; }
    echo "$count commands"
}

unittest() {
    helm-unittest --strict "$chart"
    echo "$(grep -c -- '- it:' "$chart"/tests/*.yaml | awk -F : '{ n += $2 } END { print n }') promises"
}

# The pods of each Deployment as one sum: pods FLAG...
pods() {
    helm template rel "$chart" --set contact=a@b.example --show-only templates/deployment.yaml "$@" |
        awk '/^  name:/ { name = $2 } /^  template:/ { inside = 1 } /^---/ { inside = 0 } inside { print > ("'"$work"'/" name) }'
    (cd "$work" && sha256sum rel-facemill-* | sort)
    rm "$work"/rel-facemill-*
}

# stay WHAT COUNT FLAG...: so many of the four Deployments keep their pods
stay() {
    local found
    found=$(comm -12 <(echo "$base") <(pods "${@:3}") | wc -l)
    [ "$found" = "$2" ] || { echo "$1: the pods of $found of 4 Deployments stay, and should of $2"; return 1; }
}

restarts() {
    local base
    base=$(pods)
    stay 'nothing new' 4
    stay 'a number of processes' 4 --set detect.replicas=2
    stay 'a setting' 0 --set config.fetch.concurrency=7
    stay 'a deadline, which is the concern of the monitor' 3 --set deadline=2026-11-28T00:00:00Z
}

PYTHONPATH=$(yaml_for_python)
export PYTHONPATH PYTHONDONTWRITEBYTECODE=1
step 'README, topics, version' scripts/kube/chart-files.py --check
step 'helm install in texts' commands
step 'helm lint --strict' lint
step 'helm template' render
for version in "${versions[@]}"; do
    step "kubeconform $version" conform "$version"
done
step 'wrong values' refusals
step 'helm-unittest' unittest
step 'what restarts pods' restarts
step 'restricted pods' scripts/kube/chart-check.py pods "$work/rendered"
step 'networks of fetch' scripts/kube/chart-check.py network "$work/rendered"
if [ -x "$facemill" ]; then
    step 'facemill config show' scripts/kube/chart-check.py program "$work/rendered" "$facemill"
    step 'facemill topics render' scripts/kube/chart-check.py topics "$work/rendered" "$facemill"
else
    skip 'facemill config, topics' "no $facemill: make build, or FACEMILL=FILE"
fi
step 'rules and dashboard' scripts/rules-test.sh
