# shellcheck shell=bash
# The tests of kube-test.sh on a cluster that has none of the CRDs that the chart can use: sourced by it.
#
# shellcheck disable=SC2154 # bin chart limit ns root work are of kube-test.sh and steps.sh

contact='contact=ops@example.org'

# What follows would say nothing if the cluster took everything.
test_cluster() {
    refused PodSecurity kubectl run pod --image x
    refused "the server doesn't have a resource type" kubectl get scaledobjects
}

test_defaults() {
    local notes
    install
    notes=$(helm get notes facemill)
    same deployments 'facemill-detect facemill-monitor facemill-preprocess' "$(names deployments)"
    has 'NOTES' "$notes" contact autoscaling.kind metrics.kind rules.enabled dashboard.enabled topics.manage telemetry.endpoint
    # The commands that it names are these users' own.
    has 'NOTES' "$notes" '--namespace defaults' deployment/facemill-monitor
}

test_all_stages() {
    local pod owner
    install --set "$contact"
    for owner in fetch preprocess detect monitor; do
        has_ready "$owner" 1 || fail "$owner is not ready"
    done
    for pod in $(names pods); do
        same "$pod: a token" false "$(field "pod/$pod" .spec.automountServiceAccountToken)"
        same "$pod: the read-only root" true \
            "$(field "pod/$pod" '.spec.containers[0].securityContext.readOnlyRootFilesystem')"
        same "$pod: preStop" '' "$(field "pod/$pod" '.spec.containers[0].lifecycle')"
    done
    # 25 s for the work under way, and time for the last commits.
    [ "$(field deployment/facemill-fetch .spec.template.spec.terminationGracePeriodSeconds)" -gt 25 ] ||
        fail 'pods would be killed before they have drained'
}

# Of the controller that counts the pods which a budget selects, or of the selector of a policy
test_policies() {
    local stage pod policy labels selected=''
    install --set "$contact"
    for stage in fetch preprocess detect; do
        eventually "the budget of $stage counts its pod" prints 1 field "pdb/facemill-$stage" .status.currentHealthy
    done
    for policy in $(names networkpolicies); do
        # {"key":"value"} as key=value
        labels=$(field "networkpolicy/$policy" .spec.podSelector.matchLabels | tr -d '{}"' | tr : =)
        selected+=" $(names pods --selector "$labels")"
    done
    for pod in $(names pods); do
        [[ " $selected " == *" $pod "* ]] || fail "no NetworkPolicy selects $pod"
    done
}

test_budget() {
    local pods
    helm install facemill "$chart" --set detect.replicas=4 --set 'detect.podAnnotations.facemill\.test/pod=never-ready'
    eventually 'the pods are there' has_pods detect 4
    mapfile -t pods < <(pods detect)
    evict "${pods[0]}"
    helm uninstall facemill --wait
    install --set detect.replicas=4
    mapfile -t pods < <(pods detect)
    # Nothing comes in the place of what is gone.
    kubectl cordon node-a node-b node-c node-gpu
    evict "${pods[0]}"
    refused 'disruption budget' evict "${pods[1]}"
    kubectl uncordon node-a node-b node-c node-gpu
}

evict() {
    kubectl create --raw "/api/v1/namespaces/$ns/pods/$1/eviction" -f - <<<"{\"apiVersion\": \"policy/v1\",
        \"kind\": \"Eviction\", \"metadata\": {\"name\": \"$1\", \"namespace\": \"$ns\"}}"
}

test_placing() {
    same 'nodes with GPUs' node-gpu "$(names nodes --selector nvidia.com/gpu.product)"
    install --set preprocess.replicas=6 --set detect.gpu.enabled=true --set detect.replicas=2
    has 'nodes of preprocess' "$(nodes_of preprocess)" node-a node-b node-c
    same 'nodes of detect' node-gpu "$(nodes_of detect)"
}

nodes_of() {
    kubectl get pods --selector "app.kubernetes.io/component=$1" --output \
        'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort -u | paste -sd ' '
}

