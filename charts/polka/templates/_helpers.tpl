{{- define "polka.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* By these a selector finds a component's pods. They never change. Takes a list: root, component. */}}
{{- define "polka.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The labels of an object. Takes a list: root, component. */}}
{{- define "polka.labels" -}}
{{- $root := index . 0 -}}
{{ include "polka.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Name, namespace and labels of an object. Takes a list: root, component, name. */}}
{{- define "polka.metadata" -}}
name: {{ index . 2 | quote }}
namespace: {{ (index . 0).Release.Namespace | quote }}
labels:
  {{- include "polka.labels" (list (index . 0) (index . 1)) | nindent 2 }}
{{- end -}}

{{/* Where an image is to be had. Takes a list: the image's values, the tag where they name none. */}}
{{- define "polka.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default (index . 1) $image.tag }}
{{- end -}}
{{- end -}}

{{- define "polka.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "polka.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "polka.secret" -}}
{{ default (printf "%s-secrets" (include "polka.fullname" .)) .Values.secrets.existingSecret }}
{{- end -}}

{{- define "polka.postgresSecret" -}}
{{ default (printf "%s-postgres" (include "polka.fullname" .)) .Values.postgres.existingSecret }}
{{- end -}}

{{/* What a Secret of the chart's own holds under a key: what it has held from the first, or else a new one. Takes a list: root, the
Secret's name, the key, the new one. */}}
{{- define "polka.kept" -}}
{{- $root := index . 0 -}}
{{- $kept := lookup "v1" "Secret" $root.Release.Namespace (index . 1) -}}
{{- if not $kept -}}
{{ index . 3 | b64enc }}
{{- else if hasKey $kept.data (index . 2) -}}
{{ get $kept.data (index . 2) }}
{{- else -}}
{{ fail (printf "The Secret %s is there and has no key %s: what Polka was installed with is under another one." (index . 1) (index . 2)) }}
{{- end -}}
{{- end -}}

{{/* The same for a key that a later version of the chart has added to its Secret: where it is missing, it is a new one. */}}
{{- define "polka.keptOrNew" -}}
{{- $kept := lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1) -}}
{{- $data := dig "data" dict ($kept | default dict) -}}
{{- get $data (index . 2) | default (index . 3 | b64enc) -}}
{{- end -}}

{{- define "polka.newKey" -}}
polka_{{ randAlphaNum 64 | sha1sum }}
{{- end -}}

{{- define "polka.hasSpammer" -}}
{{- if or .Values.spammer.enabled .Values.spammer.web.enabled }}yes{{ end -}}
{{- end -}}

{{/* The Secrets with certificates: those that the values name, or those that cert-manager makes. Empty: no TLS. */}}
{{- define "polka.apiTls" -}}
{{ include "polka.tls" (list . "api" .Values.api.tlsSecret) }}
{{- end -}}

{{- define "polka.cacheTls" -}}
{{ include "polka.tls" (list . "cache" .Values.cache.tlsSecret) }}
{{- end -}}

{{- define "polka.cacheClientTls" -}}
{{ include "polka.tls" (list . "cache-client" .Values.cache.clientTlsSecret) }}
{{- end -}}

{{/* Takes a list: root, whose certificate, the Secret that the values name. */}}
{{- define "polka.tls" -}}
{{- $root := index . 0 -}}
{{- if index . 2 -}}
{{ index . 2 }}
{{- else if $root.Values.certManager.enabled -}}
{{ include "polka.fullname" $root }}-{{ index . 1 }}-tls
{{- end -}}
{{- end -}}

{{- define "polka.apiUrl" -}}
{{ ternary "https" "http" (ne (include "polka.apiTls" .) "") }}://{{ include "polka.fullname" . }}-api:{{ .Values.api.service.port | int64 }}
{{- end -}}

{{/* The port at which exchange rates are published. */}}
{{- define "polka.portOf" -}}
{{- $url := urlParse . -}}
{{ default (ternary "443" "80" (eq $url.scheme "https")) (regexFind ":[0-9]+$" $url.host | trimPrefix ":") }}
{{- end -}}

{{/* Connections to the database that one api process may open: its pools, three that commit, one that reads keys,
and two that write what is rare. */}}
{{- define "polka.apiConnections" -}}
{{- add (default 4 .Values.api.settings.database_pool_size) (default 2 .Values.api.settings.search_pool_size) 6 -}}
{{- end -}}

{{/* The most connections that Polka may need: of the apis (twice, as an upgrade starts new ones while the old ones
still end), of the cache, and of commands. */}}
{{- define "polka.connections" -}}
{{- $apis := ternary .Values.api.autoscaling.maxReplicas .Values.api.replicas .Values.api.autoscaling.enabled -}}
{{- add (mul 2 $apis (include "polka.apiConnections" .)) 16 -}}
{{- end -}}
