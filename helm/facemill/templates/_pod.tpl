{{/*
The template of a pod, for the stages, the monitor and the Jobs, whose component is "setup": (dict "root" $ "component"
"fetch" "job" "check" "args" (list …) "configMap" NAME "serviceAccount" NAME)

It keeps to the restricted Pod Security Standard. There is no preStop: SIGTERM itself lets the work under way finish.
*/}}
{{- define "facemill.pod" -}}
{{- $root := .root }}
{{- $values := .root.Values }}
{{- $pod := index $values .component }}
{{- $isJob := eq .component "setup" }}
{{- $gpu := and (eq .component "detect") $values.detect.gpu.enabled -}}
metadata:
  labels:
    {{- /* Not the chart's version: a new chart with the same pods restarts none. */}}
    {{- include "facemill.selectorLabels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    app.kubernetes.io/part-of: facemill
    {{- with merge (deepCopy $pod.podLabels) $values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- /* A changed configuration is a changed pod, which rolls out like a new version. */}}
    checksum/config: {{ include "facemill.toml" $root | sha256sum }}
    kubectl.kubernetes.io/default-container: facemill
    {{- if and (eq $values.metrics.kind "annotations") (not $isJob) }}
    prometheus.io/scrape: "true"
    prometheus.io/port: "9464"
    prometheus.io/path: /metrics
    {{- end }}
    {{- with $pod.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ .serviceAccount }}
  automountServiceAccountToken: false
  # Addresses come from the configuration, not from variables named after whatever Services are there.
  enableServiceLinks: false
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $isJob }}
  # A failed pod stays, for its log.
  restartPolicy: Never
  {{- else }}
  # What drains, and 20 s for the last commits, the end of the membership and of the telemetry.
  terminationGracePeriodSeconds: {{ add $values.drainSeconds 20 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    {{- with $values.runAsUser }}
    runAsUser: {{ . }}
    runAsGroup: {{ . }}
    fsGroup: {{ . }}
    {{- end }}
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: facemill
      image: {{ include "facemill.image" (dict "root" $root "image" $pod.image "suffix" (ternary "-cuda" "" $gpu)) | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{ toRawJson .args }}
      env:
        {{- include "facemill.env" (dict "root" $root "component" .component "job" .job "pod" $pod) | nindent 8 }}
      {{- with $pod.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if not $isJob }}
      {{- include "facemill.probes" $root | nindent 6 }}
      {{- end }}
      resources:
        {{- $resources := deepCopy $pod.resources }}
        {{- if $gpu }}
        {{- $_ := set $resources "limits" (set ($resources.limits | default dict) $values.detect.gpu.resource $values.detect.gpu.count) }}
        {{- end }}
        {{- toYaml $resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: config
          mountPath: /etc/facemill
          readOnly: true
        {{- if $gpu }}
        - name: tmp
          mountPath: /tmp
        {{- end }}
        {{- with $pod.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "facemill.configVolume" (dict "root" $root "configMap" .configMap) | nindent 4 }}
    {{- if $gpu }}
    # Where CUDA keeps the kernels that it compiles; nothing else writes to a file.
    - name: tmp
      emptyDir:
        sizeLimit: 1Gi
    {{- end }}
    {{- with $pod.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $pod.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $pod.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.topologySpread }}
  topologySpreadConstraints:
    {{- range . }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "facemill.selectorLabels" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $.component }}
      # Each version is spread by itself, so that old pods that are about to end do not count.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end }}

{{/* An image's full name: (dict "root" $ "image" the component's "suffix" "-cuda") */}}
{{- define "facemill.image" -}}
{{- $all := .root.Values.image }}
{{- $repository := .image.repository | default $all.repository }}
{{- $digest := .image.digest }}
{{- /* The digest of all goes with the image of all: an image or a tag of one's own has another. */}}
{{- if not (or $digest .image.repository .image.tag .suffix) }}
{{- $digest = $all.digest }}
{{- end }}
{{- if $digest }}
{{- printf "%s@%s" $repository $digest }}
{{- else }}
{{- $tag := printf "%s%s" ($all.tag | default .root.Chart.AppVersion) .suffix }}
{{- printf "%s:%s" $repository (.image.tag | default $tag) }}
{{- end }}
{{- end }}

{{/*
The variables of a pod: (dict "root" $ "component" "fetch" "job" "check" "pod" its values)

A list with one name twice is refused by a server-side apply, which is what Helm 4 does. The user's variable is the
stronger one, like a stage's image or labels: it can make a pod end or push its figures elsewhere, and no more.
facemill.wrongEnv has those that could do more. A variable can refer only to those before it: the user's stand behind the
chart's in their own order, but for POD_NAME, to which one of the chart's refers.
*/}}
{{- define "facemill.env" -}}
{{- $theirs := dict }}
{{- range .pod.env }}
{{- $_ := set $theirs .name . }}
{{- end }}
{{- $env := list }}
{{- range include "facemill.ownEnv" . | fromYamlArray }}
{{- if eq .name "POD_NAME" }}
{{- $env = append $env (get $theirs .name | default .) }}
{{- $_ := unset $theirs .name }}
{{- else if not (hasKey $theirs .name) }}
{{- $env = append $env . }}
{{- end }}
{{- end }}
{{- range .pod.env }}
{{- if hasKey $theirs .name }}
{{- $env = append $env . }}
{{- end }}
{{- end }}
{{- toYaml $env }}
{{- end }}

{{/* The variables that the chart sets, of the same. */}}
{{- define "facemill.ownEnv" -}}
{{- $values := .root.Values -}}
# Also for `kubectl exec … -- facemill check`.
- name: FACEMILL_CONFIG
  value: /etc/facemill/facemill.toml
{{- if and (include "facemill.cqlLogin" .root) (not $values.cql.username) }}
- name: FACEMILL__CQL__USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ $values.cql.existingSecret }}
      key: {{ $values.cql.usernameKey }}
{{- end }}
{{- if and (has .component (list "monitor" "setup")) $values.deadline }}
# Here and not in the file: a new deadline concerns no stage, and restarts none. The Jobs are to refuse what the monitor would.
- name: FACEMILL__MONITOR__DEADLINE
  value: {{ $values.deadline | quote }}
{{- end }}
{{- if has .component (list "preprocess" "detect") }}
{{- $config := get $values.config .component | default dict }}
{{- if and (not (hasKey $config "threads")) (dig "requests" "cpu" "" .pod.resources) }}
# As many as CPUs are requested, rounded up. One for each core of the node would be more memory than is allowed.
- name: FACEMILL__{{ upper .component }}__THREADS
  valueFrom:
    resourceFieldRef:
      containerName: facemill
      resource: requests.cpu
      divisor: "1"
{{- end }}
{{- end }}
{{- if and (eq .component "detect") $values.detect.gpu.enabled }}
- name: CUDA_CACHE_PATH
  value: /tmp/cuda
{{- end }}
{{- /* The image has these as variables, which are stronger than any file. */}}
{{- range $key := list "model" "runtime_library" }}
{{- with dig "detect" $key "" $values.config }}
- name: FACEMILL__DETECT__{{ upper $key }}
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- $device := dig "detect" "device" (ternary "cuda" "" $values.detect.gpu.enabled) $values.config }}
{{- if and (eq .component "detect") $device }}
- name: FACEMILL__DETECT__DEVICE
  value: {{ $device }}
{{- else if eq .job "check" }}
# `facemill check` loads the model, for which the Jobs have no GPU, and memory for one detector. The other Jobs have neither
# variable: they read the settings as the stages do, and fail where these would.
- name: FACEMILL__DETECT__DEVICE
  value: cpu
