#!/usr/bin/env bash
# A real Kubernetes on loopback, as background processes: etcd, API server, controller manager, scheduler. Its nodes
# are played by kwok: pods are scheduled and become ready, Jobs complete, and no container ever runs. docs/kube.md
#
#   cluster.sh up FOLDER      starts it, waits until its nodes are ready and prints the path of the kubeconfig
#   cluster.sh down FOLDER    ends it; the folder is left to its owner
#
# FOLDER has to be empty; it gets keys, logs, data and pid files.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
servers=(etcd kube-apiserver kube-controller-manager kube-scheduler kwok)
start_limit=${CLUSTER_START_SECONDS:-120}
stop_limit=20

fail() {
    printf 'cluster: %s\n' "$*" >&2
    exit 1
}

# wait_for WHAT COMMAND...: until it succeeds
wait_for() {
    local what=$1 started=$SECONDS name
    shift
    until "$@" >"$folder/waiting" 2>&1; do
        for name in "${servers[@]}"; do
            if [ -e "$folder/$name.pid" ] && ! pid_of "$name" >/dev/null; then
                tail -n 15 "$folder/$name.log" >&2
                fail "$name ended (the last lines of $folder/$name.log are above)"
            fi
        done
        if [ $((SECONDS - started)) -ge "$start_limit" ]; then
            tail -n 15 "$folder/waiting" >&2
            fail "$what: not within $start_limit s (CLUSTER_START_SECONDS); the logs are in $folder"
        fi
        sleep 0.2
    done
}

