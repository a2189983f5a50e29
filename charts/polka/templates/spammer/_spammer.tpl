{{/* Which payments, as arguments of `polka spam`; the page takes them as its form's first values. */}}
{{- define "polka.spamPayments" -}}
{{- with .Values.spammer -}}
- --transactions={{ .transactions | int64 }}
- {{ printf "--mix=%s" .mix | quote }}
- --seed={{ .seed | int64 }}
- --skew={{ toJson .skew }}
- --bulk={{ .bulk | int64 }}
- --banks={{ .banks | int64 }}
- --accounts={{ .accounts | int64 }}
{{- /* Left out where it changes nothing: a run is named after its words, and one of an older chart would pay again. */}}
{{- if or (ne .currencies "USD") .across .terms }}
- {{ printf "--currencies=%s" .currencies | quote }}
- --across={{ toJson .across }}
- --terms={{ .terms | int64 }}
- {{ printf "--cap=%s" .cap | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* And how they are sent. */}}
{{- define "polka.spamArgs" -}}
- --url={{ include "polka.apiUrl" . }}
{{ include "polka.spamPayments" . }}
- --max-workers={{ .Values.spammer.maxWorkers | int64 }}
- --rate={{ toJson .Values.spammer.rate }}
- --retries={{ .Values.spammer.retries | int64 }}
{{- end -}}
