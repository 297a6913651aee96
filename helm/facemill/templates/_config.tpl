{{/*
One table of TOML and the tables in it: (dict "path" "kafka.config" "values" $map)

Not toToml, which writes every number of a values file as a float: 67108864 as 6.7108864e+07. A scalar or a list of JSON
is one of TOML as well, and whole numbers stay whole in it.
*/}}
{{- define "facemill.table" -}}
{{- $tables := dict }}
{{- $scalars := list }}
{{- range $key, $value := .values }}
{{- $name := ternary $key (toRawJson $key) (regexMatch "^[A-Za-z0-9_-]+$" $key) }}
{{- if kindIs "map" $value }}
{{- $_ := set $tables $name $value }}
{{- else if not (kindIs "invalid" $value) }}
{{- $scalars = append $scalars (printf "%s = %s" $name (toRawJson $value)) }}
{{- end }}
{{- end }}
{{- with $scalars }}
{{- if $.path }}
[{{ $.path }}]
{{- end }}
{{- range . }}
{{ . }}
{{- end }}
{{ end }}
{{- range $name, $table := $tables }}
{{- include "facemill.table" (dict "path" (ternary (printf "%s.%s" $.path $name) $name (ne $.path "")) "values" $table) }}
{{- end }}
{{- end }}

{{/* What the chart says in the configuration: what its own values are about, and where it mounts the secrets. */}}
{{- define "facemill.ownConfig" -}}
{{- $values := .Values }}
{{- $kafka := .Values.kafka }}
{{- $cql := .Values.cql }}
fetch:
  {{- with .Values.contact }}
  user_agent: {{ printf "facemill/%s (%s%s)" $.Chart.AppVersion (ternary "+" "" (hasPrefix "http" .)) . | quote }}
  {{- end }}
runner:
  drain_timeout: {{ .Values.drainSeconds }}s
http:
  listen: 0.0.0.0:9464
log:
  level: {{ .Values.logging.level | quote }}
  format: {{ .Values.logging.format | quote }}
kafka:
  brokers: {{ $kafka.brokers | quote }}
  topic_prefix: {{ $kafka.topicPrefix | quote }}
  group_prefix: {{ $kafka.groupPrefix | quote }}
  expected_rate: {{ toRawJson .Values.expectedRate }}
  {{- $login := ternary "SASL_" "" (ne $kafka.sasl.mechanism "") }}
  {{- $transport := ternary "SSL" (ternary "PLAINTEXT" "" (ne $login "")) $kafka.tls.enabled }}
  {{- if or $login $transport }}
  config:
    security.protocol: {{ printf "%s%s" $login $transport }}
    {{- with $kafka.sasl.mechanism }}
    sasl.mechanism: {{ . }}
    {{- with $kafka.sasl.username }}
    sasl.username: {{ . | quote }}
    {{- end }}
    {{- end }}
    {{- if $kafka.tls.enabled }}
    {{- if $kafka.tls.caKey }}
    ssl.ca.location: /etc/facemill/kafka/ca.crt
    {{- end }}
    {{- if $kafka.tls.certKey }}
    ssl.certificate.location: /etc/facemill/kafka/client.crt
    ssl.key.location: /etc/facemill/kafka/client.key
    {{- end }}
    {{- end }}
  {{- if $login }}
  config_files:
    sasl.password: /etc/facemill/kafka/password
    {{- if not $kafka.sasl.username }}
    sasl.username: /etc/facemill/kafka/username
    {{- end }}
  {{- end }}
  {{- end }}
cql:
  contact_points: {{ toRawJson $cql.contactPoints }}
  keyspace: {{ $cql.keyspace | quote }}
  datacenter: {{ $cql.datacenter | quote }}
  {{- if include "facemill.cqlLogin" . }}
  password_file: /etc/facemill/cql/password
  {{- with $cql.username }}
  username: {{ . | quote }}
  {{- end }}
  {{- end }}
  tls: {{ $cql.tls.enabled }}
  {{- if and $cql.tls.enabled $cql.tls.caKey }}
  tls_ca_file: /etc/facemill/cql/ca.crt
  {{- end }}
{{- end }}

{{/* Whether the database asks for a login: a text, or none. */}}
{{- define "facemill.cqlLogin" -}}
{{- if and .Values.cql.existingSecret .Values.cql.passwordKey }}yes{{ end }}
{{- end }}

{{/* facemill.toml: the user's settings and the chart's; _validate.tpl sees to it that none is in both. */}}
{{- define "facemill.toml" -}}
{{- $config := mergeOverwrite (deepCopy .Values.config) (include "facemill.ownConfig" . | fromYaml) -}}
# Made by the chart from its values. `facemill config show` says where each setting comes from.
{{ include "facemill.table" (dict "path" "" "values" $config) }}
{{- end }}
