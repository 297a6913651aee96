#!/usr/bin/env bash
# The chart on a real Kubernetes whose nodes are played by kwok: `make kube-test`, docs/kube.md.
#
#   kube-test.sh [WORD...]   the tests whose names contain one of the words; all without
#
#   CHART=FOLDER           another chart than helm/facemill
#   PREVIOUS_CHART=FOLDER  what is upgraded from, in the place of the last release's chart
#   HELM=PROGRAM           another Helm than that of scripts/kube/tools.sh
#   KUBE_TEST_LIMIT=180s   how long each install, upgrade and command may take
#   KUBE_TEST_KEEP=1       leaves the cluster running, and says how to reach and end it
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
kube=$root/scripts/kube
chart=${CHART:-$root/helm/facemill}
only=("$@")
failed=()
passed=0

[ -e "$chart/Chart.yaml" ] || { echo "kube-test: there is no chart in $chart" >&2; exit 1; }
bin=$("$kube/tools.sh" helm crds kubectl)
HELM=${HELM:-$bin/helm}

work=$(mktemp -d)
clean_up() {
    if [ "${KUBE_TEST_KEEP:-0}" = 1 ] && [ -e "$work/cluster/kwok.pid" ]; then
        echo "The cluster runs on: export KUBECONFIG=$KUBECONFIG; kubectl is in $bin
To end it: $kube/cluster.sh down $work/cluster && rm -r $work"
    else
        "$kube/cluster.sh" down "$work/cluster"
        rm -rf "$work"
    fi
}
mkdir "$work/cluster"
trap clean_up EXIT

# Nobody's plugins, repositories or cluster.
unset "${!HELM_@}"
export HELM_CACHE_HOME=$work/helm HELM_CONFIG_HOME=$work/helm HELM_DATA_HOME=$work/helm

# shellcheck source=scripts/kube/steps.sh
. "$kube/steps.sh"
# shellcheck source=scripts/kube/plain-tests.sh
. "$kube/plain-tests.sh"
# shellcheck source=scripts/kube/crd-tests.sh
. "$kube/crd-tests.sh"

started=$SECONDS
KUBECONFIG=$("$kube/cluster.sh" up "$work/cluster")
export KUBECONFIG
echo "Kubernetes $("$bin/kubectl" version --output json | sed -n 's/.*"gitVersion": "\(.*\)",/\1/p' | tail -n 1) is up ($((SECONDS - started)) s)"

plain_tests
install_crds
crd_tests

if [ ${#failed[@]} -gt 0 ]; then
    printf 'kube-test: %d of %d failed: %s\n' ${#failed[@]} $((passed + ${#failed[@]})) "${failed[*]}" >&2
    exit 1
fi
[ "$passed" -gt 0 ] || { echo "kube-test: no test has a name with: ${only[*]}" >&2; exit 1; }
echo "kube-test: $passed passed ($((SECONDS - started)) s)"