test_hooks() {
    local job jobs
    install
    jobs=$(helm get hooks facemill | sed -n '/^kind: Job/,/^spec/s/^  name: //p')
    [ -n "$jobs" ] || fail 'there is no Job'
    for job in $jobs; do
        same "times that $job completed" 1 "$(completions "$job")"
        # Times of this form are in the order of their letters.
        if [[ $(kubectl get events --field-selector "reason=Completed,involvedObject.name=$job" --output \
            'jsonpath={.items[0].lastTimestamp}') > $(field deployment/facemill-detect .metadata.creationTimestamp) ]]; then
            fail "$job ended after the stages were made"
        fi
    done
    eventually 'nothing of the hooks is left' nothing_of_hooks
    upgrade
    for job in $jobs; do
        eventually "$job completes at the upgrade" prints 2 completions "$job"
    done
    eventually 'nothing of the hooks is left' nothing_of_hooks
}

completions() {
    kubectl get events --field-selector "reason=Completed,involvedObject.kind=Job,involvedObject.name=$1" \
        --output name | wc -l
}

nothing_of_hooks() {
    same 'what the hooks left' '' "$(names jobs,pods,configmaps,serviceaccounts,secrets,networkpolicies \
        --selector app.kubernetes.io/component=setup)"
}

test_failing_hook() {
    local fails='setup.podAnnotations.facemill\.test/pod=fails'
    refused facemill-schema install --set "$fails" --set setup.backoffLimit=0
    same 'deployments' '' "$(names deployments)"
    has 'what is left for its log' "$(names pods)" facemill-schema
    # The same again, once what was wrong is mended
    helm upgrade --install facemill "$chart" --reset-values --wait --timeout "$limit"
    has_ready detect 1 || fail 'detect is not ready'
    nothing_of_hooks

    # An upgrade that fails before it began touches nothing.
    local pods
    pods=$(pods detect)
    refused facemill-schema upgrade --set "$fails" --set setup.backoffLimit=0 --set image.tag=next
    same 'pods of detect' "$pods" "$(pods detect)"
}

test_wrong_values() {
    # KEY=WRONG of each kind: a wrong type, a misspelt key, a number out of range, values that do not go together
    local wrong
    for wrong in fetch.replicas=many detect.replcas=2 detect.replicas=-1 monitor.enabled=maybe \
        metrics.kind=podmonitor kafka.sasl.mechanism=SCRAM image.pullPolicy=Sometimes fetch.autoscaling.kind=vpa \
        config.kafka.brokers=other:9092 drainSeconds=600 topics.replicas=0 kafka.tls.certKey=tls.crt; do
        refused "$(last_key "$wrong")" install --set "$contact" --set "$wrong"
        same "what $wrong left" '' "$(everything)"
        same "releases after $wrong" '' "$(helm list --all --short)"
    done
}

# last_key a.b.c=d: c
last_key() {
    local key=${1%%=*}
    echo "${key##*.}"
}

test_missing_crds() {
    local wanted
    # SWITCH ITS-API, with what else the switch needs
    while read -r -a wanted; do
        refused "${wanted[0]%%=*}" install --set "$contact,${wanted[0]}${wanted[2]:+,${wanted[2]}}"
        refused "${wanted[1]}" install --set "$contact,${wanted[0]}${wanted[2]:+,${wanted[2]}}"
        same "what ${wanted[0]} left" '' "$(everything)"
    done <<'LIST'
fetch.autoscaling.kind=keda keda.sh/v1alpha1 prometheus.address=http://prometheus:9090,deadline=2030-01-01T00:00:00Z
preprocess.autoscaling.kind=keda keda.sh/v1alpha1
detect.autoscaling.kind=keda keda.sh/v1alpha1
metrics.kind=podMonitor monitoring.coreos.com/v1
metrics.kind=serviceMonitor monitoring.coreos.com/v1
rules.enabled=true monitoring.coreos.com/v1
topics.manage=strimzi kafka.strimzi.io/v1 topics.strimzi.cluster=kafka
LIST
}

# replaced BEFORE COMPONENT: none of the pods that were there before is
replaced() {
    [ -z "$(comm -12 <(echo "$1") <(pods "$2"))" ]
}

