{{- define "library.config" -}}
data:
  own: {{ .Values.common.prefix | quote }}
{{- end -}}
