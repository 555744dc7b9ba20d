{{- define "bearward.name" -}}
{{- $chart := default "bearward" .Values.nameOverride -}}
{{- if contains $chart .Release.Name -}}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name $chart | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "bearward.selector" -}}
app.kubernetes.io/name: bearward
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bearward.labels" -}}
{{ include "bearward.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "bearward.image" -}}
{{- $repository := required "image.repository is required: the image that you built (docs/container.md)" .Values.image.repository -}}
{{- if .Values.image.digest -}}{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "bearward.configMap" -}}
{{- default (include "bearward.name" .) .Values.existingConfigMap -}}
{{- end -}}

{{/* A container of the gateway's image: what it may do. */}}
{{- define "bearward.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "bearward.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "bearward.mounts" -}}
- {name: policy, mountPath: /etc/bearward, readOnly: true}
{{- range $index, $secret := .Values.secrets }}
- {name: secret-{{ $index }}, mountPath: {{ $secret.mountPath | quote }}, readOnly: true}
{{- end }}
{{- if .Values.state.enabled }}
- {name: state, mountPath: /var/lib/bearward}
{{- end }}
{{- end -}}

{{- define "bearward.volumes" -}}
- name: policy
  configMap: {name: {{ include "bearward.configMap" . }}}
{{- range $index, $secret := .Values.secrets }}
- name: secret-{{ $index }}
  secret: {secretName: {{ $secret.name | quote }}, defaultMode: 0440}
{{- end }}
{{- if .Values.state.enabled }}
- name: state
  emptyDir: {sizeLimit: {{ .Values.state.sizeLimit | quote }}}
{{- end }}
{{- end -}}
