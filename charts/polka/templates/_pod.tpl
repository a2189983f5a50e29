{{/* What the pods of Polka have in common: the restricted Pod Security Standard, and where they may run.
Takes a list: root, the values that say where. */}}
{{- define "polka.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "polka.serviceAccount" $root | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- include "polka.placement" . }}
{{- end -}}

{{- define "polka.placement" -}}
{{- $placement := pick (index . 1) "priorityClassName" "nodeSelector" "tolerations" "affinity" -}}
{{- $_ := set $placement "imagePullSecrets" (index . 0).Values.image.pullSecrets -}}
{{- range $field, $value := $placement }}
{{- if $value }}
{{ dict $field $value | toYaml }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Labels and annotations of a pod. Takes a list: root, component, the values that add to them. */}}
{{- define "polka.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
labels:
  {{- include "polka.selectorLabels" (list $root (index . 1)) | nindent 2 }}
  {{- with $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Polka's image as a container without a privilege, and a root that nobody can write. */}}
{{- define "polka.container" -}}
image: {{ include "polka.image" (list .Values.image .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "polka.containerSecurity" (not .Values.dev.reload) | nindent 2 }}
{{- end -}}

{{- define "polka.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: {{ . }}
{{- end -}}

{{/* How everybody who needs the database finds it. asyncpg takes the password from PGPASSWORD. */}}
{{- define "polka.databaseEnv" -}}
{{- if .Values.postgres.enabled -}}
- name: POLKA_DATABASE_URL
  value: postgresql://polka@{{ include "polka.fullname" . }}-postgres:5432/polka?sslmode=disable
- name: PGPASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "polka.postgresSecret" . | quote }}, key: {{ .Values.postgres.passwordKey | quote }}}}
{{- else -}}
{{- $database := .Values.externalDatabase -}}
{{- $host := ternary (printf "[%s]" $database.host) $database.host (contains ":" $database.host) -}}
{{- $query := printf "?sslmode=%s" (default (ternary "verify-full" "prefer" (ne $database.caSecret "")) $database.sslMode) -}}
{{- if $database.caSecret -}}
{{- $query = printf "%s&sslrootcert=/etc/polka/database/%s" $query $database.caKey -}}
{{- end -}}
- name: POLKA_DATABASE_URL
  value: {{ printf "postgresql://%s@%s:%d/%s%s" (urlquery $database.user) $host (int64 $database.port) (urlquery $database.name) $query | replace "+" "%20" | quote }}
{{- if $database.existingSecret }}
- name: PGPASSWORD
  valueFrom: {secretKeyRef: {name: {{ $database.existingSecret | quote }}, key: {{ $database.passwordKey | quote }}}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The files of Secrets that a pod reads, by the name of their volume. Takes a list: root, who reads them: `api`, `cache`, `audit`,
`database` (all that only needs the database) or `client` (of the api). */}}
{{- define "polka.secretFiles" -}}
{{- $root := index . 0 -}}
{{- $who := index . 1 -}}
{{- $database := $root.Values.externalDatabase -}}
{{- $api := include "polka.apiTls" $root -}}
{{- $cache := include "polka.cacheTls" $root -}}
{{- $cache_client := include "polka.cacheClientTls" $root -}}
{{- $pair := list "tls.crt" "tls.key" -}}
{{- $files := dict -}}
{{- if and (ne $who "client") (not $root.Values.postgres.enabled) $database.caSecret -}}
{{- $_ := set $files "database-ca" (dict "secret" $database.caSecret "path" "/etc/polka/database" "keys" (list $database.caKey)) -}}
{{- end -}}
{{- if and $api (has $who (list "api" "client")) -}}
{{- $_ := set $files "api-tls" (dict "secret" $api "path" "/etc/polka/api" "keys" (ternary $pair (list "ca.crt") (eq $who "api"))) -}}
{{- end -}}
{{- if and $cache (has $who (list "api" "cache" "audit")) -}}
{{- $_ := set $files "cache-tls" (dict "secret" $cache "path" "/etc/polka/cache" "keys" (ternary $pair (list "ca.crt") (eq $who "cache"))) -}}
{{- end -}}
{{- if and $cache_client (has $who (list "api" "cache" "audit")) -}}
{{- $_ := set $files "cache-client-tls" (dict "secret" $cache_client "path" "/etc/polka/cache-client" "keys" (ternary (list "ca.crt") $pair (eq $who "cache"))) -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* Where these files are in a container. Takes the same list. */}}
{{- define "polka.mountEntries" -}}
{{- range $volume, $files := include "polka.secretFiles" . | fromYaml }}
- {name: {{ $volume }}, mountPath: {{ $files.path }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* The volumes with these files. Takes the same list. */}}
{{- define "polka.volumeEntries" -}}
{{- range $volume, $files := include "polka.secretFiles" . | fromYaml }}
- name: {{ $volume }}
  secret:
    secretName: {{ $files.secret | quote }}
    items:
      {{- range $files.keys }}
      - {key: {{ . | quote }}, path: {{ . | quote }}}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "polka.mounts" -}}
{{- with include "polka.mountEntries" . | trim -}}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "polka.volumes" -}}
{{- with include "polka.volumeEntries" . | trim -}}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "polka.cacheTokenEnv" -}}
- name: POLKA_CACHE_TOKEN
  valueFrom: {secretKeyRef: {name: {{ include "polka.secret" . | quote }}, key: {{ .Values.secrets.cacheTokenKey | quote }}}}
{{- end -}}

