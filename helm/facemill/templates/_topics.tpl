{{/*
The topics as topics/*.yaml declare them, with one for each other delay of config.retry.later and with the figures of
the values, as a JSON list. Not YAML: that would write 1209600000 as 1.2096e+09.
*/}}
{{- define "facemill.topics" -}}
{{- $topics := list }}
{{- range $path, $_ := .Files.Glob "topics/*.yaml" }}
{{- $topics = append $topics ($.Files.Get $path | fromYaml) }}
{{- end }}
{{- /* As the program does it: a new delay has a topic like the first one that is declared. */}}
{{- $retry := .Files.Get "topics/urls.retry.1m.yaml" }}
{{- range (dig "retry" "later" list .Values.config) }}
{{- $name := printf "urls.retry.%s" . }}
{{- if not ($.Files.Get (printf "topics/%s.yaml" $name)) }}
{{- $topics = append $topics (mergeOverwrite (fromYaml $retry) (dict "name" $name "description" (printf "URLs to be tried again after a wait of %s." .))) }}
{{- end }}
{{- end }}
{{- range $topic := $topics }}
{{- $override := get $.Values.topics.overrides $topic.name | default dict }}
{{- with coalesce $override.partitions $.Values.topics.partitions }}
{{- $_ := set $topic "partitions" . }}
{{- end }}
{{- with coalesce $override.replicas $.Values.topics.replicas }}
{{- $_ := set $topic "replicas" . }}
{{- $_ := set $topic.config "min.insync.replicas" (max 1 (sub (int .) 1)) }}
{{- end }}
{{- $_ := mergeOverwrite $topic.config ($override.config | default dict) }}
{{- end }}
{{- toRawJson $topics }}
{{- end }}

{{/* The topics as files of a ConfigMap, where one of them has figures of its own: those the program has not built in. */}}
{{- define "facemill.topicFiles" -}}
{{- if .Values.topics.overrides }}
{{- range include "facemill.topics" . | fromJsonArray }}
{{ .name }}.yaml: {{ toRawJson . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* How `facemill topics` comes to know the figures of the values, as a JSON list. */}}
{{- define "facemill.topicFlags" -}}
{{- if .Values.topics.overrides }}
{{- list "--dir" "/etc/facemill/topics" | toJson }}
{{- else }}
{{- include "facemill.checkFlags" . }}
{{- end }}
{{- end }}

{{/* How `facemill check` does, which reads no files: a topic with other figures of its own is a warning to it. */}}
{{- define "facemill.checkFlags" -}}
{{- $flags := list }}
{{- with .Values.topics.partitions }}{{ $flags = concat $flags (list "--partitions" (toString .)) }}{{ end }}
{{- with .Values.topics.replicas }}{{ $flags = concat $flags (list "--replicas" (toString .)) }}{{ end }}
{{- toJson $flags }}
{{- end }}
