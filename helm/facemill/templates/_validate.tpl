{{/*
What values.schema.json cannot say: values that are right one by one and cannot work together. Each message names the key
and what to do. All of them are collected, so that one attempt shows everything.
*/}}
{{- define "facemill.validate" -}}
{{- $wrong := list }}
{{- range list "facemill.wrongFormats" "facemill.wrongConfig" "facemill.wrongSecrets" "facemill.wrongEnv" "facemill.wrongStages" "facemill.wrongTopics" "facemill.wrongNetwork" "facemill.wrongMetrics" "facemill.wrongLabels" "facemill.missingApis" }}
{{- $wrong = concat $wrong (include . $ | fromJsonArray) }}
{{- end }}
{{- if $wrong }}
{{- fail (printf "\n\nThese values cannot work:\n  - %s\n" (join "\n  - " $wrong)) }}
{{- end }}
{{- end }}

{{/* Texts of a form: the schema could refuse them, but only by showing a regular expression. */}}
{{- define "facemill.wrongFormats" -}}
{{- $wrong := list }}
{{- $name := `(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)` }}
{{- $host := printf "%s:[0-9]{1,5}" $name }}
{{- $url := `^$|^https?://[^/\s]+` }}
{{- $prefix := `^[A-Za-z0-9._-]{0,200}$` }}
{{- $digest := `^$|^sha256:[0-9a-f]{64}$` }}
{{- $rules := list
  (list "contact" .Values.contact `^$|^[ -'*-~]*(@|://)[ -'*-~]*$` "must have an e-mail address or a page in it, such as \"https://example.org/bot; ops@example.org\", in printable ASCII without brackets")
  (list "deadline" .Values.deadline `^$|^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?Z$` "must be a time as RFC 3339 in UTC, such as \"2026-11-28T00:00:00Z\", in quotes")
  (list "kafka.brokers" .Values.kafka.brokers (printf "^%s(,%s)*$" $host $host) "must be HOST:PORT, several with commas and no spaces between them")
  (list "kafka.topicPrefix" .Values.kafka.topicPrefix $prefix "may have letters, digits, '.', '_' and '-', as names of topics")
  (list "kafka.groupPrefix" .Values.kafka.groupPrefix $prefix "may have letters, digits, '.', '_' and '-'")
  (list "cql.keyspace" .Values.cql.keyspace `^[A-Za-z0-9_]{1,48}$` "must have letters, digits and '_' only, 48 at most")
  (list "telemetry.endpoint" .Values.telemetry.endpoint (printf `^$|^https?://%s(:[0-9]{1,5})?([/?#]\S*)?$` $name) "must be a URL, such as \"http://otel-collector.observability:4318\"; a login goes into OTEL_EXPORTER_OTLP_HEADERS, from a Secret in each stage's env")
  (list "prometheus.address" .Values.prometheus.address $url "must be a URL, such as \"http://prometheus-operated.monitoring:9090\"")
  (list "prometheus.matchers" .Values.prometheus.matchers `^$|^[A-Za-z_][A-Za-z0-9_]*(=|!=|=~|!~)".*"$` "must be matchers as between the braces of a query, such as 'namespace=\"faces\"'")
  (list "image.digest" .Values.image.digest $digest "must be sha256: and 64 hexadecimal digits")
}}
{{- range .Values.cql.contactPoints }}
{{- $rules = append $rules (list "cql.contactPoints" . (printf "^%s$" $host) "must each be HOST:PORT") }}
{{- end }}
{{- range list "fetch" "preprocess" "detect" "monitor" "setup" }}
{{- $rules = append $rules (list (printf "%s.image.digest" .) (index $.Values .).image.digest $digest "must be sha256: and 64 hexadecimal digits") }}
{{- end }}
{{- range $rules }}
{{- if not (regexMatch (index . 2) (index . 1)) }}
{{- $wrong = append $wrong (printf "%s: %q is wrong: %s" (index . 0) (index . 1) (index . 3)) }}
{{- end }}
{{- end }}
{{- /* 31 November has the form of a day: what is parsed of it is another. The program has none before 1970. */}}
{{- $day := trunc 10 .Values.deadline }}
{{- $parsed := dateInZone "2006-01-02" (toDate "2006-01-02T15:04:05Z07:00" (printf "%sT12:00:00Z" $day)) "UTC" }}
{{- if and $day (or (ne $day $parsed) (lt $day "1970")) }}
{{- $wrong = append $wrong (printf "deadline: there is no day %q" $day) }}
{{- end }}
{{- $collector := include "facemill.telemetryPort" . | printf ":%s" }}
{{- range list (list "kafka.brokers" .Values.kafka.brokers) (list "cql.contactPoints" (join "," .Values.cql.contactPoints)) (list "telemetry.endpoint" $collector) }}
{{- $key := first . }}
{{- range include "facemill.ports" (dict "hosts" (last .) "more" list) | fromJsonArray }}
{{- if or (lt (int .) 1) (gt (int .) 65535) }}
{{- $wrong = append $wrong (printf "%s: there is no port %d; the last is 65535" $key (int .)) }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{/* Settings that there are not, that are of another kind, or that the chart has a value of its own for. */}}
{{- define "facemill.wrongConfig" -}}
{{- $wrong := list }}
{{- $kinds := dict "bool" "boolean" "string" "text" "slice" "list" "map" "table" }}
{{- $settings := .Files.Get "settings.json" | fromJson }}
{{- range $section, $table := .Values.config }}
{{- range $key, $value := $table }}
{{- $kind := get (get $settings $section | default dict) $key }}
{{- $given := get $kinds (kindOf $value) | default "number" }}
{{- if not $kind }}
{{- $wrong = append $wrong (printf "config.%s.%s: there is no such setting; `facemill config defaults` prints them all" $section $key) }}
{{- else if and (ne $kind $given) (not (kindIs "invalid" $value)) }}
{{- $wrong = append $wrong (printf "config.%s.%s: %v is a %s and must be a %s" $section $key $value $given $kind) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.config.http }}
{{- $wrong = append $wrong "config.http: leave it out; probes, monitors and network policies go by port 9464" }}
{{- end }}
{{- $own := dict
  "fetch.user_agent" "contact"
  "runner.drain_timeout" "drainSeconds"
  "monitor.deadline" "deadline"
  "log.level" "logging.level"
  "log.format" "logging.format"
  "kafka.brokers" "kafka.brokers"
  "kafka.topic_prefix" "kafka.topicPrefix"
  "kafka.group_prefix" "kafka.groupPrefix"
  "kafka.expected_rate" "expectedRate"
  "cql.contact_points" "cql.contactPoints"
  "cql.keyspace" "cql.keyspace"
  "cql.datacenter" "cql.datacenter"
  "cql.username" "cql.username"
  "cql.password_file" "cql.existingSecret"
  "cql.tls" "cql.tls.enabled"
  "cql.tls_ca_file" "cql.tls.caKey"
}}
{{- range $key, $value := $own }}
{{- $path := splitList "." $key }}
{{- if hasKey (get $.Values.config (first $path) | default dict) (last $path) }}
{{- $wrong = append $wrong (printf "config.%s: set the value %s instead, which the rest of the chart goes by" $key $value) }}
{{- end }}
{{- end }}
{{- $properties := dig "kafka" "config" dict .Values.config }}
{{- range $key := list "security.protocol" "sasl.mechanism" "sasl.mechanisms" "sasl.username" "bootstrap.servers" "metadata.broker.list" }}
{{- if hasKey $properties $key }}
{{- $wrong = append $wrong (printf "config.kafka.config.%q: set kafka.brokers, kafka.sasl and kafka.tls instead, which the rest of the chart goes by" $key) }}
{{- end }}
{{- end }}
{{- range $key := list "sasl.password" "ssl.key.password" "ssl.key.pem" }}
{{- if hasKey $properties $key }}
{{- $wrong = append $wrong (printf "config.kafka.config.%q: a secret does not belong in a ConfigMap; use kafka.existingSecret, or a volume and config.kafka.config_files" $key) }}
{{- end }}
{{- end }}
{{- /* The Job of check has a device and a number of threads of its own, and does not see these. */}}
{{- $device := dig "detect" "device" "" .Values.config | default "" }}
{{- if not (has $device (list "" "cpu" "cuda")) }}
{{- $wrong = append $wrong (printf "config.detect.device: %v is none; take cpu or cuda" $device) }}
{{- end }}
{{- $image := .Values.detect.image }}
{{- if and (eq $device "cuda") .Values.detect.enabled (not (or .Values.detect.gpu.enabled $image.repository $image.tag $image.digest)) }}
{{- $wrong = append $wrong "config.detect.device: cuda needs detect.gpu.enabled, or in detect.image one that has CUDA" }}
{{- end }}
{{- range $stage := list "preprocess" "detect" }}
{{- $threads := dig $stage "threads" 0 $.Values.config | int64 }}
{{- if or (lt $threads 0) (gt $threads 1024) }}
{{- $wrong = append $wrong (printf "config.%s.threads: %d must be from 0, one for each core, to 1024" $stage $threads) }}
{{- end }}
{{- end }}
{{- $session := dig "session.timeout.ms" 45000 $properties | int }}
{{- if ge (mul .Values.drainSeconds 1000) $session }}
{{- $wrong = append $wrong (printf "drainSeconds: %d s are not less than Kafka's session time-out (%d ms): a partition would have two owners; lower it, or raise config.kafka.config.\"session.timeout.ms\"" (int .Values.drainSeconds) $session) }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{/* Logins and certificates that are only half there. */}}
{{- define "facemill.wrongSecrets" -}}
{{- $wrong := list }}
{{- $kafka := .Values.kafka }}
{{- $sasl := $kafka.sasl }}
{{- $tls := $kafka.tls }}
{{- if $sasl.mechanism }}
{{- if not $kafka.existingSecret }}
{{- $wrong = append $wrong "kafka.existingSecret: kafka.sasl.mechanism needs the Secret that has the password" }}
{{- end }}
{{- if not $sasl.passwordKey }}
{{- $wrong = append $wrong "kafka.sasl.passwordKey: name the key of the Secret that has the password" }}
{{- end }}
{{- if not (or $sasl.username $sasl.usernameKey) }}
{{- $wrong = append $wrong "kafka.sasl.username: set it, or kafka.sasl.usernameKey" }}
{{- end }}
{{- else if $sasl.username }}
{{- $wrong = append $wrong "kafka.sasl.username: without kafka.sasl.mechanism nobody logs in; set it too" }}
{{- end }}
{{- if and (not $tls.enabled) (or $tls.caKey $tls.certKey $tls.keyKey $tls.caSecret) }}
{{- $wrong = append $wrong "kafka.tls.enabled: is false, so the certificates of kafka.tls would not be used; set it to true or leave them out" }}
{{- end }}
{{- if ne (empty $tls.certKey) (empty $tls.keyKey) }}
{{- $wrong = append $wrong "kafka.tls.certKey: goes with kafka.tls.keyKey; set both or neither" }}
{{- end }}
{{- if and $tls.certKey (not $kafka.existingSecret) }}
{{- $wrong = append $wrong "kafka.existingSecret: kafka.tls.certKey needs the Secret that has it" }}
{{- end }}
{{- if and $tls.caKey (not (or $tls.caSecret $kafka.existingSecret)) }}
{{- $wrong = append $wrong "kafka.tls.caSecret: kafka.tls.caKey needs the Secret that has it; set this or kafka.existingSecret" }}
{{- end }}
{{- if and $tls.caSecret (not $tls.caKey) }}
{{- $wrong = append $wrong "kafka.tls.caKey: name the key of kafka.tls.caSecret, such as ca.crt" }}
{{- end }}
{{- if and $kafka.existingSecret (not (or $sasl.mechanism $tls.caKey $tls.certKey)) }}
{{- $wrong = append $wrong "kafka.existingSecret: nothing uses it; set kafka.sasl.mechanism, kafka.tls.caKey or kafka.tls.certKey, or leave it out" }}
{{- end }}
{{- $cql := .Values.cql }}
{{- $ctls := $cql.tls }}
{{- if and $cql.username (not $cql.existingSecret) }}
{{- $wrong = append $wrong "cql.existingSecret: cql.username needs the Secret that has the password" }}
{{- end }}
{{- if and $cql.existingSecret $cql.passwordKey (not (or $cql.username $cql.usernameKey)) }}
{{- $wrong = append $wrong "cql.username: set it, or cql.usernameKey" }}
{{- end }}
{{- if and (not $ctls.enabled) (or $ctls.caKey $ctls.caSecret) }}
{{- $wrong = append $wrong "cql.tls.enabled: is false, so cql.tls.caKey would not be used; set it to true or leave that out" }}
{{- end }}
{{- if and $ctls.caKey (not (or $ctls.caSecret $cql.existingSecret)) }}
{{- $wrong = append $wrong "cql.tls.caSecret: cql.tls.caKey needs the Secret that has it; set this or cql.existingSecret" }}
{{- end }}
{{- if and $ctls.caSecret (not $ctls.caKey) }}
{{- $wrong = append $wrong "cql.tls.caKey: name the key of cql.tls.caSecret, such as ca.crt" }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{/*
Variables that would undo what the chart promises: with another file, or another deadline, a pod would run by what no Job
has looked at and no change of the values restarts. All others are the user's to change.
*/}}
{{- define "facemill.wrongEnv" -}}
{{- $wrong := list }}
{{- $instead := dict "FACEMILL_CONFIG" "config" "FACEMILL__MONITOR__DEADLINE" "deadline" }}
{{- range $component := list "fetch" "preprocess" "detect" "monitor" "setup" }}
{{- $seen := dict }}
{{- range (index $.Values $component).env }}
{{- if hasKey $seen .name }}
{{- $wrong = append $wrong (printf "%s.env: %s is there twice; leave one out" $component .name) }}
{{- end }}
{{- $_ := set $seen .name true }}
{{- $name := .name }}
{{- with get $instead $name }}
{{- $wrong = append $wrong (printf "%s.env: leave %s out and set the value %s, which the Jobs look at and the rest of the chart goes by" $component $name .) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $value := .Values.telemetry.resourceAttributes }}
{{- if not (and (regexMatch `^[A-Za-z][A-Za-z0-9._/-]*$` $key) (regexMatch `^[^,\s]([^,\r\n]*[^,\s])?$` $value)) }}
{{- $wrong = append $wrong (printf "telemetry.resourceAttributes.%q: %q is wrong: names have letters, digits, '.', '_', '-' and '/', values no comma and no spaces around them" $key $value) }}
{{- end }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{/* Numbers of processes that cannot be, and autoscaling without what it needs. */}}
{{- define "facemill.wrongStages" -}}
{{- $wrong := list }}
{{- $stages := include "facemill.stages" . | fromJsonArray }}
{{- $partitions := dict }}
{{- range include "facemill.topics" . | fromJsonArray }}
{{- $_ := set $partitions (printf "%s%s" $.Values.kafka.topicPrefix .name) (int .partitions) }}
{{- end }}
{{- range $stage := $stages }}
{{- $values := index $.Values $stage }}
{{- $scaling := $values.autoscaling }}
{{- $most := ternary $values.replicas $scaling.maxReplicas (eq $scaling.kind "none") | int }}
{{- $key := ternary "replicas" "autoscaling.maxReplicas" (eq $scaling.kind "none") }}
{{- $topic := include "facemill.topic" (dict "root" $ "stage" $stage) }}
{{- $limit := get $partitions $topic | int }}
{{- $repartition := ternary ", with topics.allowRepartition where the topics are there already (which says what that does to keys)" "" (eq $.Values.topics.manage "job") }}
{{- /* Topics that somebody else makes may have any number. */}}
{{- if and (ne $.Values.topics.manage "none") (gt $most $limit) }}
{{- $wrong = append $wrong (printf "%s.%s: %d processes, but %s has %d partitions, and each has one reader; lower it or raise topics.partitions%s" $stage $key $most $topic $limit $repartition) }}
{{- end }}
{{- if ne $scaling.kind "none" }}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
{{- $wrong = append $wrong (printf "%s.autoscaling.minReplicas: %d is more than maxReplicas, %d" $stage (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- end }}
{{- end }}
{{- if eq $scaling.kind "hpa" }}
{{- if lt (int $scaling.minReplicas) 1 }}
{{- $wrong = append $wrong (printf "%s.autoscaling.minReplicas: only keda can start a stage from 0; set at least 1" $stage) }}
{{- end }}
{{- if not (dig "requests" "cpu" "" $values.resources) }}
{{- $wrong = append $wrong (printf "%s.resources.requests.cpu: autoscaling.kind hpa measures CPU by it; set it" $stage) }}
{{- end }}
{{- end }}
{{- if eq $scaling.kind "keda" }}
{{- /* KEDA resolves names in its own namespace, where a name of this one is unknown or somebody else's. */}}
{{- $isFetch := eq $stage "fetch" }}
{{- $hosts := ternary (urlParse $.Values.prometheus.address).host $.Values.kafka.brokers $isFetch }}
{{- range without (splitList "," $hosts) "" }}
{{- $host := regexReplaceAll ":[0-9]+$" . "" }}
{{- if not (regexMatch "[.:]" $host) }}
{{- $wrong = append $wrong (printf "%s: KEDA asks it for %s.autoscaling from its own namespace, which does not know %q; write %s.NAMESPACE.svc" (ternary "prometheus.address" "kafka.brokers" $isFetch) $stage $host $host) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (eq $scaling.kind "keda") (eq $stage "fetch") }}
{{- if not $.Values.deadline }}
{{- $wrong = append $wrong "deadline: fetch.autoscaling.kind keda counts towards it; set it, or take hpa or none" }}
{{- end }}
{{- if not $.Values.prometheus.address }}
{{- $wrong = append $wrong "prometheus.address: fetch.autoscaling.kind keda asks it for the URLs that are left; set it, or take hpa or none" }}
{{- end }}
{{- if not $.Values.monitor.enabled }}
{{- $wrong = append $wrong "monitor.enabled: fetch.autoscaling.kind keda needs the monitor's figures; set it to true, or take hpa or none" }}
{{- end }}
{{- end }}
{{- $memory := dig "limits" "memory" "" $values.resources }}
{{- if $memory }}
{{- $budgets := dict "fetch" "fetch.body_budget_bytes" "preprocess" "preprocess.decode_budget_bytes" }}
{{- range $setting := compact (list (get $budgets $stage) "runner.all_lanes_bytes") }}
{{- $path := splitList "." $setting }}
{{- $given := dig (first $path) (last $path) 0 $.Values.config | float64 }}
{{- if gt $given (include "facemill.bytes" $memory | float64) }}
{{- $wrong = append $wrong (printf "config.%s: %.0f bytes are more than %s.resources.limits.memory, %s, for which the pod would be killed; lower it or raise that" $setting $given $stage (toRawJson $memory)) }}
{{- end }}
{{- end }}
{{- end }}
{{- range list "requests" "limits" }}
{{- if and (eq $stage "detect") $.Values.detect.gpu.enabled (hasKey (get $values.resources . | default dict) $.Values.detect.gpu.resource) }}
{{- $wrong = append $wrong (printf "detect.resources.%s: leave %s to detect.gpu.count" . $.Values.detect.gpu.resource) }}
{{- end }}
{{- end }}
{{- end }}
{{- if not (or $stages .Values.monitor.enabled) }}
{{- $wrong = append $wrong "fetch.enabled: no stage and no monitor would be deployed; enable one (fetch also needs contact)" }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{/* A quantity of memory, as "1Gi", in bytes. */}}
{{- define "facemill.bytes" -}}
{{- /* A number of a values file is a float, which %v would write as 1.073741824e+09. */}}
{{- $text := toRawJson . | trimAll "\"" }}
{{- $units := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 }}
{{- mulf (regexFind "^[0-9.]+" $text | float64) (get $units (regexFind "[A-Za-z]+$" $text) | default 1.0) | printf "%.0f" }}
{{- end }}

{{/* Topics that are nowhere, or that nothing could be written to. */}}
{{- define "facemill.wrongTopics" -}}
{{- $wrong := list }}
{{- $topics := include "facemill.topics" . | fromJsonArray }}
{{- $names := list }}
{{- range $topic := $topics }}
{{- $names = append $names $topic.name }}
{{- $least := get $topic.config "min.insync.replicas" | default 1 | int }}
{{- if gt $least (int $topic.replicas) }}
{{- $wrong = append $wrong (printf "topics.overrides.%q: min.insync.replicas %d is more than its %d replicas, so nothing could be written" $topic.name $least (int $topic.replicas)) }}
{{- end }}
{{- end }}
{{- range $name, $_ := .Values.topics.overrides }}
{{- if not (has $name $names) }}
{{- $wrong = append $wrong (printf "topics.overrides.%q: there is no such topic; there are %s" $name (join ", " $names)) }}
{{- end }}
{{- end }}
{{- if and (eq .Values.topics.manage "none") (or .Values.topics.overrides .Values.topics.partitions .Values.topics.replicas) }}
{{- $wrong = append $wrong "topics.manage: is none, so topics.partitions, topics.replicas and topics.overrides would do nothing; leave them out" }}
{{- end }}
{{- if and (ne .Values.topics.manage "job") (or .Values.topics.allowRepartition .Values.topics.allowLower) }}
{{- $wrong = append $wrong (printf "topics.manage: is %s, so topics.allowRepartition and topics.allowLower would do nothing, which are for the Job; leave them out" .Values.topics.manage) }}
{{- end }}
{{- if and (eq .Values.topics.manage "strimzi") (not .Values.topics.strimzi.cluster) }}
{{- $wrong = append $wrong "topics.strimzi.cluster: name the Kafka resource that the topics belong to (kubectl get kafka -A)" }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{/* Rules of the network that would let fetch into the cluster. */}}
{{- define "facemill.wrongNetwork" -}}
{{- $wrong := list }}
{{- $policy := .Values.networkPolicy }}
{{- if $policy.enabled }}
{{- $ports := dict "kafka" .Values.kafka.brokers "cql" (join "," .Values.cql.contactPoints) }}
{{- range $name, $hosts := $ports }}
{{- $_ := set $ports $name (include "facemill.ports" (dict "hosts" $hosts "more" (index $policy $name).ports) | fromJsonArray) }}
{{- end }}
{{- $_ := set $ports "telemetry" (include "facemill.telemetryPorts" . | fromJsonArray) }}
{{- range $name, $open := $ports }}
{{- $destination := index $policy $name }}
{{- $web := list }}
{{- range $open }}
{{- if has (int .) (list 80 443) }}{{ $web = append $web . }}{{ end }}
{{- end }}
{{- if and $web (not $destination.to) }}
{{- $wrong = append $wrong (printf "networkPolicy.%s.to: on port %v everything inside the cluster would be open to fetch; say where it is, or set networkPolicy.enabled to false" $name (first $web)) }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{/* Figures that nobody gets, or too seldom. */}}
{{- define "facemill.wrongMetrics" -}}
{{- $wrong := list }}
{{- $metrics := .Values.metrics }}
{{- if eq (include "facemill.telemetryPort" .) "4317" }}
{{- $wrong = append $wrong "telemetry.endpoint: 4317 is the collector's port for gRPC, and facemill speaks OTLP over HTTP; take that for HTTP, 4318" }}
{{- end }}
{{- if and .Values.rules.enabled (not .Values.monitor.enabled) }}
{{- $wrong = append $wrong "rules.enabled: needs monitor.enabled, without whose figures an alert would fire for ever" }}
{{- end }}
{{- if and .Values.rules.enabled (eq $metrics.kind "none") }}
{{- $wrong = append $wrong "rules.enabled: metrics.kind is none, so that Prometheus would have no figures and an alert would fire for ever; set it" }}
{{- end }}
{{- if has $metrics.kind (list "podMonitor" "serviceMonitor") }}
{{- $unit := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 | dig (regexFind "[a-z]+$" $metrics.interval) 1 }}
{{- if gt (mul (regexFind "^[0-9]+" $metrics.interval | int64) $unit) 60000 }}
{{- $wrong = append $wrong (printf "metrics.interval: %s is too long: alerts look back 3 minutes and need several figures in them; take at most 1m" $metrics.interval) }}
{{- end }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{/* Labels that are the chart's own: others in their place would select other pods, or stand there twice. */}}
{{- define "facemill.wrongLabels" -}}
{{- $wrong := list }}
{{- $ofPods := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/part-of" }}
{{- $ofAll := concat $ofPods (list "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart") }}
{{- $labels := list (list "commonLabels" .Values.commonLabels $ofAll) }}
{{- range list "metrics" "rules" "dashboard" }}
{{- $labels = append $labels (list (printf "%s.labels" .) (index $.Values .).labels $ofAll) }}
{{- end }}
{{- range list "fetch" "preprocess" "detect" "monitor" "setup" }}
{{- $labels = append $labels (list (printf "%s.podLabels" .) (index $.Values .).podLabels $ofPods) }}
{{- end }}
{{- range $entry := $labels }}
{{- range $key, $_ := index $entry 1 }}
{{- if has $key (index $entry 2) }}
{{- $wrong = append $wrong (printf "%s.%q: the chart has this label of its own, which its selectors go by; leave it out" (first $entry) $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{/* Switches whose API the cluster does not have. Never left out in silence, which nobody would notice. */}}
{{- define "facemill.missingApis" -}}
{{- $needed := dict }}
{{- range $stage := include "facemill.stages" . | fromJsonArray }}
{{- if eq (index $.Values $stage).autoscaling.kind "keda" }}
{{- $_ := set $needed (printf "%s.autoscaling.kind" $stage) "keda.sh/v1alpha1/ScaledObject" }}
{{- end }}
{{- end }}
{{- if has .Values.metrics.kind (list "podMonitor" "serviceMonitor") }}
{{- $_ := set $needed "metrics.kind" (printf "monitoring.coreos.com/v1/%s" (title .Values.metrics.kind)) }}
{{- end }}
{{- if .Values.rules.enabled }}
{{- $_ := set $needed "rules.enabled" "monitoring.coreos.com/v1/PrometheusRule" }}
{{- end }}
{{- if eq .Values.topics.manage "strimzi" }}
{{- $_ := set $needed "topics.manage" (printf "kafka.strimzi.io/%s/KafkaTopic" .Values.topics.strimzi.apiVersion) }}
{{- end }}
{{- $wrong := list }}
{{- if .Values.checkApis }}
{{- range $key, $api := $needed }}
{{- if not ($.Capabilities.APIVersions.Has $api) }}
{{- $wrong = append $wrong (printf "%s: the cluster does not have %s; install its operator first, or change the value (helm template: --api-versions %s, or --set checkApis=false)" $key $api $api) }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $wrong }}
{{- end }}