{{/* How a service writes its log, and where its traces go. */}}
{{- define "polka.logsAndTracesEnv" -}}
- name: POLKA_LOG_FORMAT
  value: {{ .Values.logs.format | quote }}
- name: POLKA_LOG_LEVEL
  value: {{ .Values.logs.level | quote }}
{{- if .Values.traces.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.traces.endpoint | quote }}
- name: POLKA_TRACES_RATIO
  value: {{ .Values.traces.ratio | toJson | quote }}
{{- end }}
{{- end -}}

{{/* The way to the cache, for apis and the audit. */}}
{{- define "polka.cacheUrlEnv" -}}
{{- $tls := include "polka.cacheTls" . -}}
- name: POLKA_CACHE_URL
  value: {{ ternary "https" "http" (ne $tls "") }}://{{ include "polka.fullname" . }}-cache:8100
{{- if $tls }}
- {name: POLKA_CACHE_CA, value: /etc/polka/cache/ca.crt}
{{- end }}
{{- if include "polka.cacheClientTls" . }}
- {name: POLKA_CACHE_CERT, value: /etc/polka/cache-client/tls.crt}
- {name: POLKA_CACHE_KEY, value: /etc/polka/cache-client/tls.key}
{{- end }}
{{- end -}}

{{/* The API key of a client, and the authority of the api's certificate. Takes a list: root, the key's key in the Secret. */}}
{{- define "polka.keyEnv" -}}
- name: POLKA_KEY
  valueFrom: {secretKeyRef: {name: {{ include "polka.secret" (index . 0) | quote }}, key: {{ index . 1 | quote }}}}
{{- if include "polka.apiTls" (index . 0) }}
- {name: SSL_CERT_FILE, value: /etc/polka/api/ca.crt}
{{- end }}
{{- end -}}

{{/* A service's settings as variables. Helm holds numbers as floats, and would print a million as 1e+06. */}}
{{- define "polka.settingsEnv" -}}
{{- range $name, $value := . }}
- name: POLKA_{{ upper $name }}
  value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
{{- end }}
{{- end -}}

{{/* The init container that waits for the schema that this image needs. */}}
{{- define "polka.wait" -}}
- name: wait
  {{- include "polka.container" . | nindent 2 }}
  args: [wait, --timeout={{ .Values.migration.timeoutSeconds | int64 }}s]
  env:
    {{- include "polka.databaseEnv" . | nindent 4 }}
  resources:
    {{- toYaml .Values.migration.resources | nindent 4 }}
  {{- with include "polka.mounts" (list . "database") }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The port of an api's or a cache's metrics and health. Takes the port. */}}
{{- define "polka.metricsEnv" -}}
- name: POLKA_METRICS_PORT
  value: {{ . | quote }}
{{- end -}}

{{/* The probes of api and cache. Liveness is the process alone; readiness of an api is that it could commit a payment. Takes the Secret with the
service's certificate, or nothing. */}}
{{- define "polka.probes" -}}
{{- $port := printf "port: metrics%s" (ternary ", scheme: HTTPS" "" (ne . "")) -}}
startupProbe:
  httpGet: {path: /health/live, {{ $port }}}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health/live, {{ $port }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /health/ready, {{ $port }}}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 5
{{- end -}}
