{{- /* The name of everything: podmirror, or RELEASE-podmirror. At most 57, since -peers follows. */ -}}
{{- define "podmirror.name" -}}
{{- if contains "podmirror" .Release.Name -}}
{{- .Release.Name | trunc 57 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-podmirror" .Release.Name | trunc 57 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* By these the workload, the Services and the daemon know the pods of this release. */ -}}
{{- define "podmirror.selector" -}}
app.kubernetes.io/name: podmirror
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "podmirror.labels" -}}
{{ include "podmirror.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* The file of settings. */ -}}
{{- define "podmirror.config" -}}
selector = {{ printf "app.kubernetes.io/name=podmirror,app.kubernetes.io/instance=%s" .Release.Name | toJson }}
peers = [{{ printf "%s-peers:7070" (include "podmirror.name" .) | toJson }}]
container = "podmirrord"
{{- range $name, $value := .Values.config }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{- end -}}