test_upgrade() {
    local fetch detect
    install --set "$contact"
    fetch=$(pods fetch) detect=$(pods detect)

    upgrade --set "$contact"
    same 'pods after an upgrade that changes nothing' "$fetch $detect" "$(pods fetch) $(pods detect)"

    upgrade --set "$contact" --set fetch.env[0].name=A,fetch.env[0].value=b
    replaced "$fetch" fetch || fail 'fetch still has its old variables'
    same 'pods of detect after a change of fetch' "$detect" "$(pods detect)"

    fetch=$(pods fetch)
    upgrade --set "$contact" --set config.retry.attempts=7
    if ! replaced "$fetch" fetch || ! replaced "$detect" detect; then
        fail 'pods still have their old configuration'
    fi

    detect=$(pods detect)
    upgrade --set "$contact" --set image.tag=next
    replaced "$detect" detect || fail 'detect still has its old image'
    same 'the image' facemill:next "$(field "pod/$(pods detect)" '.spec.containers[0].image')"

    helm rollback facemill 1 --wait --timeout "$limit"
    [ "$(field "pod/$(pods detect)" '.spec.containers[0].image')" != facemill:next ] || fail 'was not rolled back'
}

test_rolling() {
    install --set detect.replicas=4
    watch_detect upgrade --set detect.replicas=4 --set image.tag=next
    [ "$(wc -l <"$work/available")" -gt 4 ] || fail 'nothing was seen of the rollout'
    same 'the fewest pods at work during the upgrade' 4 "$(fewest)"
}

# watch_detect COMMAND...: writes down how many pods of detect are at work meanwhile
watch_detect() {
    local watch
    "$bin/kubectl" --namespace "$ns" get deployment facemill-detect --watch \
        --output 'jsonpath={.status.availableReplicas}{"\n"}' >"$work/available" 2>&1 &
    watch=$!
    "$@"
    kill "$watch"
    wait "$watch" 2>/dev/null || true
}

fewest() {
    sort -n "$work/available" | head -n 1
}

test_bad_version() {
    local old
    install --set detect.replicas=4
    old=$(pods detect)
    limit=10s refused '' upgrade --set detect.replicas=4 --set image.tag=broken \
        --set 'detect.podAnnotations.facemill\.test/pod=never-ready'
    same 'old pods that are left' '' "$(comm -23 <(echo "$old") <(pods detect))"
    same 'ready pods' 4 "$(ready detect)"
    helm rollback facemill --wait --timeout "$limit"
    same 'pods after going back' "$old" "$(pods detect)"
}

test_scaling() {
    install --set preprocess.replicas=1
    upgrade --set preprocess.replicas=3
    has_ready preprocess 3 || fail "3 were wanted, $(ready preprocess) are ready"
    upgrade --set preprocess.replicas=1
    eventually 'two have ended' has_ready preprocess 1
    upgrade --set preprocess.enabled=false
    same deployments 'facemill-detect facemill-monitor' "$(names deployments)"
}

test_hpa() {
    install --set detect.autoscaling.kind=hpa,detect.autoscaling.minReplicas=2,detect.autoscaling.maxReplicas=9
    same 'its target' facemill-detect "$(field hpa/facemill-detect .spec.scaleTargetRef.name)"
    # The autoscaler itself, whose least it is
    eventually 'the autoscaler has made 2 of them' has_ready detect 2
    keeps_count detect --set detect.autoscaling.kind=hpa,detect.autoscaling.minReplicas=2,detect.autoscaling.maxReplicas=9
}

# With Helm 4, which leaves to the server whose a field is: what it no longer has is reset, unless another has set it.
test_handing_over() {
    local hpa=detect.autoscaling.kind=hpa,detect.autoscaling.minReplicas=3
    install --set detect.replicas=3
    kubectl scale deployment/facemill-detect --replicas 4
    eventually '4 of them' has_ready detect 4
    watch_detect upgrade --set "$hpa"
    same 'the fewest pods at work during the upgrade' 4 "$(fewest)"

    refused .spec.replicas upgrade --set detect.replicas=3
    upgrade --set detect.replicas=3 --force-conflicts
    eventually 'the values count again' has_ready detect 3
}

# keeps_count STAGE OPTION...: an upgrade with them leaves the number of processes to the autoscaler
keeps_count() {
    local stage=$1
    shift
    kubectl scale "deployment/facemill-$stage" --replicas 5
    eventually "5 of $stage" has_ready "$stage" 5
    upgrade "$@" --set image.tag=next
    same "processes of $stage after an upgrade" 5 "$(replicas "$stage")"
}

test_previous_chart() {
    local previous
    previous=$(previous_chart)
    helm install facemill "$previous" --wait --timeout "$limit" --set "$contact" --set fetch.replicas=2
    upgrade --set "$contact" --set fetch.replicas=2
    has_ready fetch 2 || fail 'fetch is not ready'
    # What the old one had and the new one has not is gone.
    same 'what is there' "$(helm template facemill "$chart" --namespace "$ns" --no-hooks --set "$contact" |
        sed -n 's/^kind: //p' | sort | uniq -c)" "$(helm get manifest facemill | sed -n 's/^kind: //p' | sort | uniq -c)"
    helm rollback facemill --wait --timeout "$limit"
    has_ready fetch 2 || fail 'fetch is not ready after going back'
}

