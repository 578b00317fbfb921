{{- define "database.name" -}}
{{ .Chart.Name }}-{{ .Chart.Version }}-{{ .Values.port }}
{{- end -}}