# pid_of NAME: the process that the pid file names, if it lives and is really this server
pid_of() {
    local pid
    { read -r pid <"$folder/$1.pid"; } 2>/dev/null || return 1
    { tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -e "$folder/" || return 1
    echo "$pid"
}

# launch NAME OPTION...: every server has an option with a path in the folder, by which pid_of knows it
launch() {
    local name=$1
    shift
    setsid nohup "$bin/$name" "$@" >"$folder/$name.log" 2>&1 </dev/null &
    echo $! >"$folder/$name.pid"
    # For a moment the process is still the shell that becomes it.
    for _ in {1..50}; do
        ! pid_of "$name" >/dev/null || return 0
        sleep 0.1
    done
    tail -n 15 "$folder/$name.log" >&2
    fail "$name did not start"
}

port_is_open() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# choose_ports COUNT: from below the range of which the kernel takes ports for outgoing connections
choose_ports() {
    local first=15000 last count=$1 port
    read -r last _ </proc/sys/net/ipv4/ip_local_port_range
    [ "$last" -gt $((first + 1000)) ] || { first=32000 last=60000; }
    while [ "$count" -gt 0 ] && read -r port; do
        if ! port_is_open "$port"; then
            echo "$port"
            count=$((count - 1))
        fi
    done < <(shuf --input-range "$first-$((last - 1))")
}

write_kubeconfig() {
    local token
    token=$(openssl rand -hex 16)
    echo "$token,admin,admin,system:masters" >"$folder/tokens.csv"
    cat >"$folder/kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: kube-test, cluster: {server: "https://127.0.0.1:$1", certificate-authority: $folder/certs/apiserver.crt}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: kube-test, context: {cluster: kube-test, user: admin}}]
current-context: kube-test
YAML
}

# node NAME ZONE [GPUS]
node() {
    local resources="{cpu: 64, memory: 256Gi, ephemeral-storage: 500Gi, pods: 110${3:+, nvidia.com/gpu: $3}}"
    cat <<YAML
---
apiVersion: v1
kind: Node
metadata:
  name: $1
  labels:
    kubernetes.io/os: linux
    kubernetes.io/arch: amd64
    kubernetes.io/hostname: $1
    topology.kubernetes.io/zone: $2
    ${3:+nvidia.com/gpu.product: H200}
status: {allocatable: $resources, capacity: $resources}
YAML
}

nodes_are_ready() {
    [ "$(kubectl get nodes -o 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}')" = \
        'True True True True' ] && [ -z "$(kubectl get nodes -o 'jsonpath={.items[*].spec.taints[*].key}')" ]
}

up() {
    local ports
    [ -z "$(ls -A "$folder")" ] || fail "$folder is not empty"
    "$here/../need.sh" openssl >&2
    bin=$("$here/tools.sh" kubectl "${servers[@]}" kwok-stages)
    umask 077
    mapfile -t ports < <(choose_ports 6)
    [ ${#ports[@]} = 6 ] || fail 'there are not enough free ports on 127.0.0.1'
    openssl genrsa -out "$folder/service-accounts.key" 2048 2>/dev/null
    write_kubeconfig "${ports[2]}"

    # What it writes need not outlive the machine.
    launch etcd --data-dir "$folder/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls "http://127.0.0.1:${ports[0]}" --advertise-client-urls "http://127.0.0.1:${ports[0]}" \
        --listen-peer-urls "http://127.0.0.1:${ports[1]}" --initial-advertise-peer-urls "http://127.0.0.1:${ports[1]}" \
        --initial-cluster "default=http://127.0.0.1:${ports[1]}"
    launch kube-apiserver --etcd-servers "http://127.0.0.1:${ports[0]}" --bind-address 127.0.0.1 \
        --secure-port "${ports[2]}" --cert-dir "$folder/certs" --token-auth-file "$folder/tokens.csv" \
        --authorization-mode Node,RBAC --service-cluster-ip-range 10.96.0.0/16 --endpoint-reconciler-type none \
        --service-account-issuer https://kubernetes.default.svc \
        --service-account-signing-key-file "$folder/service-accounts.key" \
        --service-account-key-file "$folder/service-accounts.key"
    export KUBECONFIG=$folder/kubeconfig PATH=$bin:$PATH
    wait_for 'the API server' kubectl get --raw /readyz
    launch kube-controller-manager --kubeconfig "$KUBECONFIG" --bind-address 127.0.0.1 --secure-port "${ports[3]}" \
        --leader-elect=false --use-service-account-credentials=false --root-ca-file "$folder/certs/apiserver.crt" \
        --service-account-private-key-file "$folder/service-accounts.key"
    launch kube-scheduler --kubeconfig "$KUBECONFIG" --bind-address 127.0.0.1 --secure-port "${ports[4]}" \
        --leader-elect=false
    awk 'FNR == 1 { print "---" } 1' "$bin"/../kwok-stages/*.yaml "$here/stages.yaml" >"$folder/stages.yaml"
    launch kwok --kubeconfig "$KUBECONFIG" --config "$folder/stages.yaml" --manage-all-nodes \
        --node-lease-duration-seconds 40 --server-address "127.0.0.1:${ports[5]}"
    { node node-a a; node node-b b; node node-c c; node node-gpu a 4; } | kubectl create -f - >/dev/null
    wait_for 'the nodes' nodes_are_ready
    wait_for 'the namespace' kubectl get serviceaccount default
    echo "$KUBECONFIG"
}

# end NAME...: waits for them, and kills what stays
end() {
    local name pid started=$SECONDS
    for name in "$@"; do
        ! pid=$(pid_of "$name") || kill "$pid" 2>/dev/null || true
    done
    for name in "$@"; do
        while pid=$(pid_of "$name"); do
            if [ $((SECONDS - started)) -ge "$stop_limit" ]; then
                echo "$name did not end within $stop_limit s: killed" >&2
                kill -KILL "$pid" 2>/dev/null || true
            fi
            sleep 0.1
        done
        rm -f "$folder/$name.pid"
    done
}

# The API server would wait for an etcd that is gone.
down() {
    end kwok kube-scheduler kube-controller-manager
    end kube-apiserver
    end etcd
}

[ $# = 2 ] && [ -d "$2" ] || fail "use: $0 up|down FOLDER"
folder=$(cd "$2" && pwd)
case $1 in
    up)
        trap '[ $? = 0 ] || down' EXIT
        up ;;
    down) down ;;
    *) fail "use: $0 up|down FOLDER" ;;
esac
