# shellcheck shell=bash
# What the tests of kube-test.sh are made of: sourced by it.
#
# shellcheck disable=SC2154 # bin chart HELM root work only failed passed are of kube-test.sh

# Longer than anything here takes, also on a machine that has other work.
limit=${KUBE_TEST_LIMIT:-180s}

# wanted NAME: whether the command line asks for it
wanted() {
    local word
    [ ${#only[@]} -gt 0 ] || return 0
    for word in "${only[@]}"; do
        [[ $1 != *"$word"* ]] || return 0
    done
    return 1
}

# promise NAME SENTENCE: runs test_NAME in a namespace NAME of its own, which enforces restricted Pod Security
promise() {
    local name=$1 sentence=$2 begun=$SECONDS output code
    wanted "$name" || return 0
    printf '%s ... ' "$sentence"
    ns=${name//_/-}
    set +e # inside a condition it would be off in the test too
    output=$(
        set -e
        new_namespace
        "test_$name" 2>&1
    )
    code=$?
    set -e
    if [ "$code" = 0 ]; then
        passed=$((passed + 1))
        printf 'ok %d s\n' $((SECONDS - begun))
    else
        failed+=("$name")
        printf 'FAILED (%s)\n%s\n' "$name" "$output"
    fi
}

fail() {
    printf 'not as promised: %s\n' "$*"
    exit 1
}

kubectl() {
    timeout --foreground "$limit" "$bin/kubectl" --namespace "$ns" "$@"
}

helm() {
    timeout --foreground 300s "$HELM" --namespace "$ns" "$@"
}

is_helm3() {
    [[ $("$HELM" version --template '{{.Version}}') == v3* ]]
}

new_namespace() {
    kubectl create namespace "$ns" >/dev/null
    kubectl label namespace "$ns" pod-security.kubernetes.io/enforce=restricted >/dev/null
    eventually 'the namespace has its service account' kubectl get serviceaccount default
}

# install | upgrade [OPTION...]: and wait until all is ready. Without an option Helm would take the values of before.
install() {
    helm install facemill "$chart" --hide-notes --wait --timeout "$limit" "$@"
}

upgrade() {
    helm upgrade facemill "$chart" --reset-values --hide-notes --wait --timeout "$limit" "$@"
}

# eventually WHAT COMMAND...: succeeds within a minute
eventually() {
    local what=$1 until=$((SECONDS + 60))
    shift
    until ("$@") >"$work/last" 2>&1; do
        [ "$SECONDS" -lt "$until" ] || { cat "$work/last"; fail "$what: not within 60 s"; }
        sleep 0.2
    done
}

# prints WANTED COMMAND...: for `eventually`, which runs it again and again
prints() {
    local wanted=$1
    shift
    same 'what it prints' "$wanted" "$("$@")"
}

# same WHAT WANTED FOUND
same() {
    [ "$2" = "$3" ] || fail "$1: wanted '$2', found '$3'"
}

# has WHAT TEXT WORD...: the text has all of them
has() {
    local what=$1 text=$2 word
    shift 2
    for word in "$@"; do
        [[ $text == *"$word"* ]] || fail "$what has no '$word':
$text"
    done
}

# refused WORD COMMAND...: it fails, and says the word
refused() {
    local word=$1 output
    shift
    if output=$("$@" 2>&1); then
        fail "was accepted: $*"
    fi
    has "the message of $*" "$output" "$word"
}

# Everything in the namespace, but for what each namespace has and the events that tell of what was
everything() {
    local kinds
    kinds=$(kubectl api-resources --namespaced --verbs list --output name | grep -v '^events' | paste -sd ,)
    kubectl get "$kinds" --ignore-not-found --output name 2>/dev/null |
        grep -vxE 'configmap/kube-root-ca.crt|serviceaccount/default' | sort || true
}

is_empty() {
    [ -z "$(everything)" ] || { everything; return 1; }
}

# names KIND [OPTION...]: of all objects of it, in one line
names() {
    kubectl get "$@" --output 'jsonpath={.items[*].metadata.name}'
}

# pods COMPONENT: the names of its pods that are not about to end
pods() {
    kubectl get pods --selector "app.kubernetes.io/component=$1" --output \
        'go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}}{{"\n"}}{{end}}{{end}}' | sort
}

# field KIND/NAME JSONPATH
field() {
    kubectl get "$1" --output "jsonpath={$2}"
}

replicas() {
    field "deployment/facemill-$1" .spec.replicas
}

ready() {
    field "deployment/facemill-$1" .status.readyReplicas
}

# has_pods COMPONENT COUNT
has_pods() {
    same "pods of $1" "$2" "$(pods "$1" | wc -l)"
}

# has_ready COMPONENT COUNT: so many pods, all ready
has_ready() {
    [ "$(ready "$1")" = "$2" ] && [ "$(pods "$1" | wc -l)" = "$2" ]
}

install_crds() {
    ns=default
    kubectl create -f "$bin/../crds/keda" -f "$bin/../crds/prometheus-operator" -f "$bin/../crds/strimzi-v1beta2" >/dev/null
    eventually 'the definitions are known' kubectl wait --for condition=Established crd --all
}
