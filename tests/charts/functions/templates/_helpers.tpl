{{- define "functions.call" -}}
called with {{ .who }}{{ template "functions.inner" . }}
{{- end -}}
{{- define "functions.inner" }} by {{ .who | upper }}{{ end -}}
