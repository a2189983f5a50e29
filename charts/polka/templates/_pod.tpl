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

{{/* The authority of the external database's certificate, where one is given. */}}
{{- define "polka.databaseMount" -}}
{{- if and (not .Values.postgres.enabled) .Values.externalDatabase.caSecret -}}
- {name: database-ca, mountPath: /etc/polka/database, readOnly: true}
{{- end }}
{{- end -}}

{{- define "polka.databaseVolume" -}}
{{- if and (not .Values.postgres.enabled) .Values.externalDatabase.caSecret -}}
- {name: database-ca, secret: {secretName: {{ .Values.externalDatabase.caSecret | quote }}}}
{{- end }}
{{- end -}}

{{- define "polka.databaseMounts" -}}
{{- with include "polka.databaseMount" . -}}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "polka.databaseVolumes" -}}
{{- with include "polka.databaseVolume" . -}}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The same with what is needed for TLS between apis and cache. The cache alone gets its key. Takes a list: root, whether it is the cache. */}}
{{- define "polka.mounts" -}}
{{- $root := index . 0 -}}
{{- $database := include "polka.databaseMount" $root -}}
{{- if or $database $root.Values.cache.tlsSecret -}}
volumeMounts:
  {{- with $database }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if $root.Values.cache.tlsSecret }}
  - {name: cache-tls, mountPath: /etc/polka/cache, readOnly: true}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "polka.volumes" -}}
{{- $root := index . 0 -}}
{{- $database := include "polka.databaseVolume" $root -}}
{{- if or $database $root.Values.cache.tlsSecret -}}
volumes:
  {{- with $database }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $root.Values.cache.tlsSecret }}
  - name: cache-tls
    secret:
      secretName: {{ . | quote }}
      {{- if not (index $ 1) }}
      items: [{key: ca.crt, path: ca.crt}]
      {{- end }}
  {{- end }}
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

{{- define "polka.cacheUrlEnv" -}}
- name: POLKA_CACHE_URL
  value: {{ ternary "https" "http" (ne .Values.cache.tlsSecret "") }}://{{ include "polka.fullname" . }}-cache:8100
{{- if .Values.cache.tlsSecret }}
- name: POLKA_CACHE_CA
  value: /etc/polka/cache/ca.crt
{{- end }}
{{- end -}}

{{/* The API key of a client. Takes a list: root, the key's key in the Secret. */}}
{{- define "polka.keyEnv" -}}
- name: POLKA_KEY
  valueFrom: {secretKeyRef: {name: {{ include "polka.secret" (index . 0) | quote }}, key: {{ index . 1 | quote }}}}
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
  {{- with include "polka.databaseMounts" . }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The port of an api's or a cache's metrics and health. Takes the port. */}}
{{- define "polka.metricsEnv" -}}
- name: POLKA_METRICS_PORT
  value: {{ . | quote }}
{{- end -}}

{{/* The probes of api and cache. Liveness is the process alone; readiness of an api is that it could commit a payment. Takes whether the service has TLS. */}}
{{- define "polka.probes" -}}
{{- $port := printf "port: metrics%s" (ternary ", scheme: HTTPS" "" .) -}}
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
