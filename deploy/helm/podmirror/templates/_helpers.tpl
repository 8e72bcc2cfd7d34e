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

{{- /* Whether the pods need a token for the API server: for discovery, or for the keys of tokens. */ -}}
{{- define "podmirror.usesApi" -}}
{{- $jwt := .Values.auth.jwt -}}
{{- if or (eq .Values.discovery.source "kube-api")
    (and .Values.auth.required $jwt.issuer (hasPrefix "https://kubernetes.default.svc" $jwt.jwks)) -}}
true
{{- else -}}
false
{{- end -}}
{{- end -}}

{{- /* The Secret with the certificate, for the sources that have one. */ -}}
{{- define "podmirror.tlsSecret" -}}
{{- if eq .Values.tls.source "secret" -}}
{{- .Values.tls.secret -}}
{{- else -}}
{{- include "podmirror.name" . }}-tls
{{- end -}}
{{- end -}}

{{- /* The environment that TLS, auth and audit take. */ -}}
{{- define "podmirror.trustEnv" -}}
{{- $tls := .Values.tls -}}
{{- if $tls.enabled -}}
{{- if not $tls.plainPorts -}}
- name: PODMIRROR_REST_LISTEN
  value: "off"
- name: PODMIRROR_GRPC_LISTEN
  value: "off"
- name: PODMIRROR_PEERS
  value: {{ include "podmirror.name" . }}-peers:7443
{{ end -}}
- name: PODMIRROR_REST_TLS_LISTEN
  value: "[::]:8443"
- name: PODMIRROR_GRPC_TLS_LISTEN
  value: "[::]:7443"
- name: PODMIRROR_HEALTH_LISTEN
  value: "[::]:8081"
- name: PODMIRROR_TLS_CERT
  value: /etc/podmirror-tls/tls.crt
- name: PODMIRROR_TLS_KEY
  value: /etc/podmirror-tls/tls.key
- name: PODMIRROR_TLS_CA
  value: {{ ternary "/etc/podmirror-ca/ca.crt" "/etc/podmirror-tls/ca.crt" (ne $tls.caConfigMap "") }}
{{- if $tls.peers }}
- name: PODMIRROR_TLS_PEERS
  value: {{ join "," $tls.peers | quote }}
{{- else if ne $tls.source "secret" }}
- name: PODMIRROR_TLS_PEERS
  value: spiffe://{{ $tls.trustDomain }}/ns/$(POD_NAMESPACE)/sa/{{ include "podmirror.name" . }}
{{- end }}
- name: PODMIRROR_PEER_TLS
  value: {{ $tls.mode | quote }}
{{- end }}
{{- if .Values.auth.required }}
- name: PODMIRROR_AUTH
  value: required
- name: PODMIRROR_AUTH_FILE
  value: /etc/podmirror-auth/auth.toml
{{- with .Values.auth.jwt }}
{{- if .issuer }}
- name: PODMIRROR_AUTH_JWT_ISSUER
  value: {{ .issuer | quote }}
- name: PODMIRROR_AUTH_JWT_AUDIENCE
  value: {{ .audience | quote }}
- name: PODMIRROR_AUTH_JWKS
  value: {{ .jwks | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- if ne .Values.audit "off" }}
- name: PODMIRROR_AUDIT
  value: {{ .Values.audit }}
{{- end }}
{{- end -}}

{{- /* The volumes of the certificate, its authorities and the rules. */ -}}
{{- define "podmirror.trustVolumes" -}}
{{- $tls := .Values.tls -}}
{{- if $tls.enabled -}}
- name: tls
  {{- if eq $tls.source "csi-spiffe" }}
  csi:
    driver: spiffe.csi.cert-manager.io
    readOnly: true
    volumeAttributes:
      spiffe.csi.cert-manager.io/fs-group: "65532"
  {{- else }}
  secret:
    secretName: {{ include "podmirror.tlsSecret" . }}
    defaultMode: 288  # 0440: the daemon's group
  {{- end }}
{{- with $tls.caConfigMap }}
- name: tls-ca
  configMap:
    name: {{ . }}
{{- end }}
{{- end }}
{{- if .Values.auth.required }}
- name: auth
  secret:
    secretName: {{ .Values.auth.secret | default (printf "%s-auth" (include "podmirror.name" .)) }}
    defaultMode: 288
{{- end }}
{{- end -}}

{{- define "podmirror.trustMounts" -}}
{{- if .Values.tls.enabled -}}
# Whole folders: a single file of a Secret would never change.
- name: tls
  mountPath: /etc/podmirror-tls
  readOnly: true
{{- if .Values.tls.caConfigMap }}
- name: tls-ca
  mountPath: /etc/podmirror-ca
  readOnly: true
{{- end }}
{{- end }}
{{- if .Values.auth.required }}
- name: auth
  mountPath: /etc/podmirror-auth
  readOnly: true
{{- end }}
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
