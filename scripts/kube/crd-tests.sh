# shellcheck shell=bash
# The tests of kube-test.sh with the CRDs of KEDA, the Prometheus operator and Strimzi: sourced by it.
#
# shellcheck disable=SC2154 # bin chart contact work are of kube-test.sh, steps.sh and plain-tests.sh

all_on=(--set contact=ops@example.org --set deadline=2030-01-01T00:00:00Z --set kafka.brokers=kafka.kafka.svc:9092
    --set prometheus.address=http://prometheus.monitoring:9090
    --set fetch.autoscaling.kind=keda --set preprocess.autoscaling.kind=keda --set detect.autoscaling.kind=keda
    --set metrics.kind=podMonitor --set rules.enabled=true --set dashboard.enabled=true
    --set topics.manage=strimzi --set topics.strimzi.cluster=kafka)

test_all_on() {
    install "${all_on[@]}"
    same 'what KEDA scales' 'facemill-detect facemill-fetch facemill-preprocess' "$(names scaledobjects)"
    same 'the monitor' facemill "$(names podmonitors)"
    [ -n "$(names prometheusrules)" ] || fail 'there are no alerts'
    has 'the topics' "$(names kafkatopics)" facemill.urls facemill.images facemill.frames facemill.results
    has 'the ports of a pod' "$(field "pod/$(pods fetch)" '.spec.containers[0].ports[*].name')" \
        "$(field podmonitor/facemill '.spec.podMetricsEndpoints[0].port')"
    # After the topics, which it waits for, and with what it needs of its own
    same 'times that the look at all completed' 1 "$(completions facemill-check)"
    eventually 'nothing of the hooks is left' nothing_of_hooks
    # And again, over what is there
    upgrade "${all_on[@]}" --set image.tag=next
}

test_keda() {
    install "${all_on[@]}"
    keeps_count detect "${all_on[@]}"
}

# As docs/operations.md has it. That KEDA's webhook wants the HPA to be gone before cannot be seen here.
test_hpa_to_keda() {
    # KEDA wants a namespace in the name.
    local brokers=kafka.brokers=kafka.kafka.svc:9092
    install --set "$brokers,detect.autoscaling.kind=hpa,detect.autoscaling.minReplicas=3"
    eventually 'the autoscaler has made 3 of them' has_ready detect 3
    kubectl delete hpa facemill-detect
    watch_detect upgrade --set "$brokers,detect.autoscaling.kind=keda"
    same 'the fewest pods at work during the upgrade' 3 "$(fewest)"
    same 'what KEDA scales' facemill-detect "$(names scaledobjects)"
    same 'HPAs' '' "$(names hpa)"
}

test_service_monitor() {
    install --set metrics.kind=serviceMonitor
    same 'the monitor' facemill "$(names servicemonitors)"
    # Of a Service that the monitor selects, with the port that it names
    has 'the ports' "$(kubectl get services --selector app.kubernetes.io/name=facemill \
        --output 'jsonpath={.items[*].spec.ports[*].name}')" \
        "$(field servicemonitor/facemill '.spec.endpoints[0].port')"
    eventually 'the Service has an endpoint for each pod' all_are_endpoints
}

all_are_endpoints() {
    [ "$(kubectl get endpointslices --output 'jsonpath={.items[*].endpoints[*].targetRef.name}' | tr ' ' '\n' | sort -u)" = \
        "$(names pods | tr ' ' '\n' | sort)" ]
}

# What Helm sends is pruned of unknown fields with no more than a warning.
test_strict() {
    local values name
    for values in "$chart"/ci/*-values.yaml "$chart"/values-*.yaml; do
        [ -e "$values" ] || continue
        name=${values##*/}
        helm template facemill "$chart" --values "$values" --set checkApis=false,topics.strimzi.apiVersion=v1beta2 \
            --set kafka.brokers=kafka.kafka.svc:9092 --set prometheus.address=http://prometheus.monitoring:9090 \
            >"$work/$name"
        # Namespaces of others are not here.
        sed -i "s/^  namespace: .*/  namespace: $ns/" "$work/$name"
        kubectl create --dry-run=server --validate=strict --filename "$work/$name" >/dev/null || fail "$name"
    done
    [ -n "${name:-}" ] || fail "there is no values file in $chart"
}

test_uninstall_all() {
    install "${all_on[@]}"
    helm uninstall facemill --wait --timeout "$limit"
    eventually 'only the topics are left' only_topics
    # What has stayed is taken over by the next install.
    install "${all_on[@]}" --set topics.strimzi.keep=false
    helm uninstall facemill --wait --timeout "$limit"
    eventually 'nothing is left, as was wished' is_empty
}

# The Strimzi of today has only v1, which older ones have not.
test_strimzi_v1() {
    kubectl delete --filename "$bin/../crds/strimzi-v1beta2" --wait
    kubectl create --filename "$bin/../crds/strimzi"
    eventually 'its definition is known' kubectl wait --for condition=Established crd/kafkatopics.kafka.strimzi.io
    refused kafka.strimzi.io/v1beta2 install "${all_on[@]}" --set topics.strimzi.apiVersion=v1beta2
    install "${all_on[@]}" --set topics.strimzi.apiVersion=v1
    has 'the topics' "$(names kafkatopics)" facemill.urls facemill.images facemill.frames facemill.results
}

only_topics() {
    local found
    found=$(everything)
    [ -n "$found" ] && ! grep -v '^kafkatopic\.kafka\.strimzi\.io/facemill\.' <<<"$found"
}

crd_tests() {
    promise all_on 'With all switches on, everything is accepted'
    promise keda 'Of KEDA, the number of processes is its own'
    promise hpa_to_keda 'From HPA to KEDA, the number of processes stays'
    promise service_monitor 'A ServiceMonitor finds a port of every pod'
    promise strict 'The manifests of every values file pass a strict reading by the server'
    promise uninstall_all 'Uninstalling leaves the topics, as was said, and they are taken over again'
    promise strimzi_v1 'The newer API of Strimzi does as well'
}
