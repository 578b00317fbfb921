{{- define "common.merge" -}}
{{- $top := first . -}}
{{- $overrides := fromYaml (include (index . 1) $top) | default (dict) -}}
{{- $base := fromYaml (include "common.base" $top) | default (dict) -}}
{{ toYaml (merge $overrides $base) }}
{{- end -}}
{{- define "common.base" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-merged
data:
  base: "true"
{{- end -}}
