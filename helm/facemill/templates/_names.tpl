{{/* Names and labels. */}}

{{- define "facemill.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The beginning of all names. Short enough for "-preprocess" and the suffixes that Kubernetes adds to it. */}}
{{- define "facemill.fullname" -}}
{{- $name := include "facemill.name" . }}
{{- $release := .Release.Name }}
{{- $full := ternary $release (printf "%s-%s" $release $name) (contains $name $release) }}
{{- .Values.fullnameOverride | default $full | trunc 40 | trimSuffix "-" | trimSuffix "." }}
{{- end }}

{{- define "facemill.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "facemill.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* What selects the pods of this release; never changes. */}}
{{- define "facemill.selectorLabels" -}}
app.kubernetes.io/name: {{ include "facemill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "facemill.labels" -}}
{{ include "facemill.labelsWith" (dict "root" . "more" dict) }}
{{- end }}

{{/* The labels of everything and more, which win where both have one: (dict "root" $ "more" the values' labels) */}}
{{- define "facemill.labelsWith" -}}
{{- $more := merge (deepCopy .more) .root.Values.commonLabels }}
{{- with .root -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "facemill.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: facemill
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with $more }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The stages that are deployed, in data order, as a JSON list. fetch needs somebody whom servers can ask. */}}
{{- define "facemill.stages" -}}
{{- $stages := list }}
{{- range list "fetch" "preprocess" "detect" }}
{{- $fetches := or (ne . "fetch") $.Values.contact }}
{{- if and (index $.Values .).enabled $fetches }}
{{- $stages = append $stages . }}
{{- end }}
{{- end }}
{{- toJson $stages }}
{{- end }}

{{/* The topic that a stage reads, with its prefix: (dict "root" $ "stage" "fetch") */}}
{{- define "facemill.topic" -}}
{{- $topics := dict "fetch" "urls" "preprocess" "images" "detect" "frames" }}
{{- .root.Values.kafka.topicPrefix }}{{ get $topics .stage }}
{{- end }}

{{/* The port of the collector's address; empty without one. */}}
{{- define "facemill.telemetryPort" -}}
{{- with .Values.telemetry.endpoint }}
{{- regexFind "^https?://[^/?#]+" . | regexFind ":[0-9]+$" | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https:" .)) }}
{{- end }}
{{- end }}

{{/* The ports of the collector's pods, as a JSON list; [] without a collector. */}}
{{- define "facemill.telemetryPorts" -}}
{{- $port := include "facemill.telemetryPort" . }}
{{- if $port }}
{{- .Values.networkPolicy.telemetry.ports | default (list (int $port)) | toJson }}
{{- else }}
{{- list | toJson }}
{{- end }}
{{- end }}

{{/* The ports in a text of HOST:PORT, and those beside them, as a JSON list: (dict "hosts" "a:1,b:2" "more" (list 3)) */}}
{{- define "facemill.ports" -}}
{{- $ports := list }}
{{- range regexFindAll ":[0-9]+(,|$)" .hosts -1 }}
{{- $ports = append $ports (trimAll ":," . | int) }}
{{- end }}
{{- range .more }}
{{- $ports = append $ports (int .) }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}
