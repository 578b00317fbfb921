{{- /* A generated copy of a file of deploy/, for the namespace that the chart is installed in. */ -}}
{{- define "releaselifecycle.file" -}}
{{- $text := .root.Files.Get (printf "files/%s" .name) | required (printf "files/%s is missing" .name) -}}
{{- $text | replace "namespace: releaselifecycle-system" (printf "namespace: %s" .root.Release.Namespace) -}}
{{- end -}}

{{- /* The names of the leases, as the operators choose them: one, or one for each shard. */ -}}
{{- define "releaselifecycle.leaseNames" -}}
{{- $name := "releaselifecycle-controller" -}}
{{- with .Values.flags.namespace }}{{ $name = printf "%s-%s" $name . }}{{ end -}}
{{- with .Values.flags.leaseName }}{{ $name = . }}{{ end -}}
{{- $names := list -}}
{{- range .Values.shards -}}
{{- $names = append $names (printf "%s-%s" $name (sha256sum .selector | trunc 8)) -}}
{{- end -}}
{{- $names | default (list $name) | join ", " -}}
{{- end -}}

{{- define "releaselifecycle.image" -}}
{{ .Values.image.repository }}
{{- with .Values.image.tag }}:{{ . }}{{ end }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- /* The arguments of the operator as a YAML list; empty if there are none. */ -}}
{{- define "releaselifecycle.args" -}}
{{- if eq .Values.tenancy.mode "single-tenant" }}
- --single-tenant
{{- end }}
{{- range $name, $value := .Values.flags }}
{{- if kindIs "slice" $value }}
{{- range $value }}
- {{ printf "--%s=%s" (kebabcase $name) . | quote }}
{{- end }}
{{- else if not (kindIs "invalid" $value) }}
{{- /* Numbers of a values file are floats. */}}
{{- if kindIs "float64" $value }}{{ $value = int64 $value }}{{ end }}
- {{ printf "--%s=%v" (kebabcase $name) $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Values that contradict each other. */ -}}
{{- define "releaselifecycle.check" -}}
{{- if and .Values.namespace.create (or (eq .Release.Namespace "default") (hasPrefix "kube-" .Release.Namespace)) }}
{{- fail (printf "the operator needs a namespace of its own, and not %s: add --namespace releaselifecycle-system --create-namespace" .Release.Namespace) }}
{{- end }}
{{- if and .Values.shards .Values.flags.leaseName }}
{{- fail "flags.leaseName: each shard has a lease of its own, so remove it" }}
{{- end }}
{{- with .Values.tenancy }}
{{- range .namespaces }}
{{- if or (hasPrefix "kube-" .) (eq . $.Release.Namespace) }}
{{- fail (printf "tenancy.namespaces: the ServiceAccounts of %s may do too much for the operator to act as them" .) }}
{{- end }}
{{- end }}
{{- if and (eq .mode "single-tenant") (or .allNamespaces .namespaces) }}
{{- fail "tenancy.namespaces and tenancy.allNamespaces are for tenancy.mode multi-tenant" }}
{{- end }}
{{- if and .allNamespaces .namespaces }}
{{- fail "tenancy.allNamespaces includes tenancy.namespaces: set one of them" }}
{{- end }}
{{- end }}
{{- if not (or .Values.image.tag .Values.image.digest) }}
{{- fail "image.tag or image.digest is needed" }}
{{- end }}
{{- end -}}
