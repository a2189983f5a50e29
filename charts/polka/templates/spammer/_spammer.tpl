{{/* What to send, as arguments of `polka spam`; the page takes them as its form's first values. */}}
{{- define "polka.spamArgs" -}}
- --url={{ include "polka.apiUrl" . }}
{{- with .Values.spammer }}
- --max-workers={{ .maxWorkers | int64 }}
- --transactions={{ .transactions | int64 }}
- --mix={{ .mix }}
- --rate={{ toJson .rate }}
- --seed={{ .seed | int64 }}
- --skew={{ toJson .skew }}
- --bulk={{ .bulk | int64 }}
- --banks={{ .banks | int64 }}
- --accounts={{ .accounts | int64 }}
- --retries={{ .retries | int64 }}
{{- end }}
{{- end -}}