- name: FACEMILL__DETECT__THREADS
  value: "1"
{{- end }}
{{- with $values.telemetry.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ toRawJson $values.telemetry.sampleRatio | quote }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- $own := dict "k8s.namespace.name" $.root.Release.Namespace "k8s.pod.name" "$(POD_NAME)" "k8s.container.name" "facemill" }}
{{- $attributes := list }}
{{- range $key, $value := merge (deepCopy $values.telemetry.resourceAttributes) $own }}
{{- $attributes = append $attributes (printf "%s=%s" $key $value) }}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ join "," $attributes | quote }}
{{- end }}
{{- end }}

{{/*
The probes.

/livez fails when a part of the process has shown no sign of life for 30 s, which only a restart mends. /readyz fails while
the process waits for something outside, Kafka or the database, which a restart does not mend. No traffic is routed to a
pod, so being unready costs nothing while the process works; what it does is hold a rollout: a version that cannot reach
what it needs becomes unready, no further old pod ends, and `helm upgrade --wait` fails. In an outage of the database all
pods are unready at once. They keep their partitions and go on by themselves; the disruption budgets let nodes be drained
all the same (unhealthyPodEvictionPolicy), and alerts name the database rather than the pods.

The program looks for brokers and tables before it opens its port, and gives up by itself when they do not come: the
start-up probe is longer than that and only ends a start that hangs.
*/}}
{{- define "facemill.probes" -}}
ports:
  - name: metrics
    containerPort: 9464
