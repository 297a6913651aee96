{{/* What KEDA asks, and with which login. */}}

{{/*
URLs a second that are needed from now on: those that are left, retries included, by the seconds until the deadline.
Retries that wait count too, since they must be done by then. In the last ten minutes, and after the deadline, it counts
on ten minutes, so that the end is no spike.

Of this release alone: another one's deadline would count otherwise. With a monitor of the operator the figures have labels
that say so; elsewhere only the user knows which they have.
*/}}
{{- define "facemill.neededRate" -}}
{{- $own := printf "namespace=%s,release=%s" (toRawJson .Release.Namespace) (toRawJson .Release.Name) }}
{{- $more := .Values.prometheus.matchers | default (ternary $own "" (has .Values.metrics.kind (list "podMonitor" "serviceMonitor"))) }}
{{- $topics := printf "topic=~%s" (printf "%surls.*" (regexQuoteMeta .Values.kafka.topicPrefix) | toRawJson) }}
{{- $matchers := list `stage="fetch"` $topics $more | compact | join "," }}
{{- printf "sum(facemill_lag_records{%s}) / clamp_min(max(facemill_deadline_timestamp_seconds{%s}) - time(), 600)" $matchers $more }}
{{- end }}

{{/* Where KEDA finds what it needs for the brokers, as JSON; {} where it needs nothing. */}}
{{- define "facemill.triggerParameters" -}}
{{- $kafka := .Values.kafka }}
{{- $secrets := list }}
{{- $spec := dict }}
{{- if $kafka.sasl.mechanism }}
{{- $secrets = append $secrets (dict "parameter" "password" "name" $kafka.existingSecret "key" $kafka.sasl.passwordKey) }}
{{- if $kafka.sasl.username }}
{{- $_ := set $spec "configMapTargetRef" (list (dict "parameter" "username" "name" (include "facemill.fullname" .) "key" "kafka-username")) }}
{{- else }}
{{- $secrets = append $secrets (dict "parameter" "username" "name" $kafka.existingSecret "key" $kafka.sasl.usernameKey) }}
{{- end }}
{{- end }}
{{- if and $kafka.tls.enabled $kafka.tls.caKey }}
{{- $secrets = append $secrets (dict "parameter" "ca" "name" ($kafka.tls.caSecret | default $kafka.existingSecret) "key" $kafka.tls.caKey) }}
{{- end }}
{{- if and $kafka.tls.enabled $kafka.tls.certKey }}
{{- $secrets = append $secrets (dict "parameter" "cert" "name" $kafka.existingSecret "key" $kafka.tls.certKey) }}
{{- $secrets = append $secrets (dict "parameter" "key" "name" $kafka.existingSecret "key" $kafka.tls.keyKey) }}
{{- end }}
{{- if $secrets }}
{{- $_ := set $spec "secretTargetRef" $secrets }}
{{- end }}
{{- toJson $spec }}
{{- end }}