# The chart of the last release; before the first one, the first chart that was committed.
previous_chart() {
    local commit
    [ -z "${PREVIOUS_CHART:-}" ] || { echo "$PREVIOUS_CHART"; return; }
    commit=$(git -C "$root" for-each-ref --sort=-version:refname --format '%(refname)' 'refs/tags/v*' |
        while read -r tag; do
            ! git -C "$root" cat-file -e "$tag:helm/facemill/Chart.yaml" 2>/dev/null || { echo "$tag"; break; }
        done)
    [ -n "$commit" ] || commit=$(git -C "$root" log --diff-filter=A --format=%H -- \
        helm/facemill/templates/NOTES.txt | tail -n 1)
    [ -n "$commit" ] || fail 'no chart has been committed yet (PREVIOUS_CHART=FOLDER names one)'
    mkdir "$work/previous"
    git -C "$root" archive "$commit" helm/facemill | tar --extract --directory "$work/previous"
    echo "$work/previous/helm/facemill"
}

# As the chart's README has it, and twice: Jobs cannot be changed.
test_without_helm() {
    local tag
    render() { "$HELM" template facemill "$chart" --namespace "$ns" --set "$contact" "$@"; }
    for tag in one two; do
        render --set image.tag=$tag --show-only templates/setup.yaml >"$work/setup.yaml"
        kubectl delete --ignore-not-found --filename "$work/setup.yaml"
        kubectl create --filename "$work/setup.yaml"
        kubectl wait job --selector app.kubernetes.io/component=setup --for condition=complete --timeout "$limit"
        render --set image.tag=$tag --no-hooks | kubectl apply --server-side --filename -
        eventually 'fetch has the tag and is ready' prints "facemill:$tag 1" fetch_with_tag
    done
    same Jobs 'facemill-check facemill-schema facemill-topics' "$(names jobs)"
}

fetch_with_tag() {
    echo "$(field deployment/facemill-fetch '.spec.template.spec.containers[0].image') $(ready fetch)"
}

test_uninstall() {
    is_empty
    install --set "$contact" --set dashboard.enabled=true,detect.autoscaling.kind=hpa
    ! is_empty >/dev/null || fail 'nothing was installed'
    helm uninstall facemill --wait --timeout "$limit"
    eventually 'nothing is left' is_empty
}

test_two_releases() {
    install --set "$contact"
    helm install second "$chart" --wait --timeout "$limit" --set "$contact"
    same deployments 8 "$(names deployments | wc -w)"
    helm uninstall second --wait --timeout "$limit"
    has_ready fetch 1 || fail 'the first release suffered'
}

plain_tests() {
    promise cluster 'The cluster refuses what is not restricted'
    promise defaults 'Default values install, and NOTES say what is off'
    promise all_stages 'With a contact all stages run, restricted and without a token'
    promise policies 'Every pod is counted by its budget and selected by a policy'
    promise budget 'Evictions stop at the budget, unless the pods are not ready anyway'
    promise placing 'Pods spread over the zones, and those with GPUs go where there are some'
    promise hooks 'Topics and tables are made before each install and upgrade; nothing of it stays'
    promise failing_hook 'When they cannot be made, the install fails and can be repeated'
    promise wrong_values 'Wrong values are refused by the name of the key, before anything is created'
    promise missing_crds 'A switch without its API is refused by its name, before anything is created'
    promise upgrade 'An upgrade replaces the pods that it concerns, and no other'
    promise rolling 'No capacity is lost during an upgrade'
    promise bad_version 'A version that never gets ready leaves the old one at work'
    promise scaling 'Replicas follow the values'
    promise hpa 'Of an HPA, the number of processes is its own'
    is_helm3 || promise handing_over 'Handing it over to an HPA loses no capacity; taking it back is said to be a conflict'
    promise previous_chart 'The previous chart is upgraded to this one, and back'
    promise two_releases 'Two releases in one namespace leave each other alone'
    promise without_helm 'Without Helm, the Jobs come before the rest, at each upgrade'
    promise uninstall 'Uninstalling leaves nothing'
}