startupProbe:
  httpGet: { path: /livez, port: metrics }
  periodSeconds: 2
  failureThreshold: 150
livenessProbe:
  httpGet: { path: /livez, port: metrics }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /readyz, port: metrics }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{/*
facemill.toml and the secrets that it names, in one folder: (dict "root" $ "configMap" NAME)

Secrets are never variables, which crash dumps and `kubectl describe` show; but for the name of the database's user, which
the program takes from no file.
*/}}
{{- define "facemill.configVolume" -}}
{{- $kafka := .root.Values.kafka }}
{{- $cql := .root.Values.cql -}}
- name: config
  projected:
    # Readable for the group that fsGroup names, or for all in the pod where there is none.
    defaultMode: {{ ternary 0o440 0o444 (not (kindIs "invalid" .root.Values.runAsUser)) }}
    sources:
      - configMap:
          name: {{ .configMap }}
          items:
            - { key: facemill.toml, path: facemill.toml }
            {{- if .root.Values.topics.overrides }}
            {{- range include "facemill.topics" .root | fromJsonArray }}
            - { key: {{ .name }}.yaml, path: topics/{{ .name }}.yaml }
            {{- end }}
            {{- end }}
      {{- $own := list }}
      {{- if $kafka.sasl.mechanism }}
      {{- $own = append $own (dict "key" $kafka.sasl.passwordKey "path" "kafka/password") }}
      {{- if not $kafka.sasl.username }}
      {{- $own = append $own (dict "key" $kafka.sasl.usernameKey "path" "kafka/username") }}
      {{- end }}
      {{- end }}
      {{- if and $kafka.tls.enabled $kafka.tls.certKey }}
      {{- $own = append $own (dict "key" $kafka.tls.certKey "path" "kafka/client.crt") }}
      {{- $own = append $own (dict "key" $kafka.tls.keyKey "path" "kafka/client.key") }}
      {{- end }}
      {{- include "facemill.secret" (dict "name" $kafka.existingSecret "items" $own) | nindent 6 }}
      {{- if and $kafka.tls.enabled $kafka.tls.caKey }}
      {{- $ca := list (dict "key" $kafka.tls.caKey "path" "kafka/ca.crt") }}
      {{- include "facemill.secret" (dict "name" ($kafka.tls.caSecret | default $kafka.existingSecret) "items" $ca) | nindent 6 }}
      {{- end }}
      {{- if include "facemill.cqlLogin" .root }}
      {{- $own := list (dict "key" $cql.passwordKey "path" "cql/password") }}
      {{- include "facemill.secret" (dict "name" $cql.existingSecret "items" $own) | nindent 6 }}
      {{- end }}
      {{- if and $cql.tls.enabled $cql.tls.caKey }}
      {{- $ca := list (dict "key" $cql.tls.caKey "path" "cql/ca.crt") }}
      {{- include "facemill.secret" (dict "name" ($cql.tls.caSecret | default $cql.existingSecret) "items" $ca) | nindent 6 }}
      {{- end }}
{{- end }}

{{/* Keys of a Secret as files: (dict "name" NAME "items" (list …)); nothing without items. */}}
{{- define "facemill.secret" -}}
{{- if .items }}
- secret:
    name: {{ .name }}
    items:
      {{- toYaml .items | nindent 6 }}
{{- end }}
{{- end }}
