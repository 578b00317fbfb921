{{/*
What the guide's images have and busybox has not, as functions of the shell: `migrate`, `pg_dump`,
`psql` and `curl` as far as the hooks use them. The database's port is in them, since the guide's
pg_dump takes the usual one.
*/}}
{{- define "shop.standIns" -}}
{{- if .Values.standIns.enabled -}}
{{- .Files.Get "files/stand-ins.sh" | replace "PORT" (toString .Values.database.port) | replace "PACE" (toString .Values.standIns.pace) | trim }}
{{- end -}}
{{- end -}}

{{- define "shop.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
