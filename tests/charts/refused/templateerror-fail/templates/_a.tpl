{{- define "check" }}
{{- if not .Values.secure }}{{ fail "insecure: set secure" }}{{ end }}
{{- end }}
