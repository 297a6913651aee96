{{/* Rules that two policies have: that of the stages and that of the Jobs. */}}

{{/* What the pods of all components may reach. */}}
{{- define "facemill.egressOfAll" -}}
{{- $policy := .Values.networkPolicy }}
{{- $kafka := include "facemill.ports" (dict "hosts" .Values.kafka.brokers "more" $policy.kafka.ports) | fromJsonArray }}
{{- $cql := include "facemill.ports" (dict "hosts" (join "," .Values.cql.contactPoints) "more" $policy.cql.ports) | fromJsonArray -}}
- ports:
    {{- range $policy.dns.ports }}
    - { protocol: UDP, port: {{ . }} }
    - { protocol: TCP, port: {{ . }} }
    {{- end }}
{{ include "facemill.egress" (dict "ports" $kafka "to" $policy.kafka.to) }}
{{ include "facemill.egress" (dict "ports" $cql "to" $policy.cql.to) }}
{{- with include "facemill.telemetryPorts" . | fromJsonArray }}
{{ include "facemill.egress" (dict "ports" . "to" $policy.telemetry.to) }}
{{- end }}
{{- with $policy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A rule for these ports: (dict "ports" (list 9092) "to" (list …)) */}}
{{- define "facemill.egress" -}}
- ports:
    {{- range .ports }}
    - { protocol: TCP, port: {{ . }} }
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
